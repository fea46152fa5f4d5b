"""Hooks that are down, gone or hanging: which deliveries wait, run and are retried."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.kits.clock import START, ManualClock, RunningClock
from tests.kits.hook_endpoint import SECRET, Endpoint
from tests.kits.hooks import make_hook
from tests.kits.logs import captured_logs
from tests.kits.waiting import WITHIN_S, until
from tests.kits.world import World
from tracker.clock import SystemClock
from tracker.config.hooks import HookSpec
from tracker.domain.deliveries import DeliveryJob
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.records import DeliveryRecord
from tracker.domain.task import TaskId
from tracker.hooks.dispatcher import Dispatcher
from tracker.hooks.health import OPENS_AFTER, HealthBook, HookState
from tracker.hooks.kinds.http import HttpAction, HttpRunner
from tracker.hooks.kinds.script import ScriptAction
from tracker.hooks.runner import Runner, RunOutcome, RunResult
from tracker.store.values import DeliveryFilter

DOWN = RunResult(RunOutcome.RETRY, "no connection", unreachable=True)
FINE = RunResult(RunOutcome.SUCCEEDED)
MakeDispatcher = Callable[..., Dispatcher]


def spec_of(name: str = "h", **changes: object) -> HookSpec:
    """A hook; the test's runner decides its results."""
    return make_hook(name, ("task.finished",), ScriptAction.of(["-"]), **changes)


class Answers:
    """A runner with a set result per hook."""

    def __init__(self) -> None:
        self.says: dict[str, RunResult] = {}
        self.runs: Counter[str] = Counter()
        self.hanging: set[str] = set()
        self.over = asyncio.Event()

    async def run(self, job: DeliveryJob, payload: bytes, spec: HookSpec) -> RunResult:
        """Answer, or hang."""
        self.runs[spec.name] += 1
        if spec.name == "slow":
            await asyncio.sleep(0.004)
        if spec.name in self.hanging:
            await self.over.wait()
        return self.says.get(spec.name, FINE)


@pytest.fixture
def clock() -> ManualClock:
    """A clock that moves on command."""
    return ManualClock(START)


@pytest.fixture
async def world(tmp_path: Path, clock: ManualClock) -> AsyncIterator[World]:
    """An open store and its reconciler."""
    async with World(tmp_path / "tracker.db", clock) as made:
        yield made


@pytest.fixture
async def run(world: World, clock: ManualClock) -> AsyncIterator[MakeDispatcher]:
    """Starts dispatchers, and stops them at the end."""
    made: list[Dispatcher] = []

    def start(*specs: HookSpec, runner: Runner) -> Dispatcher:
        dispatcher = Dispatcher(world.store, specs, {"script": runner, "http": runner}, clock, draw=lambda: 0.5)
        dispatcher.start()
        made.append(dispatcher)
        return dispatcher

    yield start
    for dispatcher in made:
        await dispatcher.stop(0)


def test_the_circuit_opens_probes_and_closes(clock: ManualClock) -> None:
    """Five in a row open it; the wait doubles with each probe that fails; one answer closes it."""
    book, spec = HealthBook(clock), spec_of(retry_first_s=2)
    for n in range(1, OPENS_AFTER + 1):
        assert book.admits("h", 3) is None
        book.note(spec, DOWN)
        assert book.of("h").failures == n
    for wait_s in (2, 4, 8, 16, 32, 60, 60):
        assert (book.of("h").state, book.of("h").retry_in_s) == (HookState.OPEN, wait_s)
        assert (book.admits("h", 0), book.probe_in_s(["h"])) == (0, wait_s)
        book.note(spec, DOWN)  # one that began before: it changes nothing
        clock.advance(wait_s)
        assert book.of("h").state is HookState.PROBING
        assert (book.admits("h", 0), book.admits("h", 1)) == (1, 0)
        book.note(spec, DOWN)
    book.note(spec, FINE)
    assert (book.of("h").state, book.admits("h", 9)) == (HookState.HEALTHY, None)


