"""The sweep on a real store and a gateway of its own: who is asked, who is left alone, and what counts."""

from __future__ import annotations

from pathlib import Path

from tests.factories import START, after
from tests.sweep_kit import IN_MAINTENANCE, kling, sweeping
from tracker.domain.task import Status


async def test_a_family_in_maintenance_stops_no_other(tmp_path: Path) -> None:
    """Sixty Kling tasks are answered 503: Suno behind the same host is asked, and its task does not expire unasked."""
    async with sweeping(tmp_path, deadline_s=30.0) as rig:
        rig.gateway.answers["kling"] = IN_MAINTENANCE
        for n in range(60):
            await rig.follow(external_id=f"k-{n}")
        await rig.sweep()
        song = await rig.follow("suno.generate")
        await rig.sweep(1.0)
        assert rig.gateway.asked.count("GET suno") == 1
        for _ in range(20):
            await rig.sweep(2.0)
        assert rig.gateway.asked.count("GET suno") > 10
        record = await rig.get(song)
        assert (record.task.status, record.task.reason) == (Status.FAILED, "expired"), "asked in time, all the time"
        assert record.task.polls == rig.gateway.asked.count("GET suno")


async def test_what_was_not_asked_is_no_poll_in_vain(tmp_path: Path) -> None:
    """While the upstream is left alone a task's polls only move: nothing counts, and no deadline is fed."""
    async with sweeping(tmp_path, deadline_s=30.0, not_found_grace_s=10.0) as rig:
        rig.gateway.answers["kling"] = IN_MAINTENANCE
        for n in range(10):
            await rig.follow(external_id=f"k-{n}")
        await rig.sweep()
        late = await rig.follow(external_id="late")
        await rig.sweep()
        asked = len(rig.gateway.asked)
        task = (await rig.get(late)).task
        assert (task.polls, task.poll_trouble_since, task.due_at) == (0, None, after(5.0))
        note = await rig.notes(late)
        assert f"left alone since {START:%Y-%m-%d %H:%M:%S} UTC; it is tried again in 5 s" in note
        assert "failed for kling" in note
        await rig.sweep(4.0)
        assert len(rig.gateway.asked) == asked, "the wait is not over"


async def test_without_a_key_no_task_expires(tmp_path: Path) -> None:
    """What is missing is ours: tasks wait for it, however long, and ``why`` names it."""
    async with sweeping(tmp_path, deadline_s=30.0, not_found_grace_s=5.0) as rig:
        key = rig.keys.pop("default")
        task_id = await rig.follow()
        for _ in range(8):
            await rig.sweep(10.0)
        task = (await rig.get(task_id)).task
        assert (task.status, task.polls, task.poll_trouble_since) == (Status.PENDING, 0, None)
        note = await rig.notes(task_id)
        since = f"{after(10.0):%Y-%m-%d %H:%M:%S} UTC"
        assert f"has not been asked since {since}: account 'default' has no API key" in note
        rig.keys["default"] = key
        rig.gateway.answers["kling"] = kling("failed")
        await rig.sweep(10.0)
        task = (await rig.get(task_id)).task
        assert (task.status, task.reason, task.polls) == (Status.FAILED, "generation_failed", 1)
        assert "API key" not in await rig.notes(task_id)


async def test_a_nudge_outlives_a_poll_that_is_put_off(tmp_path: Path) -> None:
    """A claim that is given back leaves alone what has become due since."""
    async with sweeping(tmp_path) as rig:
        task_id = await rig.follow()
        (lane,) = await rig.store.list_lanes(rig.clock.now())
        await rig.store.claim_due(lane, 1, rig.clock.now(), after(40))
        await rig.store.put_off(task_id, after(9))
        assert (await rig.get(task_id)).task.due_at == after(9)
        await rig.store.poll_now(task_id, after(3))
        await rig.store.put_off(task_id, after(9))
        assert (await rig.get(task_id)).task.due_at == after(3)
