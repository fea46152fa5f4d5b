"""The parts of the client that need no daemon: what it imports, which calls it repeats, and how it verifies hooks."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

import tracker.client
from tests.kits.clock import START
from tests.kits.hooks import make_hook
from tracker.client import (
    AlarmEventView,
    AlarmKind,
    AnswerInvalid,
    ApiError,
    Conflict,
    HookEventView,
    InvalidRequest,
    NotFound,
    OverBudget,
    SignatureInvalid,
    Unauthorized,
    Unavailable,
    Unreachable,
    calls,
    verify_hook,
)
from tracker.client.answers import check_answer
from tracker.client.calls import Filter
from tracker.client.connections import read_url
from tracker.client.errors import ClientError, api_error
from tracker.client.retries import Attempts
from tracker.client.sse import StreamReader
from tracker.domain.hook_events import EVENTS
from tracker.hooks.kinds.http import sign
from tracker.hooks.kinds.script import ScriptAction
from tracker.hooks.runner import encode_event
from tracker.hooks.trial import sample_job

# -- imports -----------------------------------------------------------------------------------------------

PROGRAM = """
import json, sys
import tracker.client
first = set(sys.modules)
from tracker.client import *
print(json.dumps([sorted(first), sorted(sys.modules)]))
"""
ALLOWED = ("tracker.client", "tracker.domain", "tracker.errors")
DAEMON = {"aiosqlite", "apscheduler", "jmespath", "pluggy", "prometheus_client", "pydantic", "sqlite3", "structlog"}


def test_the_import_of_the_client_leaves_the_daemon_out() -> None:
    """Nothing of the daemon, nor of its libraries; before a name is used, hardly anything."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    first, all_names = map(set, json.loads(ran.stdout))
    own = {name for name in all_names if name.startswith("tracker.")}
    assert {name for name in own if not name.startswith(ALLOWED)} == set()
    assert {name.partition(".")[0] for name in all_names} & (DAEMON | {"click", "rich", "uvloop"}) == set()
    assert first & {"aiohttp", "asyncio", "msgspec", "orjson", "tracker.domain"} == set()
    with pytest.raises(AttributeError, match="has no attribute 'Clinet'"):
        tracker.client.Clinet  # type: ignore[attr-defined]  # noqa: B018


# -- URLs and answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("http://a.example:8780/", "http://a.example:8780"),
        ("127.0.0.1:8780", "http://127.0.0.1:8780"),
        ("[::1]:8780", "http://[::1]:8780"),
        ("https://a.example/tracker/", "https://a.example/tracker"),
        ("unix:/run/tracker.sock", "unix:/run/tracker.sock"),
        ("a.example", None),
        ("ftp://a.example", None),
        ("http://a.example:0", None),
        ("http://a.example:port", None),
        ("", None),
    ],
)
def test_urls(given: str, read: str | None) -> None:
    """URLs as in the configuration; anything else is refused with what to write."""
    if read is not None:
        assert read_url(given) == read
        return
    with pytest.raises(ValueError, match="is not a daemon URL; write http://host:port or unix:/path"):
        read_url(given)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidRequest),
        (401, Unauthorized),
        (402, OverBudget),
        (403, Unauthorized),
        (404, NotFound),
        (409, Conflict),
        (410, NotFound),
        (422, InvalidRequest),
        (429, Unavailable),
        (500, ApiError),
        (503, Unavailable),
    ],
)
def test_problem_details_become_errors(status: int, error: type[ApiError]) -> None:
    """Each status has its class, with the fields of the problem."""
    problem = {
        "type": "urn:tracker:problem:some-kind",
        "title": "A title",
        "status": status,
        "detail": "One sentence.",
        "errors": [{"loc": ["request", "prompt"], "msg": "is required"}],
    }
    with pytest.raises(error) as raised:
        check_answer("http://x", status, {"Retry-After": "7"}, json.dumps(problem).encode())
    found = raised.value
    assert type(found) is error
    assert (found.status, found.kind, found.title, str(found)) == (status, "some-kind", "A title", "One sentence.")
    assert [(one.loc, one.msg) for one in found.errors] == [(("request", "prompt"), "is required")]
    assert (found.retry_after_s, found.problem) == (7.0, problem)


@pytest.mark.parametrize(("status", "body"), [(200, b"<html>"), (200, b""), (302, b""), (404, b"[]"), (500, b"{}")])
def test_other_programs_are_recognized(status: int, body: bytes) -> None:
    """An answer that no tracker sends is an error that says so."""
    with pytest.raises(AnswerInvalid, match=f"http://x answered {status}, which is not an answer of a tracker"):
        check_answer("http://x", status, {}, body)


def test_a_proxy_without_the_daemon_is_named() -> None:
    """Its error is temporary, as the daemon may be restarting."""
    with pytest.raises(ApiError, match="a proxy before the tracker does not reach it") as raised:
        check_answer("http://x", 502, {}, b"<html>")
    assert Attempts(calls.get_task("t"), 1.0).pause_after(raised.value) > 0


