"""JSON as upstreams write it."""

import orjson
import pytest

from tracker.domain.wire import payload_text, whole_characters


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r'"cut \ud83d"', "cut \ufffd"),
        (r'"\uDE00 cut"', "\ufffd cut"),
        (r'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600"),
        (r'"\ud83d\n"', "\ufffd\n"),
        (r'"\ude00\ud83d"', "\ufffd\ufffd"),
    ],
)
def test_half_characters_are_replaced(written: str, read: str) -> None:
    """What no text of ours can hold becomes U+FFFD, and nothing beside it changes."""
    assert orjson.loads(whole_characters(written.encode())) == read


@pytest.mark.parametrize(
    "written", [rb'"\ud83d\ude00"', rb'"\\ud83d"', rb'"\\\\ud83d \ud55c"', '"\U0001f600"'.encode(), b"no json"]
)
def test_whole_characters_stay(written: bytes) -> None:
    """Pairs, and backslashes that only look like the beginning of one."""
    assert whole_characters(written) is written


def test_what_is_kept_of_a_body_has_whole_characters() -> None:
    """The store and its JSON functions refuse halves."""
    assert payload_text(rb'{"title":"cut \ud83d"}', bytes.decode) == r'{"title":"cut \ufffd"}'
