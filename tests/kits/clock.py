"""The time at which tests start, a clock that only moves on command, and a running one that a test moves forward."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 20, 20, 42, tzinfo=UTC)
RECORDED_AT = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
"""When the recorded payloads arrived."""


def after(seconds: float) -> datetime:
    """The time this many seconds after `START`."""
    return START + timedelta(seconds=seconds)


def truncate_to_milliseconds(time: datetime) -> datetime:
    """Truncate an aware datetime to milliseconds, so that the store returns it unchanged."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


class ManualClock:
    """A clock that only moves on command.

    Args:
        start: its first time, aware UTC.
    """

    def __init__(self, start: datetime) -> None:
        self._start = truncate_to_milliseconds(start)
        self._elapsed_s = 0.0

    def now(self) -> datetime:
        """The time it was set to."""
        return truncate_to_milliseconds(self._start + timedelta(seconds=self._elapsed_s))

    def monotonic(self) -> float:
        """Seconds since it was made."""
        return self._elapsed_s

    def advance(self, seconds: float) -> None:
        """Move forward by ``seconds`` (never back)."""
        if seconds < 0:
            raise ValueError(f"a clock does not go back: {seconds} s")
        self._elapsed_s += seconds


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
