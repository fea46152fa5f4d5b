"""The reconciler: callback health slows polls down, and the history of a task is complete."""

from pathlib import Path

from tests.kits.clock import after
from tests.kits.factories import make_answer, make_cancel, make_observation, make_output, make_task, make_task_name
from tests.kits.world import LANE, World, start_calls
from tracker.domain.observation import Source, Submission, Trouble
from tracker.domain.schedule import PollPolicy
from tracker.domain.task import Reason, Stage, Status
from tracker.store.values import Applied
from tracker.tracking.reconciler import HEALTHY_AFTER, CallbackHealth


def test_callbacks_prove_themselves() -> None:
    """A lane is healthy after so many ends in a row reported by callbacks, until a poll has to find one."""
    health = CallbackHealth()
    lane = ("default", "suno")
    task = make_task(expects_callback=True)
    for _ in range(HEALTHY_AFTER):
        assert health.healthy == frozenset()
        health.note_end(task, Source.CALLBACK)
    assert health.healthy == {lane}
    health.note_end(make_task(expects_callback=False), Source.POLL)
    health.note_end(task, Source.OPERATOR)
    assert health.healthy == {lane}
    health.note_end(task, Source.POLL)
    assert health.healthy == frozenset()
    for _ in range(HEALTHY_AFTER):
        health.note_end(task, Source.CALLBACK)
    assert health.healthy == {lane}


async def test_healthy_callbacks_slow_polls_down(tmp_path: Path) -> None:
    """Once they have proven themselves, tasks that expect a callback are polled half as often; others are not."""
    async with World(tmp_path / "t.db") as world:
        waits = []
        for n in range(1, HEALTHY_AFTER + 2):
            await world.submit(n)
            await world.store.mark_sending(make_task_name(n), 60)
            await world.apply(make_answer(Submission.ACCEPTED, task_id=make_task_name(n), external_id=f"up-{n}", at=1))
            running = await world.call(n, Status.RUNNING, at=3)
            waits.append(running.task.due_at)
            await world.call(n, Status.SUCCEEDED, at=11)
        assert waits == [*[after(8)] * HEALTHY_AFTER, after(13)]
        await world.follow(50, due_at=after(100))
        assert (await world.call(50, Status.RUNNING, at=10)).task.due_at == after(15)


async def test_a_waiting_observation_is_judged_with_the_policies_of_its_arrival(tmp_path: Path) -> None:
    """What the writer's thread judges with is one immutable value; later policies apply to later observations."""
    async with World(tmp_path / "t.db") as world:
        await world.follow(1)
        await world.follow(2)
        await world.store.claim_due(LANE, 2, 900)
        async with world.store.halted_writer():
            waiting = await start_calls(world.poll(1, Status.RUNNING, at=3))
            world.reconciler.set_policies(lambda _: PollPolicy(min_interval_s=20.0))
        (applied,) = await waiting
        assert isinstance(applied, Applied)
        assert applied.task.due_at == after(8)
        assert (await world.poll(2, Status.RUNNING, at=3)).task.due_at == after(23)


async def test_a_timeout_is_recorded_with_the_last_poll(tmp_path: Path) -> None:
    """The last poll and the timeout are one commit: two events, one announcement, one end."""
    policy = PollPolicy(deadline_s=100)
    async with World(tmp_path / "t.db", policy=policy) as world:
        await world.follow(due_at=after(1000))
        applied = await world.poll(1, Status.RUNNING, at=20)
        assert not applied.task.status.is_terminal
        await world.store.claim_due((await world.at(500).list_lanes())[0], 1, 40)
        applied = await world.poll(1, trouble=Trouble.UNKNOWN_STATUS, upstream_status="DREAMING", at=500)
        assert (applied.outcome, applied.task.reason, applied.announced) == ("ignored", Reason.EXPIRED, True)
        events = await world.store.list_events(make_task_name(1))
        assert [(event.source, event.to_status) for event in events] == [
            ("poll", "RUNNING"),
            ("poll", "RUNNING"),
            ("clock", "FAILED"),
        ]


async def test_the_events_of_a_complete_task(tmp_path: Path) -> None:
    """Each source, each outcome, in the order of the observations; deliveries match."""
    task_id = make_task_name(1)
    async with World(tmp_path / "t.db") as world:
        await world.submit()
        await world.store.mark_sending(task_id, 60)
        await world.apply(make_answer(Submission.DEFERRED, task_id=task_id, retry_after_s=2.0, at=1))
        await world.store.mark_sending(task_id, 64)
        await world.call(1, Status.RUNNING, stage=Stage.TEXT, external_id="up-1", at=5)
        await world.apply(make_answer(Submission.ACCEPTED, task_id=task_id, attempt=2, at=6))
        await world.poll(1, Status.PENDING, at=7)
        await world.call(1, Status.RUNNING, stage=Stage.FIRST, external_id="up-1", at=8, outputs=(make_output(),))
        await world.call(1, Status.RUNNING, stage=Stage.TEXT, external_id="up-1", at=9)
        await world.call(1, Status.SUCCEEDED, external_id="somebody-elses", at=10)
        await world.call(1, Status.SUCCEEDED, stage=Stage.COMPLETE, external_id="up-1", at=11)
        await world.call(1, Status.SUCCEEDED, stage=Stage.COMPLETE, external_id="up-1", at=12)
        await world.poll(1, Status.FAILED, at=13)
        await world.apply(make_cancel(task_id=task_id, at=14))
        events = await world.store.list_events(task_id)
        events_seen = [
            (event.source, event.outcome, event.from_status, event.to_status, event.detail.partition(";")[0])
            for event in events
        ]
        assert events_seen == [
            ("submit", "applied", "PENDING", "PENDING",
             "not accepted yet: no message given (wait 2 s)"),
            ("callback", "applied", "PENDING", "RUNNING", "RUNNING, stage text"),
            ("submit", "applied", "RUNNING", "RUNNING", "accepted as up-1"),
            ("callback", "applied", "RUNNING", "RUNNING", "progress, stage first, 1 output so far"),
            ("callback", "duplicate", "RUNNING", "RUNNING", "repeats an earlier report"),
            ("callback", "conflict", "RUNNING", "RUNNING",
             "names another job of the service (somebody-elses)"),
            ("callback", "applied", "RUNNING", "SUCCEEDED", "succeeded with 1 output"),
            ("callback", "duplicate", "SUCCEEDED", "SUCCEEDED", "repeats an earlier report"),
            ("poll", "conflict", "SUCCEEDED", "SUCCEEDED", "reports FAILED, but the task is SUCCEEDED already"),
            ("operator", "stale", "SUCCEEDED", "SUCCEEDED", "reports FAILED, but the task is SUCCEEDED already"),
        ]  # fmt: skip
        await world.at(20).fan_out(lambda _: ["publish"], 100)
        assert [delivery.event for delivery in await world.store.list_deliveries(task_id)] == [
            "task.submitted",
            "task.running",
            "task.progress",
            "task.succeeded",
        ]


async def test_an_observation_of_a_canceled_task_is_a_conflict(tmp_path: Path) -> None:
    """Recorded, not applied, not announced."""
    async with World(tmp_path / "t.db") as world:
        await world.follow()
        await world.apply(make_cancel(task_id=make_task_name(1)))
        applied = await world.apply(
            make_observation(Status.SUCCEEDED, source=Source.CALLBACK, task_id=make_task_name(1), at=20)
        )
        assert (applied.outcome, applied.task.reason, applied.announced) == ("conflict", Reason.CANCELED, False)
