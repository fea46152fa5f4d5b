"""The outbound client against real local servers: requests, answers, and what a failure proves."""

import asyncio
import contextlib
import gzip
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

import pytest
from aiohttp import web

from tests.kits.clock import START, ManualClock
from tests.kits.http_server import serving
from tracker import __version__
from tracker.domain.circuit import CircuitState
from tracker.domain.upstream_http import AuthStyle, WireReply, WireRequest
from tracker.errors import NotAttempted, NotSent, Unanswered
from tracker.upstream.breaker import Breakers
from tracker.upstream.client import Account, UpstreamClient
from tracker.upstream.limits import RateLimits

KEY = "sk-very-secret-0123456789"
SECRET_QUERY = ("taskId", "private-id-77")

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class ClientParts(NamedTuple):
    """A client for one account, with its limits and breakers."""

    client: UpstreamClient
    clock: ManualClock
    limits: RateLimits
    breakers: Breakers

    async def get(self, path: str = "/status", **kwargs: object) -> WireReply:
        """Ask for a status."""
        request = WireRequest("GET", path, query=(SECRET_QUERY,), answer_within_s=5.0)
        provider = str(kwargs.get("provider", ""))
        return await self.client.fetch("default", request, provider=provider, paid=bool(kwargs.get("paid")))

    async def create(self, *, answer_within_s: float = 5.0, paid: bool = True) -> WireReply:
        """Send a paid create."""
        request = WireRequest("POST", "/create", body=b'{"prompt":"x"}', answer_within_s=answer_within_s)
        return await self.client.fetch("default", request, paid=paid)


@asynccontextmanager
async def client_for(
    base_url: str, key: str | None = KEY, rate: float = 1000.0, max_body_bytes: int = 1 << 20
) -> AsyncIterator[ClientParts]:
    """A client whose account points at ``base_url``."""
    clock = ManualClock(START)
    limits = RateLimits({"default": rate}, clock)
    breakers = Breakers(clock)
    accounts = {"default": Account("default", base_url, lambda: key, rate)}
    client = UpstreamClient(accounts, clock, limits, breakers, max_body_bytes=max_body_bytes)
    try:
        yield ClientParts(client, clock, limits, breakers)
    finally:
        await client.close()


@asynccontextmanager
async def raw_server(peer: Peer, until: bytes = b"\r\n\r\n") -> AsyncIterator[str]:
    """The base URL of a server that reads ``until`` and sends raw bytes, which an HTTP server would not send."""
    conversations: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        conversations.add(task)
        try:
            await reader.readuntil(until)
            await peer(reader, writer)
        except (asyncio.CancelledError, ConnectionError):
            pass
        finally:
            conversations.discard(task)
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()
        for task in list(conversations):
            task.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
        await server.wait_closed()


def saying(*pieces: bytes) -> Peer:
    """A peer that writes these bytes and closes."""

    async def peer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return peer


async def hang(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


def signaling(arrived: asyncio.Event) -> Peer:
    """A peer that signals a connection and never answers."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await hang(reader, writer)

    return peer


@contextmanager
def stopped_loop() -> Iterator[Callable[[float], None]]:
    """Stop the event loop's clock, which all timeouts use; the returned function advances it."""
    now = asyncio.get_running_loop().time()

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "time", lambda: now)
        yield advance


def assert_keeps_secrets(failure: BaseException) -> None:
    """No representation of the failure or its causes shows the key or the query."""
    shown = "".join(traceback.format_exception(failure))
    seen: BaseException | None = failure
    while seen is not None:
        shown += f"{seen!r} {seen} {vars(seen)!r}"
        seen = seen.__cause__ or seen.__context__
    assert KEY not in shown
    assert SECRET_QUERY[1] not in shown


# -- certainly not sent------------------------------------------------------------------------------------


async def refused_url() -> str:
    """The base URL of a closed port."""
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("paid", [True, False])
async def test_a_refused_connection_was_not_sent(paid: bool) -> None:
    """The port is closed: the request was not sent."""
    async with client_for(await refused_url()) as parts:
        with pytest.raises(NotSent, match="cannot be reached") as caught:
            await parts.get(paid=paid)
    assert_keeps_secrets(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_an_unknown_host_was_not_sent() -> None:
    """A name that does not resolve."""
    async with client_for("http://no-such-host.invalid") as parts:
        with pytest.raises(NotSent, match="cannot be resolved") as caught:
            await parts.get()
    assert_keeps_secrets(caught.value)


async def test_a_failed_tls_handshake_was_not_sent() -> None:
    """The port does not speak TLS: the key and the body were not sent."""
    received = bytearray()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read(4096))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    async with server, client_for(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}") as parts:
        with pytest.raises(NotSent, match=r"TLS|cannot be reached"):
            await parts.create()
    assert KEY.encode() not in received


