"""Bodies from outside: read, and made into the texts that are stored of them; large ones beside the event loop.

Owns where and in what order that is done: read, inline data taken out, secrets masked, encoded. A call into C holds the
interpreter lock on any thread, so large bodies are worked on in pieces (`tracker.domain.lenient_json.large`,
the redactor's windows). Only one is worked on at a time, to bound the memory and the share of the processor that they
take. Must not know what a body means.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import orjson
from msgspec.structs import replace

from tracker.domain.lenient_json.decoder import Form
from tracker.domain.lenient_json.large import LARGE_BYTES, encode_large
from tracker.domain.outputs import any_inline_data, identify_inline_data, strip_payload_data, strip_payload_text
from tracker.domain.upstream_http import UNREADABLE_STORED_BYTES, payload_text
from tracker.logs import MASK

if TYPE_CHECKING:
    from tracker.domain.lenient_json.decoder import Decoded
    from tracker.domain.observation import Payload, Reading
    from tracker.logs import Redactor

T = TypeVar("T")

BEGINNING_CHARS = 16_384
"""So much is stored of a body that anybody may have sent."""


class Payloads:
    """Works on bodies.

    Args:
        redactor: masks secrets.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._turn = asyncio.Lock()

    async def run(self, size: int, work: Callable[[], T]) -> T:
        """Do work on a body: here and now for a small one, on a thread for a large one, one after the other.

        Args:
            size: of the body, bytes.
            work: what to do.
        """
        if size <= LARGE_BYTES:
            return work()
        async with self._turn:
            return await asyncio.to_thread(work)

    async def read(
        self, body: bytes, read: Callable[[], Reading], decoded: Callable[[], Decoded]
    ) -> tuple[Reading, Payload]:
        """Read a body.

        Args:
            body: as it came.
            read: makes a reading of it.
            decoded: gives the decoded body, which nobody else needs afterwards.

        Returns:
            The reading, and the payload of its observation. Of a small body that is a function, called only if the
            observation is recorded; the text of a large one is made here, since it would hold up the writer.
        """

        def work() -> tuple[Reading, Payload]:
            reading = read()
            if any_inline_data(reading.outputs):
                reading = replace(reading, outputs=identify_inline_data(reading.outputs))
            if len(body) > LARGE_BYTES:
                return reading, self._large_text(body, decoded(), reading)
            return reading, lambda: self.text(body, decoded(), reading)

        return await self.run(len(body), work)

    def text(self, body: bytes, decoded: Decoded, reading: Reading) -> str | None:
        """The JSON text that is stored with an event: without secrets, and without the data that the outputs hold.

        Args:
            body: as it came, at most `LARGE_BYTES`.
            decoded: the same.
            reading: what was read from it.

        Returns:
            JSON text: of a body that is not JSON its beginning as a string, of one that must not be shown its digest;
            None when it is empty.
        """
        text = payload_text(body, self._redactor.json_text, decoded)
        return text if text is None else strip_payload_text(text, reading.outputs)

    def redact(self, body: bytes) -> str:
        """Mask secrets in a short JSON text, or in a text of another kind."""
        return self._redactor.json_text(body)

    def beginning(self, body: bytes) -> str:
        """The text that is stored of a body that anybody may have sent: its beginning, without secrets.

        It is cut before it is masked, since the cost of masking all of it is not known; what the cut goes through
        is left out.
        """
        if len(body) <= BEGINNING_CHARS:
            return payload_text(body, self._redactor.json_text) or ""
        return self._head(body, BEGINNING_CHARS)

    def _large_text(self, body: bytes, decoded: Decoded, reading: Reading) -> str | None:
        if decoded.form in {Form.TRUNCATED, Form.NONE}:
            return orjson.dumps({"not_json": self._head(body, UNREADABLE_STORED_BYTES)}).decode()
        try:
            value = self._redactor.value(strip_payload_data(decoded.value, reading.outputs))
            if value != MASK:
                return encode_large(value)
        except (ValueError, RecursionError):
            pass  # nested too deeply to be written
        return orjson.dumps({"not_shown": {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}}).decode()

    def _head(self, body: bytes, length: int) -> str:
        return self._redactor.head(body[: 16 * length].decode("utf-8", "replace"), length)
