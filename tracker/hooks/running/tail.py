"""The end of what a hook said, as text that every database takes."""

from __future__ import annotations

TAIL_BYTES = 8 * 1024
"""What is kept."""


class Tail:
    """Takes in bytes and keeps the last of them."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def add(self, data: bytes) -> None:
        """Take in more."""
        self._kept += data
        # one byte more than is kept tells `text` that something was cut
        del self._kept[: -TAIL_BYTES - 1]

    def text(self) -> str | None:
        """The last 8 KiB, None when nothing came."""
        kept = bytes(self._kept[-TAIL_BYTES:])
        if len(self._kept) > TAIL_BYTES:
            # the cut may have split a character: at most three bytes of its rest stand at the beginning
            rest = next((n for n, byte in enumerate(kept[:4]) if byte & 0xC0 != 0x80), 0)  # noqa: PLR2004 - how UTF-8 marks the rest of a character
            kept = kept[rest:]
        return kept.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}") or None


def tail_text(text: str) -> str | None:
    """The last 8 KiB of a text, None when it is empty."""
    tail = Tail()
    tail.add(text.encode("utf-8", "replace"))
    return tail.text()
