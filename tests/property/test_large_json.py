"""JSON in pieces gives the same values, wherever the pieces end."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.domain.lenient_json.decoder import Form, decode
from tracker.domain.lenient_json.large import (
    AT_ONCE_VALUES,
    LARGE_BYTES,
    LONG,
    MAX_CONTAINERS,
    PIECE,
    TooManyValues,
    encode_large,
    is_decoded_at_once,
    lift,
)

Json = Any

UNITS = ["a", '"', "\\", "\n", "\u00e9", "\u4e00", "\U0001f600", "\x00", "\u2028", "/", "\ufffd"]


@st.composite
def long_texts(draw: st.DrawFn) -> str:
    """A text longer than a piece, with characters around its borders that are hard to split."""
    unit = "".join(draw(st.lists(st.sampled_from(UNITS), min_size=1, max_size=4)))
    shift = draw(st.integers(0, 40))
    times = draw(st.sampled_from([1, 2]))
    return "x" * shift + unit * ((times * PIECE + draw(st.integers(-20, 20))) // len(unit)) + "end"


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=40)
@given(long_texts(), values, st.booleans())
def test_a_large_document_is_decoded_as_a_small_one(text: str, value: Json, ascii_only: bool) -> None:
    """Long strings, escaped or not, and all other values are decoded."""
    document = {"before": value, "long": text, "list": [text[:LONG], value, text], "after": 1}
    body = json.dumps(document, ensure_ascii=ascii_only).encode()
    decoded = decode(body)
    assert decoded.form is Form.COMPLETE
    assert (decoded.value["long"], decoded.value["list"][0], decoded.value["list"][2]) == (text, text[:LONG], text)
    assert decoded.value["before"] == json.loads(body)["before"]


@settings(max_examples=40)
@given(long_texts(), values)
def test_a_large_document_is_encoded_as_a_small_one(text: str, value: Json) -> None:
    """The encoded text is that of orjson."""
    document = {"before": value, "long": text, "list": [text, {"deep": text}]}
    expected = orjson.dumps(document).decode()
    assert encode_large(document) == expected


def test_one_call_decodes_the_skeleton_only() -> None:
    """However long its strings are, the parser gets a small document, and no string of the body is a mark."""
    body = orjson.dumps({"image": "A" * 5_000_000, "n": [1, "x" * LONG], "q": '\\"' * 100_000})
    lifted = lift(body)
    assert len(lifted.skeleton) < 2 * LONG
    assert [len(text) for text in lifted.strings] == [5_000_000, 200_000]
    assert is_decoded_at_once(lifted.skeleton)
    assert lifted.restore(orjson.loads(lifted.skeleton)) == orjson.loads(body)


@pytest.mark.parametrize("item", ["[],", '{"a":1},', "1,", '"x",', '"word: a, b",'])
def test_many_values_are_decoded_value_by_value(item: str) -> None:
    """Many values give the same result in Python as in C."""
    body = f'{{"id":"x","list":[{item * AT_ONCE_VALUES}1]}}'.encode()
    assert len(body) > LARGE_BYTES
    assert not is_decoded_at_once(body)
    assert decode(body).value == orjson.loads(body)


def test_millions_of_values_are_rejected_except_for_the_start() -> None:
    """The id is near the start; the rest would take seconds and hundreds of megabytes."""
    body = b'{"task_id":"x","list":[' + b"[]," * MAX_CONTAINERS + b"1]}"
    with pytest.raises(TooManyValues):
        is_decoded_at_once(body)
    decoded = decode(body)
    assert decoded.form is Form.TRUNCATED
    assert decoded.fault == "JSON with more than 3000000 values, or 600000 lists and objects"
    assert decoded.value["task_id"] == "x"


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "gb18030"])
def test_large_documents_in_other_encodings(codec: str) -> None:
    """They are read like small ones."""
    document = {"id": "x", "text": "\u4e2d\u6587" * LARGE_BYTES, "short": "\u4e2d"}
    body = json.dumps(document, ensure_ascii=False).encode(codec)
    assert decode(body).value == document


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"id":"x","n":NaN,"s":"a\nb","half":"\\ud83d"' + b',"pad":"%s"}' % (b"p\n" * LARGE_BYTES), "x"),
        (b'{"id":"x","image":"' + b"A" * LARGE_BYTES, "x"),
        (b'{"id":"x","bad":"\\q' + b"A" * LARGE_BYTES + b'"}', "x"),
        (b")]}'\n" + b'{"id":"x","pad":"' + b"A" * LARGE_BYTES + b'"} tail', "x"),
        (json.dumps(json.dumps({"id": "x", "pad": "A" * LARGE_BYTES})).encode(), "x"),
    ],
)
def test_large_documents_are_read_as_leniently_as_small_ones(body: bytes, found: str) -> None:
    """Odd values, raw control characters, a missing end, broken escapes, guards, JSON in a string."""
    assert decode(body).value["id"] == found
