"""Lists of tasks, page by page, and counts."""

from dataclasses import replace
from typing import Any

import pytest

from tests.contract.store.conftest import OpenWorld
from tests.kits.clock import after
from tests.kits.factories import make_task_name
from tests.kits.world import World
from tracker.domain.ai_models import Model
from tracker.domain.ids import RANDOM_BYTES, make_task_id
from tracker.domain.records import TaskRecord
from tracker.domain.task import Reason, Status, UpstreamError
from tracker.store.sqlite.lists import SearchLimits
from tracker.store.values import OpenCounts, TaskFilter


async def fill(world: World) -> None:
    """Thirty tasks of two providers, every third failed, with labels."""
    for n in range(30):
        await world.follow(
            n,
            provider="suno" if n % 2 else "kling",
            created_at=after(n),
            labels={"user": str(n % 5), "kind": "x"},
        )
        if n % 3 == 0:
            await world.poll(n, Status.FAILED, reason=Reason.POLICY_REJECTED, error=UpstreamError("430", "Größe"))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, range(30)),
        ({"status": "FAILED"}, range(0, 30, 3)),
        ({"reason": "policy_rejected", "provider": "kling"}, range(0, 30, 6)),
        ({"provider": "suno"}, range(1, 30, 2)),
        ({"labels": {"user": "2"}}, range(2, 30, 5)),
        ({"labels": {"user": "2", "kind": "x"}, "status": "PENDING"}, [2, 7, 17, 22]),
        ({"labels": {"user": "9"}}, []),
        ({"q": "UP-17"}, [17]),
        ({"q": "größe"}, range(0, 30, 3)),
        ({"q": "Größe"}, range(0, 30, 3)),
        ({"q": "GRÖßE"}, []),
        ({"q": "%"}, []),
        ({"account": "nobody"}, []),
        ({"route": "suno.generate", "q": "430"}, range(0, 30, 3)),
    ],
    ids=str,
)
async def test_paging_with_filters(engine: OpenWorld, wanted: dict[str, Any], expected: range | list[int]) -> None:
    """Newest first, every match once over all pages, while new tasks arrive."""
    async with engine() as world:
        await fill(world)
        found: list[str] = []
        cursor = None
        for page_number in range(20):
            page = await world.store.list_tasks(TaskFilter(**wanted, limit=4, cursor=cursor))
            assert len(page.items) <= 4
            found += [record.task.id for record in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
            await world.follow(100 + page_number, labels={"user": "2", "kind": "x"}, created_at=after(4))
        assert found == [make_task_name(n) for n in sorted(expected, reverse=True)]


@pytest.mark.parametrize(
    ("wanted", "at_most", "expected", "is_complete"),
    [
        ({}, 4, {"PENDING": 20, "RUNNING": 0, "SUCCEEDED": 0, "FAILED": 10}, True),
        ({"provider": "suno"}, 4, {"PENDING": 10, "RUNNING": 0, "SUCCEEDED": 0, "FAILED": 5}, True),
        ({"reason": "policy_rejected"}, 4, {"PENDING": 0, "RUNNING": 0, "SUCCEEDED": 0, "FAILED": 10}, True),
        ({"labels": {"user": "2"}}, 6, {"PENDING": 4, "RUNNING": 0, "SUCCEEDED": 0, "FAILED": 2}, True),
        ({"labels": {"user": "2"}}, 3, {"PENDING": 2, "RUNNING": 0, "SUCCEEDED": 0, "FAILED": 1}, False),
        ({"q": "größe"}, 10, {"PENDING": 0, "RUNNING": 0, "SUCCEEDED": 0, "FAILED": 10}, True),
        ({"status": "FAILED", "provider": "kling"}, 9, {"PENDING": 0, "RUNNING": 0, "SUCCEEDED": 0, "FAILED": 5}, True),
        ({"account": "nobody"}, 9, {"PENDING": 0, "RUNNING": 0, "SUCCEEDED": 0, "FAILED": 0}, True),
    ],
    ids=str,
)
async def test_counts_agree_with_the_list(
    engine: OpenWorld, wanted: dict[str, Any], at_most: int, expected: dict[str, int], is_complete: bool
) -> None:
    """By status, exact where the store keeps the count, else of so many newest tasks that match."""
    async with engine() as world:
        await fill(world)
        counts = await world.store.count_tasks(TaskFilter(**wanted), at_most)
        assert dict(counts.by_status) == expected
        assert counts.is_complete is is_complete


async def test_times_are_found_by_ids(engine: OpenWorld) -> None:
    """An id begins with the time of its creation; since is inclusive, until exclusive, alone and with other filters."""
    async with engine() as world:
        ids = [make_task_id(after(n), n.to_bytes(RANDOM_BYTES, "big")) for n in range(9)]
        for n, task_id in enumerate(ids):
            await world.follow(n, id=task_id, created_at=after(n), labels={"user": str(n % 2)})
        for more in ({}, {"provider": "suno"}, {"status": "PENDING"}, {"q": "up-"}, {"labels": {"user": "0"}}):
            wanted = TaskFilter(since=after(3), until=after(6), limit=2, **more)
            page = await world.store.list_tasks(wanted)
            found = [record.task.id for record in page.items]
            if page.next_cursor is not None:
                page = await world.store.list_tasks(replace(wanted, cursor=page.next_cursor))
                found += [record.task.id for record in page.items]
            assert found == [ids[n] for n in (5, 4, 3) if n % 2 == 0 or "labels" not in more], more
        for nothing in (TaskFilter(until=after(0)), TaskFilter(since=after(9)), TaskFilter(until=after(-1e9))):
            assert (await world.store.list_tasks(nothing)).items == []


@pytest.mark.parametrize(
    "wanted",
    [
        {"q": "up-"},
        {"q": "up-1", "status": "PENDING"},
        {"status": "PENDING", "provider": "kling"},
        {"status": "SUCCEEDED", "account": "rare"},
        {"labels": {"user": "2", "kind": "x"}},
        {"labels": {"kind": "x"}, "reason": "policy_rejected"},
        {"labels": {"kind": "x"}, "provider": "kling", "q": "430"},
    ],
    ids=str,
)
async def test_a_search_that_is_cut_continues_where_it_stopped(engine: OpenWorld, wanted: dict[str, Any]) -> None:
    """Each page says that it is cut; all pages together hold what an uncut search finds, in the same order."""
    async with engine() as world:
        await fill(world)
        for n in range(30, 40):
            await world.follow(n, account="rare" if n % 2 else "default")
            await world.poll(n, Status.SUCCEEDED)
        complete = await world.store.list_tasks(TaskFilter(**wanted, limit=500))
        assert complete.items
        assert (complete.is_cut, complete.next_cursor) == (False, None)
        world.store.search_limits = SearchLimits(total_s=0.0, first_slice=1)
        found: list[TaskRecord] = []
        cursor, cut = None, 0
        while True:
            page = await world.store.list_tasks(TaskFilter(**wanted, limit=3, cursor=cursor))
            assert len(page.items) <= 3
            found += page.items
            cursor, cut = page.next_cursor, cut + page.is_cut
            if cursor is None:
                break
        assert found == complete.items
        assert cut


async def test_text_is_found_in_requests_and_beyond_ascii(engine: OpenWorld) -> None:
    """Capital letters beyond ASCII are found as they are written."""
    async with engine() as world:
        await world.submit(1, request='{"prompt":"Über den Ähren"}', model="V5")
        for text, hits in (("Ähren", 1), ("Über den", 1), ("prompt", 1), ("v5", 1), ("über", 0), ("rain", 0)):
            assert len((await world.store.list_tasks(TaskFilter(q=text))).items) == hits, text


async def test_stats(engine: OpenWorld) -> None:
    """Counts by status, provider and reason; queue depths; the oldest due poll."""
    async with engine() as world:
        await fill(world)
        stats = await world.at(60).stats()
        assert stats["tasks"] == {"PENDING": 20, "RUNNING": 0, "SUCCEEDED": 0, "FAILED": 10}
        assert stats["providers"]["kling"] == {"FAILED": 5, "PENDING": 10}
        assert stats["reasons"] == {"policy_rejected": 10}
        assert (stats["due_polls"], stats["oldest_due_poll_at"]) == (20, "2026-11-20T20:42:00.000Z")


async def test_what_is_open(engine: OpenWorld) -> None:
    """Tasks by status, those that are due by the store's clock, and deliveries that have not ended."""
    async with engine() as world:
        await fill(world)
        await world.call(1, Status.RUNNING)
        await world.at(20).fan_out(lambda _: ["publish"], 100)
        assert await world.at(60).count_open() == OpenCounts(pending=19, running=1, due=20, deliveries=11)


async def test_models_are_replaced_list_by_list(engine: OpenWorld) -> None:
    """A new list of one provider leaves those of others; the age is that of the oldest list."""
    async with engine() as world:
        for at, provider, names in ((1, "openai", ("a", "b")), (2, "gemini", ("c",)), (3, "openai", ("b", "d"))):
            models = [Model(name, provider, None, None, None) for name in names]
            await world.at(at).replace_models("default", provider, models)
        listed = await world.store.list_models("default")
        assert [(model.family, model.id) for model in listed.models] == [
            ("gemini", "c"),
            ("openai", "b"),
            ("openai", "d"),
        ]
        assert listed.synced_at == after(2)
        assert (await world.store.list_models("other")).models == ()
