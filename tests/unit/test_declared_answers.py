"""Providers from TOML files: paths with slashes, refused creates, results in strings, and invalid results."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.unit.test_declared import ACME, load, mistakes, reply
from tracker.domain.observation import Reading, Submission, Trouble
from tracker.domain.task import ExternalId, Reason, Status
from tracker.domain.upstream_http import WireReply
from tracker.errors import PayloadInvalid
from tracker.providers.declared.expressions import search
from tracker.providers.route import Created

MINIMAX = """
name = "minimax"
source = "https://docs.example.com/"
[routes.video]
create = "POST /v1/video_generation"
query = "GET /v1/query/video_generation"
query_parameters = { task_id = "{task_id}" }
[task]
id = "task_id"
status = "status"
error_code = "base_resp.status_code"
error_message = "base_resp.status_msg"
[statuses]
Queueing = "PENDING"
Processing = "RUNNING"
Success = "SUCCEEDED"
Fail = "FAILED"
[reasons]
1008 = "quota_exhausted"
1002 = "rate_limited"
1013 = "upstream_unavailable"
1004 = "auth_failed"
1026 = "policy_rejected"
1027 = "generation_failed"
[[outputs]]
url = "file.url"
kind = "video"
"""


def create(body: object, status: int = 200, text: str = MINIMAX) -> Reading:
    """Read the answer to a create."""
    route, provider = load(text)
    return provider.read_create(route, reply(body, status))


def poll(body: object, status: int = 200, text: str = MINIMAX) -> Reading:
    """Read the answer to a poll."""
    route, provider = load(text)
    return provider.read_poll(route, reply(body, status))


def answer(code: object, message: str = "words", **more: object) -> dict[str, object]:
    """An answer in MiniMax's shape."""
    return {"base_resp": {"status_code": code, "status_msg": message}, **more}


# -- paths ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "external_id", "path"),
    [
        ("GET /v1/{task_id}", "models/veo/operations/a:b", "/v1/models%2Fveo%2Foperations%2Fa%3Ab"),
        ("GET /v1/{+task_id}", "models/veo/operations/a:b", "/v1/models/veo/operations/a:b"),
        ("GET /v1/{+task_id}:fetch", "op/1", "/v1/op/1:fetch"),
        ("GET /v1/{+task_id}", "/op/1", "/v1/op/1"),
        ("GET /v1/{+task_id}", "//evil.example/x", "/v1/evil.example/x"),
        ("GET /v1/{+task_id}", "a/../b", "/v1/a%2F..%2Fb"),
        ("GET /v1/{+task_id}", "a/./b", "/v1/a%2F.%2Fb"),
        ("GET /v1/{+task_id}", "a/%2e%2e/b", "/v1/a/%252e%252e/b"),
        ("GET /v1/{+task_id}", "a?b#c d%2F", "/v1/a%3Fb%23c%20d%252F"),
        ("GET /v1/{+task_id}", "a\\b", "/v1/a%5Cb"),
        ("GET /v1/{+task_id}", "任务/1", "/v1/%E4%BB%BB%E5%8A%A1/1"),
        ("GET /v1/{+task_id}", "/", "/v1/%2F"),
    ],
)
def test_ids_in_paths(query: str, external_id: str, path: str) -> None:
    """One segment, or with a plus the slashes as they are; no id leads out of its path or adds a query."""
    text = MINIMAX.replace("GET /v1/query/video_generation", query).replace(
        'query_parameters = { task_id = "{task_id}" }', ""
    )
    route, provider = load(text)
    request = provider.poll_request(route, ExternalId(external_id))
    assert (request.path, request.query) == (path, ())


@pytest.mark.parametrize(
    ("path", "model", "sent"),
    [
        ("/v1/{model}:run", "models/veo", "/v1/veo:run"),
        ("/v1/{model}", "fal-ai/minimax", "/v1/fal-ai%2Fminimax"),
        ("/{+model}", "fal-ai/minimax/video-01", "/fal-ai/minimax/video-01"),
        ("/v1/{+model}:run", "models/veo", "/v1/models/veo:run"),
        ("/v1/{+model}", "../admin", "/v1/..%2Fadmin"),
    ],
)
def test_models_in_paths(path: str, model: str, sent: str) -> None:
    """A model may be a path of its own; it leaves the body."""
    route, provider = load(MINIMAX.replace("POST /v1/video_generation", f"POST {path}"))
    assert provider.check_request(route, {})[0].loc == ("request", "model")
    request = provider.create_request(route, {"model": model, "prompt": "a sea"}, None)
    assert (request.path, orjson.loads(request.body or b"")) == (sent, {"prompt": "a sea"})