@pytest.mark.parametrize(("answer_within_s", "passed_s"), [(600.0, 11.0), (10.0, 9.0)])
async def test_a_connection_timeout_is_not_sent(answer_within_s: float, passed_s: float) -> None:
    """A TLS handshake that hangs meets the connect timeout, which is shorter than the answer's."""
    arrived = asyncio.Event()
    hello = b"\x16\x03"
    async with raw_server(signaling(arrived), until=hello) as url, client_for(url.replace("http:", "https:")) as parts:
        with stopped_loop() as advance:
            asking = asyncio.create_task(parts.create(answer_within_s=answer_within_s))
            await arrived.wait()
            advance(passed_s)
            with pytest.raises(NotSent, match="no connection in time"):
                await asking


@pytest.mark.parametrize("key", [None, "", "   ", "sk-\nX-Evil: 1", "sk-schlüssel"])
async def test_without_a_valid_key_nothing_is_sent(key: str | None) -> None:
    """A missing key, or one that is invalid in a header, is found before sending."""
    async with client_for("http://127.0.0.1:9", key=key) as parts:
        with pytest.raises(NotAttempted, match=r"API key") as caught:
            await parts.create()
    assert (key or "").strip() == "" or str(key) not in str(caught.value)


async def test_an_unknown_account_and_a_closed_client_send_nothing() -> None:
    """Both differ from an upstream that does not answer."""
    async with client_for("http://127.0.0.1:9") as parts:
        assert parts.client.host_of("other") == ""
        with pytest.raises(NotAttempted, match="has no account other"):
            await parts.client.fetch("other", WireRequest("GET", "/"))
        await parts.client.close()
        with pytest.raises(NotAttempted, match="stopping"):
            await parts.get()


@pytest.mark.parametrize("base_url", ["", "ftp://x.example", "http://", "http://user:pw@127.0.0.1", "::"])
async def test_an_invalid_base_url_sends_nothing(base_url: str) -> None:
    """The error names the account, not the URL, which may hold a password."""
    async with client_for(base_url) as parts:
        with pytest.raises(NotAttempted, match="base_url of account default") as caught:
            await parts.create()
    assert "pw" not in str(caught.value)


async def test_no_slot_in_time_sends_nothing() -> None:
    """The wait for a slot of the rate limit is limited."""
    async with client_for("http://127.0.0.1:9", rate=0.01) as parts:
        assert await parts.limits.acquire("default", 0.0)
        with pytest.raises(NotAttempted, match="rate limit allows"):
            await parts.create()


# -- perhaps sent ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paid", [True, False])
async def test_no_answer_is_unanswered(paid: bool) -> None:
    """The request arrived and got no answer: its outcome is unknown."""
    arrived = asyncio.Event()
    async with raw_server(signaling(arrived)) as url, client_for(url) as parts:
        with stopped_loop() as advance:
            asking = asyncio.create_task(parts.create(answer_within_s=5.0, paid=paid))
            await arrived.wait()
            advance(6.0)  # aiohttp rounds limits up to whole seconds
            with pytest.raises(Unanswered, match="in time"):
                await asking


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ((), "closed before an answer"),
        ((b"HTTP/1.1 200 OK\r\nContent-Le",), "closed before an answer"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",), "the answer is truncated"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b'{"taskId":'), "the answer is truncated"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",), "the answer is truncated"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",), "not HTTP"),
        ((b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",), "decompressed"),
        ((b"SSH-2.0-OpenSSH_9.2\r\n\r\n",), "not HTTP"),
        ((b"HTTP/1.1 200 OK\r\nX: " + b"x" * 99_999 + b"\r\n\r\n",), "not HTTP"),
    ],
    ids=[
        "nothing",
        "in-headers",
        "after-headers",
        "in-body",
        "in-chunk",
        "bad-chunk",
        "no-gzip",
        "ssh",
        "long",
    ],
)
@pytest.mark.parametrize("paid", [True, False])
async def test_a_truncated_answer_is_unanswered(pieces: tuple[bytes, ...], message: str, paid: bool) -> None:
    """Whatever is wrong with the answer, the request was sent: it never counts as not sent."""
    async with raw_server(saying(*pieces)) as url, client_for(url) as parts:
        with pytest.raises(Unanswered, match=message) as caught:
            await parts.create(paid=paid)
    assert_keeps_secrets(caught.value)
    assert caught.value.__context__ is None


