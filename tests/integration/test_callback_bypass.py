"""Callbacks bypass the router: response, log and effect are those of a request through it."""

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from tests.kits.logs import captured_logs
from tests.kits.server import EXTERNAL_ID, ServerWorld
from tracker.domain.records import Json
from tracker.errors import SignatureInvalid, StoreUnavailable, WriteUnknown
from tracker.server.app import bypass_router_for_callbacks

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
    """For the bypass and for the router: responses, log events, and the task afterwards."""
    found: list[tuple[object, ...]] = []
    for bypasses_router in (True, False):
        directory = path / str(bypasses_router)
        directory.mkdir()
        async with AsyncExitStack() as stack:
            world = await stack.enter_async_context(
                ServerWorld(directory, max_callback_bytes=4096, bypasses_router=bypasses_router, **services)
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
async def test_the_bypass_responds_as_the_router(tmp_path: Path, case: str) -> None:
    """The same requests have the same status, headers, body, log events and effect."""
    bypass, router = await run_both(tmp_path, CASES[case])
    assert bypass == router


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_the_bypass_fails_as_the_router(tmp_path: Path, failure: Exception) -> None:
    """An error of the store, or a bug, is the same problem and the same log event."""

    def requests_of(world: ServerWorld, address: str) -> list[bytes]:
        break_store(world, failure)
        return [request_of(address)]

    bypass, router = await run_both(tmp_path, requests_of)
    assert bypass == router
    assert bypass[1], "a failure is logged"


async def test_the_bypass_checks_signatures_as_the_router(tmp_path: Path) -> None:
    """A wrong signature is refused and logged in the same form."""
    bypass, router = await run_both(tmp_path, CASES["HTTP/1.0"], check_signature=refuse_signature)
    assert bypass == router
    assert b" 401 " in bypass[0][0]  # type: ignore[index]


async def test_an_application_with_middlewares_is_refused() -> None:
    """The bypass would miss them, so a later middleware or signal cannot be forgotten for callbacks."""

    @web.middleware
    async def add_header(request: web.Request, handler: object) -> web.StreamResponse:
        raise NotImplementedError

    async def sign(request: web.BaseRequest, response: web.StreamResponse) -> None:
        raise NotImplementedError

    with_signal = web.Application()
    with_signal.on_response_prepare.append(sign)
    for app in (web.Application(middlewares=[add_header]), with_signal):
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            with pytest.raises(RuntimeError, match="wrap the handlers in make_app"):
                bypass_router_for_callbacks(runner)
        finally:
            await runner.cleanup()
