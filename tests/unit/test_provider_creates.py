"""Replies to creates: every code of the contract, and what leaves open whether a job was accepted."""

from __future__ import annotations

import pytest

from tests.kits.providers import (
    AMBIGUOUS,
    DASHSCOPE,
    DEFERRED,
    KLING,
    REFUSED,
    ROUTES,
    SUNO,
    callback,
    create,
    dashscope_task,
    poll,
    reply,
    suno_callback,
)
from tracker.domain.observation import Reading, Submission, Trouble
from tracker.domain.task import Reason, Status, UpstreamError
from tracker.providers.families import kling
from tracker.providers.families.dashscope import codes
from tracker.providers.families.suno import codes as suno_codes
from tracker.providers.families.suno import envelope

KLING_CREATES = [
    *((401, code, REFUSED, Reason.AUTH_FAILED) for code in range(1000, 1005)),
    *((429, code, REFUSED, Reason.QUOTA_EXHAUSTED) for code in (1100, 1101, 1102)),
    (403, 1103, REFUSED, Reason.ENTITLEMENT),
    (400, 1200, REFUSED, Reason.INVALID_REQUEST),
    (400, 1201, REFUSED, Reason.INVALID_REQUEST),
    (404, 1202, REFUSED, Reason.INVALID_REQUEST),
    (404, 1203, REFUSED, Reason.INVALID_REQUEST),
    (400, 1300, REFUSED, Reason.POLICY_REJECTED),
    (400, 1301, REFUSED, Reason.POLICY_REJECTED),
    (429, 1302, DEFERRED, Reason.RATE_LIMITED),
    (429, 1303, DEFERRED, Reason.RATE_LIMITED),
    (429, 1304, REFUSED, Reason.AUTH_FAILED),
    (500, 5000, REFUSED, Reason.UPSTREAM_UNAVAILABLE),
    (503, 5000, DEFERRED, Reason.UPSTREAM_UNAVAILABLE),
    (503, 5001, DEFERRED, Reason.UPSTREAM_UNAVAILABLE),
    (504, 5002, AMBIGUOUS, None),
    (500, 5002, AMBIGUOUS, None),
    (502, 5000, AMBIGUOUS, None),
    (502, 502, AMBIGUOUS, None),
    (502, 1102, REFUSED, Reason.QUOTA_EXHAUSTED),
    (502, 1302, DEFERRED, Reason.RATE_LIMITED),
    (522, 1102, AMBIGUOUS, None),
    (500, 9999, AMBIGUOUS, None),
    (200, 502, AMBIGUOUS, None),
    (400, 9999, REFUSED, Reason.INVALID_REQUEST),
    (200, 1302, DEFERRED, Reason.RATE_LIMITED),
    (200, 9999, REFUSED, Reason.INVALID_REQUEST),
]
SUNO_CREATES = [
    (400, REFUSED, Reason.INVALID_REQUEST),
    (401, REFUSED, Reason.AUTH_FAILED),
    (402, REFUSED, Reason.QUOTA_EXHAUSTED),
    (403, REFUSED, Reason.ENTITLEMENT),
    (404, REFUSED, Reason.INVALID_REQUEST),
    (405, DEFERRED, Reason.RATE_LIMITED),
    (409, REFUSED, Reason.INVALID_REQUEST),
    (413, REFUSED, Reason.INVALID_REQUEST),
    (422, REFUSED, Reason.INVALID_REQUEST),
    (429, REFUSED, Reason.QUOTA_EXHAUSTED),
    (430, DEFERRED, Reason.RATE_LIMITED),
    (451, REFUSED, Reason.INVALID_REQUEST),
    (455, DEFERRED, Reason.UPSTREAM_UNAVAILABLE),
    (500, REFUSED, Reason.UPSTREAM_UNAVAILABLE),
    (501, REFUSED, Reason.GENERATION_FAILED),
    (503, DEFERRED, Reason.UPSTREAM_UNAVAILABLE),
    (502, AMBIGUOUS, None),
    (504, AMBIGUOUS, None),
    (531, REFUSED, Reason.GENERATION_FAILED),
    (599, AMBIGUOUS, None),
    (7, REFUSED, Reason.INVALID_REQUEST),
]
DASHSCOPE_CREATES = [
    (400, "InvalidParameter", REFUSED, Reason.INVALID_REQUEST),
    (400, "InvalidParameter.Foo.Bar", REFUSED, Reason.INVALID_REQUEST),
    (400, "DataInspectionFailed", REFUSED, Reason.POLICY_REJECTED),
    (400, "data_inspection_failed", REFUSED, Reason.POLICY_REJECTED),
    (400, "IPInfringementSuspect", REFUSED, Reason.POLICY_REJECTED),
    (400, "Arrearage", REFUSED, Reason.QUOTA_EXHAUSTED),
    (401, "InvalidApiKey", REFUSED, Reason.AUTH_FAILED),
    (403, "AccessDenied", REFUSED, Reason.ENTITLEMENT),
    (403, "AccessDenied.Unpurchased", REFUSED, Reason.ENTITLEMENT),
    (404, "ModelNotFound", REFUSED, Reason.INVALID_REQUEST),
    (429, "Throttling", DEFERRED, Reason.RATE_LIMITED),
    (429, "Throttling.RateQuota", DEFERRED, Reason.RATE_LIMITED),
    (429, "Throttling.AllocationQuota", DEFERRED, Reason.RATE_LIMITED),
    (400, "Throttling.Other", DEFERRED, Reason.RATE_LIMITED),
    (500, "InternalError", REFUSED, Reason.UPSTREAM_UNAVAILABLE),
    (500, "InternalError.Algo", REFUSED, Reason.UPSTREAM_UNAVAILABLE),
    (503, "InternalError", DEFERRED, Reason.UPSTREAM_UNAVAILABLE),
    (502, "InternalError", AMBIGUOUS, None),
    (502, "BadGateway", AMBIGUOUS, None),
    (500, "NeverSeen", AMBIGUOUS, None),
    (500, "InternalError.Timeout", AMBIGUOUS, None),
    (500, "RequestTimeOut", AMBIGUOUS, None),
    (504, "InternalError", AMBIGUOUS, None),
    (409, "NeverSeen", REFUSED, Reason.INVALID_REQUEST),
]