@pytest.mark.parametrize(
    "result",
    [
        FINE,
        RunResult(RunOutcome.FAILED_FOR_GOOD, "never"),
        RunResult(RunOutcome.RETRY, "exit 1"),
        RunResult(RunOutcome.RETRY, "later", retry_after_s=60),
    ],
)
def test_an_answer_means_that_the_hook_is_up(clock: ManualClock, result: RunResult) -> None:
    """Any answer about the event resets the count of failures."""
    book, spec = HealthBook(clock), spec_of()
    for _ in range(OPENS_AFTER - 1):
        book.note(spec, DOWN)
    assert book.of("h").state is HookState.FAILING
    book.note(spec, result)
    assert (book.of("h").state, book.of("h").failures) == (HookState.HEALTHY, 0)


def test_failures_of_the_machine_do_not_count(clock: ManualClock) -> None:
    """Nine attempts without file descriptors do not mean that the hook is down."""
    book = HealthBook(clock)
    for _ in range(9):
        book.note(spec_of(), RunResult(RunOutcome.RETRY, "too many open files", blameless=True, unreachable=True))
    assert book.of("h").state is HookState.HEALTHY


def test_a_requested_delay_applies(clock: ManualClock) -> None:
    """One 429 with Retry-After pauses the complete hook for that long, an hour at most; then one run probes."""
    book, spec = HealthBook(clock), spec_of()
    book.note(spec, RunResult(RunOutcome.RETRY, "429", retry_after_s=30, unreachable=True))
    assert book.of("h").retry_in_s == 30
    book.note(spec, RunResult(RunOutcome.RETRY, "429", retry_after_s=40, unreachable=True))
    assert book.of("h").retry_in_s == 40
    clock.advance(40)
    book.note(spec, RunResult(RunOutcome.RETRY, "429", retry_after_s=1e9, unreachable=True))
    assert book.of("h").retry_in_s == 3600


async def test_a_backlog_waits_while_its_hook_is_down(world: World, run: MakeDispatcher, clock: ManualClock) -> None:
    """While an endpoint is down, five deliveries use an attempt and the others wait; all arrive once it is up."""
    answers = Answers()
    answers.says["down"] = DOWN
    for n in range(40):
        await world.finish(n)
    dispatcher = run(spec_of("down", retry_first_s=2, concurrency=1), spec_of("up"), runner=answers)
    await world.attempts(40 + OPENS_AFTER)
    assert (answers.runs["down"], answers.runs["up"]) == (OPENS_AFTER, 40)
    health, _ = dispatcher.health("down")
    assert (health.state, health.last_error) == (HookState.OPEN, "no connection")
    waiting = await world.store.list_all_deliveries(DeliveryFilter(hook="down", limit=500))
    assert sorted(item.attempts for item in waiting.items) == [0] * 35 + [1] * 5
    clock.advance(2)
    dispatcher.wake()
    await world.attempts(41 + OPENS_AFTER)
    assert answers.runs["down"] == OPENS_AFTER + 1, "a single probe"
    answers.says["down"] = FINE
    ended = len(await world.attempts())  # counted first: a run that ends now must not be waited for again
    while (await world.store.count_deliveries())["down"].get("succeeded", 0) < 40:
        clock.advance(4)
        dispatcher.wake()
        ended = len(await world.attempts(ended + 1))
    assert dispatcher.health("down")[0].state is HookState.HEALTHY


async def test_a_hook_that_is_gone_is_disabled_until_the_next_reload(
    world: World, run: MakeDispatcher, clock: ManualClock
) -> None:
    """410 fails the delivery and all pending and new ones, without another request; redrive after a reload."""
    endpoint = Endpoint(status=410)
    await endpoint.start()
    runner = HttpRunner(SystemClock())
    spec = make_hook("h", ("task.finished",), HttpAction(endpoint.url, (SECRET,), True), concurrency=1)
    for n in range(5):
        await world.finish(n)
    dispatcher = run(spec, runner=runner)

    async def has(status: str, count: int) -> bool:
        return (await world.store.count_deliveries()).get("h", {}).get(status, 0) >= count

    await until(lambda: has("failed", 5))
    assert len(endpoint.calls) == 1
    assert dispatcher.describe()[0]["state"] == "disabled"
    page = await world.store.list_all_deliveries(DeliveryFilter(hook="h"))
    assert {(item.error, item.status) for item in page.items} == {("410 gone", DeliveryStatus.FAILED)}
    assert sorted(item.attempts for item in page.items) == [0, 0, 0, 0, 1]
    await world.finish(5)
    dispatcher.wake()
    await until(lambda: has("failed", 6))
    assert len(endpoint.calls) == 1
    endpoint.status = 200
    dispatcher.set_specs([spec])
    assert await world.store.retry_deliveries(DeliveryFilter(hook="h")) == 6
    dispatcher.wake()
    await until(lambda: has("succeeded", 6))
    assert len({call.headers["webhook-id"] for call in endpoint.calls}) == 6
    await dispatcher.stop(0)
    await endpoint.close()


