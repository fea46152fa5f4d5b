"""Polls use private parts of aiohttp: what the client session did still holds, on both event loops."""

import asyncio
import inspect
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import uvloop
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from tests.integration.test_upstream import ClientParts, client_for, raw_server, saying
from tests.kits.certificates import make_certificate
from tests.kits.waiting import WITHIN_S, until
from tracker.domain.upstream_http import WireRequest
from tracker.errors import NotSent, Unanswered
from tracker.upstream.pooled import RequestPool
from tracker.upstream.sessions import RECEIVED, Received, make_session
from tracker.upstream.urls import exact_url

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
ODD_NAME = b"HTTP/1.1 200 OK\r\nX b: 2\r\nContent-Length: 2\r\n\r\n{}"
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Answers:
    """A server that gives prepared answers to the requests of each connection, then reads on without an answer.

    Attributes:
        connections: how many there were.
        requests: the head of each request.
        ended: set when a client has closed a connection.
    """

    def __init__(self, *answers: bytes) -> None:
        self.answers = answers
        self.connections = 0
        self.requests: list[bytes] = []
        self.ended = asyncio.Event()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        try:
            for answer in self.answers:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(answer)
            if await reader.read(1):
                self.requests.append(b"unanswered")
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ended.set()
            writer.close()


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[Answers, ClientParts]]:
    """A server with these answers, and a client for it."""
    known = Answers(*answers)
    server = await asyncio.start_server(known.converse, "127.0.0.1", 0)
    try:
        async with client_for(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as parts:
            yield known, parts
    finally:
        server.close()
        await server.wait_closed()


def on(loop: str, work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a coroutine on a loop of this kind."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(work())


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (aiohttp.BaseConnector.connect, ["self", "req", "traces", "timeout"]),
        (aiohttp.ClientRequest.__init__, ["self", "method", "url", "session"]),
        (ResponseHandler.__init__, ["self", "loop"]),
        (ResponseHandler.abort, ["self"]),
        (ResponseHandler.data_received, ["self", "data"]),
        (ResponseHandler.read, ["self"]),
        (
            ResponseHandler.set_response_params,
            ["self", "read_until_eof", "auto_decompress", "max_line_size", "max_field_size", "max_headers"],
        ),
    ],
)
def test_the_private_parts_of_aiohttp_are_as_expected(function: Callable[..., object], parameters: list[str]) -> None:
    """A version of aiohttp that changes them needs a change of `upstream.pooled` before pyproject.toml allows it."""
    assert set(parameters) <= set(inspect.signature(function).parameters)
    assert isinstance(inspect.getattr_static(ResponseHandler, "should_close"), property)
    assert isinstance(inspect.getattr_static(Connection, "protocol"), property)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_raw_answer_of_a_poll_is_copied(loop: str) -> None:
    """An answer that aiohttp rejects is read from its bytes, on the loop of the daemon too."""

    async def work() -> None:
        async with raw_server(saying(ODD_NAME)) as url, client_for(url) as parts:
            reply = await parts.get()
        assert (reply.status, reply.body) == (200, b"{}")

    on(loop, work)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_raw_answer_of_a_session_is_copied(loop: str) -> None:
    """Creates use the session, whose connections copy what they receive as well."""

    async def work() -> None:
        received = Received()
        token = RECEIVED.set(received)
        async with (
            raw_server(saying(OK)) as url,
            make_session(aiohttp.TCPConnector()) as session,
            session.get(url) as response,
        ):
            assert await response.read() == b"{}"
        RECEIVED.reset(token)
        assert received.raw() == OK

    on(loop, work)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_second_answer_is_not_read_as_that_to_the_next_poll(loop: str) -> None:
    """Data that comes while a connection is idle belongs to no request; the next poll uses another connection."""

    async def work() -> None:
        async with answering(OK + OK.replace(b"{}", b"[]"), OK) as (server, parts):
            assert (await parts.get()).body == b"{}"
            assert (await parts.get()).body == b"{}"
            assert server.connections == 2

    on(loop, work)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_answer_to_an_idle_connection_is_not_read(loop: str) -> None:
    """The same for an answer that comes when the connection has been in the pool for a while."""

    async def work() -> None:
        late = asyncio.Event()
        sent = asyncio.Event()

        async def peer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(OK)
            if not sent.is_set():
                await late.wait()
                writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                sent.set()
            await asyncio.Event().wait()

        async with raw_server(peer) as url, client_for(url) as parts:
            await parts.get()
            connector = parts.client._sessions[False].connector
            assert connector is not None
            ((protocol, _),) = next(iter(connector._conns.values()))
            late.set()
            await until(lambda: protocol.should_close)
            assert (await parts.get()).status == 200

    on(loop, work)


