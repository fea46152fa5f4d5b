"""Which addresses the tracker lets others send it to: those that the whole Internet shares, and no inner ones.

URLs of outputs, and where they redirect to, come from outside. Without a check they could name the machine's own
services, its neighbours, or a cloud's metadata service. Names are resolved once: all their addresses are checked and
the connection is made to exactly these, so that a name cannot mean something else a moment later.

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
    """A name or address leads to a network that is not public."""


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public Internet; an address inside another counts as both.

    Args:
        address: IPv4 or IPv6, a scope (``%eth0``) is ignored; anything else is not public.
    """
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
"""What ``getaddrinfo`` answers."""


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses alone. Connectors ask no resolver about literal addresses: check these.

    Args:
        allow_private: let every address pass.
        refused: what is said of an address that does not, after its name.
    """

    def __init__(self, *, allow_private: bool = False, refused: str = "is no public address") -> None:
        self._allow_private = allow_private
        self._refused = refused

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of a name.

        Raises:
            AddressForbidden: one of them is not public.
            OSError: it cannot be resolved.
        """
        found = await self._look_up(host, port, family)
        results: list[ResolveResult] = []
        for kind, _, protocol, _, address in found:
            if not self._allow_private and not is_public(str(address[0])):
                raise AddressForbidden(f"{host}: what it resolves to {self._refused}")
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
        """Nothing is kept open."""

    async def _look_up(self, host: str, port: int, family: socket.AddressFamily) -> AddressInfo:
        """Ask the system; where names must not share a pool of threads, this is replaced."""
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
