"""Notices that the wall clock was set back, and moves due times back with it.

The store keeps due times by the wall clock, so that they survive a restart. After a step back of an hour nothing would
fall due for an hour: no poll, no deferred submit, no repeated hook. After a step forward everything falls due early,
once. The store itself handles steps between two processes when it opens.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tracker.logs import get_logger

if TYPE_CHECKING:
    from tracker.clock import Clock
    from tracker.store.protocol import Store

log = get_logger(__name__)

CHECK_EVERY_S: Final = 1.0
TOLERANCE_S: Final = 2.0
"""A clock that shows so much less than at the last check was set; a smaller step delays nothing for long."""


class ClockWatch:
    """Compares the wall clock with the monotonic clock.

    Args:
        store: its due times are moved.
        clock: both clocks.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._seen = self._clocks()
        self._owed_s = 0.0
        """Steps that the store has not followed yet."""

    async def check(self) -> None:
        """Compare the clocks with what they showed at the last check.

        Raises:
            StoreUnavailable: no due time was moved; the next check tries again.
        """
        (wall_before_s, steady_before_s), (wall_s, steady_s) = self._seen, self._clocks()
        self._seen = wall_s, steady_s
        if wall_before_s - wall_s > TOLERANCE_S:
            back_s = wall_before_s - wall_s + (steady_s - steady_before_s)
            log.warning("clock.stepped_back", seconds=round(back_s, 3))
            self._owed_s += back_s
        if self._owed_s:
            await self._store.move_due_times_back(timedelta(seconds=self._owed_s))
            self._owed_s = 0.0

    def _clocks(self) -> tuple[float, float]:
        return self._clock.now().timestamp(), self._clock.monotonic()
