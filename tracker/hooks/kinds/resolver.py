"""Resolves the names of hook endpoints to allowed addresses, each lookup on its own thread.

Owns the refusal of private addresses (`tracker.upstream.addresses`): every address of a name must be public, and the
connection goes to exactly the checked ones. Must not connect. A name server that hangs delays its own hook alone,
since no thread pool is shared.
"""

from __future__ import annotations

import socket

from tracker.hooks.running.threads import in_thread
from tracker.upstream.addresses import AddressForbidden, AddressInfo, PublicResolver, is_literal, is_public

REFUSED = "is not a public address; allow_private_addresses = true lets the hook reach it"


def check_literal(host: str) -> None:
    """Refuse a URL's host that is a private IP address, for which connectors skip the resolver.

    Raises:
        AddressForbidden: it is not public.
    """
    if is_literal(host) and not is_public(host):
        raise AddressForbidden(f"{host} {REFUSED}")


class VettedResolver(PublicResolver):
    """Resolves names for one hook; ``allow_private`` allows every address."""

    def __init__(self, *, allow_private: bool) -> None:
        super().__init__(allow_private=allow_private, refused=REFUSED)

    async def _look_up(self, host: str, port: int, family: socket.AddressFamily) -> AddressInfo:
        return await in_thread(
            lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family), name="hook resolver"
        )
