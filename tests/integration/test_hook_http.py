"""HTTP hooks against real endpoints on this machine: signatures, answers, redirects, addresses, bodies."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.kits.clock import START, ManualClock
from tests.kits.hook_endpoint import OTHER_SECRET, SECRET, Endpoint
from tests.kits.hooks import make_hook, make_job, open_descriptors
from tracker.clock import SystemClock
from tracker.config.hooks import HookSpec
from tracker.domain.records import Json
from tracker.errors import ConfigError
from tracker.hooks.kinds.http import HttpAction, HttpHook, HttpRunner, make_action, read_response, sign
from tracker.hooks.runner import RunOutcome, RunResult, encode_event

JOB = make_job(labels={"umlaut": "ü"})
PAYLOAD = encode_event(JOB)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    """An endpoint that listens."""
    made = Endpoint()
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def runner() -> AsyncIterator[HttpRunner]:
    """A runner on the machine's clock: the verifier compares timestamps with it."""
    made = HttpRunner(SystemClock())
    yield made
    await made.close()


def spec_of(url: str, *secrets: str, private: bool = True, timeout_s: float = 10) -> HookSpec:
    """An HTTP hook."""
    return make_hook("h", ("task.*",), HttpAction(url, secrets or (SECRET,), private), timeout_s=timeout_s)


async def test_the_signature_verifies(endpoint: Endpoint, runner: HttpRunner) -> None:
    """The body is the event, and the library of receivers verifies its signature."""
    result = await runner.run(JOB, PAYLOAD, spec_of(endpoint.url + "?room=1"))
    assert result == RunResult(RunOutcome.SUCCEEDED)
    (call,) = endpoint.calls
    assert call.body == PAYLOAD
    assert call.headers["content-type"] == "application/json"
    assert call.headers["webhook-id"] == JOB.id
    assert Webhook(SECRET).verify(call.body, dict(call.headers)) == json.loads(PAYLOAD)
    assert "cookie" not in call.headers
    assert "authorization" not in call.headers


@pytest.mark.parametrize("change", ["body", "webhook-id", "webhook-timestamp"])
async def test_a_changed_request_does_not_verify(endpoint: Endpoint, runner: HttpRunner, change: str) -> None:
    """Body, id and time are all covered by the signature."""
    await runner.run(JOB, PAYLOAD, spec_of(endpoint.url))
    headers, body = dict(endpoint.calls[0].headers), endpoint.calls[0].body
    if change == "body":
        body = body.replace(b"SUCCEEDED", b"FAILED")
    elif change == "webhook-id":
        headers[change] = "dlv_other"
    else:
        headers[change] = str(int(headers[change]) + 1)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body, headers)


async def test_a_secret_can_be_changed(endpoint: Endpoint, runner: HttpRunner) -> None:
    """With two secrets, receivers of the old and of the new both verify."""
    await runner.run(JOB, PAYLOAD, spec_of(endpoint.url, OTHER_SECRET, SECRET))
    (call,) = endpoint.calls
    assert len(call.headers["webhook-signature"].split()) == 2
    for secret in (SECRET, OTHER_SECRET):
        assert Webhook(secret).verify(call.body, dict(call.headers))


@pytest.mark.parametrize(
    ("status", "outcome", "is_down"),
    [
        *[(status, RunOutcome.SUCCEEDED, False) for status in (200, 202, 204, 299)],
        *[(status, RunOutcome.RETRY, True) for status in (301, 302, 307, 308)],
        *[(status, RunOutcome.FAILED_FOR_GOOD, False) for status in (413, 422, 451)],
        *[(status, RunOutcome.RETRY, True) for status in (400, 401, 403, 404, 405, 407, 411, 415, 418, 421, 431)],
        *[(status, RunOutcome.RETRY, False) for status in (408, 409, 423, 425, 429, 499)],
        (410, RunOutcome.GONE, False),
        *[(status, RunOutcome.RETRY, True) for status in (500, 502, 503, 504, 599)],
    ],
)
def test_the_meaning_of_an_answer(status: int, outcome: RunOutcome, is_down: bool) -> None:
    """Every status is one of: done, never, again, gone; some mean that the endpoint is down."""
    result = read_response(status, {}, "said", START)
    assert (result.outcome, result.unreachable, result.output) == (outcome, is_down, "said")
    assert (result.error is None) == (outcome is RunOutcome.SUCCEEDED)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_requested_delay_is_honoured(endpoint: Endpoint, runner: HttpRunner, status: int) -> None:
    """429 and 503 request a delay; until then the circuit of the hook is open."""
    endpoint.status, endpoint.headers = status, {"Retry-After": "7"}
    result = await runner.run(JOB, PAYLOAD, spec_of(endpoint.url))
    assert (result.outcome, result.retry_after_s, result.unreachable) == (RunOutcome.RETRY, 7, True)


