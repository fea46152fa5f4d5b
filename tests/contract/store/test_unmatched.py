"""Callbacks without a token: poll requests, and callbacks parked for a task that is not known yet."""

from tests.contract.store.conftest import OpenRig
from tests.kits.clock import after
from tests.kits.factories import EXTERNAL_ID, make_answer, make_cancel, make_observation, make_task_name
from tests.kits.store import LANE
from tracker.domain.observation import Source, Submission
from tracker.domain.task import ExternalId, Reason, Status


async def test_a_poll_request(engine: OpenRig) -> None:
    """Unfinished and given-up tasks with the id are due now; other ended ones do not change."""
    async with engine() as rig:
        for n, account in enumerate(("a", "b", "c", "d"), start=1):
            await rig.follow(n, account=account, external_id="up-x", due_at=after(500))
        await rig.poll(2, Status.SUCCEEDED)
        await rig.hear(
            make_observation(Status.FAILED, source=Source.CLOCK, reason=Reason.EXPIRED, task_id=make_task_name(3))
        )
        await rig.hear(make_cancel(task_id=make_task_name(4)))
        nudged = await rig.at(20).request_polls("suno", [ExternalId("?"), ExternalId("up-x")], "{}")
        assert nudged.known
        assert set(nudged.task_ids) == {make_task_name(1), make_task_name(3)}
        assert [(await rig.get(n)).task.due_at for n in (1, 2, 3, 4)] == [after(20), None, after(20), None]
        elsewhere = await rig.at(20).request_polls("kling", [ExternalId("up-x")], "{}")
        assert (elsewhere.known, elsewhere.task_ids) == (False, ())


async def test_a_poll_request_during_a_poll_survives_its_answer(engine: OpenRig) -> None:
    """When the poll ends, the task is due again at once."""
    async with engine() as rig:
        await rig.follow()
        await rig.at(1).claim_due(LANE, 1, 40)
        await rig.at(2).request_polls("suno", [EXTERNAL_ID], None)
        assert (await rig.poll(1, Status.RUNNING, at=3)).task.due_at == after(3)


async def test_a_parked_callback_and_a_later_registration(engine: OpenRig) -> None:
    """Parked under each of its ids; the new task is polled at once, and once."""
    async with engine() as rig:
        for _ in range(2):
            parked = await rig.at(1).request_polls("suno", [ExternalId("up-1"), ExternalId("alias")], "{}")
            assert not parked.known
        assert (await rig.at(1).stats())["parked_callbacks"] == 2
        await rig.follow(1, external_id="alias", created_at=after(5), due_at=after(500))
        assert (await rig.get()).task.due_at == after(5)
        await rig.follow(2, external_id="alias", account="other", created_at=after(5), due_at=after(500))
        assert (await rig.get(2)).task.due_at == after(500)


async def test_a_parked_callback_and_a_later_accepted_submit(engine: OpenRig) -> None:
    """The callback came before the answer to the create: the answer makes the task due now."""
    async with engine() as rig:
        await rig.submit()
        await rig.store.mark_sending(make_task_name(1), 60)
        await rig.at(0.5).request_polls("suno", [EXTERNAL_ID], "{}")
        applied = await rig.hear(make_answer(Submission.ACCEPTED, task_id=make_task_name(1), at=1))
        assert (applied.task.due_at, applied.confirm) == (after(1), True)
        assert (await rig.get()).task == applied.task
