"""Request bodies: read within limits of size and depth, and decoded once. Must not know what a body means."""

from __future__ import annotations

import asyncio
import json
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Final

import orjson

from tracker.domain.lenient_json.large import LARGE_BYTES, Lifted, is_decoded_at_once, lift, slow
from tracker.domain.nesting import MAX_DEPTH, levels
from tracker.errors import FieldProblem, RequestInvalid
from tracker.server.connections import arrival
from tracker.server.responses import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiohttp import StreamReader, web

    from tracker.domain.records import Json

MAX_API_BYTES: Final = 32 * 1024 * 1024
"""Requests may carry images inline, as base64."""
YIELD_BYTES: Final = 1 << 20
"""After so much of a body the event loop serves others."""
MAX_REQUEST_VALUES: Final = 200_000
"""With more values, later work on the request blocks the event loop."""
MIN_ROUNDED: Final = 2.0**63
"""orjson makes a float of an integer beyond 64 bits; this is the smallest, on the negative side."""
MAX_ROUNDED_LISTED: Final = 20
"""Numbers that a response names; a body may hold millions."""


class BodyTooLarge(Exception):
    """The body is larger than allowed, as sent or once decompressed.

    Attributes:
        head: the part that was read.
    """

    def __init__(self, head: bytes) -> None:
        super().__init__("the body is too large")
        self.head = head


class BodyUnreadable(Exception):
    """The body was cut off, or cannot be decompressed."""


async def read_body(request: web.Request, max_bytes: int) -> bytes:
    """The body, decompressed as it streams in; at most a little over ``max_bytes`` is in memory.

    Raises:
        BodyTooLarge: it is larger than ``max_bytes``.
        BodyUnreadable: it cannot be read to its end.
        Problem: 408 or 503, its end did not arrive in time.
    """
    content = request.content
    has_arrived = content.is_eof()  # nearly always: a callback arrives in one piece
    length = None if has_arrived else request.content_length
    if length is not None and length > max_bytes:
        raise BodyTooLarge(b"")
    try:
        if has_arrived:
            body = content.read_nowait()
        else:
            async with arrival(request, max_bytes if length is None else length) as hold:
                body = await _read_pieces(content, max_bytes, hold)
    except (ConnectionError, Problem):
        raise
    except Exception as error:  # any error of the parser: bad chunks, bad gzip
        raise BodyUnreadable("the body cannot be read to its end") from error
    if len(body) > max_bytes:
        raise BodyTooLarge(body)
    return body


async def _read_pieces(content: StreamReader, max_bytes: int, hold: Callable[[int], None]) -> bytes:
    """The body piece by piece, until its end or until it is too large; ``hold`` gets the size of each."""
    pieces, yielded = bytearray(), 0
    while len(pieces) <= max_bytes:
        piece = await content.readany()
        if not piece:
            break
        pieces += piece
        hold(len(piece))
        if len(pieces) - yielded > YIELD_BYTES:
            # reading does not wait while there is data, as with a compressed body
            yielded = len(pieces)
            await asyncio.sleep(0)
    return bytes(pieces)


async def read_json(request: web.Request) -> Json:
    """The decoded body of an API request.

    Raises:
        Problem: 413 too large, 400 unreadable or not JSON.
        RequestInvalid: a number cannot be represented exactly.
    """
    try:
        body = await read_body(request, MAX_API_BYTES)
    except BodyTooLarge:
        raise too_large(MAX_API_BYTES) from None
    except BodyUnreadable as error:
        raise malformed(str(error)) from None
    body = body.removeprefix(BOM_UTF8)
    return _decode(body) if len(body) <= LARGE_BYTES else await asyncio.to_thread(_decode, body)


