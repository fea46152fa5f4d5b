"""Connections, incomplete request bodies, and the errors that aiohttp itself finds.

Owns the time limit of bodies, their end at a stop, and that errors below the handlers look like all others, in the
response and in the log. Must not know paths, tasks or the store.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.http_exceptions import (
    BadHttpMethod,
    ContentEncodingError,
    HttpProcessingError,
    InvalidURLError,
    LineTooLong,
)

from tracker.logs import get_logger
from tracker.server.connection_limits import (
    HEAD_MAX_BYTES,
    HEAD_S,
    NO_LIMIT,
    ConnectionLimiter,
    ConnectionNeeded,
    head_too_large,
)
from tracker.server.responses import Problem, failed, raw_response, stopping, too_slow
from tracker.server.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import StreamReader

    from tracker.clock import Clock
    from tracker.domain.records import Json

log = get_logger(__name__)

FIELD_MAX_BYTES: Final = 64 * 1024
"""The request line, or one header field: behind proxies and CDNs a field can have many kilobytes."""
FIELDS_MAX: Final = 1000
BODY_S: Final = 30.0
"""Time limit of a body, as in the example for nginx; the one for Caddy has to allow more, see there."""
HELD_MAX_BYTES: Final = 256 * 2**20
"""All incomplete bodies together, decompressed; the compressed data can be a thousand times smaller."""
SLOWEST_BYTES_PER_S: Final = 100_000
"""A large body has more time: an API request with images, over a slow line."""
LINGERING_S: Final = 2.0
"""How long the rest of a refused body is read and dropped, so that its sender receives the response."""
LINES_PER_S: Final = 1.0
LINES_BURST: Final = 10.0
"""Log lines about input that is not HTTP: anyone can send it."""

_TOO_MANY: Final = "Too many headers"
"""The parser's message for more than `FIELDS_MAX`; it has no exception class for that."""
_NOT_HTTP: Final = "Not a valid HTTP/1.1 request (RFC 9112)."
_DETAILS: Final = (
    (ContentEncodingError, "Unsupported Content-Encoding. Use gzip, deflate or none."),
    (LineTooLong, f"The request line or a header field is longer than {FIELD_MAX_BYTES} bytes."),
    (BadHttpMethod, "Not an HTTP request (is the client using HTTPS?)."),
    (InvalidURLError, "Invalid URL in the request line. Escape non-ASCII characters."),
)
"""The messages of the parser quote the request, and a request holds tokens."""


