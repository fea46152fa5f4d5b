"""Ids of tasks and processes: ULIDs, which sort by creation time.

Format: 48 bits of Unix milliseconds and 80 random bits in Crockford's base 32, 26 characters.
Source: https://github.com/ulid/spec (read 2026-11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    from datetime import datetime

TaskId = NewType("TaskId", str)

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RANDOM_BYTES = 10
_LENGTH = 26
_SHOWN = 120


def make_task_id(now: datetime, randomness: bytes) -> TaskId:
    """Make a task id, see `make_ulid`."""
    return TaskId(make_ulid(now, randomness))


def make_ulid(now: datetime, randomness: bytes) -> str:
    """Make an id that sorts by an aware time, with exactly 10 unguessable random bytes."""
    if len(randomness) != RANDOM_BYTES:
        raise ValueError(f"a ULID needs {RANDOM_BYTES} random bytes, not {len(randomness)}")
    number = (round(now.timestamp() * 1000) << 80) | int.from_bytes(randomness, "big")
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def looks_like_task_id(text: str) -> bool:
    """Whether a text has the form of a task id."""
    return len(text) == _LENGTH and all(character in _ALPHABET for character in text)


def shown_id(external_id: str | None) -> str:
    """An upstream id for messages: printable and truncated."""
    text = "".join(
        character if character.isprintable() else "\ufffd" for character in (external_id or "")[: _SHOWN + 1]
    )
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}\u2026"
