"""Detect the media type of a file from its first bytes: servers mislabel files, and send error pages with status 200.

Owns the signatures of media types, and the test for text. Must not read files.

Source: https://mimesniff.spec.whatwg.org/ and https://www.iana.org/assignments/media-types (read 2026-11); ISO base
media files name their brand at byte 8 (https://mp4ra.org/registered-types/brands).
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import Final

from tracker.domain.media_types import EXTENSIONS, UNKNOWN, canonical_type, is_media, is_safe_inline

HEAD_BYTES: Final = 512
"""How many first bytes are examined."""

_STARTS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"fLaC\0", "audio/flac"),
    (b"fLaC\x80", "audio/flac"),
    (b"OggS\0", "audio/ogg"),
    (b"MThd\0", "audio/midi"),
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"\x00\x00\x01\xb3", "video/mpeg"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"glTF", "model/gltf-binary"),
    (b"WEBVTT", "text/vtt"),
    (b"YUV4MPEG2 ", "video/x-yuv4mpeg"),
    (b"FLV\1", "video/x-flv"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf"),
    (b"#!AMR\n", "audio/amr"),
    (b"#!AMR-WB\n", "audio/amr"),
    (b"caff\0", "audio/x-caf"),
    (b"\0\0\1\0", "image/x-icon"),
    (b"8BPS\0", "image/vnd.adobe.photoshop"),
    (b"\xff\x0a", "image/jxl"),
    (b"\0\0\0\x0cJXL ", "image/jxl"),
    (b"PK\5\6", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"BZh", "application/x-bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\7", "application/vnd.rar"),
)
_MOVIE_ATOMS: Final = frozenset({b"moov", b"mdat", b"wide", b"skip", b"free", b"pnot"})
"""Old QuickTime files begin with one of these."""
_FRAGMENT_ATOMS: Final = frozenset({b"styp", b"moof", b"sidx", b"emsg"})
"""Concatenated segments of a stream begin with one of these."""
_ANYMAP: Final = re.compile(rb"P[1-7]\s+(?:#[^\n]*\n\s*)*(?:\d+\s+\d+\s|WIDTH )")
_TS_PACKET: Final = 188
_RIFF: Final = {b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo", b"WEBP": "image/webp"}
_BRANDS: Final = {
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heic",
    b"msf1": "image/heic",
    b"hevc": "image/heic",
}
_PAGE: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body|script)\b", re.IGNORECASE)
_SVG: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*|<!doctype svg[^>]*>\s*)*<svg\b", re.IGNORECASE
)
_XML: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml\b|Error>)")
_JSON: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*[{\[]\s*(?:[\"{\[\]}]|$)")
_BINARY: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
"""Bytes that do not occur in text in any encoding that extends ASCII."""
_WIDE: Final = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_NOT_IN_TEXT: Final = frozenset({"Cc", "Cn", "Co", "Cs"})
"""Character categories: control, unassigned, private use, surrogate."""
SHORTEST_BYTES: Final = 64
"""Shorter files of an unknown type are not media."""
_PAGES: Final = frozenset({"text/html", "application/xml", "application/json", "text/plain"})
_NOT_MEDIA: Final = _PAGES | {
    "text/vtt",
    "application/zip",
    "application/gzip",
    "application/zstd",
    "application/x-xz",
    "application/x-bzip2",
    "application/x-7z-compressed",
    "application/vnd.rar",
}


def sniff(head: bytes) -> str | None:
    """The media type that the first `HEAD_BYTES` of a file show; None if unknown."""
    for start, mime in _STARTS:
        if head.startswith(start):
            return "video/ogg" if mime == "audio/ogg" and b"\x80theora" in head[:64] else mime
    if head[:4] in {b"RIFF", b"RIFX", b"RF64", b"BW64"}:
        return _RIFF.get(head[8:12])
    if head[:4] == b"FORM" and head[8:12] in {b"AIFF", b"AIFC"}:
        return "audio/aiff"
    if head[4:8] == b"ftyp" and not head[0]:
        brand = head[8:12]
        return _BRANDS.get(brand, "video/3gpp" if brand.startswith((b"3gp", b"3g2")) else "video/mp4")
    if head[4:8] in _MOVIE_ATOMS | _FRAGMENT_ATOMS and (head[0] < ord(" ") or head[4:8] == b"mdat"):
        return "video/mp4" if head[4:8] in _FRAGMENT_ATOMS or b"ftyp" in head else "video/quicktime"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0":
        return "image/bmp"
    if len(head) > 2 * _TS_PACKET and head[0] == head[_TS_PACKET] == head[2 * _TS_PACKET] == ord("G"):
        return "video/mp2t"
    if head.startswith(b"ID3") and len(head) > 3 and head[3] < ord(" "):  # noqa: PLR2004 - the version, not a letter
        return "audio/mpeg"
    return "image/x-portable-anymap" if _ANYMAP.match(head) else _sniff_mpeg_audio(head) or _sniff_page(head)


def _sniff_mpeg_audio(head: bytes) -> str | None:
    """The type of audio that begins with an MPEG or AAC frame, from its header; None for anything else.

    Source: https://www.rfc-editor.org/rfc/rfc3003 names ISO 11172-3, whose 12 bits of sync are followed by the layer;
    https://wiki.multimedia.cx/index.php/ADTS (read 2026-11).
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:  # noqa: PLR2004 - the sync word
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    if layer == 0:
        return "audio/aac" if head[1] & 0xF0 == 0xF0 and head[2] >> 2 & 15 < 13 else None  # noqa: PLR2004 - 13 rates
    is_frame = version != 1 and layer in {1, 2} and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3  # noqa: PLR2004
    return "audio/mpeg" if is_frame else None


