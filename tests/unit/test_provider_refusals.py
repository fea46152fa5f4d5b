"""Refusals in the shapes of makers and web frameworks: their words, and what becomes of the create."""

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

WORDS = "must be 4, 8 or 12"
SHAPES: dict[str, Any] = {
    "fastapi list": {"detail": [{"loc": ["body", "seconds"], "msg": WORDS, "type": "literal_error"}]},
    "fastapi text": {"detail": WORDS},
    "fastapi object": {"detail": {"message": WORDS, "code": "bad_seconds"}},
    "fastapi error object": {"detail": {"error": {"message": WORDS}}},
    "problem": {"type": "about:blank", "title": "Bad Request", "status": 422, "detail": WORDS},
    "problem title": {"title": WORDS, "status": 422},
    "problem errors": {"title": "Bad", "detail": "not valid", "errors": [{"detail": WORDS, "pointer": "#/seconds"}]},
    "problem params": {"title": "Bad", "invalid-params": [{"name": "seconds", "reason": WORDS}]},
    "nestjs": {"statusCode": 422, "message": [WORDS], "error": "Unprocessable Entity"},
    "nestjs other status": {"statusCode": 400, "message": WORDS, "error": "Bad Request"},
    "spring": {"timestamp": "t", "status": 422, "error": "Unprocessable Entity", "message": WORDS, "path": "/"},
    "spring errors": {"status": 422, "errors": [{"field": "seconds", "defaultMessage": "x", "message": WORDS}]},
    "laravel": {"message": "The given data was invalid.", "errors": {"seconds": [WORDS]}},
    "django": {"seconds": [WORDS]},
    "django general": {"non_field_errors": [WORDS]},
    "rails": {"errors": {"seconds": [WORDS]}},
    "rails texts": {"errors": [WORDS]},
    "json api": {"errors": [{"status": "422", "title": "Invalid", "detail": WORDS}]},
    "graphql": {"data": None, "errors": [{"message": WORDS, "locations": [{"line": 1}]}]},
    "oauth": {"error": "invalid_request", "error_description": WORDS},
    "go err": {"err": WORDS},
    "go reason": {"reason": WORDS},
    "error list": {"error": [{"message": WORDS}]},
    "error text": {"error": WORDS},
    "error and details": {"error": "invalid", "details": WORDS},
    "google": {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "bad", "details": [
        {"@type": "google.rpc.BadRequest", "fieldViolations": [{"field": "s", "description": WORDS}]}]}},
    "aws": {"__type": "com.amazon#ValidationException", "Message": WORDS},
    "volcengine": {"ResponseMetadata": {"RequestId": "r", "Error": {"Code": "InvalidParameter", "Message": WORDS}}},
    "minimax": {"base_resp": {"status_code": 2013, "status_msg": WORDS}},
    "flag": {"success": False, "msg": WORDS},
    "errmsg": {"errcode": 40001, "errmsg": WORDS},
    "status word": {"status": "error", "message": WORDS},
    "wrapped text": {"error": {"message": json.dumps({"error": {"message": WORDS}}), "code": None}},
    "wrapped in words": {"error": {"message": f'upstream said 422: {{"detail":[{{"msg":"{WORDS}"}}]}}'}},
    "wrapped twice": {"message": json.dumps({"error": json.dumps({"detail": WORDS})})},
    "data": {"code": 42201, "data": {"error": WORDS}},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", ["openai.video", SUNO, "gemini.generate"])
def test_the_words_of_a_refusal_are_kept(name: str, shape: object) -> None:
    """Whatever framework wrote them, they reach the user; the HTTP status decides what happened."""
    reading = create(name, shape, 422)
    assert (reading.submission, reading.reason) == (REFUSED, Reason.INVALID_REQUEST)
    assert reading.error is not None
    assert WORDS in (reading.error.message or "")
    assert len(reading.error.message or "") <= 500


@pytest.mark.parametrize(
    ("shape", "code", "message"),
    [
        ("fastapi list", None, f"body.seconds: {WORDS}"),
        ("laravel", None, f"The given data was invalid. (seconds: {WORDS})"),
        ("oauth", "invalid_request", WORDS),
        ("aws", "ValidationException", WORDS),
        ("volcengine", "InvalidParameter", WORDS),
        ("minimax", "2013", WORDS),
        ("nestjs", None, WORDS),
        ("wrapped text", None, WORDS),
    ],
)
def test_codes_and_places_are_told(shape: str, code: str | None, message: str) -> None:
    """The code is a code, and a validator's words name the field."""
    error = create("openai.video", SHAPES[shape], 422).error
    assert error is not None
    assert (error.code, error.message) == (code, message)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"AccessDenied: this key has no access to sora-2", "AccessDenied: this key has no access to sora-2"),
        (b"<html><head><title>Payment &amp; limits</title></head><body>x</body></html>", "Payment & limits"),
        (b"<p>Over <b>quota</b></p>", "Over quota"),
        (b"<html><title>403 Forbidden</title><h1>403 Forbidden</h1>", None),
        (b"", None),
    ],
)
def test_words_of_pages_and_texts(body: bytes, words: str | None) -> None:
    """A body that is not JSON is quoted, unless it only repeats the HTTP status."""
    reading = create("openai.video", body, 403)
    assert reading.reason is Reason.ENTITLEMENT
    assert (reading.error.message if reading.error else None) == words


