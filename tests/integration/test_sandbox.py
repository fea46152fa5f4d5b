"""The sandbox gateway, over real HTTP on loopback: it behaves as the real one, faults included."""

import asyncio
import json
import re
import struct
import time
import wave
import zlib
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from io import BytesIO
from itertools import pairwise

import aiohttp
import pytest

from tests.kits.sandbox import Body, Client, Receiver, find_job, pass_time, running, url_clock
from tests.kits.waiting import WITHIN_S, until
from tracker.sandbox import DEFAULT_KEY, DIRECTIVES, Chaos, CreateFault, Sandbox, directives, server
from tracker.sandbox.callbacks import is_loopback
from tracker.sandbox.fate import JobFate
from tracker.sandbox.journal import redact_path
from tracker.sandbox.media import Media, make_media
from tracker.sandbox.routes import Context, ReadRoute, Refusal, SyncRoute
from tracker.sandbox.wire import Answer, Call, json_answer

DASHSCOPE = "/dashscope/v1/services/aigc/video-generation/video-synthesis"
KLING = "/transtreams/kling/v1/videos/omni-video"
SUNO = "/suno/generate"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def dashscope_body(prompt: str = "a cat") -> Body:
    """A valid DashScope request."""
    return {"model": "wan2.5-i2v-preview", "input": {"prompt": prompt}, "parameters": {"duration": 5}}


def kling_body(prompt: str = "a cat", callback_url: str | None = None) -> Body:
    """A valid Kling request."""
    body = {"model_name": "kling-v3-omni", "prompt": prompt, "external_task_id": "job-1"}
    return body | ({"callback_url": callback_url} if callback_url else {})


def suno_body(prompt: str = "a song", callback_url: str = "https://callback.invalid/") -> Body:
    """A valid Suno request; its placeholder callback is never contacted."""
    return {
        "customMode": False,
        "instrumental": False,
        "model": "V5",
        "prompt": prompt,
        "callBackUrl": callback_url,
    }


# Life cycles


async def test_dashscope_job_goes_from_pending_to_a_video(client: Client) -> None:
    """PENDING, RUNNING, SUCCEEDED with output.video_url, and a UUID as id."""
    created = await client.post(DASHSCOPE, dashscope_body("a cat [sandbox: duration=100]"))
    task_id = created.body["output"]["task_id"]
    assert created.status == 200
    assert UUID.fullmatch(task_id)
    assert created.body["output"]["task_status"] == "PENDING"
    outputs = []
    for seconds in (0, 30, 70):
        pass_time(client.sandbox, task_id, seconds)
        outputs.append((await client.get(f"/dashscope/v1/tasks/{task_id}")).body["output"])

    assert [output["task_status"] for output in outputs] == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert ["video_url" in output for output in outputs] == [False, False, True]
    assert outputs[2]["orig_prompt"] == "a cat [sandbox: duration=100]"
    assert {"submit_time", "scheduled_time", "end_time"} <= outputs[2].keys()
    video = await client.get(outputs[2]["video_url"])
    assert (video.status, video.headers["Content-Type"]) == (200, "video/mp4")
    assert len(video.raw) == int(video.headers["Content-Length"])


async def test_kling_job_goes_from_submitted_to_a_video(client: Client) -> None:
    """submitted, processing, succeed with task_result.videos, and 18 digits as id."""
    created = await client.post(KLING, kling_body("[sandbox: duration=100]"))
    task_id = created.body["data"]["task_id"]
    assert re.fullmatch(r"\d{18}", task_id)
    assert created.body["code"] == 0
    seen = []
    for seconds in (0, 30, 70):
        pass_time(client.sandbox, task_id, seconds)
        seen.append((await client.get(f"{KLING}/{task_id}")).body["data"])

    assert [data["task_status"] for data in seen] == ["submitted", "processing", "succeed"]
    assert [data["task_result"] for data in seen[:2]] == [{}, {}]
    assert seen[2]["task_info"]["external_task_id"] == "job-1"
    assert (await client.get(seen[2]["task_result"]["videos"][0]["url"])).status == 200


async def test_suno_job_goes_through_its_phases(client: Client) -> None:
    """Null data first, then PENDING, TEXT_SUCCESS, FIRST_SUCCESS with one track, SUCCESS with two."""
    request = suno_body("[sandbox: duration=100]")
    created = await client.post(SUNO, request)
    task_id = created.body["data"]["taskId"]
    assert re.fullmatch(r"[0-9a-f]{32}", task_id)
    path = f"/suno/query/task?taskId={task_id}"
    assert (await client.get(path)).body == {"code": 200, "msg": "success", "data": None}
    seen: list[object] = []
    tracks: list[Body] = []
    for seconds in (10, 30, 35, 25):
        pass_time(client.sandbox, task_id, seconds)
        data = (await client.get(path)).body["data"]
        assert json.loads(data["param"]) == request
        tracks = data["response"]["sunoData"] if data["response"] else []
        seen.append((data["status"], [bool(track["audioUrl"]) for track in tracks]))

    assert seen == [
        ("PENDING", []),
        ("TEXT_SUCCESS", [False, False]),
        ("FIRST_SUCCESS", [True, False]),
        ("SUCCESS", [True, True]),
    ]
    audio, cover = await client.get(tracks[1]["audioUrl"]), await client.get(tracks[1]["imageUrl"])
    assert (audio.headers["Content-Type"], cover.headers["Content-Type"]) == ("audio/mpeg", "image/png")


async def test_jobs_finish_by_themselves(client: Client) -> None:
    """The clock alone brings a job to its end, and statuses never go back."""
    task_id = (await client.post(DASHSCOPE, dashscope_body())).body["output"]["task_id"]
    path = f"/dashscope/v1/tasks/{task_id}"
    seen = await client.see(path, lambda body: body["output"]["task_status"], "SUCCEEDED")
    assert seen == [word for word in ("PENDING", "RUNNING", "SUCCEEDED") if word in seen]


