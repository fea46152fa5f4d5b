"""Ids of deliveries in copies of a file and in files of older versions."""

import re
from pathlib import Path

from tests.contract.store.test_outbox import claim, fan_out, live
from tests.kits.factories import make_output, make_task_name
from tests.kits.store import Rig, opened
from tracker.domain.task import Status
from tracker.store.sqlite import copy_database

# -- delivery ids --------------------------------------------------------------------------------------------


async def ids_of(rig: Rig, *names: int) -> dict[str, tuple[str, str, str]]:
    """The deliveries of some tasks: id -> task, event, hook."""
    return {
        found.id: (found.task_id, found.event, found.hook)
        for n in names
        for found in await rig.store.list_deliveries(make_task_name(n))
    }


async def test_a_delivery_id_never_names_two_events(tmp_path: Path) -> None:
    """Not after a restore, nor in a new database: receivers drop an id that they know."""
    path, copy = tmp_path / "t.db", tmp_path / "copy.db"
    async with opened(path) as rig:
        await live(rig, 1)
        await fan_out(rig, "publish", "notify")
        known = await ids_of(rig, 1)
        copy_database(path, copy)
        await live(rig, 2)
        await fan_out(rig, "publish", "notify")
        told = await ids_of(rig, 1, 2)
    assert told.items() >= known.items()
    assert len(told) == 2 * len(known)
    for name, n in ((copy, 3), (tmp_path / "new.db", 4)):
        async with opened(name) as rig:
            await live(rig, n)
            await fan_out(rig, "publish", "notify")
            later = await ids_of(rig, n)
        assert len(later) == len(known)
        assert not later.keys() & told.keys()
        told |= later
    assert all(re.fullmatch(r"dlv_[0-9a-f]{24}", delivery_id) for delivery_id in told)


async def test_an_end_after_a_restore_has_the_same_id(tmp_path: Path) -> None:
    """From any source: a receiver that has seen it does nothing twice. Other events have different ids."""
    path, copy = tmp_path / "t.db", tmp_path / "copy.db"
    async with opened(path) as rig:
        await rig.follow(1)
        copy_database(path, copy)
        await rig.call(1, Status.RUNNING, progress=10, at=11)
        await rig.call(1, Status.RUNNING, progress=40, at=12)
        await rig.call(1, Status.SUCCEEDED, outputs=(make_output(),), at=13)
        await fan_out(rig, "publish")
        before = await ids_of(rig, 1)
    async with opened(copy) as rig:
        await rig.poll(1, Status.RUNNING, progress=25, at=21)
        await rig.poll(1, Status.RUNNING, progress=60, at=22)
        await rig.poll(1, Status.SUCCEEDED, outputs=(make_output(),), at=23)
        await fan_out(rig, "publish")
        again = await ids_of(rig, 1)
    both = before.keys() & again.keys()
    assert [before[delivery_id][1] for delivery_id in both] == ["task.succeeded"]
    assert len(before) == len(again) == 3


async def test_old_deliveries_keep_their_ids(tmp_path: Path) -> None:
    """A delivery of an older version is retried under its old id, and is not created twice."""
    path = tmp_path / "t.db"
    async with opened(path) as rig:
        await live(rig, 1)
        await fan_out(rig, "publish")
        rig.edit("UPDATE deliveries SET id = 'dlv_' || seq || '_0_publish'")
        rig.edit("INSERT OR IGNORE INTO outbox SELECT seq FROM events WHERE announces IS NOT NULL")
        before = rig.edit("SELECT id, seq FROM deliveries ORDER BY seq")
        await fan_out(rig, "publish")
    async with opened(path) as rig:
        assert rig.edit("SELECT id, seq FROM deliveries ORDER BY seq") == before
        (job,) = await claim(rig)
        assert job.id == before[0][0]
