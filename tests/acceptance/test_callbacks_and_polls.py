"""Callbacks and polls report the same events: each alone suffices, and together they do no harm."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from tests.kits.processes import FAST, KEY, KLING, NEVER, REQUESTS, SUNO, Json, System, running_system
from tests.kits.sandbox import find_job, pass_time
from tests.kits.waiting import until

LOST = "[sandbox: callback=lost]"
DONE = "[sandbox: callback=lost; duration=0]"


def kling_callback(task: Json, status: str, **more: Json) -> Json:
    """A callback of Kling."""
    return {"task_id": task["external_id"], "task_status": status, "updated_at": 1, **more}


VIDEO: Json = {"task_result": {"videos": [{"id": "v", "url": "https://cdn.example.com/v.mp4?sign=1", "duration": "5"}]}}
SIGNED_ANEW: Json = {
    "task_result": {"videos": [{"id": "v", "url": "https://cdn.example.com/v.mp4?sign=2", "duration": "5"}]}
}


async def check_delivered_once(system: System, task: Json, event: str) -> None:
    """The hook received this event of the task exactly once, and no other end."""
    await system.deliveries_settle()
    ends = [
        ran.event for ran in system.ran if ran.task == task["id"] and ran.event in {"task.succeeded", "task.failed"}
    ]
    assert ends == [event]


async def test_polls_alone_suffice(tmp_path: Path) -> None:
    """With every callback lost, polling finds the end, and the hook gets it once."""
    async with running_system(tmp_path) as system:
        tasks = [await system.submit(route, f"a {LOST}") for route in (SUNO, KLING)]
        for task in tasks:
            ended = await system.end_of(task["id"])
            assert (ended["status"], ended["callbacks"]) == ("SUCCEEDED", 0)
            assert ended["polls"] >= 1
            assert all(output["url"] for output in ended["outputs"])
            await check_delivered_once(system, task, "task.succeeded")


async def test_callbacks_alone_suffice(tmp_path: Path) -> None:
    """Without polls, callbacks bring every stage and the end; early ones before the create is answered."""
    async with running_system(tmp_path, poll=NEVER) as system:
        scripts = ("calm", "callback=early", "callback=reordered", "callback=duplicate", "callback=late")
        tasks = [await system.submit(route, f"a [sandbox: {how}]") for route in (SUNO, KLING) for how in scripts]
        for task in tasks:
            ended = await system.end_of(task["id"])
            assert (ended["status"], ended["polls"]) == ("SUCCEEDED", 0), ended
            await check_delivered_once(system, task, "task.succeeded")
        for how, task in zip(scripts * 2, tasks, strict=True):
            await system.wait_for_callbacks(task["id"], 6 if "duplicate" in how else 3)
        assert await system.events(tasks[2]["id"], outcome="stale"), "later callbacks changed nothing"
        assert await system.events(tasks[3]["id"], outcome="duplicate")
        early = await system.events(tasks[1]["id"])
        assert [event["source"] for event in early[:2]] == ["callback", "submit"]
        assert tasks[1]["status"] == "RUNNING", "the early callback was applied when the submit was answered"


async def test_callbacks_and_polls_at_once(tmp_path: Path) -> None:
    """Continuous polls race every callback, each sent twice: one end, delivered once."""
    race = {**FAST, "tick_s": 0.02, "first_delay_s": 0.0, "min_interval_s": 0.02, "max_interval_s": 0.02}
    async with running_system(tmp_path, poll=race) as system:
        script = "[sandbox: callback=duplicate; duration=0.4]"
        tasks = [await system.submit(route, f"a {script}") for route in (SUNO, KLING) * 3]
        for task in tasks:
            assert (await system.end_of(task["id"]))["status"] == "SUCCEEDED"
            await check_delivered_once(system, task, "task.succeeded")
        assert not system.rows("SELECT 1 FROM events WHERE outcome = 'conflict'")


async def test_answers_to_callbacks(tmp_path: Path) -> None:
    """Applied, then duplicate even with irrelevant differences in the body, then stale and conflict."""
    async with running_system(tmp_path, poll=NEVER) as system:
        task = await system.submit(KLING, f"a {LOST}")
        path = system.callback_path(task["external_id"])

        async def post(body: Json, to: str = path) -> Json:
            answer = await system.call("POST", to, body)
            return answer.status, answer.body.get("outcome") or answer.body["status"]

        assert await post(kling_callback(task, "processing")) == (200, "applied")
        assert await post(kling_callback(task, "processing", updated_at=2)) == (200, "duplicate")
        assert await post(kling_callback(task, "succeed", **VIDEO)) == (200, "applied")
        assert await post(kling_callback(task, "succeed", **VIDEO)) == (200, "duplicate")
        assert await post(kling_callback(task, "succeed", updated_at=9, **SIGNED_ANEW)) == (200, "duplicate")
        assert await post(kling_callback(task, "submitted")) == (200, "stale")
        assert await post(kling_callback(task, "failed", task_status_msg="no")) == (200, "conflict")
        assert await post(b"{") == (400, 400)
        assert await post(kling_callback(task, "succeed", **VIDEO), path[:-1] + "_") == (404, 404)
        ended = await system.get(f"/v1/tasks/{task['id']}")
        assert (ended["status"], ended["polls"]) == ("SUCCEEDED", 0)
        assert ended["outputs"][0]["url"] == "https://cdn.example.com/v.mp4?sign=1"
        await check_delivered_once(system, task, "task.succeeded")


async def test_callbacks_without_a_token_cause_polls(tmp_path: Path) -> None:
    """A known task is polled, the callback is never trusted; for an unknown task it is parked."""
    async with running_system(tmp_path, poll=NEVER) as system:
        known = await system.submit(KLING, f"known {DONE}")
        answer = await system.call("POST", "/callbacks/kling", kling_callback(known, "failed", task_status_msg="false"))
        assert (answer.status, answer.body) == (202, {"outcome": "polling"})
        ended = await system.end_of(known["id"])
        assert (ended["status"], ended["polls"], ended["callbacks"]) == ("SUCCEEDED", 1, 0)

        async with system.client.post(
            f"{system.sandbox.base_url}/transtreams/kling/v1/videos/omni-video",
            json=REQUESTS[KLING](f"elsewhere {DONE}"),
            headers={"Authorization": f"Bearer {KEY}"},
        ) as response:
            elsewhere = {"external_id": (await response.json())["data"]["task_id"]}
        answer = await system.call("POST", "/callbacks/kling", kling_callback(elsewhere, "succeed", **VIDEO))
        assert (answer.status, answer.body) == (202, {"outcome": "parked"})
        assert (await system.get("/v1/stats"))["parked_callbacks"] == 1
        registration = {"route": KLING, "external_id": elsewhere["external_id"]}
        registered = await system.call("POST", "/v1/tasks", registration)
        assert registered.status == 201
        ended = await system.end_of(registered.body["id"])
        assert (ended["status"], ended["polls"], ended["callbacks"]) == ("SUCCEEDED", 1, 0)
        assert (await system.get("/v1/stats"))["parked_callbacks"] == 0
        again = await system.call("POST", "/v1/tasks", registration)
        assert (again.status, again.body["id"]) == (200, registered.body["id"])


async def test_a_success_waits_for_its_output(tmp_path: Path) -> None:
    """A success without a URL stays RUNNING until the URL appears; without one it fails as missing_output."""
    async with running_system(tmp_path, poll={**FAST, "missing_output_grace_s": 600.0}) as system:
        script = "[sandbox: url=missing; duration=0.2]"
        *late, never = [await system.submit(route, f"a {script}") for route in (SUNO, KLING, KLING)]
        for task in late:

            async def waits(task: Json = task) -> bool:
                return any("but no output yet" in event["detail"] for event in await system.events(task["id"]))

            await until(waits)
            assert (await system.get(f"/v1/tasks/{task['id']}"))["status"] == "RUNNING"
            job = find_job(system.sandbox, task["external_id"])
            job.fate = replace(job.fate, url_missing=False)
            ended = await system.end_of(task["id"])
            assert ended["status"] == "SUCCEEDED"
            assert all(output["url"] for output in ended["outputs"])
            await check_delivered_once(system, task, "task.succeeded")
        assert (await system.get(f"/v1/tasks/{never['id']}"))["status"] in {"PENDING", "RUNNING"}
        await system.daemon.reload(("missing_output_grace_s = 600.0", "missing_output_grace_s = 0.5"))
        ended = await system.end_of(never["id"])
        assert (ended["status"], ended["reason"], ended["outputs"]) == ("FAILED", "missing_output", [])
        await check_delivered_once(system, never, "task.failed")


async def test_unknown_statuses_and_the_deadline(tmp_path: Path) -> None:
    """An unknown status means running and is reported as unknown; a task without an end expires after a last poll."""
    async with running_system(tmp_path, poll={**FAST, "deadline_s": 600.0}) as system:
        strange = await system.submit("dashscope.video", "a [sandbox: stage=strange; duration=1000]")
        endless = await system.submit(SUNO, "a [sandbox: stage=hold; callback=lost; duration=0.2]")

        async def is_reported() -> bool:
            why = await system.get(f"/v1/tasks/{strange['id']}/why")
            return "TRANSCODING" in str(why) and why["status"] in {"PENDING", "RUNNING"}

        pass_time(system.sandbox, strange["external_id"], 500)  # half-way, with the strange status
        await until(is_reported)
        pass_time(system.sandbox, strange["external_id"], 500)
        assert (await system.end_of(strange["id"]))["status"] == "SUCCEEDED"
        assert (await system.get(f"/v1/tasks/{endless['id']}"))["status"] in {"PENDING", "RUNNING"}
        await system.daemon.reload(("deadline_s = 600.0", "deadline_s = 0.5"))
        ended = await system.end_of(endless["id"])
        assert (ended["status"], ended["reason"], ended["retryable"]) == ("FAILED", "expired", True)
        # the timeout follows a last poll, answered by the upstream
        (decision,) = await system.events(endless["id"], source="clock")
        assert ended["polls"] == len(system.event_log.times_of("poll.answered", id=endless["external_id"]))
        assert ended["finished_at"] == decision["at"]
        await check_delivered_once(system, endless, "task.failed")


async def test_a_canceled_task_stays_canceled(tmp_path: Path) -> None:
    """Later reports of the provider are recorded as conflicts, not applied; the hook gets one end."""
    async with running_system(tmp_path) as system:
        task = await system.submit(KLING, "a [sandbox: stage=hold; duration=0.5]")
        await system.becomes(task["id"], status="RUNNING")
        answer = await system.call("POST", f"/v1/tasks/{task['id']}/cancel")
        assert (answer.status, answer.body["reason"]) == (200, "canceled")
        assert (await system.call("POST", f"/v1/tasks/{task['id']}/cancel")).status == 409
        body = kling_callback(task, "succeed", **VIDEO)
        reported = await system.call("POST", system.callback_path(task["external_id"]), body)
        assert (reported.status, reported.body) == (200, {"outcome": "conflict"})
        (conflict,) = await system.events(task["id"], source="callback", outcome="conflict")
        assert (conflict["from"], conflict["to"]) == ("FAILED", "FAILED")
        ended = await system.get(f"/v1/tasks/{task['id']}")
        assert (ended["status"], ended["reason"]) == ("FAILED", "canceled")
        await check_delivered_once(system, task, "task.failed")


async def test_two_long_polls_get_the_end(tmp_path: Path) -> None:
    """Long polls of a task are answered when it ends, not at their time limit."""
    async with running_system(tmp_path, hook_before=None, poll=NEVER) as system:
        task = await system.submit(KLING, "a [sandbox: stage=hold; duration=0.2]")
        path = f"/v1/tasks/{task['id']}"
        waiting = [asyncio.create_task(system.get(f"{path}?wait=60")) for _ in range(2)]
        short = await system.get(f"{path}?wait=0.05")
        assert short["status"] in {"PENDING", "RUNNING"}
        assert not any(waiter.done() for waiter in waiting)
        await system.call("POST", system.callback_path(task["external_id"]), kling_callback(task, "succeed", **VIDEO))
        async with asyncio.timeout(40):
            ends = await asyncio.gather(*waiting)
        assert [end["status"] for end in ends] == ["SUCCEEDED"] * 2
