"""Deliveries under way, the slots of hooks, and which hooks to look at for more.

Must not wait for anything but the store, and must not fan out.

A hook is looked at if three things hold: it may have due deliveries, it has a free slot, and its circuit is not open.
Only the first is stored, as a mark that `Runs.look_at` sets and a claim removes when it finds fewer deliveries than
it asks for. The other two are read when they are needed, so that no code has to report them.

All runs together stay within ``max_running``, but each hook has its share of it (``max_running`` divided by the
number of hooks) for itself: hooks that hang in every slot cannot take those of others. So at worst twice
``max_running`` run side by side.

A hook with quick runs has jobs claimed ahead: the end of one run begins the next without asking the store. There are
as many as its concurrency, more if its runs take less than a claim. They are leased like any other claimed job, and
are handed back if runs become slow, the circuit opens, the hook changes, or the daemon stops.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from tracker.domain.deliveries import TaskJob
from tracker.hooks.delivery import Delivery, lease_s
from tracker.hooks.runner import Runner, RunOutcome, RunResult
from tracker.hooks.tallies import HookTallies
from tracker.upstream.deadlines import Deadlines

if TYPE_CHECKING:
    from tracker.clock import Clock
    from tracker.config.hooks import HookSpec
    from tracker.domain.deliveries import DeliveryJob
    from tracker.domain.durations import Outlook
    from tracker.domain.task import Task
    from tracker.hooks.health import HealthBook
    from tracker.store.protocol import Store

QUICK_S = 0.5
"""A hook whose last run succeeded in less has jobs claimed ahead."""
AHEAD_S = 0.02
"""Jobs are claimed ahead for so long: a claim waits for one commit, and takes another."""
AHEAD_MAX = 256
"""Jobs claimed ahead of a hook whose concurrency is not higher."""


class Runs:
    """The deliveries under way.

    Args:
        store: has the deliveries.
        runners: one per kind of hook.
        hooks: all hooks, by name.
        draw: numbers from 0 to 1 for the jitter.
        redact: masks secrets in what hooks print or answer.
        outlook: the future of a task.
        health: which circuits are open.
        max_running: runs side by side over all hooks, see the module's text.
        clock: the source of time.

    Attributes:
        tallies: counts the runs.
        woken: set if a hook is to be looked at, jobs are to be released, or a circuit has opened.
    """

    def __init__(
        self,
        store: Store,
        runners: Mapping[str, Runner],
        hooks: Mapping[str, HookSpec],
        *,
        draw: Callable[[], float],
        redact: Callable[[str], str],
        outlook: Callable[[Task], Outlook],
        health: HealthBook,
        max_running: int,
        clock: Clock,
    ) -> None:
        self.woken = asyncio.Event()
        self._store = store
        self._runners = runners
        self._hooks = hooks
        self._draw = draw
        self._redact = redact
        self._outlook = outlook
        self._health = health
        self._max_running = max_running
        self._clock = clock
        self.tallies = HookTallies()
        self._running = 0
        self._busy: Counter[str] = Counter()
        self._ahead: dict[str, int] = {}
        self._ready: defaultdict[str, dict[str, DeliveryJob]] = defaultdict(dict)
        self._under_way: dict[str, tuple[Delivery, asyncio.Task[None]]] = {}
        self._to_hand_back: list[DeliveryJob] = []
        self._dirty_hooks: set[str] = set()
        self._is_stopping = False
        self._deadlines = Deadlines()

    @property
    def ids(self) -> list[str]:
        """The deliveries under way."""
        return list(self._under_way)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Their tasks; none raises anything."""
        return [task for _, task in self._under_way.values()]

    def busy(self, hook: str) -> int:
        """Runs of a hook under way."""
        return self._busy[hook]

    def free(self, spec: HookSpec) -> int:
        """How many runs of a hook may begin now."""
        busy = self._busy[spec.name]
        share = max(self._max_running // max(len(self._hooks), 1), 1)
        free = min(spec.concurrency - busy, max(self._max_running - self._running, share - busy))
        admitted = self._health.admits(spec.name, busy)
        return max(free if admitted is None else min(free, admitted), 0)

    def set_hooks(self, hooks: Mapping[str, HookSpec]) -> None:
        """Use these hooks from now on; jobs claimed ahead for changed ones are handed back."""
        changed = [name for name, spec in self._hooks.items() if hooks.get(name) is not spec]
        self._hooks = hooks
        self._dirty_hooks &= hooks.keys()
        for name in changed:
            self._withdraw(name)
        self._begin_ready()  # the share of each hook may have grown
        self.look_at(hooks)

    # -- which hooks to look at ----------------------------------------------------------------------------

    def look_at(self, hooks: Iterable[str], *, wake: bool = True) -> None:
        """Mark hooks that may have due deliveries, and wake the dispatcher if any marked hook can take some."""
        self._dirty_hooks.update(hooks)
        if wake and any(map(self._can_take, self._dirty_hooks)):
            self.woken.set()

    def hooks_to_look_at(self) -> list[str]:
        """The marked hooks that can take deliveries now, those with the fewest runs first: scarce slots are shared."""
        able = filter(self._can_take, self._dirty_hooks)
        return sorted(able, key=lambda name: (self._busy[name], self._draw()))

    async def claim(self) -> tuple[set[str], int]:
        """Fill the free slots of the marked hooks; fail the deliveries of disabled ones.

        Returns:
            The hooks that were looked at, and how many deliveries were claimed.
        """
        looked_at: set[str] = set()
        claimed = 0
        await self.hand_back()
        for name in self.hooks_to_look_at():
            if self._is_stopping or not self._can_take(name):  # it changed while the store was asked for another
                continue
            looked_at.add(name)
            self._dirty_hooks.discard(name)  # before the store is asked: what happens meanwhile marks it again
            is_drained = False
            try:
                claimed_of_it, is_drained = await self._claim_of(self._hooks[name])
                claimed += claimed_of_it
            finally:
                if not is_drained:
                    self._dirty_hooks.add(name)
        return looked_at, claimed

    async def _claim_of(self, spec: HookSpec) -> tuple[int, bool]:
        """How many deliveries of a hook were claimed, and whether no due one is left."""
        if (gone := self._health.why_gone(spec.name)) is not None:
            failed = await self._store.fail_deliveries(spec.name, gone)
            self.tallies.note_failed(spec.name, failed)
            return failed, True
        wanted = self._wanted(spec)
        jobs = await self._store.claim_deliveries(spec.name, wanted, lease_s(spec))
        self._take(spec, jobs)
        return len(jobs), len(jobs) < wanted

    def _can_take(self, hook: str) -> bool:
        """Whether a hook has a free slot and its circuit is not open; or it is disabled, which ends deliveries."""
        spec = self._hooks.get(hook)
        return spec is not None and (self._wanted(spec) > 0 or self._health.why_gone(hook) is not None)

    def _wanted(self, spec: HookSpec) -> int:
        """How many jobs of a hook to claim now: for its free slots, and ahead if its runs are quick."""
        ready, ahead = len(self._ready[spec.name]), self._ahead.get(spec.name, 0)
        if ahead and self._health.admits(spec.name, 0) is not None:
            ahead = 0
        if ahead and ready * 2 > ahead:
            return 0
        return max(self.free(spec) - ready + ahead, 0)

    # -- runs ----------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Begin nothing more."""
        self._is_stopping = True
        for name in list(self._ready):
            self._withdraw(name)

    def cut_short(self) -> None:
        """End all runs; their deliveries become pending at once."""
        for delivery, _ in self._under_way.values():
            delivery.cut_short()

    async def hand_back(self) -> None:
        """Make jobs that were claimed ahead and are not wanted pending again, as if they had not been claimed.

        Raises:
            StoreUnavailable: that could not be recorded; the next call tries again.
        """
        if self._to_hand_back:
            jobs, self._to_hand_back = self._to_hand_back, []
            try:
                await self._store.release_deliveries([(job.id, job.attempt) for job in jobs])
            except BaseException:
                self._to_hand_back += jobs
                raise

    def _take(self, spec: HookSpec, jobs: Iterable[DeliveryJob]) -> None:
        """Begin as many claimed jobs as have a slot; hold the others."""
        for job in jobs:
            if job.id in self._under_way:  # its lease ran out, perhaps because its result cannot be recorded
                self._under_way[job.id][0].claimed_again(job.attempt)
            else:
                self._ready[job.hook][job.id] = job
        is_changed = self._hooks.get(spec.name) is not spec
        if self._is_stopping or is_changed or self._health.why_gone(spec.name) is not None:
            self._withdraw(spec.name)  # that happened during the claim
        self._begin_ready()
        if self._health.admits(spec.name, 0) is not None:
            self._withdraw(spec.name)  # its circuit opened during the claim: only one probe begins at a time

    def _withdraw(self, hook: str, but: int = 0) -> None:
        """Hand back what was claimed ahead of a hook, but for the first jobs."""
        if len(ready := self._ready[hook]) > but:
            jobs = list(ready.values())
            self._ready[hook] = {job.id: job for job in jobs[:but]}
            self._to_hand_back += jobs[but:]
            self._dirty_hooks.add(hook)
            self.woken.set()

    def _begin_ready(self, first: str | None = None) -> None:
        """Begin claimed jobs as far as there are free slots: those of ``first``, then those of the other hooks."""
        names = [name for name, ready in self._ready.items() if ready and name != first]
        for name in names if first is None else [first, *names]:
            ready, spec = self._ready.get(name), self._hooks.get(name)
            while ready and spec is not None and not self._is_stopping and self.free(spec) > 0:
                self._begin(ready.pop(next(iter(ready))), spec)

    def _begin(self, job: DeliveryJob, spec: HookSpec) -> None:
        self._busy[spec.name] += 1
        self._running += 1
        if isinstance(job, TaskJob) and not job.record.task.status.is_terminal:
            job = replace(job, outlook=self._outlook(job.record.task))
        delivery = Delivery(
            job,
            spec,
            self._runners[spec.action.kind],
            store=self._store,
            draw=self._draw,
            redact=self._redact,
            deadlines=self._deadlines,
            clock=self._clock,
            tallies=self.tallies,
        )
        task = asyncio.create_task(self._deliver(delivery, job.id, spec), name=f"hook {job.hook} {job.id}")
        self._under_way[job.id] = delivery, task

    async def _deliver(self, delivery: Delivery, delivery_id: str, spec: HookSpec) -> None:
        """Run a delivery and record the result; raises nothing."""
        result = None
        try:
            try:
                result = await delivery.run()
            finally:
                self._ended(spec, result, delivery.took_s)
            # No wait in between: the result reaches the writer before the claim that the end of the run causes, so
            # that this claim finds the next event of the same task.
            await delivery.record(result)
        finally:
            del self._under_way[delivery_id]
            if delivery.was_delayed:
                self.look_at([spec.name])

    def _ended(self, spec: HookSpec, result: RunResult | None, ran_s: float) -> None:
        """Free the slot of a run, note its result, begin the next."""
        self._busy[spec.name] -= 1
        self._running -= 1
        self.tallies.durations[spec.name].observe(ran_s)
        has_succeeded = result is not None and result.outcome is RunOutcome.SUCCEEDED
        self._ahead[spec.name] = _jobs_ahead(spec.concurrency, ran_s) if has_succeeded else 0
        if ran_s >= QUICK_S:
            self._withdraw(spec.name, but=spec.concurrency)  # the others would wait for more than one run
        if result is not None and self._hooks.get(spec.name) is spec:  # a changed hook has a new health
            self._health.note(spec, result)
            if result.outcome is RunOutcome.GONE or self._health.admits(spec.name, 0) is not None:
                self._withdraw(spec.name)
                self.woken.set()  # the dispatcher must not sleep past the next probe
        self._begin_ready(spec.name)
        self.look_at([spec.name])


def _jobs_ahead(concurrency: int, ran_s: float) -> int:
    """How many jobs to claim ahead of a hook, by the time that a run of it takes."""
    if ran_s >= QUICK_S:
        return 0
    enough = concurrency * AHEAD_S / max(ran_s, 0.0001)
    return max(concurrency, min(math.ceil(enough), AHEAD_MAX))
