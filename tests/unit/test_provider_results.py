"""Synchronous replies: results inside them, refusals that come as successes, and every documented error."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kits.providers import AMBIGUOUS, DEFERRED, REFUSED, REGISTRY, create
from tracker.domain.observation import Reading, Submission
from tracker.domain.task import Reason, Status

ACCEPTED = Submission.ACCEPTED
PNG = "iVBORw0KGgo="
URL = "https://cdn.example.com/1.png"
SYNC = [route.name for route in REGISTRY.routes() if route.mode == "sync"]


def chat(message: dict[str, Any], finish: str | None = "stop") -> dict[str, Any]:
    """A chat completion with one choice."""
    return {"id": "chatcmpl-1", "choices": [{"message": message, "finish_reason": finish}]}


def message(*blocks: dict[str, Any], stop: str = "end_turn") -> dict[str, Any]:
    """An Anthropic message."""
    return {"id": "msg_1", "type": "message", "content": list(blocks), "stop_reason": stop}


def candidate(*parts: dict[str, Any], finish: str = "STOP") -> dict[str, Any]:
    """A Gemini answer with one candidate."""
    return {"candidates": [{"content": {"parts": list(parts)}, "finishReason": finish}]}


def response(*items: dict[str, Any], **fields: object) -> dict[str, Any]:
    """A completed OpenAI response."""
    return {"id": "resp_1", "object": "response", "status": "completed", "output": list(items), **fields}


def said(text: str) -> dict[str, Any]:
    """A message item of a response."""
    return {"type": "message", "content": [{"type": "output_text", "text": text}]}


def suno(**data: object) -> dict[str, Any]:
    """A Suno answer."""
    return {"code": 200, "msg": "success", "data": data}


def picture(*content: object) -> dict[str, Any]:
    """A DashScope image answer."""
    return {"output": {"choices": [{"finish_reason": "stop", "message": {"content": list(content)}}]}}


def shown(reading: Reading) -> list[tuple[str, str | None]]:
    """Kind and content of each output."""
    return [(output.kind, output.url or output.text or output.inline) for output in reading.outputs]


@pytest.mark.parametrize(
    ("name", "body", "outputs", "external_id"),
    [
        ("openai.chat", chat({"content": " OK "}), [("text", " OK ")], "chatcmpl-1"),
        (
            "openai.chat",
            chat({"content": [{"type": "text", "text": "a"}, {"text": "b"}]}),
            [("text", "ab")],
            "chatcmpl-1",
        ),
        ("openai.chat", chat({"content": "part"}, "length"), [("text", "part")], "chatcmpl-1"),
        ("openai.chat", chat({"content": None, "tool_calls": [{"id": "c"}]}), [("text", '[{"id":"c"}]')], "chatcmpl-1"),
        ("openai.chat", chat({"content": "a", "refusal": None}), [("text", "a")], "chatcmpl-1"),
        ("openai.images", {"data": [{"url": URL}, {"b64_json": PNG}]}, [("image", URL), ("image", PNG)], None),
        ("openai.images", {"data": [{"url": f"data:image/png;base64,{PNG}"}]}, [("image", PNG)], None),
        ("openai.responses", response(said("a"), said("b")), [("text", "a"), ("text", "b")], "resp_1"),
        (
            "openai.responses",
            response({"type": "reasoning", "summary": []}, {"type": "image_generation_call", "result": PNG}, said("a")),
            [("image", PNG), ("text", "a")],
            "resp_1",
        ),
        (
            "anthropic.messages",
            message({"type": "text", "text": "a"}, {"type": "text", "text": "b"}),
            [("text", "ab")],
            "msg_1",
        ),
        (
            "anthropic.messages",
            message({"type": "thinking", "thinking": "hm"}, {"type": "tool_use", "id": "t"}, stop="tool_use"),
            [("text", '[{"type":"tool_use","id":"t"}]')],
            "msg_1",
        ),
        ("anthropic.count-tokens", {"input_tokens": 0}, [("text", "0")], None),
        (
            "gemini.generate",
            candidate({"text": "Here "}, {"text": "it is"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}),
            [("image", PNG), ("text", "Here it is")],
            None,
        ),
        (
            "gemini.generate",
            candidate({"inline_data": {"mime_type": "audio/wav", "data": PNG}}),
            [("audio", PNG)],
            None,
        ),
        ("gemini.generate", candidate({"text": "hm", "thought": True}, {"text": "a"}), [("text", "a")], None),
        ("gemini.generate", candidate({"text": "part"}, finish="MAX_TOKENS"), [("text", "part")], None),
        (
            "gemini.generate",
            candidate({"inlineData": {"mimeType": "image/png", "data": PNG}}, finish="IMAGE_SAFETY"),
            [("image", PNG)],
            None,
        ),
        ("gemini.generate", candidate({"fileData": {"fileUri": URL, "mimeType": "image/png"}}), [("image", URL)], None),
        ("gemini.generate", candidate({"functionCall": {"name": "f"}}), [("text", '[{"name":"f"}]')], None),
        ("dashscope.image", picture({"image": URL}, {"text": "x"}, {"image": URL}), [("image", URL)], None),
        ("suno.style-generate", suno(result="Pop", successFlag="1", taskId="s"), [("text", "Pop")], "s"),
        ("suno.style-generate", suno(result="Pop", successFlag=1), [("text", "Pop")], None),
        ("suno.style-generate", suno(result="Pop"), [("text", "Pop")], None),
        ("suno.timestamped-lyrics", suno(alignedWords=[{"word": "la"}]), [("text", '[{"word":"la"}]')], None),
        ("suno.generate-persona", suno(personaId="p-1", name="Warm"), [("text", "p-1")], None),
    ],
)
def test_results(name: str, body: object, outputs: list[tuple[str, str]], external_id: str | None) -> None:
    """An answer with a result ends its task at once, with all its outputs and without the model's thoughts."""
    reading = create(name, body)
    assert (reading.submission, reading.status) == (ACCEPTED, Status.SUCCEEDED)
    assert shown(reading) == outputs
    assert reading.external_id == external_id


