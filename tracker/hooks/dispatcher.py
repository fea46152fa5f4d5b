"""Drains the outbox into hooks: fans committed events out to deliveries, and has due deliveries claimed and run.

The store is authoritative. A delivery exists because its event was committed; it is claimed by lease and run at least
once. The state in memory may be lost at any time. Must not know any kind of hook.

One loop fans out and claims; `tracker.hooks.runs` runs the deliveries and knows which hooks to look at. A hook that
hangs or is down delays neither another nor the fan-out. Between two rounds the loop sleeps until it is woken (a
commit, a free slot) or the next delivery is due. No delivery has its own poll or timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.config.hooks import HookSpec
from tracker.domain.durations import NO_OUTLOOK
from tracker.domain.retry import growing_delay_s
from tracker.errors import ConfigError, StoreUnavailable
from tracker.hooks.dropins import DropIns
from tracker.hooks.health import HealthBook, HookHealth, describe_hook, describe_ignored
from tracker.hooks.runner import Closes, Runner
from tracker.hooks.running.threads import in_thread
from tracker.hooks.runs import Runs
from tracker.hooks.spec import WriterThreadMatch
from tracker.hooks.tallies import HookTallies
from tracker.hooks.trial import choose_event, try_twice
from tracker.logs import get_logger
from tracker.store.values import DeliveryFilter

if TYPE_CHECKING:
    from tracker.clock import Clock
    from tracker.domain.durations import Outlook
    from tracker.domain.task import Task
    from tracker.hooks.trial import Trial
    from tracker.store.protocol import Store
    from tracker.store.values import Applied

log = get_logger(__name__)

FAN_OUT_LIMIT = 250
"""Events per transaction: about 5 ms of the writer's time (18 us an event), which callbacks in it wait for."""
RECALLED = 20
"""Latest deliveries of a hook that are read for its health before the start."""
MAX_SLEEP_S = 30.0
"""The longest sleep: other processes commit, and clocks are set."""
GATHER_S = 0.1
"""The shortest time between two fan-outs of few events: each is a write, however often commits wake the loop."""
IDLE_MIN_S, IDLE_MAX_S = 0.25, 5.0
"""Bounds of the growing wait after a failed round, or if due deliveries cannot be claimed."""
END_S = 15.0
"""The limit at the stop for ending runs and recording their results."""


