"""Request bodies: read within bounds, decoded once, told apart when they are wrong.

Owns size and depth limits. Must not know what a body means.
"""

from __future__ import annotations

import asyncio
import json
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Final

import orjson

from tracker.domain.lenient_json.large import LARGE_BYTES, Lifted, is_decoded_at_once, lift, slow
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
"""So much of a body is read at most before others have a turn."""
MAX_DEPTH: Final = 100
"""Deeper JSON is no request: it would only run some later walk out of stack."""
MAX_REQUEST_VALUES: Final = 200_000
"""What is done with a request afterwards takes so many values without holding up others."""
TURNED_FLOAT: Final = 2.0**63
"""orjson makes a float of a whole number beyond 64 bits; this is the smallest, on the negative side."""
MAX_CHANGED_TOLD: Final = 20
"""Numbers that are named in an answer; a body may hold millions."""


class BodyTooLarge(Exception):
    """The body is larger than allowed, as sent or once decompressed.

    Attributes:
        head: what was read of it.
    """

    def __init__(self, head: bytes) -> None:
        super().__init__("the body is too large")
        self.head = head


class BodyUnreadable(Exception):
    """The body was cut off, or cannot be decompressed."""


async def read_body(request: web.Request, max_bytes: int) -> bytes:
    """The whole body, decompressed as it streams in; never more than a little over ``max_bytes`` in memory.

    Raises:
        BodyTooLarge: it goes beyond ``max_bytes``.
        BodyUnreadable: it cannot be read to its end.
        Problem: 408 or 503, its end did not come in the time that it has.
    """
    content = request.content
    is_there = content.is_eof()  # nearly always: a callback arrives in one piece
    length = None if is_there else request.content_length
    if length is not None and length > max_bytes:
        raise BodyTooLarge(b"")
    try:
        if is_there:
            body = content.read_nowait()
        else:
            async with arrival(request, max_bytes if length is None else length) as hold:
                body = await _read_pieces(content, max_bytes, hold)
    except (ConnectionError, Problem):
        raise
    except Exception as error:  # whatever the server's parser put into the stream: bad chunks, bad gzip
        raise BodyUnreadable("the body cannot be read to its end") from error
    if len(body) > max_bytes:
        raise BodyTooLarge(body)
    return body


async def _read_pieces(content: StreamReader, max_bytes: int, hold: Callable[[int], None]) -> bytes:
    """The body piece by piece, until its end or until it is too large; ``hold`` is told the size of each."""
    pieces, yielded = bytearray(), 0
    while len(pieces) <= max_bytes:
        piece = await content.readany()
        if not piece:
            break
        pieces += piece
        hold(len(piece))
        if len(pieces) - yielded > YIELD_BYTES:
            # reading does not wait where data is there, and a compressed body is always there
            yielded = len(pieces)
            await asyncio.sleep(0)
    return bytes(pieces)


async def read_json(request: web.Request) -> Json:
    """The decoded body of an API request.

    Raises:
        Problem: 413 too large, 400 unreadable or no JSON, 422 for a number that would be sent on as another.
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
        raise malformed(json_words(error)) from None
    is_suspect, count = False, 0
    for depth, level in enumerate(_levels(value)):
        count += len(level)
        if depth > MAX_DEPTH:
            raise malformed(f"the JSON is nested more than {MAX_DEPTH} levels deep")
        if count > MAX_REQUEST_VALUES:
            raise malformed(f"the JSON has more than {MAX_REQUEST_VALUES} values")
        is_suspect |= any(isinstance(item, float) and abs(item) >= TURNED_FLOAT for item in level)
    changed = _list_changed(lifted.skeleton) if is_suspect else []
    if changed:
        raise RequestInvalid(changed)
    return lifted.restore(value)


def _number(text: str) -> int | float:
    """A whole number as orjson reads it."""
    number = _WholeNumber(text)
    return float(text) if number.is_changed() else int(number)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def json_words(error: ValueError) -> str:
    """What is wrong with a JSON text and where, without a piece of the text."""
    if not isinstance(error, json.JSONDecodeError):
        return f"the body cannot be read: {error}"
    return f"the body is not JSON: {error.msg.partition(': line ')[0]} (line {error.lineno}, column {error.colno})"


def malformed(why: str) -> Problem:
    """400: no JSON, or not what it should hold. The name of a field at the beginning stays as it is."""
    names_field = why.partition(" ")[0].endswith(":")
    return Problem(HTTPStatus.BAD_REQUEST, "malformed", f"{why if names_field else why[:1].upper() + why[1:]}.")


def too_large(max_bytes: int) -> Problem:
    """413, whatever the size was as sent: what counts is the size once decompressed."""
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too-large",
        f"The body is larger than {max_bytes} bytes (decompressed).",
    )


def _list_changed(body: bytes) -> list[FieldProblem]:
    """Whole numbers that orjson has read as another number. A float of that size as such is nobody's mistake."""
    numbers = islice(_find_changed(json.loads(body.decode(), parse_int=_WholeNumber)), MAX_CHANGED_TOLD)
    words = "is a whole number beyond 64 bits, which cannot be passed on as it is; make it smaller"
    return [FieldProblem(loc or ("body",), words) for loc in numbers]


class _WholeNumber(str):
    """A whole number as it is written: a million digits are dear to read, and Python refuses to."""

    __slots__ = ()

    def is_changed(self) -> bool:
        """Whether it is beyond what orjson reads exactly: -2^63 to 2^64 - 1."""
        return len(self) >= 19 and (len(self) > 20 or not -(2**63) <= int(self) < 2**64)  # noqa: PLR2004  digits


def _find_changed(value: Json) -> Iterator[tuple[str | int, ...]]:
    """The places of numbers that are changed; without recursion, and with no more in hand than the way to one."""
    if isinstance(value, _WholeNumber) and value.is_changed():
        yield ()
    loc: list[str | int] = []
    ways = [_members(value)]
    while ways:
        for name, item in ways[-1]:
            if isinstance(item, dict | list):
                loc.append(name)
                ways.append(_members(item))
                break
            if isinstance(item, _WholeNumber) and item.is_changed():
                yield (*loc, name)
        else:
            ways.pop()
            del loc[-1:]


def _members(value: Json) -> Iterator[tuple[str | int, Json]]:
    if isinstance(value, dict):
        return iter(value.items())
    return enumerate(value) if isinstance(value, list) else iter(())


def _levels(value: Json) -> Iterator[list[Json]]:
    """What is nested equally deep, from the outside in; without recursion."""
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
