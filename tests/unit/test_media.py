"""What may be archived as a video, an image or a song: media, but not text or truncated files."""

from __future__ import annotations

import gzip
import hashlib
import json

import pytest

from tracker.archive.file_structure import find_truncation
from tracker.archive.media import find_mismatch, is_text, mime_of, sniff
from tracker.domain.media_types import extension_of
from tracker.sandbox.media import Media, make_media

NOISE = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(16))
CHINESE = "签名已过期请重新获取下载地址"
TEXTS = {
    "plain": b"AccessDenied: Request has expired",
    "cdn": b"error code: 1010",
    "utf-8": CHINESE.encode(),
    "utf-8 with a mark": b"\xef\xbb\xbfexpired",
    "gbk": CHINESE.encode("gbk"),
    "big5": "簽名已過期".encode("big5"),
    "shift-jis": "署名の有効期限が切れました".encode("shift_jis"),
    "euc-kr": "서명이 만료되었습니다".encode("euc_kr"),
    "koi8-r": "Подпись устарела".encode("koi8-r"),
    "latin-1": "Accès refusé".encode("latin-1"),
    "utf-16": "<html>gone</html>".encode("utf-16"),
    "utf-16 without a mark": "<html>gone</html>".encode("utf-16-le"),
    "utf-16 big": "expired".encode("utf-16-be"),
    "utf-16 chinese": CHINESE.encode("utf-16-le"),
    "utf-16 chinese with a mark": CHINESE.encode("utf-16"),
    "utf-32": "expired".encode("utf-32"),
    "h1": b"<h1>Access denied</h1>",
    "p": b"<p>Sorry</p>",
    "title": b"<title>404</title>",
    "comment": b"<!-- x --><html><body>gone</body></html>",
    "doctype": b"<!DOCTYPE html><p>",
    "xml": b"<Error><Code>AccessDenied</Code></Error>",
    "json": b'{"error": 1}',
    "json string": b'"expired"',
    "json number": b"404",
    "json null": b"null",
    "playlist": b"#EXTM3U\n#EXT-X-VERSION:3\nhttps://cdn.example/1.ts\n",
    "line": b"\n",
    "blanks": b" \r\n\t ",
    "zero-terminated": b"error: no such key\0",
    "base64": b"AAAAGGZ0eXBtcDQyAAAAAG1wNDJpc29t" * 40,
    "long": b"x" * 5000,
    "terminal": b"\x1b[31merror\x1b[0m",
}
ARCHIVES = {
    "gzip": gzip.compress(b"<html>"),
    "zip": b"PK\x03\x04" + NOISE,
    "zstd": b"\x28\xb5\x2f\xfd" + NOISE,
    "7z": b"7z\xbc\xaf\x27\x1c" + NOISE,
}
MEDIA = {
    "video/mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
    "video/3gpp": b"\0\0\0\x14ftyp3gp4\0\0\0\0isom",
    "video/quicktime": b"\0\0\0\x08wide\0\0\0\x08mdat",
    "video/x-matroska": b"\x1a\x45\xdf\xa3\x93B\x82\x88matroska",
    "video/x-msvideo": b"RIFF\0\0\0\0AVI LIST",
    "video/mp2t": (b"G@\0\x10" + b"\xff" * 184) * 3,
    "video/x-flv": b"FLV\1\5\0\0\0\x09",
    "video/x-ms-asf": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9",
    "video/ogg": b"OggS\0\2" + b"\0" * 22 + b"\x80theora",
    "video/mpeg": b"\0\0\1\xba\x44\0",
    "audio/mpeg": b"ID3\4\0\0\0\0\0\0",
    "audio/aac": b"\xff\xf1\x50\x80\x02\x1f\xfc",
    "audio/wav": b"RF64\xff\xff\xff\xffWAVEds64",
    "audio/flac": b"fLaC\0\0\0\x22",
    "audio/ogg": b"OggS\0\2\0\0\0\0\0\0\0\0OpusHead",
    "audio/mp4": b"\0\0\0\x1cftypM4A \0\0\2\0",
    "audio/aiff": b"FORM\0\0\0\x2eAIFFCOMM",
    "audio/amr": b"#!AMR\n\x3c\x91\x17\x16\xbe\x66",
    "audio/midi": b"MThd\0\0\0\6\0\1",
    "audio/x-caf": b"caff\0\1\0\0desc",
    "image/jxl": b"\xff\x0a\xfa\x1f",
    "image/x-icon": b"\0\0\1\0\1\0\x10\x10",
    "image/heic": b"\0\0\0\x18ftypmif1\0\0\0\0",
    "image/tiff": b"II*\0\x08\0\0\0",
    "image/bmp": b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0",
}


