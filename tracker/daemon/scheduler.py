"""The scheduler of the daemon: it runs every periodic job, independent of the wall clock.

Owns when each job runs next. Has no job per task: the sweep finds what is due. Work that waits for events
(dispatcher, archiver, change feed) is not a job, nor is the watchdog, which is pinged until the daemon has stopped.

APScheduler plans by the wall clock: after a step forward its interval trigger lists every run that was missed (30 days
of them block the event loop for most of a minute), after a step back it waits until the clock is where it was. So the
trigger here looks one interval ahead of now, and a guard on the monotonic clock starts a job whose run is overdue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from tracker.errors import StoreError
from tracker.logs import get_logger

log = get_logger(__name__)

GUARD_EVERY_S: Final = 1.0
OVERDUE_INTERVALS: Final = 2.0
"""A run that is late by so many intervals, and by `GUARD_EVERY_S`, is overdue …"""
OVERDUE_AT_MOST_S: Final = 60.0
"""… and in any case after so long."""

Work = Callable[[], Awaitable[float | None]]
"""The work of a job. It may return the seconds until its next run; None: the job's interval."""


class _OneAhead(BaseTrigger):  # type: ignore[misc]  # apscheduler publishes no types
    """Fires one interval from now."""

    def __init__(self, interval_s: float) -> None:
        self._interval = timedelta(seconds=interval_s)

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        """One interval from ``now``."""
        return now + self._interval


@dataclass(slots=True)
class _Job:
    """A periodic job.

    Attributes:
        retry_s: from a failed run to the next.
        due_at: when it runs next, seconds of the event loop's clock.
        call: the last run.
        added_at: seconds of the event loop's clock.
        succeeded_at: when a run last ended without an error; None before that.
    """

    name: str
    work: Work
    interval_s: float
    retry_s: float
    due_at: float
    added_at: float
    call: asyncio.Task[float | None] | None = None
    succeeded_at: float | None = None


class Scheduler:
    """Runs jobs; never two runs of one job at a time."""

    def __init__(self) -> None:
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        self._jobs: dict[str, _Job] = {}
        self._guard: asyncio.TimerHandle | None = None
        self._stopped = False

    def add(
        self, name: str, work: Work, interval_s: float, *, first_after_s: float = 0.0, retry_s: float | None = None
    ) -> None:
        """Run a job from now on. Called on the event loop.

        Args:
            name: unique; it is in the log.
            work: see `Work`; an error in it is logged.
            interval_s: from the start of one run to the next.
            first_after_s: until the first run.
            retry_s: until the next run after an error; None: the interval.
        """
        retry_s = interval_s if retry_s is None else retry_s
        job = self._jobs[name] = _Job(name, work, interval_s, retry_s, self._now() + first_after_s, self._now())
        self._scheduler.add_job(
            self._run,
            _OneAhead(interval_s),
            args=(job,),
            next_run_time=self._in(first_after_s),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,  # a late run runs late; the default would drop it
            id=name,
        )
        if not self._scheduler.running:
            self._scheduler.start()
            self._watch()

    def set_interval(self, name: str, interval_s: float) -> None:
        """Replace the interval of a job."""
        job = self._jobs[name]
        if interval_s != job.interval_s:
            job.interval_s = job.retry_s = interval_s
            self._scheduler.reschedule_job(name, trigger=_OneAhead(interval_s))
            job.due_at = self._now() + interval_s

    def ages(self) -> dict[str, float]:
        """Job, with ``_`` for spaces -> seconds since a run of it last ended without an error."""
        now = self._now()
        return {
            job.name.replace(" ", "_"): now - job.succeeded_at
            for job in self._jobs.values()
            if job.succeeded_at is not None
        }

    def unsuccessful_s(self, name: str) -> float:
        """Seconds since a run of a job last ended without an error, or since the job was added; 0 before that."""
        job = self._jobs.get(name)
        if job is None:
            return 0.0
        return self._now() - (job.added_at if job.succeeded_at is None else job.succeeded_at)

    async def stop(self, within_s: float) -> None:
        """Start no more runs, let running ones end, and cancel those that take longer. May be called again.

        Args:
            within_s: the time limit of running jobs.
        """
        self._stopped = True
        if self._guard is not None:
            self._guard.cancel()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        calls = [job.call for job in self._jobs.values() if job.call is not None]
        if calls:
            await asyncio.wait(calls, timeout=within_s)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    async def _run(self, job: _Job) -> None:
        job.due_at = self._now() + job.interval_s
        job.call = asyncio.create_task(self._call(job), name=job.name)
        try:
            wait_s = await asyncio.shield(job.call)
        except asyncio.CancelledError:
            if not self._stopped:  # APScheduler cancels its job when it shuts down, and would log that as an error
                raise
            return
        if wait_s is not None and not self._stopped:
            job.due_at = self._now() + wait_s
            self._scheduler.modify_job(job.name, next_run_time=self._in(wait_s))

    async def _call(self, job: _Job) -> float | None:
        try:
            wait_s = await job.work()
        except StoreError as error:
            log.warning("job.failed", job=job.name, error=str(error))
        except Exception:
            log.exception("job.failed", job=job.name)
        else:
            job.succeeded_at = self._now()
            return wait_s
        return job.retry_s

    def _watch(self) -> None:
        """Start the jobs whose run is overdue by the monotonic clock."""
        for job in self._jobs.values():
            patience_s = min(max(GUARD_EVERY_S, OVERDUE_INTERVALS * job.interval_s), OVERDUE_AT_MOST_S)
            is_running = job.call is not None and not job.call.done()
            if not is_running and self._now() - job.due_at > patience_s:
                self._scheduler.modify_job(job.name, next_run_time=self._in(0.0))
        self._guard = asyncio.get_running_loop().call_later(GUARD_EVERY_S, self._watch)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _in(self, seconds: float) -> datetime:
        return datetime.now(self._scheduler.timezone) + timedelta(seconds=seconds)
