"""Access to the API: bearer tokens with scopes, or without any programs of this machine; never pages of other sites.

Callbacks, health and the API description are open. Must not log the presented credentials.

A page in a browser reaches the daemon with the rights of the machine that it runs on. Each check below is independent:

- ``Host`` (without a token): a page whose name was rebound to this machine sends its own name.
- ``Sec-Fetch-Site``: set by the browser; WebKit before 16.4 and older webviews do not send it.
- ``Origin``: sent with every write by all of these. ``null`` is never the daemon's own.
- ``Referer`` of a write: for clients that send neither.
- ``Content-Type`` of a write: a page can send JSON to another site only after a preflight, which is never granted.

Source: https://fetch.spec.whatwg.org/#cors-safelisted-request-header and https://www.w3.org/TR/fetch-metadata/
(read 2026-11).
"""

from __future__ import annotations

import ipaddress
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tracker.domain.scopes import find_token
from tracker.server.responses import Problem
from tracker.server.services import TOKEN_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from tracker.domain.scopes import ApiToken, Scope

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""

_OWN_SITE: Final = frozenset({"same-origin", "none"})
_PORTS: Final = {"http": 80, "https": 443}
_JSON: Final = re.compile(r"application/(?:[!#$&^_.+a-z0-9-]+\+)?json")
_UNNAMED: Final = frozenset({"", "application/octet-stream"})
"""No type, and its meaning by RFC 9110, section 8.3; a page can send the second only after a preflight."""
_FORM: Final = "application/x-www-form-urlencoded"
_FORM_BY_DEFAULT: Final = "Python-urllib/"
"""It adds the type of a form to a body without a type; no page can send this ``User-Agent``."""


def check_access(
    request: web.Request, tokens: Sequence[ApiToken] | None, scope: Scope, public_url: str | None = None
) -> None:
    """Check that a request may use an operation, and note the name of its token in the request.

    Args:
        request: the request.
        tokens: the configured tokens; None: none is configured, and then the daemon listens on loopback only.
        scope: what the token must allow.
        public_url: the configured public URL: with tokens its pages are the daemon's own.

    Raises:
        Problem: 401 for a missing or wrong token; 403 for a token without the scope, and for a web page that is not the
            daemon's own.
    """
    check_host(request, tokens)
    _check_site(request, tokens, public_url)
    if tokens is None:
        return
    token = _token_of(request, tokens)
    if token is None:
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "unauthorized",
            "Missing or wrong bearer token.",
            headers={"WWW-Authenticate": 'Bearer realm="tracker"'},
        )
    if not token.scope.includes(scope):
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "scope",
            f"The token {token.name} has the scope {token.scope}; this call needs the scope {scope}.",
            # RFC 6750, section 3.1
            headers={"WWW-Authenticate": f'Bearer realm="tracker", error="insufficient_scope", scope="{scope}"'},
        )
    if token.name is not None:
        request[TOKEN_NAME] = token.name


def check_host(request: web.Request, tokens: Sequence[ApiToken] | None) -> None:
    """Check that a request without a token names this machine.

    Raises:
        Problem: 403.
    """
    if not (tokens is not None or _is_local(request) or _is_unix_socket(request)):
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "not-local",
            "Without an API token the API is limited to programs on this machine, at a loopback address. "
            "Set server.api_token_env or server.api_token_file.",
        )


def check_page(request: web.Request, tokens: Sequence[ApiToken] | None, public_url: str | None = None) -> None:
    """Check that a request of a browser comes from one of the daemon's own pages, or opens one of them.

    A link on another site may open a page: that site cannot read it, nor show it in a frame. A write must name the page
    that it comes from, which every browser does.

    Raises:
        Problem: 403.
    """
    check_host(request, tokens)
    headers = request.headers
    if request.method in READS:
        if headers.get("Sec-Fetch-Mode") != "navigate":
            _check_site(request, tokens, public_url)
        return
    _check_site(request, tokens, public_url)
    if headers.get("Sec-Fetch-Site", "same-origin") != "same-origin" or not (
        "Sec-Fetch-Site" in headers or "Origin" in headers
    ):
        raise _cross_site()