async def test_a_body_that_is_too_large_is_not_read_completely() -> None:
    """The limit applies while reading, whatever Content-Length says."""
    written = 0

    async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536

    async with raw_server(endless) as url, client_for(url, max_body_bytes=1 << 20) as parts:
        with pytest.raises(Unanswered, match="larger than 1048576 bytes"):
            await parts.get()
    assert written < 64 << 20


async def test_a_gzip_bomb_is_stopped_while_decompressing() -> None:
    """A hundred MiB in a hundred KiB: reading stops at the limit of the decompressed size."""
    import tracemalloc

    bomb = gzip.compress(b"\0" * (100 << 20), compresslevel=9)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with raw_server(saying(head, bomb)) as url, client_for(url, max_body_bytes=1 << 20) as parts:
        tracemalloc.start()
        try:
            with pytest.raises(Unanswered, match="larger than"):
                await parts.get()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 16 << 20


async def test_closing_the_client_ends_running_requests() -> None:
    """At shutdown a running request ends as unanswered instead of hanging."""
    arrived = asyncio.Event()

    async def peer(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.Event().wait()

    async with raw_server(peer) as url, client_for(url) as parts:
        under_way = asyncio.create_task(parts.create(answer_within_s=30.0))
        await arrived.wait()
        await parts.client.close()
        with pytest.raises(Unanswered):
            await under_way


# -- what goes out -----------------------------------------------------------------------------------------


async def echo(request: web.Request) -> web.Response:
    """Answer with the request."""
    return web.json_response(
        {
            "method": request.method,
            "raw_path": request.raw_path,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": (await request.read()).decode(),
        }
    )


async def asked(parts: ClientParts, request: WireRequest) -> dict[str, str]:
    """The request as the server received it, headers included."""
    import json

    reply = await parts.client.fetch("default", request)
    seen = json.loads(reply.body)
    return {**seen.pop("headers"), **seen}


async def test_bearer_is_the_usual_key_header() -> None:
    """Authorization, user agent, JSON in and out, no cookies."""
    async with serving(echo) as url, client_for(url) as parts:
        seen = await asked(parts, WireRequest("POST", "/suno/generate", body=b'{"a":1}'))
    assert seen["authorization"] == f"Bearer {KEY}"
    assert seen["user-agent"] == f"tracker/{__version__}"
    assert seen["content-type"] == "application/json"
    assert seen["accept"] == "application/json"
    assert seen["accept-encoding"] == "gzip, deflate"
    assert seen["body"] == '{"a":1}'
    assert "x-api-key" not in seen
    assert "cookie" not in seen


async def test_anthropic_style_has_its_own_headers() -> None:
    """x-api-key and the API's version, and no Authorization."""
    async with serving(echo) as url, client_for(url) as parts:
        request = WireRequest("POST", "/v1/messages", body=b"{}", auth=AuthStyle.X_API_KEY)
        seen = await asked(parts, request)
    assert seen["x-api-key"] == KEY
    assert seen["anthropic-version"] == "2023-06-01"
    assert "authorization" not in seen


async def test_a_request_brings_its_own_headers() -> None:
    """The provider's headers are sent; its content type wins; it cannot change the key."""
    headers = (("X-DashScope-Async", "enable"), ("Content-Type", "application/json; charset=utf-8"))
    async with serving(echo) as url, client_for(url) as parts:
        seen = await asked(parts, WireRequest("POST", "/x", headers=headers, body=b"{}"))
    assert seen["x-dashscope-async"] == "enable"
    assert seen["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("prefix", "path", "query", "expected"),
    [
        ("", "/a/b", (), "/a/b"),
        ("/", "/a/b", (), "/a/b"),
        ("/gw/", "/a/b", (), "/gw/a/b"),
        ("/gw", "a/b", (), "/gw/a/b"),
        ("", "/tasks/a%2Fb%20c%3F", (), "/tasks/a%2Fb%20c%3F"),
        ("", "/tasks/%2E%2E/x", (), "/tasks/%2E%2E/x"),
        ("", "/models/m:generateContent", (), "/models/m:generateContent"),
        ("", "/q", (("taskId", "a b&c=d/ü+"),), "/q?taskId=a+b%26c%3Dd/%C3%BC%2B"),
        ("", "/q", (("a", "1"), ("a", "2")), "/q?a=1&a=2"),
        ("/gw?x=1#f", "/q", (), "/gw/q"),
    ],
)
async def test_joins_urls_without_changing_escapes(
    prefix: str, path: str, query: tuple[tuple[str, str], ...], expected: str
) -> None:
    """One slash between base and path; escapes of the provider arrive unchanged."""
    async with serving(echo) as url, client_for(url + prefix) as parts:
        seen = await asked(parts, WireRequest("GET", path, query=query))
    assert seen["raw_path"] == expected


# -- what comes back ---------------------------------------------------------------------------------------


async def test_an_answer_is_complete() -> None:
    """Status, lower-case header names, the decompressed body, and when it arrived."""

    async def handler(_request: web.Request) -> web.Response:
        body = gzip.compress(b'{"ok": true}')
        headers = {"X-Request-ID": "r1", "Content-Encoding": "gzip", "RETRY-After": "7"}
        return web.Response(status=503, body=body, headers=headers)

    async with serving(handler) as url, client_for(url) as parts:
        reply = await parts.get()
    assert (reply.status, reply.body, reply.received_at) == (503, b'{"ok": true}', START)
    assert (reply.headers["x-request-id"], reply.headers["retry-after"]) == ("r1", "7")


async def test_a_redirect_is_an_answer_like_any_other() -> None:
    """Following one would send the key to its target."""
    asked_paths = []

    async def handler(request: web.Request) -> web.Response:
        asked_paths.append(request.path)
        raise web.HTTPFound("/elsewhere")

    async with serving(handler) as url, client_for(url) as parts:
        reply = await parts.create()
    assert reply.status == 302
    assert asked_paths == ["/create"]


async def test_cookies_are_not_stored() -> None:
    """One account's cookie must not show up in another's request."""
    cookies = []

    async def handler(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "session=1"})

    async with serving(handler) as url, client_for(url) as parts:
        await parts.get()
        await parts.get()
    assert cookies == [None, None]


