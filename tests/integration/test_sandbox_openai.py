"""The sandbox's OpenAI-style videos and responses, and Seedance: forms, bytes, events, ends."""

import base64
from collections.abc import AsyncIterator

import aiohttp
import pytest
from standardwebhooks.webhooks import Webhook

from tests.kits.sandbox import Body, Client, Receiver, lower, pass_time, running
from tests.kits.waiting import until

WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"made-up-webhook-key-of-32-bytes!").decode()
VIDEOS = "/openai/v1/videos"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A sandbox without faults, whose jobs are done at once."""
    async with running(duration_s=0) as ready:
        yield ready


def video(prompt: str = "a cat") -> Body:
    """A valid request for an OpenAI-style video."""
    return {"model": "kling-3.0", "prompt": prompt}


# OpenAI-style video


async def test_a_form_is_as_good_as_json(client: Client) -> None:
    """Multipart with a reference file, directives included; the id needs no special client."""
    form = aiohttp.FormData(
        {"model": "kling-3.0", "prompt": "a cat [sandbox: fail=policy; duration=0]", "seconds": "8"}
    )
    form.add_field("input_reference", b"\x89PNG\r\n\r\n--x", filename="a.png", content_type="image/png")
    made = (await client.call("POST", VIDEOS, data=form)).body
    assert (made["seconds"], made["prompt"][:5]) == ("8", "a cat")
    shown = (await client.get(f"{VIDEOS}/{made['id']}")).body
    assert (shown["status"], shown["error"]["code"]) == ("failed", "moderation_blocked")
    lacking = aiohttp.FormData({"prompt": "a cat"}, default_to_multipart=True)
    refused = await client.call("POST", VIDEOS, data=lacking)
    assert (refused.status, refused.body["error"]["param"]) == (400, "model")
    elsewhere = aiohttp.FormData({"prompt": "a cat"}, default_to_multipart=True)
    assert (await client.call("POST", "/openai/v1/chat/completions", data=elsewhere)).status == 400
    assert [entry["outcome"] for entry in client.creates()] == ["accepted", "invalid", "malformed"]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [("error", "failed", "video_generation_failed"), ("silent", "failed", None), ("canceled", "cancelled", None)],
)
async def test_videos_fail_with_and_without_a_reason(client: Client, fault: str, status: str, code: str | None) -> None:
    """`error` is an object or null."""
    made = (await client.post(VIDEOS, video(f"[sandbox: fail={fault}; duration=0]"))).body["id"]
    shown = (await client.get(f"{VIDEOS}/{made}")).body
    assert (shown["status"], (shown["error"] or {}).get("code")) == (status, code)


async def test_full_progress_does_not_mean_the_end(client: Client) -> None:
    """Progress grows with time and may be 100 while the video is still in progress."""
    seen = []
    for script in ("duration=100", "duration=100; stage=hold"):
        made = (await client.post(VIDEOS, video(f"[sandbox: {script}]"))).body["id"]
        pass_time(client.sandbox, made, 50 if "hold" not in script else 500)
        shown = (await client.get(f"{VIDEOS}/{made}")).body
        seen.append((shown["status"], shown["progress"]))
    assert seen == [("in_progress", 50), ("in_progress", 100)]


async def test_the_bytes_need_the_key_and_their_time(client: Client) -> None:
    """404 before the end and after expiry, 401 without the key, 404 once deleted."""
    made = (await client.post(VIDEOS, video("[sandbox: duration=100]"))).body["id"]
    content = f"{VIDEOS}/{made}/content"
    assert (await client.get(content)).status == 404
    pass_time(client.sandbox, made, 100)
    shown = (await client.get(f"{VIDEOS}/{made}")).body
    assert shown["expires_at"] - shown["completed_at"] == 3600
    reply = await client.get(content)
    assert (reply.status, reply.headers["Content-Type"], reply.raw[4:8]) == (200, "video/mp4", b"ftyp")
    assert (await client.get(f"{content}?variant=thumbnail")).headers["Content-Type"] == "image/png"
    assert (await client.get(f"{content}?variant=sound")).status == 400
    assert (await client.get(content, headers={"Authorization": ""})).status == 401
    pass_time(client.sandbox, made, 3600)
    assert (await client.get(content)).status == 404
    assert (await client.call("DELETE", f"{VIDEOS}/{made}")).body["deleted"] is True
    for method in ("GET", "DELETE"):
        assert (await client.call(method, f"{VIDEOS}/{made}")).status == 404


async def test_bytes_can_be_missing_and_can_break(client: Client) -> None:
    """`url=missing` completes without content; `file=cut` breaks the first download."""
    made = (await client.post(VIDEOS, video("[sandbox: url=missing; duration=0]"))).body["id"]
    assert (await client.get(f"{VIDEOS}/{made}")).body["status"] == "completed"
    assert (await client.get(f"{VIDEOS}/{made}/content")).status == 404
    made = (await client.post(VIDEOS, video("[sandbox: file=cut; duration=0]"))).body["id"]
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.get(f"{VIDEOS}/{made}/content")
    assert len((await client.get(f"{VIDEOS}/{made}/content")).raw) > 10_000
    assert client.sandbox.state()["downloads"] == {f"{made}/video-0.mp4": 2}


async def test_video_events_are_signed_and_carry_only_the_id(receiver: Receiver) -> None:
    """One event at the end, to the address of the account; none for a cancelled video."""
    knobs: Body = {"openai_webhook_url": receiver.url, "openai_webhook_secret": WEBHOOK_SECRET, "duration_s": 0}
    async with running(**knobs) as client:
        ids = []
        for n, script in enumerate(("calm", "fail=error", "fail=canceled", "calm")):
            ids.append((await client.post(VIDEOS, video(f"[sandbox: {script}; duration=0]"))).body["id"])
            await receiver.wait(min(n + 1, 2) if n < 3 else 3)
    assert [body["type"] for body in receiver.bodies] == ["video.completed", "video.failed", "video.completed"]
    assert [body["data"] for body in receiver.bodies] == [{"id": ids[n]} for n in (0, 1, 3)]
    for body, raw, headers in zip(receiver.bodies, receiver.raws, receiver.headers, strict=True):
        assert body.keys() == {"id", "object", "created_at", "type", "data"}
        assert body["id"] == headers["webhook-id"]
        Webhook(WEBHOOK_SECRET).verify(raw, lower(headers))


async def test_events_go_to_loopback_only() -> None:
    """Any other address is recorded and never contacted."""
    async with running(openai_webhook_url="https://192.0.2.1/hook", duration_s=0) as client:
        await client.post(VIDEOS, video())
        await until(lambda: client.sandbox.state()["callbacks"])
        assert client.sandbox.state()["callbacks"][0]["answer"] == "undeliverable"


# Seedance and responses


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("policy", "failed", "OutputVideoSensitiveContentDetected"),
        ("silent", "failed", None),
        ("canceled", "cancelled", None),
    ],
)
async def test_seedance_fails_with_its_own_codes(client: Client, fault: str, status: str, code: str | None) -> None:
    """An error object, or none at all."""
    body = {"model": "m", "content": [{"type": "text", "text": f"a cat [sandbox: fail={fault}; duration=0]"}]}
    made = (await client.post("/doubao/video/generations", body)).body
    assert made == {"id": made["task_id"], "task_id": made["task_id"], "status": "queued"}
    shown = (await client.get(f"/doubao/videos/{made['id']}")).body
    assert (shown["status"], (shown.get("error") or {}).get("code")) == (status, code)


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize(
    ("script", "status", "why"),
    [
        ("calm", "completed", None),
        ("fail=error", "failed", "server_error"),
        ("fail=policy", "incomplete", "content_filter"),
        ("fail=canceled", "cancelled", None),
    ],
)
async def test_responses_end_alike_at_once_and_in_the_background(
    client: Client, script: str, status: str, why: str | None, *, background: bool
) -> None:
    """The create answers with the end, or with `queued`; the query knows either."""
    said = [{"role": "user", "content": [{"type": "input_text", "text": f"hello [sandbox: {script}; duration=0]"}]}]
    made = (await client.post("/openai/v1/responses", {"model": "m", "input": said, "background": background})).body
    shown = (await client.get(f"/openai/v1/responses/{made['id']}")).body
    reason = (shown["error"] or {}).get("code") or (shown["incomplete_details"] or {}).get("reason")
    assert (shown["status"], reason) == (status, why)
    assert bool(shown["output"]) == (status == "completed")
    assert made["id"].startswith("resp_")
    if not background:
        assert made == shown


async def test_waiting_for_a_response_takes_its_time() -> None:
    """A create without background waits as long as a directive sets, by default not at all."""
    async with running(duration_s=1000) as client:
        body = {"model": "m", "input": "hello"}
        assert (await client.post("/openai/v1/responses", body)).body["status"] == "completed"
        timeout = aiohttp.ClientTimeout(total=0.2)
        with pytest.raises(TimeoutError):
            await client.post("/openai/v1/responses", body | {"input": "[sandbox: duration=60]"}, timeout=timeout)
