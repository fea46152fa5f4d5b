"""The learned durations: the windows of `tracker.domain.durations`, and the ends that came after they were written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import orjson

from tracker.domain.durations import MAX_KEYS, Durations, Key, Window
from tracker.store.sqlite.rows import TASK, ReadRows, tasks_from, to_ms

if TYPE_CHECKING:
    from tracker.store.sqlite.transactions import Transaction

NEWEST: Final = 2000
"""Tasks among which those are looked for that ended since."""
_SELECT: Final = f"SELECT route, model, size, took_s, updated_at FROM durations ORDER BY updated_at LIMIT {MAX_KEYS}"
_NEWEST: Final = f"SELECT {TASK} FROM tasks INDEXED BY sqlite_autoindex_tasks_1 ORDER BY tasks.id DESC LIMIT ?"
_WRITE: Final = """
    INSERT INTO durations (route, model, size, took_s, updated_at)
    SELECT value ->> 0, value ->> 1, value ->> 2, value -> 3, :now FROM json_each(:rows) WHERE true
    ON CONFLICT DO UPDATE SET took_s = excluded.took_s, updated_at = excluded.updated_at
"""
_DROP_OLDEST: Final = """
    DELETE FROM durations WHERE (route, model, size) IN (
        SELECT route, model, size FROM durations ORDER BY model = '' AND size = '', updated_at
        LIMIT max(0, (SELECT count(*) FROM durations) - :most))
"""


def record_durations(tx: Transaction, windows: Mapping[Key, Sequence[float]]) -> None:
    """Replace windows; where there are too many, those above `MAX_KEYS` are dropped."""
    rows = [(*key, times) for key, times in windows.items()]
    tx.db.execute(_WRITE, {"rows": orjson.dumps(rows).decode(), "now": tx.in_ms()})
    tx.db.execute(_DROP_OLDEST, {"most": MAX_KEYS})


async def read_durations(read: ReadRows) -> Durations:
    """What was learned, with the tasks that ended after it was written: a process that was killed loses nothing."""
    rows = await read(_SELECT, ())
    windows = {(route, model, size): Window(orjson.loads(times)) for route, model, size, times, _ in rows}
    written_at = max((updated_at for *_, updated_at in rows), default=0)
    newest = tasks_from(f"[{','.join(text for (text,) in await read(_NEWEST, (NEWEST,)))}]")
    since = [task for task in newest if (to_ms(task.finished_at) or 0) > written_at]
    durations, _ = Durations(windows).learn(sorted(since, key=lambda task: to_ms(task.finished_at) or 0))
    return durations
