"""Submits from outside: one upstream job per key, with retries, disconnecting clients and a full disk."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import pytest

from tests.kits.processes import FAST, KLING, NEVER, SUNO, System, running_system, submission
from tests.kits.sandbox import hold_requests
from tests.kits.waiting import until
from tracker.sandbox import Chaos


async def arrived(system: System, marker: str) -> None:
    """Wait until the sandbox has a create with this word under way."""

    async def look() -> bool:
        return bool(system.creates(marker))

    await until(look)


async def becomes_ready(system: System, status: int) -> None:
    """Wait until ``/readyz`` answers with this status."""

    async def look() -> bool:
        return (await system.call("GET", "/readyz")).status == status

    await until(look)


async def test_one_key_makes_one_job(tmp_path: Path) -> None:
    """Twenty submits with one key at once make one create; later ones find the task, another payload is refused."""
    chaos = Chaos(latency_min_s=0.5, latency_max_s=0.5)
    async with running_system(tmp_path, hook_before=None, sandbox={"chaos": chaos}) as system:
        body, key = submission(SUNO, "once only"), {"Idempotency-Key": "k1"}
        answers = await asyncio.gather(*(system.call("POST", "/v1/tasks", body, key) for _ in range(20)))
        (made,) = [answer for answer in answers if answer.status == 201]
        others = [answer for answer in answers if answer is not made]
        assert {answer.status for answer in others} <= {200, 409}
        assert all(answer.headers["Retry-After"] for answer in others if answer.status == 409)
        again = await system.call("POST", "/v1/tasks", body, key)
        assert (again.status, again.body["id"]) == (200, made.body["id"])
        other = await system.call("POST", "/v1/tasks", submission(SUNO, "something else"), key)
        assert other.status == 422
        assert len(system.creates("once")) == 1
        assert not system.creates("else")


async def test_respond_async_answers_before_the_upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``Prefer: respond-async`` the intent is on disk and answered while the create is still under way."""
    may_go_on = hold_requests(monkeypatch)
    async with running_system(tmp_path, hook_before=None, sandbox={"duration_s": 0.2}) as system:
        task = await system.submit(KLING, "later", headers={"Prefer": "respond-async"}, status=202)
        assert (task["status"], task["submitted_at"], task["external_id"]) == ("PENDING", None, None)
        assert system.rows("SELECT status FROM tasks WHERE id = ?", task["id"]) == [("PENDING",)]
        await arrived(system, "later")
        assert not system.event_log.times_of("create.finished")
        may_go_on.set()
        assert (await system.end_of(task["id"]))["status"] == "SUCCEEDED"
        assert len(system.creates("later")) == 1


async def test_a_client_that_goes_away_loses_nothing(tmp_path: Path) -> None:
    """A submit whose client disconnects half-way is still sent and followed to its end."""
    chaos = Chaos(latency_min_s=1.0, latency_max_s=1.0)
    async with running_system(tmp_path, hook_before=None, poll=NEVER, sandbox={"chaos": chaos}) as system:
        gone = asyncio.create_task(system.submit(KLING, "gone", headers={"Idempotency-Key": "g"}))
        await arrived(system, "gone")
        gone.cancel()
        await asyncio.wait({gone})
        ((task_id,),) = system.rows("SELECT id FROM tasks")
        assert (await system.end_of(task_id))["status"] == "SUCCEEDED"
        found = await system.call("POST", "/v1/tasks", submission(KLING, "gone"), {"Idempotency-Key": "g"})
        assert (found.status, found.body["id"]) == (200, task_id)
        assert len(system.creates("gone")) == 1
        system.daemon.assert_no_traceback()


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the limits of another process can be set on Linux only")
async def test_a_full_disk_is_survived(tmp_path: Path) -> None:
    """While writes fail, callbacks and submits get 503 with Retry-After; then all continues, nothing is lost."""
    async with running_system(tmp_path, hook_before=None, poll=FAST, sandbox={"duration_s": 0.2}) as system:
        task = await system.submit(KLING, "called [sandbox: stage=hold; callback=lost]")
        system.sandbox.chaos = Chaos(latency_min_s=1.0, latency_max_s=1.0)
        on_its_way = asyncio.create_task(system.call("POST", "/v1/tasks", submission(SUNO, "underway")))
        await arrived(system, "underway")

        limits = resource.prlimit(system.daemon.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(system.daemon.pid, resource.RLIMIT_FSIZE, (4096, limits[1]))
        update = {
            "task_id": task["external_id"],
            "task_status": "succeed",
            "task_result": {"videos": [{"id": "v", "url": "https://cdn.example.com/v.mp4"}]},
        }
        callback = system.callback_path(task["external_id"])
        for path, body in ((callback, update), ("/v1/tasks", submission(SUNO, "refused"))):
            answer = await system.call("POST", path, body)
            assert (answer.status, answer.headers.get("Retry-After")) == (503, "2"), answer
        assert (await system.get(f"/v1/tasks/{task['id']}"))["status"] in {"PENDING", "RUNNING"}, "it still reads"
        await becomes_ready(system, 503)
        tries = await system.daemon.wait_for_log("submit.failed")  # one a second, until there is space
        paid_id = system.creates("underway")[0]["id"]
        recorded = {one["external_id"] for one in tries if one["step"] == "record"}
        assert recorded == {paid_id}, "the paid id is not lost with the log"
        answered = await on_its_way
        assert (answered.status, answered.body["status"]) == (202, "PENDING"), "its client does not wait for the disk"

        resource.prlimit(system.daemon.pid, resource.RLIMIT_FSIZE, limits)
        ended = await system.end_of(answered.body["id"])
        assert (ended["status"], ended["external_id"]) == ("SUCCEEDED", paid_id)
        again = await system.call("POST", callback, update)
        assert (again.status, again.body) == (200, {"outcome": "applied"})
        await becomes_ready(system, 200)
        assert not system.creates("refused")
        await system.daemon.stop()
        system.daemon.assert_no_traceback()