def check_submission(reading: Reading, submission: Submission, reason: Reason | None) -> None:
    """A refusal or deferral has its reason and no status; an ambiguous one describes what was seen."""
    assert (reading.submission, reading.reason) == (submission, reason)
    assert reading.status is None
    assert reading.external_id is None
    if submission is AMBIGUOUS:
        assert reading.detail is not None
        assert reading.detail.startswith("HTTP ")


@pytest.mark.parametrize(("status", "code", "submission", "reason"), KLING_CREATES)
@pytest.mark.parametrize("as_text", [False, True])
def test_kling_create_codes(
    status: int, code: int, submission: Submission, reason: Reason | None, as_text: bool
) -> None:
    """Each of Kling's codes on a create means what its table says, as a number and as a text."""
    body = {"code": str(code) if as_text else code, "message": "m", "request_id": "r"}
    reading = create(KLING, body, status)
    check_submission(reading, submission, reason)
    assert reading.error is not None
    assert (reading.error.code, reading.error.message, reading.error.http_status) == (str(code), "m", status)


@pytest.mark.parametrize(("code", "submission", "reason"), SUNO_CREATES)
@pytest.mark.parametrize("as_text", [False, True])
def test_suno_create_codes(code: int, submission: Submission, reason: Reason | None, as_text: bool) -> None:
    """Each Suno body code inside HTTP 200 means what its table says."""
    reading = create(SUNO, {"code": str(code) if as_text else code, "msg": "m", "data": None})
    check_submission(reading, submission, reason)
    assert reading.error is not None
    assert (reading.error.code, reading.error.message) == (str(code), "m")