def test_a_model_in_the_status_call() -> None:
    """It comes from the task; without one, no request is sent."""
    text = MINIMAX.replace("GET /v1/query/video_generation", "GET /{+model}/requests")
    route, provider = load(text)
    assert provider.check_request(route, {})[0].loc == ("request", "model")
    assert route.needs == {"model"}
    assert provider.poll_request(route, ExternalId("F1"), Created("fal-ai/minimax")).path == "/fal-ai/minimax/requests"
    with pytest.raises(PayloadInvalid, match=r"needs a part of the create that is not known: no value for \{model\}"):
        provider.poll_request(route, ExternalId("F1"))
    plain, _ = load()
    assert plain.needs == frozenset()


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "submission", "reason", "retryable"),
    [
        (answer(1008, task_id=""), 200, Submission.REFUSED, Reason.QUOTA_EXHAUSTED, False),
        (answer("1008"), 200, Submission.REFUSED, Reason.QUOTA_EXHAUSTED, False),
        (answer(1008, task_id=None), 400, Submission.REFUSED, Reason.QUOTA_EXHAUSTED, False),
        (answer(1008), 500, Submission.REFUSED, Reason.QUOTA_EXHAUSTED, False),
        (answer(1026), 200, Submission.REFUSED, Reason.POLICY_REJECTED, False),
        (answer(1004), 200, Submission.REFUSED, Reason.AUTH_FAILED, False),
        (answer(1027), 200, Submission.REFUSED, Reason.GENERATION_FAILED, True),
        (answer(1002), 200, Submission.DEFERRED, Reason.RATE_LIMITED, True),
        (answer(1013), 200, Submission.DEFERRED, Reason.UPSTREAM_UNAVAILABLE, True),
        (answer(9999), 200, Submission.REFUSED, Reason.INVALID_REQUEST, False),
        (answer(429), 200, Submission.DEFERRED, Reason.RATE_LIMITED, True),
        (answer(500), 200, Submission.REFUSED, Reason.UPSTREAM_UNAVAILABLE, True),
        (answer(9999), 503, Submission.DEFERRED, Reason.UPSTREAM_UNAVAILABLE, True),
    ],
)
def test_an_error_code_without_an_id_is_a_refusal(
    body: dict[str, Any], status: int, submission: Submission, reason: Reason, retryable: bool
) -> None:
    """The file gives its reason, its message is stored, and the outcome is never ambiguous."""
    reading = create(body, status)
    assert (reading.submission, reading.reason, reading.retryable) == (submission, reason, retryable)
    assert reading.error is not None
    assert (reading.error.code, reading.error.message, reading.error.http_status) == (
        str(body["base_resp"]["status_code"]),
        "words",
        status,
    )


def test_retry_after_of_a_refused_create_applies() -> None:
    """``Retry-After`` counts as for 429."""
    route, provider = load(MINIMAX)
    reading = provider.read_create(route, WireReply(200, {"retry-after": "7"}, orjson.dumps(answer(1002))))
    assert reading.retry_after_s == 7


@pytest.mark.parametrize("code", [0, "0", 200, "200", "success", "SUCCESS", "ok", None, "", False])
def test_codes_that_mean_success(code: object) -> None:
    """Beside an id they mean nothing; without one the outcome of the create is unknown."""
    assert create(answer(code, task_id="t1")).submission is Submission.ACCEPTED
    assert create(answer(code)).submission is Submission.AMBIGUOUS


def test_ok_codes_of_a_file() -> None:
    """They replace the usual ones, as numbers or texts."""
    text = MINIMAX.replace("[statuses]", 'ok_codes = [10000, "Fine"]\n[statuses]')
    for code in (10000, "10000", "fine"):
        assert create(answer(code), text=text).submission is Submission.AMBIGUOUS
    assert create(answer(0), text=text).submission is Submission.REFUSED


def test_an_id_beside_an_error_keeps_the_job() -> None:
    """In the declared shape and in the usual ones, whatever the rest of the answer looks like."""
    for body in (
        answer(1008, task_id="t1"),
        {"task_id": "t1", "error": {"code": "oops", "message": "m"}},
        {"task_id": "t1", "code": 7, "message": "m"},
        {"task_id": "t1", "status": {"odd": 1}},
    ):
        reading = create(body)
        assert (reading.submission, reading.external_id, reading.status) == (
            Submission.ACCEPTED,
            "t1",
            Status.PENDING,
        ), body


def test_a_status_of_failure_without_an_id_is_a_refusal() -> None:
    """It says that there is no job, with or without a code."""
    reading = create({"status": "Fail", "base_resp": {"status_msg": "no"}})
    assert (reading.submission, reading.reason) == (Submission.REFUSED, Reason.GENERATION_FAILED)
    assert reading.error is not None
    assert reading.error.message == "no"
    assert create({"status": "Fail"}).submission is Submission.REFUSED
    assert create({"status": "Queueing"}).submission is Submission.AMBIGUOUS
    assert create({"status": "Fail"}, 502).submission is Submission.AMBIGUOUS