async def test_an_endpoint_that_recovers_gets_everything(tmp_path: Path) -> None:
    """With the real clock: an endpoint is down, then up; every delivery arrives after a successful probe."""
    clock = RunningClock()
    world = World(tmp_path / "tracker.db", clock)
    await world.store.open()
    endpoint = Endpoint()
    await endpoint.start()
    port = int(endpoint.url.split(":")[2].partition("/")[0])
    await endpoint.close()
    action = HttpAction(endpoint.url, (SECRET,), True)
    spec = make_hook("h", ("task.finished",), action, retry_first_s=0.05, retry_max_s=0.2)
    dispatcher = Dispatcher(world.store, [spec], {"http": HttpRunner(clock)}, clock)
    for n in range(30):
        await world.finish(n)
    dispatcher.start()
    await world.attempts(OPENS_AFTER)
    back = Endpoint()
    await back.start(port)
    await back.called(30)
    await dispatcher.stop(5)
    await back.close()
    assert (await world.store.count_deliveries())["h"] == {"succeeded": 30}
    await world.store.close()


async def test_a_hung_hook_delays_no_other(world: World, run: MakeDispatcher) -> None:
    """Beside a hook that hangs in all its slots, a thousand events of another arrive without a wait."""
    answers = Answers()
    answers.hanging.add("hung")
    hung = spec_of("hung", concurrency=32)
    await asyncio.gather(*(world.finish(n) for n in range(40)))
    dispatcher = run(hung, runner=answers)
    async with asyncio.timeout(WITHIN_S):
        while answers.runs["hung"] < 32:  # noqa: ASYNC110 - the runner sends no signal
            await asyncio.sleep(0.005)
    dispatcher.set_specs([hung, spec_of("slow", concurrency=4)])
    await asyncio.gather(*(world.finish(n) for n in range(40, 1040)))
    dispatcher.wake()
    for n in range(100, 1001, 100):
        await world.attempts(n)
    assert {result.status for result in await world.attempts()} == {DeliveryStatus.SUCCEEDED}
    assert (await world.store.count_deliveries())["slow"] == {"succeeded": 1000}
    assert dispatcher.health("hung")[1] == answers.runs["hung"] == 32, "all of them still hang"


async def test_prefetched_claims_are_released_at_the_stop(
    world: World, run: MakeDispatcher, clock: ManualClock
) -> None:
    """Jobs that were claimed and not started are pending again, without a counted attempt."""
    answers = Answers()
    await world.finish(0)
    dispatcher = run(spec_of(concurrency=2), runner=answers)
    await world.attempts(1)  # from here on the hook counts as quick
    answers.hanging.add("h")
    await asyncio.gather(*(world.finish(n) for n in range(1, 9)))
    dispatcher.wake()
    async with asyncio.timeout(WITHIN_S):
        while answers.runs["h"] < 3 or (await world.store.count_deliveries())["h"].get("running", 0) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await dispatcher.stop(0)
    page = await world.store.list_all_deliveries(DeliveryFilter(hook="h", status="pending"))
    assert [(item.attempts, item.error) for item in page.items].count((0, None)) == 6
    assert (await world.store.count_deliveries())["h"] == {"pending": 8, "succeeded": 1}


async def test_a_late_result_of_a_lost_lease_changes_nothing(world: World, clock: ManualClock) -> None:
    """A result counts for its own claim only."""
    await world.finish()
    await world.store.fan_out(lambda _: ["h"], 10)
    (first,) = await world.store.claim_deliveries("h", 1, 1)
    clock.advance(2)
    (second,) = await world.store.claim_deliveries("h", 1, 60)
    assert (first.attempt, second.attempt) == (1, 2)
    await world.store.release_deliveries([(first.id, first.attempt)])
    assert (await world.deliveries())[0].status is DeliveryStatus.RUNNING
    await world.store.release_deliveries([(second.id, second.attempt)])
    assert [(item.status, item.attempts) for item in await world.deliveries()] == [(DeliveryStatus.PENDING, 1)]