async def test_an_id_is_known_only_where_it_was_made(client: Client) -> None:
    """Kling answers 404 code 1203 on a sibling route; DashScope UNKNOWN; Suno body code 404."""
    kling_id = (await client.post(KLING, kling_body())).body["data"]["task_id"]
    sibling = await client.get(f"/transtreams/kling/v1/videos/text2video/{kling_id}")
    assert (sibling.status, sibling.body["code"]) == (404, 1203)
    other = await client.get(f"/dashscope/v1/tasks/{kling_id}")
    assert (other.status, other.body["output"]["task_status"]) == (200, "UNKNOWN")
    suno = await client.get(f"/suno/query/task?taskId={kling_id}")
    assert (suno.status, suno.body["code"], suno.body["data"]) == (200, 404, None)


@pytest.mark.parametrize(
    ("kind", "dashscope", "suno"),
    [
        ("policy", ("FAILED", "DataInspectionFailed"), ("SENSITIVE_WORD_ERROR", 400)),
        ("error", ("FAILED", "InternalError.Algo"), ("GENERATE_AUDIO_FAILED", 500)),
        ("invalid", ("FAILED", "InvalidParameter"), ("CREATE_TASK_FAILED", 400)),
        ("silent", ("FAILED", None), ("GENERATE_AUDIO_FAILED", None)),
        ("canceled", ("CANCELED", None), ("GENERATE_AUDIO_FAILED", None)),
    ],
)
async def test_jobs_fail_as_scripted(
    client: Client, kind: str, dashscope: tuple[str, str | None], suno: tuple[str, int | None]
) -> None:
    """Each kind of failure has the status, code and message of its family."""
    prompt = f"[sandbox: fail={kind}; duration=0]"
    made = (await client.post(DASHSCOPE, dashscope_body(prompt))).body["output"]["task_id"]
    output = (await client.get(f"/dashscope/v1/tasks/{made}")).body["output"]
    assert (output["task_status"], output.get("code")) == dashscope
    made = (await client.post(SUNO, suno_body(prompt))).body["data"]["taskId"]
    data = (await client.get(f"/suno/query/task?taskId={made}")).body["data"]
    assert (data["status"], data["errorCode"], data["response"]) == (*suno, None)
    made = (await client.post(KLING, kling_body(prompt))).body["data"]["task_id"]
    answer = (await client.get(f"{KLING}/{made}")).body
    assert (answer["message"], answer["data"]["task_status"]) == ("SUCCEED", "failed")
    assert bool(answer["data"]["task_status_msg"]) == (kind in {"policy", "error", "invalid"})


# Refusals of the gateway and of the families


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", DEFAULT_KEY])
async def test_wrong_key_is_401_everywhere(client: Client, authorization: str) -> None:
    """Creates and polls without the right Bearer key get the gateway's error shape."""
    headers = {"Authorization": authorization}
    for reply in (
        await client.post(KLING, kling_body(), headers=headers),
        await client.get("/suno/query/task?taskId=x", headers=headers),
    ):
        assert reply.status == 401
        error = reply.body["error"]
        assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
    assert client.creates()[0]["outcome"] == "unauthorized"


@pytest.mark.parametrize("raw", [b"{", b"[]", b"null", b"", b"\xff"])
async def test_malformed_json_is_400_in_the_gateway_shape(client: Client, raw: bytes) -> None:
    """Bytes that are not a JSON object are refused by the gateway, and counted."""
    reply = await client.call("POST", DASHSCOPE, data=raw)
    assert (reply.status, reply.body["error"]["type"]) == (400, "invalid_request_error")
    assert [entry["outcome"] for entry in client.creates()] == ["malformed"]


async def test_unknown_gateway_route_is_404_in_the_gateway_shape(client: Client) -> None:
    """Paths that the gateway does not have get its error shape, too."""
    reply = await client.get("/v1/models")
    assert (reply.status, reply.body["error"]["code"]) == (404, "http_404")


@pytest.mark.parametrize("body", [{}, {"model": "m"}, {"model": "m", "input": {}}, {"input": {"prompt": "p"}}])
async def test_dashscope_missing_fields_are_400_invalid_parameter(client: Client, body: Body) -> None:
    """`model` and `input.prompt` are required."""
    reply = await client.post(DASHSCOPE, body)
    assert (reply.status, reply.body["code"]) == (400, "InvalidParameter")
    assert UUID.fullmatch(reply.body["request_id"])


@pytest.mark.parametrize("body", [{}, {"prompt": "p"}, {"model_name": "m"}, kling_body() | {"callback_url": 7}])
async def test_kling_missing_fields_are_400_code_1201(client: Client, body: Body) -> None:
    """`model_name` and `prompt` are required."""
    reply = await client.post(KLING, body)
    assert (reply.status, reply.body["code"]) == (400, 1201)


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"callBackUrl": None}, 400, "Please enter callBackUrl."),
        ({"model": "V1"}, 400, "model"),
        ({"customMode": "yes"}, 400, "customMode"),
        ({"prompt": ""}, 400, "prompt"),
        ({"customMode": True}, 400, "style"),
        ({"customMode": True, "style": "pop"}, 400, "title"),
        ({"prompt": "x" * 501}, 413, "500"),
        ({"customMode": True, "style": "s" * 1001, "title": "t"}, 413, "style"),
    ],
)
async def test_suno_mistakes_are_http_200_with_a_body_code(
    client: Client, change: Body, code: int, message: str
) -> None:
    """Suno refuses with HTTP 200: 400 for missing or mistyped fields, 413 for overlong ones."""
    body = {name: value for name, value in (suno_body() | change).items() if value is not None}
    reply = await client.post(SUNO, body)
    assert (reply.status, reply.body["code"], reply.body["data"]) == (200, code, None)
    assert message in reply.body["msg"]


