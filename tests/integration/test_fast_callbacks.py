"""The fast path of callbacks: response, log, effect and limits are those of a request through the handlers."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from tests.kits.connections import MemoryConnection
from tests.kits.logs import captured_logs
from tests.kits.server import EXTERNAL_ID, ServerWorld
from tests.kits.waiting import until
from tracker.domain.records import Json
from tracker.domain.task import Status
from tracker.errors import SignatureInvalid, StoreUnavailable, WriteUnknown
from tracker.server.connections import FAST_PATH, FastPath, Runner

SONG = {"id": "clip-1", "audio_url": "https://cdn.example.com/song/1.mp3", "title": "Summer Breeze"}
BODY = json.dumps({"callbackType": "complete", "task_id": EXTERNAL_ID, "data": [SONG]}).encode()
VARYING = re.compile(rb"(?<=Date: )[^\r]+")


def request_of(address: str, body: bytes = BODY, head: str = "", version: str = "HTTP/1.1") -> bytes:
    """A callback as it is sent."""
    return f"POST {address} {version}\r\nHost: x\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def break_store(world: ServerWorld, failure: Exception) -> None:
    """Let every access to the store fail."""
    world.store.fail(error=failure)


def refuse_signature(*_: object) -> bool:
    """A signature check that always fails."""
    raise SignatureInvalid("wrong")


CASES: dict[str, Callable[[ServerWorld, str], list[bytes]]] = {
    "applied, then a duplicate": lambda _rig, address: [request_of(address)] * 2,
    "the connection is closed": lambda _rig, address: [request_of(address, head="Connection: close\r\n")],
    "HTTP/1.0": lambda _rig, address: [request_of(address, version="HTTP/1.0")],
    "unknown token": lambda _rig, address: [request_of(address.replace("generate.", "generate.0"))],
    "unknown provider": lambda _rig, address: [request_of(address.replace("suno", "nope", 1))],
    "not JSON": lambda _rig, address: [request_of(address, b"<html>")],
    "not a callback": lambda _rig, address: [request_of(address, b"[]")],
    "too large": lambda _rig, address: [request_of(address, b" " * 5000)],
    "bad gzip": lambda _rig, address: [request_of(address, b"no gzip", "Content-Encoding: gzip\r\n")],
    "a reading without a status": lambda _rig, address: [request_of(address, b'{"callbackType": "new"}')],
    "large": lambda _rig, address: [request_of(address, BODY + b" " * 3000)],
    "unknown encoding": lambda _rig, address: [request_of(address, b"?", "Content-Encoding: rot13\r\n")],
}
FAILURES = [StoreUnavailable("the disk is full"), WriteUnknown("the commit failed"), RuntimeError("a bug")]


async def exchange(world: ServerWorld, request: bytes) -> bytes:
    """Send a request on a connection of its own; the response without its date."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.client.port)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    assert length is not None, head
    body = await reader.readexactly(int(length[1]))
    writer.close()
    return VARYING.sub(b"-", head) + body


async def run_both(
    path: Path, requests_of: Callable[[ServerWorld, str], list[bytes]], **services: Json
) -> list[tuple[object, ...]]:
    """With the fast path and without it: responses, log events, and the task afterwards."""
    found: list[tuple[object, ...]] = []
    for has_fast_path in (True, False):
        directory = path / str(has_fast_path)
        directory.mkdir()
        async with AsyncExitStack() as stack:
            world = await stack.enter_async_context(
                ServerWorld(directory, max_callback_bytes=4096, has_fast_path=has_fast_path, **services)
            )
            requests = requests_of(world, world.address(task_id := await world.make_task()))
            with captured_logs() as logged:
                responses = [await exchange(world, request) for request in requests]
            world.store.repair()
            task = (await world.store.get_task(task_id)).task
            events = [{key: line[key] for key in line.keys() - {"at", "task", "exception"}} for line in logged]
            found.append((responses, events, task.status, task.callbacks, await world.is_due(task_id)))
    return found


