"""A client of ``/v1/stream`` for tests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from tests.kits.waiting import WITHIN_S

Json = Any


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a stream; without data it only brings an id."""

    event: str
    id: int | None
    data: Json


@dataclass
class Stream:
    """A stream that is open.

    Attributes:
        response: its response.
        position: the last id that came.
        raw: all that was read.
    """

    response: aiohttp.ClientResponse
    position: int | None = None
    raw: bytes = b""
    comments: list[bytes] = field(default_factory=list)

    async def message(self) -> Message:
        """The next message.

        Raises:
            EOFError: the stream ended.
        """
        event, seq, data = "message", None, b""
        async with asyncio.timeout(WITHIN_S):
            while line := await self.response.content.readline():
                self.raw += line
                name, _, value = line.rstrip(b"\n").partition(b": ")
                match name:
                    case b"event":
                        event = value.decode()
                    case b"id":
                        seq = int(value)
                    case b"data":
                        data += value
                    case b":" | b"":
                        if line == b"\n":
                            self.position = self.position if seq is None else seq
                            return Message(event, seq, orjson.loads(data) if data else None)
                        self.comments.append(value)
                    case _:
                        assert name == b"retry", line
        raise EOFError

    async def next(self) -> Message:
        """The next message with data."""
        while (message := await self.message()).data is None:
            pass
        return message

    async def until(self, seq: int) -> list[Message]:
        """The messages with data up to the event with this seq."""
        found = [await self.next()]
        while found[-1].id != seq:
            found.append(await self.next())
        return found

    async def rest(self) -> list[Message]:
        """The messages with data up to the end of the stream."""
        found = []
        try:
            while True:
                found.append(await self.next())
        except EOFError:
            return found


@asynccontextmanager
async def open_stream(
    client: Any,  # noqa: ANN401 - a session or a test client
    query: str = "",
    *,
    last_event_id: int | str | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Stream]:
    """Open a stream, and read the id that it begins with."""
    sent = dict(headers or {}) | ({} if last_event_id is None else {"Last-Event-ID": str(last_event_id)})
    timeout = aiohttp.ClientTimeout(total=None, sock_read=WITHIN_S)
    async with client.get(f"/v1/stream{query}", headers=sent, timeout=timeout) as response:
        assert response.status == 200, await response.text()
        stream = Stream(response)
        begin = await stream.message()
        assert begin.data is None
        yield stream


@asynccontextmanager
async def open_unread(url: Any, query: str = "") -> AsyncIterator[asyncio.StreamReader]:  # noqa: ANN401 - a URL of yarl
    """Open a stream whose client reads nothing and has no room for much; what came until its end can be read."""
    unread = socket.socket()
    unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    unread.setblocking(False)
    await asyncio.get_running_loop().sock_connect(unread, (url.host, url.port))
    reader, writer = await asyncio.open_connection(sock=unread, limit=1024)
    try:
        writer.write(f"GET /v1/stream{query} HTTP/1.1\r\nHost: {url.host}\r\n\r\n".encode())
        await writer.drain()
        yield reader
    finally:
        writer.close()


def seqs(messages: list[Message]) -> list[int]:
    """The seqs of events, in the order in which they came."""
    return [message.data["seq"] for message in messages if message.event == "task"]