@pytest.mark.parametrize(
    ("fault", "dashscope", "kling", "suno"),
    [
        ("policy", (400, "DataInspectionFailed"), (400, 1301), (200, 400)),
        ("quota", (400, "Arrearage"), (429, 1102), (200, 429)),
        ("throttled", (429, "Throttling.RateQuota"), (429, 1303), (200, 430)),
        ("maintenance", (503, "InternalError"), (503, 5001), (200, 455)),
        ("500", (500, "InternalError"), (500, 5000), (500, 500)),
        ("error_body", (200, "InternalError"), (200, 5000), (200, 500)),
    ],
)
async def test_create_refusals_have_the_shape_of_the_family(
    client: Client, fault: str, dashscope: object, kling: object, suno: object
) -> None:
    """Each refusal has the family's own status, code and shape, and makes no job."""
    prompt = f"[sandbox: create={fault}]"
    for path, body, expected in (
        (DASHSCOPE, dashscope_body(prompt), dashscope),
        (KLING, kling_body(prompt), kling),
        (SUNO, suno_body(prompt), suno),
    ):
        reply = await client.post(path, body)
        assert (reply.status, reply.body["code"]) == expected
    assert [(entry["outcome"], entry["id"]) for entry in client.creates()] == [(fault, None)] * 3
    assert client.sandbox.state()["jobs"] == []


@pytest.mark.parametrize(("fault", "status"), [("rate_limited", 429), ("503", 503)])
async def test_rate_limit_holds_for_the_first_attempt_only(client: Client, fault: str, status: int) -> None:
    """429 or 503 with Retry-After, then accepted; the next request with that body is limited again."""
    body = kling_body(f"[sandbox: create={fault}]")
    first = await client.post(KLING, body)
    assert (first.status, first.headers["Retry-After"]) == (status, "1")
    assert (await client.post(KLING, body)).body["code"] == 0
    assert (await client.post(KLING, body)).status == status


async def test_bad_gateway_is_an_html_page(client: Client) -> None:
    """502 comes as HTML, from somewhere in between."""
    reply = await client.post(SUNO, suno_body("[sandbox: create=502]"))
    assert (reply.status, reply.headers["Content-Type"].partition(";")[0]) == (502, "text/html")


async def test_cut_after_create_leaves_a_paid_job(client: Client) -> None:
    """The client sees a broken connection, the journal shows that the job was made."""
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.post(DASHSCOPE, dashscope_body("[sandbox: create=cut]"))
    (entry,) = client.creates()
    assert entry["outcome"] == "cut"
    path = f"/dashscope/v1/tasks/{entry['id']}"
    await client.see(path, lambda body: body["output"]["task_status"], "SUCCEEDED")


async def test_connection_refused_before_the_request_makes_no_job(client: Client) -> None:
    """The client sees the same broken connection, but nothing was made."""
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.post(DASHSCOPE, dashscope_body("[sandbox: create=refused]"))
    assert [(entry["outcome"], entry["id"]) for entry in client.creates()] == [("refused", None)]


async def test_garbled_answer_hides_a_paid_job(client: Client) -> None:
    """HTTP 200 with a page instead of JSON, although the job was made."""
    reply = await client.post(KLING, kling_body("[sandbox: create=garbled]"))
    assert (reply.status, reply.raw[:9]) == (200, b"<!doctype")
    assert client.creates()[0]["id"] is not None


async def test_hung_connection_is_never_answered_and_does_not_delay_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A create that hangs stays open until the sandbox stops, which lets it go and does not wait for its end."""
    monkeypatch.setattr(server, "_SHUTDOWN_S", 60.0)
    async with running() as client:
        hung = asyncio.create_task(client.post(SUNO, suno_body("[sandbox: create=hang]")))
        await until(lambda: client.creates() and client.creates()[0]["outcome"] == "hang")
        assert not hung.done()
        async with asyncio.timeout(10):
            await client.sandbox.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await hung


# Chaos


CREATE_CHAOS = {
    f"create_{fault.name.lower()}": fault
    for fault in CreateFault
    if fault not in {CreateFault.HANG, CreateFault.REFUSED, CreateFault.CUT}
}


@pytest.mark.parametrize(("rate", "fault"), CREATE_CHAOS.items())
async def test_every_create_rate_makes_its_fault(rate: str, fault: CreateFault) -> None:
    """A rate of 1 makes that fault certain for prompts without directives, and for no others."""
    async with running(chaos=Chaos.from_json({rate: 1.0})) as client:
        await client.post(KLING, kling_body())
        calm = await client.post(KLING, kling_body("[sandbox: calm]"))
        assert [entry["outcome"] for entry in client.creates()] == [fault.value, "accepted"]
        assert calm.body["code"] == 0


@pytest.mark.parametrize("rate", ["create_cut", "create_refused"])
async def test_cut_connections_by_chaos(rate: str) -> None:
    """Connections can be cut at random, with or without a job behind them."""
    async with running(chaos=Chaos.from_json({rate: 1.0})) as client:
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.post(KLING, kling_body())
        assert (client.creates()[0]["id"] is not None) == (rate == "create_cut")


async def test_retry_after_can_be_an_http_date() -> None:
    """The date is on the server's clock, rounded up to full seconds."""
    chaos = Chaos(create_rate_limited=1.0, retry_after_s=7, retry_after_date=1.0)
    async with running(chaos=chaos) as client:
        reply = await client.post(SUNO, suno_body())
        wait = parsedate_to_datetime(reply.headers["Retry-After"]) - parsedate_to_datetime(reply.headers["Date"])
        assert 7 <= wait.total_seconds() <= 9


