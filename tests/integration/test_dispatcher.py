"""The dispatcher on the real store, with real scripts: nothing lost, in order, side by side, and stopped cleanly."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from tests.kits.clock import START, ManualClock
from tests.kits.factories import make_durations
from tests.kits.hooks import (
    Expiry,
    LinePipe,
    is_gone,
    make_hook,
    no_descriptors_left,
    write_python,
    write_script,
)
from tests.kits.waiting import WITHIN_S, until
from tests.kits.world import World
from tracker.config.hooks import HookSpec
from tracker.domain.deliveries import DeliveryJob, TaskJob
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.records import Json
from tracker.domain.task import Status
from tracker.errors import ConfigError
from tracker.hooks.dispatcher import Dispatcher
from tracker.hooks.kinds.script import ScriptAction, ScriptRunner
from tracker.hooks.runner import Runner, RunOutcome, RunResult, encode_event
from tracker.store.sqlite import SqliteStore
from tracker.store.values import AttemptResult, DeliveryFilter

ENDED = ("task.finished",)
MakeDispatcher = Callable[..., Dispatcher]


@pytest.fixture
def clock() -> ManualClock:
    """Time moves only if a test moves it."""
    return ManualClock(START)


@pytest.fixture
async def world(tmp_path: Path, clock: ManualClock) -> AsyncIterator[World]:
    """An open store and its reconciler."""
    async with World(tmp_path / "tracker.db", clock) as made:
        yield made


@pytest.fixture
async def run(world: World, clock: ManualClock) -> AsyncIterator[MakeDispatcher]:
    """Starts a dispatcher that wakes at commits; stopped at the end of the test."""
    made: list[Dispatcher] = []

    def make(*specs: HookSpec, runner: Runner | None = None, **settings: Json) -> Dispatcher:
        runners = {"script": runner or ScriptRunner(os.environ)}
        dispatcher = Dispatcher(world.store, specs, runners, clock, draw=lambda: 0.5, **settings)
        world.store.subscribe_commits(dispatcher.note_commit)
        dispatcher.start()
        made.append(dispatcher)
        return dispatcher

    yield make
    for dispatcher in made:
        await dispatcher.stop(0)


def make_spec(script: Path | str, name: str = "publish", on: tuple[str, ...] = ENDED, **limits: Json) -> HookSpec:
    """A hook that runs a script."""
    return make_hook(name, on, ScriptAction.of([str(script)]), **limits)


class Gate:
    """A runner controlled by the test: each run waits for its command to end."""

    def __init__(self) -> None:
        self.jobs: asyncio.Queue[TaskJob] = asyncio.Queue()
        self.running: dict[str, asyncio.Future[RunResult]] = {}
        self._stands_open = False

    async def run(self, job: DeliveryJob, payload: bytes, spec: HookSpec) -> RunResult:
        """Wait for the command."""
        assert isinstance(job, TaskJob)
        word: asyncio.Future[RunResult] = asyncio.get_running_loop().create_future()
        self.running[job.id] = word
        if self._stands_open:
            word.set_result(RunResult(RunOutcome.SUCCEEDED))
        self.jobs.put_nowait(job)
        try:
            return await word
        finally:
            del self.running[job.id]

    async def begun(self) -> TaskJob:
        """The next run that began."""
        async with asyncio.timeout(WITHIN_S):
            return await self.jobs.get()

    def open(self) -> None:
        """Let every run succeed, later ones included."""
        self._stands_open = True
        for word in self.running.values():
            word.set_result(RunResult(RunOutcome.SUCCEEDED))

    def end(self, job: DeliveryJob, outcome: RunOutcome = RunOutcome.SUCCEEDED, **more: Json) -> None:
        """End a run."""
        self.running[job.id].set_result(RunResult(outcome, **more))


@pytest.fixture
def gate() -> Gate:
    """A runner under the test's control."""
    return Gate()


