"""Slots of accounts: who waits, who is next, and what a task in flight is."""

import asyncio
from functools import partial

from tests.contract.store.conftest import OpenWorld
from tests.kits.factories import make_answer, make_cancel, make_new_task, make_task_name
from tests.kits.world import LANE, World
from tracker.domain.observation import Submission
from tracker.domain.task import Status, SubmitState
from tracker.store.values import Lane


async def mark(world: World, n: int, slots: int = 1) -> str | None:
    """Mark a create as being sent: the state that it has then."""
    task = await world.store.mark_sending(make_task_name(n), 60, slots)
    return None if task is None else "waits" if task.waits_for_slot else task.submit_state


async def claim(world: World, slots: int | None = 1, account: str = "default") -> tuple[list[int], bool]:
    """The numbers of the creates that a claim returns, and whether more wait."""
    claim = await world.store.claim_waiting(account, slots, 60)
    return [int(task.id[-4:]) for task in claim.tasks], claim.more


async def test_a_create_waits_while_all_slots_are_taken(engine: OpenWorld) -> None:
    """It is queued, without due time and lease, and decided: its key finds it. Other accounts do not count."""
    async with engine() as world:
        for n in range(1, 5):
            await world.submit(n, account="other" if n == 4 else "default", idempotency_key=f"k{n}")
        assert [await mark(world, n, 2) for n in (1, 2, 3, 4)] == ["sending", "sending", "waits", "sending"]
        task = (await world.get(3)).task
        assert (task.status, task.submit_state, task.due_at, task.submit_attempts) == ("PENDING", "queued", None, 0)
        assert await world.store.find_submit("k3", lambda _: None) == await world.get(3)  # type: ignore[arg-type,return-value]
        assert await world.store.list_waiting_accounts() == ["default"]
        assert await world.at(600).claim_due(LANE, 10, 60) != []
        assert (await world.get(3)).task == task, "no sweep takes it"


async def test_creates_are_marked_at_the_same_time(engine: OpenWorld) -> None:
    """The limit and the order hold within one transaction."""
    async with engine() as world:
        for n in range(1, 11):
            await world.submit(n)
        assert await asyncio.gather(*(mark(world, n, 3) for n in range(1, 11))) == ["sending"] * 3 + ["waits"] * 7
        assert await claim(world, 3) == ([], True)


async def test_every_end_frees_a_slot(engine: OpenWorld) -> None:
    """By success, failure, cancel and refusal, and a create that is put off holds none."""
    async with engine() as world:
        for n in range(1, 12):
            await world.submit(n)
        assert [await mark(world, n, 5) for n in range(1, 12)] == ["sending"] * 5 + ["waits"] * 6
        for n in (1, 2):
            await world.apply(make_answer(Submission.ACCEPTED, task_id=make_task_name(n), external_id=f"up-{n}"))
        assert await claim(world, 5) == ([], True), "an accepted task is in flight"
        await world.call(1, Status.SUCCEEDED)
        await world.poll(2, Status.FAILED)
        await world.apply(make_cancel(task_id=make_task_name(3)))
        await world.apply(make_answer(Submission.REFUSED, task_id=make_task_name(4)))
        await world.apply(make_answer(Submission.DEFERRED, task_id=make_task_name(5), retry_after_s=600.0))
        assert await claim(world, 5) == ([6, 7, 8, 9, 10], True)
        assert [await mark(world, n, 5) for n in range(6, 12)] == ["sending"] * 5 + ["waits"]


async def test_a_create_without_a_clear_answer_is_in_flight(engine: OpenWorld) -> None:
    """It may be running: its slot is free once it is given up."""
    async with engine() as world:
        for n in (1, 2):
            await world.submit(n)
            await mark(world, n)
        await world.apply(make_answer(Submission.AMBIGUOUS, task_id=make_task_name(1)))
        assert (await world.get(1)).task.submit_state is SubmitState.AMBIGUOUS
        assert await claim(world) == ([], True)
        await world.apply(make_cancel(task_id=make_task_name(1)))
        assert await claim(world) == ([2], False)


async def test_a_task_that_was_created_elsewhere_takes_a_slot(engine: OpenWorld) -> None:
    """It runs on the same plan. Registering is never refused: there may be more of them than slots."""
    async with engine() as world:
        for n in (1, 2):
            await world.follow(n)
        await world.submit(3)
        assert await mark(world, 3, 1) == "waits"
        await world.poll(1, Status.SUCCEEDED)
        assert await claim(world, 1) == ([], True)
        await world.poll(2, Status.SUCCEEDED)
        assert await claim(world, 1) == ([3], False)


async def test_a_later_create_does_not_overtake(engine: OpenWorld) -> None:
    """Neither one that waits, nor one that was claimed, nor one that was put off and is due again."""
    async with engine() as world:
        for n in (1, 2, 3):
            await world.submit(n)
        assert [await mark(world, n) for n in (1, 2)] == ["sending", "waits"]
        await world.apply(make_answer(Submission.DEFERRED, task_id=make_task_name(1), retry_after_s=30.0))
        assert await mark(world, 3) == "waits", "another waits"
        assert await claim(world) == ([2], True)
        await world.submit(4)
        assert await mark(world, 4) == "waits", "another is about to be sent"
        world.at(40)
        assert [one.task.id for one in await world.store.claim_due(LANE, 10, 60)] == [make_task_name(1)]
        assert await mark(world, 2) == "waits", "an earlier one is due again"
        assert [await mark(world, n) for n in (1, 2)] == ["sending", "waits"]
        await world.apply(make_cancel(task_id=make_task_name(1)))
        assert [await claim(world), await claim(world, 2), await claim(world, 5)] == [
            ([2], True), ([3], True), ([4], False)
        ]  # fmt: skip