@pytest.mark.parametrize("outcome", [RunOutcome.FAILED_FOR_GOOD, RunOutcome.RETRY])
def test_failed_runs_make_a_hook_failing(clock: ManualClock, outcome: RunOutcome) -> None:
    """It answers with failures: retried as usual, failing from the second in a row until the first success."""
    book, spec, wrong = HealthBook(clock), spec_of(), RunResult(outcome, "refused")
    book.note(spec, wrong)
    assert (book.of("h").state, book.of("h").failing_since) == (HookState.HEALTHY, None)
    clock.advance(5)
    with captured_logs() as logged:
        book.note(spec, wrong)
        book.note(spec, wrong)
    health = book.of("h")
    assert (health.state, health.failing_since, health.last_error) == (HookState.FAILING, START, "refused")
    assert (health.failures, book.admits("h", 9)) == (0, None), "its circuit stays closed"
    assert [line["event"] for line in logged] == ["hook.failing"]
    book.note(spec, DOWN)
    assert book.of("h").state is HookState.FAILING
    with captured_logs() as logged:
        book.note(spec, FINE)
    assert (book.of("h").state, book.of("h").failing_since) == (HookState.HEALTHY, None)
    assert [line["event"] for line in logged] == ["hook.recovered"]


@pytest.mark.parametrize(
    ("latest", "state"),
    [
        ([("failed", 2), ("dead", 1)], HookState.FAILING),
        ([("failed", 3), ("pending", 2), ("succeeded", 1)], HookState.FAILING),
        ([("succeeded", 3), ("failed", 2), ("failed", 1)], HookState.HEALTHY),
        ([("failed", 1), ("failed", 2), ("succeeded", 3)], HookState.HEALTHY),
        ([("failed", 2), ("succeeded", 1)], HookState.HEALTHY),
        ([("new", 3), ("new", 2), ("running", 1)], HookState.HEALTHY),
        ([], HookState.HEALTHY),
    ],
)
def test_the_state_of_a_hook_is_read_from_its_deliveries(
    clock: ManualClock, latest: list[tuple[str, int]], state: HookState
) -> None:
    """Failures since the last success count, including deliveries that are still retried."""
    items = []
    for status, second in latest:
        at = START + timedelta(seconds=second)
        is_new = status in {"new", "running"}
        items.append(
            DeliveryRecord(
                id=f"dlv_{second}",
                task_id=TaskId("t"),
                seq=second,
                hook="h",
                event="task.failed",
                status=DeliveryStatus("pending" if status == "new" else status),
                attempts=0 if is_new else 1,
                next_attempt_at=None,
                error=None if is_new or status == "succeeded" else "refused",
                output=None,
                created_at=at,
                finished_at=None if is_new or status == "pending" else at,
            )
        )
    book = HealthBook(clock)
    book.recall("h", items)
    assert book.of("h").state is state
    assert state is HookState.HEALTHY or book.of("h").last_error == "refused"
    book.note(spec_of(), FINE)
    book.recall("h", items)
    assert book.of("h").state is HookState.HEALTHY


async def test_a_failing_hook_is_failing_after_a_restart_and_a_reload(
    world: World, run: MakeDispatcher, clock: ManualClock
) -> None:
    """Its state is in its deliveries; the first success ends it."""
    answers, spec = Answers(), spec_of(concurrency=1)
    answers.says["h"] = RunResult(RunOutcome.FAILED_FOR_GOOD, "exit 100")
    for n in range(2):
        await world.finish(n)
    first = run(spec, runner=answers)
    await world.attempts(2)
    await first.stop(0)
    dispatcher = run(spec, runner=answers)

    def has(state: str) -> bool:
        return bool(dispatcher.describe()[0]["state"] == state)

    await until(lambda: has("failing"))
    assert dispatcher.describe()[0]["last_error"] == "exit 100"
    dispatcher.set_specs([spec])
    await until(lambda: has("failing"))
    answers.says["h"] = FINE
    await world.store.retry_deliveries(DeliveryFilter(hook="h"))
    dispatcher.wake()
    await until(lambda: has("healthy"))
