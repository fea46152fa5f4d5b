"""Load on a server: many connections, one request under way on each, each prepared request sent once.

``wrk`` makes it where it is installed: a generator in Python is too slow to load a bare handler, and flatters what is
compared with one. The one here is used without wrk, and for mixtures of load.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

_SCRIPT = Path(__file__).with_name("wrk.lua")
_LONGEST_S = 600


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run of requests took.

    Attributes:
        count: requests that were answered.
        seconds: from the first request to the last answer.
        failed: requests without an answer, and answers that refuse.
    """

    count: int
    seconds: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    failed: int

    @property
    def per_second(self) -> float:
        """Requests answered per second."""
        return self.count / self.seconds


def generator() -> str:
    """Which load generator `drive` uses."""
    return "wrk" if shutil.which("wrk") else "tests/bench/load.py (install wrk for a native one)"


async def drive(port: int, requests: Sequence[bytes], connections: int) -> Measured:
    """Send all requests over so many connections by the best generator there is; see `run_load`."""
    if shutil.which("wrk") is None:
        return await run_load(port, requests, connections)
    with tempfile.NamedTemporaryFile(prefix="tracker-bench-") as prepared:
        prepared.write(b"".join(len(request).to_bytes(4, "big") + request for request in requests))
        prepared.flush()
        # one thread: more would change the order, and one is several times as fast as what is measured
        command = ["wrk", "-t1", f"-c{connections}", f"-d{_LONGEST_S}", "--timeout", "60", "-s", str(_SCRIPT)]
        process = await asyncio.create_subprocess_exec(
            *command, f"http://127.0.0.1:{port}", "--", prepared.name, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
    for line in output.decode().splitlines():
        if line.startswith("RESULT "):
            return Measured(**json.loads(line.removeprefix("RESULT ")))
    raise SystemExit(f"wrk failed: {output.decode()}")


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the last answer is complete."""

    def __init__(self, requests: Iterator[bytes], latencies: list[float], statuses: list[int]) -> None:
        self._requests = requests
        self._latencies = latencies
        self._statuses = statuses
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self._send()

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            self.done.set_result(None)
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        lower = head.lower()
        start = lower.index(b"content-length:") + 15
        length = int(lower[start:].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        self._buffer = b""
        self._latencies.append(time.perf_counter() - self._sent_at)
        self._statuses.append(int(head[9:12]))
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("the server closed the connection"))


def post(path: str, body: bytes) -> bytes:
    """The bytes of one POST."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def get(path: str) -> bytes:
    """The bytes of one GET."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def run_load(port: int, requests: Sequence[bytes], connections: int) -> Measured:
    """Send all requests over so many connections, with the generator in Python.

    Args:
        port: on loopback.
        requests: complete requests, sent in this order.
        connections: requests under way at once.
    """
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    statuses: list[int] = []
    waiting = iter(requests)
    start = time.perf_counter()
    opened = [
        await loop.create_connection(lambda: _Connection(waiting, latencies, statuses), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in opened))
    seconds = time.perf_counter() - start
    failed = len(requests) - statuses.count(200)
    p50, p99, worst = percentiles_ms(latencies, 50, 99, 100)
    return Measured(len(latencies), seconds, p50, p99, worst, failed)


def percentiles_ms(latencies_s: Sequence[float], *percents: float) -> list[float]:
    """Percentiles of latencies, milliseconds."""
    ordered = sorted(latencies_s)
    return [ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000 for percent in percents]
