"""A wall clock that is set back must not make what is due wait."""

import asyncio
from datetime import datetime, timedelta
from typing import cast

from tests.kits.factories import START
from tracker.errors import StoreUnavailable
from tracker.maintenance.clock_watch import TOLERANCE_S, Timekeeper
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
    """A store that only notes by how much it was asked to bring its due times back.

    Attributes:
        told: set each time.
    """

    def __init__(self) -> None:
        self.brought_back: list[float] = []
        self.broken = False
        self.told = asyncio.Event()

    async def bring_back_due_times(self, by: timedelta) -> None:
        """Take note of it."""
        self.told.set()
        if self.broken:
            raise StoreUnavailable("the disk is full")
        self.brought_back.append(by.total_seconds())


def keeper(clocks: Clocks, due: Due, look_every_s: float = 1.0) -> Timekeeper:
    """One over these clocks."""
    return Timekeeper(cast("Store", due), clocks, look_every_s=look_every_s)


async def test_a_step_back_is_followed_once() -> None:
    """By as much as the clock was set back beyond the time that passed."""
    clocks, due = Clocks(), Due()
    look = keeper(clocks, due).look
    clocks.advance(1, 1)
    await look()
    clocks.advance(-3600, 1)
    await look()
    await look()
    assert due.brought_back == [3601.0]


async def test_what_is_no_step_back_changes_nothing() -> None:
    """A clock that goes on, is slewed, stands, or is set forward: after that a step back to where it was is one."""
    clocks, due = Clocks(), Due()
    look = keeper(clocks, due).look
    for wall_s in (1.0, 0.5, 0.0, -TOLERANCE_S, 7200.0):
        clocks.advance(wall_s, 1)
        await look()
    assert due.brought_back == []
    clocks.advance(-7000, 1)
    await look()
    assert due.brought_back == [7001.0]


async def test_a_step_that_could_not_be_followed_is_followed_later() -> None:
    """The store refuses for a while: the loop goes on, and nothing is forgotten."""
    clocks, due = Clocks(), Due()
    due.broken = True
    timekeeper = keeper(clocks, due, 0.001)
    timekeeper.start()
    clocks.advance(-60, 0)
    async with asyncio.timeout(10):
        await due.told.wait()
        due.broken = False
        due.told.clear()
        await due.told.wait()
    await timekeeper.stop()
    assert due.brought_back == [60.0]