async def test_polls_share_a_connection() -> None:
    """A complete answer leaves the connection for the next poll."""
    async with answering(OK, OK, OK) as (server, parts):
        for _ in range(3):
            assert (await parts.get()).body == b"{}"
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [OK.replace(b"200 OK", b"200 OK\r\nConnection: close"), OK.replace(b"HTTP/1.1", b"HTTP/1.0")],
    ids=["Connection: close", "HTTP/1.0"],
)
async def test_a_connection_that_ends_with_its_answer_is_not_used_again(answer: bytes) -> None:
    """The server may still read from it."""
    async with answering(answer, answer) as (server, parts):
        for _ in range(2):
            assert (await parts.get()).body == b"{}"
    assert server.connections == 2


async def test_a_poll_whose_answer_has_begun_is_not_sent_again() -> None:
    """The connection breaks within the head: what was received is not mixed with another answer."""
    requests = 0

    async def peer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        requests += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")

    async with raw_server(peer) as url, client_for(url) as parts:
        with pytest.raises(Unanswered, match="closed before an answer"):
            await parts.get()
    assert requests == 1


async def test_a_post_is_written_once() -> None:
    """Head and body as given; if no answer comes on a pooled connection, it is not sent again: it may have arrived."""
    requests: list[bytes] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(requests) < 2:
            requests.append(await reader.readuntil(b"body"))
            if len(requests) == 1:
                writer.write(OK)
        writer.close()

    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    async with server, make_session(aiohttp.TCPConnector()) as session:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        pool = RequestPool(session)
        target = exact_url(f"{url}/hook?a=b%20c")
        shared = (("X-All", "1"),)
        async with pool.post(target, shared, (("X-Own", "2"),), b"body", Received()) as answer:
            assert (answer.status, await answer.content.read()) == (200, b"{}")
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await pool.post(target, shared, (("X-Own", "2"),), b"body", Received()).__aenter__()
        with pytest.raises(ValueError, match="line break"):
            pool.post(target, shared, (("X-Own", "2\r\nX-More: 3"),), b"body", Received())
    head, _, body = requests[0].partition(b"\r\n\r\n")
    host = url.removeprefix("http://").encode()
    assert head.split(b"\r\n") == [
        b"POST /hook?a=b%20c HTTP/1.1", b"Host: " + host, b"X-All: 1", b"X-Own: 2", b"Content-Length: 4"
    ]  # fmt: skip
    assert (body, len(requests)) == (b"body", 2)


@pytest.mark.parametrize("answer", [OK, b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{}", b""])
async def test_a_server_that_does_not_read_holds_no_connection(answer: bytes) -> None:
    """Whether it answers early or not: what is not sent yet is dropped, and the client does not wait for it."""
    has_ended, has_read = asyncio.Event(), asyncio.Event()
    received = 0

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await has_ended.wait()
        try:
            while piece := await reader.read(1 << 20):
                received += len(piece)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
            has_read.set()

    body = bytes(32 << 20)
    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    async with server, make_session(aiohttp.TCPConnector()) as session:
        target = exact_url(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        exchange = RequestPool(session).post(target, (("X-All", "1"),), (("X-Own", "2"),), body, Received())
        sending = asyncio.create_task(exchange.__aenter__())
        if answer:
            await sending
            exchange.close()
        else:
            await asyncio.wait({sending}, timeout=0.05)
            sending.cancel()
            await asyncio.wait({sending})
        has_ended.set()
        async with asyncio.timeout(WITHIN_S):
            await has_read.wait()
    assert received < len(body)


async def test_a_canceled_poll_closes_its_connection() -> None:
    """Its answer may still come, and must not be read as that of another poll."""
    async with answering(OK) as (server, parts):
        await parts.get()
        poll = asyncio.create_task(parts.get())
        await until(lambda: len(server.requests) == 2)
        poll.cancel()
        with pytest.raises(asyncio.CancelledError):
            await poll
        async with asyncio.timeout(5):
            await server.ended.wait()
        assert (await parts.get()).body == b"{}"
    assert server.connections == 2


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key goes to the configured address alone."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with answering(OK) as (server, parts):
        assert (await parts.get()).status == 200
    assert server.requests[0].startswith(b"GET /status?taskId=private-id-77 HTTP/1.1\r\n")


async def test_a_header_of_a_provider_replaces_a_default_one() -> None:
    """Names of headers are compared without their case."""
    async with answering(OK) as (server, parts):
        headers = (("accept", "text/plain"), ("X-Own", "1"))
        await parts.client.fetch("default", WireRequest("GET", "/status", headers=headers))
    lines = server.requests[0].lower().split(b"\r\n")
    assert [line for line in lines if line.startswith(b"accept:")] == [b"accept: text/plain"]
    assert b"x-own: 1" in lines


async def test_a_certificate_that_is_not_trusted_is_refused(tmp_path: Path) -> None:
    """Polls verify certificates: one that the server made itself gets neither request nor key."""
    await asyncio.to_thread(make_certificate, tmp_path, "IP:127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    known = Answers(OK)
    server = await asyncio.start_server(known.converse, "127.0.0.1", 0, ssl=context)
    async with server, client_for(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}") as parts:
        with pytest.raises(NotSent, match="certificate is not trusted"):
            await parts.get()
    assert not known.requests
