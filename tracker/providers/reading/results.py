"""Outputs that come inside an answer: texts, structured results and base64 data.

Owns how much of a text is kept and which base64 counts as a file. It must not know any family's field names.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

import orjson

from tracker.domain.outputs import plain_base64
from tracker.domain.task import Output
from tracker.errors import PayloadInvalid
from tracker.providers.reading.fields import sole

if TYPE_CHECKING:
    from tracker.providers.route import Json

_MAX_TEXT_LENGTH = 4_000_000
_KINDS = frozenset({"image", "audio", "video"})
_CHUNK = 1 << 20


def find_text_output(value: Json, title: str | None = None) -> Output | None:
    """A text as it came, as an output; None when it is no text or blank."""
    if not isinstance(value, str) or not value.strip():
        return None
    return Output(kind="text", mime="text/plain", text=value[:_MAX_TEXT_LENGTH], title=title)


def json_output(value: Json, title: str) -> Output:
    """A structured result (tool calls, timestamps) as an output: its JSON as text.

    Raises:
        PayloadInvalid: it is nested too deeply to be written.
    """
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise PayloadInvalid(f"{title}: nested too deeply") from error
    return Output(kind="text", mime="application/json", text=text, title=title)


def find_inline_output(data: Json, mime: Json = None, *, kind: str = "file") -> Output | None:
    """Base64 data as an output; None when it is no base64, or empty.

    Args:
        data: base64 in either alphabet, with or without padding.
        mime: the media type as the answer states it; its first half is the kind.
        kind: what it is where no media type tells.
    """
    if not isinstance(data, str):
        return None
    stated = mime.strip().lower() if isinstance(mime, str) and "/" in mime and len(mime) < 100 else None  # noqa: PLR2004
    if data[:5] == "data:":
        return find_data_url_output(data, kind=kind)
    text = plain_base64(data)
    if not text or not _is_base64(text):
        return None
    family = stated.partition("/")[0] if stated else kind
    return Output(kind=family if family in _KINDS else "file", mime=stated, inline=text)


def find_data_url_output(value: Json, *, kind: str) -> Output | None:
    """A ``data:`` URL, which some gateways put where a URL belongs, as an output; None for anything else."""
    value = sole(value)
    if not isinstance(value, str) or value[:64].lstrip()[:5].lower() != "data:":
        return None
    head, _, data = value.lstrip()[5:].partition(",")
    mime, _, encoding = head.lower().partition(";")
    return find_inline_output(data, mime or None, kind=kind) if encoding.endswith("base64") else None


def _is_base64(text: str) -> bool:
    try:
        for start in range(0, len(text), _CHUNK):  # piece by piece: an image of 20 MB is not decoded whole for this
            binascii.a2b_base64(text[start : start + _CHUNK], strict_mode=True)
    except ValueError:
        return False
    return True
