"""Listen addresses: ``host:port``, ``[::1]:port`` or ``unix:/path``.

It also decides whether other machines can reach an address.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from dataclasses import dataclass
from pathlib import Path

DEFAULT_LISTEN = "127.0.0.1:8780"
SOCKET_PATH_MAX = 107 if sys.platform == "linux" else 103
"""Bytes of a Unix socket's path: ``sun_path`` without its end (unix(7); 104 bytes on macOS and the BSDs)."""
_PORTS = range(65536)
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to


@dataclass(frozen=True, slots=True)
class Listen:
    """A listen address: a host and a port, or the path of a Unix socket.

    Attributes:
        host: name or address without brackets; empty for a Unix socket.
        port: 0 to 65535; 0: chosen by the system, or a Unix socket.
        path: the Unix socket, else None.
    """

    host: str = ""
    port: int = 0
    path: Path | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect; file permissions protect a Unix socket."""
        return self.path is not None or is_loopback(self.host)

    @property
    def url(self) -> str:
        """The base URL for clients on this machine; ``unix:/path`` for a Unix socket."""
        if self.path is not None:
            return f"unix:{self.path}"
        host = _ANYWHERE.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is of this machine, without a DNS query."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def parse_listen(text: str) -> Listen:
    """Read a listen address.

    Raises:
        ValueError: it is invalid; the message shows a valid one.
    """
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:"))
        if not path.is_absolute():
            raise ValueError("is not an absolute socket path; write for example unix:/run/tracker/tracker.sock")
        length = len(os.fsencode(path))
        if length > SOCKET_PATH_MAX:
            raise ValueError(
                f"is too long for a socket: its path has {length} bytes, the maximum is {SOCKET_PATH_MAX}; "
                "choose a shorter one, for example unix:/run/tracker/tracker.sock"
            )
        return Listen(path=path)
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    well_formed = colon and port.isascii() and port.isdigit() and int(port) in _PORTS and host
    if not well_formed or (":" in host) is not bracketed or any(c.isspace() or c in "/@[]" for c in host):
        raise ValueError("is not a listen address; write host:port, [::1]:port or unix:/path")
    return Listen(host=host, port=int(port))
