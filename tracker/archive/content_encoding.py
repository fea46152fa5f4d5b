"""Decompress the bodies of downloads, piece by piece.

Owns the decision whether a body is compressed. Requests ask for identity; an object that is stored compressed arrives
compressed nevertheless, and a ``Content-Encoding`` may be wrong: the bytes decide.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from tracker.archive.media import sniff
from tracker.errors import OutputUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE_BYTES: Final = 1 << 20
_INFLATABLE: Final = frozenset({"gzip", "x-gzip", "deflate"})
_STARTS: Final = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
ENCODINGS: Final = _INFLATABLE | {"br", "zstd", "compress"}
"""Names in ``Content-Encoding`` that change the bytes; others, as ``utf-8`` or ``binary``, do not."""


class Decoder:
    """Decodes one body; ``encoding`` is the declared one in lower case, "" for none."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._began = False
        self._inflater: zlib._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress the next piece of the body; raises `OutputUnavailable` if it is damaged or unsupported."""
        if not self._began and data:
            self._began = True
            if self._encoding in _INFLATABLE and data.startswith(_STARTS):
                self._inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
            elif self._encoding == "deflate" and sniff(data) is None:
                self._inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)  # many servers send raw deflate
            elif self._encoding in ENCODINGS - _INFLATABLE and sniff(data) is None:
                raise OutputUnavailable(f"the body is compressed with {self._encoding}, which is not supported")
        if self._inflater is None:
            yield data
            return
        try:
            while data:
                yield self._inflater.decompress(data, PIECE_BYTES)
                data = self._inflater.unconsumed_tail
        except zlib.error as error:
            raise OutputUnavailable(f"the {self._encoding} data is damaged") from error

    def finish(self) -> None:
        """Raise `OutputUnavailable` if the body is truncated."""
        if self._inflater is not None and not self._inflater.eof:
            raise OutputUnavailable(f"the {self._encoding} data is truncated")
