"""JSON as text for people: exact numbers, and of a very large value only its head."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final, NamedTuple

import orjson

Json = Any

MAX_SHOWN: Final = 256 * 1024
"""Characters of a value that a page holds."""


class JsonView(NamedTuple):
    """A value as text.

    Attributes:
        lines: how many there are in all.
        size: bytes of the complete value.
        is_cut: only the head is shown.
    """

    text: str
    lines: int
    size: int
    is_cut: bool


async def view_json(value: Json) -> JsonView | None:
    """A value as text, made beside the event loop; None for none."""
    return None if value is None else await asyncio.to_thread(_view, value)


def write_json(value: Json) -> str:
    """The complete text. Unlike orjson, the standard library writes integers of any size."""
    if isinstance(value, orjson.Fragment):
        return orjson.dumps(value).decode()
    return json.dumps(value, indent=2, ensure_ascii=False)


def _view(value: Json) -> JsonView:
    text = write_json(value)
    size = len(text.encode("utf-8", "replace"))
    return JsonView(text[:MAX_SHOWN], text.count("\n") + 1, size, len(text) > MAX_SHOWN)