@pytest.mark.parametrize(("status", "code", "submission", "reason"), DASHSCOPE_CREATES)
def test_dashscope_create_codes(status: int, code: str, submission: Submission, reason: Reason | None) -> None:
    """Each DashScope code means what its table says, whatever suffix narrows it down."""
    reading = create(DASHSCOPE, {"code": code, "message": "m", "request_id": "r"}, status)
    check_submission(reading, submission, reason)


def test_every_code_of_the_tables_is_covered() -> None:
    """A code added to a family's table is added to these tests."""
    assert set(kling.CODES) <= {str(code) for _, code, _, _ in KLING_CREATES}
    assert set(suno_codes.REQUEST_CODES) <= {str(code) for code, _, _ in SUNO_CREATES}
    tested = {code.lower().replace("_", "") for _, code, _, _ in DASHSCOPE_CREATES}
    assert set(codes.CODES) <= tested


GATEWAY_CREATES = [
    (400, REFUSED, Reason.INVALID_REQUEST, False),
    (401, REFUSED, Reason.AUTH_FAILED, False),
    (402, REFUSED, Reason.QUOTA_EXHAUSTED, False),
    (403, REFUSED, Reason.ENTITLEMENT, False),
    (404, REFUSED, Reason.INVALID_REQUEST, False),
    (408, AMBIGUOUS, None, None),
    (413, REFUSED, Reason.INVALID_REQUEST, False),
    (422, REFUSED, Reason.INVALID_REQUEST, False),
    (429, DEFERRED, Reason.RATE_LIMITED, True),
    (500, AMBIGUOUS, None, None),
    (501, AMBIGUOUS, None, None),
    (502, AMBIGUOUS, None, None),
    (503, DEFERRED, Reason.UPSTREAM_UNAVAILABLE, True),
    (504, AMBIGUOUS, None, None),
    *((status, AMBIGUOUS, None, None) for status in range(520, 525)),
    (529, DEFERRED, Reason.UPSTREAM_UNAVAILABLE, True),
]


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize(("status", "submission", "reason", "retryable"), GATEWAY_CREATES)
def test_gateway_error_on_a_create(
    name: str, status: int, submission: Submission, reason: Reason | None, retryable: bool | None
) -> None:
    """The gateway's own errors are refusals, but for those to wait for and those that leave it open."""
    for error in ({"message": "m", "type": "t", "code": None}, {"message": "m", "code": "c"}, "m"):
        reading = create(name, {"error": error}, status, retry_after="9")
        check_submission(reading, submission, reason)
        assert reading.retryable is retryable
        assert reading.error is not None
        assert reading.error.message == "m"
        if submission is DEFERRED:
            assert reading.retry_after_s == 9


@pytest.mark.parametrize("name", [*ROUTES, "openai.video", "seedance.video"])
@pytest.mark.parametrize("status", [500, 502, 520])
@pytest.mark.parametrize(
    "body",
    [
        {"error": "Bad Gateway"},
        {"error": {"type": "upstream_error", "message": "m", "code": None}},
        {"error": {"type": "upstream_error", "message": "m", "code": 502}},
        {"error": {"type": "new_api_error", "message": "m", "code": "do_request_failed"}},
        {"timestamp": "2026-01-05T10:00:00", "status": 500, "error": "Internal Server Error", "path": "/"},
        {"code": 502, "message": "Bad Gateway"},
        {"code": "BadGateway", "message": "m", "request_id": "r"},
    ],
)
def test_errors_of_a_proxy_are_ambiguous(name: str, status: int, body: object) -> None:
    """A server error without a code that the upstream documents leaves open whether the job was taken."""
    check_submission(create(name, body, status), AMBIGUOUS, None)


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize(
    ("status", "kind", "code", "submission", "reason"),
    [
        (500, "authentication_error", None, REFUSED, Reason.AUTH_FAILED),
        (500, "authentication_error", "invalid_api_key", REFUSED, Reason.AUTH_FAILED),
        (502, "authentication_error", "invalid_api_key", REFUSED, Reason.AUTH_FAILED),
        (500, "rate_limit_error", None, DEFERRED, Reason.RATE_LIMITED),
        (502, "rate_limit_error", "rate_limit_exceeded", DEFERRED, Reason.RATE_LIMITED),
        (504, "authentication_error", "invalid_api_key", AMBIGUOUS, None),
        (500, "server_error", "server_error", AMBIGUOUS, None),
        (503, "server_error", "server_error", DEFERRED, Reason.UPSTREAM_UNAVAILABLE),
        (503, "server_error", None, DEFERRED, Reason.UPSTREAM_UNAVAILABLE),
    ],
)
def test_known_codes_of_the_gateway_with_a_server_error(
    *, name: str, status: int, kind: str, code: str | None, submission: Submission, reason: Reason | None
) -> None:
    """What the gateway documents is explicit; with HTTP 502, a retryable one is ambiguous."""
    error = {"message": "m", "type": kind, "code": code}
    check_submission(create(name, {"error": error}, status), submission, reason)


