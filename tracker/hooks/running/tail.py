"""The end of a hook's output, as text that every database accepts."""

from __future__ import annotations

TAIL_BYTES = 8 * 1024
"""The length of a tail."""


class Tail:
    """Collects bytes and drops all but the last."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, data: bytes) -> None:
        """Append more."""
        self._bytes += data
        # one byte more shows `text` that something was cut
        del self._bytes[: -TAIL_BYTES - 1]

    def text(self) -> str | None:
        """The last 8 KiB; None if it is empty."""
        tail = bytes(self._bytes[-TAIL_BYTES:])
        if len(self._bytes) > TAIL_BYTES:
            # the cut may have split a character: up to three bytes at the beginning are its rest
            rest = next((n for n, byte in enumerate(tail[:4]) if byte & 0xC0 != 0x80), 0)  # noqa: PLR2004 - UTF-8 continuation bytes
            tail = tail[rest:]
        return tail.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}") or None


def tail_text(text: str) -> str | None:
    """The last 8 KiB of a text; None if it is empty."""
    return tail_of(text.encode("utf-8", "replace"))


def tail_of(data: bytes) -> str | None:
    """The last 8 KiB of bytes that are complete; None if there are none."""
    tail = Tail()
    tail.add(data)
    return tail.text()
