"""Refusals in the shapes of makers and web frameworks: their messages, and the outcome of the create."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kits.providers import (
    AMBIGUOUS,
    DASHSCOPE,
    KLING,
    REFUSED,
    SUNO,
    callback,
    create,
    dashscope_task,
    kling_task,
    poll,
    suno_task,
)
from tracker.domain.observation import Submission
from tracker.domain.task import Reason, Status

MESSAGE = "must be 4, 8 or 12"
SHAPES: dict[str, Any] = {
    "fastapi list": {"detail": [{"loc": ["body", "seconds"], "msg": MESSAGE, "type": "literal_error"}]},
    "fastapi text": {"detail": MESSAGE},
    "fastapi object": {"detail": {"message": MESSAGE, "code": "bad_seconds"}},
    "fastapi error object": {"detail": {"error": {"message": MESSAGE}}},
    "problem": {"type": "about:blank", "title": "Bad Request", "status": 422, "detail": MESSAGE},
    "problem title": {"title": MESSAGE, "status": 422},
    "problem errors": {"title": "Bad", "detail": "not valid", "errors": [{"detail": MESSAGE, "pointer": "#/seconds"}]},
    "problem params": {"title": "Bad", "invalid-params": [{"name": "seconds", "reason": MESSAGE}]},
    "nestjs": {"statusCode": 422, "message": [MESSAGE], "error": "Unprocessable Entity"},
    "nestjs other status": {"statusCode": 400, "message": MESSAGE, "error": "Bad Request"},
    "spring": {"timestamp": "t", "status": 422, "error": "Unprocessable Entity", "message": MESSAGE, "path": "/"},
    "spring errors": {"status": 422, "errors": [{"field": "seconds", "defaultMessage": "x", "message": MESSAGE}]},
    "laravel": {"message": "The given data was invalid.", "errors": {"seconds": [MESSAGE]}},
    "django": {"seconds": [MESSAGE]},
    "django general": {"non_field_errors": [MESSAGE]},
    "rails": {"errors": {"seconds": [MESSAGE]}},
    "rails texts": {"errors": [MESSAGE]},
    "json api": {"errors": [{"status": "422", "title": "Invalid", "detail": MESSAGE}]},
    "graphql": {"data": None, "errors": [{"message": MESSAGE, "locations": [{"line": 1}]}]},
    "oauth": {"error": "invalid_request", "error_description": MESSAGE},
    "go err": {"err": MESSAGE},
    "go reason": {"reason": MESSAGE},
    "error list": {"error": [{"message": MESSAGE}]},
    "error text": {"error": MESSAGE},
    "error and details": {"error": "invalid", "details": MESSAGE},
    "google": {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "bad", "details": [
        {"@type": "google.rpc.BadRequest", "fieldViolations": [{"field": "s", "description": MESSAGE}]}]}},
    "aws": {"__type": "com.amazon#ValidationException", "Message": MESSAGE},
    "volcengine": {"ResponseMetadata": {"RequestId": "r", "Error": {"Code": "InvalidParameter", "Message": MESSAGE}}},
    "minimax": {"base_resp": {"status_code": 2013, "status_msg": MESSAGE}},
    "flag": {"success": False, "msg": MESSAGE},
    "errmsg": {"errcode": 40001, "errmsg": MESSAGE},
    "status text": {"status": "error", "message": MESSAGE},
    "wrapped text": {"error": {"message": json.dumps({"error": {"message": MESSAGE}}), "code": None}},
    "wrapped in a text": {"error": {"message": f'upstream said 422: {{"detail":[{{"msg":"{MESSAGE}"}}]}}'}},
    "wrapped twice": {"message": json.dumps({"error": json.dumps({"detail": MESSAGE})})},
    "data": {"code": 42201, "data": {"error": MESSAGE}},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", ["openai.video", SUNO, "gemini.generate"])
def test_the_message_of_a_refusal_is_stored(name: str, shape: object) -> None:
    """Whatever framework wrote them, they reach the user; the HTTP status decides what happened."""
    reading = create(name, shape, 422)
    assert (reading.submission, reading.reason) == (REFUSED, Reason.INVALID_REQUEST)
    assert reading.error is not None
    assert MESSAGE in (reading.error.message or "")
    assert len(reading.error.message or "") <= 500


@pytest.mark.parametrize(
    ("shape", "code", "message"),
    [
        ("fastapi list", None, f"body.seconds: {MESSAGE}"),
        ("laravel", None, f"The given data was invalid. (seconds: {MESSAGE})"),
        ("oauth", "invalid_request", MESSAGE),
        ("aws", "ValidationException", MESSAGE),
        ("volcengine", "InvalidParameter", MESSAGE),
        ("minimax", "2013", MESSAGE),
        ("nestjs", None, MESSAGE),
        ("wrapped text", None, MESSAGE),
    ],
)
def test_codes_and_fields_are_in_the_message(shape: str, code: str | None, message: str) -> None:
    """The code is a code, and a validator's message names the field."""
    error = create("openai.video", SHAPES[shape], 422).error
    assert error is not None
    assert (error.code, error.message) == (code, message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"AccessDenied: this key has no access to sora-2", "AccessDenied: this key has no access to sora-2"),
        (b"<html><head><title>Payment &amp; limits</title></head><body>x</body></html>", "Payment & limits"),
        (b"<p>Over <b>quota</b></p>", "Over quota"),
        (b"<html><title>403 Forbidden</title><h1>403 Forbidden</h1>", None),
        (b"", None),
    ],
)
def test_messages_of_pages_and_texts(body: bytes, message: str | None) -> None:
    """A body that is not JSON is quoted, unless it only repeats the HTTP status."""
    reading = create("openai.video", body, 403)
    assert reading.reason is Reason.ENTITLEMENT
    assert (reading.error.message if reading.error else None) == message


