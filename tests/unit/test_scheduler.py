"""The periodic jobs of the daemon, independent of the wall clock."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.kits.logs import captured_logs
from tracker.daemon.scheduler import Scheduler, _OneAhead
from tracker.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

JOB = "sweep"


@asynccontextmanager
async def scheduled(within_s: float = 20.0) -> AsyncIterator[Scheduler]:
    """A scheduler that is stopped at the end; the test must end in time."""
    scheduler = Scheduler()
    try:
        async with asyncio.timeout(within_s):
            yield scheduler
    finally:
        await scheduler.stop(0.0)


class Beats:
    """A job that counts its runs, and fails where it is given an error."""

    def __init__(self, error: Exception | None = None, wait_s: float | None = None) -> None:
        self.error = error
        self.wait_s = wait_s
        self.runs = asyncio.Semaphore(0)

    async def run(self) -> float | None:
        """The job."""
        self.runs.release()
        if self.error is not None:
            raise self.error
        return self.wait_s

    async def wait(self, runs: int) -> None:
        """Wait for so many runs."""
        for _ in range(runs):
            await self.runs.acquire()


async def test_the_first_run_comes_at_once_and_others_follow() -> None:
    """No interval has to pass before the first."""
    beats = Beats()
    async with scheduled() as scheduler:
        scheduler.add(JOB, beats.run, 0.01)
        await beats.wait(5)


@pytest.mark.parametrize("interval_s", [0.01, 86_400.0])
async def test_a_clock_set_back_delays_no_job(interval_s: float) -> None:
    """A next run that lies a month ahead, as after a step back, is brought forward for every job."""
    beats = Beats()
    async with scheduled() as scheduler:
        scheduler.add(JOB, beats.run, interval_s)
        await beats.wait(1)
        scheduler._scheduler.modify_job(JOB, next_run_time=datetime.now(UTC) + timedelta(days=30))
        # a run that was under way may still end, so it is not counted
        while scheduler._scheduler.get_job(JOB).next_run_time < datetime.now(UTC) + timedelta(days=29):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        while not beats.runs.locked():
            await beats.wait(1)
        scheduler._jobs[JOB].due_at -= 2 * interval_s  # so much time passes
        await beats.wait(1)


@pytest.mark.parametrize("error", [StoreUnavailable("the disk is full"), OverflowError("year 99999")])
async def test_a_job_that_fails_is_logged_and_runs_again(error: Exception) -> None:
    """An error ends neither the job nor another one; it is tried again after its own wait."""
    beats, other = Beats(error), Beats()
    with captured_logs() as logs:
        async with scheduled() as scheduler:
            scheduler.add(JOB, beats.run, 3600.0, retry_s=0.01)
            scheduler.add("other", other.run, 0.01)
            await beats.wait(3)
            await other.wait(3)
    failed = [entry for entry in logs if entry["event"] == "job.failed"]
    assert {entry["job"] for entry in failed} == {JOB}
    assert len(failed) >= 2


async def test_a_job_may_return_its_next_delay() -> None:
    """Its return value replaces its interval."""
    beats = Beats(wait_s=0.01)
    async with scheduled() as scheduler:
        scheduler.add(JOB, beats.run, 3600.0)
        await beats.wait(3)


async def test_a_job_may_begin_later_and_change_its_interval() -> None:
    """The first run comes after `first_after_s`, unless the interval is replaced meanwhile."""
    beats = Beats()
    async with scheduled() as scheduler:
        scheduler.add(JOB, beats.run, 3600.0, first_after_s=3600.0)
        await asyncio.sleep(0)
        assert beats.runs.locked()
        scheduler.set_interval(JOB, 0.01)
        await beats.wait(2)


async def test_a_run_under_way_at_the_stop_may_end(caplog: pytest.LogCaptureFixture) -> None:
    """The stop waits for its end; APScheduler logs no error."""
    begun, may_end = asyncio.Event(), asyncio.Event()
    ends: list[str] = []

    async def run() -> None:
        begun.set()
        await may_end.wait()
        ends.append("by itself")

    async with scheduled() as scheduler:
        scheduler.add(JOB, run, 0.01)
        await begun.wait()
        stop = asyncio.create_task(scheduler.stop(10.0))
        await asyncio.sleep(0)
        may_end.set()
        await stop
        assert ends == ["by itself"]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_run_that_takes_too_long_at_the_stop_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    """The stop does not exceed its time limit."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with scheduled() as scheduler:
        scheduler.add(JOB, run, 0.01)
        await begun.wait()
        await scheduler.stop(0.0)
        assert ended.is_set()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_clock_set_forward_makes_one_run_not_thousands() -> None:
    """The trigger only ever looks one interval ahead of now."""
    trigger = _OneAhead(1.0)
    now = datetime(2026, 11, 20, tzinfo=UTC)
    assert trigger.get_next_fire_time(now - timedelta(days=30), now) == now + timedelta(seconds=1)
    assert trigger.get_next_fire_time(None, now) == now + timedelta(seconds=1)
