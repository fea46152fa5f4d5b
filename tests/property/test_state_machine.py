"""The real store under random observations, repeated, interleaved, cut off and restarted, and checked at each step."""

import asyncio
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from tests.kits.factories import (
    make_cancel,
    make_new_task,
    make_observation,
    make_output,
    make_registration,
    make_task_name,
)
from tests.kits.hooks import of_tasks
from tests.kits.invariants import check_change, check_history, check_replay
from tests.kits.world import World
from tracker.domain.deliveries import DeliveryJob
from tracker.domain.exports import export_json
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.observation import Observation, Source, Submission, Trouble
from tracker.domain.schedule import PollPolicy
from tracker.domain.task import ExternalId, Stage, Status, Task, TaskId
from tracker.domain.transitions import Outcome
from tracker.store.values import Announcement, AttemptResult

T = TypeVar("T")

POLICY = PollPolicy(deadline_s=300, missing_output_grace_s=30, not_found_grace_s=60, submit_retry_s=90)
HOOKS = ("publish", "notify")
TASKS = st.integers(1, 4)
FINAL = {DeliveryStatus.SUCCEEDED, DeliveryStatus.FAILED, DeliveryStatus.DEAD}


def say(status: Status | None = None, *, source: Source = Source.CALLBACK, **fields: Any) -> Observation:  # noqa: ANN401 - as for the factory
    """An observation whose task and time are filled in when it is applied."""
    return make_observation(status, source=source, **fields)


OBSERVATIONS = (
    say(Status.RUNNING, stage=Stage.TEXT, progress=30),
    say(Status.RUNNING, stage=Stage.FIRST, progress=60, outputs=(make_output(),)),
    say(Status.SUCCEEDED, stage=Stage.COMPLETE, outputs=(make_output(), make_output(1))),
    say(Status.SUCCEEDED, outputs=()),
    say(Status.FAILED),
    say(Status.SUCCEEDED, is_trusted=False),
    say(Status.SUCCEEDED, external_id="somebody-elses"),
    say(trouble=Trouble.UNKNOWN_STATUS, upstream_status="DREAMING"),
    say(Status.PENDING, source=Source.POLL),
    say(Status.RUNNING, source=Source.POLL, progress=40),
    say(Status.SUCCEEDED, source=Source.POLL),
    say(Status.FAILED, source=Source.POLL),
    say(source=Source.POLL, trouble=Trouble.UNAVAILABLE),
    say(source=Source.POLL, trouble=Trouble.NOT_FOUND),
    *(say(source=Source.SUBMIT, submission=submission, attempt=1) for submission in Submission),
    say(source=Source.SUBMIT, submission=Submission.DEFERRED, attempt=2, retry_after_s=1.0),
    say(source=Source.CLOCK),
    make_cancel(),
)