EXPLICIT = [name for name in SHAPES if name in {
    "oauth", "error list", "error text", "google", "aws", "volcengine", "minimax", "flag", "errmsg", "status text",
    "graphql", "rails", "rails texts", "json api", "go err", "wrapped text", "data",
}]  # fmt: skip


@pytest.mark.parametrize("shape", EXPLICIT)
@pytest.mark.parametrize("name", [KLING, DASHSCOPE, SUNO, "openai.video", "seedance.video", "openai.responses"])
def test_an_explicit_error_inside_a_success_is_a_refusal(name: str, shape: str) -> None:
    """Without an id and with an error of the upstream's own the job was not taken: nothing was charged."""
    for body in (SHAPES[shape], {"code": "success", "data": SHAPES[shape]}):
        reading = create(name, body)
        assert reading.submission is REFUSED, body
        assert reading.error is not None
        assert MESSAGE in (reading.error.message or "")


@pytest.mark.parametrize("code", ["timeout", "RequestTimeOut", "upstream_timed_out", "DEADLINE_EXCEEDED"])
def test_a_code_of_a_timeout_inside_a_success_leaves_it_open(code: str) -> None:
    """A proxy stopped waiting for the upstream, which may have taken the job; a time out of range is a refusal."""
    for name in (KLING, DASHSCOPE, "openai.video", "seedance.video", "gemini.generate"):
        assert create(name, {"error": {"code": code, "message": "m"}}).submission is AMBIGUOUS, name
        assert create(name, {"error": {"code": "time_out_of_range", "message": "m"}}).submission is REFUSED, name


@pytest.mark.parametrize(
    "body", [{}, {"code": 0}, {"data": {}}, {"success": True}, {"message": "oops"}, {"detail": "x"}]
)
def test_an_answer_without_id_and_error_leaves_it_open(body: object) -> None:
    """The reply leaves open whether the job was accepted."""
    for name in (KLING, DASHSCOPE, SUNO, "openai.video", "seedance.video"):
        assert create(name, body).submission is AMBIGUOUS


