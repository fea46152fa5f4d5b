"""The decoder of answers to creates and polls and of callback bodies, which accepts the JSON of real servers.

Owns encodings and syntax: byte order marks, UTF-16 and UTF-32, legacy charsets, compression, NaN and Infinity, raw
control characters, lone surrogates, integers beyond 64 bits, bytes around the document, truncated documents. It must
not know what a document means. Nothing here raises.

A strict parser goes first; only a body that it rejects is read leniently. Every step is linear in the size of the body,
and steps in Python have a budget.

**Source**: RFC 8259 (sections 8.1 and 8.2 for encodings and surrogates); RFC 4627 (section 3) to detect UTF-16 and
UTF-32 without a mark; https://html.spec.whatwg.org/multipage/server-sent-events.html for ``data:`` lines.
"""

from __future__ import annotations

import codecs
import json
import re
import zlib
from collections.abc import Iterator
from encodings.aliases import aliases
from enum import Enum, auto
from typing import Any

import orjson
from msgspec import Struct

from tracker.domain.lenient_json.large import LARGE_BYTES, TooManyValues, is_decoded_at_once, lift, slow
from tracker.domain.lenient_json.repair import parse_broken

Json = Any

MAX_UNPACKED_BYTES = 8 << 20
"""The largest result of decompressing an undeclared gzip body: 1 MB could hold 1 GB."""
PLAIN_CHARACTERS = 4000
"""How much of a body that is not JSON is returned as text."""
_BEGINNING_BYTES = 1 << 18
"""How much of a large body is read if it cannot be read completely."""
_PIECE_BYTES = 1 << 20
_MAX_WRAPPINGS = 3
_LOOK_FOR_START = 64_000

_EMPTY: tuple[Json, ...] = (None, "", {}, [])
_SURROGATE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
BLANKS = "\ufeff\u200b\u200c\u200d\u2060\u0085\u00a0\u2028\u2029\u3000" + "".join(map(chr, range(0x21)))
_GUARDS = re.compile(r"(?:\)\]\}'?,?|while\s*\(1\);?|for\s*\(;;\);?|throw\s*1;?)\s*(?=[\[{\"])")
"""Prefixes that keep script tags from running JSON."""
_JSONP = re.compile(
    r"(?:/\*.{0,100}?\*/\s*)?(?:(?:var|let|const)\s+)?[A-Za-z_$][\w$.]{0,200}\s*(?:\(|=)\s*(?=[\[{])", re.DOTALL
)
_STREAM = re.compile(r"(?:data|event|id|retry)?:[^\n]*\n|data:")
_BETWEEN_EVENTS = re.compile(r"(?:\r?\n|\r){2,}")
_MAX_EVENTS = 500
_OPENINGS = ("{", "[", '"')
_LINE_START = re.compile(r"(?:[\r\n>]\s*)(?=[\[{])")
_MARKUP = re.compile(r"<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:+-]{1,40})", re.IGNORECASE)
_CODECS = frozenset(aliases.values()) - {name for name in aliases.values() if name.endswith("_codec")} - {"rot_13"}
_GUESSES = ("utf_8", "gb18030", "cp932", "big5hkscs", "cp1252")
"""Tried for bytes that are not UTF-8 if the charset is missing or wrong; the first that gives JSON counts."""
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf_32_le"),
    (codecs.BOM_UTF32_BE, "utf_32_be"),
    (codecs.BOM_UTF16_LE, "utf_16_le"),
    (codecs.BOM_UTF16_BE, "utf_16_be"),
)
_WIDE = (
    (re.compile(rb"\0\0\0[^\0]"), "utf_32_be"),
    (re.compile(rb"[^\0]\0\0\0"), "utf_32_le"),
    (re.compile(rb"\0[^\0]\0[^\0]"), "utf_16_be"),
    (re.compile(rb"[^\0]\0[^\0]\0"), "utf_16_le"),
)
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_TWENTY_DIGITS = b"0" * 20


class Form(Enum):
    """How complete a document is."""

    COMPLETE = auto()
    TRUNCATED = auto()
    """Its end is missing: an id in it counts, the absence of other fields does not."""
    STREAM = auto()
    """Server-Sent Events; fields of later events replace those of earlier ones."""
    NONE = auto()
    """Not JSON."""


class Decoded(Struct, frozen=True, gc=False):
    """A decoded body.

    Attributes:
        value: the JSON value, without lone surrogates and with numbers that every database and encoder accepts. A
            document inside a JSON string, or alone in a list, is unwrapped.
        text: the value as strict JSON in UTF-8; None if it cannot be encoded, and for a large body.
        form: how complete it is.
        plain: the start of a body that is not JSON, as text.
        too_large: why only the start was read; None if all was.
    """

    value: Json
    text: bytes | None
    form: Form = Form.COMPLETE
    plain: str = ""
    too_large: str | None = None

    @property
    def fault(self) -> str | None:
        """Why there is no complete JSON value; None if there is one."""
        if self.form is Form.COMPLETE and self.too_large is None:
            return None
        if self.too_large is not None:
            return self.too_large
        match self.form:
            case Form.NONE:
                return "a body that is not JSON" if self.plain else "an empty body"
            case Form.TRUNCATED:
                return "truncated JSON"
            case _:
                return None


