"""Allow connections to public addresses only, against server-side request forgery.

URLs of outputs and their redirects are untrusted. Without a check they could name services of this machine, of its
network, or a cloud's metadata service. A name is resolved once, all its addresses are checked, and the connection goes
to exactly these, so that the name cannot change its meaning in between.

Owns the check and the resolver. Must not connect.

Source: https://www.iana.org/assignments/iana-ipv4-special-registry and …-ipv6-special-registry (read 2026-11).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_NAT64_LOCAL: Final = ipaddress.ip_network("64:ff9b:1::/48")


class AddressForbidden(OSError):
    """A name or address is not public."""


def is_public(address: str) -> bool:
    """Whether an IP address is public; an IPv4 address embedded in IPv6 decides, a scope (``%eth0``) is ignored."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64_LOCAL:
            return False
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def is_literal(host: str) -> bool:
    """Whether a host is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


AddressInfo = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]]
"""The result of ``getaddrinfo``."""


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses only. Connectors do not call it for literal addresses: check those yourself.

    Args:
        allow_private: allow every address.
        refused: the end of the message about a forbidden address.
    """

    def __init__(self, *, allow_private: bool = False, refused: str = "is not a public address") -> None:
        self._allow_private = allow_private
        self._refused = refused

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of a name; raises `AddressForbidden` if one is not public."""
        found = await self._look_up(host, port, family)
        results: list[ResolveResult] = []
        for kind, _, protocol, _, address in found:
            if not self._allow_private and not is_public(str(address[0])):
                raise AddressForbidden(f"{host}: its address {self._refused}")
            results.append(
                ResolveResult(
                    hostname=host,
                    host=str(address[0]),
                    port=int(address[1]),
                    family=kind,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        if not results:
            raise OSError(f"{host} has no address")
        return results

    async def close(self) -> None:
        """Nothing to close."""

    async def _look_up(self, host: str, port: int, family: socket.AddressFamily) -> AddressInfo:
        """Ask the system. Subclasses may use another pool of threads."""
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
