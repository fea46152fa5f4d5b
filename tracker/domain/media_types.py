"""Media types and their file extensions: the one table of both.

**Source**: https://www.iana.org/assignments/media-types (read 2026-11).
"""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = "application/octet-stream"
EXTENSIONS: Final = {
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
"""Media type -> its usual extension."""
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
_MEDIA: Final = frozenset({"video", "audio", "image"})
_BY_EXTENSION: Final = {
    "jpeg": "image/jpeg",
    **{extension: mime for mime, extension in EXTENSIONS.items() if mime.partition("/")[0] in _MEDIA},
}


def canonical_type(declared: str | None) -> str:
    """A declared media type without parameters, in lower case, aliases resolved; "" for None."""
    mime = (declared or "").partition(";")[0].strip().lower()
    return _ALIASES.get(mime, mime)


def extension_of(mime: str) -> str:
    """The usual extension of a media type, without a dot; ``bin`` for an unknown type."""
    return EXTENSIONS.get(mime, "bin")


def media_type_of(extension: str) -> str | None:
    """The type of a video, audio or image file with this extension (no dot, any case); None for any other."""
    return _BY_EXTENSION.get(extension.lower())


def is_media(kind_or_mime: str) -> bool:
    """Whether an output's kind or a media type means video, audio or an image."""
    return kind_or_mime.partition("/")[0] in _MEDIA


def is_safe_inline(mime: str) -> bool:
    """Whether a browser may render it inline: video, audio and images, except SVG, which may carry scripts."""
    return is_media(mime) and mime != "image/svg+xml"
