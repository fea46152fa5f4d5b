"""Inline data of outputs, stored apart from their tasks, in pieces.

An image of 30 MB is 40 MB of base64. In the task's row, each read and write of the task would hold the interpreter lock
for as long as it takes to copy that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from msgspec.structs import replace

from tracker.domain.observation import Observation
from tracker.domain.outputs import any_inline_data, has_inline_data, output_identity, strip_inline_data
from tracker.domain.task import Task

PIECE_CHARS = 1 << 20
"""A multiple of 4: each piece can be decoded separately."""
SELECT_PIECE = "SELECT data FROM inline_pieces WHERE task_id = ? AND identity = ? AND n = ?"


def split_off(observation: Observation) -> tuple[Observation, Mapping[str, str]]:
    """An observation with references instead of inline data, and the data by the identity of its output."""
    outputs = observation.reading.outputs
    if not any_inline_data(outputs):
        return observation, {}
    bare = strip_inline_data(outputs)
    reading = replace(observation.reading, outputs=bare)
    pairs = zip(bare, outputs, strict=True)
    data = {output_identity(light): output.inline or "" for light, output in pairs if has_inline_data(output)}
    return replace(observation, reading=reading), data


def store(db: sqlite3.Connection, before: Task, after: Task, data: Mapping[str, str]) -> None:
    """Store the data of outputs that a task has gained."""
    known = set(map(output_identity, before.outputs))
    for identity in {output_identity(output) for output in after.outputs} - known:
        text = data.get(identity, "")
        db.executemany(
            "INSERT OR IGNORE INTO inline_pieces VALUES (?, ?, ?, ?)",
            (
                (after.id, identity, n, text[start : start + PIECE_CHARS])
                for n, start in enumerate(range(0, len(text), PIECE_CHARS))
            ),
        )
