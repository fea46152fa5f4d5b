"""How long tasks take: learned from commits, known after a restart or a kill, small whatever happens."""

import pytest

from tests.contract.store.conftest import OpenWorld
from tests.kits.factories import make_answer, make_task
from tests.kits.world import Fields, World
from tracker.domain.durations import LEAST_SAMPLES, MAX_KEYS, WINDOW
from tracker.domain.observation import Submission
from tracker.domain.statuses import Status
from tracker.domain.task import ExternalId
from tracker.tracking.learning import MOST, WRITE_EVERY_S


async def end(world: World, n: int, took_s: float, status: Status = Status.SUCCEEDED, **fields: Fields) -> None:
    """Submit a task that is accepted after one second, and called back at its end."""
    task_id = await world.submit(n, **fields)
    await world.store.mark_sending(task_id, 60)
    await world.apply(make_answer(Submission.ACCEPTED, task_id=task_id, external_id=ExternalId(f"up-{n}")))
    await world.call(task_id, status, at=1.0 + took_s)


@pytest.mark.parametrize("is_written", [True, False], ids=["after a stop", "after a kill"])
async def test_ends_are_learned_and_survive(engine: OpenWorld, is_written: bool) -> None:
    """Of tasks that succeeded and that this tracker sent, once each."""
    task = make_task(model="V5", size="5s")
    async with engine() as world:
        for n in range(LEAST_SAMPLES):
            await end(world, n, 60.0 + n, size="5s")
        await end(world, 90, 1.0, Status.FAILED, size="5s")
        await world.follow(91, model="V5", size="5s")
        await world.call(91, Status.SUCCEEDED, at=1.0)
        world.learning.learn()
        before = world.reconciler.durations.usual(task)
        world.at(500)
        if is_written:
            await world.learning.write()
        assert len(world.edit("SELECT * FROM durations")) == (3 if is_written else 0)
    for _ in range(2):
        async with engine() as world:
            assert world.reconciler.durations.usual(task) is None
            await world.learning.load()
            after = world.reconciler.durations.usual(task)
            assert after is not None
            assert after == before == (63.5, after.p90_s, after.p95_s, LEAST_SAMPLES)


async def test_windows_are_written_now_and_then(engine: OpenWorld) -> None:
    """Not with each end: that would cost each callback; and only those that changed."""
    async with engine() as world:
        await end(world, 0, 5.0, model="V4")
        await world.learning.run()
        assert world.reconciler.durations.samples("suno.generate") == 1
        assert world.edit("SELECT * FROM durations") == []
        world.at(WRITE_EVERY_S + 1)
        await world.learning.run()
        rows = "SELECT model, took_s FROM durations ORDER BY model"
        assert world.edit(rows) == [("", "[5.0]"), ("V4", "[5.0]")]
        world.edit("UPDATE durations SET took_s = '[9.0]'")
        await end(world, 1, 6.0, model="V5")
        world.at(2 * WRITE_EVERY_S + 2)
        await world.learning.run()
        assert world.edit(rows) == [("", "[5.0,6.0]"), ("V4", "[9.0]"), ("V5", "[6.0]")]


async def test_only_the_last_times_are_kept(engine: OpenWorld) -> None:
    """In memory and in the file."""
    async with engine() as world:
        for n in range(WINDOW + 20):
            await end(world, n, 10.0 + n, model=f"V{n % 3}", size=("5s", None)[n % 2])
        world.learning.learn()
        await world.learning.write()
        stored, learned = await world.store.read_durations(), world.reconciler.durations
        for model in ("V0", "V1", "V2", "V3"):
            for size in ("5s", "60s", None):
                task = make_task(model=model, size=size)
                assert stored.samples(task.route) == learned.samples(task.route)
        usual = learned.usual(make_task(model="V9"))
        assert usual is not None
        assert (usual.samples, usual.p50_s) == (WINDOW, 10.0 + 20 + (WINDOW - 1) / 2), "the oldest are forgotten"
        assert MOST >= WINDOW


async def test_a_failed_write_is_repeated(engine: OpenWorld) -> None:
    """What is known stays known, and is written by the next call."""
    async with engine() as world:
        await end(world, 0, 5.0)
        world.learning.learn()
        world.store.fail("record_durations", times=1)
        await world.learning.write()
        assert world.reconciler.durations.samples("suno.generate") == 1
        assert world.edit("SELECT * FROM durations") == []
        await world.learning.write()
        assert len(world.edit("SELECT * FROM durations")) == 2


async def test_the_number_of_keys_is_bounded(engine: OpenWorld) -> None:
    """A model name is a user's: any number of them leaves the table small, and the newest are known."""
    async with engine() as world:
        world.edit(
            "WITH RECURSIVE item (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM item WHERE n < ?) "
            "INSERT INTO durations SELECT 'suno.generate', 'm-' || n, '', '[1.0]', n FROM item",
            MAX_KEYS,
        )
        await world.learning.load()
        await end(world, 0, 5.0)
        world.learning.learn()
        await world.learning.write()
        durations = await world.store.read_durations()
        assert world.edit("SELECT count(*) FROM durations") == [(MAX_KEYS,)]
        assert durations.samples("suno.generate") >= 1
        kept = [n for n in range(1, MAX_KEYS + 1) if durations.times([("suno.generate", f"m-{n}", "")])]
        assert kept == list(range(3, MAX_KEYS + 1)), "two keys are new: the two oldest are gone"
