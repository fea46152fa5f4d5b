"""Request URLs: unchanged byte for byte, with a host that every program reads the same way.

Owns the check of a URL's authority. Spellings that parsers read differently are rejected, so that the checked host is
the one that is connected to.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from aiohttp.client import URL  # type: ignore[attr-defined]  # yarl's, by way of the library we depend on

from tracker.domain.urls import escape_invalid, resolve_reference, split_absolute

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAIN_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._~%-]+)?\]")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]*")
_PORT: Final = re.compile(r"[0-9]{0,5}")
_MAX_PORT: Final = 65535


def exact_url(text: str) -> URL:
    """Make a URL for a request that is sent exactly as written.

    Only characters that are invalid in a URL are percent-encoded (see `tracker.domain.urls`), and a non-ASCII host is
    converted to ASCII (IDNA). Path and query are both in the ``path`` of the result, so that even an empty query stays.

    Raises:
        ValueError: not a valid http(s) URL; the message omits it, since its query may be a signature.
    """
    scheme, authority, target = split_absolute(text)
    if "@" in authority:
        raise ValueError("a URL with a user name")
    host, port = _split_port(authority)
    if not _PLAIN_HOST.fullmatch(host):
        host = _ascii_host(host)
    host = host.lower()
    if not _PORT.fullmatch(port) or int(port or 0) > _MAX_PORT:
        raise ValueError("a URL with an invalid port")
    return URL.build(scheme=scheme, authority=f"{host}:{port}" if port else host, path=target, encoded=True)


@lru_cache(maxsize=64)
def base_url(text: str) -> URL:
    """A configured base URL without query and fragment, see `exact_url`; cached."""
    return exact_url(text.partition("#")[0].partition("?")[0])


def extend(base: URL, path: str, query: Sequence[tuple[str, str]]) -> URL:
    """Join a base URL, an encoded path and an unencoded query; escapes of the provider stay."""
    target = request_target(base, path, query)
    return URL.build(scheme=base.scheme, authority=base.raw_authority, path=target, encoded=True)


def request_target(base: URL, path: str, query: Sequence[tuple[str, str]]) -> str:
    """Path and query of the URL that `extend` makes, as they are sent."""
    target = escape_invalid(f"{_prefix(base)}/{path.removeprefix('/')}".partition("#")[0])
    return f"{target}?{_encode(query)}" if query else target


@lru_cache(maxsize=64)
def _prefix(base: URL) -> str:
    return base.raw_path.rstrip("/")


def _encode(query: Sequence[tuple[str, str]]) -> str:
    if all(_UNRESERVED.fullmatch(name) and _UNRESERVED.fullmatch(value) for name, value in query):
        return "&".join(f"{name}={value}" for name, value in query)  # as ids nearly always are; a tenth of the time
    return URL().with_query(list(query)).raw_query_string


def follow(url: URL, location: str) -> URL:
    """The target of a redirect, exactly as in its ``Location``; raises ValueError if it is not an http(s) URL."""
    return exact_url(resolve_reference(str(url), location))


def _split_port(authority: str) -> tuple[str, str]:
    host, colon, port = authority.rpartition(":")
    return (host, port) if colon and "]" not in port else (authority, "")


def _ascii_host(host: str) -> str:
    if host.isascii() or not host.isprintable() or " " in host:
        raise ValueError("a URL without a valid host")
    found = URL.build(scheme="http", host=host).raw_host or ""
    if not _PLAIN_HOST.fullmatch(found):
        raise ValueError("a URL without a valid host")
    return found
