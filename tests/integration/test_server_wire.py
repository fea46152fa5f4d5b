"""Below the handlers: input that is not HTTP, incomplete bodies, closed connections, on every kind of socket."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from tests.integration.test_callbacks import song
from tests.kits.clock import START, ManualClock
from tests.kits.daemon import NEVER_POLLS, Setting, running_daemon
from tests.kits.logs import captured_logs
from tests.kits.server import ServerWorld
from tests.kits.waiting import WITHIN_S, until
from tracker.config.listen import Listen
from tracker.daemon.app import ARRIVE_S
from tracker.daemon.listening import open_sites
from tracker.domain.tokens import CallbackTokens
from tracker.server.arrivals import BODY_S, SLOWEST_BYTES_PER_S, Arrivals
from tracker.server.connection_limits import HEAD_MAX_BYTES
from tracker.server.connections import LINES_BURST, Runner

HOST = b" HTTP/1.1\r\nHost: tracker.example\r\n"
CALLBACK = b"POST /callbacks/suno/TOKEN" + HOST
SHORT = 0.05
"""A limit for bodies that is over at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back on a connection until its end.

    Attributes:
        raw: all of it.
    """

    raw: bytes

    @property
    def status(self) -> int:
        """Of the first answer."""
        return int(self.raw.split(b" ", 2)[1])

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the first answer, names in lower case."""
        lines = self.raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def body(self) -> Any:  # noqa: ANN401  decoded JSON
        """Of the first answer, decoded."""
        return orjson.loads(self.raw.partition(b"\r\n\r\n")[2])

    def is_problem(self, status: int, slug: str) -> bool:
        """Check the form that every error has."""
        assert self.status == status, self.raw
        assert self.headers["content-type"] == "application/problem+json"
        assert self.headers["server"] == "tracker"
        assert self.headers["x-content-type-options"] == "nosniff"
        assert self.body["status"] == status
        assert self.body["detail"]
        return bool(self.body["type"] == f"urn:tracker:problem:{slug}")


