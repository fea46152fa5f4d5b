"""Retention on a real file: what is deleted, what never is, and that the file gets smaller."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.kits.clock import START, after
from tests.kits.factories import make_answer, make_output, make_task_name
from tests.kits.hooks import of_tasks
from tests.kits.world import World
from tracker.archive.file_storage import DirectoryStorage
from tracker.config.sections import Retention as Days
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.observation import Submission
from tracker.domain.pruning import ALONE, BESIDE_CALLBACKS, Cutoffs, Prunable, Pruned, StepSize, days_before
from tracker.domain.task import Status, TaskId
from tracker.maintenance.pruning import Pruning, steps
from tracker.store.sqlite.audit import audit
from tracker.store.sqlite.pruning import LASTING
from tracker.store.values import AttemptResult

DAY_S = 86_400.0
PAYLOAD = '{"prompt":"' + "la " * 2000 + '"}'


def retention(world: World, *, files: Path | None = None, **days: int) -> Pruning:
    """Retention with these days; the others are unlimited."""
    stored = Days(**{"events_days": 0, "payload_days": 0, "outputs_days": 0, **days})
    return Pruning(world.store, world.clock, lambda: stored, DirectoryStorage(files).remove if files else None)


async def fan_out(world: World, *hooks: str) -> None:
    """Fan everything out."""
    await world.store.fan_out(lambda _: hooks, 10_000)


async def live(world: World, n: int, end: Status = Status.SUCCEEDED) -> None:
    """A song that is sent, runs and ends, with payloads."""
    await world.submit(n)
    await world.store.mark_sending(make_task_name(n), 60)
    await world.apply(
        make_answer(Submission.ACCEPTED, external_id=f"up-{n}", task_id=make_task_name(n), payload=PAYLOAD)
    )
    await world.call(n, Status.RUNNING, at=11, payload=PAYLOAD)
    await world.call(n, end, at=12, payload=PAYLOAD)


async def make_lives(world: World) -> None:
    """Five songs: succeeded, failed, running, pending, and one that ended two days ago."""
    await live(world, 1)
    await live(world, 2, Status.FAILED)
    await world.follow(3)
    await world.call(3, Status.RUNNING, at=11, payload=PAYLOAD)
    await world.submit(4)
    await fan_out(world)


async def test_bodies_are_deleted_before_histories_and_rows_stay(tmp_path: Path) -> None:
    """After payload_days payloads and requests; after events_days the history; the task and its outputs never."""
    async with World(tmp_path / "t.db") as world:
        await make_lives(world)
        keeper = retention(world, payload_days=30, events_days=90)
        before = await world.get(1)
        assert before.result is not None
        world.clock.advance(29 * DAY_S)
        assert await keeper.run() == Pruned()
        world.clock.advance(2 * DAY_S)
        bodies = await keeper.run()
        assert (bodies.tasks, bodies.payloads, bodies.requests, bodies.events) == (2, 6, 2, 0)
        record = await world.get(1)
        assert (record.request, record.result, record.task.result_seq) == (None, None, None)
        assert record.task.outputs == before.task.outputs
        assert record.task.version == before.task.version + 1
        assert [event.payload for event in await world.store.list_events(make_task_name(1))] == [None] * 3
        world.clock.advance(60 * DAY_S)
        histories = await keeper.run()
        assert (histories.tasks, histories.events, histories.payloads, histories.requests) == (2, 6, 0, 0)
        assert await world.store.list_events(make_task_name(2)) == []
        assert (await world.get(2)).task.status is Status.FAILED
        assert (await keeper.run()).tasks == 0
        assert audit(world.path).is_sound


async def test_unfinished_tasks_stay_complete(tmp_path: Path) -> None:
    """At any age: events, payloads and request."""
    async with World(tmp_path / "t.db") as world:
        await make_lives(world)
        world.clock.advance(1000 * DAY_S)
        await retention(world, payload_days=1, events_days=1).run()
        assert (await world.get(4)).request is not None
        assert [event.payload is None for event in await world.store.list_events(make_task_name(3))] == [False]


async def test_zero_means_unlimited(tmp_path: Path) -> None:
    """Nothing is deleted, and no task is examined."""
    async with World(tmp_path / "t.db") as world:
        await make_lives(world)
        world.clock.advance(10_000 * DAY_S)
        assert await retention(world).run() == Pruned()
        assert len(await world.store.list_events(make_task_name(1))) == 3
    assert days_before(START, 0) is None
    assert days_before(START, 10**9) is None


async def test_histories_may_be_deleted_before_bodies(tmp_path: Path) -> None:
    """With events_days below payload_days the request outlives the history; the result is deleted with its event."""
    async with World(tmp_path / "t.db") as world:
        await make_lives(world)
        world.clock.advance(20 * DAY_S)
        pruned = await retention(world, events_days=10, payload_days=30).run()
        assert (pruned.events, pruned.requests) == (6, 0)
        record = await world.get(1)
        assert (record.result, record.request is None) == (None, False)


@pytest.mark.parametrize("days", [{"events_days": 1}, {"payload_days": 1}, {"events_days": 1, "payload_days": 1}])
async def test_a_dry_run_counts_what_is_then_pruned(tmp_path: Path, days: dict[str, Any]) -> None:
    """The same counts, and the dry run deletes nothing."""
    async with World(tmp_path / "t.db") as world:
        await make_lives(world)
        await fan_out(world)
        world.clock.advance(5 * DAY_S)
        keeper = retention(world, **days)
        foreseen = await keeper.run(dry_run=True)
        assert foreseen.tasks == 2
        assert foreseen == await keeper.run(dry_run=True)
        pruned = await keeper.run()
        assert foreseen == Pruned(**{name: getattr(pruned, name) for name in COUNTED})
        assert await keeper.run(dry_run=True) == Pruned()


COUNTED = ("tasks", "events", "deliveries", "payloads", "requests", "files", "file_bytes")


async def test_undelivered_events_are_not_deleted(tmp_path: Path) -> None:
    """Not before an announcement is fanned out, nor while a delivery is pending or running."""
    async with World(tmp_path / "t.db") as world:
        await live(world, 1)
        world.clock.advance(100 * DAY_S)
        keeper = retention(world, events_days=1, payload_days=1)
        assert await keeper.run() == Pruned(), "announced, not fanned out"
        await fan_out(world, "publish")
        assert await keeper.run() == Pruned(), "pending"
        for _ in range(3):  # of one task one after the other
            (job,) = of_tasks(await world.store.claim_deliveries("publish", 10, 60))
            assert await keeper.run() == Pruned(), "under way"
            assert (job.record.result is None) is (job.event != "task.succeeded")
            await world.store.record_attempt(job.id, AttemptResult(DeliveryStatus.SUCCEEDED), job.attempt)
        pruned = await keeper.run()
        assert (pruned.tasks, pruned.events, pruned.deliveries) == (1, 3, 3)


async def test_a_dead_delivery_can_still_be_retried(tmp_path: Path) -> None:
    """It stays, with the current task; deliveries with other ends are deleted with their history."""
    async with World(tmp_path / "t.db") as world:
        await live(world, 1)
        await fan_out(world, "publish")
        for status in (DeliveryStatus.SUCCEEDED, DeliveryStatus.FAILED, DeliveryStatus.DEAD):
            (job,) = of_tasks(await world.store.claim_deliveries("publish", 10, 60))
            made = AttemptResult(status, error="exit 100", started_at=world.clock.now())
            await world.store.record_attempt(job.id, made, job.attempt)
        assert world.edit("SELECT count(*) FROM delivery_attempts") == [(2,)]
        world.clock.advance(2 * DAY_S)
        assert (await retention(world, events_days=1).run()).deliveries == 2
        (dead,) = await world.store.list_deliveries(make_task_name(1))
        assert world.edit("SELECT delivery_id FROM delivery_attempts") == [(dead.id,)]
        await world.store.retry_delivery(dead.id)
        (job,) = of_tasks(await world.store.claim_deliveries("publish", 10, 60))
        assert (job.event, job.record.task.status) == ("task.succeeded", Status.SUCCEEDED)


async def test_a_store_checks_again_when_it_deletes(tmp_path: Path) -> None:
    """A found task whose delivery was then retried is not deleted."""
    async with World(tmp_path / "t.db") as world:
        await live(world, 1)
        await fan_out(world)
        cutoffs = Cutoffs(events=after(DAY_S), payloads=after(DAY_S))
        page = await world.store.find_prunable(cutoffs, "", 10)
        assert [item.task_id for item in page.items] == [make_task_name(1)]
        world.edit("INSERT OR IGNORE INTO outbox SELECT seq FROM events WHERE announces IS NOT NULL")
        await fan_out(world, "publish")
        assert await world.store.prune([make_task_name(1)], cutoffs) == (Pruned(), 1)
        assert await world.store.prune([TaskId("gone")], cutoffs) == (Pruned(), 1)


async def test_a_late_callback_of_a_pruned_task_is_a_duplicate(tmp_path: Path) -> None:
    """Nothing is announced, and the task is unchanged."""
    async with World(tmp_path / "t.db") as world:
        await live(world, 1)
        await fan_out(world)
        world.clock.advance(2 * DAY_S)
        await retention(world, events_days=1, payload_days=1).run()
        again = await world.call(1, Status.SUCCEEDED, at=12)
        assert (again.outcome, again.announced) == ("duplicate", False)
        assert (await world.call(1, Status.FAILED, at=13)).outcome == "conflict"
        found = audit(world.path)
        assert (found.is_sound, found.tasks, found.judged) == (True, 1, 0)


async def test_the_file_gets_smaller(tmp_path: Path) -> None:
    """Freed space is returned; the file is valid."""
    path = tmp_path / "t.db"
    async with World(path) as world:
        for start in range(1, 301, 50):
            await asyncio.gather(*(live(world, n) for n in range(start, start + 50)))
        await fan_out(world)
        assert await world.store.write(lambda db: db.execute("PRAGMA auto_vacuum").fetchone()) == (2,)
    full = path.stat().st_size
    async with World(path) as world:
        world.clock.advance(40 * DAY_S)
        pruned = await retention(world, payload_days=30).run()
        assert pruned.payloads == 900
        assert world.edit("PRAGMA freelist_count") == [(0,)]
    assert path.stat().st_size < full / 3
    assert pruned.freed_bytes == pytest.approx(full - path.stat().st_size, rel=0.05)
    assert audit(path).is_sound


async def test_pruning_beside_callbacks_loses_nothing(tmp_path: Path) -> None:
    """Callbacks during the run are all applied, and old data is deleted."""
    async with World(tmp_path / "t.db") as world:
        for start in range(1, 201, 50):
            await asyncio.gather(*(live(world, n) for n in range(start, start + 50)))
        await fan_out(world)
        world.clock.advance(100 * DAY_S)
        for n in range(1001, 1201):
            await world.follow(n)

        async def call_back() -> list[Status]:
            ended = []
            for start in range(1001, 1201, 10):
                late = world.clock.now().timestamp() - START.timestamp()
                applied = await asyncio.gather(
                    *(
                        world.call(n, Status.SUCCEEDED, at=late, payload=PAYLOAD, outputs=(make_output(n),))
                        for n in range(start, start + 10)
                    )
                )
                ended += [change.task.status for change in applied]
            return ended

        pruned, ended = await asyncio.gather(retention(world, events_days=90, payload_days=30).run(), call_back())
        assert ended == [Status.SUCCEEDED] * 200
        assert (pruned.tasks, pruned.events) == (200, 600)
        for n in (1001, 1200):
            assert (await world.get(n)).result is not None
        assert world.edit("SELECT count(*), count(payload) FROM events") == [(200, 200)]
        found = audit(world.path)
        assert (found.is_sound, found.tasks, found.judged) == (True, 400, 200)


async def test_a_run_can_be_halted(tmp_path: Path) -> None:
    """The rest waits for the next run."""
    async with World(tmp_path / "t.db") as world:
        await make_lives(world)
        world.clock.advance(2 * DAY_S)
        keeper = retention(world, events_days=1)
        keeper.halt()
        assert await keeper.run() == Pruned()
        assert (await retention(world, events_days=1).run()).tasks == 2


async def test_every_column_of_an_event_outlives_its_payload(tmp_path: Path) -> None:
    """Events are rewritten without their payload: columns of later schemas must be included."""
    async with World(tmp_path / "t.db") as world:
        columns = {name for (name,) in world.edit("SELECT name FROM pragma_table_info('events')")}
        assert columns == {*LASTING, "payload"}
        await live(world, 1)
        await fan_out(world)
        what = f"SELECT {', '.join(LASTING)} FROM events ORDER BY seq"
        before = world.edit(what)
        world.clock.advance(2 * DAY_S)
        assert (await retention(world, payload_days=1).run()).payloads == 3
        assert world.edit(what) == before
        assert world.edit("SELECT seq FROM sqlite_sequence WHERE name = 'events'") == [(3,)]


def test_steps_are_bounded() -> None:
    """By rows, with all tasks in order; a larger task is a step of its own."""
    sizes = [1, BESIDE_CALLBACKS.rows, 60, 60, 60, 5]
    found = [Prunable(TaskId(str(n)), Pruned(events=size)) for n, size in enumerate(sizes)]
    assert list(steps(found, BESIDE_CALLBACKS.rows)) == [["0"], ["1"], ["2", "3"], ["4", "5"]]
    assert list(steps(found, ALONE.rows)) == [["0", "1", "2", "3", "4", "5"]]


class StepCounter:
    """A store that records the size of each transaction that deletes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.steps: list[int] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the store has
        return getattr(self._world.store, name)

    async def prune(self, ids: Sequence[TaskId], cutoffs: Cutoffs, size: StepSize) -> tuple[Pruned, int]:
        """Delete as the store does."""
        counts, done = await self._world.store.prune(ids, cutoffs, size)
        self.steps.append(done)
        return counts, done


