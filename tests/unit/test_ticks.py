"""The beat of the sweep, whatever the wall clock does."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest

from tracker.tracking.ticks import JOB_ID, Ticks, _OneAhead


async def test_the_first_tick_comes_at_once_and_others_follow() -> None:
    """No interval has to pass before the first."""
    beats = asyncio.Semaphore(0)

    async def tick() -> None:
        beats.release()

    ticks = Ticks(tick, 0.01)
    ticks.start()
    try:
        async with asyncio.timeout(10):
            for _ in range(5):
                await beats.acquire()
    finally:
        ticks.stop()


async def test_a_clock_set_back_delays_no_tick() -> None:
    """A next run that lies an hour ahead, as after a step back, is brought forward."""
    beats = asyncio.Semaphore(0)

    async def tick() -> None:
        beats.release()

    ticks = Ticks(tick, 0.01)
    ticks.start()
    try:
        async with asyncio.timeout(20):
            await beats.acquire()
            ticks._scheduler.modify_job(JOB_ID, next_run_time=datetime.now(UTC) + timedelta(hours=1))
            # a tick that was under way may still end, and proves nothing
            while ticks._scheduler.get_job(JOB_ID).next_run_time > datetime.now(UTC) + timedelta(minutes=1):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            while not beats.locked():
                await beats.acquire()
            await beats.acquire()
    finally:
        ticks.stop()


async def test_a_call_under_way_at_the_stop_goes_on_and_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """It comes to its own end, which can be waited for; APScheduler has nothing to complain about."""
    begun, may_end = asyncio.Event(), asyncio.Event()
    ends: list[str] = []

    async def tick() -> None:
        begun.set()
        await may_end.wait()
        ends.append("by itself")

    ticks = Ticks(tick, 0.01)
    ticks.start()
    async with asyncio.timeout(10):
        await begun.wait()
        ticks.stop()
        await ticks.ended(0.01)
        assert ends == []
        may_end.set()
        await ticks.ended(10)
    assert ends == ["by itself"]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_clock_set_forward_makes_one_tick_not_thousands() -> None:
    """The trigger only ever looks one interval ahead of now."""
    trigger = _OneAhead(1.0)
    now = datetime(2026, 11, 20, tzinfo=UTC)
    assert trigger.get_next_fire_time(now - timedelta(days=30), now) == now + timedelta(seconds=1)
    assert trigger.get_next_fire_time(None, now) == now + timedelta(seconds=1)
