"""What a file is, by its first bytes: servers mislabel what they serve, and error pages come with status 200.

Owns the signatures and the extension of each media type. Must not read files.

Source: https://mimesniff.spec.whatwg.org/ and https://www.iana.org/assignments/media-types (read 2026-11); ISO base
media files tell their brand at byte 8 (https://mp4ra.org/registered-types/brands).
"""

from __future__ import annotations

import re
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
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/mp4": "m4a",
    "audio/aac": "aac",
    "audio/aiff": "aiff",
    "audio/midi": "mid",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/heic": "heic",
    "image/bmp": "bmp",
    "image/tiff": "tiff",
    "image/svg+xml": "svg",
    "application/pdf": "pdf",
    "application/zip": "zip",
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
    "application/x-zip-compressed": "application/zip",
}
_STARTS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"MThd", "audio/midi"),
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"\x00\x00\x01\xb3", "video/mpeg"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"glTF", "model/gltf-binary"),
    (b"WEBVTT", "text/vtt"),
)
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
}
_PAGE: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body|script)\b", re.IGNORECASE)
_SVG: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*|<!doctype svg[^>]*>\s*)*<svg\b", re.IGNORECASE
)
_XML: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml\b|Error>)")
_JSON: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*[{\[]\s*(?:[\"{\[\]}]|$)")
_MPEG_AUDIO: Final = 0xE0


def sniff(head: bytes) -> str | None:
    """The media type that the first bytes show, None when they show none.

    Args:
        head: the first `HEAD_BYTES` of the file, or all of a shorter one.
    """
    for start, mime in _STARTS:
        if head.startswith(start):
            return mime
    if head[:4] in {b"RIFF", b"RIFX"}:
        return _RIFF.get(head[8:12])
    if head[:4] == b"FORM" and head[8:12] in {b"AIFF", b"AIFC"}:
        return "audio/aiff"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0":
        return "image/bmp"
    if len(head) > 1 and head[0] == 0xFF and head[1] & _MPEG_AUDIO == _MPEG_AUDIO:  # noqa: PLR2004 - the sync word
        return "audio/mpeg" if head[1] & 6 else "audio/aac"
    for pattern, mime in ((_SVG, "image/svg+xml"), (_PAGE, "text/html"), (_XML, "application/xml")):
        if pattern.match(head):
            return mime
    return "application/json" if _JSON.match(head) else None


def mime_of(head: bytes, declared: str | None, stated: str | None) -> str:
    """The media type of a file: what it shows, else what the server declared, else what the provider stated."""
    shown = sniff(head)
    if shown is not None:
        return shown
    for claim in (declared, stated):
        mime = _canonical(claim)
        if mime in _EXTENSIONS:
            return mime
    return UNKNOWN


def is_no_file(kind: str, mime: str) -> bool:
    """Whether a body of this type cannot be an output of this kind: an error page, an error message."""
    talk = {"text/html", "application/xml", "application/json", "text/plain"}
    return kind in {"video", "audio", "image"} and mime in talk


def extension_of(mime: str) -> str:
    """The usual extension of a media type, without a dot; ``bin`` for one that is not known."""
    return _EXTENSIONS.get(mime, "bin")


def _canonical(claim: str | None) -> str:
    mime = (claim or "").partition(";")[0].strip().lower()
    return _ALIASES.get(mime, mime)