async def test_a_poll_is_sent_again_when_its_pooled_connection_was_closed() -> None:
    """A server may close a connection just as it is used again; a GET then goes out once more, on another one."""
    requests = 0

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        requests += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await reader.readuntil(b"\r\n\r\n")
        requests += 1

    async with raw_server(peer) as url, client_for(url) as parts:
        assert (await parts.get()).body == b"{}"
        assert (await parts.get()).body == b"{}"
    assert requests == 3


async def test_interim_answers_come_before_the_answer() -> None:
    """An upstream may send hints before it answers (RFC 8297)."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with (
        raw_server(saying(hints + hints, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")) as url,
        client_for(url) as parts,
    ):
        reply = await parts.get()
    assert (reply.status, reply.body) == (200, b"{}")


async def test_a_status_below_100_is_no_interim_answer() -> None:
    """Nothing follows it, so waiting for more would take as long as the longest answer may."""
    async with raw_server(saying(b"HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\n{}")) as url, client_for(url) as parts:
        assert (await parts.get()).status == 99


@pytest.mark.parametrize("paid", [False, True])
async def test_a_header_with_a_line_break_is_not_sent(paid: bool) -> None:
    """What a header holds cannot become another header."""
    arrived = asyncio.Event()
    async with raw_server(signaling(arrived)) as url, client_for(url) as parts:
        request = WireRequest("GET", "/status", headers=(("Prefer", "x\r\nEvil: 1"),))
        with pytest.raises(Unanswered, match="ValueError"):
            await parts.client.fetch("default", request, paid=paid)
    assert not arrived.is_set()


async def test_paid_requests_never_share_a_connection() -> None:
    """Polls keep their connection alive; each create gets a fresh one and says so."""
    ports: list[object] = []
    said: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.append(request.transport.get_extra_info("peername")[1])
        said.append(request.headers.get("Connection"))
        return web.Response()

    async with serving(handler) as url, client_for(url) as parts:
        await parts.get()
        await parts.get()
        await parts.create()
        await parts.create()
    assert ports[0] == ports[1]
    assert len(set(ports)) == 3
    assert said[2:] == ["close", "close"]


async def test_a_create_is_sent_once_whatever_happens() -> None:
    """Aiohttp does not retry a broken connection either."""
    connections = 0

    async def peer(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1

    async with raw_server(peer) as url, client_for(url) as parts:
        for paid in (True, False):
            with pytest.raises(Unanswered):
                await parts.create(paid=paid)
    assert connections == 2


# -- rate limit and circuit --------------------------------------------------------------------------------------


def answering(status: int, **headers: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that always answers the same."""

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return handler


