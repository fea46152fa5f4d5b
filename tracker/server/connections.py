"""Below the requests: connections, bodies that are still on their way, and what aiohttp itself finds wrong.

Owns how long a body may take, how a stop ends those that still come, and that errors which no handler sees look like
all others, to who is answered and in the log. Must not know paths, tasks or the store.
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
from tracker.server.connection_limits import HEAD_MAX_BYTES, HEAD_S, NO_LIMIT, Crowd, Crowded, head_too_large
from tracker.server.responses import Problem, failed, raw_answer, stopping, too_slow
from tracker.server.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import StreamReader

    from tracker.clock import Clock
    from tracker.domain.records import Json

log = get_logger(__name__)

FIELD_MAX_BYTES: Final = 64 * 1024
"""The request line, and one header field: behind proxies and CDNs single fields come to many kilobytes."""
FIELDS_MAX: Final = 1000
BODY_S: Final = 30.0
"""How long a body may take to arrive: as long as nginx's example gives it; Caddy's must give more, see there."""
HELD_MAX_BYTES: Final = 256 * 2**20
"""All bodies that are still arriving, as they are once decompressed: a thousandth of that may be sent for it."""
SLOWEST_BYTES_PER_S: Final = 100_000
"""A large one may take longer: an API request with images in it, from a place with a thin line."""
LINGERING_S: Final = 2.0
"""How long the rest of a body that nobody wants is read and thrown away, so that its sender gets to see the answer."""
LINES_PER_S: Final = 1.0
LINES_BURST: Final = 10.0
"""What is no HTTP is told to who sent it; the log hears of some, since anybody can send it."""

_TOO_MANY: Final = "Too many headers"
"""How the parser says that there are more than `FIELDS_MAX`; it has no kind of its own for that."""
_NO_HTTP: Final = "This is not an HTTP/1.1 request as RFC 9112 has it."
_DETAILS: Final = (
    (ContentEncodingError, "The Content-Encoding is not understood here; send gzip, deflate, or the body as it is."),
    (LineTooLong, f"The request line or a header is longer than {FIELD_MAX_BYTES} bytes."),
    (BadHttpMethod, "This does not begin with a method of HTTP; HTTPS is not spoken on this port."),
    (InvalidURLError, "The address in the request line cannot be read; escape what is not ASCII."),
)
"""Words of ours: those of the parser hold pieces of the request, and a request holds tokens."""


class Arrivals:
    """Bodies that are still on their way, of all connections.

    Args:
        limit_s: how long one may take.
    """

    def __init__(self, limit_s: float = BODY_S) -> None:
        self._limit_s = limit_s
        self._limits: dict[asyncio.Timeout, int] = {}  # the oldest first; with the bytes that are there
        self._held = 0
        self._given_up: set[asyncio.Timeout] = set()
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()
        self._is_over = False

    @asynccontextmanager
    async def one(self, size: int) -> AsyncIterator[Callable[[int], None]]:
        """Within it a body is waited for, no longer than is right; what it gives is told how many bytes have come.

        Args:
            size: its bytes, or how many it can have at most.

        Raises:
            Problem: 408 when it took too long, 503 when a stop did not wait for it, or its connection is needed.
        """
        limit = asyncio.timeout(0 if self._is_over else max(self._limit_s, size / SLOWEST_BYTES_PER_S))

        def hold(count: int) -> None:
            if limit in self._limits:
                self._limits[limit] += count
                self._held += count
            while self._held > HELD_MAX_BYTES and self.give_up_oldest():
                pass

        try:
            async with limit:
                self._limits[limit] = 0
                self._is_quiet.clear()
                yield hold
        except TimeoutError:
            if not limit.expired():
                raise  # the connection's own
            if limit in self._given_up:
                raise Crowded from None
            raise (stopping() if self._is_over else too_slow()) from None
        finally:
            self._held -= self._limits.pop(limit, 0)
            self._given_up.discard(limit)
            if not self._limits:
                self._is_quiet.set()

    def give_up_oldest(self) -> bool:
        """Wait no longer for the body that has been on its way longest; whether there is one."""
        while self._limits:
            limit = next(iter(self._limits))
            self._held -= self._limits.pop(limit)
            if not limit.expired():
                self._given_up.add(limit)
                limit.reschedule(asyncio.get_running_loop().time())
                return True
        return False

    async def settle(self, within_s: float) -> None:
        """Wait for those under way; from then on none is waited for: what has not come is answered 503 at once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._is_quiet.wait()
        self._is_over = True
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(now)


