"""Time limits of requests and hook runs, all with one timer.

`asyncio.timeout` costs two coroutines and a timer, 4 us a request, and hardly any of these timers ever ends. Here one
timer waits for the first limit that may end. Must not know what is limited.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Deadlines:
    """Makes time limits; for one event loop."""

    def __init__(self) -> None:
        self._limits: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._ends_at = 0.0

    def within(self, seconds: float) -> Deadline:
        """A limit for the body of a ``with`` statement, with the meaning of `asyncio.timeout`.

        When it ends, the current task is cancelled once, and the ``with`` statement raises TimeoutError in its place.
        """
        return Deadline(self, seconds)

    def add(self, limit: Deadline) -> None:
        """Watch a limit, until `discard`."""
        self._limits.add(limit)
        if self._timer is None or limit.ends_at < self._ends_at:
            self._wait_until(limit.ends_at)

    def discard(self, limit: Deadline) -> None:
        """Stop watching a limit. The timer stays: the next limit nearly always ends after it."""
        self._limits.discard(limit)

    def _wait_until(self, ends_at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._ends_at = ends_at
        self._timer = asyncio.get_running_loop().call_at(ends_at, self._end)

    def _end(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for limit in [limit for limit in self._limits if limit.ends_at <= now]:
            self._limits.discard(limit)
            limit.end()
        if self._limits:
            self._wait_until(min(limit.ends_at for limit in self._limits))


class Deadline:
    """One limit, see `Deadlines.within`.

    Attributes:
        ends_at: on the event loop's clock.
    """

    __slots__ = ("_cancelling", "_deadlines", "_has_ended", "_seconds", "_task", "ends_at")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self._has_ended = False

    def __enter__(self) -> Self:
        """Begin to wait for its end."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._task = task
        self._cancelling = task.cancelling()
        self.ends_at = asyncio.get_running_loop().time() + self._seconds
        self._deadlines.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raise TimeoutError if it has ended, and nothing else has cancelled the task."""
        self._deadlines.discard(self)
        if self._has_ended and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end(self) -> None:
        """Cancel its task."""
        self._has_ended = True
        self._task.cancel()
