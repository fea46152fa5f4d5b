"""The change feed: events in commit order, wake-ups without data, and watchers that share one reader."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from tests.kits.factories import make_task_name
from tests.kits.store import Rig, begun, opened
from tracker.domain.task import Status, TaskId
from tracker.errors import StoreUnavailable, TaskNotFound
from tracker.store.protocol import Store
from tracker.store.values import FeedEvent
from tracker.tracking.changes import ChangeFeed


class Counting:
    """The part of a store that the feed uses, with its reads counted; it may lose wake-ups or refuse a read."""

    def __init__(self, store: Store, *, deaf: bool = False, refusals: int = 0) -> None:
        self._store = store
        self._deaf = deaf
        self._refusals = refusals
        self.reads = 0

    def subscribe_changes(self, wake: Callable[[], None]) -> None:
        """Pass wake-ups on, unless deaf."""
        if not self._deaf:
            self._store.subscribe_changes(wake)

    async def last_seq(self) -> int:
        """As the store."""
        return await self._store.last_seq()

    async def list_events_after(self, seq: int, limit: int) -> list[FeedEvent]:
        """As the store, counted."""
        self.reads += 1
        if self._refusals:
            self._refusals -= 1
            raise StoreUnavailable("no disk")
        return await self._store.list_events_after(seq, limit)


def make_feed(store: Counting) -> ChangeFeed:
    """A feed over a counting store."""
    return ChangeFeed(cast("Store", store))


async def wait_for_end(rig: Rig, feed: ChangeFeed, task_id: TaskId) -> Status:
    """Wait as a long poll does."""
    async with feed.watch(task_id) as changed, asyncio.timeout(20):
        while not (status := (await rig.store.get_task(task_id)).task.status).is_terminal:
            await changed.wait()
            changed.clear()
        return status


async def watched(feed: ChangeFeed, count: int = 1) -> None:
    """Wait until so many tasks are watched."""
    while len(feed._watched) < count or feed._follower is None:  # noqa: ASYNC110 - watching signals nothing
        await asyncio.sleep(0)


async def test_a_wake_up_follows_the_commit(tmp_path: Path) -> None:
    """It wakes every waiter, after the change is on disk; many commits may be one wake-up."""
    async with opened(tmp_path / "t.db") as rig:
        feed = ChangeFeed(rig.store)
        await rig.follow()
        wake_up = feed.next
        waiters = [asyncio.ensure_future(feed.wait(wake_up)) for _ in range(5)]
        async with rig.halted_writer():
            waiting = await begun(rig.call(1, Status.RUNNING), rig.call(1, Status.SUCCEEDED))
            assert not wake_up.is_set()
        await waiting
        assert wake_up.is_set()
        await asyncio.gather(*waiters)
        assert len(await rig.store.list_events_after(0, 10)) == 2
        assert not feed.next.is_set()


async def test_a_watcher_sees_changes_of_its_task_only(tmp_path: Path) -> None:
    """After the commit, for each change anew."""
    async with opened(tmp_path / "t.db") as rig:
        feed = ChangeFeed(rig.store)
        await rig.follow(1)
        await rig.follow(2)
        async with feed.watch(make_task_name(1)) as mine, feed.watch(make_task_name(2)) as other, asyncio.timeout(20):
            await rig.call(1, Status.RUNNING)
            await mine.wait()
            mine.clear()
            await rig.call(1, Status.SUCCEEDED)
            await mine.wait()
            assert not other.is_set()
        assert (feed._watched, feed._follower) == ({}, None)


async def test_watchers_share_one_reader(tmp_path: Path) -> None:
    """A hundred long polls cost no more reads of the history than one, and all see their task end."""
    async with opened(tmp_path / "t.db") as rig:
        store = Counting(rig.store)
        feed = make_feed(store)
        names = [await rig.follow(n) for n in range(1, 101)]
        waiters = [asyncio.ensure_future(wait_for_end(rig, feed, name)) for name in names]
        await watched(feed, 100)
        await asyncio.gather(*(rig.call(n, Status.SUCCEEDED) for n in range(1, 101)))
        assert await asyncio.gather(*waiters) == [Status.SUCCEEDED] * 100
        assert store.reads < 20
        assert feed._watched == {}


async def test_a_lost_wake_up_costs_a_bounded_delay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers look again by themselves: what another process committed without a wake-up is found."""
    monkeypatch.setattr("tracker.tracking.changes.RECHECK_S", 0.05)
    async with opened(tmp_path / "t.db") as rig:
        feed = make_feed(Counting(rig.store, deaf=True))
        task_id = await rig.follow()
        waiter = asyncio.ensure_future(wait_for_end(rig, feed, task_id))
        await watched(feed)
        await rig.call(1, Status.SUCCEEDED)
        assert await waiter is Status.SUCCEEDED


async def test_a_refused_read_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store cannot be read watchers wait on; then they see what they missed."""
    monkeypatch.setattr("tracker.tracking.changes.RECHECK_S", 0.05)
    async with opened(tmp_path / "t.db") as rig:
        feed = make_feed(Counting(rig.store, refusals=2))
        task_id = await rig.follow()
        waiter = asyncio.ensure_future(wait_for_end(rig, feed, task_id))
        await watched(feed)
        await rig.call(1, Status.SUCCEEDED)
        assert await waiter is Status.SUCCEEDED


async def test_a_refused_observation_wakes_no_one(tmp_path: Path) -> None:
    """An unknown task is named; nothing was committed, so there is nothing to read."""
    async with opened(tmp_path / "t.db") as rig:
        feed = ChangeFeed(rig.store)
        await rig.follow()
        with pytest.raises(TaskNotFound):
            await rig.call(99, Status.RUNNING)
        assert not feed.next.is_set()
        wake_up = feed.next
        await rig.store.close()
        with pytest.raises(StoreUnavailable):
            await rig.call(1, Status.RUNNING)
        assert not wake_up.is_set()
