"""Detect truncated files of formats that declare their length, independent of HTTP.

Only missing bytes count, and only in parts of a known type: many valid files have extra bytes at their end.

Source: ISO/IEC 14496-12 (boxes), https://www.w3.org/TR/png-3/#5Chunk-layout and the RIFF header (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Read = Callable[[int, int], bytes]
"""Reads a file: from a position, so many bytes or what there is."""

_SLACK_BYTES: Final = 64
"""Some encoders count a header twice or omit the last padding."""
_BOXES: Final = frozenset({b"ftyp", b"moov", b"mdat", b"moof", b"mfra", b"free", b"skip", b"wide", b"styp", b"sidx"})
_CHUNKS: Final = frozenset({b"IHDR", b"PLTE", b"IDAT"})
_MAX_PARTS: Final = 10_000
"""Fragmented videos have thousands of parts."""
_ENDLESS: Final = 0x7FFF_0000
"""RIFF lengths from here on mean: unknown."""
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_LARGE: Final = 1
"""As a box's size: the size follows in 64 bits."""


def find_truncation(read: Read, size: int, head: bytes) -> str | None:
    """Describe how a file is truncated; None if it is complete, or declares no length.

    Args:
        read: reads the file.
        size: of the file.
        head: its first bytes.
    """
    announced = 0
    if head[:4] == b"RIFF" and head[8:12] in {b"WAVE", b"AVI ", b"WEBP"}:
        length = int.from_bytes(head[4:8], "little")
        announced = 8 + length if length < _ENDLESS else 0
    elif head.startswith(_PNG):
        announced = _end_of_chunks(read, size)
    elif head[4:8] in _BOXES:
        announced = _end_of_boxes(read, size)
    return f"truncated: {size} of {announced} bytes" if announced > size + _SLACK_BYTES else None


def _end_of_boxes(read: Read, size: int) -> int:
    at = 0
    for _ in range(_MAX_PARTS):
        header = read(at, 16)
        length = int.from_bytes(header[:4], "big")
        if length == _LARGE:
            length = int.from_bytes(header[8:16], "big")
        if header[4:8] not in _BOXES or length < 8 or at >= size:  # noqa: PLR2004 - the header itself
            break
        at += length
    return at


def _end_of_chunks(read: Read, size: int) -> int:
    at = len(_PNG)
    for _ in range(_MAX_PARTS):
        header = read(at, 8)
        if header[4:8] not in _CHUNKS or at >= size:
            break
        at += 12 + int.from_bytes(header[:4], "big")
    return at
