"""Task ids: ULIDs that sort by time."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.kits.clock import START
from tracker.domain.ids import looks_like_task_id, make_task_id, shown_id

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def milliseconds_of(task_id: str) -> int:
    """The time in an id, read independently of how it was made."""
    number = 0
    for character in task_id[:10]:
        number = number * 32 + ALPHABET.index(character)
    return number


def test_known_value() -> None:
    """The specification's layout: ten characters of time, sixteen of randomness."""
    time = datetime.fromtimestamp(1469918176385 / 1000, UTC)
    assert make_task_id(time, b"\xff" * 10) == "01ARYZ6S41" + "Z" * 16
    assert make_task_id(time, bytes(10)) == "01ARYZ6S41" + "0" * 16


def test_every_millisecond_is_exact() -> None:
    """No millisecond is rounded to its neighbour, so ids and ``created_at`` agree."""
    first = round(START.timestamp() * 1000)
    for n in range(2000):
        assert milliseconds_of(make_task_id(START + timedelta(milliseconds=n), bytes(10))) == first + n


def test_ids_sort_by_time_whatever_their_randomness() -> None:
    """An older id is smaller, even with larger random bytes."""
    older = make_task_id(START, b"\xff" * 10)
    newer = make_task_id(START + timedelta(milliseconds=1), bytes(10))
    assert older < newer


@pytest.mark.parametrize("length", [0, 9, 11])
def test_randomness_of_another_length_is_rejected(length: int) -> None:
    """Ten random bytes, no more and no fewer."""
    with pytest.raises(ValueError, match="10 random bytes"):
        make_task_id(START, bytes(length))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (make_task_id(START, b"0123456789"), True),
        ("", False),
        ("01KAHTC1R0000000000000000", False),
        ("01KAHTC1R0000000000000000U", False),
        ("01kahtc1r00000000000000001", False),
    ],
)
def test_looks_like_task_id(text: str, expected: bool) -> None:
    """Length and alphabet make the form."""
    assert looks_like_task_id(text) is expected


def test_long_upstream_ids_are_cut_for_display_only() -> None:
    """A sentence names the beginning of an id, on one line."""
    assert shown_id("models/a b") == "models/a b"
    assert shown_id("a\nb\0") == "a\ufffdb\ufffd"
    assert shown_id("x" * 100_000) == "x" * 120 + "\u2026"
    assert shown_id(None) == ""
