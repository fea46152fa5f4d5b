"""Valid answers of every family, written and wrapped as other servers do: everything that a human reader finds is read.

A visible id is never lost, a finished result never missed, nothing raises, and only failures are read as failures.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kits.clock import RECORDED_AT
from tests.kits.payloads import STAND_INS, Payload, list_payloads, routes_of
from tracker.domain.lenient_json.decoder import decode
from tracker.domain.observation import Reading, Submission
from tracker.domain.task import Status
from tracker.domain.upstream_http import WireReply, payload_text
from tracker.providers.provider import Provider
from tracker.providers.reading.requests import path_segment, written_id
from tracker.providers.registry import Registry
from tracker.providers.route import Route

REGISTRY = Registry()
Draw = Callable[..., Any]
ID_KEYS = ("task_id", "taskId", "id")
STATUS_KEYS = frozenset({"task_status", "status", "successFlag", "callbackType"})
QUICK, LONG = 10, 2000


def find_cases(channel: str) -> list[tuple[Payload, Route]]:
    """Answers that name a task: creates that are accepted; polls and callbacks with a status of their own."""
    return [
        (payload, route)
        for payload in list_payloads(*STAND_INS)
        if payload.channel == channel and payload.content["body"] is not None and payload.content["expect"]["task_id"]
        if 200 <= payload.content["http_status"] < 300 and "signature" not in payload.content
        for route in routes_of(payload, REGISTRY)[:1]
        if route.mode == "task" and _says(payload, route).external_id is not None
    ]


def _says(payload: Payload, route: Route) -> Reading:
    return read(REGISTRY.provider_of(route), route, payload.channel, payload.raw)


def read(provider: Provider, route: Route, channel: str, raw: bytes, content_type: str = "application/json") -> Reading:
    """Read raw bytes from one channel, as the daemon does."""
    reply = WireReply(200, {"content-type": content_type}, raw, RECORDED_AT)
    if channel == "create":
        return provider.read_create(route, reply)
    if channel == "poll":
        return provider.read_poll(route, reply)
    decoded = decode(raw, content_type)
    assert decoded.fault is None, decoded
    return provider.read_callback(route, decoded.value)


CASES = {channel: find_cases(channel) for channel in ("create", "poll", "callback")}
ALL = [case for cases in CASES.values() for case in cases]
every_case = pytest.mark.parametrize(
    ("payload", "route"), ALL, ids=[f"{payload.family}/{payload.case}" for payload, _ in ALL]
)
fuzz = settings(deadline=None, derandomize=True, max_examples=QUICK, suppress_health_check=list(HealthCheck))

ids = st.one_of(
    st.text(st.characters(exclude_characters="\u2400", exclude_categories=["Cs"]), min_size=1, max_size=30),
    st.sampled_from(["models/veo-3/operations/abc", "../../x", "a b?c#d%2Fe", "..", "\U0001f3ac", "a\nb\tc", "a\0b"]),
    st.integers(1, 10**40),
    st.integers(500, 9000).map(lambda length: "x" * length),
)


def with_id(value: Any, old: str, new: object) -> Any:  # noqa: ANN401 - any JSON
    """The same body with another id wherever the old one is a complete value."""
    if isinstance(value, dict):
        return {key: with_id(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [with_id(item, old, new) for item in value]
    return new if isinstance(value, (str, int)) and str(value) == old else value


def in_other_case(value: Any, draw: Draw) -> Any:  # noqa: ANN401 - any JSON
    """The same body with its statuses in another spelling."""
    if isinstance(value, dict):
        return {
            key: respelled(item, draw) if key in STATUS_KEYS and isinstance(item, str) else in_other_case(item, draw)
            for key, item in value.items()
        }
    return [in_other_case(item, draw) for item in value] if isinstance(value, list) else value


def respelled(word: str, draw: Draw) -> str:
    """A status in another case."""
    return str(draw(st.sampled_from([word, word.lower(), word.upper(), word.capitalize(), f" {word} "])))


WRAPPINGS = (
    lambda body: body,
    lambda body: {"code": "success", "message": "", "data": body},
    lambda body: {"code": 0, "data": body},
    lambda body: {"code": 200, "msg": "ok", "data": [body]},
    lambda body: {"success": True, "result": body},
    lambda body: {"code": "success", "data": {"code": 0, "message": "SUCCEED", "data": body}},
    lambda body: {"code": 0, "data": json.dumps(body)},
    lambda body: [body],
    json.dumps,
    lambda body: {"request_id": "req-1", "response": body, "elapsed": 3},
)
LEGACY = ("latin-1", "gb18030", "utf-8", "utf-16")


@st.composite
def written(draw: st.DrawFn, body: Any) -> tuple[bytes, str]:  # noqa: ANN401 - any JSON
    """A body as bytes with its Content-Type, in one of the forms in which servers write JSON."""
    codec = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", *LEGACY]))
    text = json.dumps(body, ensure_ascii=draw(st.booleans()) or codec == "latin-1")
    if isinstance(body, dict):
        odd = draw(st.sampled_from(["", '"eta":NaN,', '"max":-Infinity,', '"note":"one\ntwo\t\x01",', '"big":1e999,']))
        text = "{" + odd + text[1:] if len(body) else text
        text = text[:-1] + draw(st.sampled_from(["}", ",}", ' , "z":[[[1]]]}']))
    text = draw(st.sampled_from(["", " \r\n", ")]}'\n"])) + text
    text += draw(st.sampled_from(["", "\n", '{"second":1}', "<!-- 3 ms --></html>", "\0\0"]))
    declared = draw(st.sampled_from(["application/json", f"application/json; charset={codec}", "text/html;charset=x"]))
    if codec in {"latin-1", "gb18030"}:
        declared = f"application/json; charset={codec}"
    raw = text.encode(codec)
    return (gzip.compress(raw) if draw(st.integers(0, 9)) == 0 else raw), declared


def check_same(found: Reading, expected: Reading, external_id: str) -> None:
    """The task, its state and its files are those of the plain answer."""
    assert found.external_id is not None
    assert written_id(found.external_id) == external_id
    assert path_segment(found.external_id)
    assert found.external_id.encode()
    assert (found.status, found.submission, found.stage) == (expected.status, expected.submission, expected.stage)
    assert found.reason == expected.reason
    here = [(output.kind, output.text, output.inline, output.authenticated) for output in found.outputs]
    assert here == [(output.kind, output.text, output.inline, output.authenticated) for output in expected.outputs]
    urls = [(output.url, output.title, output.duration_s) for output in found.outputs if not output.authenticated]
    assert urls == [(o.url, o.title, o.duration_s) for o in expected.outputs if not o.authenticated]


@every_case
@fuzz
@given(data=st.data())
def test_an_answer_in_another_form_is_read_the_same(payload: Payload, route: Route, data: st.DataObject) -> None:
    """Encodings, literals, envelopes, case and ids change nothing of what an answer says."""
    check_other_form(payload, route, data)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@every_case
@settings(fuzz, max_examples=LONG, derandomize=False)
@given(data=st.data())
def test_the_same_for_long(payload: Payload, route: Route, data: st.DataObject) -> None:
    """The same with two hundred times the examples, others each time."""
    check_other_form(payload, route, data)


def check_other_form(payload: Payload, route: Route, data: st.DataObject) -> None:
    """Write an answer in another form, and read both."""
    provider = REGISTRY.provider_of(route)
    expected = _says(payload, route)
    old = payload.content["expect"]["task_id"]
    new = data.draw(ids.filter(lambda value: str(value).strip(" \t\r\n") == str(value) and str(value) != old))
    body = with_id(deepcopy(payload.content["body"]), old, new)
    if expected.trouble is None:
        body = in_other_case(body, data.draw)
    wrapped = data.draw(st.sampled_from(WRAPPINGS))(body)
    raw, declared = data.draw(written(wrapped))
    found = read(provider, route, payload.channel, raw, declared)
    check_same(found, expected, str(new))
    if payload.channel == "callback":
        assert [written_id(name) for name in provider.callback_ids(decode(raw, declared).value)][:1] == [str(new)]
    decoded = decode(raw, declared)
    if decoded.text is not None:  # a large body is written in pieces
        assert orjson.loads(payload_text(raw, bytes.decode, decoded) or "") is not None


@pytest.mark.parametrize(
    ("payload", "route"), CASES["create"], ids=[f"{payload.family}/{payload.case}" for payload, _ in CASES["create"]]
)
@fuzz
@given(data=st.data())
def test_an_id_survives_broken_neighbours(payload: Payload, route: Route, data: st.DataObject) -> None:
    """Whatever else is odd, missing or cut off in the answer to a create: the id in it is read."""
    provider = REGISTRY.provider_of(route)
    old = payload.content["expect"]["task_id"]
    body = deepcopy(payload.content["body"])
    holder = next(holder for holder in holders_of(body) if old in holder.values())
    junk: Any = data.draw(st.sampled_from([None, 7, "?", [], {}, ["x"], {"a": [1]}]))
    for key in data.draw(st.lists(st.sampled_from(sorted(holder)), unique=True)):
        if holder[key] != old:
            holder[key] = junk
    holder |= data.draw(st.dictionaries(st.text(max_size=6).filter(lambda key: key not in holder), st.integers()))
    found = read(provider, route, "create", json.dumps(body).encode())
    assert (found.external_id, found.submission) == (old, Submission.ACCEPTED)
    text = json.dumps(body)
    cut = data.draw(st.integers(max(text.rindex(f'"{key}"') for key in ID_KEYS if f'"{key}"' in text), len(text)))
    found = read(provider, route, "create", text[:cut].encode())
    if f'"{old}"' in text[:cut]:
        assert (found.external_id, found.submission) == (old, Submission.ACCEPTED)


def holders_of(value: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - any JSON
    """Every object in a body, the outermost first."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    inner = [holder for item in items for holder in holders_of(item)]
    return [value, *inner] if isinstance(value, dict) else inner


def test_there_are_cases_of_every_family() -> None:
    """No family with tasks is left out, and finished results are among the answers."""
    assert {route.provider for _, route in ALL} == {r.provider for r in REGISTRY.routes() if r.mode == "task"}
    ended = [payload for payload, route in ALL if _says(payload, route).status is Status.SUCCEEDED]
    assert len(ended) > 15