def test_an_error_code_in_a_poll() -> None:
    """It is trouble with its own kind, not an unreadable answer; beside a status, the status counts."""
    assert poll(answer(1002)).trouble is Trouble.THROTTLED
    assert poll(answer(1004)).trouble is Trouble.UNAUTHORIZED
    assert poll(answer(1004), 400).trouble is Trouble.UNAUTHORIZED
    assert poll(answer(1013)).trouble is Trouble.UNAVAILABLE
    assert poll(answer(9999)).trouble is Trouble.REJECTED
    assert poll(answer(0)).trouble is Trouble.UNREADABLE
    failed = poll(answer(1026, task_id="t1", status="Fail"))
    assert (failed.status, failed.reason) == (Status.FAILED, Reason.POLICY_REJECTED)
    working = poll(answer(1002, status="Processing"))
    assert (working.status, working.trouble) == (Status.RUNNING, None)
    plain = poll(answer(0, "all right", status="Fail"))
    assert plain.error is not None
    assert (plain.error.code, plain.error.message) == (None, "all right")


# -- results -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "value", "found"),
    [
        ("from_json(a).b", {"a": '{"b": [1]}'}, [1]),
        ("from_json(a).b", {"a": '\ufeff {"b": 1}\n'}, 1),
        ("from_json(from_json(a)).b", {"a": orjson.dumps('{"b": 1}').decode()}, 1),
        ("from_json(a).b", {"a": {"b": 1}}, 1),
        ("from_json(a)", {"a": "no JSON"}, None),
        ("from_json(a).b", {"a": '{"b": 1, "c": NaN} '}, 1),
        ("from_json(a).b", {"a": ""}, None),
        ("from_json(a)", {"a": None}, None),
        ("from_json(a)", {"a": "\ud83d"}, None),
        ("from_json(a)", {"a": "[" * 5000 + "]" * 5000}, None),
        ("a[].from_json(@).b", {"a": ['{"b": 1}', "x", '{"b": 2}']}, [1, 2]),
        ("split(a, ',')", {"a": "x, y,z"}, ["x", "y", "z"]),
        ("split(a, '')", {"a": "x"}, None),
        ("split(a, ',')", {"a": 1}, None),
    ],
)
def test_values_in_strings(expression: str, value: object, found: object) -> None:
    """JSON texts and lists in texts are read; anything else gives null, never an error."""
    assert search(expression, value, "x") == found


def test_from_json_takes_no_other_number_of_arguments() -> None:
    """Its name and arguments are checked as those of any function."""
    (line,) = mistakes(ACME.replace('"job.files[].url"', '"from_json(job, job)"'))
    assert "outputs[1].url: from_json() takes 1 arguments, not 2" in line


@pytest.mark.parametrize(
    "file",
    ["https://c.example/1.mp4", ["https://c.example/1.mp4"], [[[["https://c.example/1.mp4"]]]]],
)
def test_bare_and_nested_lists_of_urls(file: object) -> None:
    """One URL, a list of texts, lists in lists."""
    reading = poll({"status": "Success", "file": {"url": file}})
    assert [output.url for output in reading.outputs] == ["https://c.example/1.mp4"]
    assert reading.detail is None


@pytest.mark.parametrize("between", [",", ", ", ";", " ", "\n", " | "])
def test_several_urls_in_one_text(between: str) -> None:
    """They are several outputs; a comma inside a URL is a part of it."""
    urls = ["https://c.example/1.mp4?a=1,2", "https://c.example/2.mp4?u=https://x.example/"]
    reading = poll({"status": "Success", "file": {"url": between.join(urls)}})
    assert [output.url for output in reading.outputs] == urls


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (None, "outputs.url (file.url) found nothing"),
        ([], "outputs.url (file.url) found nothing"),
        ('{"resultUrls":["https://c.example/1"]}', "found JSON in a text, not a URL; read it with from_json(…)"),
        ("/files/1.mp4", "found a path, not a URL; join it with the host"),
        ("one moment please", "found a text that is not a URL"),
        ({"href": "https://c.example/1"}, "found an object, not a URL"),
        ([7], "found a number, not a URL"),
    ],
)
def test_a_success_without_valid_outputs_reports_what_was_found(url: object, expected: str) -> None:
    """The history and ``why`` show it at once, not only when the grace is over; the value itself is not shown."""
    reading = poll({"status": "Success", "file": {"url": url}})
    assert (reading.status, reading.outputs) == (Status.SUCCEEDED, ())
    assert expected in str(reading.detail)
    assert "example" not in str(reading.detail)