@pytest.mark.parametrize(
    ("rate", "status", "raw"),
    [
        ("poll_rate_limited", 429, b'{"error"'),
        ("poll_throttled", 200, b'{"code":430'),
        ("poll_server_error", 503, b'{"error"'),
        ("poll_bad_gateway", 502, b"<html>"),
        ("poll_html", 200, b"<!doctype"),
        ("poll_empty", 200, b""),
        ("poll_null", 200, b"null"),
    ],
)
async def test_every_poll_rate_makes_its_fault(rate: str, status: int, raw: bytes) -> None:
    """Polls can be answered with every fault."""
    async with running(chaos=Chaos.from_json({rate: 1.0})) as client:
        task_id = (await client.post(SUNO, suno_body())).body["data"]["taskId"]
        reply = await client.get(f"/suno/query/task?taskId={task_id}")
        assert (reply.status, reply.raw[: len(raw) or None]) == (status, raw)


@pytest.mark.parametrize("rate", ["poll_cut", "poll_hang"])
async def test_polls_can_go_unanswered(rate: str) -> None:
    """A poll's connection can be cut, or never answered."""
    async with running(chaos=Chaos.from_json({rate: 1.0})) as client:
        task_id = (await client.post(SUNO, suno_body())).body["data"]["taskId"]
        timeout = aiohttp.ClientTimeout(total=0.1 if rate == "poll_hang" else WITHIN_S)
        with pytest.raises((aiohttp.ClientConnectionError, TimeoutError)):
            await client.get(f"/suno/query/task?taskId={task_id}", timeout=timeout)


@pytest.mark.parametrize("kind", ["policy", "error", "invalid", "silent", "canceled"])
async def test_every_failure_rate_fails_jobs(kind: str) -> None:
    """Accepted jobs can fail at random, with each fault."""
    async with running(chaos=Chaos.from_json({f"fail_{kind}": 1.0}), duration_s=0) as client:
        made = (await client.post(KLING, kling_body())).body["data"]["task_id"]
        assert (await client.get(f"{KLING}/{made}")).body["data"]["task_status"] == "failed"


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({"callback_duplicate": 1}, ["text", "text", "first", "first", "complete", "complete"]),
        ({"callback_reordered": 1}, ["complete", "first", "text"]),
        ({"callback_early": 1}, ["text", "first", "complete"]),
        ({"callback_late": 1, "callback_late_s": 0.1}, ["text", "first", "complete"]),
    ],
)
async def test_callback_rates(receiver: Receiver, rates: Body, expected: list[str]) -> None:
    """Callbacks can be duplicated, reordered, early and late at random."""
    async with running(chaos=Chaos.from_json(rates)) as client:
        await client.post(SUNO, suno_body(callback_url=receiver.url))
        assert phases(await receiver.wait(len(expected))) == expected


async def test_flaky_polls_fail_every_second_time(client: Client) -> None:
    """`poll=flaky` gives polls 1, 3, 5 … changing faults and answers 2, 4, 6 …."""
    body = kling_body("[sandbox: poll=flaky; duration=0]")
    path = f"{KLING}/{(await client.post(KLING, body)).body['data']['task_id']}"
    replies = [await client.get(path) for _ in range(8)]
    assert [reply.status for reply in replies[::2]] == [502, 200, 429, 200]
    assert all(reply.body["data"]["task_status"] == "succeed" for reply in replies[1::2])


async def play(client: Client) -> list[object]:
    """Send a fixed sequence of requests and write down what the client can see."""
    seen: list[object] = []
    for n in range(30):
        reply = await client.post(SUNO, suno_body(f"song {n}"))
        seen.append((reply.status, reply.raw))
        if reply.status == 200 and reply.raw[:1] == b"{" and reply.body["data"]:
            path = f"/suno/query/task?taskId={reply.body['data']['taskId']}"
            seen += [(await client.get(path)).status for _ in range(3)]
        await client.post(KLING, kling_body(f"film {n}"))
    seen += [(entry["route"], entry["outcome"], entry["id"]) for entry in client.creates()]
    return seen


async def test_same_seed_and_requests_give_the_same_run() -> None:
    """Statuses, bodies and ids repeat under one seed and differ under another."""
    chaos = Chaos(create_policy=0.2, create_rate_limited=0.2, create_garbled=0.1, poll_server_error=0.3, poll_html=0.3)
    runs = []
    for seed in (7, 7, 8):
        async with running(seed=seed, chaos=chaos, duration_s=60) as client:
            runs.append(await play(client))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


async def test_traffic_on_one_route_does_not_change_the_luck_of_another() -> None:
    """Outcomes of a route depend on its own ordinals only."""
    chaos = Chaos(create_policy=0.5)
    outcomes = []
    for with_noise in (False, True):
        async with running(chaos=chaos) as client:
            for _ in range(12):
                if with_noise:
                    await client.post(DASHSCOPE, dashscope_body())
                await client.post(KLING, kling_body())
            outcomes.append([e["outcome"] for e in client.creates() if e["route"] == "kling.omni-video"])
    assert outcomes[0] == outcomes[1]
    assert set(outcomes[0]) == {"accepted", "policy"}


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        ({"create_polcy": 1}, "unknown chaos field create_polcy"),
        ({"create_policy": 1.5}, "0..1"),
        ({"create_policy": True}, "number"),
        ({"latency_min_s": 2, "latency_max_s": 1}, "less than"),
        ({"retry_after_s": 0.5}, "must be an integer"),
        ([], "object"),
    ],
)
def test_chaos_refuses_invalid_values(payload: object, complaint: str) -> None:
    """A misspelt field or an impossible value is one clear error."""
    with pytest.raises(ValueError, match=re.escape(complaint)):
        Chaos.from_json(payload)


# Callbacks


def phases(bodies: list[Body]) -> list[str]:
    """The phase or status of each callback, whatever its dialect."""
    return [(b["data"] if "code" in b else b).get("callbackType") or b["task_status"] for b in bodies]