@pytest.mark.parametrize(
    ("retry_after", "pause_s"),
    [
        ("7", 7.0),
        ("0", None),
        ("99999", 300.0),
        ("Fri, 20 Nov 2026 20:42:30 GMT", 30.0),
        ("soon", 1.0),
        ("Fri, 20 Nov 2026 20:42:30", 30.0),
        ("Fri, 20 Nov 99999999999999999999 20:42:30 GMT", 1.0),
        ("Fri, 20 Nov 2026 20:42:30 +99999999999999999999", 1.0),
        ("9" * 5000, 300.0),
    ],
)
async def test_a_throttled_poll_pauses_its_account(retry_after: str, pause_s: float | None) -> None:
    """429 pauses the account as long as Retry-After says, within limits."""
    async with (
        serving(answering(429, Retry_After=retry_after, Date="Fri, 20 Nov 2026 20:42:00 GMT")) as url,
        client_for(url) as parts,
    ):
        await parts.get()
        assert parts.limits.paused_until("default") == pause_s


async def test_a_throttled_create_does_not_stop_the_polls() -> None:
    """Its own task is sent again later; polls continue and see other jobs end."""
    async with serving(answering(429, Retry_After="60")) as url, client_for(url) as parts:
        assert (await parts.create()).status == 429
        assert parts.limits.paused_until("default") is None


@pytest.mark.parametrize("status", [500, 503, 599])
async def test_server_errors_open_the_circuit(status: int) -> None:
    """Five in a row, and the circuit opens: the next request is not sent."""
    async with serving(answering(status)) as url, client_for(url) as parts:
        for _ in range(5):
            await parts.get()
        host = parts.client.host_of("default")
        assert parts.breakers.circuit_of(host).state is CircuitState.OPEN
        with pytest.raises(NotAttempted, match="did not answer the last requests") as caught:
            await parts.create()
        assert (caught.value.circuit_open, caught.value.retry_in_s) == (True, 5.0)


async def test_server_errors_of_one_provider_stop_no_other() -> None:
    """One provider's maintenance behind a gateway: the others are asked as before, while its circuit is open."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=503 if "kling" in request.path else 200)

    async with serving(handler) as url, client_for(url) as parts:
        for _ in range(8):
            with contextlib.suppress(NotAttempted):
                await parts.get("/kling/1", provider="kling")
            assert (await parts.get("/suno/1", provider="suno")).status == 200
        with pytest.raises(NotAttempted, match="for kling"):
            await parts.get("/kling/1", provider="kling")


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 429])
async def test_a_4xx_is_not_a_failure(status: int) -> None:
    """A 4xx shows that the host works."""
    async with serving(answering(status)) as url, client_for(url) as parts:
        for _ in range(8):
            await parts.create()
        assert parts.breakers.circuit_of(parts.client.host_of("default")).state is CircuitState.CLOSED


async def test_a_host_that_recovers_is_used_again() -> None:
    """After the wait one request probes, and its answer closes the circuit."""
    healthy = False

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(status=200 if healthy else 502)

    async with serving(handler) as url, client_for(url) as parts:
        for _ in range(5):
            await parts.get()
        with pytest.raises(NotSent):
            await parts.get()
        healthy = True
        parts.clock.advance(5.0)
        assert (await parts.get()).status == 200
        assert (await parts.get()).status == 200


async def test_a_canceled_probe_does_not_keep_the_circuit_open() -> None:
    """A probe that is canceled at shutdown has no result."""
    arrived = asyncio.Event()

    is_well = False

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        if is_well:
            await hang(reader, writer)

    async with raw_server(peer) as url, client_for(url) as parts:
        for _ in range(5):
            with pytest.raises(Unanswered):
                await parts.create()
        parts.clock.advance(5.0)
        arrived.clear()
        is_well = True
        probe = asyncio.create_task(parts.get())
        await arrived.wait()
        host = parts.client.host_of("default")
        assert parts.breakers.admit(host) is None
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        assert parts.breakers.admit(host) is not None


def test_no_representation_shows_the_key() -> None:
    """Accounts appear in logs and error reports."""
    account = Account("default", "https://gateway.example", lambda: KEY, 20.0)
    assert KEY not in repr(account)
    assert "api_key" not in repr(account)
