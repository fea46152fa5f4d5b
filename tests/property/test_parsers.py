"""No broken payload makes a reader raise an undocumented error or return a success without a file."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kits.clock import RECORDED_AT
from tests.kits.payloads import STAND_INS, list_payloads, make_task, routes_of
from tracker.domain.judge import judge
from tracker.domain.observation import Observation, Reading, Source, Submission, Trouble
from tracker.domain.schedule import PollPolicy, PollTiming
from tracker.domain.task import Status, SubmitState
from tracker.domain.upstream_http import WireReply
from tracker.errors import PayloadInvalid
from tracker.providers.registry import Registry
from tracker.providers.route import Route

REGISTRY = Registry()
BODIES: dict[str, list[Any]] = {route.name: [] for route in REGISTRY.routes()}
for payload in list_payloads(*STAND_INS):
    for reading_route in routes_of(payload, REGISTRY):
        BODIES[reading_route.name].append(payload.content["body"])
SHARED_BODIES = [payload.content["body"] for payload in list_payloads("gateway_errors")]
WORDS = sorted(
    {"SUCCEEDED", "FAILED", "UNKNOWN", "succeed", "failed", "SUCCESS", "FIRST_SUCCESS", "complete", "first", "error"}
    | {"https://cdn.example.com/1.mp4", "javascript:alert(1)", "200", "0", "1302", "5002", "..", "\x00"}
)
FIELDS = ["code", "msg", "message", "data", "output", "task_id", "taskId", "task_status", "status", "results", "url"]
FIELDS += ["id", "type", "choices", "content", "candidates", "parts", "inlineData", "b64_json", "output", "successFlag"]
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
def mutated(draw: st.DrawFn, route: Route) -> Any:  # noqa: ANN401 - any JSON value
    """A recorded body of a route in which a few places hold something else, or nothing."""
    own = BODIES[route.name]
    body = orjson.loads(orjson.dumps(draw(st.sampled_from(own) | st.sampled_from(SHARED_BODIES))))
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


def as_bytes(body: object) -> bytes:
    """JSON bytes; the placeholder for values that JSON cannot express makes them invalid."""
    try:
        return orjson.dumps(body)
    except TypeError:
        return repr(body).encode()


def check_reading(reading: Reading) -> None:
    """Check what holds for every reading, independent of its source."""
    for output in reading.outputs:
        assert sum(1 for held in (output.url, output.text, output.inline) if held) == 1
        if output.url is not None:
            own = output.authenticated and output.url.startswith("/openai/v1/videos/")
            assert own or output.url.lower().startswith(("http://", "https://"))
        if output.inline is not None:
            assert base64.b64decode(output.inline, validate=True)
        assert output.duration_s is None or 0 <= output.duration_s < float("inf")
    if reading.external_id is not None:
        assert reading.external_id
        assert b"\0" not in reading.external_id.encode()
    if reading.status is Status.FAILED:
        assert reading.reason is not None
    if reading.status is not None:
        assert reading.trouble is None
    if reading.outputs:
        assert reading.status in {Status.RUNNING, Status.SUCCEEDED}
    assert reading.retry_after_s is None or reading.retry_after_s >= 0
    error = reading.error
    assert error is None or all(word is None or isinstance(word, str) for word in (error.code, error.message))


def check_nothing_hangs(route: Route, reading: Reading) -> None:
    """After any answer a synchronous task has ended, with nothing left to do, or waits to be sent again."""
    task = make_task(route, "create", None)
    observation = Observation(task.id, Source.SUBMIT, RECORDED_AT, reading, attempt=1)
    after = judge(task, observation, lambda _key: False, PollTiming(PollPolicy(), route.poll_interval_s))[-1].task
    if after.submit_state is SubmitState.QUEUED:
        assert after.due_at is not None
    else:
        assert after.status.is_terminal
        assert after.due_at is None


def check_create(route: Route, reply: WireReply) -> None:
    """The answer to a create always decides its outcome."""
    reading = REGISTRY.provider_of(route).read_create(route, reply)
    check_reading(reading)
    assert reading.submission is not None
    accepted = reading.submission is Submission.ACCEPTED
    if route.mode == "sync":  # it cannot be polled: accepted means ended, and an id is only a reference
        assert accepted == (reading.status is not None and reading.status.is_terminal)
        assert accepted or reading.external_id is None
        assert reading.status is not Status.SUCCEEDED or reading.outputs
        check_nothing_hangs(route, reading)
    else:
        assert (reading.external_id is not None) == accepted
    if reading.submission in {Submission.REFUSED, Submission.DEFERRED}:
        assert reading.reason is not None
    if reading.submission is Submission.ACCEPTED:
        assert reading.status is not None
        is_shown = reading.external_id or (reading.status is Status.SUCCEEDED and reading.outputs)
        assert 200 <= reply.status < 300 or (is_shown and reading.status is not Status.FAILED)


def check_poll(route: Route, reply: WireReply) -> None:
    """The answer to a poll is a status, a trouble or a missing task; an HTTP error only a success with a file."""
    if route.query is None:
        return
    reading = REGISTRY.provider_of(route).read_poll(route, reply)
    check_reading(reading)
    assert reading.submission is None
    assert reading.status is not None or reading.trouble is not None or reading.expired_after_s is not None
    if not 200 <= reply.status < 300 and reading.status is not None:
        assert reading.status is Status.SUCCEEDED
        assert reading.outputs
    elif not 200 <= reply.status < 300:
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
@settings(max_examples=40)
@given(data=st.data(), status=statuses, head=headers)
def test_any_json_answer_is_read(route: Route, data: st.DataObject, status: int, head: dict[str, str]) -> None:
    """Creates and polls are read without an exception, for any JSON with any HTTP status."""
    body = data.draw(values | mutated(route))
    reply = WireReply(status, head, as_bytes(body), RECORDED_AT)
    check_create(route, reply)
    check_poll(route, reply)


@routes
@settings(max_examples=60)
@given(data=st.data())
def test_broken_success_answers_are_read(route: Route, data: st.DataObject) -> None:
    """Recorded answers with something wrong in them, where most of the reading happens: HTTP 200."""
    body = data.draw(mutated(route))
    reply = WireReply(200, {}, as_bytes(body), RECORDED_AT)
    check_create(route, reply)
    check_poll(route, reply)


@routes
@settings(max_examples=15)
@given(raw=st.binary(max_size=64), status=st.integers(200, 599))
def test_any_bytes_are_read(route: Route, raw: bytes, status: int) -> None:
    """Bytes that are not JSON are read as well."""
    reply = WireReply(status, {}, raw, RECORDED_AT)
    check_create(route, reply)
    check_poll(route, reply)


@routes
@settings(max_examples=40)
@given(data=st.data())
def test_any_callback_is_read_or_invalid(route: Route, data: st.DataObject) -> None:
    """A callback raises nothing but `PayloadInvalid`, also on a route that has none."""
    check_callback(route, data.draw(values | mutated(route)))


@routes
@pytest.mark.parametrize("depth", [900, 100_000])
def test_deep_nesting_is_read(route: Route, depth: int) -> None:
    """Nesting as deep as the parser goes, and deeper, breaks nothing."""
    reply = WireReply(200, {}, b"[" * depth + b"]" * depth, RECORDED_AT)
    check_create(route, reply)
    check_poll(route, reply)