@pytest.mark.parametrize("case", CASES)
async def test_the_fast_path_responds_as_the_handlers(tmp_path: Path, case: str) -> None:
    """The same requests have the same status, headers, body, log events and effect."""
    fast, plain = await run_both(tmp_path, CASES[case])
    assert fast == plain


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_the_fast_path_fails_as_the_handlers(tmp_path: Path, failure: Exception) -> None:
    """An error of the store, or a bug, is the same problem and the same log event."""

    def requests_of(world: ServerWorld, address: str) -> list[bytes]:
        break_store(world, failure)
        return [request_of(address)]

    fast, plain = await run_both(tmp_path, requests_of)
    assert fast == plain
    assert fast[1], "a failure is logged"


@pytest.mark.parametrize("case", ["applied, then a duplicate", "HTTP/1.0"])
async def test_the_fast_path_checks_signatures_as_the_handlers(tmp_path: Path, case: str) -> None:
    """A wrong signature is refused and logged in the same form."""
    fast, plain = await run_both(tmp_path, CASES[case], check_signature=refuse_signature)
    assert fast == plain
    assert b" 401 " in fast[0][0]  # type: ignore[index]


async def test_the_fast_path_confirms_as_the_handlers(tmp_path: Path) -> None:
    """With ``trust = "confirm"`` the end is only polled."""
    fast, plain = await run_both(tmp_path, CASES["applied, then a duplicate"], trust="confirm")
    assert fast == plain
    assert b'"polling"' in fast[0][0]  # type: ignore[index]


async def test_an_application_with_middlewares_is_refused(tmp_path: Path) -> None:
    """The fast path would miss them, so a later middleware or signal cannot be forgotten for callbacks."""

    @web.middleware
    async def add_header(request: web.Request, handler: object) -> web.StreamResponse:
        raise NotImplementedError

    async def sign(request: web.BaseRequest, response: web.StreamResponse) -> None:
        raise NotImplementedError

    async with counted(tmp_path) as (world, fast_path):
        with_signal = web.Application()
        with_signal.on_response_prepare.append(sign)
        for app in (web.Application(middlewares=[add_header]), with_signal):
            app[FAST_PATH] = fast_path
            with pytest.raises(RuntimeError, match="wrap the handlers instead"):
                await Runner(app, world.clock).setup()


# -- the connection ----------------------------------------------------------------------------------------


class Counted:
    """The fast path, counting.

    Attributes:
        accepted: the requests that it accepted.
    """

    def __init__(self, real: FastPath) -> None:
        self.match = real.match
        self.respond = real.respond
        self._real = real
        self.accepted = 0

    def accept(self, request: Json) -> asyncio.Future[Json] | None:
        """See `FastPath`."""
        result = self._real.accept(request)
        self.accepted += result is not None
        return result


@asynccontextmanager
async def counted(path: Path, **limits: Json) -> AsyncIterator[tuple[ServerWorld, Counted]]:
    """A server whose fast path counts."""
    world = ServerWorld(path, limits=limits)
    fast_path = world.app[FAST_PATH] = Counted(world.app[FAST_PATH])
    async with world:
        yield world, fast_path


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("reads", "accepted"),
    [
        pytest.param(lambda one: [one], 1, id="a callback"),
        pytest.param(lambda one: [one] * 3, 3, id="three"),
        pytest.param(lambda one: [one.replace(b"Host", b"X-A: b\r\nhOST")], 1, id="more fields"),
        pytest.param(lambda one: [one.replace(b"generate.", b"generate.0"), one], 1, id="after an unknown token"),
        pytest.param(lambda one: [one * 2], 0, id="two in one read"),
        pytest.param(lambda one: [one[:99], one[99:]], 0, id="in two reads"),
        pytest.param(lambda one: [HEALTH, one], 0, id="after another request"),
        pytest.param(lambda one: [HEALTH + one[:99], one[99:]], 0, id="the rest of one"),
        pytest.param(lambda one: [HEALTH + b"GET / HTTP/1.1\r\nX: ", one], 0, id="a callback within a head"),
        pytest.param(lambda one: [one.replace(b"POST", b"PUT"), one], 0, id="after another method"),
        pytest.param(lambda one: [one.replace(b"Host", b"Content-Encoding: identity\r\nHost")], 0, id="encoded"),
    ],
)
async def test_the_fast_path_gets_single_plain_requests(
    tmp_path: Path, reads: Callable[[bytes], list[bytes]], accepted: int
) -> None:
    """All else is for aiohttp, and so is all that follows bytes which its parser may hold."""
    async with counted(tmp_path) as (world, fast_path):
        client = MemoryConnection(world)
        await client.send(reads(request_of(world.address(await world.make_task()))), settles=True)
        assert fast_path.accepted == accepted
        await client.end()


