"""The learned durations: the windows of `tracker.domain.durations`, written by the transactions that end tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import orjson

from tracker.domain.durations import MAX_KEYS, WINDOW, Durations, Key, Window, gather
from tracker.store.sqlite.rows import Row, to_ms

if TYPE_CHECKING:
    import sqlite3
    from datetime import datetime

    from tracker.domain.task import Task

SELECT_WINDOWS: Final = f"SELECT route, model, size, took_s FROM durations ORDER BY updated_at LIMIT {MAX_KEYS}"
# One statement each: rows that are fetched or written one by one cost the interpreter's lock each time.
_SELECT: Final = """
    SELECT json_group_array(json_array(route, model, size, json(took_s))) FROM durations
    WHERE (route, model, size) IN (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?))
"""
_WRITE: Final = """
    INSERT INTO durations (route, model, size, took_s, updated_at)
    SELECT value ->> 0, value ->> 1, value ->> 2, value -> 3, :now FROM json_each(:rows) WHERE true
    ON CONFLICT DO UPDATE SET took_s = excluded.took_s, updated_at = excluded.updated_at
"""
_DROP_OLDEST: Final = """
    DELETE FROM durations WHERE (route, model, size) IN (
        SELECT route, model, size FROM durations ORDER BY updated_at
        LIMIT max(0, (SELECT count(*) FROM durations) - :most))
"""


def learn(db: sqlite3.Connection, tasks: Sequence[Task], now: datetime) -> None:
    """Add the durations of tasks that ended, in the transaction that ends them; those that failed teach nothing."""
    new = gather(tasks)
    if not new:
        return
    keys = orjson.dumps(list(new)).decode()
    known: dict[Key, list[float]] = {
        (route, model, size): times
        for route, model, size, times in orjson.loads(db.execute(_SELECT, (keys,)).fetchone()[0])
    }
    rows = [(*key, [*known.get(key, ()), *times][-WINDOW:]) for key, times in new.items()]
    db.execute(_WRITE, {"rows": orjson.dumps(rows).decode(), "now": to_ms(now)})
    if len(known) < len(new):  # only a new key may be one too many
        db.execute(_DROP_OLDEST, {"most": MAX_KEYS})


def durations_from(rows: Sequence[Row]) -> Durations:
    """What was learned, from rows of `SELECT_WINDOWS`."""
    return Durations({(route, model, size): Window(orjson.loads(times)) for route, model, size, times in rows})