EXPLICIT = [name for name in SHAPES if name in {
    "oauth", "error list", "error text", "google", "aws", "volcengine", "minimax", "flag", "errmsg", "status word",
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
        assert WORDS in (reading.error.message or "")


@pytest.mark.parametrize("code", ["timeout", "RequestTimeOut", "upstream_timed_out", "DEADLINE_EXCEEDED"])
def test_a_code_of_a_timeout_inside_a_success_leaves_it_open(code: str) -> None:
    """Somebody stopped waiting for the upstream, which may have taken the job; a time out of range is a refusal."""
    for name in (KLING, DASHSCOPE, "openai.video", "seedance.video", "gemini.generate"):
        assert create(name, {"error": {"code": code, "message": "m"}}).submission is AMBIGUOUS, name
        assert create(name, {"error": {"code": "time_out_of_range", "message": "m"}}).submission is REFUSED, name


@pytest.mark.parametrize(
    "body", [{}, {"code": 0}, {"data": {}}, {"success": True}, {"message": "oops"}, {"detail": "x"}]
)
def test_an_answer_without_id_and_error_leaves_it_open(body: object) -> None:
    """Nothing says whether the job was taken."""
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
def test_an_id_beside_an_error_keeps_the_job(name: str, body: object, own: str) -> None:
    """Proof of acceptance wins; what the error means a poll will tell."""
    reading = create(name, body)
    assert (reading.submission, reading.status, reading.external_id) == (Submission.ACCEPTED, Status.PENDING, own)


@pytest.mark.parametrize("status", [400, 429, 500, 502, 503])
def test_a_whole_task_beside_an_http_error_keeps_the_job(status: int) -> None:
    """Id and status prove it; sending again would pay twice. An id alone may be that of the error."""
    reading = create("openai.video", {"id": "v-1", "object": "video", "status": "queued"}, status)
    assert (reading.submission, reading.external_id) == (Submission.ACCEPTED, "v-1")
    for body in ({"id": "err-1", "message": "m"}, {"id": "err-1", "status": "error", "message": "m"}):
        assert create("openai.video", body, status).submission is not Submission.ACCEPTED


def test_an_id_in_an_answer_that_is_cut_off_keeps_the_job() -> None:
    """Only the id is taken from it; a poll that is cut off says nothing."""
    cut = b'{"code":0,"data":{"task_id":"k-1","task_status":"succeed","task_result":{"vide'
    reading = create(KLING, cut)
    assert (reading.submission, reading.status, reading.external_id) == (Submission.ACCEPTED, Status.PENDING, "k-1")
    assert poll(KLING, cut).status is None
    assert create(KLING, cut[:30]).submission is AMBIGUOUS


FAILED_WITH = [
    poll("openai.video", {"id": "v", "status": "failed", "error": WORDS}),
    poll("openai.video", {"id": "v", "status": "failed", "error": {"detail": WORDS}}),
    poll("seedance.video", {"data": {"task_id": "v", "status": "FAILURE", "fail_reason": WORDS}}),
    poll("seedance.video", {"id": "v", "status": "failed", "message": WORDS}),
    poll(KLING, kling_task("failed", task_status_msg=WORDS)),
    poll(KLING, kling_task("failed", fail_reason=WORDS)),
    poll(DASHSCOPE, dashscope_task("FAILED", message=WORDS)),
    poll(DASHSCOPE, dashscope_task("FAILED") | {"code": "Odd", "message": WORDS}),
    poll(SUNO, suno_task("GENERATE_AUDIO_FAILED", errorMessage=WORDS)),
    poll(SUNO, suno_task("GENERATE_AUDIO_FAILED", fail_reason=WORDS)),
    callback(KLING, {"task_id": "k", "task_status": "failed", "failReason": WORDS}),
]


@pytest.mark.parametrize("reading", FAILED_WITH, ids=range(len(FAILED_WITH)))
def test_the_words_of_a_failed_task_are_kept(reading: Any) -> None:  # noqa: ANN401 - a Reading
    """Under every name that makers and gateways have for them."""
    assert reading.status is Status.FAILED
    assert reading.error is not None
    assert reading.error.message == WORDS
