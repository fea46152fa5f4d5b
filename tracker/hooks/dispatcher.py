"""Drains the outbox into hooks: fans committed changes out, claims deliveries, and has them carried out.

Who is authoritative: the store. A delivery exists because its event was committed; it is claimed by lease and run
at least once. What is kept here in memory (which runs are under way, which hooks are worth a look) may be lost at
any time. Must not know any kind of hook.

One loop looks for work; what it claims is carried out by `tracker.hooks.runs`. How many may run is for
`tracker.hooks.slots` to say, and who is left alone for `tracker.hooks.health`; a hook that hangs or is down delays
neither another nor the fan-out.

Between two looks the loop sleeps until it is woken (a commit announced something, a run ended) or the next delivery
falls due. Nothing is polled per delivery.
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
from tracker.domain.retry import growing_delay_s
from tracker.errors import ConfigError, StoreUnavailable
from tracker.hooks.delivery import lease_s
from tracker.hooks.describe import describe_hooks, describe_ignored
from tracker.hooks.dropins import DropIns
from tracker.hooks.health import HealthBook, HookHealth
from tracker.hooks.runner import Closes, Runner
from tracker.hooks.running.threads import in_thread
from tracker.hooks.runs import Runs
from tracker.hooks.slots import Slots
from tracker.hooks.spec import make_match
from tracker.logs import get_logger
from tracker.store.values import DeliveryFilter

if TYPE_CHECKING:
    from tracker.clock import Clock
    from tracker.store.protocol import Store

log = get_logger(__name__)

FAN_OUT_LIMIT = 500
"""Events looked at in one transaction."""
RECALLED = 20
"""Deliveries of a hook that are looked at for how it did before the start."""
MAX_SLEEP_S = 30.0
"""A look at least this often, whatever was promised: commits of other processes, clocks that were set."""
GATHER_S = 0.1
"""What a storm of commits announces is fanned out so often at the most: each time is a write of its own."""
FRUITLESS_MIN_S, FRUITLESS_MAX_S = 0.25, 5.0
"""Wait after a look that failed, or when something is due but nobody gets it; grows from one to the other."""
END_S = 15.0
"""How long runs that were told to end, and the keeping of their results, may take at the stop."""


class Dispatcher:
    """Runs hooks.

    Args:
        store: where deliveries are kept.
        specs: the configured hooks.
        runners: one per kind of hook, see `tracker.hooks.kinds.registry.make_runners`.
        clock: the source of time.
        hooks_dir: directory of dropped scripts, read anew before each fan-out; None for none.
        draw: numbers from 0 to 1 for the jitter.
        redact: masks secrets in what hooks print or answer.
        max_running: runs side by side over all hooks, see `tracker.hooks.slots`.

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
        max_running: int = 32,
    ) -> None:
        self._store = store
        self._runners = dict(runners)
        self._clock = clock
        self._dropins = DropIns(hooks_dir) if hooks_dir is not None else None
        self._draw = draw
        self._health = HealthBook(clock)
        self._slots = Slots(self._health, max_running)
        self._configured = self._check(specs)
        self._dropped: dict[str, HookSpec] = {}
        self._hooks = dict(self._configured)
        self._runs = Runs(
            store,
            self._runners,
            clock,
            draw=draw,
            redact=redact,
            health=self._health,
            slots=self._slots,
            on_room=self._note_room,
        )
        self._runs.set_hooks(self._hooks)
        self._worth_a_look: set[str] = set()
        self._recalled: set[str] = set()
        self._fan_out_waits = True
        self._fruitless = 0
        self._fanned_out_at = float("-inf")
        self._woken = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._last_progress = clock.monotonic()

    @property
    def last_progress(self) -> float:
        """When the loop last came round, on the clock's monotonic scale; more than a minute ago means trouble."""
        return self._last_progress

    @property
    def specs(self) -> tuple[HookSpec, ...]:
        """All hooks as of the last look: the configured ones, then those dropped in."""
        return tuple(self._hooks.values())

    @property
    def running(self) -> int:
        """Deliveries under way now."""
        return len(self._runs)

    def describe(self) -> list[dict[str, Any]]:
        """Every hook with its health, as JSON."""
        return describe_hooks(self.specs, self.health)

    def ignored(self) -> list[dict[str, str | None]]:
        """The dropped files that are not run, and why, as JSON."""
        return [] if self._dropins is None else describe_ignored(self._dropins.ignored)

    def health(self, hook: str) -> tuple[HookHealth, int]:
        """How a hook is doing, and how many of its runs are under way."""
        return self._health.of(hook), self._slots.busy(hook)

    def start(self) -> None:
        """Begin to look for work. Called once, on the event loop."""
        if self._loop_task is not None:
            raise RuntimeError("the dispatcher was started before")
        self._last_progress = self._clock.monotonic()
        self._loop_task = asyncio.create_task(self._loop(), name="hook dispatcher")

    def wake(self) -> None:
        """Look at once: a commit announced something, or a delivery was made pending by hand. Never blocks."""
        self._fan_out_waits = True
        self._woken.set()

    def set_specs(self, specs: Sequence[HookSpec]) -> None:
        """Replace the configured hooks, and give every hook a new start, disabled ones included.

        Runs under way end under the description that they began with.

        Raises:
            ConfigError: as for the constructor; the old hooks stay.
        """
        self._configured = self._check(specs)
        self._health.forget()
        self._recalled.clear()
        self._set_dropped({name: spec for name, spec in self._dropped.items() if name not in self._configured})
        self._worth_a_look.update(self._hooks)
        self.wake()

    async def stop(self, drain_s: float) -> None:
        """Claim nothing more, let runs end, cut the rest short.

        A run that is cut short keeps its delivery id, and its delivery is pending again at once, whatever the
        number of its attempts.

        Args:
            drain_s: how long runs may go on, seconds.
        """
        self._stop_asked.set()
        self._woken.set()
        self._runs.stop()
        handing_back = asyncio.create_task(self._runs.hand_back(), name="hook jobs handed back")
        await self._wait_for_all(drain_s)
        self._runs.cut_short()
        await self._wait_for_all(END_S)
        left = self._list_tasks()
        if left:
            log.error("hook.abandoned", deliveries=self._runs.ids)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, handing_back, return_exceptions=True)
        # what a claim that was under way when the stop came has brought after all
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

    def _note_room(self, hook: str) -> None:
        self._worth_a_look.add(hook)
        self._woken.set()

    def _check(self, specs: Sequence[HookSpec]) -> dict[str, HookSpec]:
        problems = [f"hook {name!r} is there twice" for name, n in Counter(s.name for s in specs).items() if n > 1]
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
                    log.warning("hook.look_failed", error=str(error))
                else:
                    log.exception("hook.look_failed")
                # the next look starts from what is on disk; a storm of commits does not hurry it
                self._worth_a_look.update(self._hooks)
                wakes, wait_s = self._stop_asked, self._fruitless_s()
            self._last_progress = self._clock.monotonic()
            await self._sleep(wait_s, wakes)

    async def _sleep(self, wait_s: float, wakes: asyncio.Event) -> None:
        """Sleep until woken; on waking by time alone, everything is looked at again."""
        try:
            async with asyncio.timeout(wait_s):
                await wakes.wait()
        except TimeoutError:
            self._fan_out_waits = True
            self._worth_a_look.update(self._hooks)

    async def _look(self) -> float:
        """Fan out, then claim.

        Returns:
            Seconds until the next look, unless woken.
        """
        trouble: Exception | None = None
        try:
            await self._fan_out()
        except Exception as error:  # noqa: BLE001 - raised again below: what is there already goes on meanwhile
            trouble = error
        looked_at, claimed = await self._claim()
        if claimed:
            self._fruitless = 0
        if trouble is not None:
            raise trouble
        if self._woken.is_set():
            return 0.0
        idle = [name for name, spec in self._hooks.items() if self._slots.free(spec) > 0]
        due_in_s = await self._store.next_delivery_in_s(idle) if idle else None
        left_alone_s = self._health.opens_in_s(self._hooks)
        longest_s = MAX_SLEEP_S if left_alone_s is None else min(left_alone_s, MAX_SLEEP_S)
        wait_s = longest_s if due_in_s is None else due_in_s
        if wait_s > 0:
            self._fruitless = 0
            return min(wait_s, longest_s)
        self._worth_a_look.update(idle)
        if claimed or not looked_at.issuperset(idle):
            return 0.0
        return self._fruitless_s()

    def _fruitless_s(self) -> float:
        wait_s = growing_delay_s(self._fruitless, FRUITLESS_MIN_S, FRUITLESS_MAX_S)
        self._fruitless += 1
        return wait_s

    async def _fan_out(self) -> None:
        """Turn a batch of what was announced into deliveries; when more waits, the next look follows at once."""
        if not self._fan_out_waits:
            return
        early_s = self._fanned_out_at + GATHER_S - asyncio.get_running_loop().time()
        if early_s > 0:
            asyncio.get_running_loop().call_later(early_s, self._woken.set)
            return
        self._fanned_out_at = asyncio.get_running_loop().time()
        self._fan_out_waits = False  # before the first await: what is announced from here on sets it again
        named: set[str] = set()
        try:
            if self._dropins is not None:
                await self._rescan(self._dropins)
            match = make_match(self.specs, named.add) if self._hooks else None
            looked_at = await self._store.fan_out(match, FAN_OUT_LIMIT)
        except BaseException:
            self._fan_out_waits = True
            self._fanned_out_at = float("-inf")
            raise
        self._worth_a_look |= named
        if looked_at >= FAN_OUT_LIMIT:
            self.wake()

    async def _recall(self) -> None:
        """Read how hooks did before the start, or the reload: their state survives both."""
        for name in self._hooks.keys() - self._recalled:
            with contextlib.suppress(StoreUnavailable):  # the next look asks again
                latest = await self._store.list_all_deliveries(DeliveryFilter(hook=name, limit=RECALLED))
                self._health.recall(name, latest.items)
                self._recalled.add(name)

    async def _rescan(self, dropins: DropIns) -> None:
        """Read the directory of dropped scripts.

        Raises:
            OSError: it cannot be read for want of something that will come back; nothing is fanned out until
                then, for a hook that is not seen would miss its events for ever.
        """
        configured = self._configured
        found = await in_thread(lambda: dropins.scan(configured), name="hook drop-ins")
        found = {name: spec for name, spec in found.items() if name not in self._configured}
        if found != self._dropped:
            log.info("hook.dropins_changed", hooks=list(found))
            self._worth_a_look.update(found)
            self._set_dropped(found)

    # -- claims --------------------------------------------------------------------------------------------

    async def _claim(self) -> tuple[set[str], int]:
        """Fill the free slots of the hooks that are worth a look.

        Returns:
            The hooks that were looked at, and how many deliveries were claimed.
        """
        looked_at: set[str] = set()
        claimed = 0
        await self._runs.hand_back()
        # those with the fewest runs first: when the slots of all are scarce, everybody gets one
        for name in sorted(self._worth_a_look, key=lambda name: (self._slots.busy(name), self._draw())):
            if self._stop_asked.is_set():
                break
            spec = self._hooks.get(name)
            if spec is None:
                self._worth_a_look.discard(name)
                continue
            gone = self._health.why_gone(name)
            if gone is not None:
                self._worth_a_look.discard(name)
                looked_at.add(name)
                claimed += await self._store.fail_deliveries(name, gone)
                continue
            wanted = self._slots.wanted(spec)
            if wanted <= 0:
                continue  # the end of a run, or of a wait, will bring it back here
            jobs = await self._store.claim_deliveries(name, wanted, lease_s(spec))
            if len(jobs) < wanted:
                self._worth_a_look.discard(name)
            looked_at.add(name)
            claimed += len(jobs)
            self._runs.take(spec, jobs)
        return looked_at, claimed
