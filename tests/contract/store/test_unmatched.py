"""Callbacks without a token: poll requests, and callbacks parked for a task that is not known yet."""

from tests.contract.store.conftest import OpenWorld
from tests.kits.clock import after
from tests.kits.factories import EXTERNAL_ID, make_answer, make_cancel, make_observation, make_task_name
from tests.kits.world import LANE
from tracker.domain.observation import Source, Submission
from tracker.domain.task import ExternalId, Reason, Status


async def test_a_poll_request(engine: OpenWorld) -> None:
    """Unfinished and given-up tasks with the id are due now; other ended ones do not change."""
    async with engine() as world:
        for n, account in enumerate(("a", "b", "c", "d"), start=1):
            await world.follow(n, account=account, external_id="up-x", due_at=after(500))
        await world.poll(2, Status.SUCCEEDED)
        await world.apply(
            make_observation(Status.FAILED, source=Source.CLOCK, reason=Reason.EXPIRED, task_id=make_task_name(3))
        )
        await world.apply(make_cancel(task_id=make_task_name(4)))
        nudged = await world.at(20).request_polls("suno", [ExternalId("?"), ExternalId("up-x")], "{}")
        assert nudged.known
        assert set(nudged.task_ids) == {make_task_name(1), make_task_name(3)}
        assert [(await world.get(n)).task.due_at for n in (1, 2, 3, 4)] == [after(20), None, after(20), None]
        elsewhere = await world.at(20).request_polls("kling", [ExternalId("up-x")], "{}")
        assert (elsewhere.known, elsewhere.task_ids) == (False, ())


async def test_a_poll_request_during_a_poll_survives_its_answer(engine: OpenWorld) -> None:
    """When the poll ends, the task is due again at once."""
    async with engine() as world:
        await world.follow()
        await world.at(1).claim_due(LANE, 1, 40)
        await world.at(2).request_polls("suno", [EXTERNAL_ID], None)
        assert (await world.poll(1, Status.RUNNING, at=3)).task.due_at == after(3)


async def test_a_parked_callback_and_a_later_registration(engine: OpenWorld) -> None:
    """Parked under each of its ids; the new task is polled at once, and once."""
    async with engine() as world:
        for _ in range(2):
            parked = await world.at(1).request_polls("suno", [ExternalId("up-1"), ExternalId("alias")], "{}")
            assert not parked.known
        assert (await world.at(1).stats())["parked_callbacks"] == 2
        await world.follow(1, external_id="alias", created_at=after(5), due_at=after(500))
        assert (await world.get()).task.due_at == after(5)
        await world.follow(2, external_id="alias", account="other", created_at=after(5), due_at=after(500))
        assert (await world.get(2)).task.due_at == after(500)


async def test_a_parked_callback_and_a_later_accepted_submit(engine: OpenWorld) -> None:
    """The callback came before the answer to the create: the answer makes the task due now."""
    async with engine() as world:
        await world.submit()
        await world.store.mark_sending(make_task_name(1), 60)
        await world.at(0.5).request_polls("suno", [EXTERNAL_ID], "{}")
        applied = await world.apply(make_answer(Submission.ACCEPTED, task_id=make_task_name(1), at=1))
        assert (applied.task.due_at, applied.confirm) == (after(1), True)
        assert (await world.get()).task == applied.task