async def test_suno_callbacks_are_bare_and_come_in_phases(client: Client, receiver: Receiver) -> None:
    """Text without tracks, first with one URL, complete with both; no outer wrapper."""
    made = await client.post(SUNO, suno_body(callback_url=receiver.url))
    text, first, complete = await receiver.wait(3)
    assert phases([text, first, complete]) == ["text", "first", "complete"]
    assert text == {"callbackType": "text", "task_id": made.body["data"]["taskId"], "data": []}
    assert [bool(track["audio_url"]) for track in first["data"]] == [True, False]
    assert [bool(track["audio_url"]) for track in complete["data"]] == [True, True]


async def test_suno_callbacks_can_be_wrapped(receiver: Receiver) -> None:
    """The knob gives the upstream's {code, msg, data}, and its failure phase."""
    async with running(suno_callbacks="wrapped") as client:
        await client.post(SUNO, suno_body("[sandbox: fail=error]", receiver.url))
        text, error = await receiver.wait(2)
    assert (text["code"], text["data"]["callbackType"], text["data"]["data"]) == (200, "text", None)
    assert (error["code"], error["data"]["callbackType"], error["data"]["data"]) == (501, "error", None)


async def test_bare_suno_failure_sends_no_callback(client: Client, receiver: Receiver) -> None:
    """AnyInt documents no failure phase: after the text stage only the poll shows it."""
    made = await client.post(SUNO, suno_body("[sandbox: fail=error]", receiver.url))
    path = f"/suno/query/task?taskId={made.body['data']['taskId']}"
    await client.see(path, lambda body: body["data"] and body["data"]["status"], "GENERATE_AUDIO_FAILED")
    assert phases(await receiver.wait(1)) == ["text"]


async def test_kling_calls_back_on_every_change(client: Client, receiver: Receiver) -> None:
    """submitted, processing and succeed arrive as flat objects; only the last has a result."""
    await client.post(KLING, kling_body(callback_url=receiver.url))
    bodies = await receiver.wait(3)
    assert phases(bodies) == ["submitted", "processing", "succeed"]
    assert [("task_result" in body) for body in bodies] == [False, False, True]
    assert bodies[2]["task_info"] == {"parent_video": None, "external_task_id": "job-1"}


async def test_kling_uses_the_newer_field_names_on_request(client: Client, receiver: Receiver) -> None:
    """`dialect=new` gives id, status `succeeded` and outputs, in callbacks and polls."""
    prompt = "[sandbox: dialect=new; duration=0]"
    made = await client.post(KLING, kling_body(prompt, receiver.url))
    data = (await client.get(f"{KLING}/{made.body['data']['task_id']}")).body["data"]
    assert (data["status"], len(data["outputs"])) == ("succeeded", 1)
    assert [body["status"] for body in await receiver.wait(3)][-1] == "succeeded"


@pytest.mark.parametrize(
    ("directive", "expected"),
    [
        ("duplicate", ["text", "text", "first", "first", "complete", "complete"]),
        ("reordered", ["complete", "first", "text"]),
        ("reordered,duplicate", ["complete", "complete", "first", "first", "text", "text"]),
    ],
)
async def test_callbacks_arrive_as_scripted(
    client: Client, receiver: Receiver, directive: str, expected: list[str]
) -> None:
    """Duplicates are byte-equal and adjacent; reordered ones come last first."""
    await client.post(SUNO, suno_body(f"[sandbox: callback={directive}]", receiver.url))
    bodies = await receiver.wait(len(expected))
    assert phases(bodies) == expected
    if "duplicate" in directive:
        assert all(a == b for a, b in list(pairwise(bodies))[::2])


async def test_early_callback_comes_before_the_create_is_answered(client: Client, receiver: Receiver) -> None:
    """When the client gets the id, the receiver already has the first callback."""
    made = await client.post(SUNO, suno_body("[sandbox: callback=early]", receiver.url))
    assert phases(receiver.bodies)[:1] == ["text"]
    assert receiver.bodies[0]["task_id"] == made.body["data"]["taskId"]
    assert phases(await receiver.wait(3)) == ["text", "first", "complete"]


async def test_without_early_no_callback_overtakes_the_answer(client: Client, receiver: Receiver) -> None:
    """Even Kling's submitted callback is only sent once the create has been answered."""
    await client.post(KLING, kling_body(callback_url=receiver.url))
    assert receiver.bodies == []
    assert phases(await receiver.wait(3))[0] == "submitted"


async def test_lost_and_undeliverable_callbacks_are_recorded_and_not_sent(client: Client, receiver: Receiver) -> None:
    """A lost callback or one to a foreign host is recorded and not sent."""
    await client.post(SUNO, suno_body("[sandbox: callback=lost]", receiver.url))
    await client.post(SUNO, suno_body("x", "http://192.0.2.1/callbacks/suno/token"))

    def answers() -> list[str]:
        return sorted(entry["answer"] for entry in client.sandbox.state()["callbacks"])

    await until(lambda: len(answers()) == 6)
    assert answers() == ["lost"] * 3 + ["undeliverable"] * 3
    assert receiver.bodies == []


async def test_late_callbacks_come_after_the_poll_shows_the_end(receiver: Receiver) -> None:
    """`callback=late` holds each callback back by the knob, beyond the end of a job that is shorter."""
    sent: list[float] = []

    def on_event(event: str, _facts: object) -> None:
        if event == "callback.sent":
            sent.append(time.monotonic())

    async with running(chaos=Chaos(callback_late_s=0.6), duration_s=0.1, on_event=on_event) as client:
        made = await client.post(SUNO, suno_body("[sandbox: callback=late]", receiver.url))
        assert phases(await receiver.wait(3)) == ["text", "first", "complete"]
        await until(lambda: len(sent) == 3)
        job = find_job(client.sandbox, made.body["data"]["taskId"])
        for at, begins_s in zip(sent, (0.035, 0.07, 0.1), strict=True):
            assert at - job.born_s >= 0.6 + begins_s


