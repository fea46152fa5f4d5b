"""Read untrusted bodies and make the texts that are stored of them, large ones beside the event loop.

Owns the thread and the order: read, remove inline data, mask secrets, encode. A call into C holds the interpreter lock
on any thread, so large bodies are processed in pieces (`tracker.domain.lenient_json.large`, the redactor's windows),
and one at a time, to limit memory and CPU time. Must not know what a body means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import orjson
from msgspec.structs import replace

from tracker.domain.lenient_json.decoder import Form
from tracker.domain.lenient_json.large import LARGE_BYTES, encode_large
from tracker.domain.nesting import digest, is_too_deep
from tracker.domain.outputs import any_inline_data, identify_inline_data, strip_payload_data, strip_payload_text
from tracker.domain.upstream_http import UNREADABLE_STORED_BYTES, payload_text
from tracker.logs import MASK

if TYPE_CHECKING:
    from tracker.domain.lenient_json.decoder import Decoded
    from tracker.domain.observation import Payload, Reading
    from tracker.logs import Redactor

T = TypeVar("T")

BEGINNING_CHARS = 16_384
"""How much is stored of a body from an unknown sender."""


class Payloads:
    """Processes bodies."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._turn = asyncio.Lock()

    async def run(self, size: int, work: Callable[[], T]) -> T:
        """Process a body of ``size`` bytes: a small one at once, large ones on a thread, one after the other."""
        if size <= LARGE_BYTES:
            return work()
        async with self._turn:
            return await asyncio.to_thread(work)

    def redacted(self, value: object) -> object:
        """Decoded JSON without secrets."""
        return self._redactor.value(value)

    async def read(
        self, body: bytes, read: Callable[[], Reading], decoded: Callable[[], Decoded]
    ) -> tuple[Reading, Payload]:
        """Read a body; ``decoded`` returns the decoded body, which this may change.

        Returns:
            The reading, and the payload of its observation. For a small body it is a function, called only if the
            observation is recorded; the text of a large one is made here, since it would delay the writer.
        """
        return await self.run(len(body), partial(self._read, body, read, decoded))

    def of_small(self, body: bytes, reading: Reading, decoded: Decoded) -> tuple[Reading, Payload]:
        """The same for a body that is not large, and is decoded and read already."""
        assert len(body) <= LARGE_BYTES  # noqa: S101  a larger one would block the event loop
        reading = _identified(reading)
        return reading, partial(self.text, body, decoded, reading)

    def _read(
        self, body: bytes, read: Callable[[], Reading], decoded: Callable[[], Decoded]
    ) -> tuple[Reading, Payload]:
        reading = _identified(read())
        if len(body) > LARGE_BYTES:
            return reading, self._large_text(body, decoded(), reading)
        return reading, lambda: self.text(body, decoded(), reading)

    def text(self, body: bytes, decoded: Decoded, reading: Reading) -> str | None:
        """The JSON text of a small body that is stored with an event: without secrets and the inline data of outputs.

        Of a body that is not JSON, its start as a string; of one that must not be shown, its digest; None if empty.
        """
        if is_too_deep(decoded.value, decoded.text):
            return _not_shown(body)
        text = payload_text(body, self._redactor.json_text, decoded)
        return text if text is None else strip_payload_text(text, reading.outputs)

    def beginning(self, body: bytes) -> str:
        """The start of a body from an unknown sender, for storage, without secrets.

        It is truncated before it is masked, since masking all of it may take long; a secret at the end is omitted.
        """
        if len(body) <= BEGINNING_CHARS:
            return payload_text(body, self._redactor.json_text) or ""
        return self._head(body, BEGINNING_CHARS)

    def _large_text(self, body: bytes, decoded: Decoded, reading: Reading) -> str | None:
        if decoded.form in {Form.TRUNCATED, Form.NONE}:
            return orjson.dumps({"not_json": self._head(body, UNREADABLE_STORED_BYTES)}).decode()
        if is_too_deep(decoded.value, decoded.text):
            return _not_shown(body)
        try:
            value = self._redactor.value(strip_payload_data(decoded.value, reading.outputs))
            if value != MASK:
                return encode_large(value)
        except (ValueError, RecursionError):
            pass  # nested too deeply
        return _not_shown(body)

    def _head(self, body: bytes, length: int) -> str:
        return self._redactor.head(body[: 16 * length].decode("utf-8", "replace"), length)


def _not_shown(body: bytes) -> str:
    return orjson.dumps(digest(body)).decode()


def _identified(reading: Reading) -> Reading:
    """The reading with the identity of inline data, which is computed only once."""
    if not any_inline_data(reading.outputs):
        return reading
    return replace(reading, outputs=identify_inline_data(reading.outputs))