class Arrivals:
    """The incomplete bodies of all connections.

    Args:
        limit_s: the time limit of one.
    """

    def __init__(self, limit_s: float = BODY_S) -> None:
        self._limit_s = limit_s
        self._limits: dict[asyncio.Timeout, int] = {}  # the oldest first; with the bytes received
        self._held = 0
        self._dropped: set[asyncio.Timeout] = set()
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()
        self._is_over = False

    @asynccontextmanager
    async def one(self, size: int) -> AsyncIterator[Callable[[int], None]]:
        """Wait for a body within its time limit; yields a function to call with the size of each piece.

        Args:
            size: its size in bytes, or its maximum.

        Raises:
            Problem: 408 after the time limit, 503 at a stop, or when the connection is needed for another.
        """
        limit = asyncio.timeout(0 if self._is_over else max(self._limit_s, size / SLOWEST_BYTES_PER_S))

        def hold(count: int) -> None:
            if limit in self._limits:
                self._limits[limit] += count
                self._held += count
            while self._held > HELD_MAX_BYTES and self.drop_oldest():
                pass

        try:
            async with limit:
                self._limits[limit] = 0
                self._is_quiet.clear()
                yield hold
        except TimeoutError:
            if not limit.expired():
                raise  # the connection's own
            if limit in self._dropped:
                raise ConnectionNeeded from None
            raise (stopping() if self._is_over else too_slow()) from None
        finally:
            self._held -= self._limits.pop(limit, 0)
            self._dropped.discard(limit)
            if not self._limits:
                self._is_quiet.set()

    def drop_oldest(self) -> bool:
        """Stop waiting for the oldest incomplete body; whether there is one."""
        while self._limits:
            limit = next(iter(self._limits))
            self._held -= self._limits.pop(limit)
            if not limit.expired():
                self._dropped.add(limit)
                limit.reschedule(asyncio.get_running_loop().time())
                return True
        return False

    async def settle(self, within_s: float) -> None:
        """Wait for the incomplete bodies; afterwards each incomplete body is answered 503 at once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._is_quiet.wait()
        self._is_over = True
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(now)


class Connection(web.RequestHandler):
    """A connection of aiohttp whose errors are problem details and quote no part of the request.

    Args:
        manager: the server.
        arrivals: the incomplete bodies of all its connections.
        limiter: of all its connections.
        throttle: of log lines, for all its connections.
        settings: see `web.RequestHandler`.
    """

    __slots__ = ("_arrivals", "_arriving", "_head_bytes", "_limiter", "_throttle")

    def __init__(
        self,
        manager: web.Server,
        *,
        arrivals: Arrivals,
        limiter: ConnectionLimiter,
        throttle: Throttle,
        **settings: Json,
    ) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **settings)
        self._arrivals = arrivals
        self._limiter = limiter
        self._head_bytes = 0
        self._throttle = throttle
        self._arriving: StreamReader | None = None

    @asynccontextmanager
    async def arrival(self, content: StreamReader, size: int) -> AsyncIterator[Callable[[int], None]]:
        """Wait for an incomplete body; see `Arrivals.one`."""
        self._arriving = content
        self._notice_broken()
        try:
            async with self._arrivals.one(size) as hold:
                yield hold
        except ConnectionNeeded:
            self._lingering_time = 0.0  # another connection needs its descriptor now
            raise
        finally:
            self._arriving = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        super().connection_made(transport)
        self._limiter.enter(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop counting the connection."""
        self._limiter.leave(self)
        super().connection_lost(exc)

    def drop(self, response: bytes = b"") -> None:
        """Close the connection at once, after writing a last response; does not wait until that is read."""
        transport = self.transport
        if response and transport is not None:
            transport.write(response)
        self.force_close()
        if transport is not None and not response:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes."""
        known = self._request_count
        super().data_received(data)
        if self._request_count != known:
            self._head_bytes = 0
            self._limiter.head_came(self)
        elif self._limiter.bytes_came(self):
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES:
                self.drop(raw_response(head_too_large()))
        if self._arriving is not None:
            self._notice_broken()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,  # noqa: ARG002  the exception says more
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  it may quote the request
    ) -> web.StreamResponse:
        """The response to unreadable input, or to an exception that no handler has caught.

        Raises:
            ConnectionError: the client has disconnected, or a part of another response is already sent.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        problem = self._unreadable(exc) if isinstance(exc, HttpProcessingError) else self._failed(exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of another response is already sent")
        return problem.response()

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:  # noqa: ARG002
        """Note that the connection is idle, after each response; there is no access log.

        A connection that is closing is no longer counted as idle, see `arrival`.
        """
        if not self._messages and self._lingering_time:
            self._limiter.answered(self)

    def log_exception(self, *args: Json, **kw: Json) -> None:
        """Do not log the errors of broken bodies, which aiohttp reports when it drops their rest."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError | ConnectionError):
            super().log_exception(*args, **kw)

    def _notice_broken(self) -> None:
        """Raise in the handler that waits for a body which the parser has given up, which aiohttp does not report.

        A message after an incomplete body can only be the error of the parser.
        """
        if self._messages and self._arriving is not None and not self._arriving.is_eof():
            self._arriving.set_exception(web.RequestPayloadError("the body cannot be parsed"))

    def _unreadable(self, error: HttpProcessingError) -> Problem:
        detail = next((text for kind, text in _DETAILS if isinstance(error, kind)), _NOT_HTTP)
        if error.message.startswith(_TOO_MANY):
            detail = f"The request has more than {FIELDS_MAX} header fields."
        if self._throttle.admits():
            log.info("request.unreadable", error=detail)
        return Problem(HTTPStatus.BAD_REQUEST, "malformed", detail, closes=True)

    def _failed(self, error: BaseException | None) -> Problem:
        log.error("request.failed", exc_info=error)
        return failed()


class Runner(web.AppRunner):
    """Runs an application on `Connection`, for any site.

    Run it without aiohttp's access log and with ``handler_cancellation`` off: a client that disconnects must not stop
    a submit.

    Args:
        app: the application.
        clock: only its monotonic time is used.
        body_s: time limit of a body.
        head_s: time limit of a request head.
        max_connections: the most connections at once.
        settings: see `web.AppRunner`.

    Attributes:
        arrivals: the incomplete bodies.
    """

    def __init__(
        self,
        app: web.Application,
        clock: Clock,
        *,
        body_s: float = BODY_S,
        head_s: float = HEAD_S,
        max_connections: int = NO_LIMIT,
        **settings: Json,
    ) -> None:
        limits = {"max_line_size": FIELD_MAX_BYTES, "max_field_size": FIELD_MAX_BYTES, "max_headers": FIELDS_MAX}
        super().__init__(app, **{"lingering_time": LINGERING_S, **limits, **settings})
        self.arrivals = Arrivals(body_s)
        limiter = ConnectionLimiter(clock, max_connections, head_s, self.arrivals.drop_oldest)
        self._make_connection = partial(
            Connection,
            arrivals=self.arrivals,
            limiter=limiter,
            throttle=Throttle(clock, LINES_PER_S, LINES_BURST),
        )

    async def _make_server(self) -> web.Server:
        settings = {name: value for name, value in self._kwargs.items() if name != "handler_cancellation"}
        return _Server(await super()._make_server(), partial(self._make_connection, **settings))


def arrival(request: web.Request, size: int) -> AbstractAsyncContextManager[Callable[[int], None]]:
    """Wait for the incomplete body of a request, of this size or at most this size; see `Arrivals.one`."""
    connection = request.protocol
    return connection.arrival(request.content, size) if isinstance(connection, Connection) else nullcontext(_hold)


def _hold(_count: int) -> None:
    """Count nothing: the connection belongs to another server."""


class _Server(web.Server):
    """The server of aiohttp with another class of connections; ``plain`` is the one that the application makes."""

    def __init__(self, plain: web.Server, make_connection: Callable[[web.Server], Connection]) -> None:
        super().__init__(
            plain.request_handler,
            request_factory=plain.request_factory,
            handler_cancellation=plain.handler_cancellation,
        )
        self._make_connection = make_connection

    def __call__(self) -> Connection:
        return self._make_connection(self)
