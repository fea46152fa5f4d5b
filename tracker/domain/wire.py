"""Requests to an upstream and its answers, as plain data: what providers write and read, and the client carries."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

UNREADABLE_KEPT_BYTES = 2048
"""So much of a body that is not JSON is kept for inspection."""

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


class AuthStyle(StrEnum):
    """Which header carries the account's key.

    Source: https://anyint.ai/docs/api-reference/anthropic-compatible (``x-api-key``); every other family takes
    ``Authorization: Bearer``.
    """

    BEARER = "bearer"
    X_API_KEY = "x-api-key"


@dataclass(frozen=True, slots=True)
class WireRequest:
    """One HTTP request to an account's upstream, without its key.

    Attributes:
        method: ``GET`` or ``POST``.
        path: absolute path below the account's base URL, already percent-encoded, without a query.
        query: query parameters, not yet encoded.
        headers: further headers; never a key.
        body: JSON body as bytes, None for none.
        auth: how the client adds the account's key.
        answer_within_s: seconds until the whole answer must have been read.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    auth: AuthStyle = AuthStyle.BEARER
    answer_within_s: float = 30.0


@dataclass(frozen=True, slots=True)
class WireReply:
    """A complete HTTP answer.

    Attributes:
        status: HTTP status code.
        headers: header names in lower case.
        body: the decoded body, whole.
        received_at: when it had arrived.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    received_at: datetime | None = None


def whole_characters(raw: bytes) -> bytes:
    r"""JSON without half characters in its strings, for the decoder and for the store, which take none.

    JavaScript writes a title that was cut in the middle of an emoji as ``"\ud83d"``. RFC 8259 (section 8.2) calls that
    JSON, and a paid result must not be lost over it; no text of ours can hold it, so U+FFFD takes its place.

    Args:
        raw: JSON as it came, UTF-8; the very same bytes come back when there is nothing to mend.
    """
    if rb"\ud" not in raw and rb"\uD" not in raw:
        return raw
    whole = _ESCAPE.sub(lambda found: rb"\ufffd" if found["half"] else found[0], raw)
    return raw if whole == raw else whole


def payload_text(body: bytes, redact: Callable[[bytes], str]) -> str | None:
    """An upstream body as the JSON text that is kept with an event.

    Args:
        body: as it came.
        redact: masks secrets in a JSON text.

    Returns:
        JSON text; the beginning of the body as a JSON string when it is not JSON; None when it is empty.
    """
    if not body.strip():
        return None
    body = whole_characters(body)
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        head = redact(body[:UNREADABLE_KEPT_BYTES])
        return orjson.dumps({"not_json": head}).decode()
    return redact(body)