def is_allowed(request: web.Request, tokens: Sequence[ApiToken] | None, scope: Scope) -> bool:
    """Whether the token of a request that was admitted still allows it."""
    token = None if tokens is None else _token_of(request, tokens)
    return tokens is None or (token is not None and token.scope.includes(scope))


def check_media_type(request: web.Request) -> None:
    """Check that a write is sent as JSON; it can have no ``Content-Type`` if no browser can have sent it.

    Without a body, it can also come from the daemon's own page: `check_access` refuses all others.

    Raises:
        Problem: 415.
    """
    kinds = [text.partition(";")[0].strip().lower() for text in request.headers.getall("Content-Type", [""])]
    if all(_JSON.fullmatch(kind) for kind in kinds):
        return
    unnamed = _UNNAMED
    if request.headers.get("User-Agent", "").startswith(_FORM_BY_DEFAULT):
        unnamed |= {_FORM}
    if unnamed.issuperset(kinds) and not _is_from_browser(request):
        return
    if kinds == [""] and not request.can_read_body and _names_own_page(request):
        return
    raise Problem(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "not-json",
        "The request must be JSON: curl --json '{…}', or curl -H 'Content-Type: application/json' -d '{…}'.",
        headers={"Accept-Post": "application/json"},
    )


def _token_of(request: web.Request, tokens: Sequence[ApiToken]) -> ApiToken | None:
    scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
    return find_token(presented.strip(), tokens) if scheme.lower() == "bearer" else None


def _check_site(request: web.Request, tokens: Sequence[ApiToken] | None, public_url: str | None) -> None:
    """Refuse pages of other sites.

    The daemon's own page is the one that the ``Host`` header names, where a token or a local name makes it trustworthy;
    with tokens, those below the public URL too.
    """
    headers = request.headers
    sites = headers.getall("Sec-Fetch-Site", [])
    pages = headers.getall("Origin", [])
    if not sites and request.method not in READS:
        pages = pages + [page for page in headers.getall("Referer", []) if page]
    host = headers.get("Host") if tokens is not None or _is_local(request) else None
    if tokens is None:
        public_url = None
    if not _OWN_SITE.issuperset(sites) or not all(_is_own(page, host, public_url) for page in pages):
        raise _cross_site()


def _cross_site() -> Problem:
    return Problem(
        HTTPStatus.FORBIDDEN,
        "cross-site",
        "The request comes from a web page of another site. For a page of the daemon behind a proxy, let the proxy "
        "forward the Host header, or set public_url.",
    )


def _is_own(page: str, host: str | None, public_url: str | None) -> bool:
    """Whether a page, or its origin, is the one that the ``Host`` header names, or one below the public URL."""
    origin = _origin_of(page)
    if origin is None:
        return False
    scheme, *authority = origin
    here = _origin_of(f"{scheme}://{host}") if host else None
    public = _origin_of(public_url) if public_url else None
    return (here is not None and authority == list(here[1:])) or origin == public


def _origin_of(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an HTTP URL; None when it is not one."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    default = _PORTS.get(parts.scheme)
    if default is None or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, default if port is None else port


def _names_own_page(request: web.Request) -> bool:
    """Whether a request that passed `check_access` names the page that it comes from.

    A browser names it as ``Origin`` of each write in the mode ``cors``; ``fetch`` of Node.js sends only that mode.

    Source: https://fetch.spec.whatwg.org/#append-a-request-origin-header (read 2026-11).
    """
    headers = request.headers
    return "Origin" in headers or "same-origin" in headers.getall("Sec-Fetch-Site", []) or _is_from_node(request)


def _is_from_node(request: web.Request) -> bool:
    headers = request.headers
    is_bare = not any(name in headers for name in ("Origin", "Referer", "Sec-Fetch-Site"))
    return is_bare and headers.get("Sec-Fetch-Mode") == "cors"


def _is_from_browser(request: web.Request) -> bool:
    return any(
        name in ("Origin", "Referer") or name.startswith("Sec-Fetch-") for name in map(str.title, request.headers)
    )


def _is_local(request: web.Request) -> bool:
    """Whether the ``Host`` header names this machine."""
    host = request.headers.get("Host", "")
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
