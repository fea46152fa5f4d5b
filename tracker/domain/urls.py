"""URLs as text: what no URL can hold is percent-encoded, and nothing else is changed.

A signed URL is valid byte for byte. Its existing escapes, their case, ``+``, dot segments and an empty query all belong
to what was signed.

**Source**: https://www.rfc-editor.org/rfc/rfc3986 (2, 5.2.4) and https://url.spec.whatwg.org/#url-parsing (both read
2026-11).
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urljoin

_IMPOSSIBLE: Final = re.compile("[^!#-;=?-\\[\\]_a-z~]")
"""Space, control characters, everything beyond ASCII, and ``"<>\\^`{|}``."""
_SURROUNDING: Final = "".join(map(chr, range(0x21)))
_ABSOLUTE: Final = re.compile(r"(https?)://([^/?#\\]*)(.*)", re.IGNORECASE | re.DOTALL)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def escape_impossible(text: str) -> str:
    """A text with the characters percent-encoded that no URL can hold, as UTF-8.

    Args:
        text: of a URL. A byte that was not UTF-8 in a header, kept as a lone surrogate, is written as that byte.

    Raises:
        ValueError: a surrogate that stands for no byte.
    """
    return _IMPOSSIBLE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape"))


def split_absolute(text: str) -> tuple[str, str, str]:
    """Split an absolute http(s) URL.

    Args:
        text: the URL; white space around it is ignored.

    Returns:
        The scheme in lower case; the authority as given; the request target: path and query with `escape_impossible`
        applied, without the fragment.

    Raises:
        ValueError: not an absolute http(s) URL, or one in which programs disagree about what the host is.
    """
    found = _ABSOLUTE.fullmatch(text.strip(_SURROUNDING))
    if found is None or found[3].startswith("\\"):
        raise ValueError("not an http(s) URL")
    target = escape_impossible(found[3].partition("#")[0])
    return found[1].lower(), found[2], target if target.startswith("/") else f"/{target}"


def resolve_reference(scheme: str, authority: str, target: str, reference: str) -> str:
    """The absolute URL that a ``Location`` means; absolute paths keep their dot segments.

    Args:
        scheme: of the URL that answered, see `split_absolute`.
        authority: of that URL.
        target: of that URL.
        reference: the header's value.
    """
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
