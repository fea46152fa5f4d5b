"""A small, playable MP4 written by hand: ISO base media boxes around H.264 intra frames.

Owns the boxes and the elementary stream. Every macroblock is coded as I_PCM (raw samples, ITU-T H.264
section 7.3.5), which needs no encoder and yet is what every H.264 decoder, browsers included, must
accept; MJPEG or PCM tracks in MP4 are not. Must not know about jobs, URLs or HTTP.

Source: ISO/IEC 14496-12 (boxes), ISO/IEC 14496-15 (avcC), ITU-T H.264 sections 7.3 and 9.1.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

MACROBLOCK = 16
TIMESCALE = 1000
_I_PCM = 25  # mb_type of a raw macroblock in an I slice
_IDENTITY_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)

Colour = tuple[int, int, int]
"""One flat YCbCr colour, each component 16..235 (video range)."""


class _Bits:
    """Writes the bit syntax of H.264: fixed-width and Exp-Golomb codes."""

    def __init__(self) -> None:
        self._bits: list[str] = []

    def u(self, width: int, value: int) -> None:
        self._bits.append(f"{value:0{width}b}")

    def ue(self, value: int) -> None:
        code = f"{value + 1:b}"
        self._bits.append("0" * (len(code) - 1) + code)

    def aligned(self) -> bytes:
        """Zero bits up to the next byte: pcm_alignment_zero_bit."""
        text = "".join(self._bits)
        text += "0" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")

    def trailing(self) -> bytes:
        """Everything written, closed by rbsp_trailing_bits."""
        self._bits.append("1")
        return self.aligned()


def _nal(header: int, payload: bytes) -> bytes:
    """One NAL unit; 0x03 is inserted wherever the payload would look like a start code."""
    return bytes([header]) + re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", payload)


def _sequence_parameters(columns: int, rows: int) -> bytes:
    bits = _Bits()
    bits.u(8, 66)  # profile_idc: Baseline
    bits.u(8, 0b11000000)  # also decodable as Constrained Baseline
    bits.u(8, 30)  # level 3.0: room for uncompressed frames
    for value in (0, 0, 2, 1):  # id, frame_num width - 4, picture order = decoding order, one reference
        bits.ue(value)
    bits.u(1, 0)  # no gaps in frame_num
    bits.ue(columns - 1)
    bits.ue(rows - 1)
    bits.u(4, 0b1100)  # progressive, direct_8x8, no cropping, no VUI
    return _nal(0x67, bits.trailing())


def _picture_parameters() -> bytes:
    bits = _Bits()
    for value in (0, 0):  # this set, its sequence set
        bits.ue(value)
    bits.u(2, 0)  # CAVLC, no bottom-field order
    for value in (0, 0, 0):  # one slice group, one reference in either list
        bits.ue(value)
    bits.u(3, 0)  # no weighted prediction
    for value in (0, 0, 0):  # QP, QS and chroma offsets
        bits.ue(value)
    bits.u(3, 0b100)  # deblocking is controlled per slice
    return _nal(0x68, bits.trailing())


def _frame(index: int, blocks: Sequence[Colour]) -> bytes:
    """One IDR picture whose macroblocks are flat colours."""
    bits = _Bits()
    for value in (0, 7, 0):  # first macroblock, all slices are I, picture set
        bits.ue(value)
    bits.u(4, 0)  # frame_num
    bits.ue(index % 2)  # idr_pic_id differs between neighbours
    bits.u(2, 0)  # dec_ref_pic_marking
    bits.ue(0)  # slice_qp_delta
    bits.ue(1)  # deblocking off
    payload = b""
    for luma, blue, red in blocks:
        bits.ue(_I_PCM)
        payload += bits.aligned() + bytes([luma]) * 256 + bytes([blue]) * 64 + bytes([red]) * 64
        bits = _Bits()
    return _nal(0x65, payload + bits.trailing())


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def _full(kind: bytes, flags: int, *parts: bytes) -> bytes:
    return _box(kind, struct.pack(">I", flags), *parts)


def _sample_entry(width: int, height: int) -> bytes:
    sps, pps = _sequence_parameters(width // MACROBLOCK, height // MACROBLOCK), _picture_parameters()
    config = bytes([1, sps[1], sps[2], sps[3], 0xFF, 0xE1])
    config += struct.pack(">H", len(sps)) + sps + b"\x01" + struct.pack(">H", len(pps)) + pps
    return _box(
        b"avc1",
        bytes(6) + struct.pack(">H", 1) + bytes(16),
        struct.pack(">HHIIIH", width, height, 0x480000, 0x480000, 0, 1),
        bytes(32) + struct.pack(">Hh", 24, -1),
        _box(b"avcC", config),
    )


def _movie(width: int, height: int, sizes: Sequence[int], frame_ms: int, first_sample: int) -> bytes:
    length = frame_ms * len(sizes)
    table = _box(
        b"stbl",
        _full(b"stsd", 0, struct.pack(">I", 1), _sample_entry(width, height)),
        _full(b"stts", 0, struct.pack(">III", 1, len(sizes), frame_ms)),
        _full(b"stsc", 0, struct.pack(">IIII", 1, 1, len(sizes), 1)),
        _full(b"stsz", 0, struct.pack(f">II{len(sizes)}I", 0, len(sizes), *sizes)),
        _full(b"stco", 0, struct.pack(">II", 1, first_sample)),
    )
    media = _box(
        b"mdia",
        _full(b"mdhd", 0, struct.pack(">IIIIHH", 0, 0, TIMESCALE, length, 0x55C4, 0)),
        _full(b"hdlr", 0, bytes(4) + b"vide" + bytes(12) + b"video\0"),
        _box(
            b"minf",
            _full(b"vmhd", 1, bytes(8)),
            _box(b"dinf", _full(b"dref", 0, struct.pack(">I", 1), _full(b"url ", 1))),
            table,
        ),
    )
    header = struct.pack(">IIII", 0, 0, TIMESCALE, length) + struct.pack(">IH10x", 0x10000, 0x100)
    track = struct.pack(">IIIII", 0, 0, 1, 0, length) + bytes(16) + _IDENTITY_MATRIX
    return _box(
        b"moov",
        _full(b"mvhd", 0, header, _IDENTITY_MATRIX, bytes(24), struct.pack(">I", 2)),
        _box(
            b"trak",
            _full(b"tkhd", 3, track, struct.pack(">II", width << 16, height << 16)),
            media,
        ),
    )


def write_mp4(frames: Sequence[Sequence[Colour]], *, columns: int, frame_ms: int = 500) -> bytes:
    """Write an MP4 file that shows flat-coloured macroblocks.

    Args:
        frames: For each frame its macroblock colours, row by row; all frames equally long.
        columns: Macroblocks per row; a macroblock is 16 by 16 pixels.
        frame_ms: How long each frame is shown, milliseconds.

    Returns:
        The whole file, its index (moov) before its data, so that it plays while it downloads.
    """
    width, height = columns * MACROBLOCK, len(frames[0]) // columns * MACROBLOCK
    samples = []
    for index, blocks in enumerate(frames):
        nal = _frame(index, blocks)
        samples.append(struct.pack(">I", len(nal)) + nal)
    sizes = [len(sample) for sample in samples]
    brands = _box(b"ftyp", b"isom" + struct.pack(">I", 0x200) + b"isomiso2avc1mp41")
    # The index holds the data's place and comes before it; its length does not depend on that place.
    start = len(brands) + len(_movie(width, height, sizes, frame_ms, 0)) + 8
    return brands + _movie(width, height, sizes, frame_ms, start) + _box(b"mdat", *samples)