async def test_failed_callbacks_are_retried_until_received(client: Client, receiver: Receiver) -> None:
    """A receiver that recovers sees each callback until it answers 200, and not once more."""
    receiver.statuses = [500, 500, 500, 500]
    await client.post(SUNO, suno_body("[sandbox: stage=hold; duration=0]", receiver.url))
    await receiver.wait(6)
    await until(lambda: len(client.sandbox.state()["callbacks"]) == 6)
    entries = client.sandbox.state()["callbacks"]
    by_phase = {
        phase: [(e["attempt"], e["http_status"]) for e in entries if e["phase"] == phase] for phase in ("text", "first")
    }
    tried = [status for attempts in by_phase.values() for _, status in attempts]
    assert sorted(tried) == [200, 200, 500, 500, 500, 500]
    assert all([n for n, _ in attempts] == [*range(1, len(attempts) + 1)] for attempts in by_phase.values())


async def test_callback_retries_end(receiver: Receiver) -> None:
    """After three retries delivery stops."""
    receiver.statuses = [503] * 50
    async with running() as client:
        await client.post(SUNO, suno_body("[sandbox: duration=0]", receiver.url))
        await receiver.wait(12)
        await until(lambda: len(client.sandbox.state()["callbacks"]) == 12)
        attempts = [entry["attempt"] for entry in client.sandbox.state()["callbacks"]]
    assert sorted(attempts) == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1/x", True),
        ("http://127.9.9.9/x", True),
        ("http://[::1]:8/x", True),
        ("http://localhost/x", True),
        ("http://localhost.example.com/x", False),
        ("http://127.0.0.1.example.com/x", False),
        ("http://10.0.0.1/x", False),
        ("http://127.0.0.1@example.com/x", False),
        ("ftp://127.0.0.1/x", False),
        ("http://[::1/x", False),
        ("", False),
    ],
)
def test_only_loopback_is_ever_contacted(url: str, expected: bool) -> None:
    """Names that only resemble this machine are not loopback."""
    assert is_loopback(url) is expected


# Directives


async def test_unknown_directives_are_refused(client: Client) -> None:
    """A misspelt directive is an error, or a test with it would prove nothing."""
    for prompt in ("[sandbox: fial=policy]", "[sandbox: fail=polcy]", "[sandbox: duration=soon]"):
        reply = await client.post(KLING, kling_body(prompt))
        assert (reply.status, reply.body["error"]["code"]) == (400, "sandbox_directive")
    assert {entry["outcome"] for entry in client.creates()} == {"bad_directive"}


def test_the_list_of_directives_is_complete_and_documented() -> None:
    """Each example parses, each value parses, and the module docstring names all of them."""
    documentation = directives.__doc__ or ""
    for directive in DIRECTIVES:
        assert directives.parse_directives(f"x [sandbox: {directive.example}] y").scripted
        assert f"\n{directive.name}:" in documentation
        for value in directive.values:
            assert directives.parse_directives(f"[sandbox:{directive.name}={value}]").scripted
            assert f"``{value}``" in documentation


async def test_success_without_url(client: Client) -> None:
    """`url=missing` succeeds without an output in every family; `url=late` shows it later."""
    prompt = "[sandbox: url=missing; duration=0]"
    made = (await client.post(DASHSCOPE, dashscope_body(prompt))).body["output"]["task_id"]
    output = (await client.get(f"/dashscope/v1/tasks/{made}")).body["output"]
    assert (output["task_status"], "video_url" in output) == ("SUCCEEDED", False)
    made = (await client.post(KLING, kling_body(prompt))).body["data"]["task_id"]
    assert (await client.get(f"{KLING}/{made}")).body["data"]["task_result"] == {"videos": []}
    made = (await client.post(SUNO, suno_body(prompt))).body["data"]["taskId"]
    tracks = (await client.get(f"/suno/query/task?taskId={made}")).body["data"]["response"]["sunoData"]
    assert [track["audioUrl"] for track in tracks] == ["", ""]
    body = dashscope_body("[sandbox: url=late; duration=100]")
    made = (await client.post(DASHSCOPE, body)).body["output"]["task_id"]
    shown = []
    for seconds in (150, 60):
        pass_time(client.sandbox, made, seconds)
        output = (await client.get(f"/dashscope/v1/tasks/{made}")).body["output"]
        shown.append((output["task_status"], "video_url" in output))
    assert shown == [("SUCCEEDED", False), ("SUCCEEDED", True)]


@pytest.mark.parametrize(
    ("directive", "status"),
    [
        ("stage=hold; duration=0", "FIRST_SUCCESS"),
        ("stage=callback_exception; duration=0", "CALLBACK_EXCEPTION"),
        ("stage=strange; duration=1000", "QUEUED_V2"),
    ],
)
async def test_odd_stages(client: Client, directive: str, status: str) -> None:
    """Jobs that never finish, undocumented statuses, and CALLBACK_EXCEPTION with outputs."""
    made = (await client.post(SUNO, suno_body(f"[sandbox: {directive}]"))).body["data"]["taskId"]
    pass_time(client.sandbox, made, 500)
    data = (await client.get(f"/suno/query/task?taskId={made}")).body["data"]
    assert data["status"] == status


async def test_gone_ids_are_not_found(client: Client) -> None:
    """`poll=gone`: the create is accepted, and the id is unknown ever after."""
    made = (await client.post(KLING, kling_body("[sandbox: poll=gone]"))).body["data"]["task_id"]
    assert (await client.get(f"{KLING}/{made}")).body["code"] == 1203


# Files


async def finished_video(client: Client, prompt: str = "[sandbox: duration=0]") -> tuple[str, str]:
    """A finished DashScope job: the query path, and the URL of its video."""
    made = (await client.post(DASHSCOPE, dashscope_body(prompt))).body["output"]["task_id"]
    path = f"/dashscope/v1/tasks/{made}"
    return path, (await client.get(path)).body["output"]["video_url"]