NUMBERED = [
    (429, "rate_limit_error", 429, DEFERRED, Reason.RATE_LIMITED),
    (429, None, 429, DEFERRED, Reason.RATE_LIMITED),
    (429, "insufficient_quota", 429, REFUSED, Reason.QUOTA_EXHAUSTED),
    (503, "service_unavailable", 503, DEFERRED, Reason.UPSTREAM_UNAVAILABLE),
    (405, "invalid_request_error", 405, REFUSED, Reason.INVALID_REQUEST),
    (413, "invalid_request_error", 413, REFUSED, Reason.INVALID_REQUEST),
    (400, "invalid_request_error", 400, REFUSED, Reason.INVALID_REQUEST),
    (401, "authentication_error", 401, REFUSED, Reason.AUTH_FAILED),
    (404, None, 404, REFUSED, Reason.INVALID_REQUEST),
    (500, None, 500, AMBIGUOUS, None),
    (500, "api_error", 500, AMBIGUOUS, None),
    (200, "rate_limit_error", 429, DEFERRED, Reason.RATE_LIMITED),
    (200, None, 429, DEFERRED, Reason.RATE_LIMITED),
    (200, None, 500, AMBIGUOUS, None),
]
"""HTTP status, type and number inside ``error``, and what they mean together."""


