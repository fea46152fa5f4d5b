"""Submits from outside: one upstream job per key, whoever asks again, goes away, or meets a full disk."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import pytest

from tests.kits.processes import FAST, KLING, NEVER, SUNO, House, open_house, submission
from tests.kits.sandbox import hold_requests
from tests.kits.waiting import until
from tracker.sandbox import Chaos


async def arrived(house: House, marker: str) -> None:
    """Wait until the sandbox has a create with this word before it."""

    async def look() -> bool:
        return bool(house.creates(marker))

    await until(look)


async def becomes_ready(house: House, status: int) -> None:
    """Wait until ``/readyz`` answers so."""

    async def look() -> bool:
        return (await house.call("GET", "/readyz")).status == status

    await until(look)


async def test_one_key_makes_one_job(tmp_path: Path) -> None:
    """Twenty submits with one key at once make one create; later ones find the task, another payload is refused."""
    chaos = Chaos(latency_min_s=0.5, latency_max_s=0.5)
    async with open_house(tmp_path, hook_before=None, sandbox={"chaos": chaos}) as house:
        body, key = submission(SUNO, "once only"), {"Idempotency-Key": "k1"}
        answers = await asyncio.gather(*(house.call("POST", "/v1/tasks", body, key) for _ in range(20)))
        (made,) = [answer for answer in answers if answer.status == 201]
        others = [answer for answer in answers if answer is not made]
        assert {answer.status for answer in others} <= {200, 409}
        assert all(answer.headers["Retry-After"] for answer in others if answer.status == 409)
        again = await house.call("POST", "/v1/tasks", body, key)
        assert (again.status, again.body["id"]) == (200, made.body["id"])
        other = await house.call("POST", "/v1/tasks", submission(SUNO, "something else"), key)
        assert other.status == 422
        assert len(house.creates("once")) == 1
        assert not house.creates("else")


async def test_respond_async_answers_before_the_upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``Prefer: respond-async`` the intent is on disk and answered while the create is still on its way."""
    may_go_on = hold_requests(monkeypatch)
    async with open_house(tmp_path, hook_before=None, sandbox={"duration_s": 0.2}) as house:
        task = await house.submit(KLING, "later", headers={"Prefer": "respond-async"}, status=202)
        assert (task["status"], task["submitted_at"], task["external_id"]) == ("PENDING", None, None)
        assert house.rows("SELECT status FROM tasks WHERE id = ?", task["id"]) == [("PENDING",)]
        await arrived(house, "later")
        assert not house.ear.times_of("create.finished")
        may_go_on.set()
        assert (await house.end_of(task["id"]))["status"] == "SUCCEEDED"
        assert len(house.creates("later")) == 1


async def test_a_client_that_goes_away_loses_nothing(tmp_path: Path) -> None:
    """A submit whose client hangs up half-way is sent and followed to its end all the same."""
    chaos = Chaos(latency_min_s=1.0, latency_max_s=1.0)
    async with open_house(tmp_path, hook_before=None, poll=NEVER, sandbox={"chaos": chaos}) as house:
        gone = asyncio.create_task(house.submit(KLING, "gone", headers={"Idempotency-Key": "g"}))
        await arrived(house, "gone")
        gone.cancel()
        await asyncio.wait({gone})
        ((task_id,),) = house.rows("SELECT id FROM tasks")
        assert (await house.end_of(task_id))["status"] == "SUCCEEDED"
        found = await house.call("POST", "/v1/tasks", submission(KLING, "gone"), {"Idempotency-Key": "g"})
        assert (found.status, found.body["id"]) == (200, task_id)
        assert len(house.creates("gone")) == 1
        house.daemon.assert_no_traceback()


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the limits of another process can be set on Linux only")
async def test_a_full_disk_is_survived(tmp_path: Path) -> None:
    """While nothing can be written callbacks and submits get 503 with Retry-After; then all goes on, nothing lost."""
    async with open_house(tmp_path, hook_before=None, poll=FAST, sandbox={"duration_s": 0.2}) as house:
        task = await house.submit(KLING, "called [sandbox: stage=hold; callback=lost]")
        house.sandbox.chaos = Chaos(latency_min_s=1.0, latency_max_s=1.0)
        on_its_way = asyncio.create_task(house.submit(SUNO, "underway"))
        await arrived(house, "underway")

        limits = resource.prlimit(house.daemon.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(house.daemon.pid, resource.RLIMIT_FSIZE, (4096, limits[1]))
        news = {
            "task_id": task["external_id"],
            "task_status": "succeed",
            "task_result": {"videos": [{"id": "v", "url": "https://cdn.example.com/v.mp4"}]},
        }
        callback = house.callback_path(task["external_id"])
        for path, body in ((callback, news), ("/v1/tasks", submission(SUNO, "refused"))):
            answer = await house.call("POST", path, body)
            assert (answer.status, answer.headers.get("Retry-After")) == (503, "2"), answer
        assert (await house.get(f"/v1/tasks/{task['id']}"))["status"] in {"PENDING", "RUNNING"}, "it reads on"
        await becomes_ready(house, 503)
        tries = await house.daemon.heard("submit.failed")  # one a second, until there is room
        paid_id = house.creates("underway")[0]["id"]
        recorded = {one["external_id"] for one in tries if one["step"] == "record"}
        assert recorded == {paid_id}, "the paid id is not lost with the log"

        resource.prlimit(house.daemon.pid, resource.RLIMIT_FSIZE, limits)
        answered = await on_its_way
        assert answered["external_id"] == paid_id
        assert (await house.end_of(answered["id"]))["status"] == "SUCCEEDED"
        again = await house.call("POST", callback, news)
        assert (again.status, again.body) == (200, {"outcome": "applied"})
        await becomes_ready(house, 200)
        assert not house.creates("refused")
        await house.daemon.stop()
        house.daemon.assert_no_traceback()
