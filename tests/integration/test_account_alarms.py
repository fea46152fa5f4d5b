"""Rejected accounts, on a real store and a test gateway: creates wait instead of failing one by one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kits.clock import START, after
from tests.kits.factories import make_cancel
from tests.kits.logs import captured_logs
from tests.kits.upstream import KLING, SUNO, Answer, UpstreamWorld, kling
from tracker.domain.alarms import AlarmKind
from tracker.domain.records import iso
from tracker.domain.schedule import PollPolicy
from tracker.domain.task import Reason, Status, SubmitState, TaskId
from tracker.domain.why import explain
from tracker.store.values import Lane

KEY_REFUSED: Answer = (401, {"error": {"message": "no such key", "type": "authentication_error", "code": None}})
NO_QUOTA: Answer = (429, {"code": 1102, "message": "resource pack used up", "request_id": "r"})
INVALID: Answer = (400, {"code": 1201, "message": "bad", "request_id": "r"})


async def submit(world: UpstreamWorld, count: int) -> list[TaskId]:
    """Submit videos one after the other."""
    return [(await world.submitter.submit(KLING)).record.task.id for _ in range(count)]


async def states(world: UpstreamWorld, tasks: list[TaskId]) -> list[SubmitState]:
    """The submit states of the creates."""
    return [(await world.get(task_id)).task.submit_state for task_id in tasks]


async def pass_by(world: UpstreamWorld, seconds: float) -> None:
    """Let time pass, sweep, and wait for the creates that go out."""
    await world.tick(seconds)
    await world.sent()


@pytest.mark.parametrize(
    ("refusal", "reason", "kind"),
    [
        (KEY_REFUSED, Reason.AUTH_FAILED, AlarmKind.KEY_REJECTED),
        (NO_QUOTA, Reason.QUOTA_EXHAUSTED, AlarmKind.QUOTA_EXHAUSTED),
    ],
)
async def test_creates_of_a_refused_account_wait_and_one_at_a_time_probes(
    tmp_path: Path, refusal: Answer, reason: Reason, kind: AlarmKind
) -> None:
    """The first fails and raises the alarm; the others wait, probe in turn, and are all sent once one passes."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = refusal
        first, *others = await submit(world, 5)
        task = (await world.get(first)).task
        assert (task.status, task.reason) == (Status.FAILED, reason)
        assert await states(world, others) == [SubmitState.QUEUED] * 4
        assert world.gateway.asked.count("POST kling") == 2, "the first, and one that probed at once"
        (found,) = world.alarms.find()
        assert (found.kind, found.subject) == (kind, "default")
        assert "account default" in found.message
        assert f"since {iso(START)}" in str(world.alarms.describe_account("default"))
        assert not world.alarms.is_accepted(kind, "default")
        for seconds, asked in [(1.0, 2), (1.0, 3), (3.9, 3), (0.1, 4), (7.9, 4), (0.1, 5)]:
            await pass_by(world, seconds)
            assert world.gateway.asked.count("POST kling") == asked, "2, 4 and 8 s apart"
        world.gateway.answers["kling"] = kling("submitted")
        await pass_by(world, 16.0)
        assert world.gateway.asked.count("POST kling") == 6
        await pass_by(world, 0.0)
        assert await states(world, others) == [SubmitState.ACCEPTED] * 4
        assert world.gateway.asked.count("POST kling") == 9
        assert world.alarms.find() == []
        assert world.alarms.is_accepted(kind, "default")


async def test_a_model_that_the_account_may_not_use_is_logged_once(tmp_path: Path) -> None:
    """Each such create fails, none is held; one warning names account and route, and another one after a success."""
    not_in_plan: Answer = (403, {"code": 1103, "message": "not in your plan", "request_id": "r"})
    with captured_logs() as logged:
        async with UpstreamWorld(tmp_path) as world:
            for answer in (not_in_plan, not_in_plan, kling("submitted"), not_in_plan):
                world.gateway.answers["kling"] = answer
                (task_id,) = await submit(world, 1)
                task = (await world.get(task_id)).task
                assert (task.reason is Reason.ENTITLEMENT) is (answer is not_in_plan)
    warnings = [line for line in logged if line["event"] == "account.not_entitled"]
    assert [(line["account"], line["route"], line["message"]) for line in warnings] == [
        ("default", KLING.route, "not in your plan")
    ] * 2