async def test_requests_that_come_early_are_answered_in_order(tmp_path: Path) -> None:
    """They wait for the response to the callback before them, and no more is read meanwhile."""
    async with counted(tmp_path) as (world, fast_path):
        one = request_of(world.address(await world.make_task()))
        client = MemoryConnection(world)
        async with world.store.halted_writer():
            client.connection.data_received(one)
            client.connection.data_received(one[:50])
            assert not client.transport.is_reading()
            client.connection.data_received(one[50:] + HEALTH)
            assert client.transport.sent == b""
        await client.settle()
        assert client.transport.is_reading()
        sent, _ = await client.end()
        assert re.findall(rb'"(applied|duplicate|alive)"', sent) == [b"applied", b"duplicate", b"alive"]
        assert fast_path.accepted == 1


async def test_a_client_that_disconnects_stops_no_callback(tmp_path: Path) -> None:
    """The callback is applied, nothing is sent, and nothing is logged."""
    async with counted(tmp_path) as (world, fast_path):
        task_id = await world.make_task()
        client = MemoryConnection(world)
        with captured_logs() as logged:
            async with world.store.halted_writer():
                client.connection.data_received(request_of(world.address(task_id)))
                client.transport.close()
            await client.end()
        assert client.transport.sent == b""
        assert (await world.get(task_id)).task.status is Status.SUCCEEDED
        assert {line["event"] for line in logged} == {"task.ended"}
        assert fast_path.accepted == 1


async def test_a_stop_waits_for_a_callback(tmp_path: Path) -> None:
    """Its sender gets the response, then the connection is closed; what came after it is not begun."""
    async with counted(tmp_path) as (world, _):
        task_id = await world.make_task()
        one = request_of(world.address(task_id))
        reader, writer = await asyncio.open_connection("127.0.0.1", world.client.port)
        async with world.store.halted_writer():
            writer.write(one)
            await until(lambda: world.store.calls["apply"])
            writer.write(one)
            stopping = asyncio.create_task(world.runner.cleanup())
            server = world.runner.server
            assert server is not None
            await until(lambda: any(connection._close for connection in server.connections))
            assert not stopping.done()
        sent = await reader.read()
        await stopping
        writer.close()
        assert sent.count(b"HTTP/1.1 200 OK") == 1
        assert (await world.get(task_id)).task.callbacks == 1


async def test_a_callback_is_never_idle(tmp_path: Path) -> None:
    """Neither for the time limits nor for the limit of connections; after the response it is."""
    async with counted(tmp_path, max_connections=1, keepalive_timeout=60) as (world, fast_path):
        address = world.address(await world.make_task())
        busy = MemoryConnection(world)
        async with world.store.halted_writer():
            busy.connection.data_received(request_of(address))
            busy.connection._next_keepalive_close_time = 0.0
            busy.connection._process_keepalive()
            assert not busy.transport.is_closing()
            assert b" 503 " in (await MemoryConnection(world).end())[0]
        await busy.settle()
        assert b" 200 OK" in busy.transport.sent
        later = MemoryConnection(world)
        await later.settle()
        assert busy.transport.is_closing()
        await later.send([request_of(address)], settles=True)
        assert fast_path.accepted == 2
        later.connection._next_keepalive_close_time = 0.0
        later.connection._process_keepalive()
        assert later.transport.is_closing()
        await later.end()


async def test_a_failed_callback_is_left_to_the_handler(tmp_path: Path) -> None:
    """A passing failure of the store costs its sender no repetition, and the connection no fast path."""
    async with counted(tmp_path) as (world, fast_path):
        one = request_of(world.address(await world.make_task()))
        client = MemoryConnection(world)
        world.store.fail("apply", times=1)
        await client.send([one, one], settles=True)
        sent, _ = await client.end()
        assert re.findall(rb'"outcome":"(\w+)"', sent) == [b"applied", b"duplicate"]
        assert fast_path.accepted == 2
