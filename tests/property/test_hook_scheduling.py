"""Hook scheduling: whatever happens, no hook with due work, a free slot and a closed circuit is left out.

The real dispatcher runs on an outbox in memory, a runner whose runs end on command, and an event loop whose time is
that of the manual clock. After each event all hooks must be as busy as their limits allow.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.kits.clock import START, ManualClock
from tests.kits.hooks import make_hook, make_job
from tracker.config.hooks import HookSpec
from tracker.domain.deliveries import DeliveryJob
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.task import TaskId
from tracker.errors import StoreUnavailable
from tracker.hooks.dispatcher import FAN_OUT_LIMIT, Dispatcher
from tracker.hooks.health import HookState
from tracker.hooks.kinds.script import ScriptAction
from tracker.hooks.runner import RunOutcome, RunResult
from tracker.hooks.runs import QUICK_S
from tracker.store.protocol import Store
from tracker.store.values import Announcement, AttemptResult, DeliveryFilter, DeliveryPage, Match

MAX_RUNNING = 4
CONCURRENCY = {"a": 1, "b": 2, "c": 5}
SETTLED_AFTER = 40
"""Turns of the event loop in a row without a call to the store."""
TURNS_MAX = 5000
RESULTS = {
    "done": RunResult(RunOutcome.SUCCEEDED),
    "retry": RunResult(RunOutcome.RETRY, "exit 1"),
    "never": RunResult(RunOutcome.FAILED_FOR_GOOD, "exit 100"),
    "down": RunResult(RunOutcome.RETRY, "no connection", unreachable=True),
    "wait": RunResult(RunOutcome.RETRY, "429", retry_after_s=7, unreachable=True),
    "short": RunResult(RunOutcome.RETRY, "no descriptors", blameless=True),
    "gone": RunResult(RunOutcome.GONE, "410 gone"),
}
TROUBLE = [name for name in RESULTS if name != "gone"]


@dataclass
class Row:
    """A delivery in the outbox."""

    id: str
    hook: str
    task: int
    due_at: float
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempts: int = 0


@dataclass
class Outbox:
    """The part of the store that the dispatcher uses, in memory; of a task, a hook gets the oldest delivery only."""

    clock: ManualClock
    events: list[int] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    calls: int = 0
    claims: int = 0
    failing_calls: int = 0
    answers_claims: asyncio.Event = field(default_factory=asyncio.Event)

    async def _call(self) -> None:
        self.calls += 1
        await asyncio.sleep(0)
        if self.failing_calls:
            self.failing_calls -= 1
            raise StoreUnavailable("the disk is full")

    def claimable(self, hook: str) -> Iterator[Row]:
        """Pending deliveries of a hook that no earlier one of the same task holds back."""
        blocked: set[int] = set()
        for row in self.rows:
            if row.hook == hook and row.status in {DeliveryStatus.PENDING, DeliveryStatus.RUNNING}:
                if row.status is DeliveryStatus.PENDING and row.task not in blocked:
                    yield row
                blocked.add(row.task)

    def due(self, hook: str) -> list[Row]:
        """Those that are due."""
        return [row for row in self.claimable(hook) if row.due_at <= self.clock.monotonic()]

    async def fan_out(self, match: Match | None, limit: int) -> int:
        """See `Store`."""
        await self._call()
        batch, self.events = self.events[:limit], self.events[limit:]
        for task in batch:
            seq = len(self.rows)
            reported = Announcement(seq, 0, "task.progress", TaskId("t"), "suno", "suno.generate", "default", {})
            for hook in match(reported) if match is not None else ():
                self.rows.append(Row(f"dlv_{len(self.rows)}", hook, task, self.clock.monotonic()))
        return len(batch)

    async def claim_deliveries(self, hook: str, limit: int, lease_s: float) -> list[DeliveryJob]:
        """See `Store`."""
        assert lease_s > 0
        self.claims += 1
        await self._call()
        claimed = self.due(hook)[:limit]
        for row in claimed:
            row.status = DeliveryStatus.RUNNING
            row.attempts += 1
        await self.answers_claims.wait()  # it is committed, and the answer is on its way: hooks may change meanwhile
        return [self._job(row) for row in claimed]

    def _job(self, row: Row) -> DeliveryJob:
        made = make_job(delivery_id=row.id, attempt=row.attempts)
        return replace(made, hook=row.hook)

    async def record_attempt(self, delivery_id: str, result: AttemptResult, attempt: int) -> None:
        """See `Store`."""
        await self._call()
        row = self._row(delivery_id)
        assert (row.status, row.attempts) == (DeliveryStatus.RUNNING, attempt)
        row.status = result.status
        row.attempts -= not result.counts
        row.due_at = self.clock.monotonic() + (result.retry_in_s or 0.0)

    async def release_deliveries(self, claims: Sequence[tuple[str, int]]) -> None:
        """See `Store`."""
        await self._call()
        for delivery_id, attempt in claims:
            row = self._row(delivery_id)
            assert (row.status, row.attempts) == (DeliveryStatus.RUNNING, attempt)
            row.status = DeliveryStatus.PENDING
            row.attempts -= 1

    async def fail_deliveries(self, hook: str, error: str) -> int:
        """See `Store`."""
        assert error
        await self._call()
        rows = [row for row in self.rows if row.hook == hook and row.status is DeliveryStatus.PENDING]
        for row in rows:
            row.status = DeliveryStatus.FAILED
        return len(rows)

    async def list_all_deliveries(self, wanted: DeliveryFilter) -> DeliveryPage:
        """See `Store`; there are no earlier deliveries."""
        assert wanted.hook
        await self._call()
        return DeliveryPage((), None)

    async def next_delivery_in_s(self, hooks: Sequence[str]) -> float | None:
        """See `Store`."""
        await self._call()
        waits = [max(row.due_at - self.clock.monotonic(), 0.0) for hook in hooks for row in self.claimable(hook)]
        return min(waits, default=None)

    def _row(self, delivery_id: str) -> Row:
        return next(row for row in self.rows if row.id == delivery_id)


class Gate:
    """A runner whose runs end on command.

    Attributes:
        instant_runs: so many runs succeed at once.
    """

    def __init__(self) -> None:
        self.instant_runs = 0
        self.running: dict[str, list[asyncio.Future[RunResult]]] = {name: [] for name in CONCURRENCY}

    async def run(self, job: DeliveryJob, payload: bytes, spec: HookSpec) -> RunResult:
        """Wait for the command."""
        assert payload
        waiting: asyncio.Future[RunResult] = asyncio.get_running_loop().create_future()
        self.running[spec.name].append(waiting)
        assert job.hook == spec.name
        if self.instant_runs:
            self.instant_runs -= 1
            waiting.set_result(RESULTS["done"])
        try:
            return await waiting
        finally:
            self.running[spec.name].remove(waiting)


class World:
    """A dispatcher with all that it uses."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.outbox = Outbox(clock)
        self.outbox.answers_claims.set()
        self.gate = Gate()
        self.concurrency = dict(CONCURRENCY)
        self._has_failed = False
        self.dispatcher = Dispatcher(
            cast("Store", self.outbox),
            self._specs(),
            {"script": self.gate},
            clock,
            draw=lambda: 0.5,
            max_running=MAX_RUNNING,
        )

    def _specs(self) -> list[HookSpec]:
        action = ScriptAction.of(["-"])
        return [
            make_hook(name, ("task.*",), action, concurrency=limit, max_attempts=3, timeout_s=1e6)
            for name, limit in self.concurrency.items()
        ]

    async def commit(self, task: int) -> None:
        """An event of a task is committed."""
        self.outbox.events.append(task)
        self.dispatcher.wake()

    async def end(self, hook: str, result: str) -> None:
        """The oldest run of a hook ends."""
        if waiting := next((each for each in self.gate.running[hook] if not each.done()), None):
            waiting.set_result(RESULTS[result])

    async def end_all(self, result: str) -> None:
        """All runs under way end at once."""
        for waiting in itertools.chain(*self.gate.running.values()):
            if not waiting.done():
                waiting.set_result(RESULTS[result])

    async def pass_time(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)

    async def reload(self, concurrency: dict[str, int]) -> None:
        """The configuration is read again: other limits, perhaps without some hooks."""
        self.concurrency = concurrency
        self.dispatcher.set_specs(self._specs())

    async def retry_all(self) -> None:
        """Failed deliveries are retried by hand."""
        for row in self.outbox.rows:
            if row.status in {DeliveryStatus.FAILED, DeliveryStatus.DEAD}:
                row.status, row.due_at = DeliveryStatus.PENDING, self.clock.monotonic()
        self.dispatcher.wake()

    async def fail_store(self, calls: int) -> None:
        """The next calls of the store fail."""
        self._has_failed, self.outbox.failing_calls = True, calls

    async def settle(self) -> None:
        """Let the dispatcher do all that it can do now."""
        quiet = 0
        for _ in range(TURNS_MAX):
            calls = self.outbox.calls
            await asyncio.sleep(0)
            quiet = quiet + 1 if calls == self.outbox.calls else 0
            if quiet >= SETTLED_AFTER:
                return
        raise AssertionError("the dispatcher never rests")

    async def rest(self) -> None:
        """Let the pauses pass: the one between two fan-outs, and those after failures of the store."""
        await self.settle()
        if self._has_failed:
            self.clock.advance(31)
            await self.settle()
            self._has_failed, self.outbox.failing_calls = False, 0
            self.clock.advance(6)
            await self.settle()
        self.clock.advance(0.25)
        await self.settle()

    def check(self) -> None:
        """No hook can take a delivery that is due."""
        assert not self.outbox.events, "an event was not fanned out"
        busy = {name: len(self.gate.running[name]) for name in CONCURRENCY}
        share = max(MAX_RUNNING // len(self.concurrency), 1)
        for name, limit in self.concurrency.items():
            state = self.dispatcher.health(name)[0].state
            assert self.dispatcher.health(name)[1] == busy[name]
            free = min(limit - busy[name], max(MAX_RUNNING - sum(busy.values()), share - busy[name]))
            if state is HookState.PROBING:
                free = min(free, 1 - min(busy[name], 1))
            due = self.outbox.due(name)
            leased = sum(row.hook == name and row.status is DeliveryStatus.RUNNING for row in self.outbox.rows)
            if state is HookState.DISABLED:
                assert not due, f"{name} is disabled, and {due} did not fail"
            elif state is not HookState.OPEN and free > 0:
                assert not due, f"{name} has {free} free slots, and {due} is due"
                assert leased == busy[name], f"{name} has {free} free slots, and claimed jobs do not run"


Event = tuple[str, Any]
HOOK = st.sampled_from(sorted(CONCURRENCY))
EVENTS = st.one_of(
    st.tuples(st.just("commit"), st.integers(0, 3).map(lambda task: (task,))),
    st.tuples(st.just("commit"), st.integers(0, 3).map(lambda task: (task,))),
    st.tuples(st.just("end"), st.tuples(HOOK, st.sampled_from(sorted(RESULTS)))),
    st.tuples(st.just("end"), st.tuples(HOOK, st.sampled_from(TROUBLE))),
    st.tuples(st.just("end_all"), st.tuples(st.sampled_from(TROUBLE))),
    st.tuples(st.just("pass_time"), st.sampled_from([0.625, 2.5, 8.0, 61.0]).map(lambda seconds: (seconds,))),
    st.tuples(st.just("reload"), st.tuples(st.dictionaries(HOOK, st.integers(1, 4), min_size=1))),
    st.tuples(st.just("retry_all"), st.just(())),
    st.tuples(st.just("fail_store"), st.tuples(st.integers(1, 4))),
)


@settings(max_examples=150, deadline=None)
@example([[("commit", (0,))], [("end", ("a", "wait"))], [("pass_time", (8.0,))]])
@example(
    [[("reload", ({"a": 2},)), ("commit", (1,))], [("commit", (0,)), ("end_all", ("wait",))], [("fail_store", (1,))]]
)
@given(st.lists(st.lists(EVENTS, min_size=1, max_size=3), min_size=1, max_size=25))
def test_no_hook_with_work_and_a_free_slot_is_left_out(rounds: list[list[Event]]) -> None:
    """After each round of events, every hook runs as many of its due deliveries as its limits allow."""
    clock = ManualClock(START)

    async def play() -> None:
        world = World(clock)
        world.dispatcher.start()
        try:
            for events in rounds:
                for method, arguments in events:
                    await getattr(world, method)(*arguments)
                    await asyncio.sleep(0)
                await world.rest()
                world.check()
        finally:
            await world.dispatcher.stop(0)

    with asyncio.Runner(loop_factory=lambda: _loop_of(clock.monotonic)) as runner:
        runner.run(play())


@pytest.mark.parametrize("result", ["gone", "wait"])
def test_no_run_begins_on_a_hook_that_fails_during_a_claim(result: str) -> None:
    """Jobs that were claimed for a hook are handed back if it is disabled, or its circuit opens, before they begin."""
    clock = ManualClock(START)

    async def play() -> None:
        world = World(clock)
        world.dispatcher.start()
        try:
            await world.commit(0)
            await world.rest()
            world.outbox.answers_claims.clear()
            await world.commit(1)
            clock.advance(0.25)
            await world.settle()
            await world.end_all(result)
            await world.settle()
            world.outbox.answers_claims.set()
            await world.rest()
            assert not any(world.gate.running.values())
            world.check()
        finally:
            await world.dispatcher.stop(0)

    with asyncio.Runner(loop_factory=lambda: _loop_of(clock.monotonic)) as runner:
        runner.run(play())


def test_a_backlog_of_events_is_fanned_out_without_pauses() -> None:
    """While more events wait than one transaction takes, the next follows at once: no time has to pass."""
    clock = ManualClock(START)

    async def play() -> None:
        world = World(clock)
        world.outbox.events += [0] * (5 * FAN_OUT_LIMIT)
        world.dispatcher.start()
        try:
            await world.settle()
            assert not world.outbox.events
        finally:
            await world.dispatcher.stop(0)

    with asyncio.Runner(loop_factory=lambda: _loop_of(clock.monotonic)) as runner:
        runner.run(play())


def test_quick_runs_take_few_claims_until_one_is_slow() -> None:
    """Many jobs are claimed ahead of quick runs; after a slow one, only as many as can begin together are held."""
    clock = ManualClock(START)

    async def play() -> None:
        world = World(clock)
        await world.reload({"b": 2})
        world.outbox.events += range(1000)
        world.gate.instant_runs = 400
        world.dispatcher.start()
        try:
            await world.settle()
            assert not world.gate.instant_runs
            assert world.outbox.claims < 10
            leased = [row for row in world.outbox.rows if row.status is DeliveryStatus.RUNNING]
            assert len(leased) > 100
            clock.advance(QUICK_S)
            await world.end("b", "done")
            await world.settle()
            leased = [row for row in world.outbox.rows if row.status is DeliveryStatus.RUNNING]
            assert len(leased) <= 2 * 2
        finally:
            await world.dispatcher.stop(0)

    with asyncio.Runner(loop_factory=lambda: _loop_of(clock.monotonic)) as runner:
        runner.run(play())


def _loop_of(time: Callable[[], float]) -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    vars(loop)["time"] = time
    return loop
