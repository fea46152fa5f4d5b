"""Clients of the stream as a process: ``python -m tests.bench.stream_clients PORT COUNT``.

It opens the streams and prints a line; then, for each line of its input, the lowest of their last ids, and the bytes
that came.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from tests.bench.load import get

_ID = b"\nid: "


class _Client(asyncio.Protocol):
    """Reads a stream, and keeps only the last id."""

    def __init__(self, opened: asyncio.Future[None]) -> None:
        self._opened = opened
        self._tail = b""
        self.position = -1
        self.received = 0

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        text = self._tail + data
        at = text.rfind(_ID)
        end = text.find(b"\n", at + len(_ID)) if at >= 0 else -1
        if end > 0:
            self.position = int(text[at + len(_ID) : end])
        self._tail = text[-32:]
        if not self._opened.done():
            self._opened.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._opened.done():
            self._opened.set_exception(exc or ConnectionResetError("the stream was refused"))


async def _run(port: int, count: int) -> None:
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(count):
        opened: asyncio.Future[None] = loop.create_future()
        transport, client = await loop.create_connection(lambda: _Client(opened), "127.0.0.1", port)  # noqa: B023
        transport.write(get(f"/v1/stream{sys.argv[3] if len(sys.argv) > 3 else ''}"))
        await opened
        clients.append(client)
    print("open", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        lowest, received = min(one.position for one in clients), sum(one.received for one in clients)
        print(lowest, received, flush=True)


if __name__ == "__main__":
    uvloop.run(_run(int(sys.argv[1]), int(sys.argv[2])))
