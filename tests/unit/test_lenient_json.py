"""JSON of real servers: encodings, literals, text around a document, broken documents."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from typing import Any

import orjson
import pytest

from tracker.domain.lenient_json.decoder import Form, decode, decode_text
from tracker.domain.lenient_json.members import decode_respelled

VALUE: dict[str, Any] = {"code": 0, "data": {"task_id": "k1", "words": "r\u00e9ussi \u6210\u529f"}}
TEXT = json.dumps(VALUE, ensure_ascii=False)
PLAIN = TEXT.encode()


@pytest.mark.parametrize(
    "codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize("declared", ["application/json", "application/json; charset=utf-16", "text/plain;charset=x-y"])
def test_unicode_is_detected_whatever_is_declared(codec: str, declared: str) -> None:
    """Marks and the pattern of the first bytes show the encoding; a wrong or unknown charset changes nothing."""
    decoded = decode(TEXT.encode(codec), declared)
    assert (decoded.value, decoded.fault) == (VALUE, None)
    assert decoded.text is not None
    assert orjson.loads(decoded.text) == VALUE


@pytest.mark.parametrize(
    ("text", "codec", "declared"),
    [
        ("r\u00e9ussi", "latin-1", "application/json; charset=iso-8859-1"),
        ("\u201cquoted\u201d", "cp1252", 'application/json; charset="Windows-1252"'),
        ("\u6210\u529f\u8aa0", "gbk", "application/json;charset=GBK"),
        ("\u6210\u529f\u8aa0", "gb18030", "application/json; charset=gb18030; x=y"),
        ("\u8868\u30bd", "shift_jis", "text/json; charset=Shift_JIS"),
        ("\u529f\u8a31", "big5", "application/json; charset=Big5"),
        ("\u6210\u529f", "euc_kr", "application/json; charset=euc-kr"),
        ("\u6210\u529f\u8aa0", "gb18030", "application/json"),
    ],
)
def test_legacy_charsets_are_read(text: str, codec: str, declared: str) -> None:
    """The charset of the Content-Type counts if the bytes are not UTF-8; second bytes may look like escapes."""
    raw = json.dumps({"task_id": "k1", "words": text}, ensure_ascii=False).encode(codec)
    assert decode(raw, declared).value == {"task_id": "k1", "words": text}


@pytest.mark.parametrize("charset", ["iso-8859-1", "shift_jis", "nonsense", "base64", "idna", "punycode", "rot13", ""])
def test_bytes_that_fit_no_charset_are_replaced(charset: str) -> None:
    """An invalid byte replaces one character, not the document."""
    found = decode(b'{"task_id":"k1","words":"\xff\xfe\xc3"}', f"application/json; charset={charset}").value
    assert found["task_id"] == "k1"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b'{"a":NaN}', {"a": None}),
        (b'{"a":[Infinity,-Infinity,1e999]}', {"a": [None, None, float("inf")]}),
        (b'{"a":"one\ntwo\tthree\x00\x1b"}', {"a": "one\ntwo\tthree\0\x1b"}),
        (rb'{"a":"cut \ud83d"}', {"a": "cut \ufffd"}),
        (rb'{"a":"\uDE00 cut \\ud83d \ud83d\ude00"}', {"a": "\ufffd cut \\ud83d \U0001f600"}),
        (b'{"a":123456789012345678901234567890}', {"a": "123456789012345678901234567890"}),
        (b'{"a":18446744073709551615,"b":-9223372036854775809}', {"a": 2**64 - 1, "b": "-9223372036854775809"}),
        (b'{"a":"12345678901234567890123"}', {"a": "12345678901234567890123"}),
        (b'{"a":1,}', {"a": 1}),
        (b'{"a":[1,2,],"b":{},}', {"a": [1, 2], "b": {}}),
        (b'{"a":1 /* note */, // another\n"b":2}', {"a": 1, "b": 2}),
        (b"{'a': True, 'b': None, 'c': 'it\\'s'}", {"a": True, "b": None, "c": "it's"}),
        (b'{a: "x", b: undefined}', {"a": "x", "b": None}),
        (rb'{"a":"C:\x"}', {"a": "C:x"}),
    ],
)
def test_literals_of_other_decoders(written: bytes, read: object) -> None:
    """Literals of JavaScript, Python and old encoders are read, and can be stored and encoded again."""
    decoded = decode(written)
    assert (decoded.value, decoded.form) == (read, Form.COMPLETE)
    assert decoded.text is not None
    assert orjson.loads(decoded.text) is not None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b'{"another":1}'),
        (b"", b"\n{}"),
        (b"", b"<!-- 12 ms --></body></html>"),
        (b"", b"\0\0\0"),
        (b"\0 \r\n", b""),
        ("\ufeff\u00a0\u3000\u200b".encode(), "\u2028".encode()),
        (b")]}'\n", b""),
        (b")]}',\n", b""),
        (b"while(1);", b""),
        (b"for (;;);", b""),
        (b"callback(", b");"),
        (b"/**/jQuery123_4(", b")"),
        (b"var answer = ", b";"),
        (b"<br />\n<b>Warning</b>:  Undefined index in /srv/x.php on line 3<br />\n", b""),
        (b"Notice: undefined index\n", b""),
        (b"3a\r\n", b"\r\n0\r\n\r\n"),
    ],
)
def test_text_around_a_document_is_ignored(before: bytes, after: bytes) -> None:
    """Guards, calls, warnings and padding do no harm."""
    assert decode(before + PLAIN + after).value == VALUE


@pytest.mark.parametrize(
    "body",
    [
        orjson.dumps(TEXT),
        orjson.dumps(orjson.dumps(TEXT).decode()),
        b"[" + PLAIN + b"]",
        orjson.dumps([VALUE]),
        orjson.dumps(f" \n{TEXT}"),
        gzip.compress(PLAIN, mtime=0),
        zlib.compress(PLAIN),
        gzip.compress(b"\xef\xbb\xbf" + PLAIN, mtime=0),
    ],
)
def test_a_wrapped_document_is_unwrapped(body: bytes) -> None:
    """A document in a JSON string, alone in a list, or compressed without a header that says so."""
    assert decode(body).value == VALUE


def test_a_stream_of_events_is_one_document() -> None:
    """Fields of later events replace those of earlier ones; other values are skipped."""
    stream = b'event: queued\ndata: {"id":"x","status":"queued"}\n\n: ping\n\n'
    stream += b'data: {"status":\ndata: "done"}\n\ndata: [DONE]\n\n'
    decoded = decode(stream, "text/event-stream")
    assert (decoded.value, decoded.form, decoded.fault) == ({"id": "x", "status": "done"}, Form.STREAM, None)


@pytest.mark.parametrize("end", range(2, len(TEXT)))
def test_a_truncated_document_is_reported(end: int) -> None:
    """The readable part is returned without a truncated value, and is marked as truncated."""
    decoded = decode(TEXT[:end].encode())
    assert decoded.form in {Form.TRUNCATED, Form.NONE}
    assert decoded.fault in {"truncated JSON", "a body that is not JSON"}
    data = (decoded.value or {}).get("data") or {}
    assert data.get("task_id") in {None, "k1"}
    assert (data.get("task_id") == "k1") == (end > TEXT.index("k1") + len("k1"))


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "an empty body"),
        (b" \r\n\0", "an empty body"),
        (b"oops", "a body that is not JSON"),
        (b'<html><script>\n{"id":1}</script>', "a body that is not JSON"),
        (b'<!DOCTYPE html>\n<style>\n{"a":1}', "a body that is not JSON"),
        (b"\xff\xd8\xff\xe0", "a body that is not JSON"),
        (b"\x1f\x8bbroken", "a body that is not JSON"),
    ],
)
def test_other_bodies_are_not_json(body: bytes, fault: str) -> None:
    """Pages and binary data are not searched for objects."""
    decoded = decode(body)
    assert (decoded.value, decoded.text, decoded.fault) == (None, None, fault)


def test_a_strict_document_is_unchanged() -> None:
    """The usual case: nothing is encoded again."""
    assert decode(PLAIN).text is PLAIN
    assert decode(b"[1]").text == b"[1]"
    assert decode_text(f" {TEXT}") == VALUE
    assert decode_text("12") is None
    assert decode_text('{"a":') is None


HOSTILE = {
    "brackets": b"[" * 1_000_000,
    "objects": b'{"a":' * 200_000,
    "escapes": b'{"a":"' + b'\\"' * 500_000,
    "surrogates": b'{"a":"' + b"\\ud83d" * 160_000,
    "commas": b"{" + b"," * 1_000_000,
    "broken and not UTF-8": b'{"a":1,' * 140_000 + b"\xff",
    "comments": b"{/*" + b"*" * 1_000_000,
    "events": b'data: {"a":1}\n\n' * 60_000,
    "line ends": b"data:" + b"\r\n" * 500_000,
    "tags": b"x>\n" * 330_000,
    "digits": b'{"a":' + b"9" * 1_000_000,
    "bomb": gzip.compress(b"[" * 100_000_000),
    "quotes": b'"' * 1_000_000,
    "strings in strings": orjson.dumps('{"a":"' * 100_000),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bodies_take_little_time(body: bytes) -> None:
    """A megabyte of anything is read, or not, without an exception and in little time."""
    started = time.process_time()
    decoded = decode(body)
    assert time.process_time() - started < 0.5  # 5 to 50 ms; more only on a machine that does other work
    assert decoded.form in Form


def test_deep_nesting_does_not_hide_other_members() -> None:
    """No depth raises an exception; an id before or after it is read."""
    for depth in (300, 5_000, 9_000):
        decoded = decode(b'{"id":"x","deep":' + b"[" * depth + b"]" * depth + b',"status":"queued"}')
        assert (decoded.value["id"], decoded.value["status"]) == ("x", "queued")


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "in a JSON string"])
def test_half_of_a_surrogate_pair_is_replaced_at_every_step(*, wrapped: bool) -> None:
    """Also where a document is inside a string, and where it is read again with usual names."""
    document = json.dumps({"TaskId": "k\ud83d1", "words": "\ud83d"})
    decoded = decode((json.dumps(document) if wrapped else document).encode())
    assert decoded.value == {"TaskId": "k\ufffd1", "words": "\ufffd"}
    again = decode_respelled(decoded, document.encode())
    assert again is not None
    assert orjson.loads(again)["task_id"] == "k\ufffd1"
