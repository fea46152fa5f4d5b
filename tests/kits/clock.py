"""The time at which tests start, and a running clock that a test moves forward."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from tracker.clock import truncate_to_milliseconds

START = datetime(2026, 11, 20, 20, 42, tzinfo=UTC)
RECORDED_AT = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
"""When the recorded payloads arrived."""


def after(seconds: float) -> datetime:
    """The time this many seconds after `START`."""
    return START + timedelta(seconds=seconds)


class RunningClock:
    """The machine's clock, plus the time that a test adds.

    Args:
        wall: the wall clock is stopped at this time; None for the machine's.
    """

    def __init__(self, wall: datetime | None = None) -> None:
        self._wall = wall
        self._ahead_s = 0.0

    def now(self) -> datetime:
        """The wall clock's time."""
        return truncate_to_milliseconds((self._wall or datetime.now(UTC)) + timedelta(seconds=self._ahead_s))

    def monotonic(self) -> float:
        """The machine's monotonic clock, plus the added time."""
        return time.monotonic() + self._ahead_s

    def time(self) -> float:
        """Seconds since the epoch, as `time.time`."""
        return time.time() + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Add time."""
        self._ahead_s += seconds
