"""The files that finished jobs hand out: small, valid, and the same for the same job and number.

Owns the picture, sound and video content and their media types. Must not know about jobs, URLs or HTTP:
it turns (subject, number) into bytes. No external tools, no files on disk.

Source: PNG (ISO/IEC 15948), RIFF WAVE, MPEG-1 Layer III (ISO/IEC 11172-3), see also ``mp4``.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from enum import StrEnum
from functools import lru_cache

from tracker.sandbox.mp4 import Colour, write_mp4

_WAV_RATE = 8000
_PNG_SIDE = 128
_MP4_COLUMNS, _MP4_ROWS, _MP4_FRAMES = 6, 4, 4

# MPEG-1 Layer III, 32 kbit/s, 48 kHz, mono: exactly 96 bytes a frame, 24 ms each, no padding slot ever.
_MP3_HEADER = bytes.fromhex("fffb14c0")
_MP3_FRAME_BYTES = 96
_MP3_FRAMES = 125
_MP3_GAIN = 196  # global_gain; 210 is unit gain, each step a quarter of 6 dB


class Media(StrEnum):
    """A kind of file the sandbox can make; the value is the file name's extension."""

    MP4 = "mp4"
    MP3 = "mp3"
    WAV = "wav"
    PNG = "png"

    @property
    def content_type(self) -> str:
        """The honest Content-Type of this kind of file."""
        return _CONTENT_TYPES[self]


_CONTENT_TYPES = {
    Media.MP4: "video/mp4",
    Media.MP3: "audio/mpeg",
    Media.WAV: "audio/wav",
    Media.PNG: "image/png",
}


def _digest(subject: str, n: int) -> bytes:
    return hashlib.blake2b(f"{subject}/{n}".encode(), digest_size=64).digest()


def _png(subject: str, n: int) -> bytes:
    """A gradient between two colours, 128 by 128, 8-bit RGB."""
    noise = _digest(subject, n)
    start, end = noise[0:3], noise[3:6]
    rows = bytearray()
    for y in range(_PNG_SIDE):
        rows.append(0)  # filter type: none
        for x in range(_PNG_SIDE):
            part = (x + y) / (2 * _PNG_SIDE - 2)
            rows.extend(round(a + (b - a) * part) for a, b in zip(start, end, strict=True))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", _PNG_SIDE, _PNG_SIDE, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(rows), 9))
        + chunk(b"IEND", b"")
    )


def _wav(subject: str, n: int) -> bytes:
    """One second of two sine tones, 8 kHz, 16-bit, mono."""
    noise = _digest(subject, n)
    low, high = 200 + noise[0], 500 + 2 * noise[1]
    samples = bytearray()
    for i in range(_WAV_RATE):
        turn = 2 * math.pi * i / _WAV_RATE
        samples += struct.pack("<h", round(9000 * math.sin(turn * low) + 6000 * math.sin(turn * high)))
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, _WAV_RATE, _WAV_RATE * 2, 2, 16)
    body = b"WAVE" + head + struct.pack("<4sI", b"data", len(samples)) + bytes(samples)
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def _mp3_granule(line: int) -> tuple[int, str]:
    """A granule with one spectral line set: its side information (59 bits) and its Huffman bits.

    Only the count1 region is used, with its fixed-length table B: a quadruple of zeros is 1111, one
    with its v-th value set to 1 has that bit cleared and a sign bit after it.
    """
    quads, place = divmod(line, 4)
    codes = "1111" * quads + "".join("0" if v == place else "1" for v in range(4)) + "0"
    side = (
        f"{len(codes):012b}"  # part2_3_length
        f"{0:09b}{_MP3_GAIN:08b}{0:04b}"  # big_values, global_gain, scalefac_compress
        f"0{0:015b}{0:04b}{0:03b}"  # long blocks: three table_select, region0_count, region1_count
        "001"  # preflag, scalefac_scale, count1table_select = table B
    )
    return int(side, 2), codes


def _mp3(subject: str, n: int) -> bytes:
    """Three seconds of four plucked tones, after an ID3v2 tag that names the subject."""
    noise = _digest(subject, n)
    title = b"\x00" + f"sandbox {subject} #{n}".encode("latin-1")
    frame = struct.pack(">4sIH", b"TIT2", len(title), 0) + title
    size = len(frame)
    synchsafe = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    out = [b"ID3\x03\x00\x00" + synchsafe + frame]
    for i in range(_MP3_FRAMES):
        side, codes = _mp3_granule(5 + noise[i * 4 // _MP3_FRAMES] % 20)
        # main_data_begin 9, private 5, scfsi 4, then both granules: 136 bits of side information.
        info = (side << 59 | side).to_bytes(17, "big")
        data = codes + codes
        main = int(data + "0" * (-len(data) % 8), 2).to_bytes((len(data) + 7) // 8, "big")
        body = _MP3_HEADER + info + main
        out.append(body + bytes(_MP3_FRAME_BYTES - len(body)))
    return b"".join(out)


def _mp4(subject: str, n: int) -> bytes:
    """Two seconds, 96 by 64 pixels, a field of colours that shifts with every frame."""
    noise = _digest(subject, n)

    def colour(index: int) -> Colour:
        a, b, c = (noise[(index * 3 + k) % len(noise)] for k in range(3))
        return 40 + a % 180, 60 + b % 136, 60 + c % 136

    cells = _MP4_COLUMNS * _MP4_ROWS
    frames = [[colour(cell + shift) for cell in range(cells)] for shift in range(_MP4_FRAMES)]
    return write_mp4(frames, columns=_MP4_COLUMNS)


_MAKERS = {Media.MP4: _mp4, Media.MP3: _mp3, Media.WAV: _wav, Media.PNG: _png}


@lru_cache(maxsize=256)
def make_media(media: Media, subject: str, n: int) -> bytes:
    """Make one file.

    Args:
        media: What kind of file.
        subject: What the content is derived from, a job id.
        n: Which of the subject's files, from 0.

    Returns:
        The file's bytes, equal for equal arguments in every process.
    """
    return _MAKERS[media](subject, n)
