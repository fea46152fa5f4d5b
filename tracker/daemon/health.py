"""Health checks: whether the daemon is ready, whether it is wedged, and a status line with live counts.

Owns the checks and their limits. Must not change anything.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tracker.domain.health import Health
from tracker.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracker.archive.archiver import Archiver
    from tracker.clock import Clock
    from tracker.domain.alarms import Alarm
    from tracker.hooks.dispatcher import Dispatcher
    from tracker.store.protocol import Store
    from tracker.tracking.poller import Poller

STUCK_AFTER_S: Final = 60.0
"""A writer with work waiting, a dispatcher or an archiver that made no progress for so long is stuck."""
WRITE_WITHIN_S: Final = 5.0
"""A store in which a write takes longer is not writable: providers give up on a callback after 10 to 15 s."""
WRITTEN_LATELY_S: Final = 2.0
"""A write proves the store writable for so long, so that frequent health checks cause few writes."""


class HealthChecks:
    """Checks the parts that must make progress.

    Args:
        store: its writer, and the counts.
        poller: its sweeps.
        dispatcher: its rounds.
        archiver: its rounds.
        clock: only its monotonic time is compared.
        write_within_s: how long a write may take.
        disk: free space of the store: what is wrong, and whether it counts as full.
        alarms: those that are raised now.
    """

    def __init__(
        self,
        store: Store,
        poller: Poller,
        dispatcher: Dispatcher,
        archiver: Archiver,
        clock: Clock,
        *,
        write_within_s: float = WRITE_WITHIN_S,
        disk: Callable[[], tuple[str | None, bool]] = lambda: (None, False),
        alarms: Callable[[], Sequence[Alarm]] = tuple,
    ) -> None:
        self._store = store
        self._poller = poller
        self._dispatcher = dispatcher
        self._archiver = archiver
        self._clock = clock
        self._write_within_s = write_within_s
        self._disk = disk
        self._alarms = alarms
        self._written_at: float | None = None

    async def health(self) -> Health:
        """Whether the daemon can do its work, and why not: the sweeps are made, and a write has just been committed.

        Alarms are listed among the reasons, and do not make it unready.
        """
        stalled = ["The polling loop has stopped completing its sweeps."] if self._poller.is_stalled else []
        reasons = [*stalled, *(self._stuck() or await self._unwritable())]
        disk, is_full = self._disk()
        if disk is not None and is_full:
            reasons.append(disk)
        alarms = self._alarms()
        named = dict.fromkeys([*reasons, *(alarm.message for alarm in alarms)])
        return Health(not reasons, list(named), alarms=len(alarms))

    def wedged(self) -> list[str]:
        """The parts that make no progress at all, one sentence each: only a restart helps.

        A full disk is not one of them: sweeps fail and callbacks are answered 503, and a restart would not fix it.
        """
        wedged = ["The polling loop makes no progress."] if self._poller.is_wedged else []
        return [*wedged, *self._stuck()]

    async def status_line(self) -> str:
        """One line for people: why the daemon is not ready, else live counts.

        Raises:
            StoreUnavailable: they cannot be read now.
        """
        health = await self.health()
        if not health.ready:
            return f"Not ready: {' '.join(health.reasons)}"
        counts = await self._store.count_open()
        return (
            f"{counts.running} running, {counts.pending} pending, {counts.due} due for a poll; "
            f"{counts.deliveries} hook deliveries open, {self._dispatcher.running} under way"
        ) + "".join(f"; {reason.rstrip('.')}" for reason in health.reasons)

    async def _unwritable(self) -> list[str]:
        now = self._clock.monotonic()
        try:
            self._store.check_storage()
        except StoreUnavailable:
            self._written_at = None  # the last write no longer proves anything
        if self._written_at is not None and now - self._written_at < WRITTEN_LATELY_S:
            return []
        try:
            async with asyncio.timeout(self._write_within_s):
                await self._store.check_writable()
        except StoreUnavailable as error:
            return [f"The store takes no writes: {error}."]
        except TimeoutError:
            return [f"The store has not completed a write within {self._write_within_s:g} s."]
        self._written_at = now
        return []

    def _stuck(self) -> list[str]:
        now = self._clock.monotonic()
        reasons = []
        writer = self._store.writer_progress
        if writer.waiting and now - writer.answered_at > STUCK_AFTER_S:
            reasons.append(f"The store has not completed a write for {STUCK_AFTER_S:g} s.")
        if writer.lost_since is not None and now - writer.lost_since > STUCK_AFTER_S:
            reasons.append(f"The store has had no usable connection for {STUCK_AFTER_S:g} s.")
        if now - self._dispatcher.last_progress > STUCK_AFTER_S:
            reasons.append("The hook dispatcher has stopped.")
        if now - self._archiver.last_progress > STUCK_AFTER_S:
            reasons.append("The archiver has stopped.")
        return reasons