@pytest.mark.parametrize(
    ("name", "body", "reason", "code", "text"),
    [
        ("openai.chat", chat({"refusal": "I cannot"}), Reason.POLICY_REJECTED, "refusal", "I cannot"),
        ("openai.chat", chat({"content": "part"}, "content_filter"), Reason.POLICY_REJECTED, "content_filter", None),
        ("openai.chat", chat({"content": ""}, "length"), Reason.GENERATION_FAILED, None, None),
        ("openai.chat", {"id": "c", "choices": []}, Reason.GENERATION_FAILED, None, None),
        ("openai.images", {"data": []}, Reason.GENERATION_FAILED, None, None),
        ("openai.images", {"data": [{"b64_json": "%"}]}, Reason.GENERATION_FAILED, None, None),
        (
            "openai.responses",
            response({"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}),
            Reason.POLICY_REJECTED,
            "refusal",
            "no",
        ),
        ("openai.responses", response(), Reason.GENERATION_FAILED, None, None),
        (
            "openai.responses",
            response(said("part"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            Reason.GENERATION_FAILED,
            "max_output_tokens",
            None,
        ),
        (
            "openai.responses",
            response(status="failed", error={"code": "rate_limit_exceeded", "message": "m"}),
            Reason.RATE_LIMITED,
            "rate_limit_exceeded",
            "m",
        ),
        ("anthropic.messages", message(stop="refusal"), Reason.POLICY_REJECTED, "refusal", None),
        ("anthropic.messages", message({"type": "text", "text": ""}), Reason.GENERATION_FAILED, None, None),
        ("gemini.generate", candidate({"text": "no"}, finish="SAFETY"), Reason.POLICY_REJECTED, "SAFETY", "no"),
        ("gemini.generate", candidate(finish="RECITATION"), Reason.POLICY_REJECTED, "RECITATION", None),
        (
            "gemini.generate",
            candidate({"text": "sorry"}, finish="NO_IMAGE"),
            Reason.GENERATION_FAILED,
            "NO_IMAGE",
            "sorry",
        ),
        ("gemini.generate", candidate(), Reason.GENERATION_FAILED, None, None),
        ("gemini.generate", {"promptFeedback": {"blockReason": "OTHER"}}, Reason.POLICY_REJECTED, "OTHER", None),
        (
            "gemini.generate",
            {"candidates": [], "promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "m"}},
            Reason.POLICY_REJECTED,
            "SAFETY",
            "m",
        ),
        ("dashscope.image", picture({"text": "cannot draw"}), Reason.GENERATION_FAILED, None, None),
        ("dashscope.image", picture({"image": "abcd"}), Reason.GENERATION_FAILED, None, None),
        (
            "suno.style-generate",
            suno(result="", successFlag="2", errorCode=400, errorMessage="sensitive words"),
            Reason.POLICY_REJECTED,
            "400",
            "sensitive words",
        ),
        ("suno.style-generate", suno(result="x", successFlag=2), Reason.GENERATION_FAILED, None, None),
        ("suno.timestamped-lyrics", suno(alignedWords=[]), Reason.GENERATION_FAILED, None, None),
    ],
)
def test_refusals_inside_a_success(name: str, body: object, reason: Reason, code: str | None, text: str | None) -> None:
    """A 200 whose content is a refusal or nothing is a failure with its reason and the upstream's message."""
    reading = create(name, body)
    assert (reading.submission, reading.status, reading.reason) == (ACCEPTED, Status.FAILED, reason)
    assert reading.outputs == ()
    error = reading.error
    assert ((error.code, error.message) if error else (None, None)) == (code, text)
    assert error is not None or reading.detail


def test_max_output_tokens_is_not_retryable() -> None:
    """The same request would be cut again."""
    body = response(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert create("openai.responses", body).retryable is False


@pytest.mark.parametrize("name", SYNC)
@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[]", b"7", b"{}", b'{"object": "surprise"}'])
def test_unreadable_results_are_ambiguous(name: str, body: bytes) -> None:
    """An unreadable success may have been charged: it is not sent again."""
    reading = create(name, body)
    assert (reading.submission, reading.status, reading.external_id) == (AMBIGUOUS, None, None)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("openai.chat", {"choices": "x"}),
        ("gemini.generate", {"candidates": 7}),
        ("anthropic.messages", {"content": "a"}),
        ("anthropic.count-tokens", {"input_tokens": "5"}),
        ("anthropic.count-tokens", {"input_tokens": True}),
        ("suno.style-generate", suno(result="", successFlag="0", taskId="s")),
        ("suno.style-generate", suno(successFlag="1")),
        ("suno.timestamped-lyrics", suno()),
        ("suno.generate-persona", suno(name="n")),
        ("suno.generate-persona", {"code": 200, "data": None}),
    ],
)
def test_results_of_another_shape_are_ambiguous(name: str, body: object) -> None:
    """A body outside the contract is neither a result nor a refusal."""
    assert create(name, body).submission is AMBIGUOUS


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (
            "openai.responses",
            {
                "id": "r",
                "status": "completed",
                "output": [
                    {"type": "message", "content": 7},
                    {"type": "message", "content": [{"type": "output_text", "text": "OK"}]},
                ],
            },
        ),
        (
            "gemini.generate",
            {"candidates": [{"content": {"parts": ""}}, {"content": {"parts": [{"text": "OK"}]}}]},
        ),
    ],
)
def test_a_malformed_part_does_not_hide_a_good_one(name: str, body: object) -> None:
    """What was paid for and can be read is the result."""
    assert [output.text for output in create(name, body).outputs] == ["OK"]


def test_a_malformed_choice_does_not_hide_an_image() -> None:
    """The same for images that come in choices."""
    choices = [{"message": {"content": 7}}, {"message": {"content": [{"image": "https://cdn.example.com/1.png"}]}}]
    reading = create("dashscope.image", {"output": {"choices": choices}})
    assert [output.url for output in reading.outputs] == ["https://cdn.example.com/1.png"]
    assert create("dashscope.image", {"output": {"choices": choices[:1]}}).submission is AMBIGUOUS


ANTHROPIC_ERRORS = [
    (400, "invalid_request_error", "max_tokens: Field required", REFUSED, Reason.INVALID_REQUEST),
    (400, "invalid_request_error", "Your credit balance is too low", REFUSED, Reason.QUOTA_EXHAUSTED),
    (400, "invalid_request_error", "Output blocked by content filtering policy", REFUSED, Reason.POLICY_REJECTED),
    (401, "authentication_error", "invalid x-api-key", REFUSED, Reason.AUTH_FAILED),
    (402, "billing_error", "m", REFUSED, Reason.QUOTA_EXHAUSTED),
    (403, "permission_error", "m", REFUSED, Reason.ENTITLEMENT),
    (404, "not_found_error", "model: x", REFUSED, Reason.INVALID_REQUEST),
    (413, "request_too_large", "m", REFUSED, Reason.INVALID_REQUEST),
    (429, "rate_limit_error", "m", DEFERRED, Reason.RATE_LIMITED),
    (429, "rate_limit_error", "You have reached your specified API usage limits", REFUSED, Reason.QUOTA_EXHAUSTED),
    (500, "api_error", "m", REFUSED, Reason.UPSTREAM_UNAVAILABLE),
    (504, "timeout_error", "m", AMBIGUOUS, None),
    (529, "overloaded_error", "Overloaded", DEFERRED, Reason.UPSTREAM_UNAVAILABLE),
]
OPENAI_ERRORS = [
    (400, "invalid_request_error", None, "m", REFUSED, Reason.INVALID_REQUEST),
    (400, "image_generation_user_error", "moderation_blocked", "m", REFUSED, Reason.POLICY_REJECTED),
    (400, "invalid_request_error", "content_policy_violation", "m", REFUSED, Reason.POLICY_REJECTED),
    (400, "invalid_request_error", "context_length_exceeded", "m", REFUSED, Reason.INVALID_REQUEST),
    (401, "invalid_request_error", "invalid_api_key", "m", REFUSED, Reason.AUTH_FAILED),
    (403, "request_forbidden", "unsupported_country_region_territory", "m", REFUSED, Reason.ENTITLEMENT),
    (400, "invalid_request_error", "invalid_value", "m", REFUSED, Reason.INVALID_REQUEST),
    (404, "invalid_request_error", "model_not_found", "m", REFUSED, Reason.INVALID_REQUEST),
    (429, "insufficient_quota", "insufficient_quota", "m", REFUSED, Reason.QUOTA_EXHAUSTED),
    (429, "insufficient_quota", None, "m", REFUSED, Reason.QUOTA_EXHAUSTED),
    (429, "insufficient_quota", "project_spend_limit_exceeded", "m", REFUSED, Reason.QUOTA_EXHAUSTED),
    (429, "requests", "rate_limit_exceeded", "m", DEFERRED, Reason.RATE_LIMITED),
    (500, "server_error", None, "m", REFUSED, Reason.UPSTREAM_UNAVAILABLE),
    (503, "server_error", "server_is_overloaded", "m", DEFERRED, Reason.UPSTREAM_UNAVAILABLE),
]
GEMINI_ERRORS = [
    (400, "INVALID_ARGUMENT", "m", REFUSED, Reason.INVALID_REQUEST),
    (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", REFUSED, Reason.AUTH_FAILED),
    (400, "FAILED_PRECONDITION", "m", REFUSED, Reason.INVALID_REQUEST),
    (403, "PERMISSION_DENIED", "m", REFUSED, Reason.ENTITLEMENT),
    (404, "NOT_FOUND", "m", REFUSED, Reason.INVALID_REQUEST),
    (429, "RESOURCE_EXHAUSTED", "m", DEFERRED, Reason.RATE_LIMITED),
    (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check", REFUSED, Reason.QUOTA_EXHAUSTED),
    (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota. Please retry in 3s.", DEFERRED, Reason.RATE_LIMITED),
    (500, "INTERNAL", "m", REFUSED, Reason.UPSTREAM_UNAVAILABLE),
    (503, "UNAVAILABLE", "The model is overloaded", DEFERRED, Reason.UPSTREAM_UNAVAILABLE),
    (504, "DEADLINE_EXCEEDED", "m", AMBIGUOUS, None),
]


def check_error(reading: Reading, submission: Submission, reason: Reason | None, code: str | None, text: str) -> None:
    """The meaning of an error, and the upstream's message."""
    assert (reading.submission, reading.reason, reading.status) == (submission, reason, None)
    assert reading.error is not None
    assert (reading.error.code, reading.error.message) == (code, text)


@pytest.mark.parametrize(("status", "kind", "text", "submission", "reason"), ANTHROPIC_ERRORS)
@pytest.mark.parametrize("name", ["anthropic.messages", "anthropic.count-tokens"])
def test_anthropic_errors(
    *, name: str, status: int, kind: str, text: str, submission: Submission, reason: Reason | None
) -> None:
    """Each error type means what the documents say; the type replaces a code."""
    body = {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_1"}
    check_error(create(name, body, status), submission, reason, kind, text)


@pytest.mark.parametrize(("status", "kind", "code", "text", "submission", "reason"), OPENAI_ERRORS)
@pytest.mark.parametrize("name", ["openai.chat", "openai.images", "openai.responses", "openai.video"])
def test_openai_errors(
    *,
    name: str,
    status: int,
    kind: str,
    code: str | None,
    text: str,
    submission: Submission,
    reason: Reason | None,
) -> None:
    """Each code means what the documents say, on every route; a used-up quota is not a rate limit."""
    body = {"error": {"message": text, "type": kind, "param": None, "code": code}}
    shown_code = code or (kind if kind == "insufficient_quota" else None)
    check_error(create(name, body, status), submission, reason, shown_code, text)


@pytest.mark.parametrize("name", ["seedance.video", "dashscope.video", "kling.image", "gemini.generate"])
@pytest.mark.parametrize(
    ("status", "code", "submission", "reason"),
    [
        (429, "insufficient_quota", REFUSED, Reason.QUOTA_EXHAUSTED),
        (503, "server_is_overloaded", DEFERRED, Reason.UPSTREAM_UNAVAILABLE),
        (200, "server_error", AMBIGUOUS, None),
    ],
)
def test_openai_errors_of_the_gateway_itself(
    *, name: str, status: int, code: str, submission: Submission, reason: Reason | None
) -> None:
    """The gateway is OpenAI-style, so its own codes may come on any route."""
    body = {"error": {"message": "m", "type": "t", "code": code}}
    check_error(create(name, body, status), submission, reason, code, "m")


@pytest.mark.parametrize(("status", "name", "text", "submission", "reason"), GEMINI_ERRORS)
def test_gemini_errors(status: int, name: str, text: str, submission: Submission, reason: Reason | None) -> None:
    """Each status means what the documents say; the numeric code is stored."""
    body = {"error": {"code": status, "message": text, "status": name}}
    check_error(create("gemini.generate", body, status), submission, reason, str(status), text)


@pytest.mark.parametrize(
    ("data", "stored"),
    [
        (PNG, PNG),
        (PNG.rstrip("="), PNG),
        ("iVBORw0K\nGgo=", PNG),
        ("-_-_", "+/+/"),
        ("", None),
        ("====", None),
        ("abcde", None),
        ("ab*d", None),
        ("iVBO=Rw0", None),
        (None, None),
        (7, None),
    ],
)
def test_inline_data_is_base64_or_nothing(data: object, stored: str | None) -> None:
    """Both alphabets and missing padding are understood; anything else is not an output."""
    reading = create("openai.images", {"data": [{"b64_json": data}], "output_format": "png"})
    assert [(output.inline, output.mime) for output in reading.outputs] == ([(stored, "image/png")] if stored else [])


def test_a_structure_too_deep_to_write_is_ambiguous() -> None:
    """What the parser reads, but the writer cannot write, makes no reader raise."""
    deep = b'{"code":200,"data":{"alignedWords":[' + b"[" * 600 + b"]" * 600 + b"]}}"
    reading = create("suno.timestamped-lyrics", deep)
    assert reading.submission is AMBIGUOUS
    assert "nested too deeply" in (reading.detail or "")
