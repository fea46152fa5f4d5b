"""Readers of the feed at any speed: each gets what its filter lets pass, once and in order, wherever it reads from."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.kits.waiting import WITHIN_S
from tests.kits.world import World
from tracker.domain.task import Status
from tracker.tracking.feed import EventFeed
from tracker.tracking.feed_chunks import Chunk, Entry, Gap, find_holes, merge
from tracker.tracking.feed_filters import FeedFilter

TASKS = 12


def entry(seq: int) -> Entry:
    """An event of ten bytes."""
    return Entry(seq, b"x" * 10)


def test_pieces_of_a_chunk() -> None:
    """What it has after a position, up to a number of events; neighbouring gaps are one."""
    assert find_holes(3, [4, 5, 8, 9, 12]) == [Gap(6, 7), Gap(10, 11)]
    assert merge([entry(4), entry(8)], [Gap(6, 7)]) == [entry(4), Gap(6, 7), entry(8)]
    chunk = Chunk(0, 0)
    chunk.extend(5, [Gap(1, 2), entry(4)])
    chunk.extend(9, [Gap(6, 6)])
    chunk.extend(20, [Gap(8, 9), entry(12), entry(15)])
    assert chunk.parts == [Gap(1, 2), entry(4), Gap(6, 9), entry(12), entry(15)]
    assert (chunk.after, chunk.last, chunk.count, chunk.size) == (0, 20, 3, 30)
    assert chunk.part(0) is chunk
    for after, limit, parts, last in (
        (1, None, [Gap(2, 2), entry(4), Gap(6, 9), entry(12), entry(15)], 20),
        (4, None, [Gap(6, 9), entry(12), entry(15)], 20),
        (7, 1, [Gap(8, 9), entry(12)], 12),
        (0, 2, [Gap(1, 2), entry(4), Gap(6, 9), entry(12)], 12),
        (15, None, [], 20),
    ):
        part = chunk.part(after, limit)
        assert (part.parts, part.last, part.after) == (parts, last, after), (after, limit)


TINY = {
    "feed.CHUNK_BYTES": 3000,
    "feed.PAGE": 7,
    "feed_pages.PAGE": 5,
    "feed_pages.SLICE": 3,
    "feed_chunks.WINDOW_BYTES": 6000,
    "feed.GATHER_S": 0.001,
    "feed.WAKE_S": 0.01,
    "changes.RECHECK_S": 0.005,
}
"""Windows and pages of a few events each."""


@dataclass
class Client:
    """Reads a feed at its own speed, and begins again now and then.

    Attributes:
        seen: the seqs that came.
        position: where it begins again.
    """

    world: World
    feed: EventFeed
    wanted: FeedFilter
    draw: random.Random
    seen: list[int] = field(default_factory=list)
    position: int = 0

    async def read(self, is_written: asyncio.Event) -> None:
        """Read everything there is once all is written."""
        await asyncio.sleep(self.draw.choice((0, self.draw.random() * 0.1)))
        while not await self._has_all(is_written):
            async with self.feed.open(self.wanted, self.position) as reader:
                for _ in range(self.draw.randint(1, 30)):
                    chunk = await reader.next(self._take if self.draw.random() < 0.7 else None)
                    assert chunk is not None
                    self._keep(chunk)
                    if self.draw.random() < 0.2:
                        await asyncio.sleep(self.draw.random() * 0.02)
                    if await self._has_all(is_written):
                        break

    async def _has_all(self, is_written: asyncio.Event) -> bool:
        return is_written.is_set() and self.position >= await self.world.store.last_seq()

    def _take(self, chunk: Chunk) -> bool:
        if self.draw.random() < 0.3:
            return False
        self._keep(chunk)
        return True

    def _keep(self, chunk: Chunk) -> None:
        assert chunk.after >= self.position
        assert not any(isinstance(part, Gap) for part in chunk.parts)
        self.seen += [part.seq for part in chunk.parts if isinstance(part, Entry)]
        self.position = chunk.last


async def write(world: World, draw: random.Random) -> None:
    """Events of all tasks, some of them committed together."""
    tasks = range(1, TASKS + 1)
    for n in range(25):
        chosen = draw.sample(tasks, draw.randint(1, TASKS))
        await asyncio.gather(*(world.call(task, Status.RUNNING, progress=n, at=n) for task in chosen))
        await asyncio.sleep(draw.choice((0, 0, 0.002, 0.01)))
    await asyncio.gather(*(world.call(task, Status.SUCCEEDED, at=100) for task in tasks))


@pytest.mark.parametrize("seed", range(6))
async def test_readers_of_any_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Quick, slow, resumed and late ones, some that take chunks without being woken: with tiny windows and pages."""
    for name, value in TINY.items():
        monkeypatch.setattr(f"tracker.tracking.{name}", value)
    draw = random.Random(seed)
    async with World(tmp_path / "t.db") as world, asyncio.timeout(WITHIN_S):
        first, second, *_ = [await world.follow(n, labels={"parity": str(n % 2)}) for n in range(1, TASKS + 1)]
        feed = EventFeed(world.store)
        filters = [
            FeedFilter(),
            FeedFilter(status="SUCCEEDED"),
            FeedFilter(labels=frozenset({("parity", "1")})),
            FeedFilter(task=first),
            FeedFilter(task=second, status="RUNNING"),
            FeedFilter(reason="expired"),
        ]
        clients = [Client(world, feed, draw.choice(filters), random.Random(f"{seed} {n}")) for n in range(24)]
        is_written = asyncio.Event()
        reading = asyncio.gather(*(client.read(is_written) for client in clients))
        await write(world, draw)
        is_written.set()
        await reading
        events = await world.store.list_events_after(0, 10_000)
        assert len(events) > 100
        for client in clients:
            assert client.seen == [event.seq for event in events if client.wanted.matches(event)], client.wanted
        assert (feed.readers, feed._windows, feed._of_task, feed._follower) == (0, {}, {}, None)