def decode(body: bytes, content_type: str = "") -> Decoded:
    """Decode a body; the charset of ``content_type`` counts if the bytes are not UTF-8."""
    return _decode_small(body, content_type) if len(body) <= LARGE_BYTES else _decode_large(body, content_type)


def _decode_small(body: bytes, content_type: str) -> Decoded:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _decode_odd(body, content_type)
    if _has_long_number(body):
        return _decode_odd(body, content_type)  # perhaps a number that lost precision
    if value.__class__ is dict:
        return Decoded(value, body)
    return Decoded(unwrapped(value), body)


def merge_members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """An object; of a duplicate member the last non-empty one counts."""
    members = dict(pairs)
    if len(members) != len(pairs):
        members |= {name: value for name, value in pairs if value not in _EMPTY}
    return members


def _has_long_number(body: bytes) -> bool:
    """Whether a run of digits may be a number beyond 64 bits; see `parse_integer`."""
    return _TWENTY_DIGITS in body.translate(_DIGITS)


def decode_text(text: str) -> Json:
    """The object or list that an API put into a string; None if there is no complete one."""
    if not text.lstrip(BLANKS).startswith(("{", "[")):
        return None
    if len(text) > LARGE_BYTES:
        large = _decode_large(text.encode("utf-8", "replace"), "")
        return large.value if large.form is Form.COMPLETE else None
    found = _read(text)
    return None if found is None else found.value


def _decode_large(body: bytes, content_type: str) -> Decoded:
    """Decode in pieces, see `tracker.domain.lenient_json.large`; on failure, the start counts as truncated JSON."""
    body = _as_utf8(_decompressed(body), content_type)
    too_large: str | None = None
    try:
        lifted = lift(body)
        is_small = is_decoded_at_once(lifted.skeleton)
        found = _decode_small(lifted.skeleton, content_type) if is_small else _decode_dense(lifted.skeleton)
    except TooManyValues as error:
        too_large = str(error)
    except (ValueError, RecursionError):
        pass
    else:
        value = lifted.restore(found.value)
        if isinstance(value, str) and value.strip(BLANKS)[:1] in _OPENINGS:
            value = decode(value.encode("utf-8", "replace")).value or value
        return Decoded(value, None, found.form, found.plain)
    found = _decode_odd(body[:_BEGINNING_BYTES], "")
    return Decoded(found.value, None, Form.NONE if found.form is Form.NONE else Form.TRUNCATED, found.plain, too_large)


def _decode_dense(skeleton: bytes) -> Decoded:
    """A document of many values; raises ValueError or RecursionError."""
    if not skeleton[:_PIECE_BYTES].lstrip().startswith((b"{", b"[")):
        raise ValueError("not JSON")
    text = without_surrogates(skeleton.decode("utf-8", "replace").strip(BLANKS))
    decoder = slow(json.JSONDecoder(strict=False, parse_int=parse_integer, parse_constant=parse_constant))
    value, _ = decoder.raw_decode(text)
    return Decoded(unwrapped(value), None)


def _as_utf8(body: bytes, content_type: str) -> bytes:
    """A large body in an encoding in which its quotes can be found, converted piece by piece."""
    head = body[:4]
    codec = next((codec for mark, codec in _MARKS if body.startswith(mark)), None)
    codec = codec or next((codec for pattern, codec in _WIDE if pattern.match(head)), None)
    if codec is not None:
        return _converted(body, codec, "replace").removeprefix(codecs.BOM_UTF8)
    for codec in dict.fromkeys(filter(None, ("utf_8", _charset_of(content_type), *_GUESSES))):
        try:
            return _converted(body, codec, "strict").removeprefix(codecs.BOM_UTF8)
        except (LookupError, UnicodeError):
            continue
    return body


def _converted(body: bytes, codec: str, errors: str) -> bytes:
    decoder = codecs.getincrementaldecoder(codec)(errors)
    pieces = (body[start : start + _PIECE_BYTES] for start in range(0, len(body), _PIECE_BYTES))
    converted = b"".join([b"" if codec == "utf_8" else text.encode() for text in map(decoder.decode, pieces)])
    decoder.decode(b"", final=True)
    return body if codec == "utf_8" else converted


def _decode_odd(body: bytes, content_type: str) -> Decoded:
    body = _decompressed(body)
    bare = body.removeprefix(codecs.BOM_UTF8).strip(b"\0 \t\r\n")
    if len(bare) != len(body) and bare[:1] == b"{" and not _has_long_number(bare):
        try:
            return Decoded(orjson.loads(bare), bare)  # only a mark or padding was odd
        except orjson.JSONDecodeError:
            pass
    first = ""
    for text in _texts(body, content_type):
        found = _read(text)
        if found is not None:
            return found
        first = first or text
    found = _salvage(first.strip(BLANKS)) if first else None
    return found or Decoded(None, None, Form.NONE, first.strip(BLANKS)[:PLAIN_CHARACTERS])


