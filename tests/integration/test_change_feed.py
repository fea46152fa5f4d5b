"""The change feed: events in commit order, wake-ups without data, and watchers that share one reader."""

import asyncio
from pathlib import Path

import pytest

from tests.kits.factories import make_task_name
from tests.kits.world import World, start_calls
from tracker.domain.task import Status, TaskId
from tracker.errors import StoreUnavailable, TaskNotFound
from tracker.tracking.changes import ChangeFeed


async def wait_for_end(world: World, feed: ChangeFeed, task_id: TaskId) -> Status:
    """Wait as a long poll does."""
    async with feed.watch(task_id) as changed, asyncio.timeout(20):
        while not (status := (await world.store.get_task(task_id)).task.status).is_terminal:
            await changed.wait()
            changed.clear()
        return status


async def watched(feed: ChangeFeed, count: int = 1) -> None:
    """Wait until so many tasks are watched."""
    while len(feed._watched) < count or feed._follower is None:  # noqa: ASYNC110 - watching signals nothing
        await asyncio.sleep(0)


async def test_a_wake_up_follows_the_commit(tmp_path: Path) -> None:
    """It wakes every waiter, after the change is on disk; many commits may be one wake-up."""
    async with World(tmp_path / "t.db") as world:
        feed = ChangeFeed(world.store)
        await world.follow()
        wake_up = feed.next
        waiters = [asyncio.ensure_future(feed.wait(wake_up)) for _ in range(5)]
        async with world.store.halted_writer():
            waiting = await start_calls(world.call(1, Status.RUNNING), world.call(1, Status.SUCCEEDED))
            assert not wake_up.is_set()
        await waiting
        assert wake_up.is_set()
        await asyncio.gather(*waiters)
        assert len(await world.store.list_events_after(0, 10)) == 2
        assert not feed.next.is_set()


async def test_a_watcher_sees_changes_of_its_task_only(tmp_path: Path) -> None:
    """After the commit, for each change anew."""
    async with World(tmp_path / "t.db") as world:
        feed = ChangeFeed(world.store)
        await world.follow(1)
        await world.follow(2)
        async with feed.watch(make_task_name(1)) as mine, feed.watch(make_task_name(2)) as other, asyncio.timeout(20):
            await world.call(1, Status.RUNNING)
            await mine.wait()
            mine.clear()
            await world.call(1, Status.SUCCEEDED)
            await mine.wait()
            assert not other.is_set()
        assert (feed._watched, feed._follower) == ({}, None)


async def test_watchers_share_one_reader(tmp_path: Path) -> None:
    """A hundred long polls cost no more reads of the history than one, and all see their task end."""
    async with World(tmp_path / "t.db") as world:
        feed = ChangeFeed(world.store)
        names = [await world.follow(n) for n in range(1, 101)]
        waiters = [asyncio.ensure_future(wait_for_end(world, feed, name)) for name in names]
        await watched(feed, 100)
        await asyncio.gather(*(world.call(n, Status.SUCCEEDED) for n in range(1, 101)))
        assert await asyncio.gather(*waiters) == [Status.SUCCEEDED] * 100
        assert world.store.calls["list_events_after"] < 20
        assert feed._watched == {}


async def test_a_lost_wake_up_costs_a_bounded_delay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers also poll: what another process committed without a wake-up is found."""
    monkeypatch.setattr("tracker.tracking.changes.RECHECK_S", 0.05)
    async with World(tmp_path / "t.db") as world:
        monkeypatch.setattr(world.store, "subscribe_changes", lambda _wake: None)
        feed = ChangeFeed(world.store)
        task_id = await world.follow()
        waiter = asyncio.ensure_future(wait_for_end(world, feed, task_id))
        await watched(feed)
        await world.call(1, Status.SUCCEEDED)
        assert await waiter is Status.SUCCEEDED


async def test_a_refused_read_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store cannot be read watchers wait on; then they see what they missed."""
    monkeypatch.setattr("tracker.tracking.changes.RECHECK_S", 0.05)
    async with World(tmp_path / "t.db") as world:
        world.store.fail("list_events_after", times=2)
        feed = ChangeFeed(world.store)
        task_id = await world.follow()
        waiter = asyncio.ensure_future(wait_for_end(world, feed, task_id))
        await watched(feed)
        await world.call(1, Status.SUCCEEDED)
        assert await waiter is Status.SUCCEEDED


async def test_a_refused_observation_wakes_no_one(tmp_path: Path) -> None:
    """An unknown task is named; nothing was committed, so there is nothing to read."""
    async with World(tmp_path / "t.db") as world:
        feed = ChangeFeed(world.store)
        await world.follow()
        with pytest.raises(TaskNotFound):
            await world.call(99, Status.RUNNING)
        assert not feed.next.is_set()
        wake_up = feed.next
        await world.store.close()
        with pytest.raises(StoreUnavailable):
            await world.call(1, Status.RUNNING)
        assert not wake_up.is_set()
