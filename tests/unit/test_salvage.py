"""Answers with broken framing: a complete JSON object in them counts, a truncated one is marked."""

from __future__ import annotations

import gzip
import zlib

import pytest

from tracker.upstream.salvage import Salvaged, decompress, read_head, salvage, seems_cut

BODY = b'{"data": {"task_id": "k1", "note": "a } and a \\" in a text [", "list": [1, 2]}}'
HEAD = b"HTTP/1.1 200 OK\r\nRetry-After: 7\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
HALVES = b"%x\r\n%b\r\n%x; note\r\n%b\r\n" % (20, BODY[:20], len(BODY) - 20, BODY[20:])

READABLE = {
    "length too large": HEAD + b"Content-Length: 999\r\n\r\n" + BODY,
    "length too small": HEAD + b"Content-Length: 5\r\n\r\n" + BODY,
    "length twice": HEAD + LENGTH + LENGTH + b"\r\n" + BODY,
    "length in a list": HEAD + b"Content-Length: 10, 10\r\n\r\n" + BODY,
    "length and chunks": HEAD + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n" + HALVES + b"0\r\n\r\n",
    "identity": HEAD + LENGTH + b"Transfer-Encoding: identity\r\n\r\n" + BODY,
    "chunks without the last": CHUNKED + HALVES,
    "chunks and rubbish": CHUNKED + HALVES + b"zz\r\n",
    "chunks with bare line feeds": (CHUNKED + HALVES).replace(b"\r\n", b"\n"),
    "one chunk without its end": CHUNKED + b"%x\r\n%b" % (len(BODY), BODY),
    "not chunked": CHUNKED + BODY,
    "bare line feeds": HEAD.replace(b"\r\n", b"\n") + b"\n" + BODY,
    "odd names": HEAD + b"X(a)@: 1\r\nX a: 1\r\n: 1\r\nno colon\r\nX-\xc3\xa9 : \0\xff\r\n\r\n" + BODY,
    "a status of no body": HEAD.replace(b"200", b"200") + b"\r\n\r\n" + BODY,
    "HTTP/2 as text": HEAD.replace(b"HTTP/1.1", b"HTTP/2") + b"\r\n" + BODY,
    "lower case": HEAD.replace(b"HTTP", b"http") + b"\r\n" + BODY,
    "early hints": b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + HEAD + b"\r\n" + BODY,
    "gzip that is none": HEAD + b"Content-Encoding: gzip\r\n\r\n" + BODY,
    "gzip cut after the content": HEAD + b"\r\n" + gzip.compress(BODY)[:-6],
    "zlib": HEAD + b"Content-Encoding: deflate\r\n\r\n" + zlib.compress(BODY),
    "a mark and blanks": HEAD + b"\r\n" + b"\xef\xbb\xbf \n" + BODY + b"\r\n\r\n",
    "a long header": HEAD + b"X: " + b"x" * 200_000 + b"\r\n\r\n" + BODY,
}
UNREADABLE = {
    "nothing": b"",
    "no end of the head": HEAD + LENGTH,
    "no body": HEAD + b"\r\n",
    "cut before anything is said": HEAD + b"\r\n" + BODY[:5],
    "a page": HEAD + b"\r\n<html></html>",
    "text": HEAD + b"\r\nSSH-2.0",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n" + BODY,
    "too large": HEAD + b"\r\n" + gzip.compress(b'{"a": "' + b"x" * 100_000 + b'"}'),
}


@pytest.mark.parametrize("name", READABLE)
def test_a_complete_object_is_read(name: str) -> None:
    """Status, headers and body are read despite broken framing."""
    found = salvage(READABLE[name], 10_000)
    assert isinstance(found, Salvaged)
    assert (found.status, found.headers["retry-after"], found.is_complete) == (200, "7", True)
    assert found.body.removeprefix(b"\xef\xbb\xbf").strip() == BODY


@pytest.mark.parametrize("end", [-1, -20, BODY.index(b", ")])
def test_a_truncated_object_is_reported(end: int) -> None:
    """Its start may show an id."""
    found = salvage(HEAD + LENGTH + b"\r\n" + BODY[:end], 10_000)
    assert found is not None
    assert (found.status, found.body, found.is_complete) == (200, BODY[:end], False)
    assert seems_cut(found.body) is (end != -1)  # a brace in a text balances a missing one
    assert not seems_cut(b'{"a": {}}\r\n')


@pytest.mark.parametrize("name", UNREADABLE)
def test_other_bytes_are_not_an_answer(name: str) -> None:
    """A body that is empty, too large or not an object gives None."""
    assert salvage(UNREADABLE[name], 10_000) is None


def test_a_head_shows_the_status() -> None:
    """Callers that need no body get the status."""
    assert read_head(b"HTTP/1.1 204\nX: 1\n\n") == (204, {"x": "1"}, b"")
    assert read_head(b"HTTP/1.1 200 OK\r\nX: 1\r\n") is None


def test_the_bytes_show_the_compression() -> None:
    """Twice compressed, damaged, too large, not compressed at all."""
    assert decompress(gzip.compress(gzip.compress(BODY)), 1000) == BODY
    assert decompress(b"\x1f\x8bdamaged", 1000) == b"\x1f\x8bdamaged"
    assert decompress(gzip.compress(b"x" * 1001), 1000) is None
    assert decompress(BODY, 1000) == BODY