def test_filters_become_a_query() -> None:
    """Times with a zone, labels, and nothing for None."""
    at = datetime(2026, 11, 20, 20, 42, tzinfo=UTC)
    filters: dict[str, Filter] = {"status": "FAILED", "since": at, "labels": {"user": "42"}, "limit": 5, "q": None}
    expected = {"status": "FAILED", "since": "2026-11-20T20:42:00+00:00", "label.user": "42", "limit": "5"}
    assert calls.make_query(filters) == expected
    with pytest.raises(ValueError, match="until: the time 2026-11-20T20:42:00 has no time zone"):
        calls.make_query({"until": at.replace(tzinfo=None)})


# -- repetitions -------------------------------------------------------------------------------------------

LOST = Unreachable("u", "reset", is_sent=True)
REFUSED = Unreachable("u", "refused", is_sent=False)


def problem(status: int, kind: str, retry_after_s: float | None = None) -> ApiError:
    """A refused call."""
    return api_error(status, {"type": f"urn:tracker:problem:{kind}", "title": kind}, retry_after_s)


SAFE = {"a look-up": calls.get_task("t"), "a submit": calls.submit("r", {}), "a resubmit": calls.resubmit("t")}
ONCE = {"a cancel": calls.cancel("t"), "an adoption": calls.adopt("t", "x")}


@pytest.mark.parametrize("name", [*SAFE, *ONCE])
def test_calls_are_repeated_where_that_does_no_harm(name: str) -> None:
    """What certainly did nothing always; what may have been done only if twice is as once; refusals never."""
    call = (SAFE | ONCE)[name]
    failures: dict[ClientError, bool] = {
        REFUSED: True,
        LOST: name in SAFE,
        problem(503, "store-unavailable"): True,
        problem(503, "stopping"): True,
        problem(503, "something-else"): name in SAFE,
        problem(429, "slow-down"): name in SAFE,
        problem(500, "write-unknown"): name in SAFE,
        problem(409, "submit-in-flight"): name in SAFE,
        problem(503, "not-asked"): False,
        problem(500, "internal"): False,
        problem(409, "task-ended"): False,
        problem(422, "invalid-input"): False,
        problem(402, "over-budget"): False,
        AnswerInvalid("x", 200): False,
    }
    for failure, is_repeated in failures.items():
        attempts = Attempts(call, 1.0)
        if is_repeated:
            assert 0 < attempts.pause_after(failure) <= 1.0, failure
            continue
        with pytest.raises(type(failure)) as raised:
            attempts.pause_after(failure)
        assert raised.value is failure


def pauses_of(call: calls.Call, failure: ClientError, patience_s: float) -> Iterator[float]:
    """The pauses while a call fails, until it is given up."""
    now = [0.0]
    attempts = Attempts(call, patience_s, monotonic=lambda: now[0], draw=lambda: 0.5)
    with suppress(type(failure)):
        while True:
            pause_s = attempts.pause_after(failure)
            now[0] += pause_s
            yield pause_s


def test_pauses_grow_and_end() -> None:
    """They double up to a limit, follow Retry-After, and stop when patience is over."""
    pauses = list(pauses_of(calls.get_task("t"), REFUSED, 30.0))
    assert pauses[:6] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0])
    assert sum(pauses) == pytest.approx(30.0)
    assert Attempts(calls.get_task("t"), 30.0).pause_after(problem(503, "x", 7.0)) == 7.0
    with pytest.raises(Unreachable):
        Attempts(calls.get_task("t"), 0).pause_after(REFUSED)


def test_a_submit_under_way_is_waited_for() -> None:
    """An earlier call with the same key may take as long as a create, unless nothing is repeated."""
    failure = problem(409, "submit-in-flight")
    assert sum(pauses_of(calls.submit("r", {}), failure, 1.0)) == pytest.approx(calls.SUBMIT_ANSWER_S)
    assert sum(pauses_of(calls.submit("r", {}), failure, 0.0)) == 0


def test_a_submit_always_has_a_key() -> None:
    """One of its own for each call, or the caller's."""
    keys = {calls.submit("r", {}).headers["Idempotency-Key"] for _ in range(3)}
    assert len(keys) == 3
    assert calls.submit("r", {}, idempotency_key="order-7").headers["Idempotency-Key"] == "order-7"


# -- the stream --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_stream_is_read_in_pieces_of_any_size(size: int) -> None:
    """The position moves when a message is complete; what is cut off is read again after it."""
    body = b'id: 4\n\n: ping\nid: 5\r\nevent: task\r\ndata: {"seq": 5}\r\n\r\n'
    body += b'id:7\nevent:gap\ndata:{"from": 6,\ndata:"to": 7}\n\n'
    cut = b'id: 8\nevent: task\ndata: {"seq'
    reader = StreamReader({"route": "r"}, None)
    assert "Last-Event-ID" not in reader.call().headers
    found = [one for at in range(0, len(body + cut), size) for one in reader.feed((body + cut)[at : at + size])]
    assert [(one.kind, one.json) for one in found if one.data] == [("task", {"seq": 5}), ("gap", {"from": 6, "to": 7})]
    call = reader.call()
    assert (call.headers["Last-Event-ID"], call.query) == ("7", {"route": "r"})
    assert [one.json for one in reader.feed(b'id: 8\nevent: task\ndata: {"seq": 8}\n\n')] == [{"seq": 8}]


