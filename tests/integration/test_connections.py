"""The limit of connections: which is closed for a new one, when, and which never."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.test_callbacks import song
from tests.integration.test_server_wire import Sender, ask, is_awaited
from tests.kits.daemon import Setting
from tests.kits.logs import captured_logs
from tests.kits.server import Server, ServerWorld
from tests.kits.waiting import until
from tracker.cli.local_checks import check_descriptors
from tracker.config import load_config
from tracker.daemon.descriptors import MAX_LIMIT, reachable_limit, share_of_connections
from tracker.server.arrivals import HELD_MAX_BYTES, Arrivals
from tracker.server.connection_limits import HEAD_MAX_BYTES, ConnectionNeeded
from tracker.server.connections import FIELD_MAX_BYTES, FIELDS_MAX

HOST = b" HTTP/1.1\r\nHost: 127.0.0.1\r\n"
HEALTH = b"GET /healthz" + HOST + b"\r\n"
LAST = b"GET /healthz" + HOST + b"Connection: close\r\n\r\n"
HALF = b"POST /callbacks/suno" + HOST + b"X: "
BODY = b"POST /callbacks/suno" + HOST + b"Content-Length: 8\r\n\r\n{"
ALIVE = b'alive"}'
LIMIT = 3


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ServerWorld]:
    """The surface, with few connections."""
    async with ServerWorld(tmp_path, limits={"max_connections": LIMIT}) as world:
        yield world


async def connect(world: ServerWorld, sent: bytes, answered: bytes = b"") -> Sender:
    """A connection on which something was sent and, if anything, answered."""
    sender = await Sender.to(world)
    await sender.send(sent)
    if answered:
        await sender.until(answered)
    return sender


def requests_of(world: ServerWorld) -> int:
    """How many requests have been begun."""
    assert isinstance(world.client.server, Server)
    assert world.client.server.runner is not None
    assert world.client.server.runner.server is not None
    return world.client.server.runner.server.requests_count


async def test_connections_without_a_head_are_closed_first(world: ServerWorld) -> None:
    """The oldest of them, with nothing or a part received; a known idle connection stays."""
    idle = await connect(world, HEALTH, ALIVE)
    silent, half = await connect(world, b""), await connect(world, HALF)
    assert (await ask(world, LAST)).status == 200
    assert (await silent.answer()).raw == b""
    again = await connect(world, b"")
    assert (await ask(world, LAST)).status == 200
    assert (await half.answer()).raw == b""
    await idle.send(LAST)
    assert (await idle.answer()).status == 200
    again.cut()


async def test_idle_connections_are_closed_next(world: ServerWorld) -> None:
    """The longest idle between two requests."""
    first, second, third = [await connect(world, HEALTH, ALIVE) for _ in range(LIMIT)]
    await first.send(HEALTH)
    await first.until(ALIVE)
    assert (await ask(world, LAST)).status == 200
    assert (await second.answer()).raw == b""
    for sender in (first, third):
        await sender.send(LAST)
        assert (await sender.answer()).status == 200


async def test_incomplete_bodies_are_dropped_last(world: ServerWorld) -> None:
    """The oldest gets 503; its request was not begun, so nothing is lost."""
    slow: list[Sender] = []
    while len(slow) < LIMIT:
        slow.append(await connect(world, BODY))
        await until(lambda: len(world.arrivals._limits) == len(slow))
    with captured_logs() as logged:
        assert (await ask(world, LAST)).status == 200
    answer = await slow[0].answer()
    assert answer.is_problem(503, "too-many-connections")
    assert answer.headers["retry-after"]
    assert [line["event"] for line in logged] == ["server.connections_full"]
    for sender in slow[1:]:
        await sender.send(b'"a": 1}')
        sender.cut()


async def test_a_complete_request_is_never_cut_off(world: ServerWorld) -> None:
    """If all have one, the new connection gets 503."""
    task_id = await world.make_task()
    wait = f"GET /v1/tasks/{task_id}?wait=60".encode() + HOST + b"Connection: close\r\n\r\n"
    waits = [await connect(world, wait) for _ in range(LIMIT)]
    await until(lambda: requests_of(world) == LIMIT)
    refused = await connect(world, b"")
    assert (await refused.answer()).is_problem(503, "too-many-connections")
    await world.end_task(task_id)
    world.services.stopping.set()
    assert [(await sender.answer()).status for sender in waits] == [200] * LIMIT


@pytest.mark.parametrize("sent", [b"", HALF, b"\r\n"])
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_head_has_a_time_limit(tmp_path: Path, sent: bytes, *, is_first: bool) -> None:
    """It counts from the connection, or from the first byte of a later head."""
    async with ServerWorld(tmp_path, limits={"head_s": 0.05}) as world:
        sender = await connect(world, sent) if is_first else await connect(world, HEALTH, ALIVE)
        if not is_first:
            await sender.send(sent or HALF)
        assert (await sender.answer()).raw == b""


async def test_slow_bytes_do_not_extend_the_limit_of_a_head(tmp_path: Path) -> None:
    """A connection that sends a byte now and then is closed at the same time as a silent one."""
    async with ServerWorld(tmp_path, limits={"head_s": 0.2}) as world:
        silent, dripping = await connect(world, b""), await connect(world, HALF)
        closed = asyncio.create_task(silent.answer())
        with contextlib.suppress(ConnectionError):  # it is closed, and a byte was on its way
            while not closed.done():
                await dripping.send(b"x")
                await asyncio.wait({closed}, timeout=0.01)
            assert (await dripping.answer()).raw == b""
        assert (await closed).raw == b""


async def test_idle_connections_have_the_limit_of_keep_alive(tmp_path: Path) -> None:
    """The limit of heads is not for idle connections, nor for slow bodies."""
    async with ServerWorld(tmp_path, limits={"head_s": 0.02}) as world:
        idle, slow = await connect(world, HEALTH, ALIVE), await connect(world, BODY)
        await until(lambda: is_awaited(world))
        silent = await connect(world, b"")
        assert (await silent.answer()).raw == b""  # its time is over, and with it that of the others, had they one
        await idle.send(LAST)
        assert (await idle.answer()).status == 200
        await slow.send(b'"a": 1}')
        slow.cut()


async def test_incomplete_bodies_have_a_common_limit() -> None:
    """Of their decompressed bytes; the oldest is dropped, the others continue."""
    arrivals = Arrivals()

    async def hold_one() -> None:
        async with arrivals.one(9) as hold:
            hold(1)
            await asyncio.Event().wait()

    first = asyncio.create_task(hold_one())
    await until(lambda: arrivals._held == 1)
    async with arrivals.one(9) as hold:
        hold(HELD_MAX_BYTES - 1)
        assert arrivals._held == HELD_MAX_BYTES
        hold(1)
        with pytest.raises(ConnectionNeeded):
            await first
        assert arrivals._held == HELD_MAX_BYTES
    assert arrivals._held == 0


async def test_long_heads_are_read(world: ServerWorld) -> None:
    """A field or a line of nearly 64 KiB, and a thousand fields, as proxies make them."""
    path = world.address(await world.make_task()).encode()
    long, body = b"x" * (FIELD_MAX_BYTES - 1000), song()
    length = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    for head in (
        b"POST " + path + HOST + b"Cookie: " + long + b"\r\n" + b"X-Proxy: " + long + b"\r\n",
        b"POST " + path + b"?signature=" + long + HOST,
        b"POST " + path + HOST + b"".join(b"X-%d: y\r\n" % n for n in range(FIELDS_MAX - 10)),
    ):
        answer = await ask(world, head + length + body)
        assert (answer.status, answer.body["outcome"]) in {(200, "applied"), (200, "duplicate")}


async def test_a_head_has_a_size_limit(world: ServerWorld) -> None:
    """Also if each field is short enough."""
    field = b"X: " + b"y" * (FIELD_MAX_BYTES - 1000) + b"\r\n"
    answer = await ask(world, b"GET /healthz" + HOST + field * (HEAD_MAX_BYTES // len(field) + 1) + b"X: ")
    assert answer.is_problem(431, "head-too-large")


@pytest.mark.parametrize(
    ("soft", "hard", "reached"),
    [
        (1024, 4096, 4096),
        (1024, 2**20, MAX_LIMIT),
        (2**20, 2**20, 2**20),
        (64, 64, 64),
        (1024, resource.RLIM_INFINITY, MAX_LIMIT),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, MAX_LIMIT),
    ],
)
def test_the_limit_is_raised(soft: int, hard: int, reached: int) -> None:
    """Up to the hard limit, within reason; never lowered."""
    assert reachable_limit(soft, hard) == reached


def test_connections_leave_a_reserve() -> None:
    """Half of a small limit, all but a fixed number of a large one."""
    assert [share_of_connections(limit) for limit in (1, 64, 1024, 16384)] == [1, 32, 512, 15872]


def test_a_process_raises_its_own_limit() -> None:
    """In a subprocess: the limit of this one stays."""
    code = "from tracker.daemon.descriptors import *; print(raise_limit(), current_limit())"
    command = ["prlimit", "--nofile=256:512", sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["512", "512"]


def test_doctor_shows_the_limit(tmp_path: Path) -> None:
    """It fails if a few connections would use up the limit."""
    config = load_config(Setting().write(tmp_path), {})
    assert check_descriptors(config).state == "ok"
    line = check_descriptors(config, least=2**40)
    assert (line.state, "LimitNOFILE" in (line.fix or "")) == ("failed", True)
