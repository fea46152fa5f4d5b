"""Every synchronous route of the sandbox gateway: results, refusals, failures, streams; and the lists of models."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.kits.sandbox import Body, Client, Reply
from tracker.sandbox import DEFAULT_KEY, Chaos
from tracker.sandbox.families.registry import list_routes
from tracker.sandbox.routes import SyncRoute

ANTHROPIC = {"Authorization": "", "x-api-key": DEFAULT_KEY, "anthropic-version": "2023-06-01"}
GEMINI = "/gemini/v1beta/models/gemini-3.1-flash-image-preview:generateContent"
PNG = b"\x89PNG\r\n\x1a\n"


def said(prompt: str) -> list[Body]:
    """A conversation whose last user message is the prompt; an earlier directive must not count."""
    return [
        {"role": "user", "content": "[sandbox: no-such-directive]"},
        {"role": "assistant", "content": "Noted."},
        {"role": "user", "content": [{"type": "text", "text": prompt}]},
    ]


def gemini(prompt: str) -> Body:
    """A Gemini request with a picture in it."""
    picture = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(PNG).decode()}}
    return {"contents": [{"role": "user", "parts": [picture, {"text": prompt}]}]}


@dataclass(frozen=True, kw_only=True)
class Sync:
    """One synchronous route as a client sees it.

    Attributes:
        path: Where it is asked.
        body: Makes a valid request of a prompt.
        read: The output of an answer; something false if there is none.
        keys: What a good answer holds.
        errors: What an answer to `create=throttled`, a `fail=error` and an empty body holds: status, body code.
        code: Where an answer has its code.
        headers: Further headers.
    """

    path: str
    body: Callable[[str], Body]
    read: Callable[[Any], object]
    keys: set[str]
    errors: list[tuple[int, object]]
    code: Callable[[Any], object] = lambda body: body["error"]["code"]
    headers: dict[str, str] = field(default_factory=dict)


def suno(tail: str, body: Body, prompt_key: str, read: Callable[[Body], object]) -> Sync:
    """A Suno route: HTTP 200, the body's code decides."""
    return Sync(
        path=f"/suno/{tail}",
        body=lambda prompt: body | {prompt_key: prompt},
        read=lambda answer: answer["data"] and read(answer["data"]),
        keys={"code", "msg", "data"},
        errors=[(200, 430), (200, 500), (200, 400)],
        code=lambda answer: answer["code"],
    )


CLIP: Body = {"taskId": "song-1", "audioId": "clip-1"}
ANTHROPIC_ERRORS: list[tuple[int, object]] = [
    (429, "rate_limit_error"),
    (500, "api_error"),
    (400, "invalid_request_error"),
]
OPENAI_ERRORS: list[tuple[int, object]] = [
    (429, "rate_limit_exceeded"),
    (500, "server_error"),
    (400, "missing_parameter"),
]
ROUTES = {
    "suno.style-generate": suno("style-generate", {}, "content", lambda data: data["result"]),
    "suno.timestamped-lyrics": suno("timestamped-lyrics", CLIP, "note", lambda data: data["alignedWords"]),
    "suno.generate-persona": suno(
        "generate-persona", {**CLIP, "name": "n"}, "description", lambda data: data["personaId"]
    ),
    "dashscope.image": Sync(
        path="/dashscope/v1/services/aigc/multimodal-generation/generation",
        body=lambda prompt: {"model": "qwen-image", "input": {"messages": said(prompt)}},
        read=lambda answer: answer["output"]["choices"][0]["message"]["content"][0].get("image"),
        keys={"output", "usage", "request_id"},
        errors=[(429, "Throttling.RateQuota"), (500, "InternalError.Algo"), (400, "InvalidParameter")],
        code=lambda answer: answer["code"],
    ),
    "gemini.generate": Sync(
        path=GEMINI,
        body=gemini,
        read=lambda answer: [part for part in answer["candidates"][0]["content"]["parts"] if "inlineData" in part],
        keys={"candidates", "usageMetadata", "modelVersion", "responseId"},
        errors=[(429, 429), (500, 500), (400, 400)],
    ),
    "openai.chat": Sync(
        path="/openai/v1/chat/completions",
        body=lambda prompt: {"model": "m", "messages": said(prompt)},
        read=lambda answer: answer["choices"][0]["message"]["content"],
        keys={"id", "object", "created", "model", "choices", "usage"},
        errors=OPENAI_ERRORS,
    ),
    "openai.images": Sync(
        path="/openai/v1/images/generations",
        body=lambda prompt: {"model": "kling-v2-1", "prompt": prompt},
        read=lambda answer: answer["data"],
        keys={"created", "data"},
        errors=OPENAI_ERRORS,
    ),
    "anthropic.messages": Sync(
        path="/anthropic/v1/messages",
        body=lambda prompt: {"model": "m", "max_tokens": 9, "messages": said(prompt)},
        read=lambda answer: answer["content"],
        keys={"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"},
        errors=ANTHROPIC_ERRORS,
        code=lambda answer: answer["error"]["type"],
        headers=ANTHROPIC,
    ),
    "anthropic.count-tokens": Sync(
        path="/anthropic/v1/messages/count_tokens",
        body=lambda prompt: {"model": "m", "messages": said(prompt)},
        read=lambda answer: answer.get("input_tokens"),
        keys={"input_tokens"},
        errors=ANTHROPIC_ERRORS,
        code=lambda answer: answer["error"]["type"],
        headers=ANTHROPIC,
    ),
}
every_route = pytest.mark.parametrize("name", ROUTES)


