"""Requests of polls and hooks, over aiohttp's connections but without its session.

Nearly all requests of the daemon are polls and HTTP hooks. For each one, aiohttp's session builds a request, a
response, two timers and several tables of headers: a fifth of the CPU time of a poll. Here head and body are written to
a pooled connection, and aiohttp's parser reads the answer.

Owns the head of a request and its connection. Must not know accounts, hooks, limits or circuits.

It uses these parts of aiohttp, which may change without notice. pyproject.toml allows the tested versions only, and
``tests/integration/test_pooled.py`` fails if they differ:

- ``BaseConnector.connect(request, traces, timeout)`` (``connector.py``): a pooled or new connection.
- ``Connection.protocol`` (``connector.py``), its ``transport`` and ``should_close`` (``client_proto.py``).
- ``ResponseHandler.set_response_params`` (``client_proto.py``): makes the parser of one answer.
- ``ResponseHandler.abort`` (``client_proto.py``): closes without sending the rest.
- ``ResponseHandler.read`` (``client_proto.py``, ``streams.py``): the head of the next answer, and its body.

Source: these files, ``ClientSession._request`` in ``client.py`` and ``ClientResponse.start`` in ``client_reqrep.py`` of
https://github.com/aio-libs/aiohttp, version 3.14.5 (read 2026-11).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import aiohttp

from tracker.upstream.sessions import LIBRARY_FIELD_BYTES, LIBRARY_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from aiohttp.client import URL  # type: ignore[attr-defined]  # yarl's, by way of the library we depend on
    from aiohttp.connector import Connection

    from tracker.upstream.sessions import Received

Headers = tuple[tuple[str, str], ...]
_INTERIM: Final = frozenset(range(100, 200)) - {101}
"""Status codes that another answer follows; see RFC 9110, section 15.2."""


class RequestPool:
    """Opens requests on the connections of a session.

    Args:
        session: its connections are used.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._origins: dict[URL, _Origin] = {}

    def get(
        self, base: URL, target: str, headers: Headers, timeout: aiohttp.ClientTimeout, received: Received
    ) -> Exchange:
        """Prepare a GET, to be used with ``async with``; redirects are not followed.

        Args:
            base: the server.
            target: path and query, see `tracker.upstream.urls.request_target`.
            headers: all headers but ``Host``.
            timeout: its ``connect`` limits the wait for a connection; there is no other limit.
            received: gets a copy of the raw bytes of the answer.

        Raises:
            ValueError: the target or a header contains a line break.
        """
        origin = self._origin(base)
        head = f"{_start('GET', origin, target)}{_same_fields(headers)}\r\n\r\n"
        # a GET may be repeated (RFC 9112, section 9.3.1)
        return Exchange(self._session, origin.request, head.encode(), timeout, received, may_repeat=True)

    def post(self, url: URL, headers: Headers, own_headers: Headers, body: bytes, received: Received) -> Exchange:
        """Prepare a POST, as `get` does a GET; the session's timeout applies.

        Args:
            url: see `tracker.upstream.urls.exact_url`.
            headers: those that many requests have, without ``Host`` and ``Content-Length``.
            own_headers: those of this request alone.
            body: what to send.
            received: gets a copy of the raw bytes of the answer.

        Raises:
            ValueError: the URL's path or a header contains a line break.
        """
        fields = f"{_same_fields(headers)}\r\n{_fields(own_headers)}\r\nContent-Length: {len(body)}\r\n\r\n"
        origin = self._origin(url)
        head = _start("POST", origin, url.raw_path_qs) + fields
        return Exchange(self._session, origin.request, head.encode() + body, self._session.timeout, received)

    def _origin(self, base: URL) -> _Origin:
        origin = self._origins.get(base)
        if origin is None:
            request = aiohttp.ClientRequest("GET", base, session=self._session)
            origin = self._origins[base] = _Origin(request, request.headers["Host"])
        return origin


class _Origin(NamedTuple):
    """A server: a request to it, which the connector needs for its address and TLS settings, and its ``Host``."""

    request: aiohttp.ClientRequest
    host: str


def _start(method: str, origin: _Origin, target: str) -> str:
    if not target.isprintable() or " " in target:
        raise ValueError("the target of a request contains a blank or a control character")
    return f"{method} {target} HTTP/1.1\r\nHost: {origin.host}\r\n"


def _fields(headers: Headers) -> str:
    fields = "\r\n".join(f"{name}: {value}" for name, value in headers)
    if fields.count("\r") != len(headers) - 1 or fields.count("\n") != len(headers) - 1 or "\0" in fields:
        raise ValueError("a header contains a line break")
    return fields


_same_fields: Final = lru_cache(maxsize=64)(_fields)


class Exchange:
    """One request and its answer, see `RequestPool`.

    Attributes:
        status: HTTP status code of the answer.
        headers: of the answer.
        content: its body.
    """

    __slots__ = (
        "_connection",
        "_is_sent",
        "_may_repeat",
        "_origin",
        "_received",
        "_request",
        "_session",
        "_timeout",
        "content",
        "headers",
        "status",
    )
    status: int
    headers: Mapping[str, str]
    content: aiohttp.StreamReader

    def __init__(
        self,
        session: aiohttp.ClientSession,
        origin: aiohttp.ClientRequest,
        request: bytes,
        timeout: aiohttp.ClientTimeout,
        received: Received,
        *,
        may_repeat: bool = False,
    ) -> None:
        self._session = session
        self._origin = origin
        self._request = request
        self._may_repeat = may_repeat
        self._is_sent = False
        self._timeout = timeout
        self._received = received
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        """Send it and read the head of the answer; once more if the connection is closed before an answer begins.

        Not a POST that was written.
        """
        try:
            await self._exchange()
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            is_final = self._is_sent and not self._may_repeat
            if is_final or isinstance(error, aiohttp.ClientConnectorError) or self._received.raw():
                raise
            await self._exchange()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Release the connection."""
        self.close()

    def close(self) -> None:
        """Release the connection; the pool closes it unless the answer was read completely."""
        if self._connection is not None:
            _abort_unsent(self._connection)
            self._connection.release()
            self._connection = None

    async def _exchange(self) -> None:
        connector = self._session.connector
        assert connector is not None  # noqa: S101 - set by `make_session`
        try:
            connection = await connector.connect(self._origin, [], self._timeout)  # [] is for traces
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        protocol = connection.protocol
        transport = None if protocol is None else protocol.transport
        # closed right after it was made, or data came while it was idle: it must not be read as this answer
        if protocol is None or transport is None or protocol.should_close:
            connection.close()
            raise aiohttp.ServerDisconnectedError
        try:
            # makes the parser of one answer; the limits of a session do not apply here
            protocol.set_response_params(
                read_until_eof=True,
                auto_decompress=self._session.auto_decompress,
                max_line_size=LIBRARY_FIELD_BYTES,
                max_field_size=LIBRARY_FIELD_BYTES,
                max_headers=LIBRARY_FIELDS,
            )
            self._received.attach(protocol)
            self._is_sent = True
            transport.write(self._request)
            message, content = await protocol.read()  # raises what `ClientResponse.start` handles
            while message.code in _INTERIM:
                message, content = await protocol.read()
        except BaseException:
            _abort_unsent(connection)
            connection.close()
            raise
        self._connection = connection
        self.status, self.headers, self.content = message.code, message.headers, content


def _abort_unsent(connection: Connection) -> None:
    """Abort a connection whose request was not sent completely: closing waits for a server that may never read it."""
    protocol = connection.protocol
    if protocol is not None and protocol.transport is not None and protocol.transport.get_write_buffer_size():
        protocol.abort()