@pytest.mark.parametrize("name", [*ROUTES, "suno.style-generate", "openai.video", "gemini.generate", "seedance.video"])
@pytest.mark.parametrize(("status", "kind", "code", "submission", "reason"), NUMBERED)
@pytest.mark.parametrize("as_text", [False, True])
def test_numbers_inside_error_are_those_of_http(
    *, name: str, status: int, kind: str | None, code: int, submission: Submission, reason: Reason | None, as_text: bool
) -> None:
    """A provider's own numbers are beside ``msg``; those inside the gateway's ``error`` repeat an HTTP status."""
    error = {"message": "m", "type": kind, "code": str(code) if as_text else code}
    reading = create(name, {"error": error}, status)
    check_submission(reading, submission, reason)
    assert reading.error is not None
    assert (type(reading.error), reading.error.code) == (UpstreamError, str(code))


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize(
    ("status", "submission", "reason"),
    [
        (200, AMBIGUOUS, None),
        (204, AMBIGUOUS, None),
        (400, REFUSED, Reason.INVALID_REQUEST),
        (401, REFUSED, Reason.AUTH_FAILED),
        (429, DEFERRED, Reason.RATE_LIMITED),
        (500, AMBIGUOUS, None),
        (502, AMBIGUOUS, None),
        (503, DEFERRED, Reason.UPSTREAM_UNAVAILABLE),
        (504, AMBIGUOUS, None),
        (521, AMBIGUOUS, None),
        (529, DEFERRED, Reason.UPSTREAM_UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[]", b"7", b"{}", b'{"message": "oops"}'])
def test_create_without_an_error_in_a_known_shape(
    name: str, status: int, submission: Submission, reason: Reason | None, body: bytes
) -> None:
    """A server error without a message of the upstream, and a success without an id, are ambiguous."""
    check_submission(create(name, body, status), submission, reason)


NO_SUCH_PATH = [
    *(b"", b"<html><h1>404 Not Found</h1></html>", b"404 page not found", b'{"detail": "Not Found"}'),
    *(b'{"error": "Not Found"}', b'{"detail": "Method Not Allowed"}'),
    b'{"error": {"message": "Invalid URL (POST /v1/foo)", "type": "invalid_request_error", "code": null}}',
    b'{"error": {"message": "Not Found", "type": "invalid_request_error", "code": "http_404"}}',
    b'{"timestamp": "x", "status": 404, "error": "Not Found", "path": "/suno/generate"}',
    b'{"message": "Route POST:/suno/generate not found", "error": "Not Found", "statusCode": 404}',
    b'{"message": "no Route matched with those values"}',
    b'{"type": "urn:x", "title": "Not Found", "status": 404, "detail": "There is nothing here."}',
]


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize(("status", "body"), [*((404, body) for body in NO_SUCH_PATH), (405, b""), (405, b"<html>")])
def test_a_server_without_the_path_is_a_wrong_base_url(name: str, status: int, body: bytes) -> None:
    """The request is not at fault; the detail names the setting to check."""
    reading = create(name, body, status)
    check_submission(reading, REFUSED, Reason.UPSTREAM_UNAVAILABLE)
    assert "check base_url" in (reading.detail or "")


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize(
    "error",
    [
        {"message": "The model x does not exist", "type": "invalid_request_error", "code": "model_not_found"},
        {"message": "The model x was not found", "type": "invalid_request_error", "code": None},
        {"message": "voice v-1 not found", "code": None},
    ],
)
def test_a_404_that_names_what_is_unknown_is_a_refusal(name: str, error: dict[str, str]) -> None:
    """A model or a voice that does not exist is the request's mistake."""
    check_submission(create(name, {"error": error}, 404), REFUSED, Reason.INVALID_REQUEST)


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_a_wrong_base_url(name: str, status: int) -> None:
    """A redirect is refused with a message that names the base URL; on a poll it is unreadable."""
    reading = create(name, b"", status, location="https://other.example.com/")
    check_submission(reading, REFUSED, Reason.UPSTREAM_UNAVAILABLE)
    assert "base URL answers with a redirect" in (reading.detail or "")
    assert poll(name, b"", status).trouble is Trouble.UNREADABLE


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (DASHSCOPE, {"output": {"task_id": "x", "task_status": "PENDING"}, "request_id": "r"}),
        (DASHSCOPE, {"output": {"task_id": " x ", "task_status": "BRAND_NEW"}}),
        (DASHSCOPE, {"output": {"task_id": "x"}, "code": "", "message": ""}),
        (KLING, {"code": 0, "message": "SUCCEED", "data": {"task_id": "x", "task_status": "submitted"}}),
        (KLING, {"code": "0", "data": {"id": "x", "status": "submitted"}}),
        (KLING, {"data": [{"task_id": "x"}]}),
        (SUNO, {"code": 200, "msg": "success", "data": {"taskId": "x"}}),
        (SUNO, {"code": 0, "data": {"task_id": "x"}}),
        (SUNO, {"code": "200", "data": {"taskId": "x"}}),
        (SUNO, {"taskId": "x"}),
    ],
)
def test_acceptances(name: str, body: object) -> None:
    """A success with an id is an acceptance, whatever else is unknown in it."""
    reading = create(name, body, 201)
    assert (reading.submission, reading.status) == (Submission.ACCEPTED, Status.PENDING)
    assert (reading.external_id, reading.trouble) == ("x", None)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (DASHSCOPE, {"output": {"task_id": "x", "task_status": 1}}),
        (DASHSCOPE, {"output": {"task_id": "x", "task_status": "SUCCEEDED", "results": "?"}}),
        (KLING, {"code": 0, "data": {"task_id": "x", "task_status": 3}}),
        (KLING, {"code": 0, "data": {"task_id": "x", "task_status": "succeed", "task_result": {"videos": {}}}}),
        (KLING, {"data": [{"id": "x", "status": {}}]}),
        (SUNO, {"code": {}, "data": {"taskId": "x"}}),
        ("openai.video", {"id": "x", "status": 1}),
        ("seedance.video", {"task_id": "x", "status": ["queued"]}),
        ("seedance.video", {"data": {"id": "x", "status": 1}}),
        ("openai.responses", {"id": "x", "status": "completed", "output": "?"}),
    ],
)
def test_an_odd_field_does_not_lose_the_id(name: str, body: object) -> None:
    """The first success is an acceptance: the id is stored, and a poll fetches the rest."""
    reading = create(name, body)
    assert (reading.submission, reading.status, reading.external_id) == (Submission.ACCEPTED, Status.PENDING, "x")
    assert "is expected" in (reading.detail or "")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (KLING, {"code": 0, "data": [{"task_id": "x"}, {"task_id": "y"}]}),
        (DASHSCOPE, {"output": {"task_id": ["x", "y"], "task_status": 1}}),
        (DASHSCOPE, {"output": "x"}),
    ],
)
def test_an_odd_answer_without_one_sure_id_is_ambiguous(name: str, body: object) -> None:
    """Two ids are ambiguous."""
    check_submission(create(name, body), AMBIGUOUS, None)


