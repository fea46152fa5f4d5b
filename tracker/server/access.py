"""Who may use the API: the bearer token, and without one only this machine's own programs.

Owns authentication of ``/v1``. Callbacks, health and the API description are open. Must not log what was presented.
"""

from __future__ import annotations

import hmac
import ipaddress
from http import HTTPStatus
from typing import TYPE_CHECKING

from tracker.server.answers import Problem

if TYPE_CHECKING:
    from aiohttp import web


def check_access(request: web.Request, token: str | None) -> None:
    """Let a request to the API in, or say why not.

    Args:
        request: what came.
        token: the configured token; None when there is none, and then the daemon listens on loopback only.

    Raises:
        Problem: 401 without the right token; 403 for a web page that reaches for an API without a token.
    """
    if token is None:
        _check_local(request)
        return
    scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
    right = hmac.compare_digest(presented.strip().encode(errors="surrogateescape"), token.encode())
    if scheme.lower() != "bearer" or not (right and token):
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "unauthorized",
            "This call wants the header Authorization: Bearer <API token>.",
            headers={"WWW-Authenticate": 'Bearer realm="tracker"'},
        )


def _check_local(request: web.Request) -> None:
    """Keep web pages out of an API that has no token.

    A page in a browser on this machine reaches loopback too: directly (then the browser says that it is another
    site), or through a name of its own that it lets point here (then the Host header is that name).
    """
    foreign = request.headers.get("Sec-Fetch-Site", "none") in {"cross-site", "same-site"}
    if foreign or not (_is_local_name(request.headers.get("Host", "")) or _is_unix_socket(request)):
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "not-local",
            "Without an API token only programs on this machine are answered, by a loopback address. "
            "Configure server.api_token_env or server.api_token_file to use it otherwise.",
        )


def _is_local_name(host: str) -> bool:
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    name = name.strip("[]")
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_unix_socket(request: web.Request) -> bool:
    return not isinstance(request.transport and request.transport.get_extra_info("peername"), tuple)