class Connection(web.RequestHandler):
    """A connection of aiohttp whose errors are problem details, without a piece of the request and without noise.

    Args:
        manager: the server.
        arrivals: the bodies under way, of all its connections.
        crowd: all its connections.
        throttle: of log lines, of all its connections.
        settings: see `web.RequestHandler`.
    """

    __slots__ = ("_arrivals", "_arriving", "_crowd", "_head_bytes", "_throttle")

    def __init__(
        self, manager: web.Server, *, arrivals: Arrivals, crowd: Crowd, throttle: Throttle, **settings: Json
    ) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **settings)
        self._arrivals = arrivals
        self._crowd = crowd
        self._head_bytes = 0
        self._throttle = throttle
        self._arriving: StreamReader | None = None

    @asynccontextmanager
    async def arrival(self, content: StreamReader, size: int) -> AsyncIterator[Callable[[int], None]]:
        """Within it a body that has not come to its end is waited for; see `Arrivals.one`."""
        self._arriving = content
        self._notice_broken()
        try:
            async with self._arrivals.one(size) as hold:
                yield hold
        except Crowded:
            self._lingering_time = 0.0  # its place is needed now
            raise
        finally:
            self._arriving = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self._crowd.enter(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._crowd.leave(self)
        super().connection_lost(exc)

    def drop(self, answer: bytes = b"") -> None:
        """Close the connection at once, after writing a last answer; one that is not read is not waited for."""
        transport = self.transport
        if answer and transport is not None:
            transport.write(answer)
        self.force_close()
        if transport is not None and not answer:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes in."""
        known = self._request_count
        super().data_received(data)
        if self._request_count != known:
            self._head_bytes = 0
            self._crowd.head_came(self)
        elif self._crowd.bytes_came(self):
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES:
                self.drop(raw_answer(head_too_large()))
        if self._arriving is not None:
            self._notice_broken()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,  # noqa: ARG002  the exception says more
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  it may hold what was sent
    ) -> web.StreamResponse:
        """The answer to what cannot be read as a request, or to what no handler has caught.

        Raises:
            ConnectionError: nobody is there any more to be told anything, or half an answer is out already.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        problem = self._unreadable(exc) if isinstance(exc, HttpProcessingError) else self._failed(exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of another answer is out already")
        return problem.response()

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:  # noqa: ARG002
        """Called once a request is answered. There is no access log; the connection is idle until more comes.

        One that is closing has made room already, see `arrival`.
        """
        if not self._messages and self._lingering_time:
            self._crowd.answered(self)

    def log_exception(self, *args: Json, **kw: Json) -> None:
        """Keep out of the log what a sender's broken body makes aiohttp say when it throws the rest away."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError | ConnectionError):
            super().log_exception(*args, **kw)

    def _notice_broken(self) -> None:
        """Wake who waits for a body of which the parser can make nothing more: it tells nobody.

        Something that comes after a body which has not ended can only be the parser's complaint about it.
        """
        if self._messages and self._arriving is not None and not self._arriving.is_eof():
            self._arriving.set_exception(web.RequestPayloadError("the body cannot be parsed"))

    def _unreadable(self, error: HttpProcessingError) -> Problem:
        detail = next((words for kind, words in _DETAILS if isinstance(error, kind)), _NO_HTTP)
        if error.message.startswith(_TOO_MANY):
            detail = f"The request has more than {FIELDS_MAX} header fields."
        if self._throttle.admits():
            log.info("request.unreadable", error=detail)
        return Problem(HTTPStatus.BAD_REQUEST, "malformed", detail, closes=True)

    def _failed(self, error: BaseException | None) -> Problem:
        log.error("request.failed", exc_info=error)
        return failed()


class Runner(web.AppRunner):
    """Runs an application on connections of ours; any site can be on it.

    It is to be run without aiohttp's access log and with ``handler_cancellation`` off: a client that goes away must
    not stop a submit.

    Args:
        app: what is served.
        clock: only its monotonic time is used.
        body_s: how long a body may take to arrive.
        head_s: how long a request head may take.
        max_connections: how many there may be at once.
        settings: see `web.AppRunner`.

    Attributes:
        arrivals: the bodies under way.
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
        crowd = Crowd(clock, max_connections, head_s, self.arrivals.give_up_oldest)
        self._make_connection = partial(
            Connection,
            arrivals=self.arrivals,
            crowd=crowd,
            throttle=Throttle(clock, LINES_PER_S, LINES_BURST),
        )

    async def _make_server(self) -> web.Server:
        settings = {name: value for name, value in self._kwargs.items() if name != "handler_cancellation"}
        return _Server(await super()._make_server(), partial(self._make_connection, **settings))


def arrival(request: web.Request, size: int) -> AbstractAsyncContextManager[Callable[[int], None]]:
    """Within it the body of a request, which has not come to its end, is waited for; see `Arrivals.one`.

    Args:
        request: whose body it is.
        size: its bytes, or how many it can have at most.
    """
    connection = request.protocol
    return connection.arrival(request.content, size) if isinstance(connection, Connection) else nullcontext(_hold)


def _hold(_count: int) -> None:
    """Another server's connections are not counted."""


class _Server(web.Server):
    """Aiohttp's server; only what it makes of a new connection is ours.

    Args:
        plain: as the application makes it.
        make_connection: makes a connection of a server.
    """

    def __init__(self, plain: web.Server, make_connection: Callable[[web.Server], Connection]) -> None:
        super().__init__(
            plain.request_handler,
            request_factory=plain.request_factory,
            handler_cancellation=plain.handler_cancellation,
        )
        self._make_connection = make_connection

    def __call__(self) -> Connection:
        return self._make_connection(self)