async def test_redirects_are_not_followed(endpoint: Endpoint, runner: HttpRunner) -> None:
    """The target of a redirect is never requested."""
    other = Endpoint()
    await other.start()
    endpoint.status, endpoint.headers = 307, {"Location": other.url}
    result = await runner.run(JOB, PAYLOAD, spec_of(endpoint.url))
    assert (result.outcome, result.error) == (
        RunOutcome.RETRY,
        "answered 307: redirects are not followed, correct the url",
    )
    assert other.calls == []
    await other.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
async def test_private_addresses_are_refused(endpoint: Endpoint, runner: HttpRunner, host: str) -> None:
    """A hook without permission cannot reach this machine under any spelling."""
    port = endpoint.url.split(":")[2].partition("/")[0]
    result = await runner.run(JOB, PAYLOAD, spec_of(f"http://{host}:{port}/", private=False))
    assert (result.outcome, result.unreachable) == (RunOutcome.RETRY, True)
    # the HTTP library does not accept a number as an address
    assert ("the URL is invalid" if host.isdigit() else "not a public address") in str(result.error)
    assert endpoint.calls == []


async def test_one_private_address_among_public_ones_is_refused(
    endpoint: Endpoint, runner: HttpRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that also resolves to this machine is never connected to."""

    def resolve(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        found = [("93.184.215.14", port), ("127.0.0.1", port)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    result = await runner.run(JOB, PAYLOAD, spec_of(endpoint.url.replace("127.0.0.1", "rebind.example"), private=False))
    assert result.error is not None
    assert result.error.startswith("rebind.example: its address is not a public address")
    assert endpoint.calls == []


async def test_the_vetted_address_is_the_one_connected_to(
    endpoint: Endpoint, runner: HttpRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is resolved once per connection: a second resolution could differ."""
    asked = []
    real = socket.getaddrinfo

    def resolve(host: str, port: int, **options: Json) -> list[tuple[Any, ...]]:
        asked.append(host)
        return list(real("127.0.0.1", port, **options))

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    url = endpoint.url.replace("127.0.0.1", "hook.example")
    assert (await runner.run(JOB, PAYLOAD, spec_of(url))).outcome is RunOutcome.SUCCEEDED
    assert asked == ["hook.example"]


async def test_a_large_answer_is_not_read_completely(endpoint: Endpoint, runner: HttpRunner) -> None:
    """Of a body the last 8 KiB are recorded, and no more than the limit is read."""
    endpoint.body = b"x" * 20_000 + b"the end"
    result = await runner.run(JOB, PAYLOAD, spec_of(endpoint.url))
    assert result.output == ("x" * 20_000 + "the end")[-8192:]
    endpoint.body = b"y" * 5_000_000 + b"the end"
    sparing = HttpRunner(SystemClock(), read_max_bytes=100_000)
    result = await sparing.run(JOB, PAYLOAD, spec_of(endpoint.url))
    assert result == RunResult(RunOutcome.SUCCEEDED, output="y" * 8192)
    await sparing.close()


async def raw_answer(answer: bytes, runner: HttpRunner, timeout_s: float = 10, *, hold: bool = False) -> RunResult:
    """The outcome with an endpoint that sends these bytes, then closes or holds the connection."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if hold:
            await over.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        return await runner.run(JOB, PAYLOAD, spec_of(f"http://127.0.0.1:{port}/", timeout_s=timeout_s))
    finally:
        over.set()
        await runner.close()
        server.close()
        await server.wait_closed()


async def test_malformed_answers(runner: HttpRunner) -> None:
    """Invalid HTTP is a failed attempt; a truncated or missing body does not change the status."""
    assert (await raw_answer(b"220 smtp.example ESMTP\r\n", runner)).error == "the answer is not HTTP"
    assert (await raw_answer(b"", runner)).error == "the connection was closed before an answer"
    cut = await raw_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", runner)
    assert cut == RunResult(RunOutcome.SUCCEEDED, output="half")
    hasty = HttpRunner(SystemClock(), read_within_s=0.05)
    held = await raw_answer(b"HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\nhalf", hasty, hold=True)
    assert (held.outcome, held.error, held.output) == (RunOutcome.RETRY, "answered 500", "half")


async def test_an_endpoint_that_hangs_times_out(endpoint: Endpoint, runner: HttpRunner) -> None:
    """No answer in time is a failed attempt and counts as down."""
    endpoint.hangs = True
    result = await runner.run(JOB, PAYLOAD, spec_of(endpoint.url, timeout_s=0.05))
    assert (result.outcome, result.error, result.unreachable) == (
        RunOutcome.RETRY,
        "no response within 0.05 s",
        True,
    )


async def test_connections_are_reused_and_closed(endpoint: Endpoint, runner: HttpRunner) -> None:
    """Runs of one hook share connections, and all are closed at the end; a changed hook gets new ones."""
    before = open_descriptors()
    for _ in range(3):
        await runner.run(JOB, PAYLOAD, spec_of(endpoint.url))
    await runner.run(JOB, PAYLOAD, spec_of(endpoint.url, OTHER_SECRET))
    Webhook(OTHER_SECRET).verify(endpoint.calls[-1].body, dict(endpoint.calls[-1].headers))
    await runner.close()
    await endpoint.close()
    assert [name for name in open_descriptors() if name not in before] == []


def config_of(**keys: Json) -> HttpHook:
    """A table of the configuration."""
    return HttpHook.model_validate(
        {"name": "h", "on": "task.*", "url": "https://x.example/y", "secret_env": "S"} | keys
    )


def test_the_action_of_a_table() -> None:
    """Several secrets are separated by blanks; none is in the action's representation."""
    action = make_action(config_of(allow_private_addresses=True), f" {SECRET}  {OTHER_SECRET}\n")
    assert action == HttpAction("https://x.example/y", (SECRET, OTHER_SECRET), allow_private_addresses=True)
    assert SECRET not in repr(action)


@pytest.mark.parametrize("secret", [None, "", "  ", "whsec_###", "not base64 either"])
def test_a_secret_that_cannot_sign_is_refused(secret: str | None) -> None:
    """The line names the fix, and never shows the secret."""
    with pytest.raises(ConfigError, match=r"hooks\[h\].secret_env: .*whsec_") as caught:
        make_action(config_of(), secret)
    assert not secret or not secret.strip() or secret not in str(caught.value)


def test_the_timestamp_is_the_clocks(runner: HttpRunner) -> None:
    """The timestamp is that of the attempt, in whole seconds."""
    clock = ManualClock(START)
    clock.advance(0.9)
    headers = sign((Webhook(SECRET),), "dlv", clock.now(), b"{}")
    assert headers["webhook-timestamp"] == str(int(START.timestamp()))


async def test_a_synthetic_event_is_marked(endpoint: Endpoint, runner: HttpRunner) -> None:
    """By a header, too, so that a receiver sees it without reading the body."""
    for job in (JOB, replace(JOB, is_test=True)):
        await runner.run(job, encode_event(job), spec_of(endpoint.url))
    assert [call.headers.get("webhook-test") for call in endpoint.calls] == [None, "true"]
    assert [json.loads(call.body).get("test") for call in endpoint.calls] == [None, True]