def objection(kind: str, data: bytes, declared: str = "video/mp4", stated: str | None = None) -> str | None:
    """The mismatch of a file."""
    head = data[:512]
    return find_mismatch(kind, mime_of(head, declared, stated), head, len(data), stated)


@pytest.mark.parametrize("kind", ["video", "audio", "image"])
@pytest.mark.parametrize("name", TEXTS)
def test_text_is_not_media(name: str, kind: str) -> None:
    """In any script and encoding, whatever the server declares; outputs of kind file may be text."""
    for declared in ("video/mp4", "application/octet-stream", "audio/mpeg"):
        assert "the file is of type" in str(objection(kind, TEXTS[name], declared))
    assert objection("file", TEXTS[name]) is None


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_is_not_media(name: str) -> None:
    """Compressed pages and archives are accepted as files only."""
    assert "the file is of type" in str(objection("video", ARCHIVES[name]))
    assert objection("file", ARCHIVES[name]) is None


@pytest.mark.parametrize("mime", MEDIA)
def test_media_is_detected(mime: str) -> None:
    """Each common container has its type by its first bytes, whatever the server declares."""
    assert sniff(MEDIA[mime]) == mime
    assert extension_of(mime) != "bin"
    for kind in ("video", "audio", "image"):
        assert objection(kind, MEDIA[mime], "text/html") is None


def test_vectors_are_pictures_only() -> None:
    """SVG is text; it is accepted as an image."""
    svg = b"<?xml version='1.0'?><svg xmlns='x'></svg>"
    assert objection("image", svg) is None
    assert "the file is of type" in str(objection("video", svg))


def test_unknown_bytes_have_the_declared_type() -> None:
    """An unknown format is accepted, unless the file is too short."""
    assert objection("video", NOISE) is None
    assert mime_of(NOISE, "video/mp4", None) == "video/mp4"
    assert not is_text(NOISE)
    assert objection("video", b"\0\0\0\2" * 10) == "the file has 40 bytes of an unknown type, expected video"
    assert objection("video", b"") == "the file is empty"


def test_an_error_page_is_not_another_file() -> None:
    """A page instead of a file of a stated type is rejected for every kind."""
    page = json.dumps({"code": "AccessDenied"}).encode()
    assert "application/json" in str(objection("file", page, stated="application/zip"))
    assert objection("file", page, stated="application/json") is None
    assert objection("file", page, stated="text/plain") is None


@pytest.mark.parametrize("start", [b"\xff\xfe", b"\xff\xff", b"\xff\xe8", b"\xff\xfb\xf0\0", b"\xff\xfb\x9c\0"])
def test_bytes_that_resemble_a_frame_are_not_audio(start: bytes) -> None:
    """The mark of UTF-16, padding, reserved versions, rates and layers are not MPEG audio."""
    assert sniff(start + NOISE) is None


def box(kind: bytes, size: int, body: bytes = b"") -> bytes:
    """One box of an MP4 file with its declared size."""
    return size.to_bytes(4, "big") + kind + body


