"""HTTP requests to upstreams and their answers, as plain data for providers and the client."""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import orjson
from msgspec import Struct, field

from tracker.domain.lenient_json.decoder import Decoded, Form, decode
from tracker.domain.lenient_json.members import decode_respelled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

UNREADABLE_STORED_BYTES = 2048
"""How much of a body that is not JSON is stored for inspection."""


class AuthStyle(StrEnum):
    """The header with the account's key.

    Source: https://anyint.ai/docs/api-reference/anthropic-compatible (``x-api-key``); every other family uses
    ``Authorization: Bearer``.
    """

    BEARER = "bearer"
    X_API_KEY = "x-api-key"


KEY = "{key}"
"""Where the key stands in the value of an `AuthHeader`."""


class AuthHeader(NamedTuple):
    """Another header with the account's key, from a provider file: ``Authorization: Key {key}``."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"

    @classmethod
    def parse(cls, text: str) -> AuthHeader:
        """The header that a text describes; the text is valid."""
        name, _, value = text.partition(":")
        return cls(name.strip(), value.strip())

    def with_key(self, key: str) -> tuple[str, str]:
        """Name and value as they are sent."""
        return self.name, self.value.replace(KEY, key)


class WireRequest(Struct, frozen=True):
    """One HTTP request to an account's upstream, without its key.

    Attributes:
        method: ``GET`` or ``POST``.
        path: absolute path below the account's base URL, already percent-encoded, without a query.
        query: query parameters, not yet encoded.
        headers: further headers; never a key.
        body: JSON body as bytes, None for none.
        auth: how the client adds the account's key.
        answer_within_s: seconds until the complete answer must have been read.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    auth: AuthStyle | AuthHeader = AuthStyle.BEARER
    answer_within_s: float = 30.0


class WireReply(Struct, frozen=True, dict=True):
    """A complete HTTP answer: header names in lower case, the body decompressed."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    received_at: datetime | None = None

    @cached_property
    def decoded(self) -> Decoded:
        """The body as JSON, in the charset of its Content-Type; decoded once."""
        return decode(self.body, self.headers.get("content-type", ""))

    @cached_property
    def respelled(self) -> WireReply | None:
        """The same answer with usual member names, see `decode_respelled`; None if nothing changes."""
        value = decode_respelled(self.decoded, self.body)
        return None if value is None else WireReply(self.status, self.headers, value, self.received_at)


def payload_text(body: bytes, redact: Callable[[bytes], str], decoded: Decoded | None = None) -> str | None:
    """The JSON text of an upstream body that is stored with an event.

    Of a body that is not JSON, its start as a JSON string; None if it is empty. ``redact`` masks secrets.
    """
    if not body.strip():
        return None
    found = decode(body) if decoded is None else decoded
    if found.text is not None and found.form is not Form.TRUNCATED:
        return redact(found.text)
    head = found.plain.encode() or body
    return orjson.dumps({"not_json": redact(head[:UNREADABLE_STORED_BYTES])}).decode()