@pytest.mark.parametrize(
    ("name", "body", "own"),
    [
        (KLING, {"code": 1234, "message": "m", "data": {"task_id": "k-1"}}, "k-1"),
        (DASHSCOPE, {"code": "Odd", "message": "m", "output": {"task_id": "d-1"}}, "d-1"),
        (SUNO, {"code": 1, "msg": "m", "data": {"taskId": "s-1"}}, "s-1"),
        (SUNO, {"code": 599, "msg": "m", "data": {"taskId": "s-1"}}, "s-1"),
        ("openai.video", {"id": "v-1", "error": {"message": "m"}}, "v-1"),
        ("seedance.video", {"task_id": "v-1", "success": False, "msg": "m"}, "v-1"),
        ("openai.responses", {"id": "r-1", "error": {"message": "m"}}, "r-1"),
    ],
)
def test_an_id_beside_an_error_is_followed(name: str, body: object, own: str) -> None:
    """The id proves the acceptance; a poll fetches the rest."""
    reading = create(name, body)
    assert (reading.submission, reading.status, reading.external_id) == (Submission.ACCEPTED, Status.PENDING, own)


@pytest.mark.parametrize("status", [400, 429, 500, 502, 503])
def test_a_task_with_id_and_status_beside_an_http_error_is_followed(status: int) -> None:
    """Id and status prove it; sending again would pay twice. An id alone may be that of the error."""
    reading = create("openai.video", {"id": "v-1", "object": "video", "status": "queued"}, status)
    assert (reading.submission, reading.external_id) == (Submission.ACCEPTED, "v-1")
    for body in ({"id": "err-1", "message": "m"}, {"id": "err-1", "status": "error", "message": "m"}):
        assert create("openai.video", body, status).submission is not Submission.ACCEPTED


def test_an_id_in_an_answer_that_is_cut_off_is_followed() -> None:
    """Only the id is read from it; a truncated poll changes nothing."""
    cut = b'{"code":0,"data":{"task_id":"k-1","task_status":"succeed","task_result":{"vide'
    reading = create(KLING, cut)
    assert (reading.submission, reading.status, reading.external_id) == (Submission.ACCEPTED, Status.PENDING, "k-1")
    assert poll(KLING, cut).status is None
    assert create(KLING, cut[:30]).submission is AMBIGUOUS


FAILED_WITH = [
    poll("openai.video", {"id": "v", "status": "failed", "error": MESSAGE}),
    poll("openai.video", {"id": "v", "status": "failed", "error": {"detail": MESSAGE}}),
    poll("seedance.video", {"data": {"task_id": "v", "status": "FAILURE", "fail_reason": MESSAGE}}),
    poll("seedance.video", {"id": "v", "status": "failed", "message": MESSAGE}),
    poll(KLING, kling_task("failed", task_status_msg=MESSAGE)),
    poll(KLING, kling_task("failed", fail_reason=MESSAGE)),
    poll(DASHSCOPE, dashscope_task("FAILED", message=MESSAGE)),
    poll(DASHSCOPE, dashscope_task("FAILED") | {"code": "Odd", "message": MESSAGE}),
    poll(SUNO, suno_task("GENERATE_AUDIO_FAILED", errorMessage=MESSAGE)),
    poll(SUNO, suno_task("GENERATE_AUDIO_FAILED", fail_reason=MESSAGE)),
    callback(KLING, {"task_id": "k", "task_status": "failed", "failReason": MESSAGE}),
]


@pytest.mark.parametrize("reading", FAILED_WITH, ids=range(len(FAILED_WITH)))
def test_the_message_of_a_failed_task_is_stored(reading: Any) -> None:  # noqa: ANN401 - a Reading
    """Under every name that makers and gateways have for them."""
    assert reading.status is Status.FAILED
    assert reading.error is not None
    assert reading.error.message == MESSAGE