class TrackerLife(RuleBasedStateMachine):
    """Four tasks, two hooks, one store."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="tracker-life-"))
        self.world = World(self.folder / "0" / "t.db", policy=POLICY)
        self.known: dict[TaskId, Task] = {}
        self.claimed: list[DeliveryJob] = []
        self.final: dict[str, DeliveryStatus] = {}
        self.lives = 1

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a call of the store to its end."""
        return self.loop.run(work)

    @initialize()
    def begin(self) -> None:
        """Two songs to be sent, one of them without a callback, and two that were created elsewhere."""
        self.run(self.world.store.open())
        for new in (
            make_new_task(1),
            make_new_task(2, expects_callback=False),
            make_registration(3, "up-3"),
            make_registration(4, "up-4", expects_callback=True),
        ):
            self.known[new.id] = self.run(self.world.store.create_task(new)).record.task

    def addressed(self, n: int, said: Observation) -> Observation:
        """The observation for the n-th task, now, with its upstream id."""
        reading = said.reading
        if said.source is Source.CALLBACK and reading.external_id is None and n != 2:
            reading = replace(reading, external_id=ExternalId(f"up-{n}"))
        if reading.submission is Submission.ACCEPTED:
            reading = replace(reading, external_id=ExternalId(f"up-{n}"))
        return replace(said, task_id=make_task_name(n), observed_at=self.world.clock.now(), reading=reading)

    # -- observations --------------------------------------------------------------------------------------

    @rule(n=TASKS, said=st.sampled_from(OBSERVATIONS))
    def observe(self, n: int, said: Observation) -> None:
        """Any observation, once."""
        applied = self.run(self.world.apply(self.addressed(n, said)))
        assert applied.task.version > self.known[make_task_name(n)].version

    @rule(n=TASKS, said=st.sampled_from(OBSERVATIONS))
    def observe_twice(self, n: int, said: Observation) -> None:
        """A repeated callback is a duplicate, or repeats an applied success."""
        first = self.run(self.world.apply(self.addressed(n, said)))
        again = self.run(self.world.apply(self.addressed(n, said)))
        if said.source is Source.CALLBACK:
            assert again.outcome is Outcome.DUPLICATE
            assert not again.announced or not first.task.status.is_terminal

    @rule(many=st.lists(st.tuples(TASKS, st.sampled_from(OBSERVATIONS)), min_size=2, max_size=8))
    def observe_at_once(self, many: list[tuple[int, Observation]]) -> None:
        """Many in one transaction."""

        async def all_at_once() -> None:
            await asyncio.gather(*(self.world.apply(self.addressed(n, said)) for n, said in many))

        self.run(all_at_once())

    @rule(n=TASKS)
    def send(self, n: int) -> None:
        """Mark that the create goes out; it does so only from the queue."""
        before = self.known[make_task_name(n)]
        marked = self.run(self.world.store.mark_sending(before.id, 60))
        assert (marked is not None) == (before.submit_state == "queued" and before.status is Status.PENDING)

    @rule(n=TASKS, known=st.booleans())
    def request_poll(self, n: int, known: bool) -> None:
        """A callback without a token, for a task or an unknown id."""
        name = ExternalId(f"up-{n}" if known else "up-unknown")
        requested = self.run(self.world.store.request_polls("suno", [name], "{}"))
        assert requested.known == any(task.external_id == name for task in self.known.values())

    @rule(seconds=st.sampled_from([0.001, 2.0, 35.0, 100.0, 400.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.world.clock.advance(seconds)

    @rule(limit=st.integers(1, 3))
    def sweep(self, limit: int) -> None:
        """Claim what is due and never answer: the lease brings it back."""
        now = self.world.clock.now()
        for lane in self.run(self.world.store.list_lanes()):
            claimed = self.run(self.world.store.claim_due(lane, limit, 40))
            assert claimed
            assert all(one.task.due_at is not None and one.task.due_at <= now for one in claimed)
            again = self.run(self.world.store.claim_due(lane, 9, 40))
            assert not {one.task.id for one in claimed} & {one.task.id for one in again}

    # -- hooks ---------------------------------------------------------------------------------------------

    @staticmethod
    def match(announcement: Announcement) -> list[str]:
        """One hook gets all events, one the ends."""
        ended = announcement.event in {"task.succeeded", "task.failed"}
        return list(HOOKS) if ended else ["publish"]

    @rule(limit=st.integers(1, 5))
    def fan_out(self, limit: int) -> None:
        """A few events at a time."""
        self.run(self.world.store.fan_out(self.match, limit))

    @rule(hook=st.sampled_from(HOOKS), limit=st.integers(1, 3))
    def claim(self, hook: str, limit: int) -> None:
        """Claim deliveries; at most one of each task is under way."""
        jobs = of_tasks(self.run(self.world.store.claim_deliveries(hook, limit, 90)))
        assert len({job.record.task.id for job in jobs}) == len(jobs)
        for job in jobs:
            assert job.id not in self.final
            if job.event in {"task.succeeded", "task.failed"}:
                assert f"task.{job.record.task.status.lower()}" == job.event
            if job.event == "task.running":
                assert not job.record.task.status.is_terminal
        self.claimed += jobs

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), status=st.sampled_from(sorted(set(DeliveryStatus) - {DeliveryStatus.RUNNING})))
    def end_attempt(self, data: st.DataObject, status: DeliveryStatus) -> None:
        """An attempt ends, maybe long after its lease, maybe of a process that is gone."""
        job = self.claimed.pop(data.draw(st.integers(0, len(self.claimed) - 1)))
        again = 5 if status is DeliveryStatus.PENDING else None
        self.run(self.world.store.record_attempt(job.id, AttemptResult(status, again), job.attempt))

    # -- the process ---------------------------------------------------------------------------------------

    @rule()
    def restart(self) -> None:
        """Close and open again, whatever is held by lease."""
        self.run(self.world.store.close())
        self.begin_again(self.world.path)

    @rule()
    def crash(self) -> None:
        """Continue from what is on disk now: the file and its log as a kill leaves them."""
        self.lives += 1
        copy = self.folder / str(self.lives) / "t.db"
        copy.parent.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(f"{self.world.path}{suffix}", f"{copy}{suffix}")
        self.run(self.world.store.close())
        self.begin_again(copy)

    def begin_again(self, path: Path) -> None:
        """Open; every acknowledged change is there, and all leases are gone."""
        self.world = World(path, self.world.clock, POLICY)
        self.run(self.world.store.open())
        for task_id, before in self.known.items():
            now = self.run(self.world.store.get_task(task_id)).task
            assert replace(now, due_at=None) == replace(before, due_at=None)
            for delivery in self.run(self.world.store.list_deliveries(task_id)):
                assert delivery.status is not DeliveryStatus.RUNNING

    # -- what always holds ---------------------------------------------------------------------------------

    @invariant()
    def tasks_only_progress(self) -> None:
        """Every task, compared with its previous state."""
        for task_id, before in self.known.items():
            now = self.run(self.world.store.get_task(task_id)).task
            # claims and poll requests change the schedule without a new version
            same_but_for_the_schedule = replace(now, due_at=before.due_at, poll_step=before.poll_step)
            if same_but_for_the_schedule != before:
                assert now.version > before.version
            # a poll request makes a given-up task due without a change
            check_change(replace(before, due_at=now.due_at), now)
            self.known[task_id] = now
            check_history(now, self.run(self.world.store.list_events(task_id)))

    @invariant()
    def deliveries_are_exact_and_in_order(self) -> None:
        """One per hook and event; of a task and hook, each begins after the one before it has ended; ends stay."""
        for task_id in self.known:
            lines: defaultdict[str, list[tuple[DeliveryStatus, int]]] = defaultdict(list)
            deliveries = self.run(self.world.store.list_deliveries(task_id))
            identities = {(delivery.hook, delivery.seq, delivery.event) for delivery in deliveries}
            assert len(identities) == len({delivery.id for delivery in deliveries}) == len(deliveries)
            for delivery in deliveries:
                lines[delivery.hook].append((delivery.status, delivery.attempts))
                assert self.final.get(delivery.id, delivery.status) is delivery.status
                if delivery.status in FINAL:
                    self.final[delivery.id] = delivery.status
            for line in lines.values():
                first_open = next((n for n, (status, _) in enumerate(line) if status not in FINAL), len(line))
                assert all(attempts == 0 for _, attempts in line[first_open + 1 :])

    async def replay(self) -> None:
        """Export each task and run it through the state machine again: each event does what it did."""
        for task_id in self.known:
            export = await self.world.store.read_export(task_id)
            now = self.world.clock.now()
            document = export_json(export, route=None, tracker="1", at=now, redact=lambda value: value)
            check_replay(document)

    def teardown(self) -> None:
        """Replay all tasks, and drain the outbox: there is a delivery for every announcement, and each has run."""
        try:
            if self.known:
                self.run(self.replay())
                self.run(self.drain())
        finally:
            self.run(self.world.store.close())
            self.loop.close()
            shutil.rmtree(self.folder)

    async def drain(self) -> None:
        """Fan out and deliver all there is."""
        store, clock = self.world.store, self.world.clock
        while await store.fan_out(self.match, 100) == 100:
            pass
        clock.advance(1000)
        while await store.next_delivery_in_s(HOOKS) is not None:
            for hook in HOOKS:
                for job in await store.claim_deliveries(hook, 100, 90):
                    await store.record_attempt(job.id, AttemptResult(DeliveryStatus.SUCCEEDED), job.attempt)
        delivered = [
            (delivery.seq, delivery.event, delivery.hook)
            for task_id in self.known
            for delivery in await store.list_deliveries(task_id)
        ]
        wanted = [
            (seq, event, hook)
            for seq, announces in self.world.edit("SELECT seq, announces FROM events WHERE announces IS NOT NULL")
            for event in announces.split()
            for hook in self.match(Announcement(seq, 0, event, TaskId(""), "", "", "", {}))
        ]
        assert sorted(delivered) == sorted(wanted)
        ends = [event for _, event, hook in delivered if hook == "notify"]
        assert len(ends) <= 2 * len(self.known)


TestTrackerLife = TrackerLife.TestCase
TestTrackerLife.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow],
)