class Sender:
    """A connection on which bytes are sent as a test likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, world: ServerWorld) -> Sender:
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", world.client.port))

    async def send(self, *pieces: bytes) -> None:
        """Send bytes."""
        self._writer.write(b"".join(pieces))
        await self._writer.drain()

    async def until(self, text: bytes) -> None:
        """Read up to a text, and nothing of what follows it."""
        async with asyncio.timeout(WITHIN_S):
            await self._reader.readuntil(text)

    async def answer(self) -> Answer:
        """All that comes until the other side closes."""
        async with asyncio.timeout(WITHIN_S):
            answer = Answer(await self._reader.read())
        self._writer.close()
        return answer

    def cut(self) -> None:
        """Close the connection without sending anything."""
        self._writer.transport.abort()


async def ask(world: ServerWorld, *pieces: bytes) -> Answer:
    """Send something and take what comes until the connection ends."""
    sender = await Sender.to(world)
    await sender.send(*pieces)
    return await sender.answer()


def begin(path: str, length: int = 99, *, host: str = "x", connection: str = "close") -> bytes:
    """The head of a POST, and the first byte of its body."""
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\nContent-Length: {length}\r\n\r\n"
    return head.encode() + b"{"


def is_awaited(world: ServerWorld) -> bool:
    """Whether a body is waited for."""
    return bool(world.arrivals._limits)


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[ServerWorld]:
    """The surface; a body has to be there at once."""
    async with ServerWorld(tmp_path, limits={"body_s": SHORT}) as world:
        yield world


@pytest.fixture
def logged() -> Iterator[list[Mapping[str, Any]]]:
    """What is logged from debug on."""
    with captured_logs() as events:
        yield events


def is_quiet(logged: list[Mapping[str, Any]]) -> bool:
    """Whether no warning, error or traceback was logged."""
    return not [e for e in logged if e["level"] in {"warning", "error", "critical"} or "exception" in e]


# -- input that is not HTTP, or not supported --------------------------------------------------------------

NO_HTTP = {
    "brotli": CALLBACK + b"Content-Encoding: br\r\nContent-Length: 6\r\n\r\nSECRET",
    "zstd": CALLBACK + b"Content-Encoding: zstd\r\nContent-Length: 6\r\n\r\nSECRET",
    "UTF-8 in the path": "GET /SECRET/ü HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "a long request line": b"GET /" + b"SECRET" * 12_000 + HOST + b"\r\n",
    "a long header": b"GET /healthz" + HOST + b"X: " + b"SECRET" * 12_000 + b"\r\n\r\n",
    "many headers": b"GET /healthz" + HOST + b"X: SECRET\r\n" * 1100 + b"\r\n",
    "no method of HTTP": b"SECRET /healthz" + HOST + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03SECRET",
    "a bad chunk": CALLBACK + b"Transfer-Encoding: chunked\r\n\r\nSECRET\r\n",
    "two lengths": CALLBACK + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nSECRET\r\n0\r\n\r\n",
    "a length that is none": CALLBACK + b"Content-Length: SECRET\r\n\r\n{}",
    "no host": b"GET /SECRET HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /healthz" + HOST + b"Host: SECRET\r\n\r\n",
    "an address that is none": b"GET http://[::1/SECRET" + HOST + b"\r\n",
    "a version that is none": b"GET /SECRET HTTP/3.7\r\nHost: x\r\n\r\n",
    "a zero byte": b"GET /healthz" + HOST + b"X: \0SECRET\r\n\r\n",
}


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP.keys())
async def test_input_that_is_not_http_gets_problem_details(
    world: ServerWorld, sent: bytes, logged: list[Mapping[str, Any]]
) -> None:
    """400 without a part of the request, and a log line of level info."""
    token = world.address(await world.make_task()).rpartition("/")[2].encode()
    answer = await ask(world, sent.replace(b"TOKEN", token))
    assert answer.is_problem(400, "malformed")
    assert b"SECRET" not in answer.raw
    assert token not in answer.raw
    assert [event["event"] for event in logged if event["level"] == "info"] == ["request.unreadable"]
    assert is_quiet(logged)
    assert "SECRET" not in repr(logged)


REFUSED = {
    "an expectation, before a token": (CALLBACK + b"Expect: SECRET\r\nContent-Length: 2\r\n", 417),
    "an expectation, elsewhere": (b"GET /healthz" + HOST + b"Expect: SECRET\r\n", 417),
    "an expectation, nowhere": (b"OPTIONS *" + HOST + b"Expect: SECRET\xff\r\n", 417),
    "every address": (b"OPTIONS *" + HOST, 404),
    "a tunnel": (b"CONNECT SECRET.example:443" + HOST, 404),
}


@pytest.mark.parametrize(("head", "status"), REFUSED.values(), ids=REFUSED.keys())
async def test_refusals_of_the_router_are_problem_details(
    world: ServerWorld, head: bytes, status: int, logged: list[Mapping[str, Any]]
) -> None:
    """Without a part of the request, and without a log line."""
    answer = await ask(world, head, b"Connection: close\r\n\r\n", b"{}" if b"Content-Length" in head else b"")
    assert answer.is_problem(status, {417: "unknown-expectation", 404: "unknown-path"}[status])
    assert b"SECRET" not in answer.raw
    assert is_quiet(logged)


async def test_an_expectation_of_http_1_0_is_ignored(world: ServerWorld) -> None:
    """HTTP/1.0 does not know the header."""
    answer = await ask(world, b"GET /healthz HTTP/1.0\r\nExpect: anything\r\n\r\n")
    assert (answer.status, answer.body) == (200, {"status": "alive"})


async def test_log_lines_about_unreadable_input_have_a_rate_limit(
    world: ServerWorld, logged: list[Mapping[str, Any]]
) -> None:
    """Anyone can send it: each gets a response, the log is limited."""
    answers = [await ask(world, NO_HTTP["no method of HTTP"]) for _ in range(2 * int(LINES_BURST))]
    assert all(answer.is_problem(400, "malformed") for answer in answers)
    assert len(logged) == LINES_BURST


@pytest.mark.parametrize("path", ["/callbacks/suno/TOKEN", "/callbacks/nobody/x", "/nowhere"])
async def test_a_body_that_does_not_decompress_is_not_logged(
    world: ServerWorld, path: str, logged: list[Mapping[str, Any]]
) -> None:
    """Neither where it is read nor where aiohttp only drops it."""
    path = path.replace("/callbacks/suno/TOKEN", world.address(await world.make_task()))
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\n"
    answer = await ask(world, head.encode(), b"SECRET")
    assert answer.is_problem(*((400, "malformed") if "suno" in path else (404, answer.body["type"].split(":")[-1])))
    assert is_quiet(logged)


async def test_a_bad_later_chunk_is_refused_at_once(world: ServerWorld) -> None:
    """The parser reports nothing to the waiting handler; the sender gets a response, and the task is polled."""
    task_id = await world.make_task()
    sender = await Sender.to(world)
    head = f"POST {world.address(task_id)} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n"
    await sender.send(head.encode())
    await until(lambda: is_awaited(world))
    await sender.send(b"SECRET\r\n")
    answer = await sender.answer()
    assert answer.is_problem(400, "malformed")
    assert await world.is_due(task_id)


async def test_a_closed_connection_is_not_an_error(world: ServerWorld, logged: list[Mapping[str, Any]]) -> None:
    """There is no client to respond to, and nothing to log."""
    sender = await Sender.to(world)
    await sender.send(begin(world.address(await world.make_task())))
    await until(lambda: is_awaited(world))
    sender.cut()
    runner = world.client.server.runner
    assert isinstance(runner, Runner)
    assert runner.server is not None
    server = runner.server
    await until(lambda: not server.connections)
    assert not is_awaited(world)
    assert is_quiet(logged)


async def test_the_rest_of_a_refused_body_is_not_a_head(world: ServerWorld, logged: list[Mapping[str, Any]]) -> None:
    """A sender that reads no response before it has sent a large body gets it, and may send another request."""
    sender = await Sender.to(world)
    body = b"x" * (2 * HEAD_MAX_BYTES)
    await sender.send(f"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    await sender.send(body[:1])
    await sender.until(b"HTTP/1.1 404 ")
    await sender.send(body[1:], b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    await sender.until(b"HTTP/1.1 200 ")
    sender.cut()
    assert is_quiet(logged)


# -- bodies that do not come -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["", "?ordinary=1"])
async def test_an_incomplete_body_has_a_time_limit(hasty: ServerWorld, way: str) -> None:
    """408, for every token and both paths to the handler, and the connection is free again."""
    good = hasty.address(await hasty.make_task())
    paths = [path + way for path in (good, "/callbacks/suno/bad.token", "/callbacks/suno")] + ["/v1/tasks"]
    heads = [begin(path, host="127.0.0.1", connection="keep-alive") for path in paths]
    for answer in await asyncio.gather(*(ask(hasty, head) for head in heads)):
        assert answer.is_problem(408, "too-slow")
        assert answer.headers["connection"] == "close"
    assert not is_awaited(hasty)


async def test_an_incomplete_callback_with_a_token_causes_a_poll(hasty: ServerWorld) -> None:
    """The token is valid, so the task has changed."""
    task_id = await hasty.make_task()
    assert not await hasty.is_due(task_id)
    assert (await ask(hasty, begin(hasty.address(task_id)))).status == 408
    assert await hasty.is_due(task_id)


async def test_a_body_in_pieces_is_read(world: ServerWorld) -> None:
    """Even byte by byte."""
    sender = await Sender.to(world)
    body = song()
    await sender.send(begin(world.address(await world.make_task()), len(body)))
    for byte in body[1:]:
        await sender.send(bytes([byte]))
        await asyncio.sleep(0)
    answer = await sender.answer()
    assert (answer.status, answer.body) == (200, {"outcome": "applied"})


async def test_a_large_body_has_more_time() -> None:
    """In proportion to its size; a small one has the common limit."""
    arrivals = Arrivals()
    now = asyncio.get_running_loop().time()
    for size, limit_s in ((0, BODY_S), (1_000_000, BODY_S), (100 * SLOWEST_BYTES_PER_S, 100)):
        async with arrivals.one(size):
            (limit,) = arrivals._limits
            when = limit.when()
            assert when is not None
            assert limit_s <= when - now < limit_s + WITHIN_S


async def test_a_timeout_of_the_network_is_not_408() -> None:
    """An error of the network is passed on unchanged."""
    with pytest.raises(TimeoutError):
        async with Arrivals().one(1):
            raise TimeoutError


# -- the stop ----------------------------------------------------------------------------------------------


async def test_a_stop_waits_for_incomplete_bodies(world: ServerWorld) -> None:
    """What arrives in time is handled as usual."""
    body = song()
    sender = await Sender.to(world)
    await sender.send(begin(world.address(await world.make_task()), len(body)))
    await until(lambda: is_awaited(world))
    settling = asyncio.create_task(world.arrivals.settle(WITHIN_S))
    await asyncio.sleep(0)
    assert not settling.done()
    await sender.send(body[1:])
    answer = await sender.answer()
    assert (answer.status, answer.body) == (200, {"outcome": "applied"})
    await settling


async def test_a_stop_refuses_later_incomplete_bodies(world: ServerWorld) -> None:
    """503 with Retry-After, at once, also for new requests; complete requests are handled as usual."""
    task_id = await world.make_task()
    sender = await Sender.to(world)
    await sender.send(begin(world.address(task_id)))
    await until(lambda: is_awaited(world))
    await world.arrivals.settle(0)
    for answer in (await sender.answer(), await ask(world, begin(world.address(task_id)))):
        assert answer.is_problem(503, "stopping")
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["connection"] == "close"
    body = song()
    answer = await ask(world, begin(world.address(task_id), len(body)), body[1:])
    assert (answer.status, answer.body) == (200, {"outcome": "applied"})


async def test_a_stop_without_incomplete_bodies_is_immediate(world: ServerWorld) -> None:
    """An idle connection is not a reason to wait."""
    idle = await Sender.to(world)
    async with asyncio.timeout(WITHIN_S):
        await world.arrivals.settle(10 * WITHIN_S)
    idle.cut()


@pytest.mark.parametrize("goes_on", [True, False])
async def test_the_daemon_finishes_requests_when_it_stops(tmp_path: Path, goes_on: bool) -> None:
    """A callback that completes during the stop is stored and answered; an incomplete one gets 503."""
    async with running_daemon(tmp_path, Setting("http://127.0.0.1:9", poll=NEVER_POLLS)) as api:
        tracker = api.tracker
        _, task = await api.call("POST", "/v1/tasks", {"route": "kling.omni-video", "external_id": "k-1"})
        token = CallbackTokens(tracker._callback_secret).make("kling.omni-video", task["id"])
        sender = Sender(*await asyncio.open_connection("127.0.0.1", int(tracker.url.rpartition(":")[2])))
        body = orjson.dumps({"task_id": "k-1", "task_status": "processing"})
        await sender.send(begin(f"/callbacks/kling/{token}", len(body)))
        runner = tracker._runner
        assert runner is not None
        await until(lambda: bool(runner.arrivals._limits))
        stopping = asyncio.create_task(tracker.stop())
        for byte in body[1:] if goes_on else b"":
            await sender.send(bytes([byte]))
            await asyncio.sleep(ARRIVE_S / 4 / len(body))  # a sender's pace: still sending when closing would begin
        answer = await sender.answer()
        if goes_on:
            assert (answer.status, answer.body) == (200, {"outcome": "applied"})
        else:
            assert answer.is_problem(503, "stopping")
        await stopping


# -- all kinds of sockets ----------------------------------------------------------------------------------


@asynccontextmanager
async def serving(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], listen: Listen, handed: socket.socket | None
) -> AsyncIterator[Runner]:
    """A bare application on the daemon's connections."""
    app = web.Application()
    app.router.add_get("/", handler)
    runner = Runner(app, ManualClock(START), access_log=None)
    await runner.setup()
    await open_sites(runner, listen, [handed] if handed else [])
    try:
        yield runner
    finally:
        await runner.cleanup()


