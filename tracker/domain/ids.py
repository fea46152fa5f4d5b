"""Ids of tasks and processes: ULIDs, which sort by creation time.

Format: 48 bits of Unix milliseconds and 80 random bits in Crockford's base 32, 26 characters.
Source: https://github.com/ulid/spec (read 2026-11).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import NewType

TaskId = NewType("TaskId", str)

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RANDOM_BYTES = 10
_LENGTH = 26
_SHOWN = 120
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_000
"""The last second of the year 9999."""


def make_task_id(now: datetime, randomness: bytes) -> TaskId:
    """Make a task id, see `make_ulid`."""
    return TaskId(make_ulid(now, randomness))


def make_ulid(now: datetime, randomness: bytes) -> str:
    """Make an id that sorts by an aware time, with exactly 10 unguessable random bytes."""
    if len(randomness) != RANDOM_BYTES:
        raise ValueError(f"a ULID needs {RANDOM_BYTES} random bytes, not {len(randomness)}")
    return _encode((round(now.timestamp() * 1000) << 80) | int.from_bytes(randomness, "big"))


def first_id_at(time: datetime) -> str:
    """The lowest ULID of a time: those that were made before are lower."""
    return _encode(max(round(time.timestamp() * 1000), 0) << 80)


def _encode(number: int) -> str:
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def times_of_ids(prefix: str) -> tuple[datetime, datetime] | None:
    """When tasks were made whose ids begin with a text: from, and before; None if no id can."""
    if len(prefix) > _LENGTH or not all(character in _ALPHABET for character in prefix):
        return None
    first, last = (_time_ms(prefix.ljust(_LENGTH, digit)) for digit in (_ALPHABET[0], _ALPHABET[-1]))
    if first > _LAST_MS:
        return None
    return _EPOCH + timedelta(milliseconds=first), _EPOCH + timedelta(milliseconds=min(last, _LAST_MS) + 1)


def _time_ms(ulid: str) -> int:
    return reduce(lambda number, character: number * 32 + _ALPHABET.index(character), ulid[:10], 0)


def looks_like_task_id(text: str) -> bool:
    """Whether a text has the form of a task id."""
    return len(text) == _LENGTH and all(character in _ALPHABET for character in text)


def shown_id(external_id: str | None) -> str:
    """An upstream id for messages: printable and truncated."""
    text = "".join(
        character if character.isprintable() else "\ufffd" for character in (external_id or "")[: _SHOWN + 1]
    )
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}\u2026"
