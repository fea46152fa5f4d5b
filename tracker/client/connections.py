"""HTTP connections to a daemon over TCP, TLS or a Unix socket, with the standard library only, for a fast start."""

from __future__ import annotations

import http.client
import re
import socket
from contextlib import suppress
from urllib.parse import urlsplit

MAX_FIELDS = 1000
"""Headers of an answer. The standard library accepts 100, and only this private name changes that."""


def accept_many_headers() -> None:
    """Accept answers with so many headers in this process; for commands, which may meet any program."""
    http.client._MAXHEADERS = MAX_FIELDS  # type: ignore[attr-defined]  # noqa: SLF001


def read_url(url: str) -> str:
    """A daemon's URL in its usual form.

    Args:
        url: ``http://host:port``, ``host:port``, ``https://…`` or ``unix:/path``; a path becomes a prefix.

    Raises:
        ValueError: it is not such a URL.
    """
    given = url
    if re.fullmatch(r"[^/:@]+:\d+|\[[^/@]+\]:\d+", url):  # host:port, as in server.listen
        url = f"http://{url}"
    url = url.rstrip("/")
    with suppress(ValueError):  # an invalid host or port
        parts = urlsplit(url)
        if parts.scheme == "unix" or (parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0):
            return url
    raise ValueError(f"{given!r} is not a daemon URL; write http://host:port or unix:/path")


def make_connection(base: str, within_s: float) -> tuple[http.client.HTTPConnection, str]:
    """A connection that is not open yet, and the prefix of its paths."""
    if base.startswith("unix:"):
        return UnixConnection(base.removeprefix("unix:"), within_s), ""
    parts = urlsplit(base)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=within_s), parts.path


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path instead of to a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