async def test_a_finished_task_is_delivered(
    world: World, run: MakeDispatcher, tmp_path: Path, clock: ManualClock
) -> None:
    """A commit wakes the dispatcher, the script runs, and its output is recorded."""
    run(make_spec(write_script(tmp_path / "hook", 'echo "$TRACKER_EVENT $TRACKER_ATTEMPT"')))
    await world.finish()
    await world.attempts(1)
    (delivery,) = await world.deliveries()
    assert delivery.status is DeliveryStatus.SUCCEEDED
    assert delivery.output == "task.succeeded 1\n"
    assert delivery.attempts == 1
    assert delivery.error is None
    assert delivery.finished_at == clock.now()


async def test_what_waited_before_the_start_is_delivered(world: World, run: MakeDispatcher) -> None:
    """Events that were committed while no dispatcher ran are fanned out at the start."""
    await world.finish()
    run(make_spec("/bin/true"))
    assert (await world.attempts(1))[0].status is DeliveryStatus.SUCCEEDED


async def test_commits_between_two_batches_wake_once(world: World, run: MakeDispatcher) -> None:
    """The loop makes a round for each batch of events, not for each commit, and fans out all of them."""
    run(make_spec("/bin/true", on=("task.failed",)))
    for n in range(40):
        await world.follow(n)
        await world.poll(n, Status.SUCCEEDED)
    await until(lambda: not world.edit("SELECT seq FROM outbox"))
    assert world.store.calls["next_delivery_in_s"] <= world.store.calls["fan_out"] + 2


async def test_events_of_a_task_run_in_order(world: World, run: MakeDispatcher, gate: Gate) -> None:
    """A retry of the first delays later events of this task only."""
    clock = run(make_spec("-", on=("task.*",), concurrency=8), runner=gate)
    first, other = await world.follow(1), await world.follow(2)
    await world.poll(first, Status.RUNNING, progress=10)
    await world.poll(first, Status.RUNNING, progress=20)
    await world.poll(first, Status.SUCCEEDED)
    running = await gate.begun()
    assert running.event == "task.running"
    await world.poll(other, Status.SUCCEEDED)
    unrelated = await gate.begun()
    assert unrelated.record.task.id == other
    gate.end(unrelated)
    gate.end(running, RunOutcome.RETRY, error="not yet")
    await world.attempts(2)
    assert not gate.running
    store_clock = clock._clock
    assert isinstance(store_clock, ManualClock)
    store_clock.advance(2.0)
    clock.wake()
    for event, attempt, status in (
        ("task.running", 2, "PENDING"),
        ("task.progress", 1, "RUNNING"),
        ("task.succeeded", 1, "RUNNING"),
    ):
        job = await gate.begun()
        assert (job.event, job.attempt, job.previous_status) == (event, attempt, status)
        assert len(gate.running) == 1
        gate.end(job)


async def test_each_run_sees_the_task_as_it_was(world: World, run: MakeDispatcher, gate: Gate) -> None:
    """A late run for an early event gets the task as it was right after that event."""
    await world.poll(task := await world.follow(0), Status.RUNNING, progress=10)
    await world.poll(task, Status.SUCCEEDED)
    run(make_spec("-", on=("task.*",)), runner=gate)
    early = await gate.begun()
    assert (early.record.task.status, early.record.task.progress) == (Status.RUNNING, 10)


