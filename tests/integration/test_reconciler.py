"""The one door: who waits is woken after the commit, callbacks prove themselves, and a life is told in full."""

import asyncio
from pathlib import Path

import pytest

from tests.kits.factories import (
    after,
    make_answer,
    make_cancel,
    make_observation,
    make_output,
    make_task,
    make_task_name,
)
from tests.kits.store import begun, opened
from tracker.domain.observation import Source, Submission, Trouble
from tracker.domain.schedule import PollPolicy
from tracker.domain.task import Reason, Stage, Status
from tracker.errors import StoreUnavailable, TaskNotFound
from tracker.tracking.reconciler import HEALTHY_AFTER, CallbackHealth


async def test_a_watcher_is_woken_after_the_commit(tmp_path: Path) -> None:
    """Not before it, for each change anew, and only of its own task."""
    async with opened(tmp_path / "t.db") as rig:
        await rig.follow(1)
        await rig.follow(2)
        changes = rig.reconciler.changes
        with changes.watch(make_task_name(1)) as mine, changes.watch(make_task_name(2)) as other:
            async with rig.halted_writer():
                waiting = await begun(rig.call(1, Status.RUNNING))
                assert not mine.is_set()
            await waiting
            await mine.wait()
            assert (await rig.get(1)).task.status is Status.RUNNING
            assert not other.is_set()
            mine.clear()
            await rig.call(1, Status.SUCCEEDED)
            assert mine.is_set()
        assert changes._waiting == {}


async def test_many_watchers_of_one_task(tmp_path: Path) -> None:
    """All are woken; one that leaves does not deafen the others; none is left behind."""
    async with opened(tmp_path / "t.db") as rig:
        await rig.follow()
        changes = rig.reconciler.changes

        async def wait_for_the_end() -> Status:
            with changes.watch(make_task_name(1)) as changed:
                while not (status := (await rig.get()).task.status).is_terminal:
                    await changed.wait()
                    changed.clear()
                return status

        waiters = [asyncio.ensure_future(wait_for_the_end()) for _ in range(5)]
        with changes.watch(make_task_name(1)):
            await rig.call(1, Status.RUNNING)
        await rig.call(1, Status.SUCCEEDED)
        assert await asyncio.gather(*waiters) == [Status.SUCCEEDED] * 5
        assert changes._waiting == {}


async def test_a_refused_observation_wakes_nobody(tmp_path: Path) -> None:
    """An unknown task is named, a closed store is unavailable."""
    async with opened(tmp_path / "t.db") as rig:
        await rig.follow()
        with rig.reconciler.changes.watch(make_task_name(1)) as changed:
            with pytest.raises(TaskNotFound):
                await rig.call(99, Status.RUNNING)
            await rig.store.close()
            with pytest.raises(StoreUnavailable):
                await rig.call(1, Status.RUNNING)
            assert not changed.is_set()


def test_callbacks_prove_themselves() -> None:
    """So many ends in a row told by callbacks make a lane healthy; one that a poll had to find makes it doubtful."""
    health = CallbackHealth()
    task = make_task(expects_callback=True)
    for _ in range(HEALTHY_AFTER):
        assert not health.is_healthy("default", "suno")
        health.note_end(task, Source.CALLBACK)
    assert health.is_healthy("default", "suno")
    assert not health.is_healthy("default", "kling")
    assert not health.is_healthy("other", "suno")
    health.note_end(make_task(expects_callback=False), Source.POLL)
    health.note_end(task, Source.OPERATOR)
    assert health.is_healthy("default", "suno")
    health.note_end(task, Source.POLL)
    assert not health.is_healthy("default", "suno")
    for _ in range(HEALTHY_AFTER):
        health.note_end(task, Source.CALLBACK)
    assert health.is_healthy("default", "suno")


async def test_healthy_callbacks_slow_polls_down(tmp_path: Path) -> None:
    """Once they have proven themselves, tasks that expect a callback are polled half as often; others are not."""
    async with opened(tmp_path / "t.db") as rig:
        waits = []
        for n in range(1, HEALTHY_AFTER + 2):
            await rig.submit(n)
            await rig.store.mark_sending(make_task_name(n), after(60))
            await rig.hear(make_answer(Submission.ACCEPTED, task_id=make_task_name(n), external_id=f"up-{n}", at=1))
            running = await rig.call(n, Status.RUNNING, at=3)
            waits.append(running.task.due_at)
            await rig.call(n, Status.SUCCEEDED, at=11)
        assert waits == [*[after(8)] * HEALTHY_AFTER, after(13)]
        await rig.follow(50, due_at=after(100))
        assert (await rig.call(50, Status.RUNNING, at=10)).task.due_at == after(15)


