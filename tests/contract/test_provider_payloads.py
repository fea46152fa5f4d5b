"""Every recorded payload is read as its ``expect`` says: by its provider, and by the rules after it."""

from __future__ import annotations

from base64 import b64decode
from datetime import timedelta

import orjson
import pytest

from tests.kits.clock import RECORDED_AT
from tests.kits.payloads import DECLARED, PAYLOADS, STAND_INS, Payload, list_payloads, make_task, routes_of
from tracker.domain.judge import judge
from tracker.domain.observation import Observation, Reading, Source
from tracker.domain.records import iso
from tracker.domain.schedule import PollPolicy, PollTiming
from tracker.domain.task import Status
from tracker.errors import PayloadInvalid, SignatureInvalid
from tracker.providers.registry import Registry
from tracker.providers.route import Route
from tracker.providers.signatures import verify

REGISTRY = Registry()
GATEWAY = "gateway_errors"
UNREADABLE_CALLBACKS = frozenset({"callback_malformed_truncated", "callback_not_an_object"})
FAMILIES = list_payloads(*STAND_INS)
FORGED = [payload for payload in FAMILIES if payload.content.get("signature", {}).get("valid") is False]
READABLE = [payload for payload in FAMILIES if payload.case not in UNREADABLE_CALLBACKS and payload not in FORGED]
READINGS = [(payload, route) for payload in READABLE for route in routes_of(payload, REGISTRY)]
CALLBACKS = [payload for payload in FAMILIES if payload.channel == "callback" and payload not in FORGED]
SOURCES = {"create": Source.SUBMIT, "poll": Source.POLL, "callback": Source.CALLBACK}


def read(payload: Payload, route: Route) -> Reading:
    """Read a payload by its channel."""
    provider = REGISTRY.provider_of(route)
    match payload.channel:
        case "create":
            return provider.read_create(route, payload.reply)
        case "poll":
            return provider.read_poll(route, payload.reply)
        case _:
            return provider.read_callback(route, orjson.loads(payload.raw))


def check(payload: Payload, route: Route) -> None:
    """Read a payload, judge it, and compare both with what it must be."""
    expect = payload.content["expect"]
    reading = read(payload, route)
    task = make_task(route, payload.channel, expect["task_id"])
    source = SOURCES[payload.channel]
    attempt = 1 if payload.channel == "create" else 0
    observation = Observation(task.id, source, RECORDED_AT, reading, attempt=attempt)
    step = judge(task, observation, lambda _key: False, PollTiming(PollPolicy(), route.poll_interval_s))[-1]

    unchanged = step.task.status is task.status
    assert payload.allows("status", step.task.status.value) or (unchanged and payload.allows("status", None))
    assert payload.allows("task_id", reading.external_id)
    urls = [output.url for output in reading.outputs if output.url is not None]
    if expect.get("urls_any_order"):
        urls = sorted(urls, key=expect["output_urls"].index)
    assert payload.allows("output_urls", urls)
    if "output_texts" in expect:
        assert sum(output.text is not None for output in reading.outputs) == expect["output_texts"]
    if "inline_outputs" in expect:
        found = [(output.mime, output.inline) for output in reading.outputs if output.inline is not None]
        assert [(mime, len(b64decode(data))) for mime, data in found] == [
            (each["mime_type"], each["bytes"]) for each in expect["inline_outputs"]
        ]
    if "derived_output_path" in expect:
        assert [(output.url, output.authenticated) for output in reading.outputs] == [
            (expect["derived_output_path"], True)
        ]
    assert iso(reading.finished_at) == expect.get("finished_at")
    assert (None if reading.cost is None else str(reading.cost)) == expect.get("cost")
    assert (None if reading.usage is None else orjson.loads(reading.usage)) == expect.get("usage")
    error = reading.error
    assert payload.allows("error_code", error.code if error else None)
    assert payload.allows("error_message", error.message if error else None)
    if "retryable" in expect:
        assert reading.retryable is expect["retryable"]
    assert reading.retry_after_s == expect.get("retry_after_s")
    if step.task.status is Status.SUCCEEDED:
        assert step.task.outputs == reading.outputs


@pytest.mark.parametrize(
    ("payload", "route"), READINGS, ids=[f"{payload.family}/{payload.case}-{route.name}" for payload, route in READINGS]
)
def test_payload_is_read_as_expected(payload: Payload, route: Route) -> None:
    """A payload gives a task of each of its routes the expected status, outputs and error."""
    check(payload, route)


@pytest.mark.parametrize("route", REGISTRY.routes(), ids=lambda route: route.name)
@pytest.mark.parametrize("payload", list_payloads(GATEWAY), ids=lambda p: p.case)
def test_gateway_errors_mean_the_same_on_every_route(payload: Payload, route: Route) -> None:
    """The gateway's own errors are read alike whichever route they come on."""
    if payload.channel == "create" or route.query is not None:
        check(payload, route)


@pytest.mark.parametrize("payload", FORGED, ids=lambda p: f"{p.family}/{p.case}")
def test_forged_callbacks_are_readable_but_refused(payload: Payload) -> None:
    """A forged callback is plausible: only its signature is wrong."""
    (route,) = routes_of(payload, REGISTRY)
    assert read(payload, route).external_id is not None
    assert route.signature is not None
    with pytest.raises(SignatureInvalid):
        verify(
            route.signature,
            [payload.content["signature"]["test_secret"]],
            payload.content["headers"],
            payload.raw,
            REGISTRY.provider_of(route).callback_ids(orjson.loads(payload.raw)),
            RECORDED_AT + timedelta(seconds=101),
        )


@pytest.mark.parametrize("payload", CALLBACKS, ids=lambda p: f"{p.family}/{p.case}")
def test_callback_names_its_task(payload: Payload) -> None:
    """The id of a callback is found without knowing its route; one without an id is refused."""
    provider = REGISTRY.provider_of(routes_of(payload, REGISTRY)[0])
    expected = payload.content["expect"]["task_id"]
    if expected is None:
        with pytest.raises((PayloadInvalid, orjson.JSONDecodeError)):
            provider.callback_ids(orjson.loads(payload.raw))
    else:
        assert provider.callback_ids(orjson.loads(payload.raw))[0] == expected


@pytest.mark.parametrize("case", sorted(UNREADABLE_CALLBACKS))
def test_unreadable_callbacks_are_refused(case: str) -> None:
    """A callback that is cut short, or is not an object, is invalid."""
    (payload,) = [payload for payload in list_payloads("suno_song") if payload.case == case]
    with pytest.raises((PayloadInvalid, orjson.JSONDecodeError)):
        read(payload, routes_of(payload, REGISTRY)[0])


def test_every_family_of_payloads_is_read() -> None:
    """A new directory of payloads names the route that reads it."""
    assert {path.name for path in PAYLOADS.iterdir() if path.is_dir()} == {*STAND_INS, GATEWAY, DECLARED.name}
    assert all(REGISTRY.find_route(name) is not None for name in STAND_INS.values())


@pytest.mark.parametrize("route", REGISTRY.routes(), ids=lambda route: route.name)
def test_every_route_has_recorded_payloads(route: Route) -> None:
    """A route without payloads would be registered untested."""
    assert any(route == read_with for _, read_with in READINGS)


def test_every_payload_is_read() -> None:
    """Every payload has a route that reads it."""
    read_ones = {(payload.family, payload.case) for payload, _ in READINGS}
    others = {(payload.family, payload.case) for payload in FORGED} | {
        ("suno_song", case) for case in UNREADABLE_CALLBACKS
    }
    assert {(payload.family, payload.case) for payload in FAMILIES} == read_ones | others
