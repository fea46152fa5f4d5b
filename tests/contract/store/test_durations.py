"""How long tasks take: written with their ends, read after a restart, small whatever happens."""

from tests.contract.store.conftest import OpenWorld
from tests.kits.factories import make_answer, make_task
from tests.kits.world import Fields, World
from tracker.domain.durations import LEAST_SAMPLES, MAX_KEYS, WINDOW
from tracker.domain.observation import Submission
from tracker.domain.statuses import Status
from tracker.domain.task import ExternalId


async def end(world: World, n: int, took_s: float, status: Status = Status.SUCCEEDED, **fields: Fields) -> None:
    """Submit a task that is accepted after one second, and called back at its end."""
    task_id = await world.submit(n, **fields)
    await world.store.mark_sending(task_id, 60)
    await world.apply(make_answer(Submission.ACCEPTED, task_id=task_id, external_id=ExternalId(f"up-{n}")))
    await world.call(task_id, status, at=1.0 + took_s)


async def test_ends_are_learned_and_survive_a_restart(engine: OpenWorld) -> None:
    """Of tasks that succeeded and that this tracker sent, with the transaction that ends them."""
    task = make_task(model="V5", size="5s")
    async with engine() as world:
        for n in range(LEAST_SAMPLES):
            await end(world, n, 60.0 + n, size="5s")
        await end(world, 90, 1.0, Status.FAILED, size="5s")
        await world.follow(91, model="V5", size="5s")
        await world.call(91, Status.SUCCEEDED, at=1.0)
        before = world.reconciler.durations.usual(task)
    async with engine() as world:
        assert world.reconciler.durations.usual(task) is None
        await world.reconciler.load()
        after = world.reconciler.durations.usual(task)
    assert after is not None
    assert after == before == (63.5, after.p90_s, after.p95_s, LEAST_SAMPLES)


async def test_what_is_stored_equals_what_is_learned_in_memory(engine: OpenWorld) -> None:
    """The daemon learns from commits, also from many in one; it reads the same after a restart."""
    async with engine() as world:
        await world.reconciler.load()
        for n in range(WINDOW + 20):
            await end(world, n, 10.0 + n, model=f"V{n % 3}", size=("5s", None)[n % 2])
        stored, learned = await world.store.read_durations(), world.reconciler.durations
        for model in ("V0", "V1", "V2", "V3"):
            for size in ("5s", "60s", None):
                task = make_task(model=model, size=size)
                assert stored.usual(task) == learned.usual(task)
        usual = stored.usual(make_task(model="V9"))
        assert usual is not None
        assert (usual.samples, usual.p50_s) == (WINDOW, 10.0 + 20 + (WINDOW - 1) / 2), "the oldest are forgotten"


async def test_a_success_writes_its_keys_and_a_failure_none(engine: OpenWorld) -> None:
    """The size, the model and the route."""
    async with engine() as world:
        await end(world, 0, 5.0, size="5s")
        await end(world, 1, 5.0, Status.FAILED, size="60s")
        rows = world.edit("SELECT route, model, size, took_s FROM durations ORDER BY model, size")
        assert rows == [
            ("suno.generate", "", "", "[5.0]"),
            ("suno.generate", "V5", "", "[5.0]"),
            ("suno.generate", "V5", "5s", "[5.0]"),
        ]


async def test_the_number_of_keys_is_bounded(engine: OpenWorld) -> None:
    """A model name is a user's: any number of them leaves the table small, and the newest are known."""
    async with engine() as world:
        world.edit(
            "WITH RECURSIVE item (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM item WHERE n < ?) "
            "INSERT INTO durations SELECT 'suno.route-' || n, '', '', '[1.0]', n FROM item",
            MAX_KEYS,
        )
        await end(world, 0, 5.0)
        durations = await world.store.read_durations()
        assert world.edit("SELECT count(*) FROM durations") == [(MAX_KEYS,)]
        assert durations.samples(make_task()) == 1
        kept = [n for n in range(1, MAX_KEYS + 1) if durations.samples(make_task(route=f"suno.route-{n}"))]
        assert kept == list(range(3, MAX_KEYS + 1)), "two keys are new: the two oldest are gone"