def _decode(body: bytes) -> Json:
    try:
        lifted = lift(body) if len(body) > LARGE_BYTES else Lifted(body, "", ())
        if len(body) <= LARGE_BYTES or is_decoded_at_once(lifted.skeleton):
            value = orjson.loads(lifted.skeleton)
        else:
            decoder = slow(json.JSONDecoder(parse_int=_number, parse_constant=_refuse))
            value = decoder.decode(lifted.skeleton.decode())
    except RecursionError:
        raise malformed(f"the JSON is nested more than {MAX_DEPTH} levels deep") from None
    except ValueError as error:
        if body.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
            raise malformed("the body is UTF-16; send it as UTF-8") from None
        raise malformed(describe_json_error(error)) from None
    is_suspect, count = False, 0
    for depth, level in enumerate(levels(value)):
        count += len(level)
        if depth > MAX_DEPTH:
            raise malformed(f"the JSON is nested more than {MAX_DEPTH} levels deep")
        if count > MAX_REQUEST_VALUES:
            raise malformed(f"the JSON has more than {MAX_REQUEST_VALUES} values")
        is_suspect |= any(isinstance(item, float) and abs(item) >= MIN_ROUNDED for item in level)
    rounded = _list_rounded(lifted.skeleton) if is_suspect else []
    if rounded:
        raise RequestInvalid(rounded)
    return lifted.restore(value)


def _number(text: str) -> int | float:
    """An integer as orjson reads it."""
    number = _WholeNumber(text)
    return float(text) if number.is_rounded() else int(number)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def describe_json_error(error: ValueError) -> str:
    """The error in a JSON text and its position, without a part of the text."""
    if not isinstance(error, json.JSONDecodeError):
        return f"the body cannot be read: {error}"
    return f"the body is not JSON: {error.msg.partition(': line ')[0]} (line {error.lineno}, column {error.colno})"


def malformed(why: str) -> Problem:
    """400: not JSON, or not the expected JSON. The name of a field at the beginning is not capitalized."""
    names_field = why.partition(" ")[0].endswith(":")
    return Problem(HTTPStatus.BAD_REQUEST, "malformed", f"{why if names_field else why[:1].upper() + why[1:]}.")


def too_large(max_bytes: int) -> Problem:
    """413: the limit is for the decompressed size."""
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too-large",
        f"The body is larger than {max_bytes} bytes (decompressed).",
    )


def _list_rounded(body: bytes) -> list[FieldProblem]:
    """Integers that orjson has rounded; a number that was sent as a float of that size is not an error."""
    numbers = islice(_find_rounded(json.loads(body.decode(), parse_int=_WholeNumber)), MAX_ROUNDED_LISTED)
    message = "is an integer beyond 64 bits, which cannot be forwarded exactly; use a smaller one"
    return [FieldProblem(loc or ("body",), message) for loc in numbers]


class _WholeNumber(str):
    """An integer as text: a million digits are expensive to parse, and Python refuses to."""

    __slots__ = ()

    def is_rounded(self) -> bool:
        """Whether it is outside of the range that orjson reads exactly: -2^63 to 2^64 - 1."""
        return len(self) >= 19 and (len(self) > 20 or not -(2**63) <= int(self) < 2**64)  # noqa: PLR2004  digits


def _find_rounded(value: Json) -> Iterator[tuple[str | int, ...]]:
    """The locations of rounded numbers, without recursion; only the path to the current value is in memory."""
    if isinstance(value, _WholeNumber) and value.is_rounded():
        yield ()
    loc: list[str | int] = []
    path = [_members(value)]
    while path:
        for name, item in path[-1]:
            if isinstance(item, dict | list):
                loc.append(name)
                path.append(_members(item))
                break
            if isinstance(item, _WholeNumber) and item.is_rounded():
                yield (*loc, name)
        else:
            path.pop()
            del loc[-1:]


def _members(value: Json) -> Iterator[tuple[str | int, Json]]:
    if isinstance(value, dict):
        return iter(value.items())
    return enumerate(value) if isinstance(value, list) else iter(())
