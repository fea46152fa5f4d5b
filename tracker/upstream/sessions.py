"""HTTP sessions for everything that goes out, and the bytes of answers that the HTTP library does not read.

Owns the limits on the heads of answers. A long header is of no interest, so it must not decide over what is. Owns
`Received` as well: the raw bytes of one answer, for `tracker.upstream.salvage`.

What the library's parser refuses altogether (a head with a space in a header's name, two different lengths, HTTP/2 in
words) has no public switch. Answers to creates, polls and hooks are read from their bytes then; a file behind such a
head is not archived.

Source: https://docs.aiohttp.org/en/stable/client_reference.html#aiohttp.ClientSession (read 2026-11).
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection

MAX_FIELD_BYTES: Final = 64 * 1024
"""The longest name and value of one header, and the longest status line."""
MAX_FIELDS: Final = 1000
_SLACK: Final = 64
"""The libraries' two parsers count the status line, the empty line and the colon differently."""
LIBRARY_FIELD_BYTES: Final = MAX_FIELD_BYTES + _SLACK
LIBRARY_FIELDS: Final = MAX_FIELDS + _SLACK
MAX_RECEIVED_BYTES: Final = 4 * 1024 * 1024
"""The longest answer of which a copy is held while the library reads it."""


class Received:
    """The bytes of one answer as they came from the network (after TLS)."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._left = MAX_RECEIVED_BYTES
        self._protocol: ResponseHandler | None = None

    def attach(self, protocol: ResponseHandler) -> None:
        """Take a copy of everything that arrives from now on, until `detach`."""
        take = protocol.data_received

        def data_received(data: bytes) -> None:
            self._add(data)
            take(data)

        protocol.data_received = data_received  # type: ignore[method-assign]  # undone by detach
        self._protocol = protocol

    def detach(self) -> None:
        """Take no further copies: the connection may serve another request."""
        if self._protocol is not None:
            vars(self._protocol).pop("data_received", None)
            self._protocol = None

    def raw(self) -> bytes:
        """All of it; empty when it was longer than `MAX_RECEIVED_BYTES`."""
        return b"".join(self._pieces)

    def _add(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            self._pieces.append(data)
        else:
            self._pieces.clear()


RECEIVED: Final[ContextVar[Received | None]] = ContextVar("received", default=None)
"""Set around a request whose raw answer is wanted."""


class _Response(aiohttp.ClientResponse):
    """An answer of which `RECEIVED` gets a copy."""

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
    """A session with neither cookies nor proxies of the environment, which takes the heads that real servers send.

    Args:
        connector: makes its connections.
        headers: of every request.
        timeout: of every request that names none; None for the library's own.
        auto_decompress: decompress answers as their ``Content-Encoding`` says.
    """
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