async def test_of_creates_refused_at_the_same_time_one_fails(tmp_path: Path) -> None:
    """All were in flight when the first answer arrived: the others wait as if they had not been sent."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = KEY_REFUSED
        answered = world.gateway.hold("POST kling")
        sending = [asyncio.create_task(world.submitter.submit(KLING)) for _ in range(6)]
        await world.gateway.wait_for_request("POST kling", 6)
        answered.set()
        tasks = [(await each).record.task for each in sending]
        assert sorted(task.status for task in tasks) == [Status.FAILED] + [Status.PENDING] * 5
        await pass_by(world, 2.0)
        assert world.gateway.asked.count("POST kling") == 7, "six refusals count as one"


async def test_a_held_create_is_given_up_with_its_reason(tmp_path: Path) -> None:
    """After ``submit_retry_s``, sent or not: its reason is the rejected account, not an unavailable upstream."""
    async with UpstreamWorld(tmp_path, submit_retry_s=60.0) as world:
        world.gateway.answers["kling"] = KEY_REFUSED
        _, probed, unsent = await submit(world, 3)
        world.gateway.hold("POST kling")  # later probes have no answer yet
        assert (await world.get(unsent)).task.due_at == after(60.0)
        await world.tick(59.0)
        assert {(await world.get(each)).task.status for each in (probed, unsent)} == {Status.PENDING}
        world.gateway.held["POST kling"].set()
        await world.sent()
        for _ in range(3):
            await pass_by(world, 1.0)
        for each in (probed, unsent):
            task = (await world.get(each)).task
            assert (task.status, task.reason, task.retryable) == (Status.FAILED, Reason.AUTH_FAILED, False)
            assert task.error is not None
            assert task.error.message == "no such key"


async def test_an_exhausted_quota_does_not_hold_other_providers(tmp_path: Path) -> None:
    """Once another provider has accepted a create of the account, its creates go out as before."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = NO_QUOTA
        _, *videos = await submit(world, 3)
        for _ in range(3):
            song = (await world.submitter.submit(SUNO)).record.task
            assert song.submit_state is SubmitState.ACCEPTED
        assert await states(world, videos) == [SubmitState.QUEUED] * 2
        assert len(world.alarms.find()) == 1


async def test_polls_do_not_end_a_quota_alarm(tmp_path: Path) -> None:
    """Polls are answered although the quota is exhausted: the creates keep waiting."""
    async with UpstreamWorld(tmp_path) as world:
        video = await world.register()
        world.gateway.answers["kling"] = NO_QUOTA
        _, held = await submit(world, 2)
        world.gateway.answers["kling"] = kling()
        await world.poller.poll(video)
        assert await states(world, [held]) == [SubmitState.QUEUED]
        assert len(world.alarms.find()) == 1


async def test_an_answered_poll_shows_that_a_key_is_good(tmp_path: Path) -> None:
    """Held creates of that provider go out with the next sweep."""
    async with UpstreamWorld(tmp_path) as world:
        video = await world.register()
        world.gateway.answers["kling"] = KEY_REFUSED
        _, *held = await submit(world, 4)
        world.gateway.answers["kling"] = kling()
        await world.poller.poll(video)
        await pass_by(world, 0.0)
        assert await states(world, held) == [SubmitState.ACCEPTED] * 3


async def test_another_key_releases_all(tmp_path: Path) -> None:
    """Earlier refusals do not apply to the new key."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = KEY_REFUSED
        _, *held = await submit(world, 4)
        world.gateway.answers["kling"] = kling("submitted")
        world.keys["default"] = "sk-test-another-key"
        await pass_by(world, 0.0)
        assert await states(world, held) == [SubmitState.ACCEPTED] * 3


async def test_a_refusal_for_another_reason_fails_only_that_create(tmp_path: Path) -> None:
    """A probe with an invalid request fails, and proves that the key is valid: the others are sent."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = KEY_REFUSED
        _, probe, *held = await submit(world, 4)
        world.gateway.answers["kling"] = INVALID
        await pass_by(world, 2.0)
        await pass_by(world, 0.0)
        ended = [(await world.get(task_id)).task for task_id in [probe, *held]]
        assert {(task.status, task.reason) for task in ended} == {(Status.FAILED, Reason.INVALID_REQUEST)}


