"""The history of all tasks as a feed, and of one task as one read."""

import pytest

from tests.contract.store.conftest import OpenWorld
from tests.kits.factories import make_task_name
from tracker.domain.observation import Source
from tracker.domain.task import Status
from tracker.errors import TaskNotFound
from tracker.store.values import FeedEvent


async def test_events_of_all_tasks_in_commit_order(engine: OpenWorld) -> None:
    """Reading on from the last event misses none and repeats none; payloads are read on request only."""
    async with engine() as world:
        assert (await world.store.last_seq(), await world.store.list_events_after(0, 10)) == (0, [])
        await world.follow(1, labels={"user": "42"})
        await world.follow(2)
        await world.poll(1, Status.RUNNING, payload='{"n":1}')
        await world.poll(2, Status.RUNNING, payload='{"n":2}')
        await world.poll(1, Status.SUCCEEDED, payload='{"n":3}')
        seen: list[FeedEvent] = []
        while page := await world.store.list_events_after(seen[-1].event.seq if seen else 0, 2):
            seen += page
        assert [item.event.task_id for item in seen] == [make_task_name(1), make_task_name(2), make_task_name(1)]
        assert [item.event.to_status for item in seen] == ["RUNNING", "RUNNING", "SUCCEEDED"]
        assert [item.event.payload for item in seen] == [None] * 3
        assert (seen[0].provider, seen[0].route, seen[0].account) == ("suno", "suno.generate", "default")
        assert [item.labels for item in seen] == [{"user": "42"}, {}, {"user": "42"}]
        full = await world.store.list_events_after(seen[1].event.seq, 10, payloads=True)
        assert [item.event.payload for item in full] == [{"n": 3}]
        assert await world.store.last_seq() == seen[-1].event.seq


async def test_a_history_is_one_read_without_payloads(engine: OpenWorld) -> None:
    """The task, its events, deliveries and archives as of one statement; an unknown task is named."""
    async with engine() as world:
        await world.follow()
        await world.poll(1, Status.RUNNING, payload='{"n":1}')
        await world.call(1, Status.FAILED, payload='{"n":2}')
        await world.store.fan_out(lambda _: ["publish"], 100)
        history = await world.store.read_history(make_task_name(1))
        assert history.task == (await world.get()).task
        assert [event.source for event in history.events] == [Source.POLL, Source.CALLBACK]
        assert [event.payload for event in history.events] == [None, None]
        assert [(item.hook, item.event) for item in history.deliveries] == [
            ("publish", "task.running"),
            ("publish", "task.failed"),
        ]
        assert history.archives == []
        with pytest.raises(TaskNotFound):
            await world.store.read_history(make_task_name(9))