async def ask(client: Client, name: str, script: str = "calm", **more: object) -> Reply:
    """Send a valid request with these directives."""
    route = ROUTES[name]
    body = route.body(f"Draw a cat [sandbox: {script}]") | more
    return await client.post(route.path, body, headers=route.headers)


def test_every_synchronous_route_is_in_the_table() -> None:
    """A route that is added without a row here would go untested."""
    assert {route.name for route in list_routes() if isinstance(route, SyncRoute)} == {*ROUTES}


@every_route
async def test_a_result_comes_at_once(client: Client, name: str) -> None:
    """HTTP 200 with the family's fields and an output; the journal has the prompt."""
    reply = await ask(client, name)
    assert reply.status == 200
    assert reply.body.keys() == ROUTES[name].keys
    assert ROUTES[name].read(reply.body)
    (entry,) = client.creates()
    assert (entry["route"], entry["outcome"]) == (name, "accepted")
    assert "Draw a cat" in entry["prompt"]


@every_route
async def test_success_can_come_without_an_output(client: Client, name: str) -> None:
    """`url=missing`: HTTP 200, and nothing in it."""
    reply = await ask(client, name, "url=missing")
    assert reply.status == 200
    assert not ROUTES[name].read(reply.body)


@every_route
async def test_refusals_failures_and_mistakes_have_the_shape_of_the_family(client: Client, name: str) -> None:
    """Throttled, broken, and asked for nothing: status and code of the family."""
    route = ROUTES[name]
    replies = [
        await ask(client, name, "create=throttled"),
        await ask(client, name, "fail=error"),
        await client.post(route.path, {}, headers=route.headers),
    ]
    assert [(reply.status, route.code(reply.body)) for reply in replies] == route.errors
    assert [entry["outcome"] for entry in client.creates()] == ["throttled", "accepted", "invalid"]


@every_route
async def test_chaos_reaches_every_route(client: Client, name: str) -> None:
    """Rates decide without a directive; misspelt directives are refused."""
    route = ROUTES[name]
    client.sandbox.chaos = Chaos(create_unavailable=1.0)
    assert (await client.post(route.path, route.body("Draw a cat"), headers=route.headers)).status == 503
    wrong = await client.post(route.path, route.body("[sandbox: fial=policy]"), headers=route.headers)
    assert wrong.body["error"]["code"] == "sandbox_directive"


@every_route
@pytest.mark.parametrize("fault", ["policy", "error", "invalid", "silent", "canceled"])
async def test_no_failure_shows_an_output(client: Client, name: str, fault: str) -> None:
    """Whatever the fault: no HTTP 200 with something to download or read."""
    reply = await ask(client, name, f"fail={fault}")
    if reply.status == 200:
        assert not ROUTES[name].read(reply.body)


# Headers


