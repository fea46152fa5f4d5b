"""The history of all tasks: ``/v1/stream`` as Server-Sent Events, ``/v1/events`` as JSON.

Owns the form of the stream, and which clients are disconnected. What is read and kept is up to `tracker.tracking.feed`.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html (read 2026-11).
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import HttpVersion11, web

from tracker.domain.scopes import Scope
from tracker.errors import ConfigError, FieldProblem, PositionUnknown, RequestInvalid, TaskNotFound, TooManyReaders
from tracker.server.access import is_allowed
from tracker.server.queries import DEFAULT_LIMIT, LAST_EVENT_ID, parse_seq, refuse_unknown_names
from tracker.server.responses import HEADERS, RETRY_AFTER_S, Problem, json_response
from tracker.server.searches import is_gone
from tracker.server.services import QUERY
from tracker.store.values import TaskFilter
from tracker.tracking.feed_chunks import Chunk, Entry, Gap
from tracker.tracking.feed_filters import FeedFilter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracker.server.services import Services
    from tracker.tracking.feed import Reader

STREAM_HEADERS: Final = {
    **HEADERS,
    "Content-Type": "text/event-stream",
    "X-Accel-Buffering": "no",  # nginx passes each message on as it comes
}
RECONNECT_MS: Final = 2000
PING: Final = b": ping\n"
"""A comment, without the empty line that ends a message: some clients report that as an event without data."""
CHECK_TOKEN_S: Final = 15.0
"""How often the token of a stream is checked again; it may be read from a file."""
STALL_S: Final = 60.0
"""A client that has read nothing for so long is disconnected."""
SEND_BUFFER_BYTES: Final = 256 * 1024
"""What the kernel holds for a client that does not read; by default that may be megabytes."""


async def stream_events(services: Services, request: web.Request) -> web.StreamResponse:
    """Stream the events of all tasks as Server-Sent Events.

    Raises:
        RequestInvalid: a wrong filter, or a position that is malformed or in the future.
        Problem: 503, too many streams are open.
    """
    query: dict[str, Any] = request[QUERY]
    after, loc = _position(request, query.pop("after", None))
    wanted = await _filter(services, query)
    response = web.StreamResponse(headers=STREAM_HEADERS)
    with _refusals(loc):
        async with services.feed.open(wanted, after, _Client(services, request).is_over) as reader:
            await response.prepare(request)
            if request.method != "HEAD":
                with services.tallies.stream():
                    await _Sender(request, reader, services.feed.closing).send_all()
    return response


async def list_feed(services: Services, request: web.Request) -> web.Response:
    """List the events of all tasks after a position, oldest first.

    With ``wait`` the response comes with the next event, after that time, or when the daemon stops.

    Raises:
        RequestInvalid: a wrong filter, or a position in the future.
        Problem: 503, too many clients are waiting.
    """
    query: dict[str, Any] = request[QUERY]
    after, limit, wait_s = query.pop("after", 0), query.pop("limit", DEFAULT_LIMIT), query.pop("wait", 0.0)
    wanted = await _filter(services, query)
    with _refusals(("query", "after")):
        page = await services.feed.read(wanted, after, limit)
        if wait_s and not page.parts:
            async with services.feed.open(wanted, page.last, partial(is_gone, request)) as reader:
                page = await _wait_for_events(services, reader, wait_s)
    return json_response(_page_json(page.part(after, limit)))


async def _wait_for_events(services: Services, reader: Reader, wait_s: float) -> Chunk:
    """The next chunk with events; an empty one when the time is over, or the daemon stops."""
    page = Chunk(reader.position, reader.position)
    stopping = asyncio.ensure_future(services.stopping.wait())
    follow = asyncio.ensure_future(_next_events(reader))
    try:
        await asyncio.wait({follow, stopping}, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        page = (follow.result() if follow.done() else None) or Chunk(page.after, reader.position)
    finally:
        stopping.cancel()
        follow.cancel()
    return page


async def _next_events(reader: Reader) -> Chunk | None:
    while (chunk := await reader.next()) is not None and not chunk.parts:
        pass
    return chunk


def _page_json(page: Chunk) -> dict[str, Any]:
    gaps = [part for part in page.parts if isinstance(part, Gap)]
    items = [orjson.Fragment(part.data) for part in page.parts if isinstance(part, Entry)]
    gap = {"gap": {"from": gaps[0].first, "to": gaps[-1].last}} if gaps else {}
    return {"items": items, "last_seq": page.last, **gap}


# -- what a client asks for --------------------------------------------------------------------------------


def _position(request: web.Request, after: int | None) -> tuple[int | None, tuple[str, str]]:
    """Where a stream begins, None for now; and the field that sets it. A client that resumes sends the header."""
    text = request.headers.get(LAST_EVENT_ID.name, "").strip()
    if not text:  # a browser without a position sends none
        return after, ("query", "after")
    loc = ("header", LAST_EVENT_ID.name)
    try:
        return parse_seq(text), loc
    except ValueError as error:
        raise RequestInvalid([FieldProblem(loc, str(error))]) from None


async def _filter(services: Services, query: dict[str, Any]) -> FeedFilter:
    """The filter of query parameters.

    Raises:
        RequestInvalid: it names a task that does not exist, or a route, provider or account that no task has and that
            is not configured.
    """
    if (task := query.get("task")) is not None:
        try:
            await services.store.get_task(task)
        except TaskNotFound:
            raise RequestInvalid([FieldProblem(("query", "task"), "no task has this id")]) from None
    known = {**services.registry.names(), "account": services.accounts}
    named = {name: query[name] for name, names in known.items() if name in query and query[name] not in names}
    if named and not (await services.store.list_tasks(TaskFilter(**named, limit=1))).items:
        refuse_unknown_names(named, known)
    return FeedFilter.of(**query)


@contextmanager
def _refusals(loc: tuple[str, str]) -> Iterator[None]:
    """Respond to what the feed refuses."""
    try:
        yield
    except PositionUnknown as error:
        raise RequestInvalid([FieldProblem(loc, str(error))]) from None
    except TooManyReaders as error:
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        detail = f"Too many streams: {error}. Close some, or retry later."
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "too-many-streams", detail, headers=headers) from None


class _Client:
    """The client of a stream, which lasts: its token may be removed or changed meanwhile."""

    def __init__(self, services: Services, request: web.Request) -> None:
        self._services = services
        self._request = request
        self._checked_at = services.clock.monotonic()
        self._is_refused = False

    def is_over(self) -> bool:
        """Whether it has disconnected, or its token allows the stream no longer."""
        if is_gone(self._request) or self._is_refused:
            return True
        if (now := self._services.clock.monotonic()) - self._checked_at >= CHECK_TOKEN_S:
            self._checked_at = now
            with suppress(ConfigError):  # the file with the token cannot be read now
                self._is_refused = not is_allowed(self._request, self._services.api_tokens(), Scope.READ)
        return self._is_refused


# -- sending -----------------------------------------------------------------------------------------------


class _Sender:
    """Sends a stream to one client.

    Args:
        request: its response has been begun.
        reader: what is sent.
        closing: done when the daemon stops.
    """

    def __init__(self, request: web.Request, reader: Reader, closing: asyncio.Future[None]) -> None:
        self._request = request
        self._reader = reader
        self._closing = closing
        self._is_chunked = request.version >= HttpVersion11
        self._sent_id = reader.position

    async def send_all(self) -> None:
        """Send until the client disconnects or the daemon stops."""
        limit_buffers(self._request)
        # the id lets a client that is cut off before the first event resume here
        data = self._frame(b"retry: %d\nid: %d\n\n" % (RECONNECT_MS, self._sent_id))
        while (transport := self._request.transport) is not None:
            if self._request.protocol.writing_paused and not await self._is_read(transport):
                transport.abort()
                return
            self._write(data)
            chunk = await self._reader.next(self._take)
            if chunk is None:
                return
            data = self._encode(chunk)

    def _take(self, chunk: Chunk) -> bool:
        """Send a chunk at once if the client has read what came before."""
        if self._request.protocol.writing_paused:
            return False
        self._write(self._encode(chunk))
        return True

    def _write(self, data: bytes) -> None:
        transport = self._request.transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    async def _is_read(self, transport: asyncio.Transport) -> bool:
        """Wait until the client has read most of what was sent; whether it does.

        It does not if the daemon stops: nothing waits for a client then.
        """
        read = asyncio.ensure_future(self._request.writer.drain())
        left = transport.get_write_buffer_size()
        try:
            while True:
                done, _ = await asyncio.wait({read, self._closing}, timeout=STALL_S, return_when="FIRST_COMPLETED")
                if done:
                    return read in done and read.exception() is None
                before, left = left, transport.get_write_buffer_size()
                if left >= before:
                    return False
        finally:
            read.cancel()

    def _encode(self, chunk: Chunk) -> bytes:
        """A chunk, encoded once for all clients that get it; or a ping."""
        if not chunk.parts:
            passed, self._sent_id = self._sent_id, chunk.last
            # what the filter did not let pass is read only once, too
            return self._frame(PING if passed == chunk.last else b"id: %d\n\n" % chunk.last)
        self._sent_id = chunk.parts[-1][-1] if isinstance(chunk.parts[-1], Gap) else chunk.parts[-1].seq
        name = "chunked" if self._is_chunked else "plain"
        if name not in chunk.wire:
            chunk.wire[name] = self._frame(encode(chunk))
        return chunk.wire[name]

    def _frame(self, data: bytes) -> bytes:
        """In the chunked coding, which the headers have announced. aiohttp would copy the data for each client."""
        return b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data


def encode(chunk: Chunk) -> bytes:
    """The messages of a chunk."""
    messages = []
    for part in chunk.parts:
        if isinstance(part, Entry):
            messages.append(b"id: %d\nevent: task\ndata: %b\n\n" % part)
        else:
            messages.append(b'id: %d\nevent: gap\ndata: {"from":%d,"to":%d}\n\n' % (part.last, *part))
    return b"".join(messages)


def limit_buffers(request: web.Request) -> None:
    """Have the kernel hold little for the client, and give up one that is unreachable."""
    transport = request.transport
    found: socket.socket | None = None if transport is None else transport.get_extra_info("socket")
    if found is None:
        return
    with suppress(OSError):
        found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if found.family in {socket.AF_INET, socket.AF_INET6} and hasattr(socket, "TCP_USER_TIMEOUT"):
        with suppress(OSError):
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALL_S * 1000))
