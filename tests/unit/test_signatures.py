"""Signatures of callbacks, by table: valid ones, invalid ones, and messages without secrets."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from tests.kits.payloads import Payload, list_payloads, routes_of
from tracker.errors import SignatureInvalid
from tracker.providers.registry import Registry
from tracker.providers.signatures import SCHEMES, Verified, find_secret_problem, verify

REGISTRY = Registry()
NOW = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
STAMP = int(NOW.timestamp())
KEY = b"anyint-tracker-test-key-32bytes!"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
OTHER = "whsec_" + base64.b64encode(b"another key of the same length!!").decode()
BODY = b'{"task_id": "k-1"}'
SIGNED = [payload for payload in list_payloads("openai_video", "signatures") if "signature" in payload.content]


def mac(text: bytes, key: bytes = KEY) -> str:
    """The HMAC of a text as base64."""
    return base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()


GOOD = mac(b"msg_1.%d.%b" % (STAMP, BODY))


def standard(prefix: str = "webhook", **changes: str) -> dict[str, str]:
    """The headers of a good Standard Webhooks callback, with changes; an empty value leaves a header out."""
    parts = {"id": "msg_1", "timestamp": str(STAMP), "signature": f"v1,{GOOD}"} | changes
    return {f"{prefix}-{name}": value for name, value in parts.items() if value}


@pytest.mark.parametrize(
    "headers",
    [
        standard(),
        standard("svix"),
        {name.title(): value for name, value in standard().items()},
        standard(signature=f"v1,bm9wZQ== v1,{GOOD}"),
        standard(signature=f"v1a,{GOOD} v2,{GOOD} v1,{GOOD} junk"),
        standard(signature=f"v1,{GOOD.rstrip('=')}"),
        standard() | standard("svix", signature="v1,AAAA") | {"svix-signature": ""},
        {"other": "x"} | standard(),
    ],
)
@pytest.mark.parametrize("secrets", [[SECRET], [OTHER, SECRET], ["", SECRET], [SECRET.rstrip("=")], [SECRET[6:]]])
def test_valid_standard_signatures(headers: dict[str, str], secrets: list[str]) -> None:
    """Any of several signatures and secrets is enough; names come in any case, secrets with or without prefix."""
    headers = {name: value for name, value in headers.items() if value}
    assert verify("standard-webhooks", secrets, headers, BODY, [], NOW) == Verified(confirm=False)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "webhook-id is missing"),
        (standard(id=""), "webhook-id is missing"),
        (standard(timestamp=""), "webhook-timestamp is missing"),
        (standard(signature=""), "webhook-signature is missing"),
        (standard("svix", id=""), "svix-id is missing"),
        (standard(signature="v1,AAAA"), "no signature of the callback matches"),
        (standard(signature="v1,"), "no signature of the callback matches"),
        (standard(signature="v1,%%%"), "no signature of the callback matches"),
        (standard(signature="v1,é"), "no signature of the callback matches"),
        (standard(signature=GOOD), "no signature of the callback matches"),
        (standard(signature=f"v2,{GOOD}"), "no signature of the callback matches"),
        (standard(id="msg_2"), "no signature of the callback matches"),
        (standard(timestamp=str(STAMP + 1)), "no signature of the callback matches"),
        (standard(timestamp=f"0{STAMP}"), "no signature of the callback matches"),
        (standard(signature=" ".join(["v1,AAAA"] * 20 + [f"v1,{GOOD}"])), "no signature of the callback matches"),
        (standard(timestamp="soon"), "is not a number of seconds"),
        (standard(timestamp="-5"), "is not a number of seconds"),
        (standard(timestamp="²"), "is not a number of seconds"),
        (standard(timestamp="9" * 5000), "is not a number of seconds"),
        (standard(timestamp=str(STAMP - 301)), "more than 300 s in the past"),
        (standard(timestamp=str(STAMP + 301)), "more than 300 s in the future"),
        (standard(timestamp="0"), "more than 300 s in the past"),
    ],
)
def test_invalid_standard_signatures(headers: dict[str, str], message: str) -> None:
    """Each message names the error of the callback, and never the expected value."""
    with pytest.raises(SignatureInvalid, match=message) as caught:
        verify("standard-webhooks", [SECRET], headers, BODY, [], NOW)
    assert GOOD not in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("secrets", [[], [""], ["whsec_"], ["whsec_%%%"], [OTHER]])
def test_an_empty_secret_verifies_nothing(secrets: list[str]) -> None:
    """An empty or broken secret is not a key: a signature made with an empty key does not pass."""
    for key in (b"", KEY):
        headers = standard(signature=f"v1,{mac(b'msg_1.%d.%b' % (STAMP, BODY), key)}")
        with pytest.raises(SignatureInvalid, match="no signature of the callback matches"):
            verify("standard-webhooks", secrets, headers, BODY, [], NOW)


@pytest.mark.parametrize("body", [b"", BODY + b" ", BODY.replace(b"k-1", b"k-2"), b"\xff"])
def test_the_raw_body_is_what_was_signed(body: bytes) -> None:
    """A changed byte breaks the signature, and a body that is not text is checked like any other."""
    with pytest.raises(SignatureInvalid):
        verify("standard-webhooks", [SECRET], standard(), body, [], NOW)
    own = standard(signature=f"v1,{mac(b'msg_1.%d.%b' % (STAMP, body))}")
    assert not verify("standard-webhooks", [SECRET], own, body, [], NOW).confirm


@pytest.mark.parametrize("age_s", [-300, 0, 300])
def test_the_tolerance_has_two_sides(age_s: int) -> None:
    """Three hundred seconds either way are still good."""
    now = NOW + timedelta(seconds=age_s)
    assert not verify("standard-webhooks", [SECRET], standard(), BODY, [], now).confirm


KIE = {"X-Webhook-Timestamp": "1767607302", "X-Webhook-Signature": mac(b"t-1.1767607302", b"key")}


@pytest.mark.parametrize("ids", [["t-1"], ["other", "t-1"]])
@pytest.mark.parametrize("secrets", [["key"], ["old", " key "]])
def test_valid_task_signatures_require_a_poll(ids: list[str], secrets: list[str]) -> None:
    """The task's id is signed, the body is not; the age does not matter, since it causes one poll."""
    for body in (BODY, b"anything"):
        late = NOW + timedelta(days=400)
        assert verify("suno-hmac", secrets, KIE, body, ids, late) == Verified(confirm=True)