async def test_anthropic_requires_its_own_headers(client: Client) -> None:
    """Bearer is the wrong family: 401 in Anthropic's shape. Without a version: 400."""
    body = ROUTES["anthropic.messages"].body("hello")
    bearer = await client.post("/anthropic/v1/messages", body)
    assert (bearer.status, bearer.body["type"], bearer.body["error"]["type"]) == (401, "error", "authentication_error")
    unversioned = await client.post("/anthropic/v1/messages", body, headers={"x-api-key": DEFAULT_KEY})
    assert (unversioned.status, unversioned.body["error"]["type"]) == (400, "invalid_request_error")


async def test_the_others_require_bearer(client: Client) -> None:
    """Anthropic's header opens nothing else; Google's own opens Gemini."""
    for name, status in (("openai.chat", 401), ("gemini.generate", 401), ("anthropic.messages", 200)):
        route = ROUTES[name]
        assert (await client.post(route.path, route.body("hello"), headers=ANTHROPIC)).status == status
    google = {"Authorization": "", "x-goog-api-key": DEFAULT_KEY}
    assert (await client.post(GEMINI, gemini("hello"), headers=google)).status == 200


# What only one family has


async def test_gemini_refuses_with_http_200(client: Client) -> None:
    """A blocked prompt has no candidates; a withheld picture has a finishReason."""
    blocked = (await ask(client, "gemini.generate", "create=policy")).body
    assert blocked["promptFeedback"] == {"blockReason": "PROHIBITED_CONTENT"}
    assert "candidates" not in blocked
    reasons = []
    for fault in ("policy", "silent"):
        (candidate,) = (await ask(client, "gemini.generate", f"fail={fault}")).body["candidates"]
        reasons.append(candidate["finishReason"])
    text_model = GEMINI.replace("-image", "")
    reply = await client.post(text_model, gemini("[sandbox: fail=policy]"))
    reasons.append(reply.body["candidates"][0]["finishReason"])
    assert reasons == ["IMAGE_SAFETY", "NO_IMAGE", "SAFETY"]


async def test_gemini_shows_thoughts_on_request(client: Client) -> None:
    """A thought may hold a draft, which is not the output; every picture is a PNG."""
    thinking = {"thinkingConfig": {"includeThoughts": True}, "responseModalities": ["TEXT", "IMAGE"]}
    reply = await ask(client, "gemini.generate", generationConfig=thinking)
    parts = reply.body["candidates"][0]["content"]["parts"]
    pictures = [(part.get("thought", False), part["inlineData"]["data"]) for part in parts if "inlineData" in part]
    assert [thought for thought, _ in pictures] == [True, False]
    assert all(base64.b64decode(data).startswith(PNG) for _, data in pictures)
    assert pictures[0][1] != pictures[1][1]


async def test_images_come_by_url_or_inline(client: Client) -> None:
    """By `response_format`; gpt-image models always answer inline."""
    by_url = (await ask(client, "openai.images", n=2)).body["data"]
    assert [(await client.get(image["url"])).raw[:8] for image in by_url] == [PNG, PNG]
    for more in ({"response_format": "b64_json"}, {"model": "gpt-image-1"}):
        (image,) = (await ask(client, "openai.images", **more)).body["data"]
        assert base64.b64decode(image["b64_json"]).startswith(PNG)
    moderated = await ask(client, "openai.images", "fail=policy")
    assert (moderated.status, moderated.body["error"]["code"]) == (400, "moderation_blocked")
    assert (await ask(client, "openai.images", n=11)).status == 400


async def test_dashscope_images_can_be_fetched(client: Client) -> None:
    """As many as were asked for, with their number in `usage`."""
    body = (await ask(client, "dashscope.image", parameters={"n": 2})).body
    content = body["output"]["choices"][0]["message"]["content"]
    assert body["usage"]["image_count"] == len(content) == 2
    assert (await client.get(content[1]["image"])).raw.startswith(PNG)


async def test_a_failed_style_has_flag_2_which_means_working_for_cover_art(client: Client) -> None:
    """`successFlag` is a string here, and 2 is a failure."""
    data = (await ask(client, "suno.style-generate", "fail=policy")).body["data"]
    assert (data["successFlag"], data["result"], data["errorCode"]) == ("2", "", 400)


