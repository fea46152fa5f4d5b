"""One APScheduler job that keeps its beat whatever happens to the wall clock.

Owns when the next tick is. APScheduler plans by the wall clock: after a step forward its interval trigger lists every
tick that was missed (30 days of them block the event loop for most of a minute), after a step back it waits until
the clock is where it was. So the trigger here only ever looks one interval ahead of now, and a guard on the
monotonic clock wakes a job whose tick is overdue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

JOB_ID = "sweep"
GUARD_BEATS = 3.0
"""A tick is overdue after so many intervals, and at least `GUARD_AT_LEAST_S`."""
GUARD_AT_LEAST_S = 1.0


class _OneAhead(BaseTrigger):  # type: ignore[misc]  # apscheduler publishes no types
    """Fires one interval from now."""

    def __init__(self, interval_s: float) -> None:
        self._interval = timedelta(seconds=interval_s)

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        """One interval from ``now``."""
        return now + self._interval


class Ticks:
    """Calls a coroutine function at an interval; never two at a time.

    Args:
        tick: what is called; it must not raise.
        interval_s: seconds from one call to the next.
    """

    def __init__(self, tick: Callable[[], Coroutine[None, None, None]], interval_s: float) -> None:
        self._tick = tick
        self._interval_s = interval_s
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        self._guard: asyncio.TimerHandle | None = None
        self._beat_at = 0.0
        self._call: asyncio.Task[None] | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin, the first call at once."""
        self._scheduler.add_job(
            self._run,
            _OneAhead(self._interval_s),
            next_run_time=datetime.now(self._scheduler.timezone),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,  # a late tick runs late; the default would drop it
            id=JOB_ID,
        )
        self._scheduler.start()
        self._watch()

    def set_interval(self, interval_s: float) -> None:
        """Replace the interval."""
        if interval_s != self._interval_s:
            self._interval_s = interval_s
            self._scheduler.reschedule_job(JOB_ID, trigger=_OneAhead(interval_s))

    def stop(self) -> None:
        """Call no more; a call under way goes on, see `ended`. May be called again."""
        self._stopped = True
        if self._guard is not None:
            self._guard.cancel()
            self._guard = None
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    async def ended(self, within_s: float) -> None:
        """Wait for the call under way."""
        if self._call is not None:
            await asyncio.wait({self._call}, timeout=within_s)

    async def _run(self) -> None:
        self._beat_at = asyncio.get_running_loop().time()
        self._call = asyncio.create_task(self._tick())
        try:
            await asyncio.shield(self._call)
        except asyncio.CancelledError:
            if not self._stopped:  # APScheduler cancels its job when it shuts down, and would call that an error
                raise

    def _watch(self) -> None:
        """Look whether the beat goes on, by a clock that nobody sets."""
        loop = asyncio.get_running_loop()
        patience_s = max(GUARD_AT_LEAST_S, GUARD_BEATS * self._interval_s)
        if self._beat_at and loop.time() - self._beat_at > patience_s:
            self._scheduler.modify_job(JOB_ID, next_run_time=datetime.now(self._scheduler.timezone))
        self._guard = loop.call_later(patience_s, self._watch)