async def test_a_lower_limit_takes_nothing_back(engine: OpenWorld) -> None:
    """Nothing more is sent until enough have ended; a higher limit, or none, applies at the next claim."""
    async with engine() as world:
        for n in range(1, 8):
            await world.submit(n)
            await mark(world, n, 3)
        assert await claim(world, 1) == ([], True)
        await world.poll(1, Status.SUCCEEDED)
        await world.apply(make_cancel(task_id=make_task_name(2)))
        assert await claim(world, 1) == ([], True)
        assert await claim(world, 2) == ([4], True)
        assert await claim(world, 4) == ([5, 6], True)
        assert await claim(world, None) == ([7], False)


async def test_a_claimed_create_has_its_full_time(engine: OpenWorld) -> None:
    """The wait for a slot does not count as time without an answer."""
    async with engine() as world:
        for n in (1, 2):
            await world.submit(n)
            await mark(world, n)
        await world.at(5000).mark_sending(make_task_name(2), 60, 1)
        await world.apply(make_cancel(task_id=make_task_name(1), at=5000))
        await claim(world)
        assert (await world.get(2)).task.progress_at == world.clock.now()
        await mark(world, 2)
        applied = await world.apply(make_answer(Submission.DEFERRED, task_id=make_task_name(2), at=5001))
        assert applied.task.status is Status.PENDING


async def test_a_claim_outlives_its_process(engine: OpenWorld) -> None:
    """What waits goes on waiting; what was claimed and not sent is due at the next start."""
    async with engine() as world:
        for n in (1, 2, 3):
            await world.submit(n)
            await mark(world, n)
        await world.apply(make_cancel(task_id=make_task_name(1)))
        assert await claim(world) == ([2], True)
    async with engine() as world:
        assert [one.task.id for one in await world.store.claim_due(LANE, 10, 60)] == [make_task_name(2)]
        assert await claim(world) == ([], True)
        assert await world.store.list_waiting_accounts() == ["default"]
        assert await claim(world, None, "unknown") == ([], False)
        assert await world.store.list_lanes() == []
        assert await world.store.claim_due(Lane("default", "kling"), 10, 60) == []


async def test_a_create_that_waited_is_decided(engine: OpenWorld) -> None:
    """Its client was answered, so its key finds it from then on, also while it is being sent for the first time."""
    async with engine() as world:
        await world.submit(1)
        await mark(world, 1)
        await world.submit(2, idempotency_key="k", fingerprint="f")
        await mark(world, 2)
        await world.apply(make_cancel(task_id=make_task_name(1)))
        assert await claim(world) == ([2], False)
        for _ in range(2):
            found = await world.store.create_task(make_new_task(3, idempotency_key="k", fingerprint="f"))
            assert (found.is_new, found.record.task.id) == (False, make_task_name(2))
            await mark(world, 2)
        assert (await world.get(2)).task.submit_state is SubmitState.SENDING


async def test_a_start_makes_nothing_due_that_waits(engine: OpenWorld) -> None:
    """Also where its account was refused before: a slot is free first."""
    async with engine() as world:
        for n in (1, 2):
            await world.submit(n)
            await mark(world, n, 2)
        await world.apply(make_answer(Submission.DEFERRED, task_id=make_task_name(2), held=True))
        assert (await mark(world, 2), (await world.store.stats())["waiting_for_slot"]) == ("waits", {"default": 1})
    async with engine() as world:
        assert (await world.get(2)).task.waits_for_slot


async def test_the_line_is_part_of_the_history(engine: OpenWorld) -> None:
    """How many are in flight, and how many wait before; nothing of a task that does not wait."""
    async with engine() as world:
        for n in range(1, 6):
            await world.submit(n)
            await mark(world, n, 2)
        lines = [(await world.store.read_history(make_task_name(n))).line for n in range(1, 6)]
        assert [line and (line.in_flight, line.before) for line in lines] == [None, None, (2, 0), (2, 1), (2, 2)]


async def test_a_canceled_create_leaves_the_line(engine: OpenWorld) -> None:
    """It is not claimed, and those behind it move up."""
    async with engine() as world:
        for n in (1, 2, 3):
            await world.submit(n)
            await mark(world, n)
        await world.apply(make_cancel(task_id=make_task_name(2)))
        await world.apply(make_cancel(task_id=make_task_name(1)))
        assert await claim(world) == ([3], False)


async def test_without_a_limit_nothing_is_counted(engine: OpenWorld) -> None:
    """A send takes the statements that it always took."""
    async with engine() as world:
        await world.submit(1)
        steps = await world.store.trace()
        await world.store.mark_sending(make_task_name(1), 60)
        assert not [step for step in steps if step.startswith("SELECT")]
        await world.store.mark_sending(make_task_name(1), 60, 3)
        assert [step for step in steps if step.startswith("SELECT")]


async def test_the_next_is_found_however_many_wait(engine: OpenWorld) -> None:
    """A claim and a mark take as many steps with a long line as with a short one."""
    async with engine() as world:
        steps: list[tuple[int, int]] = []
        made = 0
        for more in (20, 600):
            for n in range(made, made + more):
                await world.submit(n)
                await mark(world, n)
            made += more
            await world.submit(made)
            steps.append(
                (
                    await world.store.count_steps(lambda: claim(world)),
                    await world.store.count_steps(partial(mark, world, made)),
                )
            )
            made += 1
        few, many = steps
        assert all(b <= 1.2 * a + 20 for a, b in zip(few, many, strict=True)), steps
