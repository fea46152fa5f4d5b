"""Answers of proxies, gateways and faulty upstreams, over HTTP to the running daemon: no paid job is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.test_accounts import listening
from tests.kits.daemon import NEVER_POLLS, Setting, running_daemon
from tests.kits.route_requests import Json, request_of

VIDEO_URL, SONG_URL = "https://cdn.example.com/1.mp4", "https://cdn.example.com/1.mp3"
KLING_DONE = {"task_id": "k-1", "task_status": "succeed", "task_result": {"videos": [{"url": VIDEO_URL}]}}
SUNO_DONE = {
    "code": 200,
    "msg": "ok",
    "data": {"callbackType": "complete", "task_id": "s-1", "data": [{"audio_url": SONG_URL}]},
}
NO_ARCHIVE = "[archive]\nenabled = false"
PROXYS = [
    (502, {"error": "Bad Gateway"}),
    (502, {"error": {"type": "upstream_error", "message": "m", "code": None}}),
    (500, {"timestamp": "2026-01-05T10:00:00", "status": 500, "error": "Internal Server Error"}),
    (502, {"code": 502, "message": "Bad Gateway"}),
]


@pytest.mark.parametrize(("status", "body"), PROXYS)
@pytest.mark.parametrize(
    ("name", "field", "done", "url"),
    [
        ("kling.text2video", "callback_url", KLING_DONE, VIDEO_URL),
        ("suno.generate", "callBackUrl", SUNO_DONE, SONG_URL),
    ],
)
async def test_a_success_after_a_bad_gateway_counts(
    *, tmp_path: Path, name: str, field: str, done: Json, url: str, status: int, body: Json
) -> None:
    """The outcome of the create is unknown; it is not sent again, and its callback brings the result."""
    async with listening() as upstream:
        upstream.answers["/"] = (status, body)
        async with running_daemon(tmp_path, Setting(upstream.url, NEVER_POLLS, tables=NO_ARCHIVE)) as api:
            task = await api.submit(name, request_of(name, "a kite"))
            assert (task["status"], task["reason"]) == ("PENDING", None), task
            (sent,) = upstream.bodies
            path = str(sent[field])[str(sent[field]).index("/callbacks/") :]
            assert (await api.call("POST", path, done))[1] == {"outcome": "applied"}
            ended = await api.end_of(task)
            assert (ended["status"], [output["url"] for output in ended["outputs"]]) == ("SUCCEEDED", [url])
            assert len(upstream.bodies) == 1


async def test_a_rate_limit_that_repeats_its_number_is_waited_for(tmp_path: Path) -> None:
    """429 inside the gateway's ``error`` is HTTP's, not the number with which Suno says that a quota is used up."""
    async with listening() as upstream:
        upstream.answers["/"] = (429, {"error": {"message": "m", "type": "rate_limit_error", "code": 429}})
        async with running_daemon(tmp_path, Setting(upstream.url, NEVER_POLLS)) as api:
            task = await api.submit("suno.generate", request_of("suno.generate", "a kite"))
            assert (task["status"], task["reason"]) == ("PENDING", None), task
            why = await api.get(f"/v1/tasks/{task['id']}/why")
            assert "sends it again" in str(why)


@pytest.mark.parametrize(
    ("name", "body", "external_id"),
    [
        ("dashscope.video", {"output": {"task_id": "y3", "task_status": 1}}, "y3"),
        ("kling.text2video", {"code": 0, "data": {"task_id": "k-1", "task_status": 3}}, "k-1"),
    ],
)
async def test_an_id_among_odd_fields_is_followed(tmp_path: Path, name: str, body: Json, external_id: str) -> None:
    """The first 200 is an acceptance: its other fields may be odd, but the job exists and is paid."""
    async with listening() as upstream:
        upstream.answers["/"] = (200, body)
        async with running_daemon(tmp_path, Setting(upstream.url, NEVER_POLLS)) as api:
            task = await api.submit(name, request_of(name, "a kite"))
            assert (task["status"], task["external_id"]) == ("PENDING", external_id)
            assert task["next_poll_at"] is not None


async def test_a_wrapped_failure_keeps_its_code(tmp_path: Path) -> None:
    """A callback in the wrapper of answers has the error there."""
    async with listening() as upstream:
        upstream.answers["/"] = (200, {"code": 0, "data": {"task_id": "k-1", "task_status": "submitted"}})
        async with running_daemon(tmp_path, Setting(upstream.url, NEVER_POLLS)) as api:
            task = await api.submit("kling.text2video", request_of("kling.text2video", "a kite"))
            address = str(upstream.bodies[0]["callback_url"])
            body = {
                "code": 1301,
                "message": "content policy",
                "data": {"task_id": "k-1", "task_status": "failed"},
            }
            await api.call("POST", address[address.index("/callbacks/") :], body)
            ended = await api.end_of(task)
            assert (ended["status"], ended["reason"], ended["retryable"]) == ("FAILED", "policy_rejected", False)
            assert (ended["error"]["code"], ended["error"]["message"]) == ("1301", "content policy")


@pytest.mark.parametrize("depth", [90, 110, 250, 252, 400])
async def test_an_answer_that_is_nested_deeply_hides_no_task(tmp_path: Path, depth: int) -> None:
    """The answer to a paid create is one, and its task, the list of tasks and the feed can be read afterwards."""
    deep: Json = "x"
    for _ in range(depth):
        deep = [deep]
    message: Json = {"choices": [{"message": {"content": "hi"}}]}
    done: Json = {**KLING_DONE, "extra": deep}
    answers = [{**message, "extra": deep}, {**message, "usage": {"total_tokens": 7, "extra": deep}}]
    async with (
        listening() as upstream,
        running_daemon(tmp_path, Setting(upstream.url, NEVER_POLLS, tables=NO_ARCHIVE)) as api,
    ):
        for answer in answers:
            upstream.answers["/"] = (200, answer)
            task = await api.submit("openai.chat", request_of("openai.chat", "a kite"))
            assert (task["status"], task["outputs"][0]["text"]) == ("SUCCEEDED", "hi")
            assert ("not_shown" in task["result"]) == (depth > 100)
            assert task["usage"] == (None if depth > 100 else answer.get("usage"))
        upstream.answers["/"] = (200, {"code": 0, "data": {"task_id": "k-1", "task_status": "submitted"}})
        await api.submit("kling.text2video", request_of("kling.text2video", "a kite"))
        address = str(upstream.bodies[-1]["callback_url"])
        assert (await api.call("POST", address[address.index("/callbacks/") :], done))[1] == {"outcome": "applied"}
        listed = (await api.get("/v1/tasks"))["items"]
        assert [task["status"] for task in listed] == ["SUCCEEDED"] * 3
        assert len({event["task_id"] for event in (await api.get("/v1/events"))["items"]}) == 3
