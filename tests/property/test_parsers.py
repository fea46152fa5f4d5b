"""No payload, however broken, makes a reader raise what it must not, or invents a success without a file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.payloads import NOW, STAND_INS, list_payloads
from tracker.domain.observation import Reading, Submission, Trouble
from tracker.domain.task import Status
from tracker.domain.wire import WireReply
from tracker.errors import PayloadInvalid
from tracker.providers.base import Route
from tracker.providers.fields import MAX_ID_LENGTH
from tracker.providers.registry import Registry

REGISTRY = Registry()
BODIES = [payload.content["body"] for payload in list_payloads(*STAND_INS, "gateway_errors")]
WORDS = sorted(
    {"SUCCEEDED", "FAILED", "UNKNOWN", "succeed", "failed", "SUCCESS", "FIRST_SUCCESS", "complete", "first", "error"}
    | {"https://cdn.example.com/1.mp4", "javascript:alert(1)", "200", "0", "1302", "5002", "..", "\x00"}
)
FIELDS = ["code", "msg", "message", "data", "output", "task_id", "taskId", "task_status", "status", "results", "url"]
FIELDS += ["callbackType", "response", "sunoData", "audioUrl", "audio_url", "task_result", "videos", "outputs", "error"]

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(WORDS)
    | st.just("x" * 9000)
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)
statuses = st.sampled_from([200, 201, 204, 301, 400, 401, 403, 404, 408, 429, 500, 502, 503, 504, 529, 599])
headers = st.dictionaries(st.sampled_from(["retry-after", "date", "content-type"]), st.text(max_size=40), max_size=3)
routes = pytest.mark.parametrize("route", REGISTRY.routes(), ids=lambda route: route.name)


@st.composite
def mutated(draw: st.DrawFn) -> Any:  # noqa: ANN401 - any JSON value
    """A recorded body in which one place holds something else, or nothing."""
    body = orjson.loads(orjson.dumps(draw(st.sampled_from(BODIES))))
    for _ in range(draw(st.integers(1, 3))):
        holder: Any = None
        key: Any = None
        at = body
        while isinstance(at, (dict, list)) and at and (holder is None or draw(st.booleans())):
            holder = at
            key = draw(st.sampled_from(list(at) if isinstance(at, dict) else list(range(len(at)))))
            at = at[key]
        if holder is None:
            return draw(values)
        if draw(st.integers(0, 3)):
            holder[key] = draw(values)
        else:
            del holder[key]
    return body


bodies = values | mutated()


def as_bytes(body: object) -> bytes:
    """JSON bytes; the placeholder for what no JSON library writes is no JSON either."""
    try:
        return orjson.dumps(body)
    except TypeError:
        return repr(body).encode()


def check_reading(reading: Reading) -> None:
    """What holds for every reading, whatever it was read from."""
    for output in reading.outputs:
        assert output.url
        assert output.url.lower().startswith(("http://", "https://"))
        assert output.duration_s is None or 0 <= output.duration_s < float("inf")
    if reading.external_id is not None:
        assert 0 < len(reading.external_id) <= MAX_ID_LENGTH
        assert reading.external_id.isprintable()
    if reading.status is Status.FAILED:
        assert reading.reason is not None
    if reading.status is not None:
        assert reading.trouble is None
    if reading.outputs:
        assert reading.status in {Status.RUNNING, Status.SUCCEEDED}
    assert reading.retry_after_s is None or reading.retry_after_s >= 0
    error = reading.error
    assert error is None or all(word is None or isinstance(word, str) for word in (error.code, error.message))


def check_create(route: Route, reply: WireReply) -> None:
    """The answer to a create always tells what became of it."""
    reading = REGISTRY.provider_of(route).read_create(route, reply)
    check_reading(reading)
    assert reading.submission is not None
    assert (reading.external_id is not None) == (reading.submission is Submission.ACCEPTED)
    if reading.submission in {Submission.REFUSED, Submission.DEFERRED}:
        assert reading.reason is not None
    if reading.submission is Submission.ACCEPTED:
        assert 200 <= reply.status < 300
        assert reading.status is not None


def check_poll(route: Route, reply: WireReply) -> None:
    """The answer to a poll says a status, a trouble, or that the task is gone; an error never says a status."""
    reading = REGISTRY.provider_of(route).read_poll(route, reply)
    check_reading(reading)
    assert reading.submission is None
    assert reading.status is not None or reading.trouble is not None or reading.expired_after_s is not None
    if not 200 <= reply.status < 300:
        assert reading.status is None
        assert reading.trouble not in {None, Trouble.UNKNOWN_STATUS, Trouble.NOT_VISIBLE}


def check_callback(route: Route, body: object) -> None:
    """A callback is read or invalid, and so are the ids in it."""
    provider = REGISTRY.provider_of(route)
    calls: list[Callable[[], object]] = [
        lambda: check_reading(provider.read_callback(route, body)),
        lambda: provider.callback_ids(body)[0],
    ]
    for call in calls:
        with contextlib.suppress(PayloadInvalid):
            call()


@routes
@given(body=bodies, status=statuses, head=headers)
def test_any_json_answer_is_read(route: Route, body: object, status: int, head: dict[str, str]) -> None:
    """Creates and polls are read without an exception, whatever JSON comes with whatever status."""
    reply = WireReply(status, head, as_bytes(body), NOW)
    check_create(route, reply)
    check_poll(route, reply)


@routes
@given(body=mutated())
def test_broken_success_answers_are_read(route: Route, body: object) -> None:
    """Recorded answers with something wrong in them, where most of the reading happens: HTTP 200."""
    reply = WireReply(200, {}, as_bytes(body), NOW)
    check_create(route, reply)
    check_poll(route, reply)


@routes
@given(raw=st.binary(max_size=64), status=st.integers(200, 599))
def test_any_bytes_are_read(route: Route, raw: bytes, status: int) -> None:
    """Bytes that are no JSON are read as well."""
    reply = WireReply(status, {}, raw, NOW)
    check_create(route, reply)
    check_poll(route, reply)


@routes
@given(body=bodies)
def test_any_callback_is_read_or_invalid(route: Route, body: object) -> None:
    """A callback raises nothing but `PayloadInvalid`."""
    check_callback(route, body)


@routes
@pytest.mark.parametrize("depth", [900, 100_000])
def test_deep_nesting_is_read(route: Route, depth: int) -> None:
    """Nesting as deep as the parser goes, and deeper, breaks nothing."""
    reply = WireReply(200, {}, b"[" * depth + b"]" * depth, NOW)
    check_create(route, reply)
    check_poll(route, reply)
