"""Time limits that share one timer."""

import asyncio
from collections.abc import Callable

import pytest

from tracker.upstream.deadlines import Deadlines

SOON_S = 0.01
NEVER_S = 3600.0


async def hang() -> None:
    """Wait for something that never comes."""
    await asyncio.get_running_loop().create_future()


async def test_a_body_that_ends_in_time_is_not_disturbed() -> None:
    """The limit is gone with the body."""
    deadlines = Deadlines()
    with deadlines.within(SOON_S):
        pass
    with deadlines.within(NEVER_S), pytest.raises(TimeoutError), deadlines.within(SOON_S):
        await hang()


async def test_a_limit_that_ends_raises_a_timeout_and_leaves_the_task_alive() -> None:
    """The cancellation is taken back."""
    with pytest.raises(TimeoutError), Deadlines().within(SOON_S):
        await hang()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_limits_end_in_any_order() -> None:
    """A later limit may be shorter, and the longer one still ends."""
    deadlines = Deadlines()
    ended = []

    async def wait(name: str, seconds: float) -> None:
        with pytest.raises(TimeoutError), deadlines.within(seconds):
            await hang()
        ended.append(name)

    await asyncio.gather(wait("long", 3 * SOON_S), wait("short", SOON_S), wait("over", 0.0))
    assert ended == ["over", "short", "long"]


async def test_an_outer_limit_passes_through_an_inner_one() -> None:
    """Each limit raises for itself only."""
    deadlines = Deadlines()

    async def wait_inside() -> None:
        try:
            with deadlines.within(NEVER_S):
                await hang()
        except TimeoutError:
            pytest.fail("the inner limit has not ended")

    with pytest.raises(TimeoutError), deadlines.within(SOON_S):
        await wait_inside()


async def test_a_cancelled_task_stays_cancelled() -> None:
    """Also when its limit has ended at the same time."""
    deadlines = Deadlines()

    async def work() -> None:
        with deadlines.within(0.0):
            try:
                await hang()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                raise

    task = asyncio.create_task(work())
    await asyncio.wait({task})
    assert task.cancelled()


async def test_many_limits_need_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of the same length end in their order, so that the first timer serves all."""
    loop = asyncio.get_running_loop()
    call_at = loop.call_at
    timers = []

    def count(when: float, callback: Callable[..., object], *arguments: object) -> asyncio.TimerHandle:
        timers.append(when)
        return call_at(when, callback, *arguments)

    monkeypatch.setattr(loop, "call_at", count)
    deadlines = Deadlines()
    for _ in range(100):
        with deadlines.within(NEVER_S):
            pass
    assert len(timers) == 1
