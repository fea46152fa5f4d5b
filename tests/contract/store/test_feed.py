"""The history of all tasks as a feed, and of one task as one read."""

import orjson
import pytest

from tests.contract.store.conftest import OpenWorld
from tests.kits.factories import make_task_name
from tracker.domain.history import FeedEvent
from tracker.domain.observation import Source
from tracker.domain.task import Reason, Status
from tracker.errors import TaskNotFound


async def test_events_of_all_tasks_in_commit_order(engine: OpenWorld) -> None:
    """Reading on from the last event misses none and repeats none; each has what filters need."""
    async with engine() as world:
        assert (await world.store.last_seq(), await world.store.list_events_after(0, 10)) == (0, [])
        await world.follow(1, labels={"user": "42"})
        await world.follow(2)
        await world.poll(1, Status.RUNNING)
        await world.poll(2, Status.FAILED, reason=Reason.EXPIRED)
        await world.poll(2, Status.SUCCEEDED)
        await world.poll(1, Status.FAILED, reason=Reason.POLICY_REJECTED)
        seen: list[FeedEvent] = []
        while page := await world.store.list_events_after(seen[-1].seq if seen else 0, 2):
            seen += page
        first, second = make_task_name(1), make_task_name(2)
        assert [(item.task_id, item.status, item.reason) for item in seen] == [
            (first, "RUNNING", None),
            (second, "FAILED", "expired"),  # as it was, although it has succeeded since
            (second, "SUCCEEDED", None),
            (first, "FAILED", "policy_rejected"),
        ]
        assert (seen[0].provider, seen[0].route, seen[0].account) == ("suno", "suno.generate", "default")
        assert [item.labels for item in seen] == [{"user": "42"}, {}, {}, {"user": "42"}]
        assert await world.store.last_seq() == seen[-1].seq
        assert await world.store.list_events_after(0, 10, search=True) == seen


async def test_events_are_read_with_their_tasks(engine: OpenWorld) -> None:
    """Of the seqs that exist, in their order, the task as it is now; what is too large is left out, and named."""
    large = orjson.dumps({"prompt": "x" * 70_000}).decode()
    async with engine() as world:
        await world.submit(1, request=large)
        await world.follow(2, labels={"user": "42"})
        await world.poll(2, Status.RUNNING, payload='{"n":\n1}')
        await world.poll(1, Status.RUNNING, payload='{"n":2}')
        await world.poll(2, Status.SUCCEEDED, payload=large)
        running, other, ended = await world.store.read_events([9, 3, 2, 1])
        assert [item.event.seq for item in (running, other, ended)] == [1, 2, 3]
        assert (running.event.to_status, running.record.task) == ("RUNNING", (await world.get(2)).task)
        assert (running.record.labels, running.event.payload) == ({"user": "42"}, {"n": 1})
        assert (running.record.result, running.omitted) == (None, ("task.result",))
        assert orjson.dumps(other.event.payload) == b'{"n":2}'
        assert (other.record.request, other.omitted) == (None, ("task.request",))
        assert (ended.event.payload, ended.record.result, ended.omitted) == (None, None, ("payload", "task.result"))
        assert [item.event.seq for item in await world.store.read_events([2], search=True)] == [2]


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
