"""A connection of the server without a socket: a test decides which bytes come in one read, and sees what is sent."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any

from tests.kits.server import ServerWorld
from tests.kits.waiting import WITHIN_S, until
from tracker.server.connections import Connection

_DATE = re.compile(rb"(?<=Date: )[^\r]+")


class MemoryTransport(asyncio.Transport):
    """Remembers what is written.

    Attributes:
        sent: all of it.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._is_closing = False
        self._reads = True
        self.sent = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Remember."""
        self.sent += data

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self._is_closing

    def close(self) -> None:
        """Have the connection know of its end, once."""
        if not self._is_closing:
            self._is_closing = True
            asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        """Bring nothing more."""
        self._reads = False

    def resume_reading(self) -> None:
        """Bring more."""
        self._reads = True

    def is_reading(self) -> bool:
        """Whether bytes may come."""
        return self._reads and not self._is_closing


class MemoryConnection:
    """A connection as a client sees it.

    Args:
        world: its server.
    """

    def __init__(self, world: ServerWorld) -> None:
        server: Any = world.runner.server
        self.connection: Connection = server()
        self.transport = MemoryTransport(self.connection)
        self.connection.connection_made(self.transport)

    async def send(self, pieces: Iterable[bytes], *, settles: bool) -> None:
        """Have each piece arrive in a read of its own, each after the effect of the last one if it ``settles``."""
        for piece in pieces:
            if settles:
                await self.settle()
            await until(lambda: self.transport.is_reading() or self.transport.is_closing())
            if self.transport.is_closing():
                return
            self.connection.data_received(piece)
        await self.settle()

    async def settle(self) -> None:
        """Wait until the server waits for further bytes, or has closed the connection."""
        connection = self.connection

        def is_waiting() -> bool:
            if connection._manager is None:
                return True
            for_request = connection._waiter is not None and not connection._waiter.done()
            is_busy = connection._request_in_progress or connection._messages
            return connection._arriving is not None or (for_request and not is_busy)

        async with asyncio.timeout(WITHIN_S):
            while not is_waiting():  # noqa: ASYNC110 - nothing signals it
                await asyncio.sleep(0.0005)

    async def end(self) -> tuple[bytes, bool]:
        """Disconnect; what was sent, without dates, and whether the server had closed the connection."""
        found = _DATE.sub(b"-", self.transport.sent), self.transport.is_closing()
        self.transport.close()
        await until(lambda: self.connection._manager is None and not self.connection._request_in_progress)
        return found