class Dispatcher:
    """Runs hooks.

    Args:
        store: has the deliveries.
        specs: the configured hooks.
        runners: one per kind of hook, see `tracker.hooks.kinds.registry.make_runners`.
        clock: the source of time.
        hooks_dir: directory of drop-in scripts, read before each fan-out; None for none.
        draw: numbers from 0 to 1 for the jitter.
        redact: masks secrets in what hooks print or answer.
        outlook: the future of a task, for the events that its hooks get.
        max_running: runs side by side over all hooks, see `tracker.hooks.runs`.

    Raises:
        ConfigError: two hooks share a name, or a hook's kind has no runner.
    """

    def __init__(
        self,
        store: Store,
        specs: Sequence[HookSpec],
        runners: Mapping[str, Runner],
        clock: Clock,
        *,
        hooks_dir: Path | None = None,
        draw: Callable[[], float] = random.random,
        redact: Callable[[str], str] = str,
        outlook: Callable[[Task], Outlook] = lambda _: NO_OUTLOOK,
        max_running: int = 32,
    ) -> None:
        self._store = store
        self._runners = dict(runners)
        self._clock = clock
        self._dropins = DropIns(hooks_dir) if hooks_dir is not None else None
        self._draw = draw
        self._redact = redact
        self._health = HealthBook(clock)
        self._configured = self._check(specs)
        self._dropped: dict[str, HookSpec] = {}
        self._hooks = dict(self._configured)
        self._runs = Runs(
            store,
            self._runners,
            self._hooks,
            draw=draw,
            redact=redact,
            outlook=outlook,
            health=self._health,
            max_running=max_running,
            clock=clock,
        )
        self._woken = self._runs.woken
        self._recalled: set[str] = set()
        self._must_fan_out = True
        self._idle_rounds = 0
        self._fanned_out_at = float("-inf")
        self._next_batch: asyncio.TimerHandle | None = None
        self._stop_asked = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._last_progress = clock.monotonic()
        self.has_read_hooks = False
        """Whether the directory of drop-in scripts was read since the start: before that, `specs` lacks them."""

    @property
    def last_progress(self) -> float:
        """When the loop last completed a round, in the clock's monotonic seconds."""
        return self._last_progress

    @property
    def specs(self) -> tuple[HookSpec, ...]:
        """All hooks as of the last round: the configured ones, then the drop-ins."""
        return tuple(self._hooks.values())

    @property
    def tallies(self) -> HookTallies:
        """Counts of the runs since the start."""
        return self._runs.tallies

    @property
    def running(self) -> int:
        """Deliveries under way now."""
        return len(self._runs.tasks)

    def describe(self) -> list[dict[str, Any]]:
        """Every hook with its health, as JSON."""
        return [describe_hook(spec, *self.health(name)) for name, spec in self._hooks.items()]

    def ignored(self) -> list[dict[str, Any]]:
        """The ignored files of the hooks_dir, and why, as JSON."""
        return [] if self._dropins is None else describe_ignored(self._dropins.ignored)

    def health(self, hook: str) -> tuple[HookHealth, int]:
        """A hook's health, and how many of its runs are under way."""
        return self._health.of(hook), self._runs.busy(hook)

    async def try_twice(self, hook: str, event: str | None) -> tuple[str, Trial, Trial]:
        """Run a hook twice with one synthetic event, in this process; nothing is recorded.

        Returns:
            The event, and both runs. The event is the first that the hook subscribes to, unless it is given.

        Raises:
            KeyError: there is no such hook.
            ConfigError: there is no such event.
        """
        spec = self._hooks[hook]
        event = choose_event(spec, event)
        first, second = await try_twice(spec, self._runners[spec.action.kind], event, self._clock)
        return event, first.redacted(self._redact), second.redacted(self._redact)

    def start(self) -> None:
        """Start the loop. Called once, on the event loop."""
        if self._loop_task is not None:
            raise RuntimeError("the dispatcher is already running")
        self._last_progress = self._clock.monotonic()
        self._loop_task = asyncio.create_task(self._loop(), name="hook dispatcher")

    def wake(self) -> None:
        """Fan out and claim at once: something was committed, or a delivery was retried by hand. Never blocks."""
        self._must_fan_out = True
        self._woken.set()

    def note_commit(self, applied: Sequence[Applied]) -> None:
        """Fan out what was committed, if hooks may want it: at once, or in the next batch. Never blocks."""
        if not any(change.announced for change in applied):
            return
        self._must_fan_out = True
        if not self._waits_for_batch():
            self._woken.set()

    def set_specs(self, specs: Sequence[HookSpec]) -> None:
        """Replace the configured hooks, and reset the health of every hook, disabled ones included.

        Runs under way end with the spec that they began with.

        Raises:
            ConfigError: as for the constructor; the old hooks stay.
        """
        self._configured = self._check(specs)
        self._health.forget()
        self._recalled.clear()
        self._set_dropped({name: spec for name, spec in self._dropped.items() if name not in self._configured})
        self.wake()

    async def stop(self, drain_s: float) -> None:
        """Claim nothing more, wait up to ``drain_s`` seconds for runs to end, cut the rest short.

        The delivery of a run that is cut short is pending again at once, regardless of its attempts.
        """
        self._stop_asked.set()
        self._woken.set()
        self._runs.stop()
        handing_back = asyncio.create_task(self._runs.hand_back(), name="hook jobs released")
        await self._wait_for_all(drain_s)
        self._runs.cut_short()
        await self._wait_for_all(END_S)
        left = self._list_tasks()
        if left:
            log.error("hook.abandoned", deliveries=self._runs.ids)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, handing_back, return_exceptions=True)
        # jobs of a claim that was under way at the stop
        await asyncio.gather(self._runs.hand_back(), return_exceptions=True)
        for runner in self._runners.values():
            if isinstance(runner, Closes):
                await runner.close()

    async def _wait_for_all(self, within_s: float) -> None:
        """Wait until the loop and all deliveries have ended, but not longer."""
        if tasks := self._list_tasks():
            await asyncio.wait(tasks, timeout=within_s)

    def _list_tasks(self) -> list[asyncio.Task[None]]:
        tasks = self._runs.tasks
        if self._loop_task is not None:
            tasks.append(self._loop_task)
        return [task for task in tasks if not task.done()]

    def _set_dropped(self, dropped: dict[str, HookSpec]) -> None:
        self._dropped = dropped
        self._hooks = self._configured | dropped
        self._runs.set_hooks(self._hooks)

    def _check(self, specs: Sequence[HookSpec]) -> dict[str, HookSpec]:
        problems = [f"two hooks are named {name!r}" for name, n in Counter(s.name for s in specs).items() if n > 1]
        problems += [
            f"hook {spec.name!r}: there is no kind {spec.action.kind!r}; known: {', '.join(self._runners)}"
            for spec in specs
            if spec.action.kind not in self._runners
        ]
        if problems:
            raise ConfigError(problems)
        return {spec.name: spec for spec in specs}

    # -- the loop ------------------------------------------------------------------------------------------

    async def _loop(self) -> None:
        while not self._stop_asked.is_set():
            self._woken.clear()
            wakes, wait_s = self._woken, 0.0
            try:
                wait_s = await self._look()
                await self._recall()
            except Exception as error:
                if isinstance(error, StoreUnavailable):
                    log.warning("hook.dispatch_failed", error=str(error))
                else:
                    log.exception("hook.dispatch_failed")
                # the next round reads the store again; commits do not hurry it
                self._runs.look_at(self._hooks)
                wakes, wait_s = self._stop_asked, self._idle_s()
            self._last_progress = self._clock.monotonic()
            await self._sleep(wait_s, wakes)

    async def _sleep(self, wait_s: float, wakes: asyncio.Event) -> None:
        """Sleep until woken; after the full time, look at every hook."""
        try:
            async with asyncio.timeout(wait_s):
                await wakes.wait()
        except TimeoutError:
            self._must_fan_out = True
            self._runs.look_at(self._hooks)

    async def _look(self) -> float:
        """Fan out and claim, in one transaction where both have work: a backlog of events delays no claim.

        Returns:
            Seconds until the next round, unless woken.
        """
        fan_out = asyncio.ensure_future(self._fan_out()) if self._must_fan_out else None
        try:
            looked_at, claimed = await self._runs.claim()
        finally:
            if fan_out is not None:
                await asyncio.wait({fan_out})
        if claimed:
            self._idle_rounds = 0
        if fan_out is not None:
            fan_out.result()  # raises: existing deliveries were claimed all the same
        if self._woken.is_set():
            return 0.0
        idle = [name for name, spec in self._hooks.items() if self._runs.free(spec) > 0]
        # of the same time as `idle`: a circuit that becomes half-open while the store is asked would be in neither
        began_at = asyncio.get_running_loop().time()
        probe_in_s = self._health.probe_in_s(self._hooks)
        due_in_s = await self._store.next_delivery_in_s(idle) if idle else None
        longest_s = MAX_SLEEP_S if probe_in_s is None else min(probe_in_s, MAX_SLEEP_S)
        wait_s = longest_s if due_in_s is None else due_in_s
        if wait_s > 0:
            self._idle_rounds = 0
            return max(min(wait_s, longest_s) - (asyncio.get_running_loop().time() - began_at), 0.0)
        self._runs.look_at(idle, wake=False)
        if claimed or not looked_at.issuperset(idle):
            return 0.0
        return self._idle_s()

    def _idle_s(self) -> float:
        self._idle_rounds += 1
        return growing_delay_s(self._idle_rounds - 1, IDLE_MIN_S, IDLE_MAX_S)

    async def _fan_out(self) -> None:
        """Turn a batch of committed events into deliveries; while more are waiting, the next batch follows at once."""
        if self._waits_for_batch():
            return
        self._fanned_out_at = asyncio.get_running_loop().time()
        self._must_fan_out = False  # before the first await: a commit from here on sets it again
        match = None
        try:
            if self._dropins is not None:
                await self._rescan(self._dropins)
            self.has_read_hooks = True
            match = WriterThreadMatch(self.specs) if self._hooks else None
            looked_at = await self._store.fan_out(match, FAN_OUT_LIMIT)
        except BaseException:
            self._must_fan_out = True
            self._fanned_out_at = float("-inf")
            raise
        if match is not None:
            self._runs.look_at(match.matched)
        if looked_at >= FAN_OUT_LIMIT:
            self._fanned_out_at = float("-inf")
            self.wake()

    def _waits_for_batch(self) -> bool:
        """Whether the last batch was a moment ago: a timer wakes the loop when the next is due, not each commit."""
        loop = asyncio.get_running_loop()
        due_at = self._fanned_out_at + GATHER_S
        if due_at <= loop.time():
            return False
        if self._next_batch is None:
            self._next_batch = loop.call_at(due_at, self._begin_batch)
        return True

    def _begin_batch(self) -> None:
        self._next_batch = None
        self._woken.set()

    async def _recall(self) -> None:
        """Read the health of hooks before the start, or the reload, from their deliveries."""
        for name in self._hooks.keys() - self._recalled:
            with contextlib.suppress(StoreUnavailable):  # the next round tries again
                latest = await self._store.list_all_deliveries(DeliveryFilter(hook=name, limit=RECALLED))
                self._health.recall(name, latest.items)
                self._recalled.add(name)

    async def _rescan(self, dropins: DropIns) -> None:
        """Read the directory of drop-in scripts.

        Raises:
            OSError: it cannot be read now. Nothing is fanned out until it can: an unknown hook would miss its
                events for good.
        """
        configured = self._configured
        found = await in_thread(lambda: dropins.scan(configured), name="hook drop-ins")
        found = {name: spec for name, spec in found.items() if name not in self._configured}
        if found != self._dropped:
            log.info("hook.dropins_changed", hooks=list(found))
            self._set_dropped(found)