@pytest.mark.parametrize("bad_id", [None, "", "  ", True, 1.5, {}, ["x", "y"]])
def test_success_without_a_usable_id_is_ambiguous(bad_id: object) -> None:
    """A task without a valid id cannot be polled, and may have been charged."""
    assert create(SUNO, {"code": 200, "data": {"taskId": bad_id}}).submission is AMBIGUOUS
    assert create(KLING, {"code": 0, "data": {"task_id": bad_id}}).submission is AMBIGUOUS
    assert create(DASHSCOPE, {"output": {"task_id": bad_id}, "request_id": "r"}).submission is AMBIGUOUS


def test_create_that_failed_at_once_is_accepted_and_failed() -> None:
    """An answer with an id and a failure is a task that ended, with its reason."""
    body = dashscope_task("FAILED", code="DataInspectionFailed", message="m")
    reading = create(DASHSCOPE, body)
    assert (reading.submission, reading.status) == (Submission.ACCEPTED, Status.FAILED)
    assert reading.reason is Reason.POLICY_REJECTED


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Lyrics contained copyrighted material", Reason.POLICY_REJECTED),
        ("The prompt contains sensitive words", Reason.POLICY_REJECTED),
        ("violates our content policy", Reason.POLICY_REJECTED),
        ("Song Description flagged for moderation", Reason.POLICY_REJECTED),
        ("Please enter callBackUrl.", Reason.INVALID_REQUEST),
        (None, Reason.INVALID_REQUEST),
    ],
)
@pytest.mark.parametrize("code", [400, 422])
def test_suno_content_rules_hide_behind_400(code: int, message: str | None, reason: Reason) -> None:
    """Only the message shows a violation of content rules, on creates and callbacks."""
    assert create(SUNO, {"code": code, "msg": message}).reason is reason
    assert callback(SUNO, suno_callback("error", code=code, msg=message)).reason is reason


def test_a_repeated_suno_request_may_name_the_task_made_before() -> None:
    """On routes that declare it, the task in a refusal is followed; on others the refusal applies."""
    body = {"code": 400, "msg": "already generated", "data": {"taskId": "x"}}
    adopted = envelope.read_create(reply(body), existing=frozenset({"400"}))
    assert (adopted.submission, adopted.external_id) == (Submission.ACCEPTED, "x")
    check_submission(create(SUNO, body), REFUSED, Reason.INVALID_REQUEST)
