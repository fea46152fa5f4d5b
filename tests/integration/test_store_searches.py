"""Searches on connections of their own: bounded in number and time, so that look-ups never wait for them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.kits.clock import START
from tests.kits.world import World
from tracker.domain.report import ReportFilter
from tracker.domain.task import Status
from tracker.errors import SearchRefused
from tracker.store.sqlite.connections import MAX_SEARCHES, Connections
from tracker.store.sqlite.lists import SearchLimits
from tracker.store.sqlite.reads import SEARCHES
from tracker.store.sqlite.report import read_report
from tracker.store.values import DeliveryFilter, TaskFilter

ENDLESS = "WITH RECURSIVE n (x) AS (SELECT begun() UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
"""Calls ``begun`` first."""


@asynccontextmanager
async def connections(path: Path, *, statement_s: float = 1e9) -> AsyncIterator[tuple[Connections, asyncio.Event]]:
    """One connection, and an event that a statement sets when it begins."""
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    pool = Connections(path, statement_s)
    await pool.open(1)

    def begin() -> int:
        loop.call_soon_threadsafe(begun.set)
        return 1

    try:
        async with pool._connection() as connection:
            await connection.create_function("begun", 0, begin)
        yield pool, begun
    finally:
        await pool.close()


async def test_a_statement_that_takes_too_long_is_interrupted(tmp_path: Path) -> None:
    """The error says how to search instead, and the connection serves the next search."""
    async with World(tmp_path / "t.db") as world, connections(world.path, statement_s=0.0) as (pool, _):
        with pytest.raises(SearchRefused, match="narrow it"):
            await pool.bounded_rows(ENDLESS)
        assert await pool.rows("SELECT 1") == [(1,)]


async def test_a_canceled_search_frees_its_connection(tmp_path: Path) -> None:
    """Its statement is interrupted; without that the next one would wait for good."""
    async with World(tmp_path / "t.db") as world, connections(world.path) as (pool, begun):
        search = asyncio.create_task(pool.bounded_rows(ENDLESS))
        await begun.wait()
        search.cancel()
        with pytest.raises(asyncio.CancelledError):
            await search
        assert await pool.bounded_rows("SELECT 1") == [(1,)]


async def test_look_ups_do_not_wait_for_searches(tmp_path: Path) -> None:
    """While every connection for searches is busy, the sweep, the dispatcher and look-ups read at once."""
    async with World(tmp_path / "t.db") as world:
        task_id = await world.follow()
        endless = ENDLESS.replace("begun()", "1")
        searches = [asyncio.create_task(world.store._searches.bounded_rows(endless)) for _ in range(SEARCHES)]
        search = asyncio.create_task(world.store.list_tasks(TaskFilter()))
        assert (await world.store.get_task(task_id)).task.id == task_id
        assert len(await world.at(60).list_lanes()) == 1
        assert await world.store.next_delivery_in_s(["publish"]) is None
        assert (await world.store.stats())["tasks"]["PENDING"] == 1
        assert not search.done()
        for one in searches:
            one.cancel()
        await asyncio.wait(searches)
        assert len((await search).items) == 1


async def test_searches_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    """A queue of searches does not grow without end; look-ups are answered all the same."""
    async with World(tmp_path / "t.db") as world:
        task_id = await world.follow()
        answers = await asyncio.gather(
            *(world.store.list_tasks(TaskFilter()) for _ in range(MAX_SEARCHES + 3)), return_exceptions=True
        )
        assert [isinstance(answer, SearchRefused) for answer in answers].count(True) == 3
        assert (await world.store.get_task(task_id)).task.status is Status.PENDING
        assert (await world.store.list_all_deliveries(DeliveryFilter())).items == []


async def test_a_report_whose_tasks_are_deleted_meanwhile_goes_on() -> None:
    """Retention runs between the two reads of a slice, when the time is over: there is no task that it was cut at."""
    answers: list[list[tuple[object, ...]]] = [[("01JD0000000000000000000001",)], [], [], []]

    async def read(_sql: str, _parameters: Sequence[object]) -> list[tuple[object, ...]]:
        return answers.pop(0)

    report = await read_report(read, ReportFilter(("route",), START), SearchLimits(total_s=0.0, first_slice=1))
    assert report.json() == {"items": []}
