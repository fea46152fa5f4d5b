"""Connections: aiohttp's, with a fast path beside its parser, and the errors that aiohttp itself finds.

Owns that errors below the handlers look like all others, in the response and in the log, and that both paths share one
order, one set of limits and one end at a stop. Must not know paths, tasks or the store.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import HttpVersion11, web
from aiohttp.hdrs import EXPECT
from aiohttp.http_exceptions import (
    BadHttpMethod,
    ContentEncodingError,
    HttpProcessingError,
    InvalidURLError,
    LineTooLong,
)

from tracker.logs import get_logger
from tracker.server.arrivals import BODY_S, Arrivals
from tracker.server.connection_limits import (
    HEAD_MAX_BYTES,
    HEAD_S,
    NO_LIMIT,
    ConnectionLimiter,
    ConnectionNeeded,
    head_too_large,
)
from tracker.server.responses import Problem, failed, raw_response, unknown_path
from tracker.server.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp import StreamReader

    from tracker.clock import Clock
    from tracker.domain.records import Json

log = get_logger(__name__)

FIELD_MAX_BYTES: Final = 64 * 1024
"""The request line, or one header field: behind proxies and CDNs a field can have many kilobytes."""
FIELDS_MAX: Final = 1000
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


class FastPath(Protocol):
    """Answers some requests without aiohttp; see `tracker.server.fast_callbacks`."""

    def match(self, data: bytes) -> Any:  # noqa: ANN401 - its own
        """The request, if these bytes are exactly one that it knows; else None."""
        ...

    def accept(self, request: Any) -> asyncio.Future[Any] | None:  # noqa: ANN401 - as above
        """Begin to handle a request. None, or any error here or in the future: aiohttp gets its bytes."""
        ...

    def respond(self, result: Any) -> bytes:  # noqa: ANN401 - as above
        """The complete response."""
        ...


FAST_PATH: Final[web.AppKey[FastPath]] = web.AppKey("fast_path")
"""The fast path of an application; aiohttp's middlewares and signals do not see its requests."""


