"""Leases and the processes that hold them: who may record a result, and what is claimed again."""

import asyncio
from datetime import timedelta

from tests.contract.store.conftest import OpenWorld
from tests.kits.clock import after
from tests.kits.factories import make_answer, make_registration, make_task_name
from tests.kits.world import LANE, World
from tracker.domain.archives import ArchiveState
from tracker.domain.deliveries import DeliveryJob
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.observation import Submission
from tracker.domain.task import Output, Reason, Status
from tracker.store.values import (
    ArchiveJob,
    ArchiveResult,
    ArchiveWish,
    AttemptResult,
    Lane,
)


async def claim_everything(world: World) -> tuple[DeliveryJob, ArchiveJob]:
    """A delivery and an output of the first task, claimed for 100 seconds."""
    world.store.choose_archives(lambda _task, _output: ArchiveWish(None))
    await world.follow(1)
    await world.call(1, Status.SUCCEEDED, outputs=(Output("audio", "https://a.example/1"),))
    await world.at(20).fan_out(lambda _: ["publish"], 100)
    (delivery,) = await world.store.claim_deliveries("publish", 1, 100)
    (output,) = await world.store.claim_archives(1, 100)
    return delivery, output


async def record_everything(world: World, delivery: DeliveryJob, output: ArchiveJob) -> list[str]:
    """Record that both attempts gave up; what is stored then."""
    await world.store.record_attempt(delivery.id, AttemptResult(DeliveryStatus.DEAD), attempt=delivery.attempt)
    await world.store.record_archive(output, ArchiveResult(ArchiveState.DEAD))
    (delivered,) = await world.store.list_deliveries(make_task_name(1))
    (archived,) = await world.store.list_archives(make_task_name(1))
    return [delivered.status, archived.state]


async def test_a_result_is_stored_while_its_lease_holds(engine: OpenWorld) -> None:
    """Also after the lease's end, as long as nothing else has claimed the work."""
    async with engine() as world:
        claimed = await claim_everything(world)
        world.clock.advance(1000)
        assert await record_everything(world, *claimed) == ["dead", "dead"]


async def test_a_result_of_a_process_that_was_replaced_is_refused(engine: OpenWorld) -> None:
    """Another process holds the same attempt by now: the late result of this one does not end it."""
    async with engine() as world:
        claimed = await claim_everything(world)
        for table in ("deliveries", "archives"):
            world.edit(f"UPDATE {table} SET holder = 'other'")
        assert await record_everything(world, *claimed) == ["running", "running"]


async def test_a_start_makes_due_what_dead_processes_held(engine: OpenWorld) -> None:
    """At once, not at the end of the leases; an archive attempt that was cut off does not count."""
    async with engine() as world:
        first = await claim_everything(world)
        await world.follow(2)
        await world.store.claim_due(LANE, 9, 100)
    async with engine(world.clock) as world:
        (delivery,) = await world.store.claim_deliveries("publish", 1, 100)
        (output,) = await world.store.claim_archives(1, 100)
        assert (output.attempt, delivery.attempt) == (first[1].attempt, first[0].attempt + 1)
        assert [one.task.id for one in await world.store.claim_due(LANE, 9, 100)] == [make_task_name(2)]


async def test_a_result_of_an_earlier_attempt_is_refused(engine: OpenWorld) -> None:
    """The same process has claimed the work again: only the later attempt counts."""
    async with engine() as world:
        first = await claim_everything(world)
        world.clock.advance(200)
        (delivery,) = await world.store.claim_deliveries("publish", 1, 100)
        (output,) = await world.store.claim_archives(1, 100)
        assert await record_everything(world, *first) == ["running", "running"]
        await world.store.release_deliveries([(delivery.id, first[0].attempt)])
        assert await record_everything(world, delivery, output) == ["dead", "dead"]


async def test_each_start_is_a_process_of_its_own(engine: OpenWorld) -> None:
    """A new id each time; the previous row is gone, and each check of the writer renews the current one."""
    ids = []
    for _ in range(2):
        async with engine() as world:
            world.clock.advance(30)
            await world.store.check_writable()
            ((name, started_at, seen_at),) = world.edit("SELECT id, started_at, seen_at FROM processes")
            assert seen_at - started_at == 30_000
            ids.append(name)
    assert (len(set(ids)), {len(name) for name in ids}) == (2, {26})


async def test_a_create_is_never_claimed_from_a_running_process(engine: OpenWorld) -> None:
    """It is claimed only when its process is gone, however long ago its lease ended."""
    async with engine() as world:
        await world.submit(1)
        await world.store.mark_sending(make_task_name(1), 60)
        world.edit("INSERT INTO processes SELECT 'other', host, pid, version, started_at, seen_at FROM processes")
        world.edit("UPDATE tasks SET holder = 'other'")
        world.clock.advance(7200)
        assert await world.store.claim_due(LANE, 9, 60) == []
        world.edit("DELETE FROM processes WHERE id = 'other'")
        (lost,) = await world.store.claim_due(LANE, 9, 60)
        assert (lost.task.id, lost.task.submit_state) == (make_task_name(1), "sending")


