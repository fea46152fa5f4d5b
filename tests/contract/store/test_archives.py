"""Items of the archive: which are claimed first, and when the next one falls due."""

from datetime import timedelta

from tests.contract.store.conftest import OpenWorld
from tests.kits.clock import START, after
from tests.kits.factories import make_task_name
from tests.kits.world import World
from tracker.domain.archives import ArchiveState
from tracker.domain.task import Output, Status
from tracker.store.values import ArchiveResult, ArchiveWish


async def bring(world: World, n: int, expires_in_s: float | None, *, at: float = 0.0) -> None:
    """A task that has succeeded with one file."""
    wish = ArchiveWish(None if expires_in_s is None else START + timedelta(seconds=expires_in_s))
    world.store.choose_archives(lambda _task, _output: wish)
    await world.follow(n)
    await world.poll(n, Status.SUCCEEDED, at=at, outputs=(Output("video", f"https://a.example/{n}.mp4"),))


async def claim(world: World, limit: int) -> list[str]:
    """Claim items; the names of their tasks in order."""
    return [job.task.id for job in await world.store.claim_archives(limit, 900)]


async def test_urls_that_expire_first_are_claimed_first(engine: OpenWorld) -> None:
    """Then those that have waited longest; URLs without an expiry come last."""
    async with engine() as world:
        await bring(world, 1, None)
        await bring(world, 2, 7200, at=2)
        await bring(world, 3, 3600, at=3)
        await bring(world, 4, 3600, at=1)
        world.clock.advance(60)
        assert await claim(world, 3) == [make_task_name(n) for n in (4, 3, 2)]
        assert await claim(world, 3) == [make_task_name(1)]
        assert await claim(world, 3) == []


async def test_items_that_wait_for_a_retry_do_not_hide_due_ones(engine: OpenWorld) -> None:
    """However many URLs that expire earlier wait, what is due is claimed, in its own order."""
    async with engine() as world:
        for n in range(600):
            await bring(world, n, 60)
        jobs = [job for _ in range(6) for job in await world.store.claim_archives(100, 900)]
        assert len(jobs) == 600
        for job in jobs:
            waits = ArchiveResult(ArchiveState.PENDING, retry_in_s=3600, expires_at=after(60))
            await world.store.record_archive(job, waits)
        await bring(world, 700, 9000)
        await bring(world, 701, 8000)
        await bring(world, 702, 10, at=5)
        world.clock.advance(60)
        assert await claim(world, 5) == [make_task_name(n) for n in (702, 701, 700)]


async def test_files_that_are_due_again_are_claimed_in_the_same_order(engine: OpenWorld) -> None:
    """A retry is neither before nor behind what was never tried; the next due time is the earliest of both."""
    async with engine() as world:
        await bring(world, 1, 7200)
        await bring(world, 2, 3600)
        assert await world.store.next_archive_in_s() == 0
        for job in await world.store.claim_archives(2, 900):
            waits = ArchiveResult(ArchiveState.PENDING, retry_in_s=30, error="-", expires_at=job.expires_at)
            await world.store.record_archive(job, waits)
        assert (await claim(world, 9), await world.store.next_archive_in_s()) == ([], 30)
        await bring(world, 3, 5400, at=1)
        world.clock.advance(60)
        assert await world.store.next_archive_in_s() == -59
        assert await claim(world, 9) == [make_task_name(n) for n in (2, 3, 1)]
        assert await world.store.next_archive_in_s() == 900


async def test_several_files_of_one_task_are_claimed_together(engine: OpenWorld) -> None:
    """Each is a job of its own, with the attempt that it is; a file is leased once."""
    async with engine() as world:
        world.store.choose_archives(lambda _task, _output: ArchiveWish(None))
        await world.follow(1)
        outputs = tuple(Output("image", f"https://a.example/{n}.png") for n in range(3))
        await world.poll(1, Status.SUCCEEDED, at=0, outputs=outputs)
        jobs = await world.store.claim_archives(9, 900)
        assert [(job.output, job.n, job.attempt) for job in jobs] == [
            (output, n, 1) for n, output in enumerate(outputs)
        ]
        assert await claim(world, 9) == []
        states = [record.state for record in await world.store.list_archives(make_task_name(1))]
        assert states == [ArchiveState.RUNNING] * 3