class Connection(web.RequestHandler):
    """A connection of aiohttp whose errors are problem details and quote no part of the request.

    The fast path gets a read that is one complete request, while no other is in progress and aiohttp's parser holds no
    part of another. The parser does not show what it holds, so after any other bytes the connection stays with aiohttp.

    Args:
        manager: the server.
        arrivals: the incomplete bodies of all its connections.
        limiter: of all its connections.
        throttle: of log lines, for all its connections.
        fast_path: None: aiohttp gets everything.
        settings: see `web.RequestHandler`.
    """

    __slots__ = (
        "_answered_body",
        "_arrivals",
        "_arriving",
        "_early",
        "_fast_path",
        "_head_bytes",
        "_in_progress",
        "_is_between",
        "_limiter",
        "_throttle",
    )

    def __init__(
        self,
        manager: web.Server,
        *,
        arrivals: Arrivals,
        limiter: ConnectionLimiter,
        throttle: Throttle,
        fast_path: FastPath | None,
        **settings: Json,
    ) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **settings)
        self._arrivals = arrivals
        self._limiter = limiter
        self._head_bytes = 0
        self._throttle = throttle
        self._arriving: StreamReader | None = None
        self._answered_body: StreamReader | None = None  # its rest may still come, and is dropped
        self._fast_path = fast_path
        self._is_between = fast_path is not None
        """Whether all bytes that aiohttp got were complete requests."""
        self._in_progress = b""
        """The request that the fast path handles."""
        self._early = b""
        """What came after it, before its response."""

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
        """Answer one complete request on the fast path, or have aiohttp parse the bytes."""
        if self._in_progress:
            self._early += data
            if self.transport is not None:
                self.transport.pause_reading()
            return
        if data and self._is_between and self._fast_path is not None:  # no data: aiohttp resumes its parser
            request = self._fast_path.match(data) if self._is_idle() else None
            self._is_between = request is not None
            if request is not None and self._begin(self._fast_path, request):
                self._in_progress = data
                return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        known = self._request_count
        is_refused_body = self._answered_body is not None and not self._answered_body.is_eof()
        super().data_received(data)
        if self._request_count != known:
            self._head_bytes = 0
            self._limiter.head_came(self)
        elif not is_refused_body and self._limiter.bytes_came(self):
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES:
                self.drop(raw_response(head_too_large()))
        if self._arriving is not None:
            self._notice_broken()

    def _is_idle(self) -> bool:
        """Whether aiohttp waits for a request, and the client reads its responses."""
        waiter = self._waiter
        # it begins to wait when its task first runs, which may be after the first bytes
        waits = not waiter.done() if waiter is not None else not self._request_count
        return waits and not (self._close or self._force_close or self.writing_paused)

    def _begin(self, fast_path: FastPath, request: Any) -> bool:  # noqa: ANN401 - the fast path's own
        """Begin a request on the fast path; whether it takes it."""
        try:
            result = fast_path.accept(request)
        except Exception:  # noqa: BLE001 - the handler meets it again, and reports it
            return False
        if result is None:
            return False
        assert self._manager is not None  # noqa: S101 - the connection is open
        self._manager.requests_count += 1
        self._request_in_progress = True  # a stop waits for it
        self._limiter.head_came(self)
        result.add_done_callback(self._finish)
        return True

    def _finish(self, result: asyncio.Future[Any]) -> None:
        """Answer the request of the fast path, and go on with what came after it."""
        request, early = self._in_progress, self._early
        self._in_progress = self._early = b""
        self._request_in_progress = False
        is_done = not result.cancelled() and result.exception() is None
        transport = self.transport
        try:
            if transport is None or transport.is_closing():
                return
            if is_done and self._fast_path is not None:
                transport.write(self._fast_path.respond(result.result()))
                self._wait_for_next()
            else:
                self._parse(request)
            if self._close:  # a stop has ended aiohttp's task, which would close it
                transport.close()
            elif early:
                transport.resume_reading()
                self.data_received(early)
        finally:
            if self._handler_waiter is not None and not self._handler_waiter.done():
                self._handler_waiter.set_result(None)

    def _wait_for_next(self) -> None:
        """Count the connection as idle, and begin its keep-alive time, as aiohttp does after a response."""
        self._limiter.answered(self)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    def _process_keepalive(self) -> None:
        """Close the connection if it is idle; during a request of the fast path aiohttp thinks that it is."""
        if self._in_progress:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

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
        """Note that the connection is idle, after each response (unless it closes, see `arrival`): no access log."""
        if not self._messages and self._lingering_time:
            self._limiter.answered(self)
            self._answered_body = request.content

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

    Raises:
        RuntimeError: at `setup`, if the application has a fast path and middlewares or signals of responses.
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
            fast_path=app.get(FAST_PATH),
        )

    async def _make_server(self) -> web.Server:
        if FAST_PATH in self.app and (self.app.middlewares or self.app.on_response_prepare):
            raise RuntimeError("the fast path would miss middlewares and signals: wrap the handlers instead")
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
            partial(_route, plain.request_handler),
            request_factory=plain.request_factory,
            handler_cancellation=plain.handler_cancellation,
        )
        self._make_connection = make_connection

    def __call__(self) -> Connection:
        return self._make_connection(self)


async def _route(
    router: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], request: web.BaseRequest
) -> web.StreamResponse:
    """Call the router; the two errors that aiohttp would answer in its own form become problem details here."""
    expected = request.headers.get(EXPECT)
    if expected and request.version == HttpVersion11 and expected.lower() != "100-continue":
        detail = "The only supported expectation is 100-continue."
        return Problem(HTTPStatus.EXPECTATION_FAILED, "unknown-expectation", detail).response()
    try:
        return await router(request)
    except web.HTTPNotFound:  # no pattern matches ``*`` or the target of a CONNECT
        return unknown_path().response()