FTYP = box(b"ftyp", 24, b"mp42\0\0\0\0mp42isom")
CUT = {
    "mdat": FTYP + box(b"mdat", 90_000, NOISE),
    "moov": FTYP + box(b"moov", 8) + box(b"moov", 40_000, NOISE),
    "large mdat": FTYP + box(b"mdat", 1, (5_000_000_000).to_bytes(8, "big") + NOISE),
    "wav": b"RIFF" + (500_000).to_bytes(4, "little") + b"WAVEfmt " + NOISE,
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + b"\0" * 17 + b"\0\1\0\0IDAT" + NOISE,
}
COMPLETE = {
    "mdat": FTYP + box(b"mdat", 8 + len(NOISE), NOISE) + box(b"moov", 8),
    "to the end": FTYP + box(b"mdat", 0, NOISE),
    "odd end": FTYP + box(b"mdat", 8 + len(NOISE), NOISE) + b"\0\1\2\3TAG!",
    "unknown part": FTYP + b"\0\1\2\3\4\5\6\7" + NOISE,
    "endless wav": b"RIFF\xff\xff\xff\xffWAVEfmt " + NOISE,
    "wav of zero": b"RIFF\0\0\0\0WAVEfmt " + NOISE,
    "wav with its header counted": b"RIFF" + (20 + len(NOISE)).to_bytes(4, "little") + b"WAVEfmt " + NOISE,
    "text": b"nothing",
} | {media.value: make_media(media, "job", 0) for media in Media}


@pytest.mark.parametrize(("files", "is_cut"), [(CUT, True), (COMPLETE, False)], ids=["cut", "whole"])
def test_a_file_shorter_than_declared_is_truncated(files: dict[str, bytes], is_cut: bool) -> None:
    """Sizes of known parts count; odd ends, unknown parts and undefined sizes do not."""
    for name, data in files.items():

        def read(at: int, size: int, data: bytes = data) -> bytes:
            return data[at : at + size]

        found = find_truncation(read, len(data), data[:512])
        assert (found is not None) is is_cut, name


@pytest.mark.parametrize(
    ("head", "mime"),
    [
        (b"\0\0\0\x18stypmsdh\0\0\0\0msdh" + b"\1" * 90, "video/mp4"),
        (b"\0\0\0\x30moof" + b"\1" * 90, "video/mp4"),
        (b"\0\0\0\x10free12345678\0\0\0\x18ftypisom" + b"\1" * 90, "video/mp4"),
        (b"\0\0\0\x10skip12345678\0\0\0\x30moov" + b"\1" * 90, "video/quicktime"),
        (b"YUV4MPEG2 W2 H2 F25:1 Ip A1:1\nFRAME\n" + b"a" * 60, "video/x-yuv4mpeg"),
        (b"P6\n# made by hand\n4 4\n255\n" + b"a" * 60, "image/x-portable-anymap"),
        (b"DKIF\0\0\x20\0VP80" + bytes(range(100)), "video/mp4"),
    ],
)
def test_declared_text_is_not_a_reason_to_reject(head: bytes, mime: str) -> None:
    """Servers declare text for unknown files; the bytes decide, then the provider."""
    kind = mime.partition("/")[0]
    for declared in ("text/plain", "text/html; charset=utf-8", "application/octet-stream", None):
        found = mime_of(head, declared, "video/mp4")
        assert (found, find_mismatch(kind, found, head, len(head), "video/mp4")) == (mime, None)


@pytest.mark.parametrize("text", ["fLaCk of permission to read it", "    ftyp is missing in this file " * 3])
def test_text_that_starts_like_a_file_is_text(text: str) -> None:
    """The bytes around a signature count, too."""
    head = text.encode()
    assert find_mismatch("video", mime_of(head, "video/mp4", None), head, len(head)) is not None


def test_an_svg_with_a_long_comment_is_one() -> None:
    """If it is declared as one; an XML error is not."""
    drawing = b'<?xml version="1.0"?>\n<!-- ' + b"x" * 600
    assert mime_of(drawing[:512], "image/svg+xml", None) == "image/svg+xml"
    assert mime_of(b'<?xml version="1.0"?><Error/>', "image/svg+xml", None) == "application/xml"
