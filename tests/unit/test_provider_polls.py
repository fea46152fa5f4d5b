"""Statuses and troubles, by table: what polls and callbacks report about a task that has not ended."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kits.providers import (
    DASHSCOPE,
    DEFERRED,
    KLING,
    ROUTES,
    SUNO,
    callback,
    create,
    dashscope_task,
    kling_task,
    poll,
    suno_callback,
    suno_task,
)
from tracker.domain.observation import Trouble
from tracker.domain.task import Reason, Stage, Status


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("PENDING", Status.PENDING),
        ("SUSPENDED", Status.PENDING),
        ("RUNNING", Status.RUNNING),
        ("running", Status.RUNNING),
        ("SUCCEEDED", Status.SUCCEEDED),
        ("FAILED", Status.FAILED),
        ("CANCELED", Status.FAILED),
        ("CANCELLED", Status.FAILED),
    ],
)
def test_dashscope_statuses(said: str, status: Status) -> None:
    """Each DashScope status is read the same from a poll and from an event, and stored verbatim."""
    for reading in (
        poll(DASHSCOPE, dashscope_task(said)),
        callback(DASHSCOPE, {"id": "event", "data": {"task_id": "d-1", "task_status": said}}),
    ):
        assert (reading.status, reading.upstream_status, reading.external_id) == (status, said, "d-1")
        assert reading.outputs == ()
        assert (reading.reason is Reason.GENERATION_FAILED) is (status is Status.FAILED)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("submitted", Status.PENDING),
        ("processing", Status.RUNNING),
        ("succeed", Status.SUCCEEDED),
        ("succeeded", Status.SUCCEEDED),
        ("failed", Status.FAILED),
    ],
)
def test_kling_statuses(said: str, status: Status) -> None:
    """Each Kling status is read the same in both dialects, from polls, callbacks and lists of one."""
    old: dict[str, Any] = {"task_id": "k-1", "task_status": said}
    new: dict[str, Any] = {"id": "k-1", "status": said, "external_id": "mine"}
    readings = [callback(KLING, task) for task in (old, new, {"code": 0, "data": old})]
    readings += [poll(KLING, {"code": 0, "data": data}) for data in (old, new, [old], [new])]
    for reading in readings:
        assert (reading.status, reading.upstream_status, reading.external_id) == (status, said, "k-1")


@pytest.mark.parametrize(
    ("said", "status", "stage", "progress"),
    [
        ("PENDING", Status.PENDING, None, None),
        ("TEXT_SUCCESS", Status.RUNNING, Stage.TEXT, None),
        ("FIRST_SUCCESS", Status.RUNNING, Stage.FIRST, 50),
        ("SUCCESS", Status.SUCCEEDED, Stage.COMPLETE, None),
        ("CREATE_TASK_FAILED", Status.FAILED, None, None),
        ("GENERATE_AUDIO_FAILED", Status.FAILED, None, None),
        ("SENSITIVE_WORD_ERROR", Status.FAILED, None, None),
        ("CALLBACK_EXCEPTION", Status.RUNNING, None, None),
    ],
)
def test_suno_song_statuses(said: str, status: Status, stage: Stage | None, progress: int | None) -> None:
    """Each song status is read as the contract says; without tracks there are no outputs."""
    reading = poll(SUNO, suno_task(said))
    assert (reading.status, reading.stage, reading.progress) == (status, stage, progress)
    assert (reading.upstream_status, reading.external_id, reading.outputs) == (said, "s-1", ())


@pytest.mark.parametrize(
    ("phase", "status", "stage", "progress"),
    [
        ("text", Status.RUNNING, Stage.TEXT, None),
        ("first", Status.RUNNING, Stage.FIRST, 50),
        ("complete", Status.SUCCEEDED, Stage.COMPLETE, None),
        ("COMPLETE", Status.SUCCEEDED, Stage.COMPLETE, None),
        ("error", Status.FAILED, None, None),
        ("failed", Status.FAILED, None, None),
    ],
)
def test_suno_song_phases(phase: str, status: Status, stage: Stage | None, progress: int | None) -> None:
    """Each callback phase is read the same in both wrappings, whatever code of success comes along."""
    bare = {"callbackType": phase, "task_id": "s-1", "data": []}
    for body in (suno_callback(phase), suno_callback(phase, code="0"), suno_callback(phase, code=None), bare):
        reading = callback(SUNO, body)
        assert (reading.status, reading.stage, reading.progress) == (status, stage, progress)
        assert (reading.external_id, reading.upstream_status) == ("s-1", phase)


def test_unknown_statuses_are_never_an_end() -> None:
    """An unknown status is trouble with its name, never an end, by every channel."""
    readings = [
        poll(DASHSCOPE, dashscope_task("NEW")),
        callback(DASHSCOPE, {"data": {"task_id": "d-1", "task_status": "NEW"}}),
        poll(KLING, kling_task("NEW")),
        callback(KLING, {"task_id": "k-1", "task_status": "NEW"}),
        poll(SUNO, suno_task("NEW")),
        callback(SUNO, suno_callback("NEW")),
    ]
    for reading in readings:
        assert (reading.status, reading.trouble) == (None, Trouble.UNKNOWN_STATUS)
        assert reading.upstream_status == "NEW"
        assert reading.external_id is not None


def test_missing_statuses_are_unreadable() -> None:
    """A payload without a status is unreadable; a callback without one causes a poll."""
    for reading in (
        poll(DASHSCOPE, dashscope_task(None)),
        poll(KLING, kling_task(" ")),
        callback(KLING, {"task_id": "k-1"}),
        poll(SUNO, suno_task(None)),
        callback(SUNO, suno_callback(None)),
    ):
        assert (reading.status, reading.trouble) == (None, Trouble.UNREADABLE)


def test_dashscope_unknown_means_expired_only_later() -> None:
    """UNKNOWN changes nothing for a young task, and means that an old one has expired."""
    reading = poll(DASHSCOPE, dashscope_task("UNKNOWN"))
    assert (reading.status, reading.trouble, reading.expired_after_s) == (None, None, 86400)
    assert reading.upstream_status == "UNKNOWN"
    assert reading.detail


KLING_POLLS = [
    *((401, code, Trouble.UNAUTHORIZED) for code in range(1000, 1005)),
    (429, 1102, Trouble.REJECTED),
    (403, 1103, Trouble.UNAUTHORIZED),
    (400, 1201, Trouble.REJECTED),
    (404, 1202, Trouble.NOT_FOUND),
    (404, 1203, Trouble.NOT_FOUND),
    (200, 1203, Trouble.NOT_FOUND),
    (429, 1302, Trouble.THROTTLED),
    (429, 1304, Trouble.UNAUTHORIZED),
    (500, 5000, Trouble.UNAVAILABLE),
    (503, 5001, Trouble.UNAVAILABLE),
    (504, 5002, Trouble.UNAVAILABLE),
]
SUNO_POLLS = [
    (401, Trouble.UNAUTHORIZED),
    (404, Trouble.NOT_FOUND),
    (405, Trouble.THROTTLED),
    (413, Trouble.REJECTED),
    (429, Trouble.REJECTED),
    (430, Trouble.THROTTLED),
    (455, Trouble.UNAVAILABLE),
    (500, Trouble.UNAVAILABLE),
    (501, Trouble.REJECTED),
    (504, Trouble.UNAVAILABLE),
]


@pytest.mark.parametrize(("status", "code", "trouble"), KLING_POLLS)
def test_kling_poll_codes(status: int, code: int, trouble: Trouble) -> None:
    """An error code on a poll is trouble of its kind and does not change the task."""
    reading = poll(KLING, {"code": code, "message": "m", "request_id": "r"}, status)
    assert (reading.status, reading.trouble) == (None, trouble)


@pytest.mark.parametrize(("code", "trouble"), SUNO_POLLS)
def test_suno_poll_codes(code: int, trouble: Trouble) -> None:
    """A body code other than success on a poll is trouble, also when there is data beside it."""
    for data in (None, {"taskId": "s-1", "status": "SUCCESS"}):
        reading = poll(SUNO, {"code": code, "msg": "m", "data": data})
        assert (reading.status, reading.trouble) == (None, trouble)


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize(
    ("status", "kind", "code", "trouble"),
    [
        (429, "rate_limit_error", 429, Trouble.THROTTLED),
        (429, "insufficient_quota", 429, Trouble.REJECTED),
        (200, None, 429, Trouble.THROTTLED),
        (405, None, 405, Trouble.REJECTED),
        (404, None, 404, Trouble.NOT_FOUND),
        (500, None, 500, Trouble.UNAVAILABLE),
        (502, "upstream_error", 502, Trouble.UNAVAILABLE),
    ],
)
def test_numbers_inside_error_on_a_poll(
    *, name: str, status: int, kind: str | None, code: int, trouble: Trouble
) -> None:
    """They repeat an HTTP status, whatever the family's own numbers mean."""
    reading = poll(name, {"error": {"message": "m", "type": kind, "code": code}}, status)
    assert (reading.status, reading.trouble) == (None, trouble)


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        (200, Trouble.UNREADABLE),
        (400, Trouble.REJECTED),
        (401, Trouble.UNAUTHORIZED),
        (403, Trouble.UNAUTHORIZED),
        (404, Trouble.NOT_FOUND),
        (410, Trouble.NOT_FOUND),
        (429, Trouble.THROTTLED),
        (500, Trouble.UNAVAILABLE),
        (502, Trouble.UNAVAILABLE),
        (503, Trouble.UNAVAILABLE),
        (504, Trouble.UNAVAILABLE),
        (529, Trouble.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[]", b'"text"', b"{}"])
def test_poll_without_a_readable_body(name: str, status: int, trouble: Trouble, body: bytes) -> None:
    """Without a readable body, the HTTP status decides the trouble."""
    reading = poll(name, body, status, retry_after="3")
    assert (reading.status, reading.trouble, reading.retry_after_s) == (None, trouble, 3)


@pytest.mark.parametrize("data", [None, []])
def test_record_not_visible_yet(data: object) -> None:
    """Just after a create there may be no record, which is not the same as an unknown id."""
    assert poll(KLING, {"code": 0, "data": data}).trouble is Trouble.NOT_VISIBLE
    assert poll(SUNO, {"code": 200, "msg": "success", "data": None}).trouble is Trouble.NOT_VISIBLE


def test_a_poll_reply_with_several_tasks_is_unreadable() -> None:
    """A reply with two tasks is unreadable."""
    body = {"code": 0, "data": [{"id": "a", "status": "failed"}, {"id": "b", "status": "succeeded"}]}
    assert poll(KLING, body).trouble is Trouble.UNREADABLE


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "m", "type": "rate_limit_error", "code": "rate_limit_exceeded"}},
        {"type": "error", "error": {"type": "rate_limit_error", "message": "m"}},
    ],
)
def test_gateway_errors_inside_http_200(body: object) -> None:
    """An error in a success is still an error; the Anthropic shape has a type instead of a code."""
    for name in ROUTES:
        assert poll(name, body).trouble is Trouble.THROTTLED
        assert create(name, body).submission is DEFERRED


def test_gemini_shape_is_read() -> None:
    """Gemini's errors carry a numeric code beside a status."""
    body = {"error": {"code": 429, "message": "Resource exhausted", "status": "RESOURCE_EXHAUSTED"}}
    reading = poll(DASHSCOPE, body, 429)
    assert reading.error is not None
    assert (reading.error.code, reading.error.message) == ("429", "Resource exhausted")
