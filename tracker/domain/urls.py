"""URLs as text: percent-encode the characters that are invalid in a URL, and change nothing else.

A signature covers a URL byte for byte: its escapes and their case, ``+``, dot segments and an empty query.

**Source**: https://www.rfc-editor.org/rfc/rfc3986 (2, 5.2.4) and https://url.spec.whatwg.org/#url-parsing (both read
2026-11).
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urljoin

_INVALID: Final = re.compile("[^!#-;=?-\\[\\]_a-z~]")
"""Space, control characters, everything beyond ASCII, and ``"<>\\^`{|}``."""
_SURROUNDING: Final = "".join(map(chr, range(0x21)))
_ABSOLUTE: Final = re.compile(r"(https?)://([^/?#\\]*)(.*)", re.IGNORECASE | re.DOTALL)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def escape_invalid(text: str) -> str:
    """Percent-encode the characters that are invalid in a URL, as UTF-8.

    A lone surrogate that represents a non-UTF-8 byte of a header is encoded as that byte; any other is a ValueError.
    """
    return _INVALID.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape"))


def split_absolute(text: str) -> tuple[str, str, str]:
    """Split an absolute http(s) URL into scheme, authority and request target, without its fragment.

    The scheme is in lower case; `escape_invalid` is applied to the target.

    Raises:
        ValueError: not an absolute http(s) URL, or one whose host programs read differently.
    """
    found = _ABSOLUTE.fullmatch(text.strip(_SURROUNDING))
    if found is None or found[3].startswith("\\"):
        raise ValueError("not an http(s) URL")
    target = escape_invalid(found[3].partition("#")[0])
    return found[1].lower(), found[2], target if target.startswith("/") else f"/{target}"


def resolve_reference(base: str, reference: str) -> str:
    """The absolute URL of a ``Location`` in a response of ``base``; absolute paths keep their dot segments."""
    scheme, authority, target = split_absolute(base)
    reference = reference.strip(_SURROUNDING)
    if _SCHEME.match(reference):
        return reference
    origin = f"{scheme}://{authority}"
    if reference.startswith("//"):
        return f"{scheme}:{reference}"
    if reference.startswith("/"):
        return origin + reference
    if not reference or reference.startswith("#"):
        return origin + target
    path = target.partition("?")[0]
    if reference.startswith("?"):
        return origin + path + reference
    relative, mark, query = reference.partition("#")[0].partition("?")
    return origin + urljoin(path, f"./{relative}") + mark + query
