"""Who may begin a run now: the slots of each hook, the share of each in the whole, and jobs claimed ahead.

Owns the counting. Must not run, claim or wait for anything.

All runs together stay within ``max_running``, but no hook is kept below its share of it (``max_running`` divided by
the number of hooks) by what others do: hooks that hang in every slot they have cannot take those of their
neighbours. So at worst twice ``max_running`` go on side by side.

A hook whose runs are quick has jobs claimed ahead, up to as many as its concurrency: the end of one run begins the
next without a word to the store. They are held by lease like any other claimed job, and are handed back when the
hook is left alone, changed, or the daemon stops.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tracker.config.hooks import HookSpec

if TYPE_CHECKING:
    from tracker.hooks.health import HealthBook
    from tracker.store.values import DeliveryJob

QUICK_S = 0.5
"""A hook whose last run was over sooner has jobs claimed ahead."""


class Slots:
    """The slots of all hooks.

    Args:
        health: which hooks are left alone.
        max_running: runs side by side over all hooks, see the module's text.
    """

    def __init__(self, health: HealthBook, max_running: int) -> None:
        self._health = health
        self._max_running = max_running
        self._share = max_running
        self._running = 0
        self._busy: Counter[str] = Counter()
        self._quick: set[str] = set()
        self._ready: defaultdict[str, dict[str, DeliveryJob]] = defaultdict(dict)

    def share_among(self, hooks: int) -> None:
        """Set the number of hooks that share the whole."""
        self._share = max(self._max_running // max(hooks, 1), 1)

    def busy(self, hook: str) -> int:
        """Runs of a hook under way."""
        return self._busy[hook]

    def free(self, spec: HookSpec) -> int:
        """How many runs of a hook may begin now."""
        busy = self._busy[spec.name]
        left = min(spec.concurrency - busy, max(self._max_running - self._running, self._share - busy))
        admitted = self._health.admits(spec.name, busy)
        return max(left if admitted is None else min(left, admitted), 0)

    def wanted(self, spec: HookSpec) -> int:
        """How many jobs of a hook to claim now: for its free slots, and ahead where that pays."""
        ready = len(self._ready[spec.name])
        free = self.free(spec) - ready
        if spec.name not in self._quick or self._health.admits(spec.name, 0) is not None:
            return max(free, 0)
        return max(free + spec.concurrency, 0) if self.is_low(spec) else 0

    def is_low(self, spec: HookSpec) -> bool:
        """Whether less than half of what may be claimed ahead is there."""
        return len(self._ready[spec.name]) * 2 <= spec.concurrency

    def take(self, hook: str) -> None:
        """A run begins."""
        self._busy[hook] += 1
        self._running += 1

    def give_back(self, hook: str, ran_s: float) -> None:
        """A run has ended after so many seconds."""
        self._busy[hook] -= 1
        self._running -= 1
        if ran_s < QUICK_S:
            self._quick.add(hook)
        else:
            self._quick.discard(hook)

    # -- jobs claimed ahead --------------------------------------------------------------------------------

    def put(self, jobs: Iterable[DeliveryJob]) -> None:
        """Keep claimed jobs; one that is here already is the same delivery, claimed again after its lease."""
        for job in jobs:
            self._ready[job.hook][job.id] = job

    def next_ready(self, hook: str) -> DeliveryJob | None:
        """The job of a hook that waits longest, no longer kept here; None when none does."""
        ready = self._ready[hook]
        return ready.pop(next(iter(ready))) if ready else None

    def withdraw(self, hook: str | None = None) -> list[DeliveryJob]:
        """The jobs of a hook, or of all hooks, no longer kept here."""
        hooks = list(self._ready) if hook is None else [hook]
        return [job for name in hooks for job in self._ready.pop(name, {}).values()]
