"""Validate API keys, for the client that sends them and for the checks before.

The messages never contain a part of the key.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_QUOTES = "\"'`"
_ENV_LINE = re.compile(r"(export\s+\w+|[A-Z][A-Z0-9]*_[A-Z0-9_]*)\s*=\s*[^\s=]")
_SCHEME = re.compile(r"(bearer|basic|key|token|authorization\s*:)\s", re.IGNORECASE)


@lru_cache(maxsize=64)
def key_problem(key: str | None) -> str | None:
    """Describe why a key is invalid, as ``what is wrong; how to fix it``; None for a valid one."""
    key = (key or "").strip()
    if not key:
        return "is not set; requests will be rejected"
    if len(key.splitlines()) > 1:
        return "has more than one line; keep the one with the key"
    if key[0] in _QUOTES or key[-1] in _QUOTES:
        return "has quotes around the key; remove them"
    if _ENV_LINE.match(key):
        return "has the name of a variable before the key; keep only the part after the ="
    if _SCHEME.match(key):
        return "starts with a word like Bearer; keep only the key, the tracker adds the rest"
    for position, character in enumerate(key, 1):
        if not (character.isascii() and character.isprintable()):
            name = unicodedata.name(character, "a control character")
            return f"has a character that is invalid in a header ({name} at {position}); copy the key again"
    return None