def test_a_stream_of_another_program_is_refused() -> None:
    """Ids are numbers."""
    with pytest.raises(AnswerInvalid, match="an id that is not a number"):
        list(StreamReader({}, 0).feed(b"id: abc\n\n"))


# -- hooks -------------------------------------------------------------------------------------------------

OLD, NEW, OTHER = ("whsec_" + base64.b64encode(name * 8).decode() for name in (b"old!", b"new!", b"else"))
ID = "dlv_1"


def request_of(event: str = "task.succeeded", secrets: str = OLD, age_s: float = 0) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a request, as the daemon makes them."""
    job = sample_job(make_hook("h", (event,), ScriptAction.of(["-"])), event, START)
    body = encode_event(job)
    at = datetime.now(UTC) - timedelta(seconds=age_s)
    return body, sign(tuple(map(Webhook, secrets.split())), ID, at, body)


@pytest.mark.parametrize("event", EVENTS)
def test_a_hook_is_verified_and_read(event: str) -> None:
    """Every event that the daemon sends, as the record that it is made of."""
    body, headers = request_of(event)
    found = verify_hook(body, {name.title(): value for name, value in headers.items()}, OLD)
    assert found.type == event
    sent = json.loads(body)
    assert found.delivery_id == sent["delivery_id"]
    if isinstance(found, AlarmEventView):
        assert found.alarm.kind is AlarmKind(sent["alarm"]["kind"])
    else:
        assert isinstance(found, HookEventView)
        assert (found.task.id, found.task.status) == (sent["task"]["id"], sent["task"]["status"])
        assert [output.url for output in found.task.outputs] == [one["url"] for one in sent["task"]["outputs"]]


@pytest.mark.parametrize(
    ("signed_with", "known"),
    [(OLD, f"{NEW} {OLD}"), (OLD, [NEW, OLD]), (f"{NEW} {OLD}", OLD), (f"{NEW} {OLD}", NEW), (OLD, OLD[6:])],
)
def test_a_secret_is_changed_without_a_gap(signed_with: str, known: str | list[str]) -> None:
    """The sender and the receiver may each know the old one, the new one or both; the prefix may be missing."""
    body, headers = request_of(secrets=signed_with)
    assert verify_hook(body.decode(), headers, known).type == "task.succeeded"


MALFORMED: dict[str, dict[str, Any]] = {
    "another secret": {"secret": OTHER},
    "another body": {"body": b"{}"},
    "a body that is not text": {"body": b"\xff"},
    "another id": {"webhook-id": "dlv_2"},
    "another time": {"webhook-timestamp": str(int(datetime.now(UTC).timestamp()) + 30)},
    "no time": {"webhook-timestamp": "soon"},
    "not a number": {"webhook-timestamp": "nan"},
    "no signature": {"webhook-signature": ""},
    "no version": {"webhook-signature": "abc"},
    "another version": {"webhook-signature": "v2,abc="},
    "not base64": {"webhook-signature": "v1,é"},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_wrong_signature_is_refused(name: str) -> None:
    """One sentence without the expected signature."""
    body, headers = request_of()
    expected = headers["webhook-signature"].partition(",")[2]
    given = dict(MALFORMED[name])
    secret, body = given.pop("secret", OLD), given.pop("body", body)
    with pytest.raises(SignatureInvalid, match=r"^the request of the hook is not accepted: [a-z ]+$") as raised:
        verify_hook(body, headers | given, secret)
    assert expected not in str(raised.value)


@pytest.mark.parametrize("age_s", [400, -400])
def test_an_old_request_is_refused(age_s: float) -> None:
    """A recorded request cannot be sent again later."""
    body, headers = request_of(age_s=age_s)
    with pytest.raises(SignatureInvalid, match=r"message timestamp too (old|new)"):
        verify_hook(body, headers, OLD)
    assert verify_hook(*request_of(age_s=age_s / 2), OLD).type == "task.succeeded"


@pytest.mark.parametrize("secret", ["", " ", [], "whsec_", "whsec_x"])
def test_a_secret_that_is_none_is_an_error_of_the_program(secret: str | list[str]) -> None:
    """It is not taken for a wrong signature."""
    with pytest.raises(ValueError, match='"whsec_" and base64'):
        verify_hook(*request_of(), secret)


def test_an_event_of_another_version_is_an_error() -> None:
    """A body with a right signature that cannot be read."""
    body = b'{"type": "task.paused"}'
    headers = sign((Webhook(OLD),), ID, datetime.now(UTC), body)
    with pytest.raises(AnswerInvalid, match="use the same version of tracker on both sides"):
        verify_hook(body, headers, OLD)
