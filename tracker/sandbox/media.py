"""The output files of finished jobs: small, valid, and the same for the same job and number.

Owns the sample files in ``samples`` and the mark that makes them different. Must not know about jobs, URLs or HTTP:
it makes bytes from a subject and a number.

Each sample holds `_MARK` once, where players ignore it: in a ``free`` box (MP4, ISO/IEC 14496-12), an ID3v2 title
(MP3), an ``INFO`` comment (WAV), a ``tEXt`` chunk (PNG, ISO/IEC 15948). A digest of the same length replaces it, so
neither sizes nor offsets change; only a PNG chunk has a checksum.
"""

from __future__ import annotations

import hashlib
import zlib
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

_SAMPLES = Path(__file__).parent / "samples"
_MARK = b"sandbox:job-and-number:012345678"
_CHECKSUM_BYTES = 4
_PNG_COMMENT = b"tEXtComment\0"


class Media(StrEnum):
    """A kind of file the sandbox can make; the value is the file name's extension."""

    MP4 = "mp4"
    MP3 = "mp3"
    WAV = "wav"
    PNG = "png"

    @property
    def content_type(self) -> str:
        """The Content-Type of this kind of file."""
        return _CONTENT_TYPES[self]


_CONTENT_TYPES = {
    Media.MP4: "video/mp4",
    Media.MP3: "audio/mpeg",
    Media.WAV: "audio/wav",
    Media.PNG: "image/png",
}


@lru_cache(maxsize=256)
def make_media(media: Media, subject: str, n: int) -> bytes:
    """Make one file.

    Args:
        media: What kind of file.
        subject: What the mark is derived from, a job id.
        n: Which of the subject's files, from 0.

    Returns:
        The file's bytes, equal for equal arguments in every process.
    """
    before, _, after = (_SAMPLES / f"sample.{media.value}").read_bytes().partition(_MARK)
    mark = hashlib.blake2b(f"{subject}/{n}".encode(), digest_size=len(_MARK) // 2).hexdigest().encode()
    if media is Media.PNG:
        after = zlib.crc32(_PNG_COMMENT + mark).to_bytes(_CHECKSUM_BYTES, "big") + after[_CHECKSUM_BYTES:]
    return before + mark + after
