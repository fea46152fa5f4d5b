"""Read answers that aiohttp rejects, or that end too early, from their raw bytes.

Servers violate HTTP framing: a length that counts characters, a missing last chunk, a duplicate header. Such an answer
may be the only proof that a paid job was accepted, or the result itself. It counts as valid if its body is a complete
JSON object: a body that ends with its closing brace is not truncated. A truncated one may still show an id.

Must not interpret the object.
"""

from __future__ import annotations

import re
import zlib
from http import HTTPStatus
from typing import Final, NamedTuple

from tracker.domain.lenient_json.decoder import Form, decode

_STATUS: Final = re.compile(rb"\s*[A-Za-z]+(?:/[0-9.]+)?[ \t]+([1-9][0-9]{2})\b")
_LINE_AND_EMPTY_LINE: Final = re.compile(rb"\n\r?\n")
_GZIP: Final = b"\x1f\x8b"
_ROUNDS: Final = 3
"""The most layers of compression that are removed."""


class Salvaged(NamedTuple):
    """An answer read from raw bytes, decompressed; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_complete: bool


def read_head(raw: bytes) -> tuple[int, dict[str, str], bytes] | None:
    """Status, headers and body; None without a complete head. Informational responses before it are skipped."""
    start = 0
    while True:
        found = _STATUS.match(raw, start)
        end = _LINE_AND_EMPTY_LINE.search(raw, start)
        if found is None or end is None:
            return None
        if int(found[1]) >= HTTPStatus.OK:
            break
        start = end.end()
    lines = (line.partition(":") for line in raw[start : end.start()].decode("utf-8", "surrogateescape").split("\n"))
    headers = {name.strip().lower(): value.strip() for name, colon, value in lines if colon}
    return int(found[1]), headers, raw[end.end() :]


def salvage(raw: bytes, max_bytes: int) -> Salvaged | None:
    """Read an answer from its raw bytes; None without a JSON object of at most ``max_bytes`` in it."""
    found = read_head(raw)
    if found is None:
        return None
    status, headers, body = found
    candidates = [decompress(candidate, max_bytes) for candidate in (_joined_chunks(body), body) if candidate]
    decoded = [(content, decode(content, headers.get("content-type", ""))) for content in candidates if content]
    for form in (Form.COMPLETE, Form.TRUNCATED):
        for content, document in decoded:
            if document.form is form and isinstance(document.value, dict):
                return Salvaged(status, headers, content, form is Form.COMPLETE)
    return None


def seems_cut(body: bytes) -> bool:
    """Whether a body starts as a JSON object and has unbalanced braces; counts those in strings, too."""
    return body.startswith(b"{") and body.count(b"{") != body.count(b"}")


def is_compressed(body: bytes | bytearray) -> bool:
    """Whether a body is gzip, regardless of its headers; JSON never starts like this."""
    return body.startswith(_GZIP)


def decompress(body: bytes, max_bytes: int) -> bytes | None:
    """Decompress a gzip or deflate body, even a truncated one; return any other body unchanged.

    The first bytes show the compression, not a header. Returns None if the content is larger than ``max_bytes``.
    """
    for _ in range(_ROUNDS):
        if not is_compressed(body) and not body.startswith((b"\x78\x01", b"\x78\x9c", b"\x78\xda")):
            break
        try:
            body = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(body, max_bytes + 1)
        except zlib.error:
            break
    return body if len(body) <= max_bytes else None


def _joined_chunks(body: bytes) -> bytes | None:
    """The content of a chunked body as far as it is readable; None if it is not chunked."""
    pieces: list[bytes] = []
    at = 0
    while (end := body.find(b"\n", at)) >= 0:
        size = body[at:end].partition(b";")[0].strip()
        if not size and pieces:  # the line end after a chunk
            at = end + 1
            continue
        try:
            length = int(size, 16)
        except ValueError:
            break
        if length <= 0:
            break
        pieces.append(body[end + 1 : end + 1 + length])
        at = end + 1 + length
    return b"".join(pieces) if pieces else None
