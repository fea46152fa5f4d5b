"""Names of hook endpoints resolved to addresses that may be connected to, each lookup on a thread of its own.

Owns the refusal of what is not public (`tracker.upstream.addresses`): every address of a name must be, and the
connection is made to exactly those that were looked at. Must not connect. A name server that hangs holds up its own
hook alone, for no pool of threads is shared.
"""

from __future__ import annotations

import socket

from tracker.hooks.running.threads import in_thread
from tracker.upstream.addresses import AddressForbidden, AddressInfo, PublicResolver, is_literal, is_public

REFUSED = "is no public address; allow_private_addresses = true lets the hook reach it"


def check_literal(host: str) -> None:
    """Refuse an IP address that is not public; connectors ask no resolver about those.

    Args:
        host: of a URL; a name passes, it is for the resolver.

    Raises:
        AddressForbidden: it is not public.
    """
    if is_literal(host) and not is_public(host):
        raise AddressForbidden(f"{host} {REFUSED}")


class VettedResolver(PublicResolver):
    """Resolves names for one hook.

    Args:
        allow_private: let every address pass.
    """

    def __init__(self, *, allow_private: bool) -> None:
        super().__init__(allow_private=allow_private, refused=REFUSED)

    async def _look_up(self, host: str, port: int, family: socket.AddressFamily) -> AddressInfo:
        return await in_thread(
            lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family), name="hook resolver"
        )