async def test_an_observation_leaves_a_create_with_its_sender(engine: OpenWorld) -> None:
    """Only what decides the create ends the lease of the process that sends it."""
    async with engine() as world:
        await world.submit(1)
        ((me,),) = world.edit("SELECT id FROM processes")
        await world.store.mark_sending(make_task_name(1), 60)
        await world.poll(1, trouble=None, at=5)
        assert world.edit("SELECT holder FROM tasks") == [(me,)]
        await world.apply(make_answer(Submission.ACCEPTED, task_id=make_task_name(1), at=9))
        assert world.edit("SELECT holder FROM tasks") == [(None,)]


async def test_a_claim_says_whether_a_lease_ended(engine: OpenWorld) -> None:
    """A poll request ends the lease; otherwise the claim says that the task was held."""
    async with engine() as world:
        await world.follow(1)
        for is_requested, was_held in ((False, False), (False, True), (True, False)):
            if is_requested:
                await world.store.poll_now(make_task_name(1))
            (claimed,) = await world.store.claim_due(LANE, 1, 10)
            assert claimed.was_held is was_held
            world.clock.advance(10)


async def test_only_the_holder_postpones(engine: OpenWorld) -> None:
    """A lease of another process does not change."""
    async with engine() as world:
        await world.store.create_task(make_registration(1))
        await world.store.claim_due(LANE, 1, 100)
        world.edit("UPDATE tasks SET holder = 'other'")
        await world.store.postpone(make_task_name(1), 5)
        assert (await world.get(1)).task.due_at == after(100)


async def test_a_step_back_of_the_clock_ends_no_lease(engine: OpenWorld) -> None:
    """Due times move, holders stay."""
    async with engine() as world:
        claimed = await claim_everything(world)
        await world.store.move_due_times_back(timedelta(seconds=50))
        assert await record_everything(world, *claimed) == ["dead", "dead"]


async def test_lanes_and_claims(engine: OpenWorld) -> None:
    """Lanes with something due, the longest waiting first; claims in the order in which tasks fell due."""
    async with engine() as world:
        for n, (account, provider, due_s) in enumerate(
            [("a", "suno", 30), ("a", "suno", 10), ("a", "kling", 5), ("b", "suno", 40), ("c", "suno", 900)], start=1
        ):
            await world.follow(n, account=account, provider=provider, due_at=after(due_s))
        assert await world.at(4).list_lanes() == []
        lanes = await world.at(40).list_lanes()
        assert lanes == [
            Lane("a", "kling"),
            Lane("a", "suno"),
            Lane("b", "suno"),
        ]
        claimed = await world.at(40).claim_due(lanes[1], 10, 40)
        assert [one.task.id for one in claimed] == [make_task_name(2), make_task_name(1)]


async def test_two_claims_never_return_the_same_task(engine: OpenWorld) -> None:
    """Each task once until its lease ends, also for concurrent claims."""
    async with engine() as world:
        for n in range(1, 21):
            await world.follow(n, due_at=after(n))
        claims = await asyncio.gather(*(world.at(50).claim_due(LANE, 7, 40) for _ in range(4)))
        ids = [one.task.id for claim in claims for one in claim]
        assert ids == [make_task_name(n) for n in range(1, 21)]
        assert await world.at(89).claim_due(LANE, 7, 40) == []
        assert len(await world.at(90).claim_due(LANE, 50, 40)) == 20


async def test_tasks_of_a_dead_process_are_due_at_open(engine: OpenWorld) -> None:
    """Its polls and its sends are due now; postponed tasks stay postponed."""
    async with engine() as world:
        await world.follow(1)
        await world.at(1).claim_due(LANE, 1, 499)
        await world.submit(2)
        await world.submit(3)
        await world.store.mark_sending(make_task_name(3), 500)
        await world.submit(4)
        await world.store.mark_sending(make_task_name(4), 500)
        await world.apply(make_answer(Submission.DEFERRED, task_id=make_task_name(4), retry_after_s=300.0, at=1))
        await world.follow(5, due_at=after(700))
        world.at(10)
    async with engine(world.clock) as world:
        due = [(await world.get(n)).task.due_at for n in range(1, 6)]
        assert due[:3] == [after(10)] * 3
        assert due[3] is not None
        assert due[3] > after(300)
        assert due[4] == after(700)
        states = [(await world.get(n)).task.submit_state for n in range(1, 6)]
        assert states == ["accepted", "queued", "sending", "queued", "accepted"]


async def test_poll_now(engine: OpenWorld) -> None:
    """An unfinished or given-up task with an upstream id is due now; others do not change."""
    async with engine() as world:
        await world.follow(1, due_at=after(500))
        assert (await world.at(3).poll_now(make_task_name(1))).due_at == after(3)
        assert (await world.get(1)).task.due_at == after(3)
        await world.submit(2)
        assert (await world.at(3).poll_now(make_task_name(2))).due_at == after(60)
        await world.poll(1, Status.FAILED)
        assert (await world.at(3).poll_now(make_task_name(1))).due_at is None
        await world.follow(3)
        await world.call(3, Status.FAILED, reason=Reason.EXPIRED)
        assert (await world.at(30).poll_now(make_task_name(3))).due_at == after(30)
