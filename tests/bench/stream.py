"""Callbacks with 200 open streams and without, in turns; how far streams fall behind, and how they stop.

Every stream gets every event, unfiltered. The clients run on the same machine: what they take of it counts against the
streams, too.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice

import aiohttp

from tests.bench.callbacks import Run, take_turn
from tests.bench.options import Options
from tests.bench.prepared import CallbackTask, callback_requests, make_tasks, tasks_for
from tests.bench.processes import OWN_TREE, Server, daemon, ended, workplace
from tests.bench.report import Figure, Result, at_least, at_most

STREAMS = 200
CONNECTIONS = 64
REQUESTS = 8_000
CAUGHT_UP_S = 120.0


@dataclass(frozen=True, slots=True)
class Clients:
    """The clients of the streams, as a process."""

    process: subprocess.Popen[bytes]

    async def ask(self) -> tuple[int, int]:
        """The position that all have reached, and the bytes that came in all."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        position, received = (await asyncio.to_thread(self.process.stdout.readline)).split()
        return int(position), int(received)


@dataclass(frozen=True, slots=True)
class Turn:
    """A round: callbacks without streams and with them, and what became of the streams.

    Attributes:
        behind: events that the slowest stream had not got when the last callback was answered.
        caught_up_s: how long it took to get them.
    """

    alone: Run
    beside: Run
    behind: int
    caught_up_s: float
    received: int
    resident_mib: float


async def run(options: Options) -> Result:
    """Measure all; the first round warms up."""
    count, rounds = options.scaled(REQUESTS), options.rounds + 1
    with workplace() as directory:
        tasks = iter(await make_tasks(directory / "tracker.db", tasks_for(count) * 2 * rounds))
        turns = []
        async with daemon(directory) as server:
            for n in range(rounds):
                alone = None if n % 2 else await _send(server, tasks, count)
                beside = await _turn(server, tasks, count)
                turns.append((alone or await _send(server, tasks, count), *beside))
    stops = [await _stop(0) for _ in range(options.rounds)], [await _stop(STREAMS) for _ in range(options.rounds)]
    return Result("stream", _figures([Turn(*turn) for turn in turns[1:]], *stops))


async def _send(server: Server, tasks: Iterator[CallbackTask], count: int) -> Run:
    return await take_turn(server, callback_requests(list(islice(tasks, tasks_for(count)))), CONNECTIONS)


async def _turn(server: Server, tasks: Iterator[CallbackTask], count: int) -> tuple[Run, int, float, int, float]:
    async with _clients(server.port, STREAMS) as clients:
        run = await _send(server, tasks, count)
        began = time.perf_counter()
        newest = await _newest(server)
        position, _ = await clients.ask()
        behind = newest - position
        while position < newest:
            if time.perf_counter() - began > CAUGHT_UP_S:
                raise SystemExit(f"streams are at {position}, and not at {newest}")
            await asyncio.sleep(0.02)
            position, _ = await clients.ask()
        caught_up_s = time.perf_counter() - began
        return run, behind, caught_up_s, (await clients.ask())[1], server.resident_mib()


async def _newest(server: Server) -> int:
    """The position of the newest event."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{server.port}/v1/stream") as response:
        async for line in response.content:
            if line.startswith(b"id: "):
                return int(line[4:])
    raise SystemExit("the stream has no position")


async def _stop(streams: int) -> float:
    """Seconds from SIGTERM to the end of a daemon with so many open streams."""
    with workplace() as directory:
        async with daemon(directory) as server, _clients(server.port, streams):
            began = time.perf_counter()
            server.process.terminate()
            await asyncio.to_thread(server.process.wait, 30)
            return time.perf_counter() - began


@asynccontextmanager
async def _clients(port: int, count: int) -> AsyncIterator[Clients]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.stream_clients", str(port), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=OWN_TREE,
    )
    with ended(process):
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        yield Clients(process)


def _figures(turns: list[Turn], stops_alone: list[float], stops: list[float]) -> list[Figure]:
    rates = [turn.beside.load.per_second / turn.alone.load.per_second for turn in turns]
    cpu = [turn.beside.cpu_us / turn.alone.cpu_us for turn in turns]
    return [
        Figure(f"ingest with {STREAMS} streams / without", rates, "", at_least(0.9, 0.95)),
        Figure("CPU a callback with streams / without", cpu, "", at_most(1.15, 1.1)),
        Figure(
            "stop with streams - without", [a - b for a, b in zip(stops, stops_alone, strict=True)], "s", at_most(0.25)
        ),
        Figure("ingest with streams", [turn.beside.load.per_second for turn in turns], "/s"),
        Figure("ingest without", [turn.alone.load.per_second for turn in turns], "/s"),
        Figure("p99 with streams", [turn.beside.load.p99_ms for turn in turns], "ms"),
        Figure("p99 without", [turn.alone.load.p99_ms for turn in turns], "ms"),
        Figure("events behind at the end", [turn.behind for turn in turns]),
        Figure("caught up after", [turn.caught_up_s for turn in turns], "s"),
        Figure("sent to all streams", [turn.received / 2**20 for turn in turns], "MiB"),
        Figure("memory of the daemon", [turn.resident_mib for turn in turns], "MiB"),
        Figure("stop with streams", stops, "s"),
        Figure("stop without", stops_alone, "s"),
    ]
