"""What a file is, by its first bytes: servers mislabel what they serve, and error texts come with status 200.

Owns the signatures and the extension of each media type, and the test for text. Must not read files.

Source: https://mimesniff.spec.whatwg.org/ and https://www.iana.org/assignments/media-types (read 2026-11); ISO base
media files tell their brand at byte 8 (https://mp4ra.org/registered-types/brands).
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import Final

HEAD_BYTES: Final = 512
"""So many first bytes are looked at."""
UNKNOWN: Final = "application/octet-stream"

_EXTENSIONS: Final = {
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "video/mpeg": "mpg",
    "video/x-msvideo": "avi",
    "video/mp2t": "ts",
    "video/3gpp": "3gp",
    "video/ogg": "ogv",
    "video/x-flv": "flv",
    "video/x-ms-asf": "wmv",
    "video/x-yuv4mpeg": "y4m",
    "image/x-portable-anymap": "pnm",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/mp4": "m4a",
    "audio/aac": "aac",
    "audio/aiff": "aiff",
    "audio/midi": "mid",
    "audio/amr": "amr",
    "audio/x-caf": "caf",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/heic": "heic",
    "image/bmp": "bmp",
    "image/tiff": "tiff",
    "image/jxl": "jxl",
    "image/x-icon": "ico",
    "image/vnd.adobe.photoshop": "psd",
    "image/svg+xml": "svg",
    "application/pdf": "pdf",
    "application/zip": "zip",
    "application/gzip": "gz",
    "application/zstd": "zst",
    "application/x-xz": "xz",
    "application/x-bzip2": "bz2",
    "application/x-7z-compressed": "7z",
    "application/vnd.rar": "rar",
    "application/json": "json",
    "application/x-subrip": "srt",
    "model/gltf-binary": "glb",
    "text/plain": "txt",
    "text/vtt": "vtt",
    "text/html": "html",
    "application/xml": "xml",
}
_ALIASES: Final = {
    "audio/mp3": "audio/mpeg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/x-m4a": "audio/mp4",
    "audio/x-aac": "audio/aac",
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "text/xml": "application/xml",
    "audio/x-aiff": "audio/aiff",
    "audio/opus": "audio/ogg",
    "video/x-m4v": "video/mp4",
    "video/avi": "video/x-msvideo",
    "video/x-ms-wmv": "video/x-ms-asf",
    "video/mp2ts": "video/mp2t",
    "image/vnd.microsoft.icon": "image/x-icon",
    "application/x-gzip": "application/gzip",
    "application/x-zip-compressed": "application/zip",
}
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
"""Segments of a stream that were put together begin with one of these."""
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
"""Bytes that no text in an encoding that extends ASCII has."""
_WIDE: Final = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_NOT_IN_TEXT: Final = frozenset({"Cc", "Cn", "Co", "Cs"})
"""Categories of characters: controls, unassigned, private, halves of a pair."""
SHORTEST_BYTES: Final = 64
"""Unknown bytes below this length are not media."""
_MEDIA: Final = frozenset({"video", "audio", "image"})
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
    """The media type that the first bytes show, None when they show none.

    Args:
        head: the first `HEAD_BYTES` of the file, or all of a shorter one.
    """
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
    """Audio that begins with a frame, by the frame's header; None for what only resembles one.

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
    """Whether the first bytes are text: in any script, in any encoding that extends ASCII, in UTF-16 or UTF-32.

    Args:
        head: see `sniff`.

    Source: https://mimesniff.spec.whatwg.org/#rules-for-text-or-binary (read 2026-11).
    """
    shown = sniff(head) or ""
    if shown[:6] in {"video/", "audio/", "image/"} and shown != "image/svg+xml":
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
    """The media type of a file: what it shows, else what the server declared, else what the provider stated.

    A server that has no type for a file may declare text; it counts where the bytes are text.
    """
    shown = sniff(head)
    claims = [_canonical(declared), _canonical(stated)]
    if shown == "application/xml" and "image/svg+xml" in claims and b"<error" not in head.lower():
        return "image/svg+xml"  # with so long a comment that its element comes later
    if shown is not None:
        return shown
    for mime in claims:
        if mime in _EXTENSIONS and not (mime in _PAGES and not is_text(head)):
            return mime
    return UNKNOWN


def is_no_file(kind: str, mime: str) -> bool:
    """Whether a body of this type cannot be an output of this kind: an error page, an error message, an archive."""
    return kind in _MEDIA and mime in _NOT_MEDIA


def find_objection(kind: str, mime: str, head: bytes, size: int, stated: str | None = None) -> str | None:
    """Why a file cannot be the output that it was fetched as; None when it may be.

    A picture in the place of a video passes, under its own type: it is media, and nothing else may ever come.

    Args:
        kind: of the output.
        mime: the file's type, see `mime_of`.
        head: see `sniff`.
        size: of the whole file, bytes.
        stated: the media type that the provider states.
    """
    if not size:
        return "an empty file"
    if kind in _MEDIA and is_text(head) and not (kind == "image" and mime == "image/svg+xml"):
        mime = mime if mime in _PAGES else "text/plain"
    promised = _canonical(stated)
    is_page = mime in _PAGES and promised in _EXTENSIONS and promised not in _PAGES and promised[:5] != "text/"
    if is_no_file(kind, mime) or (is_page and sniff(head) == mime):
        return f"a body of type {mime} in the place of a file of kind {kind}"
    if kind in _MEDIA and size < SHORTEST_BYTES and sniff(head) is None:
        return f"{size} bytes of no known type in the place of a file of kind {kind}"
    return None


def extension_of(mime: str) -> str:
    """The usual extension of a media type, without a dot; ``bin`` for one that is not known."""
    return _EXTENSIONS.get(mime, "bin")


def _canonical(claim: str | None) -> str:
    mime = (claim or "").partition(";")[0].strip().lower()
    return _ALIASES.get(mime, mime)
