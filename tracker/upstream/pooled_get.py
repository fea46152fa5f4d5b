"""GET requests for polls, over aiohttp's connections but without its session.

Nearly all requests of the daemon are polls. For each one, aiohttp's session builds a request, a response, two timers
and several tables of headers: a fifth of the CPU time of a poll. Here the head of a GET is written to a pooled
connection, and aiohttp's parser reads the answer.

Owns the head of a GET and its connection. Must not know accounts, limits or circuits.

It uses these parts of aiohttp, which may change without notice. pyproject.toml allows the tested versions only, and
``tests/integration/test_pooled_get.py`` fails if they differ:

- ``BaseConnector.connect(request, traces, timeout)`` (``connector.py``): a pooled or new connection.
- ``Connection.protocol`` (``connector.py``), its ``transport`` and ``should_close`` (``client_proto.py``).
- ``ResponseHandler.set_response_params`` (``client_proto.py``): makes the parser of one answer.
- ``ResponseHandler.read`` (``client_proto.py``, ``streams.py``): the head of the next answer, and its body.

Source: these files, ``ClientSession._request`` in ``client.py`` and ``ClientResponse.start`` in ``client_reqrep.py`` of
https://github.com/aio-libs/aiohttp, version 3.14.5 (read 2026-11).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self

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


class GetPool:
    """Opens GET requests on the connections of a session.

    Args:
        session: its connections are used.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._origins: dict[URL, aiohttp.ClientRequest] = {}
        """Base URL -> a request to it, which the connector needs: it holds address, TLS settings and ``Host``."""

    def open(self, base: URL, target: str, headers: Headers, timeout: aiohttp.ClientTimeout, received: Received) -> Get:
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
        origin = self._origins.get(base)
        if origin is None:
            origin = self._origins[base] = aiohttp.ClientRequest("GET", base, session=self._session)
        if not target.isprintable() or " " in target:
            raise ValueError("the target of a request contains a blank or a control character")
        head = f"GET {target} HTTP/1.1\r\nHost: {origin.headers['Host']}\r\n{_fields(headers)}\r\n\r\n"
        assert self._session.connector is not None  # noqa: S101 - set by `make_session`
        return Get(self._session.connector, origin, head.encode(), timeout, received)


@lru_cache(maxsize=64)
def _fields(headers: Headers) -> str:
    fields = "\r\n".join(f"{name}: {value}" for name, value in headers)
    if fields.count("\r") != len(headers) - 1 or fields.count("\n") != len(headers) - 1 or "\0" in fields:
        raise ValueError("a header contains a line break")
    return fields


class Get:
    """One GET, see `GetPool.open`.

    Attributes:
        status: HTTP status code of the answer.
        headers: of the answer.
        content: its body.
    """

    __slots__ = (
        "_connection",
        "_connector",
        "_head",
        "_origin",
        "_received",
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
        connector: aiohttp.BaseConnector,
        origin: aiohttp.ClientRequest,
        head: bytes,
        timeout: aiohttp.ClientTimeout,
        received: Received,
    ) -> None:
        self._connector = connector
        self._origin = origin
        self._head = head
        self._timeout = timeout
        self._received = received
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        """Send it and read the head of the answer; retry once if the connection is closed before an answer begins."""
        try:
            await self._exchange()
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            if isinstance(error, aiohttp.ClientConnectorError) or self._received.raw():
                raise
            # a pooled connection was closed before any answer; a GET may be repeated (RFC 9112, section 9.3.1)
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
            self._connection.release()
            self._connection = None

    async def _exchange(self) -> None:
        try:
            connection = await self._connector.connect(self._origin, [], self._timeout)  # [] is for traces
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
                max_line_size=LIBRARY_FIELD_BYTES,
                max_field_size=LIBRARY_FIELD_BYTES,
                max_headers=LIBRARY_FIELDS,
            )
            self._received.attach(protocol)
            transport.write(self._head)
            message, content = await protocol.read()  # raises what `ClientResponse.start` handles
            while message.code in _INTERIM:
                message, content = await protocol.read()
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self.status, self.headers, self.content = message.code, message.headers, content
