"""Sends on a real store and a test gateway: a send under way is never given up, nor paid for twice."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kits.factories import make_new_task
from tests.kits.upstream import KLING, RATE_LIMITED, Answer, UpstreamWorld, kling
from tracker.domain.observation import Reading, Submission
from tracker.domain.task import Reason, Status, SubmitState
from tracker.errors import RequestInvalid, StoreUnavailable
from tracker.providers.provider import Provider
from tracker.providers.registry import Registry
from tracker.providers.route import Route

REFUSED: Answer = (400, {"code": 1201, "message": "bad", "request_id": "r"})


async def test_an_unknown_route_names_the_nearest_ones(tmp_path: Path) -> None:
    """Three at most, and where all are listed."""
    async with UpstreamWorld(tmp_path) as world:
        for route, message in (
            ("kling.omnivideo", "unknown route 'kling.omnivideo'; did you mean kling.omni-video, "),
            ("zzz", "unknown route 'zzz'; tracker routes lists all routes"),
        ):
            with pytest.raises(RequestInvalid) as refused:
                await world.submitter.submit(replace(KLING, route=route))
            assert message in str(refused.value)
            assert str(refused.value).count("kling.") <= 4


@pytest.mark.parametrize(
    ("answer", "ends_as"),
    [
        (kling("submitted"), (SubmitState.ACCEPTED, "up-1")),
        (RATE_LIMITED, (SubmitState.QUEUED, None)),
        (REFUSED, (SubmitState.REFUSED, None)),
    ],
    ids=["accepted", "rate-limited", "refused"],
)
async def test_a_clock_step_does_not_lose_a_running_send(
    tmp_path: Path, answer: Answer, ends_as: tuple[SubmitState, str | None]
) -> None:
    """The wall clock jumps an hour ahead while a create is in flight: its answer is awaited, and counts."""
    async with UpstreamWorld(tmp_path, submit_retry_s=7200.0) as world:
        world.gateway.answers["kling"] = answer
        answered = world.gateway.hold("POST kling")
        sending = asyncio.create_task(world.submitter.submit(KLING))
        await world.gateway.wait_for_request("POST kling")
        await world.sweep(3600.0)
        answered.set()
        task = (await sending).record.task
        assert (task.submit_state, task.external_id) == ends_as
        assert task.reason in {None, "invalid_request"}
        assert world.gateway.asked.count("POST kling") == 1


async def test_a_full_disk_does_not_lose_a_running_send(tmp_path: Path) -> None:
    """The answer has arrived, and writes fail for longer than the lease: the send is not given up meanwhile."""
    async with UpstreamWorld(tmp_path, submit_retry_s=7200.0) as world:
        world.gateway.answers["kling"] = RATE_LIMITED
        world.store.fail(
            "apply", when=lambda observation, _judge: observation.reading.submission is Submission.DEFERRED
        )
        sending = asyncio.create_task(world.submitter.submit(KLING))
        await world.store.wait_for_failure("apply")
        await world.sweep(3600.0)
        world.store.repair()
        task_id = (await sending).record.task.id
        await world.submitter.drain(600.0)
        task = (await world.get(task_id)).task
        assert (task.status, task.submit_state) == (Status.PENDING, SubmitState.QUEUED), "it is sent again"


async def test_a_client_does_not_wait_for_a_store_that_refuses_the_outcome(tmp_path: Path) -> None:
    """The answer has arrived and the disk is full: the client gets the pending task, the outcome is stored later."""
    async with UpstreamWorld(tmp_path) as world:
        world.store.fail("apply")
        submitted = await world.submitter.submit(KLING)
        assert (submitted.record.task.status, submitted.is_new, submitted.is_decided) == (Status.PENDING, True, False)
        assert world.submitter.is_sending(submitted.record.task.id)
        world.store.repair()
        await world.submitter.drain(600.0)
        assert (await world.get(submitted.record.task.id)).task.external_id == "up-1"


async def test_a_create_that_waits_for_the_rate_is_not_marked_as_sent(tmp_path: Path) -> None:
    """A process that dies then has certainly not sent it: it is sent after the restart, not given up as unknown."""
    async with UpstreamWorld(tmp_path, rate=1.0) as world:
        first = await world.submitter.submit(KLING)
        second = await world.submitter.submit(replace(KLING, respond_async=True))
        await asyncio.sleep(0)
        assert first.record.task.external_id == "up-1"
        assert world.submitter.is_sending(second.record.task.id)
        waiting = (await world.get(second.record.task.id)).task
        assert (waiting.submit_state, waiting.submit_attempts) == (SubmitState.QUEUED, 0)
        assert world.gateway.asked.count("POST kling") == 1
        world.limits.pause("default", world.clock.monotonic() + 60.0)  # ends the wait for a slot
        await world.submitter.drain(600.0)
        waiting = (await world.get(second.record.task.id)).task
        assert (waiting.submit_state, world.gateway.asked.count("POST kling")) == (SubmitState.QUEUED, 1)


async def test_a_send_of_a_dead_process_is_ambiguous(tmp_path: Path) -> None:
    """No process holds it: after its lease it is ambiguous, and never sent again."""
    async with UpstreamWorld(tmp_path, submit_retry_s=7200.0) as world:
        task_id = (await world.store.create_task(make_new_task(expects_callback=False))).record.task.id
        assert await world.store.mark_sending(task_id, 60) is not None
        await world.sweep(59.0)
        assert (await world.get(task_id)).task.submit_state is SubmitState.SENDING
        await world.sweep(1.0)
        assert (await world.get(task_id)).task.submit_state is SubmitState.AMBIGUOUS
        assert world.gateway.asked == []


async def test_a_send_of_another_running_process_is_not_taken_over(tmp_path: Path) -> None:
    """However long ago its lease ended; when its process is gone, the create is ambiguous and never sent again."""
    async with UpstreamWorld(tmp_path, submit_retry_s=7200.0) as world:
        task_id = (await world.store.create_task(make_new_task(expects_callback=False))).record.task.id
        assert await world.store.mark_sending(task_id, 60) is not None
        with closing(sqlite3.connect(tmp_path / "tracker.db", isolation_level=None)) as other:
            other.execute("INSERT INTO processes SELECT 'other', host, pid, version, 0, 0 FROM processes")
            other.execute("UPDATE tasks SET holder = 'other'")
            await world.sweep(3600.0)
            assert (await world.get(task_id)).task.submit_state is SubmitState.SENDING
            other.execute("DELETE FROM processes WHERE id = 'other'")
        await world.sweep(1.0)
        assert (await world.get(task_id)).task.submit_state is SubmitState.AMBIGUOUS
        assert world.gateway.asked == []


@pytest.mark.parametrize(
    ("answer", "is_decided"),
    [(kling("submitted"), True), (RATE_LIMITED, True), (REFUSED, False)],
    ids=["accepted", "deferred", "refused"],
)
async def test_a_submit_whose_task_cannot_be_read_does_not_fail(
    tmp_path: Path, answer: Answer, is_decided: bool
) -> None:
    """The job may be paid and the store cannot be read: after an error the client would submit and pay twice."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = answer
        answered = world.gateway.hold("POST kling")
        sending = asyncio.create_task(world.submitter.submit(replace(KLING, labels={"user": "42"})))
        await world.gateway.wait_for_request("POST kling")
        world.store.fail("get_task")
        answered.set()
        submitted = await sending
        world.store.repair()
        stored = await world.get(submitted.record.task.id)
        assert (submitted.is_new, submitted.is_decided) == (True, is_decided)
        assert submitted.record.task == stored.task, "as the writer returned it"
        assert (submitted.record.request, submitted.record.labels) == (stored.request, {"user": "42"})