@pytest.mark.parametrize(("size", "pauses"), [(BESIDE_CALLBACKS, True), (ALONE, False)])
async def test_a_process_alone_takes_large_steps_and_no_pauses(tmp_path: Path, size: StepSize, pauses: bool) -> None:
    """Without a daemon all tasks go in one transaction; beside callbacks a step has few, and is followed by a pause."""
    tasks = 40
    async with World(tmp_path / "t.db") as world:
        for n in range(tasks):
            await live(world, n)
        await fan_out(world)
        world.clock.advance(2 * DAY_S)
        counter = StepCounter(world)
        days = Days(events_days=1, payload_days=1)
        pruned = await Pruning(counter, world.clock, lambda: days, size=size).run()  # type: ignore[arg-type]  # by __getattr__
        assert (pruned.tasks, pruned.events, sum(counter.steps)) == (tasks, 3 * tasks, tasks)
        assert (len(counter.steps) > 1) is pauses
        assert (size.pause_min_s > 0) is pauses


# -- archived files ----------------------------------------------------------------------------------------


async def archived(world: World, n: int, root: Path, path: str | None = None) -> Path:
    """Archive a file of a task, as its row and on disk."""
    path = path or f"{make_task_name(n)}/0-song.mp3"
    world.edit(
        "INSERT INTO archives (task_id, identity, n, state, path, bytes, sha256, mime, created_at, finished_at)"
        " VALUES (?, ?, 0, 'stored', ?, 4, 'ab', 'audio/mpeg', 0, 0)",
        make_task_name(n),
        f"https://cdn.example/{n}",
        path,
    )
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"song")
    return place


