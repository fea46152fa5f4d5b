"""A wall clock that is set back must not delay due work."""

from datetime import datetime, timedelta
from typing import cast

import pytest

from tests.kits.clock import START
from tracker.errors import StoreUnavailable
from tracker.maintenance.clock_watch import TOLERANCE_S, ClockWatch
from tracker.store.protocol import Store


class Clocks:
    """A wall clock that can be set, and one that cannot."""

    def __init__(self) -> None:
        self.wall = START
        self.steady_s = 0.0

    def now(self) -> datetime:
        """What the wall clock shows."""
        return self.wall

    def monotonic(self) -> float:
        """What the other one shows."""
        return self.steady_s

    def advance(self, wall_s: float, steady_s: float) -> None:
        """Let time pass, differently for each."""
        self.wall += timedelta(seconds=wall_s)
        self.steady_s += steady_s


class Due:
    """A store that only notes by how much its due times were moved back."""

    def __init__(self) -> None:
        self.brought_back: list[float] = []
        self.broken = False

    async def move_due_times_back(self, by: timedelta) -> None:
        """Record it."""
        if self.broken:
            raise StoreUnavailable("the disk is full")
        self.brought_back.append(by.total_seconds())


def watch(clocks: Clocks, due: Due) -> ClockWatch:
    """A watch over these clocks."""
    return ClockWatch(cast("Store", due), clocks)


async def test_a_step_back_is_followed_once() -> None:
    """By as much as the clock was set back beyond the time that passed."""
    clocks, due = Clocks(), Due()
    check = watch(clocks, due).check
    clocks.advance(1, 1)
    await check()
    clocks.advance(-3600, 1)
    await check()
    await check()
    assert due.brought_back == [3601.0]


async def test_other_clock_changes_move_no_due_times() -> None:
    """A clock that runs, is slewed, stops or is set forward moves none; a later step back does."""
    clocks, due = Clocks(), Due()
    check = watch(clocks, due).check
    for wall_s in (1.0, 0.5, 0.0, -TOLERANCE_S, 7200.0):
        clocks.advance(wall_s, 1)
        await check()
    assert due.brought_back == []
    clocks.advance(-7000, 1)
    await check()
    assert due.brought_back == [7001.0]


async def test_a_step_that_could_not_be_followed_is_followed_later() -> None:
    """The store refuses for a while; the step is not forgotten."""
    clocks, due = Clocks(), Due()
    due.broken = True
    check = watch(clocks, due).check
    clocks.advance(-60, 0)
    with pytest.raises(StoreUnavailable):
        await check()
    due.broken = False
    await check()
    await check()
    assert due.brought_back == [60.0]