@pytest.mark.parametrize(("answer", "reads"), [(kling("submitted"), 0), (RATE_LIMITED, 0), (REFUSED, 1)])
async def test_a_submit_reads_its_record_at_most_once(tmp_path: Path, answer: Answer, reads: int) -> None:
    """The store returns what it recorded; only a task that has ended is read, for its result."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = answer
        submitted = await world.submitter.submit(KLING)
        assert world.store.calls["get_task"] == reads
        stored = await world.get(submitted.record.task.id)
        assert submitted.record == stored


async def test_a_submit_whose_send_could_not_be_marked_does_not_fail(tmp_path: Path) -> None:
    """The task is recorded and the sweep sends it, so the client must not repeat the submit."""
    async with UpstreamWorld(tmp_path) as world:
        world.store.fail("mark_sending")
        submitted = await world.submitter.submit(KLING)
        world.store.repair()
        assert (submitted.record.task.submit_state, submitted.is_decided) == (SubmitState.QUEUED, False)
        await world.sweep(60.0)
        await world.sent()
        assert (await world.get(submitted.record.task.id)).task.external_id == "up-1"
        assert world.gateway.asked.count("POST kling") == 1


async def test_a_stop_waits_for_a_send_and_its_client_does_not(tmp_path: Path) -> None:
    """At the stop, the client of a slow create gets a pending task; the create continues to its end."""
    async with UpstreamWorld(tmp_path) as world:
        answered = world.gateway.hold("POST kling")
        sending = asyncio.create_task(world.submitter.submit(KLING))
        await world.gateway.wait_for_request("POST kling")
        stopping = asyncio.create_task(world.submitter.drain(60, answer_within_s=0))
        submitted = await sending
        assert (submitted.record.task.status, submitted.is_new, submitted.is_decided) == (Status.PENDING, True, False)
        assert not stopping.done()
        answered.set()
        await stopping
        assert (await world.get(submitted.record.task.id)).task.external_id == "up-1"


async def test_a_stop_lets_quick_sends_be_answered(tmp_path: Path) -> None:
    """A send that ends soon after the stop began is answered as usual."""
    async with UpstreamWorld(tmp_path) as world:
        answered = world.gateway.hold("POST kling")
        sending = asyncio.create_task(world.submitter.submit(KLING))
        await world.gateway.wait_for_request("POST kling")
        stopping = asyncio.create_task(world.submitter.drain(60, answer_within_s=60))
        await asyncio.sleep(0)
        answered.set()
        submitted = await sending
        assert (submitted.record.task.external_id, submitted.is_decided) == ("up-1", True)
        await stopping


async def test_a_stop_without_running_sends_is_immediate(tmp_path: Path) -> None:
    """There is nothing to wait for, and no new send starts."""
    async with UpstreamWorld(tmp_path) as world:
        async with asyncio.timeout(20):
            await world.submitter.drain(600, answer_within_s=600)
        with pytest.raises(StoreUnavailable, match="stopping"):
            await world.submitter.submit(KLING)


async def test_a_second_stop_signal_cuts_off_creates_but_no_client(tmp_path: Path) -> None:
    """The client gets a pending task: after an error it would submit again."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.hold("POST kling")
        sending = asyncio.create_task(world.submitter.submit(KLING))
        await world.gateway.wait_for_request("POST kling")
        stopping = asyncio.create_task(world.submitter.drain(600.0, 600.0))
        await asyncio.sleep(0)
        world.submitter.hurry()
        submitted = await sending
        assert (submitted.is_new, submitted.is_decided) == (True, False)
        await stopping
        assert (await world.get(submitted.record.task.id)).task.submit_state is SubmitState.SENDING