async def say(where: Any, text: bytes) -> Answer:  # noqa: ANN401  an address of any family
    """Send something to an address and take what comes until the connection ends."""
    if isinstance(where, str):
        sender = Sender(*await asyncio.open_unix_connection(where))
    else:
        sender = Sender(*await asyncio.open_connection(*where[:2]))
    await sender.send(text)
    return await sender.answer()


async def fine(_request: web.Request) -> web.StreamResponse:
    """An answer."""
    return web.Response(text="fine")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
@pytest.mark.parametrize("is_handed", [False, True])
async def test_every_socket_behaves_alike(short_path: Path, family: socket.AddressFamily, is_handed: bool) -> None:
    """TCP and Unix, opened here or passed by systemd."""
    path = short_path / "http.sock"
    handed = socket.socket(family) if is_handed else None
    if handed is not None:
        handed.bind(str(path) if family == socket.AF_UNIX else ("127.0.0.1", 0))
    listen = Listen(path=path) if family == socket.AF_UNIX else Listen("127.0.0.1")
    async with serving(fine, listen, handed) as runner:
        answer = await say(runner.addresses[0], NO_HTTP["no host"])
    assert answer.is_problem(400, "malformed")


async def test_an_uncaught_exception_is_500_and_logged(logged: list[Mapping[str, Any]]) -> None:
    """Outside of the handlers' guard: 500 without details, and a traceback in the log."""

    async def fails(_request: web.Request) -> web.StreamResponse:
        raise RuntimeError("SECRET")

    async with serving(fails, Listen("127.0.0.1"), None) as runner:
        answer = await say(runner.addresses[0], b"GET /" + HOST + b"Connection: close\r\n\r\n")
    assert answer.is_problem(500, "internal")
    assert b"SECRET" not in answer.raw
    (event,) = [event for event in logged if event["level"] == "error"]
    assert event["event"] == "request.failed"
    assert "RuntimeError" in event["exception"]


async def test_a_partial_response_is_not_followed_by_another() -> None:
    """A client would take the second for a part of the first."""

    async def breaks_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "9"})
        await response.prepare(request)
        await response.write(b"half")
        raise RuntimeError

    async with serving(breaks_off, Listen("127.0.0.1"), None) as runner:
        answer = await say(runner.addresses[0], b"GET /" + HOST + b"\r\n")
    assert answer.raw.endswith(b"\r\n\r\nhalf")
    assert answer.raw.count(b"HTTP/1.1") == 1


async def test_a_compressed_body_in_pieces_is_read(world: ServerWorld) -> None:
    """It is decompressed as it arrives."""
    packed = gzip.compress(song())
    head = f"POST {world.address(await world.make_task())} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    sender = await Sender.to(world)
    await sender.send(f"{head}Content-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode(), packed[:20])
    await until(lambda: is_awaited(world))
    await sender.send(packed[20:])
    answer = await sender.answer()
    assert (answer.status, answer.body) == (200, {"outcome": "applied"})