async def test_a_create_refused_after_others_were_accepted_fails(tmp_path: Path) -> None:
    """The account accepts others and refuses this one again: it fails and no longer waits."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = NO_QUOTA
        _, held = await submit(world, 2)
        world.clock.advance(2.0)
        world.gateway.answers["kling"] = kling("submitted")
        await submit(world, 1)
        world.gateway.answers["kling"] = NO_QUOTA
        await pass_by(world, 0.0)
        task = (await world.get(held)).task
        assert (task.status, task.reason) == (Status.FAILED, Reason.QUOTA_EXHAUSTED)


async def test_held_creates_survive_a_restart(tmp_path: Path) -> None:
    """They are sent at once by the next process; still refused, they are held again, and none of them fails."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = KEY_REFUSED
        _, *held = await submit(world, 4)
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = KEY_REFUSED
        await pass_by(world, 1.0)
        assert await states(world, held) == [SubmitState.QUEUED] * 3
        assert world.gateway.asked.count("POST kling") >= 1
    async with UpstreamWorld(tmp_path) as world:
        await pass_by(world, 2.0)
        assert await states(world, held) == [SubmitState.ACCEPTED] * 3


async def test_a_held_submit_that_is_repeated_finds_its_task(tmp_path: Path) -> None:
    """It was answered with a waiting task, so it is no longer in flight: the same key finds that task."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = KEY_REFUSED
        await submit(world, 2)
        wanted = replace(KLING, idempotency_key="order-7")
        held = await world.submitter.submit(wanted)
        again = await world.submitter.submit(wanted)
        assert (held.is_new, again.is_new) == (True, False)
        assert again.record.task.id == held.record.task.id
        assert again.record.task.submit_attempts == 0, "it has never been sent"


async def test_a_key_that_one_provider_refuses_slows_polls_of_no_other(tmp_path: Path) -> None:
    """An answered poll proves that the key is valid there."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = KEY_REFUSED
        await submit(world, 2)
        song = await world.register("suno.generate")
        assert world.poller._blockers.is_blocked(Lane("default", "suno"))
        await world.poller.poll(song)
        assert not world.poller._blockers.is_blocked(Lane("default", "suno"))
        assert world.poller._blockers.is_blocked(Lane("default", "kling"))


async def test_why_explains_a_held_create(tmp_path: Path) -> None:
    """Since when, with the upstream's message, what it waits for, and when it is given up."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = KEY_REFUSED
        _, _, unsent = await submit(world, 3)
        history = await world.store.read_history(unsent)
        policy = PollPolicy(submit_retry_s=900.0)
        reported = explain(history, policy, world.clock.now(), world.poller.notes(history.task))
    assert reported["summary"] == (
        "The tracker holds the request back: the service has rejected the key of account default since "
        '2026-11-20T20:42:00.000Z: "no such key". Nothing was started or charged.'
    )
    assert reported["ends_by"] == "2026-11-20T20:57:00.000Z"
    assert [step["at"] for step in reported["next"]] == ["2026-11-20T20:57:00.000Z", None]
    assert "gives the task up" in reported["next"][0]["what"]
    assert reported["notes"] == [], "the summary says it"


async def test_a_canceled_create_does_not_probe(tmp_path: Path) -> None:
    """The next one that waits takes its turn."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = KEY_REFUSED
        _, canceled, waiting = await submit(world, 3)
        await world.reconciler.apply(make_cancel(at=1.0, task_id=canceled))
        world.gateway.answers["kling"] = kling("submitted")
        await pass_by(world, 2.0)
        await pass_by(world, 5.0)
        assert await states(world, [waiting]) == [SubmitState.ACCEPTED]
        assert (await world.get(canceled)).task.reason is Reason.CANCELED