@pytest.mark.parametrize(
    ("wanted", "start", "stop"), [("bytes=0-99", 0, 100), ("bytes=100-", 100, None), ("bytes=-10", -10, None)]
)
async def test_ranges_are_served(client: Client, wanted: str, start: int, stop: int | None) -> None:
    """206 with Content-Range and exactly the bytes asked for."""
    _, url = await finished_video(client)
    full = (await client.get(url)).raw
    part = await client.get(url, headers={"Range": wanted})
    assert (part.status, part.raw) == (206, full[start:stop])
    first = start % len(full)
    last = first + len(part.raw) - 1
    assert part.headers["Content-Range"] == f"bytes {first}-{last}/{len(full)}"


async def test_absurd_ranges_are_416(client: Client) -> None:
    """A range beyond the end is refused with the length."""
    _, url = await finished_video(client)
    reply = await client.get(url, headers={"Range": "bytes=999999999-"})
    assert reply.status == 416
    assert reply.headers["Content-Range"].startswith("bytes */")


async def test_urls_expire_and_cannot_be_forged(monkeypatch: pytest.MonkeyPatch) -> None:
    """403 after expiry, for a changed Expires and for a forged token; a later poll gives a fresh URL."""
    clock = url_clock(monkeypatch)
    async with running(url_ttl_s=2000.0) as client:
        path, url = await finished_video(client)
        clock.advance(1000)
        assert (await client.get(url)).status == 200
        assert (await client.get(url.replace("Expires=", "Expires=9"))).status == 403
        assert (await client.get(f"/files/{'0' * 32}/video-0.mp4?Expires=1")).status == 403
        clock.advance(1000)
        assert (await client.get(url)).status == 403
        fresh = (await client.get(path)).body["output"]["video_url"]
        assert fresh != url
        assert (await client.get(fresh)).status == 200


async def test_a_download_can_break_half_way_once(client: Client) -> None:
    """`file=cut`: the first download ends early, the second is complete."""
    _, url = await finished_video(client, "[sandbox: file=cut; duration=0]")
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.get(url)
    assert len((await client.get(url)).raw) > 10_000


# Admin


async def test_state_lists_what_happened(client: Client, receiver: Receiver) -> None:
    """Creates with digest and idempotency key, polls by route, callbacks without their token."""
    body = suno_body("[sandbox: duration=0]", receiver.url)
    made = await client.post(SUNO, body, headers={"Idempotency-Key": "k-1"})
    task_id = made.body["data"]["taskId"]
    await client.get(f"/suno/query/task?taskId={task_id}")
    await receiver.wait(3)
    await until(lambda: len(client.sandbox.state()["callbacks"]) == 3)

    state = (await client.get("/sandbox/state", headers={"Authorization": ""})).body

    (create,) = state["creates"]
    assert (create["ordinal"], create["route"], create["id"]) == (1, "suno.generate", task_id)
    assert (create["outcome"], create["idempotency_key"]) == ("accepted", "k-1")
    assert re.fullmatch(r"[0-9a-f]{64}", create["digest"])
    assert state["polls"] == {"GET /suno/query/task": 1}
    assert [entry["phase"] for entry in state["callbacks"]] == ["text", "first", "complete"]
    assert state["callbacks"][0]["url_path"] == "/callbacks/suno/[redacted]"
    assert state["callbacks"][0]["answer"] == {"outcome": "applied"}
    assert state["jobs"][0]["stage"] == "succeeded"
    assert DEFAULT_KEY not in json.dumps(state)


def test_redaction_drops_the_query() -> None:
    """The end of the path and the query are redacted."""
    assert redact_path("http://127.0.0.1/callbacks/kling/abc/def?token=1") == "/callbacks/kling/[redacted]"
    assert redact_path("http://127.0.0.1/cb?token=1") == "/cb"


async def test_chaos_can_be_replaced_while_it_runs(client: Client) -> None:
    """PUT replaces all fields; what is wrong is 400 and changes nothing."""
    reply = await client.call("PUT", "/sandbox/chaos", json={"create_quota": 1.0})
    assert (reply.status, reply.body["create_quota"]) == (200, 1.0)
    assert (await client.post(KLING, kling_body())).body["code"] == 1102
    for bad in (b'{"create_qota": 1}', b"{"):
        assert (await client.call("PUT", "/sandbox/chaos", data=bad)).status == 400
    assert (await client.get("/sandbox/chaos")).body["create_quota"] == 1.0
    assert client.sandbox.chaos == Chaos(create_quota=1.0)
    await client.call("PUT", "/sandbox/chaos", json={})
    assert (await client.post(KLING, kling_body())).body["code"] == 0


async def test_reset_clears_everything_and_never_repeats_an_id(client: Client) -> None:
    """Counts are reset; ids do not, a tracker may still know the old ones."""
    before = (await client.post(KLING, kling_body())).body["data"]["task_id"]
    await client.call("PUT", "/sandbox/chaos", json={"create_quota": 1.0})
    assert (await client.call("POST", "/sandbox/reset")).status == 200
    state = client.sandbox.state()
    assert (state["creates"], state["jobs"], state["chaos"]["create_quota"]) == ([], [], 0.0)
    after = (await client.post(KLING, kling_body())).body["data"]["task_id"]
    assert client.creates()[0]["ordinal"] == 1
    assert after != before


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", ""])
async def test_it_listens_on_loopback_only(host: str) -> None:
    """Any other host is refused before a socket is opened."""
    with pytest.raises(ValueError, match="loopback only"):
        await Sandbox().start(host=host)


async def test_an_outage_can_be_played(client: Client) -> None:
    """Stopped and started again on the same port, it still knows its jobs."""
    made = (await client.post(KLING, kling_body("[sandbox: duration=0]"))).body["data"]["task_id"]
    port = int(client.sandbox.base_url.rpartition(":")[2])
    await client.sandbox.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.get(f"{KLING}/{made}")
    await client.sandbox.start(port=port)
    assert (await client.get(f"{KLING}/{made}")).body["data"]["task_status"] == "succeed"


