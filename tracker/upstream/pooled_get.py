"""GET requests for polls, over aiohttp's connections but without its session.

Nearly all requests of the daemon are polls. For each one, aiohttp's session builds a request, a response, two timers
and several tables of headers: a fifth of the CPU time of a poll. Here the head of a GET is written to a pooled
connection, and aiohttp's parser reads the answer.

Owns the head of a GET and its connection. Must not know accounts, limits or circuits.

Source: ``ClientSession._request`` in ``aiohttp/client.py`` and ``ClientResponse.start`` in
``aiohttp/client_reqrep.py`` of https://github.com/aio-libs/aiohttp, version 3.14 (read 2026-11).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Self

import aiohttp

from tracker.upstream.sessions import LIBRARY_FIELD_BYTES, LIBRARY_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from aiohttp.client import URL  # type: ignore[attr-defined]  # yarl's, by way of the library we depend on
    from aiohttp.connector import Connection

    from tracker.upstream.sessions import Received

_INTERIM: Final = frozenset(range(100, 200)) - {HTTPStatus.SWITCHING_PROTOCOLS}
"""Status codes of responses that come before the answer."""


class GetPool:
    """Opens GET requests on the connections of a session.

    Args:
        session: its connections are used.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._origins: dict[tuple[str, str], aiohttp.ClientRequest] = {}

    def open(self, url: URL, headers: Mapping[str, str], timeout: aiohttp.ClientTimeout, received: Received) -> Get:
        """Prepare a GET, to be used with ``async with``; redirects are not followed.

        Args:
            url: made by `tracker.upstream.urls`.
            headers: all headers but ``Host``.
            timeout: its ``connect`` limits the wait for a connection; there is no other limit.
            received: gets a copy of the raw bytes of the answer.

        Raises:
            ValueError: a header contains a line break.
        """
        key = (url.scheme, url.raw_authority)
        origin = self._origins.get(key)
        if origin is None:
            origin = self._origins[key] = aiohttp.ClientRequest("GET", url, session=self._session)
        fields = "\r\n".join([f"{name}: {value}" for name, value in headers.items()])
        if fields.count("\r") != len(headers) - 1 or fields.count("\n") != len(headers) - 1 or "\0" in fields:
            raise ValueError("a header contains a line break")
        head = f"GET {url.raw_path_qs} HTTP/1.1\r\nHost: {origin.headers['Host']}\r\n{fields}\r\n\r\n"
        assert self._session.connector is not None  # noqa: S101 - set by `make_session`
        return Get(self._session.connector, origin, head.encode(), timeout, received)


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
        """Send it and read the head of the answer; retry once if the pooled connection was closed."""
        try:
            await self._exchange()
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            await self._exchange()  # a GET may be repeated, see RFC 9112, section 9.3.1
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
            connection = await self._connector.connect(self._origin, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        try:
            protocol = connection.protocol
            assert protocol is not None and protocol.transport is not None  # noqa: S101, PT018 - it is connected
            protocol.set_response_params(
                read_until_eof=True,
                max_line_size=LIBRARY_FIELD_BYTES,
                max_field_size=LIBRARY_FIELD_BYTES,
                max_headers=LIBRARY_FIELDS,
            )
            self._received.attach(protocol)
            protocol.transport.write(self._head)
            message, content = await protocol.read()
            while message.code in _INTERIM:
                message, content = await protocol.read()
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self.status, self.headers, self.content = message.code, message.headers, content