def _sniff_page(head: bytes) -> str | None:
    for pattern, mime in ((_SVG, "image/svg+xml"), (_PAGE, "text/html"), (_XML, "application/xml")):
        if pattern.match(head):
            return mime
    return "application/json" if _JSON.match(head) else None


def is_text(head: bytes) -> bool:
    """Whether the first bytes are text in an encoding that extends ASCII, in UTF-16 or in UTF-32.

    Source: https://mimesniff.spec.whatwg.org/#rules-for-text-or-binary (read 2026-11).
    """
    shown = sniff(head) or ""
    if is_safe_inline(shown):
        return False
    if _BINARY.search(head.rstrip(b"\0")) is None:
        return True
    return any(_is_wide_text(head, encoding) for encoding in _WIDE)


def _is_wide_text(head: bytes, encoding: str) -> bool:
    width = 2 if "16" in encoding else 4
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head[: len(head) // width * width])
    except UnicodeDecodeError:
        return False
    return bool(text) and all(
        character in "\t\n\r\f" or unicodedata.category(character) not in _NOT_IN_TEXT for character in text
    )


def mime_of(head: bytes, declared: str | None, stated: str | None) -> str:
    """The media type of a file: by its bytes, else as the server declared, else as the provider stated.

    Servers may declare text for a file of unknown type; that counts only if the bytes are text.
    """
    shown = sniff(head)
    claims = [canonical_type(declared), canonical_type(stated)]
    if shown == "application/xml" and "image/svg+xml" in claims and b"<error" not in head.lower():
        return "image/svg+xml"  # a long comment before the svg element
    if shown is not None:
        return shown
    for mime in claims:
        if mime in EXTENSIONS and not (mime in _PAGES and not is_text(head)):
            return mime
    return UNKNOWN


def is_wrong_type(kind: str, mime: str) -> bool:
    """Whether a file of this type cannot be an output of this kind: an error page, an error message, an archive."""
    return is_media(kind) and mime in _NOT_MEDIA


def find_mismatch(kind: str, mime: str, head: bytes, size: int, stated: str | None = None) -> str | None:
    """Why a file of a type (see `mime_of`) cannot be an output of a kind; None if it can.

    An image instead of a video is accepted under its own type: it is media, and the provider may never send another.
    ``stated`` is the media type that the provider states.
    """
    if not size:
        return "the file is empty"
    if is_media(kind) and is_text(head) and not (kind == "image" and mime == "image/svg+xml"):
        mime = mime if mime in _PAGES else "text/plain"
    promised = canonical_type(stated)
    is_page = mime in _PAGES and promised in EXTENSIONS and promised not in _PAGES and promised[:5] != "text/"
    if is_wrong_type(kind, mime) or (is_page and sniff(head) == mime):
        return f"the file is of type {mime}, expected {kind}"
    if is_media(kind) and size < SHORTEST_BYTES and sniff(head) is None:
        return f"the file has {size} bytes of an unknown type, expected {kind}"
    return None