async def test_archived_files_are_deleted_with_their_rows(tmp_path: Path) -> None:
    """After outputs_days, and only those of finished tasks; a dry run counts them."""
    root = tmp_path / "outputs"
    async with World(tmp_path / "t.db") as world:
        await make_lives(world)
        done, running = await archived(world, 1, root), await archived(world, 3, root)
        world.clock.advance(10 * DAY_S)
        assert (await retention(world, files=root).run()).files == 0
        keeper = retention(world, files=root, outputs_days=7)
        assert await keeper.run(dry_run=True) == Pruned(files=1, file_bytes=4)
        assert done.exists()
        assert await keeper.run() == Pruned(files=1, file_bytes=4)
        assert (done.parent.exists(), running.exists()) == (False, True)
        assert world.edit("SELECT task_id FROM archives") == [(make_task_name(3),)]


async def test_the_row_of_a_missing_file_is_deleted(tmp_path: Path) -> None:
    """The next run completes a run that was interrupted between the two steps."""
    root = tmp_path / "outputs"
    async with World(tmp_path / "t.db") as world:
        await make_lives(world)
        (await archived(world, 1, root)).unlink()
        world.clock.advance(10 * DAY_S)
        assert (await retention(world, files=root, outputs_days=7).run()).files == 1
        assert world.edit("SELECT * FROM archives") == []


async def test_nothing_outside_the_archive_is_removed(tmp_path: Path) -> None:
    """For any path in the database; the row stays, and the run continues."""
    root = tmp_path / "outputs"
    async with World(tmp_path / "t.db") as world:
        await make_lives(world)
        precious = await archived(world, 1, root, "../precious")
        await archived(world, 2, root)
        world.clock.advance(10 * DAY_S)
        assert (await retention(world, files=root, outputs_days=7).run()).files == 1
        assert precious.read_bytes() == b"song"