@pytest.mark.parametrize(
    ("headers", "ids", "secrets"),
    [
        ({}, ["t-1"], ["key"]),
        (KIE | {"X-Webhook-Signature": ""}, ["t-1"], ["key"]),
        (KIE | {"X-Webhook-Signature": "%"}, ["t-1"], ["key"]),
        (KIE | {"X-Webhook-Timestamp": "1767607303"}, ["t-1"], ["key"]),
        (KIE, [], ["key"]),
        (KIE, ["t-2"], ["key"]),
        (KIE, ["t-1.1767607302"], ["key"]),
        (KIE, ["t-1"], ["other"]),
        (KIE, ["t-1"], [""]),
        (KIE, ["t-1"], []),
    ],
)
def test_invalid_task_signatures(headers: dict[str, str], ids: list[str], secrets: list[str]) -> None:
    """Another task, time or secret, or no signature."""
    with pytest.raises(SignatureInvalid) as caught:
        verify("suno-hmac", secrets, headers, BODY, ids, NOW)
    assert KIE["X-Webhook-Signature"] not in str(caught.value)


@pytest.mark.parametrize("payload", SIGNED, ids=lambda p: f"{p.family}/{p.case}")
def test_recorded_signatures(payload: Payload) -> None:
    """The recorded callbacks verify, or fail, as recorded with them, with the scheme of their route."""
    (route,) = routes_of(payload, REGISTRY)
    assert route.signature is not None
    signature = payload.content["signature"]
    ids = REGISTRY.provider_of(route).callback_ids(orjson.loads(payload.raw))
    now = datetime.fromtimestamp(1767607310, UTC)
    args = (route.signature, [signature["test_secret"]], payload.content["headers"], payload.raw, ids, now)
    if signature["valid"]:
        assert verify(*args).confirm is (signature["scheme"] == "kie-hmac")
    else:
        with pytest.raises(SignatureInvalid):
            verify(*args)


def test_schemes() -> None:
    """Every scheme that a route offers can be verified, and other names are rejected."""
    assert {route.signature for route in REGISTRY.routes()} - {None} == set(SCHEMES)
    with pytest.raises(ValueError, match="unknown signature scheme"):
        verify("none", [SECRET], standard(), BODY, [], NOW)


@pytest.mark.parametrize(
    ("scheme", "secret", "usable"),
    [
        ("standard-webhooks", SECRET, True),
        ("standard-webhooks", SECRET[6:], True),
        ("standard-webhooks", "whsec_%%%", False),
        ("standard-webhooks", " ", False),
        ("suno-hmac", "any text at all", True),
        ("suno-hmac", "", False),
    ],
)
def test_unusable_secrets_are_reported_at_the_start(scheme: str, secret: str, usable: bool) -> None:
    """A secret that could never verify anything has a message with a fix, which does not repeat it."""
    problem = find_secret_problem(scheme, secret)
    assert (problem is None) is usable
    assert problem is None or ";" in problem
    assert problem is None or secret not in problem or not secret.strip()
