"""Ids of deliveries in copies of a file and in files of older versions; how many statements deliveries take."""

import asyncio
import re
from pathlib import Path

from tests.contract.store.test_outbox import claim, fan_out, live
from tests.kits.clock import START
from tests.kits.factories import make_output, make_task_name
from tests.kits.world import World
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.task import Status
from tracker.hooks.runner import encode_event
from tracker.store.sqlite import copy_database
from tracker.store.values import AttemptResult

# -- delivery ids --------------------------------------------------------------------------------------------


async def ids_of(world: World, *names: int) -> dict[str, tuple[str | None, str, str]]:
    """The deliveries of some tasks: id -> task, event, hook."""
    return {
        found.id: (found.task_id, found.event, found.hook)
        for n in names
        for found in await world.store.list_deliveries(make_task_name(n))
    }


async def test_a_delivery_id_never_names_two_events(tmp_path: Path) -> None:
    """Not after a restore, nor in a new database: receivers drop an id that they know."""
    path, copy = tmp_path / "t.db", tmp_path / "copy.db"
    async with World(path) as world:
        await live(world, 1)
        await fan_out(world, "publish", "notify")
        known = await ids_of(world, 1)
        copy_database(path, copy)
        await live(world, 2)
        await fan_out(world, "publish", "notify")
        reported = await ids_of(world, 1, 2)
    assert reported.items() >= known.items()
    assert len(reported) == 2 * len(known)
    for name, n in ((copy, 3), (tmp_path / "new.db", 4)):
        async with World(name) as world:
            await live(world, n)
            await fan_out(world, "publish", "notify")
            later = await ids_of(world, n)
        assert len(later) == len(known)
        assert not later.keys() & reported.keys()
        reported |= later
    assert all(re.fullmatch(r"dlv_[0-9a-f]{24}", delivery_id) for delivery_id in reported)


async def test_an_end_after_a_restore_has_the_same_id(tmp_path: Path) -> None:
    """From any source: a receiver that has seen it can ignore it. Other events have different ids."""
    path, copy = tmp_path / "t.db", tmp_path / "copy.db"
    async with World(path) as world:
        await world.follow(1)
        copy_database(path, copy)
        await world.call(1, Status.RUNNING, progress=10, at=11)
        await world.call(1, Status.RUNNING, progress=40, at=12)
        await world.call(1, Status.SUCCEEDED, outputs=(make_output(),), at=13)
        await fan_out(world, "publish")
        before = await ids_of(world, 1)
    async with World(copy) as world:
        await world.poll(1, Status.RUNNING, progress=25, at=21)
        await world.poll(1, Status.RUNNING, progress=60, at=22)
        await world.poll(1, Status.SUCCEEDED, outputs=(make_output(),), at=23)
        await fan_out(world, "publish")
        again = await ids_of(world, 1)
    both = before.keys() & again.keys()
    assert [before[delivery_id][1] for delivery_id in both] == ["task.succeeded"]
    assert len(before) == len(again) == 3


async def test_old_deliveries_keep_their_ids(tmp_path: Path) -> None:
    """A delivery of an older version is retried under its old id, and is not created twice."""
    path = tmp_path / "t.db"
    async with World(path) as world:
        await live(world, 1)
        await fan_out(world, "publish")
        world.edit("UPDATE deliveries SET id = 'dlv_' || seq || '_0_publish'")
        world.edit("INSERT OR IGNORE INTO outbox SELECT seq FROM events WHERE announces IS NOT NULL")
        before = world.edit("SELECT id, seq FROM deliveries ORDER BY seq")
        await fan_out(world, "publish")
    async with World(path) as world:
        assert world.edit("SELECT id, seq FROM deliveries ORDER BY seq") == before
        (job,) = await claim(world)
        assert job.id == before[0][0]


# -- statements ----------------------------------------------------------------------------------------------


async def test_many_deliveries_take_few_statements(tmp_path: Path) -> None:
    """A claim takes two; results that are recorded at the same time take one, with failed ones among them two."""
    async with World(tmp_path / "t.db") as world:
        for n in range(1, 31):
            await live(world, n)
        await fan_out(world, "publish")
        statements = await world.store.trace()
        jobs = await claim(world, limit=30)
        assert len({sql for sql in statements if "deliveries" in sql}) == 2  # triggers repeat the text of theirs
        statements.clear()
        done = AttemptResult(DeliveryStatus.SUCCEEDED, output="ok", started_at=START)
        ends = (done, AttemptResult(DeliveryStatus.PENDING, 2, "no", started_at=START))
        half, rest = jobs[:15], jobs[15:]
        await asyncio.gather(*(world.store.record_attempt(job.id, done, job.attempt) for job in half))
        assert not [sql for sql in statements if "delivery_attempts" in sql], "a success has no row of its own"
        assert len({sql for sql in statements if "UPDATE deliveries" in sql}) == 1
        statements.clear()
        await asyncio.gather(
            *(world.store.record_attempt(job.id, ends[n % 2], job.attempt) for n, job in enumerate(rest))
        )
        assert len({sql for sql in statements if "UPDATE deliveries" in sql}) == 1
        assert len({sql for sql in statements if "INTO delivery_attempts" in sql}) == 1
        found = [await world.store.get_delivery(job.id) for job in jobs]
        expected = [done] * 15 + [ends[n % 2] for n in range(15)]
        assert [(one.status, one.error, one.output) for one in found] == [
            (end.status, end.error, end.output) for end in expected
        ]
        assert [[one.error for one in delivery.attempt_history] for delivery in found] == [[e.error] for e in expected]


async def test_an_event_is_one_line_with_the_stored_result(tmp_path: Path) -> None:
    """The result is embedded as it is stored, without being decoded; line breaks between its members are removed."""
    stored = {1: '{"end": 1e2}', 2: '{\n"end":\r100.0}'}
    async with World(tmp_path / "t.db") as world:
        for n, payload in stored.items():
            await world.follow(n)
            await world.poll(n, Status.SUCCEEDED, payload=payload, at=12 + n)
        await fan_out(world, "publish")
        plain, broken = [encode_event(job) for job in await claim(world)]
    assert b'"result":{"end": 1e2}' in plain
    assert b'"result":{"end":100.0}' in broken
    assert not {b"\n"[0], b"\r"[0]} & {*plain, *broken}
