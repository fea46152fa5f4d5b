"""Callbacks without a token: nudges, and callbacks parked for a task that is not known yet."""

from tests.contract.store.conftest import OpenRig
from tests.kits.factories import (
    EXTERNAL_ID,
    after,
    make_answer,
    make_cancel,
    make_observation,
    make_task_name,
)
from tests.kits.store import LANE
from tracker.domain.observation import Source, Submission
from tracker.domain.task import ExternalId, Reason, Status


async def test_a_nudge(engine: OpenRig) -> None:
    """Unfinished and given-up tasks with the id are due now; ended ones are known and left alone."""
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


async def test_a_nudge_during_a_poll_outlives_its_answer(engine: OpenRig) -> None:
    """The poll on its way ends, and the task is due at once again."""
    async with engine() as rig:
        await rig.follow()
        await rig.at(1).claim_due(LANE, 1, 40)
        await rig.at(2).request_polls("suno", [EXTERNAL_ID], None)
        assert (await rig.poll(1, Status.RUNNING, at=3)).task.due_at == after(3)


async def test_a_parked_callback_meets_a_registration(engine: OpenRig) -> None:
    """Parked under each of its ids; the task that appears is polled at once, and once."""
    async with engine() as rig:
        for _ in range(2):
            parked = await rig.at(1).request_polls("suno", [ExternalId("up-1"), ExternalId("alias")], "{}")
            assert not parked.known
        assert (await rig.at(1).stats())["parked_callbacks"] == 2
        await rig.follow(1, external_id="alias", created_at=after(5), due_at=after(500))
        assert (await rig.get()).task.due_at == after(5)
        await rig.follow(2, external_id="alias", account="other", created_at=after(5), due_at=after(500))
        assert (await rig.get(2)).task.due_at == after(500)


async def test_a_parked_callback_meets_an_accepted_submit(engine: OpenRig) -> None:
    """It came before the answer to the create; the answer makes it be polled now."""
    async with engine() as rig:
        await rig.submit()
        await rig.store.mark_sending(make_task_name(1), 60)
        await rig.at(0.5).request_polls("suno", [EXTERNAL_ID], "{}")
        applied = await rig.hear(make_answer(Submission.ACCEPTED, task_id=make_task_name(1), at=1))
        assert (applied.task.due_at, applied.confirm) == (after(1), True)
        assert (await rig.get()).task == applied.task