async def test_a_verdict_of_the_clock_is_a_poll_that_came_back(tmp_path: Path) -> None:
    """The last poll and the verdict are one commit: two events, one announcement, one end."""
    policy = PollPolicy(deadline_s=100)
    async with opened(tmp_path / "t.db", policy=policy) as rig:
        await rig.follow(due_at=after(1000))
        applied = await rig.poll(1, Status.RUNNING, at=20)
        assert not applied.task.status.is_terminal
        await rig.store.claim_due((await rig.store.list_lanes(after(500)))[0], 1, after(500), after(540))
        applied = await rig.poll(1, trouble=Trouble.UNKNOWN_STATUS, upstream_status="DREAMING", at=500)
        assert (applied.outcome, applied.task.reason, applied.announced) == ("ignored", Reason.EXPIRED, True)
        events = await rig.store.list_events(make_task_name(1))
        assert [(event.source, event.to_status) for event in events] == [
            ("poll", "RUNNING"),
            ("poll", "RUNNING"),
            ("clock", "FAILED"),
        ]


async def test_the_events_of_a_whole_life(tmp_path: Path) -> None:
    """Each source once, each outcome in plain words, in the order in which it was heard; deliveries to match."""
    task_id = make_task_name(1)
    async with opened(tmp_path / "t.db") as rig:
        await rig.submit()
        await rig.store.mark_sending(task_id, after(60))
        await rig.hear(make_answer(Submission.DEFERRED, task_id=task_id, retry_after_s=2.0, at=1))
        await rig.store.mark_sending(task_id, after(64))
        await rig.call(1, Status.RUNNING, stage=Stage.TEXT, external_id="up-1", at=5)
        await rig.hear(make_answer(Submission.ACCEPTED, task_id=task_id, attempt=2, at=6))
        await rig.poll(1, Status.PENDING, at=7)
        await rig.call(1, Status.RUNNING, stage=Stage.FIRST, external_id="up-1", at=8, outputs=(make_output(),))
        await rig.call(1, Status.RUNNING, stage=Stage.TEXT, external_id="up-1", at=9)
        await rig.call(1, Status.SUCCEEDED, external_id="somebody-elses", at=10)
        await rig.call(1, Status.SUCCEEDED, stage=Stage.COMPLETE, external_id="up-1", at=11)
        await rig.call(1, Status.SUCCEEDED, stage=Stage.COMPLETE, external_id="up-1", at=12)
        await rig.poll(1, Status.FAILED, at=13)
        await rig.hear(make_cancel(task_id=task_id, at=14))
        events = await rig.store.list_events(task_id)
        told = [
            (event.source, event.outcome, event.from_status, event.to_status, event.detail.partition(";")[0])
            for event in events
        ]
        assert told == [
            ("submit", "applied", "PENDING", "PENDING",
             "not accepted (no words given, asked to wait 2 s)"),
            ("callback", "applied", "PENDING", "RUNNING", "RUNNING, stage text"),
            ("submit", "applied", "RUNNING", "RUNNING", "accepted as up-1"),
            ("callback", "applied", "RUNNING", "RUNNING", "came forward, stage first, 1 output so far"),
            ("callback", "duplicate", "RUNNING", "RUNNING", "the same news came before"),
            ("callback", "conflict", "RUNNING", "RUNNING",
             "speaks of another upstream task (somebody-elses)"),
            ("callback", "applied", "RUNNING", "SUCCEEDED", "succeeded with 1 output"),
            ("callback", "duplicate", "SUCCEEDED", "SUCCEEDED", "the same news came before"),
            ("poll", "conflict", "SUCCEEDED", "SUCCEEDED", "says FAILED, but the task is SUCCEEDED"),
            ("operator", "stale", "SUCCEEDED", "SUCCEEDED", "says FAILED, but the task is SUCCEEDED"),
        ]  # fmt: skip
        await rig.store.fan_out(lambda _: ["publish"], 100, after(20))
        assert [delivery.event for delivery in await rig.store.list_deliveries(task_id)] == [
            "task.submitted",
            "task.running",
            "task.progress",
            "task.succeeded",
        ]


async def test_an_observation_of_a_canceled_task_is_a_conflict(tmp_path: Path) -> None:
    """Recorded, not applied, not announced."""
    async with opened(tmp_path / "t.db") as rig:
        await rig.follow()
        await rig.hear(make_cancel(task_id=make_task_name(1)))
        applied = await rig.hear(
            make_observation(Status.SUCCEEDED, source=Source.CALLBACK, task_id=make_task_name(1), at=20)
        )
        assert (applied.outcome, applied.task.reason, applied.announced) == ("conflict", Reason.CANCELED, False)
