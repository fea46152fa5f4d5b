"""How deeply JSON is nested. Too deep JSON exhausts the stack of recursive code, here and in clients.

orjson encodes 254 levels, and a body is shown inside other JSON, so what may be stored must have fewer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import orjson

Json = Any

MAX_DEPTH: Final = 100
"""No request or answer of a provider is deeper."""


def levels(value: Json) -> Iterator[list[Json]]:
    """The values of each nesting level, from the outside in; without recursion."""
    level = [value]
    while level:
        yield level
        deeper: list[Json] = []
        for item in level:
            if isinstance(item, dict):
                deeper += item.values()
            elif isinstance(item, list):
                deeper += item
        level = deeper


def is_too_deep(value: Json, text: bytes | None = None) -> bool:
    """Whether JSON has more than `MAX_DEPTH` levels of lists and objects.

    Args:
        value: decoded JSON.
        text: the same as text, if it is known; nearly always it has too few brackets, which is found at once.
    """
    if text is not None and text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return False
    return any(depth > MAX_DEPTH for depth, _ in enumerate(levels(value)))


def digest(body: bytes) -> Json:
    """What replaces a body that cannot be shown."""
    return {"not_shown": {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}}


def decode_stored(text: str) -> Json:
    """Stored JSON, decoded; its digest if it is nested too deeply, as older versions stored it."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return orjson.loads(text)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:  # more than 1024 levels
        return digest(text.encode())
    return digest(text.encode()) if is_too_deep(value) else value
