"""Decode and encode JSON of many megabytes in pieces, so that no call into C takes long.

A parser in C holds the interpreter lock for a complete document, on any thread: 64 MB of ``[],`` block all other
threads for seven seconds. So long strings (images as base64) are extracted first. The rest is decoded in one call if it
is small, else by the standard library's parser in Python. A document of millions of values is rejected. Must not know
what a document means.

Measured on one core: one string of 64 MB takes 78 ms in one call; 11 MB of 920,000 values take 69 ms in C and 0.9 s in
Python.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from json import scanner
from typing import Any, Final

import orjson

Json = Any

LARGE_BYTES: Final = 32_768
"""Larger bodies are processed on a thread; smaller ones take a few milliseconds at most."""
LONG: Final = 4096
"""Bytes or characters; longer strings are extracted."""
PIECE: Final = 1 << 18
"""Bytes or characters of a string per call."""
AT_ONCE_VALUES: Final = 50_000
AT_ONCE_BYTES: Final = 4 << 20
"""The most that is decoded in one call, without long strings: some 10 ms."""
MAX_CONTAINERS: Final = 600_000
MAX_VALUES: Final = 3_000_000
"""Freeing this many takes 40 ms in one call. Ten megabytes of ordinary JSON have a third of it."""
MAX_STRINGS: Final = 4_000_000
"""Member names included: more than a second of work."""

_UNITS = re.compile(rb"[^\\]*+(?:\\(?:u[0-9a-fA-F]{4}|[^u])[^\\]*+)*", re.DOTALL)
_UNQUOTED = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*', re.DOTALL)
_HIGH_SURROGATE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}")
_BACKSLASH: Final = 0x5C


class TooManyValues(ValueError):
    """A document that would take seconds and hundreds of megabytes to decode."""


@dataclass(frozen=True, slots=True)
class Lifted:
    """A document with a short mark instead of each long string: the unique ``mark`` and the index in ``strings``."""

    skeleton: bytes
    mark: str
    strings: tuple[str, ...]

    def restore(self, value: Json) -> Json:
        """Put the strings back into the decoded skeleton; member names stay marks."""
        if not self.strings:
            return value
        root = [value]
        levels: list[Json] = [root]
        while levels:
            level = levels.pop()
            for name, item in level.items() if isinstance(level, dict) else enumerate(level):
                if isinstance(item, str):
                    if item.startswith(self.mark):
                        level[name] = self.strings[int(item[len(self.mark) :])]
                elif isinstance(item, dict | list):
                    levels.append(item)
        return root[0]


def lift(body: bytes) -> Lifted:
    """Extract the long strings of a document, which need not be JSON.

    Args:
        body: in UTF-8 or another encoding with the quotes and backslashes of ASCII.

    Raises:
        TooManyValues: it has too many strings.
        ValueError: a string has no end, or a long one an invalid escape.
    """
    mark = hashlib.sha256(body).hexdigest() + ":"  # a document cannot contain its own hash
    pieces: list[bytes] = []
    strings: list[str] = []
    done = at = count = 0
    while (start := body.find(b'"', at) + 1) > 0:
        end = _end_of_string(body, start)
        if end < 0:
            raise ValueError("a string without an end")
        count += 1
        if count > MAX_STRINGS:
            raise TooManyValues(f"JSON with more than {MAX_STRINGS} strings")
        if end - start > LONG:
            pieces += (body[done:start], f"{mark}{len(strings)}".encode())
            strings.append(_decode_string(body, start, end))
            done = end
        at = end + 1
    pieces.append(body[done:])
    return Lifted(b"".join(pieces) if strings else body, mark, tuple(strings))


def is_decoded_at_once(skeleton: bytes) -> bool:
    """Whether a document without its long strings is small enough for one call into C; raises `TooManyValues`."""
    return _count_values(skeleton) <= AT_ONCE_VALUES and len(skeleton) <= AT_ONCE_BYTES


def slow(decoder: json.JSONDecoder) -> json.JSONDecoder:
    """Make a decoder work in Python, value by value, so that other threads can run.

    It raises `RecursionError` for JSON that is nested some hundred levels deep.
    """
    decoder.scan_once = scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]  # not in the type stubs
    return decoder


def encode_large(value: Json) -> str:
    """Encode decoded JSON, which this changes, in pieces; raises ValueError if it is nested too deeply."""
    root = [value]
    levels: list[Json] = [root]
    strings: list[str] = []
    while levels:
        level = levels.pop()
        for name, item in level.items() if isinstance(level, dict) else enumerate(level):
            if isinstance(item, str):
                if len(item) > LONG:
                    level[name] = orjson.Fragment(f"\0{len(strings)}\0")
                    strings.append(item)
            elif isinstance(item, dict | list):
                levels.append(item)
    try:
        parts = orjson.dumps(root[0]).decode().split("\0")  # JSON does not contain this character
    except orjson.JSONEncodeError as error:
        raise ValueError(str(error)) from error
    pieces: list[str] = []
    for n, part in enumerate(parts):
        pieces += _encode_string(strings[int(part)]) if n % 2 else (part,)
    return "".join(pieces)


def _count_values(skeleton: bytes) -> int:
    """The approximate number of values; delimiters in strings count, too. Raises `TooManyValues`."""
    containers = _count(skeleton, b"{") + _count(skeleton, b"[")
    values = containers + _count(skeleton, b",")
    if containers > MAX_CONTAINERS or values > MAX_VALUES:
        raise TooManyValues(f"JSON with more than {MAX_VALUES} values, or {MAX_CONTAINERS} lists and objects")
    return values


def _count(text: bytes, wanted: bytes) -> int:
    step = 32 * PIECE
    return sum(text.count(wanted, start, start + step) for start in range(0, len(text), step))


def _end_of_string(body: bytes, start: int) -> int:
    """The position of the quote that closes a string; -1 without one."""
    end = body.find(b'"', start)
    if end < 0 or body[end - 1] != _BACKSLASH:
        return end
    while (found := _UNQUOTED.match(body, start, start + PIECE)) and found.end() > start:
        start = found.end()
        if body[start : start + 1] == b'"':
            return start
    return -1


def _decode_string(body: bytes, start: int, end: int) -> str:
    """Decode a string between its quotes, piece by piece; raises ValueError for an invalid escape."""
    pieces: list[str] = []
    while start < end:
        cut = _cut(body, start, end)
        piece = b'"' + body[start:cut] + b'"'
        try:
            pieces.append(orjson.loads(piece))
        except orjson.JSONDecodeError:  # raw control characters, lone surrogates, bytes of another encoding
            text: str = json.loads(piece.decode("utf-8", "replace"), strict=False)
            pieces.append(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        start = cut
    return pieces[0] if len(pieces) == 1 else "".join(pieces)


def _cut(body: bytes, start: int, end: int) -> int:
    """The end of a piece of a string, not within an escape, a character or a surrogate pair."""
    cut = start + PIECE
    if cut >= end:
        return end
    if body.find(b"\\", start, cut) >= 0:
        units = _UNITS.match(body, start, cut)
        cut = units.end() if units else end
        if _HIGH_SURROGATE.match(body, cut - 6) and _is_escape(body, start, cut - 6):
            cut -= 6
    while cut > start and body[cut] & 0xC0 == 0x80:  # noqa: PLR2004 - continuation bytes of UTF-8
        cut -= 1
    return cut if cut > start else end


def _is_escape(body: bytes, start: int, at: int) -> bool:
    """Whether the backslash at a position starts an escape: an even number of backslashes precedes it."""
    first = at
    while first > start and body[first - 1] == _BACKSLASH:
        first -= 1
    return (at - first) % 2 == 0


def _encode_string(text: str) -> Iterator[str]:
    yield '"'
    for start in range(0, len(text), PIECE):
        yield orjson.dumps(text[start : start + PIECE])[1:-1].decode()
    yield '"'
