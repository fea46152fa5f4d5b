"""A rate limit for unauthenticated senders: a token bucket that refuses instead of waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.clock import Clock


class Throttle:
    """Admits so many per second, and a burst.

    Args:
        clock: only its monotonic time is used.
        per_s: how many are admitted per second in the long run.
        burst: how many at once, 1 or more.
    """

    def __init__(self, clock: Clock, per_s: float, burst: float) -> None:
        self._clock = clock
        self._per_s = per_s
        self._burst = burst
        self._left = burst
        self._at = clock.monotonic()

    def admits(self, count: int = 1) -> bool:
        """Count so many if all of them are within the limit now; whether they are. At most a burst."""
        now = self._clock.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < count:
            return False
        self._left -= count
        return True