async def test_retries_grow_until_it_succeeds(
    world: World, run: MakeDispatcher, tmp_path: Path, clock: ManualClock
) -> None:
    """A failing script is tried after 2 s, 4 s, … with one and the same delivery id."""
    script = write_script(
        tmp_path / "hook",
        f'echo "$TRACKER_DELIVERY_ID" >> "{tmp_path}/ids"\necho "try $TRACKER_ATTEMPT"\n[ "$TRACKER_ATTEMPT" = 4 ]',
    )
    dispatcher = run(make_spec(script))
    await world.finish()
    for n, wait_s in enumerate((2, 4, 8), start=1):
        result = (await world.attempts(n))[-1]
        assert result.status is DeliveryStatus.PENDING
        assert result.error == "exit 1"
        assert result.output == f"try {n}\n"
        assert result.retry_in_s == wait_s
        clock.advance(wait_s)
        dispatcher.wake()
    assert (await world.attempts(4))[-1].status is DeliveryStatus.SUCCEEDED
    (delivery,) = await world.deliveries()
    assert delivery.attempts == 4
    assert (tmp_path / "ids").read_text().split() == [delivery.id] * 4
    history = (await world.store.get_delivery(delivery.id)).attempt_history
    assert [(one.outcome, one.output) for one in history] == [
        ("retry", "try 1\n"),
        ("retry", "try 2\n"),
        ("retry", "try 3\n"),
        ("succeeded", "try 4\n"),
    ]
    assert [one.started_at for one in history] == [START + timedelta(seconds=s) for s in (0, 2, 6, 14)]
    assert all(one.took_s is not None and 0 < one.took_s < WITHIN_S for one in history)


async def test_attempts_run_out(world: World, run: MakeDispatcher, clock: ManualClock) -> None:
    """After the last attempt the delivery is dead; by hand it can be tried again."""
    dispatcher = run(make_spec("/bin/false", max_attempts=2))
    await world.finish()
    await world.attempts(1)
    clock.advance(2)
    dispatcher.wake()
    assert (await world.attempts(2))[-1].status is DeliveryStatus.DEAD
    (delivery,) = await world.deliveries()
    assert (delivery.status, delivery.attempts, delivery.error) == (DeliveryStatus.DEAD, 2, "exit 1")
    dispatcher.set_specs([make_spec("/bin/true")])
    await world.store.retry_delivery(delivery.id)
    dispatcher.wake()
    assert (await world.attempts(3))[-1].status is DeliveryStatus.SUCCEEDED


async def test_exit_100_is_final(world: World, run: MakeDispatcher, tmp_path: Path) -> None:
    """No second attempt, and the next event of the task follows."""
    run(make_spec(write_script(tmp_path / "hook", "echo never; exit 100"), on=("task.*",)))
    await world.poll(task := await world.follow(0), Status.RUNNING)
    await world.poll(task, Status.SUCCEEDED)
    results = await world.attempts(2)
    assert [result.status for result in results] == [DeliveryStatus.FAILED] * 2
    assert results[0].output == "never\n"


async def test_a_hanging_hook_delays_no_other(
    world: World, run: MakeDispatcher, tmp_path: Path, pipe: LinePipe
) -> None:
    """Hanging runs use their own hook's slots only, even with few slots in total."""
    hung = write_script(tmp_path / "hung", f"echo hung > {pipe.quoted}; exec sleep 1000")
    run(make_spec(hung, name="hung", concurrency=8), make_spec("/bin/true", name="quick"), max_running=2)
    await world.finish(0)
    await pipe.next_line()
    for n in range(1, 20):
        await world.finish(n)
    await world.attempts(20)
    hook_of = {item.id: item.hook for item in (await world.store.list_all_deliveries(DeliveryFilter(limit=100))).items}
    assert {hook_of[delivery_id] for delivery_id, *_ in world.store.done["record_attempt"]} == {"quick"}


async def test_runs_in_parallel_up_to_the_limits(world: World, run: MakeDispatcher, gate: Gate) -> None:
    """A hook runs up to its concurrency, all together up to max_running, of which each has its share."""
    for n in range(12):
        await world.finish(n)
    first, second = make_spec("-", name="first", concurrency=5), make_spec("-", name="second", concurrency=5)
    dispatcher = run(first, second, runner=gate, max_running=6)
    begun = [(await gate.begun()).hook for _ in range(8)]
    assert sorted((begun.count("first"), begun.count("second"))) == [3, 5]
    assert dispatcher.running == 8
    gate.open()
    await world.attempts(24)