async def test_a_second_stop_signal_loses_no_answer(tmp_path: Path) -> None:
    """The answer has arrived, and its write is delayed."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = kling("submitted")
        world.store.fail(
            "apply", when=lambda observation, _judge: observation.reading.submission is Submission.ACCEPTED
        )
        sending = asyncio.create_task(world.submitter.submit(KLING))
        await world.store.wait_for_failure("apply")
        world.submitter.hurry()
        world.store.repair()
        submitted = await sending
        await world.submitter.drain(600.0)
        assert (await world.get(submitted.record.task.id)).task.external_id == "up-1"


class _Misreading(Registry):
    """Its providers have a bug: they cannot read the answers to creates."""

    def provider_of(self, route: Route) -> Provider:
        """A provider with the bug."""
        faulty = copy(super().provider_of(route))
        faulty.read_create = self.fail  # type: ignore[method-assign, assignment]
        return faulty

    def fail(self, *_: object) -> Reading:
        """Fail as a bug does."""
        raise IndexError("a bug")


async def test_an_error_of_the_tracker_does_not_lose_a_paid_create(tmp_path: Path) -> None:
    """The answer came, and reading it fails: the client gets its task, so neither side sends it again."""
    async with UpstreamWorld(tmp_path, registry=_Misreading()) as world:
        submitted = await world.submitter.submit(KLING)
        task = submitted.record.task
        assert (task.status, task.submit_state) == (Status.FAILED, SubmitState.AMBIGUOUS), "no callback is expected"
        assert (task.reason, submitted.is_new) == (Reason.SUBMIT_UNKNOWN, True)
        await world.sweep(60.0)
        assert world.gateway.asked.count("POST kling") == 1


async def test_an_error_of_who_is_told_about_creates_costs_no_answer(tmp_path: Path) -> None:
    """Traces are made of them, which must not decide what becomes of a job."""

    def fail(*_: object) -> None:
        raise IndexError("a bug")

    async with UpstreamWorld(tmp_path) as world:
        world.submitter.calls.on_sent = fail
        task = (await world.submitter.submit(KLING)).record.task
        assert (task.submit_state, task.external_id) == (SubmitState.ACCEPTED, "up-1")