def _decompressed(body: bytes) -> bytes:
    """Decompress a gzip or zlib body; return any other body unchanged."""
    if not (body.startswith(b"\x1f\x8b") or (body[:1] == b"x" and body[1:2] in {b"\x01", b"^", b"\x9c", b"\xda"})):
        return body
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, MAX_UNPACKED_BYTES)
    except zlib.error:
        return body


def _texts(body: bytes, content_type: str) -> Iterator[str]:
    """The possible texts of a body, most likely first."""
    for mark, codec in _MARKS:
        if body.startswith(mark):
            yield body[len(mark) :].decode(codec, "replace")
            return
    body = body.removeprefix(codecs.BOM_UTF8)
    head = body[:4]
    for pattern, codec in _WIDE:
        if pattern.match(head):
            yield body.decode(codec, "replace")
    declared = _charset_of(content_type)
    guesses: tuple[str, ...] = ()
    try:
        yield body.decode()
    except UnicodeDecodeError:
        guesses = _GUESSES
    for codec in dict.fromkeys(filter(None, (declared, *guesses))):
        try:
            yield body.decode(codec, "replace")
        except (LookupError, UnicodeError):  # a codec of another platform, or one without replacement
            continue


def _charset_of(content_type: str) -> str | None:
    """The codec of a Content-Type; None without one that Python knows."""
    found = _CHARSET.search(content_type)
    if found is None:
        return None
    name = re.sub(r"[^a-z0-9]+", "_", found[1].lower())
    codec = aliases.get(name, name)
    return codec if codec in _CODECS else None


def _read(text: str) -> Decoded | None:
    """The document in a text, with anything around it; None if there is no complete one."""
    text = without_surrogates(text.strip(BLANKS))
    guard = _GUARDS.match(text)
    start = guard.end() if guard else 0
    if not text.startswith(_OPENINGS, start):
        if _STREAM.match(text):
            return _stream(text)
        if _MARKUP.match(text):
            return None
        # before the document: a JavaScript call, or output of an interpreter or web server
        begin = _JSONP.match(text) or _LINE_START.search(text, 0, _LOOK_FOR_START)
        if begin is None:
            return None
        start = begin.end()
    try:
        value, _ = _LENIENT.raw_decode(text, start)  # bytes after the document are ignored
    except (ValueError, RecursionError):
        return None
    return _decoded(value, Form.COMPLETE)


def without_surrogates(text: str) -> str:
    """JSON with U+FFFD instead of lone surrogates, which databases and encoders reject."""
    if "\\ud" not in text and "\\uD" not in text:
        return text
    return _SURROGATE.sub(lambda found: "\\ufffd" if found["lone"] else found[0], text)


def _salvage(text: str) -> Decoded | None:
    """The readable part of a document with broken syntax or without an end."""
    guard = _GUARDS.match(text)
    broken = parse_broken(text, guard.end() if guard else 0) if guard or text.startswith(_OPENINGS) else None
    return None if broken is None else _decoded(broken.value, Form.TRUNCATED if broken.is_truncated else Form.COMPLETE)


def _decoded(value: Json, form: Form) -> Decoded:
    try:
        written = orjson.dumps(value)
    except orjson.JSONEncodeError:  # nested too deeply
        written = None
    return Decoded(unwrapped(value), written, form)


def _stream(text: str) -> Decoded | None:
    """The merged fields of all events of a stream; None if no event is an object."""
    fields: dict[str, Json] = {}
    events = _BETWEEN_EVENTS.split(text)
    for event in events if len(events) <= _MAX_EVENTS else events[: _MAX_EVENTS // 2] + events[-_MAX_EVENTS // 2 :]:
        lines = [line[5:].removeprefix(" ") for line in event.splitlines() if line.startswith("data:")]
        try:
            value = _LENIENT.decode("\n".join(lines))
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            fields |= value
    return _decoded(fields, Form.STREAM) if fields else None


def unwrapped(value: Json) -> Json:
    """Unwrap a document inside a JSON string, or alone in a list; return anything else unchanged."""
    for _ in range(_MAX_WRAPPINGS):
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            value = value[0]
        elif isinstance(value, str) and value.strip(BLANKS)[:1] in {"{", "[", '"'}:
            try:
                value = _LENIENT.decode(without_surrogates(value.strip(BLANKS)))
            except (ValueError, RecursionError):
                return value
        else:
            break
    return value


def parse_integer(text: str) -> int | str:
    """An integer; as text beyond 64 bits, since databases and encoders reject it as a number."""
    if len(text) < 19:  # noqa: PLR2004 - digits of 2^63
        return int(text)
    if len(text) > 20:  # noqa: PLR2004 - digits of 2^64
        return text
    number = int(text)
    return number if -(2**63) <= number < 2**64 else text


def parse_constant(_: str) -> None:
    """NaN and Infinity become null."""


_LENIENT = json.JSONDecoder(
    object_pairs_hook=merge_members, strict=False, parse_int=parse_integer, parse_constant=parse_constant
)