async def test_the_observer_is_called_with_events() -> None:
    """`on_event` gets dotted past facts with fields."""
    events: list[tuple[str, Body]] = []
    async with running(on_event=lambda event, facts: events.append((event, facts))) as client:
        await client.post(KLING, kling_body())
    assert [event for event, _ in events] == ["sandbox.started", "create.finished", "sandbox.stopped"]
    assert events[1][1]["outcome"] == "accepted"


# The seam for further families


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo(SyncRoute):
    """A paid route that answers at once."""

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Require a prompt."""
        return None if call.body.get("prompt") else json_answer({"wrong": True}, 400)

    def refuse(self, refusal: Refusal, call: Call) -> Answer:
        """Name the refusal."""
        return json_answer({"refused": refusal.value}, 400)

    def result(self, call: Call, fate: JobFate, context: Context) -> Answer:
        """Return the model of the path, and how it fails."""
        return json_answer({"model": call.params["model"], "fault": fate.fault})


@dataclass(frozen=True, slots=True, kw_only=True)
class Models(ReadRoute):
    """A free route."""

    def read(self, call: Call, context: Context) -> Answer:
        """Return an empty list."""
        return json_answer({"data": []})


async def test_further_families_need_no_more_than_their_routes() -> None:
    """Synchronous and free routes get keys, directives, journal and faults from the shared parts."""
    routes = (Echo(name="echo.say", path="/echo/{model}:say"), Models(method="GET", path="/echo/models"))
    async with running(routes=routes) as client:
        said = await client.post("/echo/m-1:say", {"prompt": "[sandbox: fail=policy]"})
        assert said.body == {"model": "m-1", "fault": "policy"}
        refused = await client.post("/echo/m-1:say", {"prompt": "[sandbox: create=quota]"})
        assert refused.body == {"refused": "quota"}
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.post("/echo/m-1:say", {"prompt": "[sandbox: create=cut]"})
        assert (await client.post("/echo/m-1:say", {})).status == 400
        assert (await client.get("/echo/models")).body == {"data": []}
        assert (await client.get("/echo/models", headers={"Authorization": ""})).status == 401
        assert [entry["outcome"] for entry in client.creates()] == ["accepted", "quota", "cut", "invalid"]


def test_routes_that_clash_are_refused() -> None:
    """Two routes of one name are refused before anything is served."""
    route = Echo(name="echo.say", path="/echo/{model}:say")
    with pytest.raises(ValueError, match=r"echo\.say"):
        Sandbox(routes=(route, route))


# Media


def boxes(raw: bytes) -> dict[str, bytes]:
    """The ISO boxes at one level."""
    found = {}
    while raw:
        size, kind = struct.unpack(">I4s", raw[:8])
        assert 8 <= size <= len(raw)
        found[kind.decode()] = raw[8:size]
        raw = raw[size:]
    return found


def test_mp4_is_valid() -> None:
    """The boxes nest, and the sample table points at H.264 IDR slices inside mdat."""
    raw = make_media(Media.MP4, "job", 0)
    top = boxes(raw)
    assert list(top) == ["ftyp", "moov", "mdat"]
    stbl = boxes(boxes(boxes(boxes(boxes(top["moov"])["trak"])["mdia"])["minf"])["stbl"])
    count = struct.unpack(">I", stbl["stsz"][8:12])[0]
    sizes = struct.unpack(f">{count}I", stbl["stsz"][12:])
    offset = struct.unpack(">I", stbl["stco"][8:12])[0]
    assert sum(sizes) == len(top["mdat"])
    assert raw[offset:].startswith(top["mdat"])
    for size in sizes:
        length, header = struct.unpack(">IB", raw[offset : offset + 5])
        assert (length, header & 0x1F) == (size - 4, 5)
        offset += size


def test_png_is_valid() -> None:
    """Chunks have right checksums, and the pixels have the promised size."""
    raw = make_media(Media.PNG, "job", 0)
    assert raw.startswith(b"\x89PNG\r\n\x1a\n")
    rest, chunks = raw[8:], {}
    while rest:
        size, kind = struct.unpack(">I4s", rest[:8])
        assert struct.unpack(">I", rest[8 + size : 12 + size])[0] == zlib.crc32(rest[4 : 8 + size])
        chunks[kind], rest = rest[8 : 8 + size], rest[12 + size :]
    assert list(chunks) == [b"IHDR", b"IDAT", b"tEXt", b"IEND"]
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    assert len(zlib.decompress(chunks[b"IDAT"])) == height * (1 + 3 * width)


def test_wav_is_valid_and_not_silent() -> None:
    """The standard library reads it, one second of sound."""
    with wave.open(BytesIO(make_media(Media.WAV, "job", 0))) as sound:
        assert sound.getnframes() == sound.getframerate() == 8000
        assert any(sound.readframes(100))


def test_mp3_is_a_chain_of_layer_iii_frames() -> None:
    """After the ID3 tag, every 96 bytes a frame header, to the end."""
    raw = make_media(Media.MP3, "job", 0)
    assert raw[:3] == b"ID3"
    start = 10 + int.from_bytes(raw[6:10], "big")  # shorter than 128 bytes: synchsafe is plain
    frames = raw[start:]
    assert len(frames) % 96 == 0
    assert {frames[i : i + 4].hex() for i in range(0, len(frames), 96)} == {"fffb14c0"}


@pytest.mark.parametrize("media", list(Media))
def test_media_are_deterministic_and_different(media: Media) -> None:
    """Same job and number, same bytes; another job or number, other bytes of the same size."""
    first = make_media(media, "job", 0)
    make_media.cache_clear()
    assert make_media(media, "job", 0) == first
    others = {make_media(media, "job", 1), make_media(media, "other", 0)}
    assert len({first, *others}) == 3
    assert {len(other) for other in others} == {len(first)}
