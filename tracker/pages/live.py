"""Live parts of pages: messages for htmx in a stream of Server-Sent Events.

At most four messages a second: what happens meanwhile is in the next one. A client that does not read is disconnected.

Source: https://four.htmx.org/extensions/sse (read 2026-11).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from tracker.errors import PositionUnknown, TooManyReaders
from tracker.server.queries import LAST_EVENT_ID, parse_seq
from tracker.server.responses import RETRY_AFTER_S, Problem
from tracker.server.searches import is_gone
from tracker.server.streams import PING, STREAM_HEADERS, limit_buffers

if TYPE_CHECKING:
    from tracker.pages.site import Visit
    from tracker.tracking.feed import Reader
    from tracker.tracking.feed_chunks import Chunk
    from tracker.tracking.feed_filters import FeedFilter

PAUSE_S: Final = 0.25
"""From one message to the next."""
PING_S: Final = 15.0
STALL_S: Final = 20.0
"""A client that has read nothing for so long is disconnected."""
TOO_FAR: Final = 2000
"""A page that is so many events behind loads itself again."""
_RESYNC: Final = "event: resync\ndata: 1\n"

Note = Callable[["Chunk"], None]
"""Gets what happened."""
Render = Callable[[], Awaitable[str]]
"""What the page does not show yet, made of `part`; empty: nothing."""


def part(target: str, html: str, swap: str = "outerMorph") -> str:
    """A part of a message: what replaces the element with an id; a page without that element ignores it."""
    return f'<hx-partial hx-target="#{target}" hx-swap="{swap}">{html}</hx-partial>'


async def stream(
    visit: Visit, wanted: FeedFilter, after: int, note: Note, render: Render, *, look_again_s: float = 2.0
) -> web.StreamResponse:
    """Keep a page up to date until it is closed, or the daemon stops.

    Args:
        visit: the request for the stream.
        wanted: which events matter.
        after: the position of the last event that the page shows; a browser that connects again names a later one.
        note: gets those events.
        render: makes the next message.
        look_again_s: it is asked at least so often.

    Raises:
        Problem: 503, too many streams are open.
    """
    request, feed = visit.request, visit.services.feed
    response = web.StreamResponse(headers=STREAM_HEADERS)
    after = _resumed(request.headers.get(LAST_EVENT_ID.name, ""), after)
    newest = await visit.services.store.last_seq()
    if not 0 <= newest - after <= TOO_FAR:
        await response.prepare(request)
        await response.write(_message(_RESYNC, newest))
        return response
    try:
        async with feed.open(wanted, after, partial(is_gone, request)) as reader:
            await response.prepare(request)
            limit_buffers(request)
            with visit.services.tallies.stream():
                await _Sender(response, reader, note, render, look_again_s).run(request)
    except PositionUnknown:
        await response.prepare(request)
        await response.write(_message(_RESYNC, newest))
    except TooManyReaders as error:
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        detail = f"Too many streams: {error}. Close some pages."
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "too-many-streams", detail, headers=headers) from None
    return response


def _resumed(text: str, after: int) -> int:
    try:
        return max(parse_seq(text.strip()), after)
    except ValueError:
        return after


def _message(lines: str, position: int) -> bytes:
    return f"{lines}id: {position}\n\n".encode("utf-8", "replace")


class _Sender:
    def __init__(
        self, response: web.StreamResponse, reader: Reader, note: Note, render: Render, look_again_s: float
    ) -> None:
        self._response = response
        self._reader = reader
        self._note = note
        self._render = render
        self._look_again_s = look_again_s

    async def run(self, request: web.Request) -> None:
        """Send until the client is gone or the daemon stops."""
        reader, loop = self._reader, asyncio.get_running_loop()
        feed, closing = reader.feed, reader.feed.closing
        follow = asyncio.ensure_future(reader.next())
        try:
            await self._write(request, PING)  # aiohttp sends the headers with the first bytes
            sent_at = loop.time()
            while True:
                waiting: set[asyncio.Future[Any]] = {follow, closing}
                await asyncio.wait(waiting, timeout=self._look_again_s, return_when="FIRST_COMPLETED")
                while follow.done():
                    chunk = follow.result()
                    if chunk is None:
                        return
                    self._note(chunk)
                    follow = asyncio.ensure_future(reader.next())
                    await asyncio.wait({follow}, timeout=0)
                if closing.done() or is_gone(request):
                    return
                if feed.position - reader.position > TOO_FAR:
                    await self._write(request, _message(_RESYNC, feed.position))
                    return
                html = await self._render()
                if html:
                    lines = "".join(f"data: {line}\n" for line in html.splitlines())
                    await self._write(request, _message(lines, reader.position))
                elif loop.time() - sent_at >= PING_S:
                    await self._write(request, PING)
                else:
                    continue
                sent_at = loop.time()
                await asyncio.wait({closing}, timeout=PAUSE_S)
        except ConnectionError:
            return  # the client has disconnected
        finally:
            follow.cancel()

    async def _write(self, request: web.Request, data: bytes) -> None:
        """Send, and give up a client that does not read."""
        try:
            await asyncio.wait_for(self._response.write(data), STALL_S)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionError("the client does not read") from None
