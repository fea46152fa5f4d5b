"""HTTP sessions for all outgoing requests, with a copy of each answer's raw bytes.

Owns the limits on the heads of answers, which are generous: a long header is harmless. `Received` holds the raw bytes
of one answer for `tracker.upstream.salvage`: aiohttp's parser cannot be made to accept some heads (a space in a
header's name, two different lengths, HTTP/2 as text). Answers to creates, polls and hooks are then read from their
bytes; a file behind such a head is not archived.

Source: https://docs.aiohttp.org/en/stable/client_reference.html#aiohttp.ClientSession (read 2026-11).
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.connector import Connection

MAX_FIELD_BYTES: Final = 64 * 1024
"""The longest name and value of one header, and the longest status line."""
MAX_FIELDS: Final = 1000
_SLACK: Final = 64
"""aiohttp's two parsers count the status line, the empty line and the colon differently."""
LIBRARY_FIELD_BYTES: Final = MAX_FIELD_BYTES + _SLACK
LIBRARY_FIELDS: Final = MAX_FIELDS + _SLACK
MAX_RECEIVED_BYTES: Final = 4 * 1024 * 1024
"""Of a longer answer no copy is held."""


class Received:
    """The bytes of one answer as received from the network, after TLS."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._left = MAX_RECEIVED_BYTES
        self._protocol: _Protocol | None = None

    def attach(self, protocol: ResponseHandler) -> None:
        """Copy everything that arrives until `detach`; ``protocol`` is of a session that `make_session` made."""
        assert isinstance(protocol, _Protocol)  # noqa: S101 - see `make_session`
        self._protocol = protocol
        protocol.received = self

    def detach(self) -> None:
        """Stop copying: the connection may serve another request."""
        if self._protocol is not None:
            self._protocol.received = None
            self._protocol = None

    def raw(self) -> bytes:
        """The bytes; empty if longer than `MAX_RECEIVED_BYTES`."""
        return b"".join(self._pieces)

    def add(self, data: bytes) -> None:
        """Copy bytes that have arrived."""
        self._left -= len(data)
        if self._left >= 0:
            self._pieces.append(data)
        else:
            self._pieces.clear()


RECEIVED: Final[ContextVar[Received | None]] = ContextVar("received", default=None)
"""Set during a request whose raw answer is needed."""


class _Protocol(ResponseHandler):
    """A connection whose data is copied to `received`.

    A method of the class: uvloop looks up ``data_received`` once per connection, so replacing it later has no effect.
    """

    received: Received | None = None

    def data_received(self, data: bytes) -> None:
        """Copy and parse; see the base class."""
        if self.received is not None:
            self.received.add(data)
        super().data_received(data)


class _Response(aiohttp.ClientResponse):
    """A response that is copied to `RECEIVED`."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Read the head; see the base class."""
        received = RECEIVED.get()
        if received is not None and connection.protocol is not None:
            received.attach(connection.protocol)
        return await super().start(connection)


def make_session(
    connector: aiohttp.TCPConnector,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: aiohttp.ClientTimeout | None = None,
    auto_decompress: bool = True,
) -> aiohttp.ClientSession:
    """A session without cookies or proxies from the environment, which accepts long heads."""
    # Private: aiohttp has no parameter for the class of connections. Source: ``BaseConnector.__init__`` in
    # ``aiohttp/connector.py``, version 3.14 (read 2026-11).
    connector._factory = partial(_Protocol, loop=asyncio.get_running_loop())  # type: ignore[assignment]  # noqa: SLF001
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        response_class=_Response,
        headers=headers,
        timeout=timeout or aiohttp.ClientTimeout(),
        auto_decompress=auto_decompress,
        max_line_size=LIBRARY_FIELD_BYTES,
        max_field_size=LIBRARY_FIELD_BYTES,
        max_headers=LIBRARY_FIELDS,
    )