async def test_refusals_by_content_stop_a_conversation(client: Client) -> None:
    """`content_filter` with a refusal, or stop_reason `refusal` with nothing."""
    (choice,) = (await ask(client, "openai.chat", "fail=policy")).body["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("content_filter", None)
    assert choice["message"]["refusal"]
    message = (await ask(client, "anthropic.messages", "fail=policy")).body
    assert (message["stop_reason"], message["content"]) == ("refusal", [])


# Streams


def read_events(reply: Reply) -> list[tuple[str | None, Any]]:
    """Read server-sent events: name and data."""
    assert (reply.status, reply.headers["Content-Type"].partition(";")[0]) == (200, "text/event-stream")
    events: list[tuple[str | None, Any]] = []
    for block in reply.raw.decode().rstrip("\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        data = fields["data"]
        events.append((fields.get("event"), data if data == "[DONE]" else json.loads(data)))
    return events


async def test_chat_streams_chunks(client: Client) -> None:
    """Pieces of the same text, a reason, the usage if asked for, and [DONE]."""
    complete = (await ask(client, "openai.chat")).body["choices"][0]["message"]["content"]
    events = read_events(await ask(client, "openai.chat", stream=True, stream_options={"include_usage": True}))
    *chunks, usage, done = [data for _, data in events]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == complete
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert (usage["choices"], done) == ([], "[DONE]")
    assert usage["usage"]["total_tokens"] > 0


async def test_messages_stream_named_events(client: Client) -> None:
    """Each event's name is its type; the pieces join to the text."""
    events = read_events(await ask(client, "anthropic.messages", stream=True))
    assert [name for name, _ in events] == [data["type"] for _, data in events]
    assert (events[0][0], events[-1][0]) == ("message_start", "message_stop")
    text = "".join(data["delta"]["text"] for name, data in events if name == "content_block_delta")
    assert text == (await ask(client, "anthropic.messages")).body["content"][0]["text"]


async def test_responses_stream_numbered_events(client: Client) -> None:
    """From created to completed, or failed; what is streamed can be queried; not in the background."""
    body = {"model": "m", "input": "hello", "stream": True}
    events = read_events(await client.post("/openai/v1/responses", body))
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    last = events[-1][1]["response"]
    assert events[-1][0] == "response.completed"
    assert (await client.get(f"/openai/v1/responses/{last['id']}")).body == last
    broken = await client.post("/openai/v1/responses", body | {"input": "[sandbox: fail=error]"})
    assert [name for name, _ in read_events(broken)] == [
        "response.created",
        "response.in_progress",
        "response.failed",
    ]
    assert (await client.post("/openai/v1/responses", body | {"background": True})).status == 400


# Lists of models


@pytest.mark.parametrize(("path", "headers"), [("/openai/v1/models", {}), ("/anthropic/v1/models", ANTHROPIC)])
async def test_models_come_in_pages(client: Client, path: str, headers: dict[str, str]) -> None:
    """One envelope on both routes; pages meet without gap or overlap, forwards and backwards."""
    complete = (await client.get(path, headers=headers)).body
    ids = [model["id"] for model in complete["data"]]
    assert complete.keys() == {"data", "has_more", "first_id", "last_id"}
    assert complete["data"][0].keys() == {"id", "display_name", "type", "created_at"}
    assert (complete["has_more"], complete["first_id"], complete["last_id"]) == (False, ids[0], ids[-1])
    seen: list[str] = []
    page: Body = {"has_more": True}
    while page["has_more"]:
        cursor = f"&after_id={seen[-1]}" if seen else ""
        page = (await client.get(f"{path}?limit=4{cursor}", headers=headers)).body
        seen += [model["id"] for model in page["data"]]
    assert seen == ids
    back = (await client.get(f"{path}?limit=4&before_id={ids[-1]}", headers=headers)).body
    assert ([model["id"] for model in back["data"]], back["has_more"]) == (ids[-5:-1], True)
    for wrong in ("limit=0", "limit=x", "after_id=nothing"):
        assert (await client.get(f"{path}?{wrong}", headers=headers)).status == 400
    assert (await client.get(path, headers={"Authorization": ""})).status == 401