def test_reasons_serve_for_codes_in_the_usual_shapes() -> None:
    """A file without error_code may still say what the codes of a standard error object mean."""
    text = MINIMAX.replace('error_code = "base_resp.status_code"\n', "").replace("1026 =", "unsafe =")
    reading = create({"error": {"code": "unsafe", "message": "words"}}, 400, text)
    assert (reading.submission, reading.reason) == (Submission.REFUSED, Reason.POLICY_REJECTED)


TO_STRING = MINIMAX.replace('"base_resp.status_code"', '"to_string(code)"').replace('"base_resp.status_msg"', '"text"')


@pytest.mark.parametrize(
    "body", [{}, {"ok": True}, {"code": None}, {"code": 201}, {"code": "202"}, {"status": "Queueing"}]
)
def test_no_code_and_a_code_of_success_leave_a_create_open(body: object) -> None:
    """``to_string`` of null is not an error code, nor is HTTP's "created": such a job may have been accepted."""
    assert create(body, text=TO_STRING).submission is Submission.AMBIGUOUS


def test_a_code_that_a_file_names_is_an_error_whatever_its_number() -> None:
    """[reasons] and ``ok_codes`` say what a code means, before HTTP does."""
    named = TO_STRING.replace("[reasons]", '[reasons]\n201 = "quota_exhausted"')
    assert create({"code": 201}, text=named).reason is Reason.QUOTA_EXHAUSTED
    listed = TO_STRING.replace("error_message", "ok_codes = [1]\nerror_message")
    assert create({"code": 201}, text=listed).submission is Submission.REFUSED


@pytest.mark.parametrize(
    ("body", "reason", "code", "message"),
    [
        ({"status": "Fail", "error": {"code": "moderation_blocked", "message": "no"}}, "policy_rejected", None, "no"),
        ({"status": "Fail", "message": "no credit left"}, "generation_failed", None, "no credit left"),
        ({"base_resp": {"status_code": 1008}, "message": "no credit"}, "quota_exhausted", "1008", "no credit"),
    ],
)
def test_a_refused_create_has_the_message_of_the_usual_shapes(
    body: object, reason: str, code: str | None, message: str
) -> None:
    """Without a message or code at the declared paths, those at the usual paths count."""
    reading = create(body)
    assert (reading.submission, reading.reason) == (Submission.REFUSED, reason)
    assert reading.error is not None
    assert reading.error.message == message
    assert code in {None, reading.error.code}


def test_a_failed_task_has_the_message_of_the_usual_shapes() -> None:
    """A poll that says FAILED with an error elsewhere than declared: the task has its code, message and reason."""
    said = {"task_id": "1", "status": "Fail", "error": {"code": "1026", "message": "not this"}}
    reading = poll(said)
    assert (reading.status, reading.reason) == (Status.FAILED, Reason.POLICY_REJECTED)
    assert reading.error is not None
    assert (reading.error.code, reading.error.message) == ("1026", "not this")


@pytest.mark.parametrize("placeholder", ["{task_id}", "{+task_id}"])
@pytest.mark.parametrize(("external_id", "written"), [("..", "%2E%2E"), (".", "%2E")])
def test_dots_in_an_id_are_escaped(placeholder: str, external_id: str, written: str) -> None:
    """``..`` in a path would poll a different resource."""
    text = ACME.replace('"POST /v1/lookup"', f'"POST /v1/lookup/{placeholder}"')
    route, provider = load(text)
    assert provider.poll_request(route, ExternalId(external_id)).path == f"/v1/lookup/{written}"


def test_reasons_serve_for_statuses_without_a_code() -> None:
    """Some APIs say why in the status itself; a code beside it counts first."""
    text = MINIMAX.replace('Fail = "FAILED"', 'Fail = "FAILED"\n"Content Moderated" = "FAILED"').replace(
        "[reasons]", '[reasons]\n"Content *" = "policy_rejected"'
    )
    reading = poll({"task_id": "1", "status": "Content Moderated", "base_resp": {"status_msg": "no"}}, text=text)
    assert reading.reason is Reason.POLICY_REJECTED
    assert reading.error is not None
    assert (reading.error.code, reading.error.message) == ("Content Moderated", "no")
    coded = poll({"task_id": "1", "status": "Content Moderated", "base_resp": {"status_code": 1008}}, text=text)
    assert coded.reason is Reason.QUOTA_EXHAUSTED
    assert create({"status": "Content Moderated"}, text=text).reason is Reason.POLICY_REJECTED
    assert poll({"task_id": "1", "status": "Fail"}, text=text).reason is Reason.GENERATION_FAILED