async def test_a_timeout_leaves_no_grandchild(
    world: World, run: MakeDispatcher, tmp_path: Path, pipe: LinePipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Children of a hanging script are killed with it, and the delivery is retried."""
    expiry = Expiry(monkeypatch)
    script = write_script(tmp_path / "hook", f"sleep 1000 & echo $! > {pipe.quoted}; wait")
    run(make_spec(script, timeout_s=30))
    await world.finish()
    pid = int(await pipe.next_line())
    await expiry.comes(30)
    result = (await world.attempts(1))[0]
    assert result.status is DeliveryStatus.PENDING
    assert result.error == "timed out after 30 s"
    assert await is_gone(pid)


async def test_a_script_that_cannot_start_is_retried(
    world: World, run: MakeDispatcher, tmp_path: Path, clock: ManualClock
) -> None:
    """A missing script is retried, and runs once it exists."""
    dispatcher = run(make_spec(tmp_path / "hook"))
    await world.finish()
    assert "No such file" in str((await world.attempts(1))[0].error)
    write_script(tmp_path / "hook", "exit 0")
    clock.advance(2)
    dispatcher.wake()
    assert (await world.attempts(2))[1].status is DeliveryStatus.SUCCEEDED


async def test_a_resource_shortage_never_ends_a_delivery(
    world: World, run: MakeDispatcher, gate: Gate, clock: ManualClock
) -> None:
    """Attempts that the machine prevented do not count, and are repeated at most every minute."""
    dispatcher = run(make_spec("-", max_attempts=1, retry_first_s=3600), runner=gate)
    await world.finish()
    for n in range(1, 4):
        gate.end(await gate.begun(), RunOutcome.RETRY, error="too many open files", blameless=True)
        result = (await world.attempts(n))[-1]
        assert result.status is DeliveryStatus.PENDING
        assert result.retry_in_s == 60
        clock.advance(60)
        dispatcher.wake()


async def test_a_result_survives_a_full_disk(world: World, run: MakeDispatcher, tmp_path: Path) -> None:
    """A result that cannot be recorded is recorded as soon as the store accepts it; the script runs once."""
    world.store.fail("record_attempt", times=1)
    run(make_spec(write_script(tmp_path / "hook", f"echo ran >> '{tmp_path}/runs'")))
    await world.finish()
    assert (await world.attempts(1))[0].status is DeliveryStatus.SUCCEEDED
    assert (tmp_path / "runs").read_text() == "ran\n"


@pytest.mark.parametrize("method", ["fan_out", "claim_deliveries"])
async def test_the_loop_survives_a_failing_store(world: World, run: MakeDispatcher, method: str) -> None:
    """A store that takes no write for a while delays deliveries and loses none."""
    world.store.fail(method, times=1)
    run(make_spec("/bin/true"))
    await world.finish()
    await world.attempts(1)
    assert world.store.failed[method] == 1


async def test_a_broken_runner_is_a_failed_attempt(world: World, run: MakeDispatcher) -> None:
    """An exception of a runner, and a cancellation from within, are retried like any failure."""

    class Broken:
        async def run(self, job: DeliveryJob, payload: bytes, spec: HookSpec) -> RunResult:
            assert isinstance(job, TaskJob)
            if job.record.task.external_id == "up-0":
                raise KeyError("oops")
            raise asyncio.CancelledError

    run(make_spec("-"), runner=Broken())
    await world.finish(0)
    await world.attempts(1)
    await world.finish(1)
    errors = [result.error for result in await world.attempts(2)]
    assert errors == ["the runner failed: KeyError: 'oops'", "the run was cancelled from within"]


async def test_a_crash_runs_it_again_with_the_same_id(
    world: World, run: MakeDispatcher, gate: Gate, clock: ManualClock
) -> None:
    """A delivery claimed by a dead process is claimed again when its lease is over."""
    await world.finish()
    await world.store.fan_out(lambda _: ["publish"], 10)
    (lost,) = await world.store.claim_deliveries("publish", 1, 150)
    dispatcher = run(make_spec("-"), runner=gate)
    await world.finish(1)  # a later one is delivered meanwhile
    gate.end(await gate.begun())
    await world.attempts(1)
    clock.advance(151)
    dispatcher.wake()
    again = await gate.begun()
    assert (again.id, again.attempt) == (lost.id, 2)
    gate.end(again)


async def test_an_expired_lease_of_this_process_starts_no_second_run(
    world: World, run: MakeDispatcher, gate: Gate, clock: ManualClock
) -> None:
    """A run that outlives its lease in this process is not started twice."""
    dispatcher = run(make_spec("-"), runner=gate)
    await world.finish()
    job = await gate.begun()
    clock.advance(10_000)
    before = world.store.calls["claim_deliveries"]
    dispatcher.wake()
    await world.finish(1)
    other = await gate.begun()
    assert other.id != job.id
    assert world.store.calls["claim_deliveries"] > before
    gate.end(job)
    gate.end(other)
    await world.attempts(2)
    assert gate.jobs.empty()


async def test_stop_lets_runs_end(world: World, run: MakeDispatcher, gate: Gate) -> None:
    """Runs that end during the drain are recorded; nothing new is claimed."""
    await world.finish(0)
    await world.finish(1)
    dispatcher = run(make_spec("-", concurrency=1), runner=gate)
    job = await gate.begun()
    await until(lambda: world.deliveries(1))
    stopping = asyncio.create_task(dispatcher.stop(WITHIN_S))
    await asyncio.sleep(0)
    gate.end(job)
    await stopping
    assert [result.status for result in await world.attempts()] == [DeliveryStatus.SUCCEEDED]
    assert gate.jobs.empty()
    assert (await world.deliveries(1))[0].status is DeliveryStatus.PENDING
    assert (await world.deliveries(1))[0].attempts == 0


async def test_stop_kills_runs_after_the_drain(
    world: World, run: MakeDispatcher, tmp_path: Path, pipe: LinePipe, clock: ManualClock
) -> None:
    """After the drain a script is killed; its delivery waits for the next start, with the same id."""
    script = write_script(tmp_path / "hook", f"sleep 1000 & echo $! > {pipe.quoted}; wait")
    dispatcher = run(make_spec(script, max_attempts=1))
    await world.finish()
    pid = int(await pipe.next_line())
    await dispatcher.stop(0)
    assert await is_gone(pid)
    (delivery,) = await world.deliveries()
    assert delivery.status is DeliveryStatus.PENDING
    assert delivery.attempts == 0, "a run that the tracker stopped does not count as an attempt"
    assert delivery.next_attempt_at == clock.now()
    assert delivery.error == "cut short: the tracker stopped"
    assert dispatcher.running == 0
    run(make_spec("/bin/true", max_attempts=1))
    assert (await world.attempts(2))[-1].status is DeliveryStatus.SUCCEEDED
    assert (await world.deliveries())[0].id == delivery.id


async def test_stop_without_start(world: World, clock: ManualClock) -> None:
    """A daemon whose start fails half-way can stop everything."""
    await Dispatcher(world.store, [], {}, clock).stop(1)


async def test_an_idle_dispatcher_sleeps(world: World, clock: ManualClock) -> None:
    """It sleeps until something is due, and half a minute at most."""
    dispatcher = Dispatcher(
        world.store, [make_spec("-", retry_first_s=20)], {"script": Gate()}, clock, draw=lambda: 0.5
    )
    assert await dispatcher._look() == pytest.approx(30, abs=1)  # less what the store took to answer
    await world.finish()
    await world.store.fan_out(lambda _: ["publish"], 10)
    (job,) = await world.store.claim_deliveries("publish", 1, 7200)
    assert await dispatcher._look() == pytest.approx(30, abs=1)  # less what the store took to answer
    result = AttemptResult(DeliveryStatus.PENDING, 20)
    await world.store.record_attempt(job.id, result, job.attempt)
    assert await dispatcher._look() == pytest.approx(20, abs=1)


async def test_due_deliveries_that_cannot_be_claimed_slow_the_loop(clock: ManualClock) -> None:
    """Something due that cannot be claimed (another process is about to) makes checks rarer, not busier."""

    class Elsewhere(SqliteStore):
        async def fan_out(self, *_: Json) -> int:
            return 0

        async def claim_deliveries(self, *_: Json) -> list[DeliveryJob]:
            return []

        async def next_delivery_in_s(self, hooks: Sequence[str]) -> float | None:
            return 0.0

    dispatcher = Dispatcher(Elsewhere(Path("-"), clock.now), [make_spec("-")], {"script": Gate()}, clock)
    assert await dispatcher._look() == 0
    assert [await dispatcher._look() for _ in range(7)] == [0.25, 0.5, 1, 2, 4, 5, 5]


async def test_each_round_moves_the_progress_mark(world: World, run: MakeDispatcher, clock: ManualClock) -> None:
    """Each round updates the time that the health check reads."""
    clock.advance(100)
    dispatcher = run(make_spec("/bin/true"))
    assert dispatcher.last_progress == 100
    clock.advance(50)
    await world.finish()
    await world.attempts(1)
    assert dispatcher.last_progress == 150


async def test_events_say_what_is_expected(world: World, run: MakeDispatcher, gate: Gate) -> None:
    """Of a task that has not ended, as of the time of the attempt; nothing once it has ended."""
    learned = make_durations([60.0] * 8)
    run(
        make_spec("-", on=("task.running", "task.succeeded")),
        runner=gate,
        outlook=lambda task: learned.outlook(task, world.clock.now()),
    )
    await world.follow(1)
    await world.call(1, Status.RUNNING)
    running = await gate.begun()
    task = orjson.loads(encode_event(running))["task"]
    assert task["expected"] == {"p50_s": 60.0, "p90_s": 60.0, "samples": 8, "ready_at": None}
    assert task["poll_after_s"] == 1.0, "it is due"
    gate.end(running)
    await world.call(1, Status.SUCCEEDED, at=20)
    succeeded = orjson.loads(encode_event(await gate.begun()))["task"]
    assert (succeeded["expected"], succeeded["poll_after_s"]) == (None, None)


async def test_new_hooks_while_running(world: World, run: MakeDispatcher, gate: Gate) -> None:
    """A reload replaces the hooks; a bad one is refused and the old ones stay."""
    dispatcher = run(make_spec("-", name="old"), runner=gate)
    await world.finish(0)
    gate.end(await gate.begun())
    with pytest.raises(ConfigError, match="two hooks are named 'twice'"):
        dispatcher.set_specs([make_spec("-", name="twice"), make_spec("-", name="twice")])
    assert [spec.name for spec in dispatcher.specs] == ["old"]
    dispatcher.set_specs([make_spec("-", name="new")])
    await world.finish(1)
    job = await gate.begun()
    assert job.hook == "new"
    gate.end(job)


def test_a_hook_of_a_kind_without_runner_is_refused(clock: ManualClock, tmp_path: Path) -> None:
    """A hook without a runner is a configuration error."""
    world = World(tmp_path / "tracker.db", clock)
    with pytest.raises(ConfigError, match="there is no kind 'script'; known: http"):
        Dispatcher(world.store, [make_spec("-")], {"http": Gate()}, clock)


async def test_a_dropped_file_is_a_hook_at_once(
    world: World, run: MakeDispatcher, tmp_path: Path, pipe: LinePipe
) -> None:
    """A script dropped in while the daemon runs gets the next event; removed, it gets no more."""
    hooks_dir = tmp_path / "hooks.d"
    dispatcher = run(hooks_dir=hooks_dir)
    script = write_script(hooks_dir / "task.finished" / "publish.sh", f'echo "$TRACKER_TASK_ID" > {pipe.quoted}')
    task = await world.finish(1)
    assert await pipe.next_line() == task
    assert [spec.name for spec in dispatcher.specs] == ["publish.sh"]
    await world.attempts(1)
    script.rename(script.with_name("publish.sh.disabled"))
    dispatcher.set_specs([make_spec("/bin/true", name="other")])
    await world.finish(2)
    await world.attempts(2)
    assert [delivery.hook for delivery in await world.deliveries(2)] == ["other"]


async def test_fan_out_waits_while_the_hooks_dir_is_unreadable(
    world: World, run: MakeDispatcher, tmp_path: Path
) -> None:
    """While the machine cannot list the drop-in scripts, events wait; then every hook gets them."""
    write_script(tmp_path / "hooks.d" / "task.finished" / "publish", "exit 0")
    await world.finish()
    dispatcher = Dispatcher(
        world.store, [], {"script": ScriptRunner(os.environ)}, ManualClock(START), hooks_dir=tmp_path / "hooks.d"
    )
    await asyncio.to_thread(int)  # create the pool's thread before descriptors run out
    with no_descriptors_left(), pytest.raises(OSError, match="Too many open files"):
        await dispatcher._look()
    assert await world.deliveries() == []
    await dispatcher._look()
    assert [delivery.hook for delivery in await world.deliveries()] == ["publish"]
    await dispatcher.stop(WITHIN_S)


FEW_DESCRIPTORS = """
import asyncio, os, resource, shlex, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.kits.clock import RunningClock
from tests.kits.hooks import make_hook
from tests.kits.world import World
from tracker.clock import SystemClock
from tracker.config.hooks import HookSpec
from tracker.hooks.dispatcher import Dispatcher
from tracker.hooks.kinds.script import ScriptAction, ScriptRunner

async def main(directory):
    world = World(directory / "tracker.db", RunningClock())
    await world.store.open()
    for n in range(100):
        await world.finish(n)
    count = 'echo "$TRACKER_DELIVERY_ID" >> ' + shlex.quote(str(directory / "ran"))
    specs = [
        make_hook(f"hook{n}", ("task.finished",), ScriptAction.of(["/bin/sh", "-c", count]), concurrency=20,
                 max_attempts=1, retry_first_s=0.05)
        for n in range(4)
    ]
    # an idle daemon has about twenty open: room for a handful of scripts, not for eighty
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    runner = ScriptRunner(os.environ, start_patience_s=0.05)
    dispatcher = Dispatcher(world.store, specs, {"script": runner}, SystemClock(), max_running=80)
    dispatcher.start()
    results = []
    while sum(result.status.value == "succeeded" for result in results) < 400:
        results = await world.attempts(len(results) + 1)
    await dispatcher.stop(5)
    await world.store.close()
    results = await world.attempts()
    short = [result for result in results if "Too many open files" in (result.error or "")]
    print(len(results) - len(short), len(short) > 0, {result.status.value for result in short})

asyncio.run(main(Path(sys.argv[2])))
"""


async def test_too_many_open_files_loses_nothing(tmp_path: Path) -> None:
    """Four hundred deliveries, eighty at a time, in a process that may open 32 files: each runs, once.

    Some starts wait, some are released; although the hooks allow a single attempt, none is lost.
    """
    program = write_python(tmp_path / "few.py", FEW_DESCRIPTORS)
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", program, root, tmp_path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, complaints = await process.communicate()
    assert printed.decode().splitlines()[-1:] == ["400 True {'pending'}"], (
        printed.decode()[-2000:] + complaints.decode()[-2000:]
    )
    assert "Traceback" not in printed.decode() + complaints.decode()
    ran = (tmp_path / "ran").read_text().split()
    assert len(ran) == len(set(ran)) == 400
