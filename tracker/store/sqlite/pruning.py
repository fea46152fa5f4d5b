"""Retention: old data is found by reading, deleted in small steps, and the file is made smaller afterwards.

Only of tasks that have ended and whose deliveries have all ended. A task's row changes only where it refers to
something deleted. A step is bounded in rows and milliseconds, for callbacks wait meanwhile; the scan of the tasks runs
on reading connections.

There is no index on the end of a task: each callback would pay for it, and this scan of the primary key, once a day,
costs a second for 100,000 tasks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import orjson

from tracker.domain.pruning import BESIDE_CALLBACKS, Prunable, PrunablePage, Pruned, StepSize, StoredFile
from tracker.domain.task import TaskId
from tracker.store.sqlite.rows import to_ms

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from datetime import datetime

    from tracker.domain.pruning import Cutoffs
    from tracker.store.sqlite.rows import ReadRows
    from tracker.store.sqlite.transactions import Transaction

# Neither a delivery that may still run, nor an announcement that has not become deliveries yet.
_SETTLED = """
    NOT EXISTS (SELECT 1 FROM deliveries WHERE task_id = tasks.id AND due_at IS NOT NULL)
    AND NOT EXISTS (SELECT 1 FROM events JOIN outbox USING (seq) WHERE task_id = tasks.id)
"""
_ENDED = "status IN ('SUCCEEDED', 'FAILED')"
# A dead delivery stays: it can still be retried by hand.
_ENDED_DELIVERY = "status IN ('succeeded', 'failed')"

_LAST_OF_PAGE = "SELECT max(id), count(*) FROM (SELECT id FROM tasks WHERE id > ? ORDER BY id LIMIT ?)"

_FIND = f"""
    SELECT id,
        iif(finished_at < ?1, (SELECT count(*) FROM events WHERE task_id = tasks.id), 0) AS events,
        iif(finished_at < ?1, (SELECT count(*) FROM deliveries WHERE task_id = tasks.id AND {_ENDED_DELIVERY}), 0)
            AS deliveries,
        iif(finished_at < ?1, 0, iif(finished_at < ?2,
            (SELECT count(payload) FROM events WHERE task_id = tasks.id), 0)) AS payloads,
        iif(finished_at < ?2, (SELECT count(*) FROM requests WHERE task_id = tasks.id), 0) AS requests
    FROM tasks
    WHERE id > ?3 AND id <= ?4 AND {_ENDED} AND (finished_at < ?1 OR finished_at < ?2) AND {_SETTLED}
    ORDER BY id
"""

_STILL_DUE = f"""
    SELECT id, finished_at < ?1, finished_at < ?2 FROM tasks
    WHERE id IN (SELECT value FROM json_each(?3)) AND {_ENDED}
      AND (finished_at < ?1 OR finished_at < ?2) AND {_SETTLED}
"""

LASTING = (
    *("seq", "task_id", "at", "source", "stage", "outcome", "from_status", "to_status", "detail", "dedupe_key"),
    *("reading", "announces", "snapshot"),
)
"""Columns of an event that outlive its payload: all others. A test compares them with the table."""
_LASTING_COLUMNS = ", ".join(LASTING)

_IN = "IN (SELECT value FROM json_each(?))"

_FILES = f"""
    SELECT task_id, identity, path, bytes FROM archives
    WHERE (task_id, identity) > (?, ?) AND state = 'stored' AND EXISTS (
        SELECT 1 FROM tasks WHERE id = archives.task_id AND {_ENDED} AND finished_at < ? AND {_SETTLED})
    ORDER BY task_id, identity LIMIT ?
"""


async def find_prunable(read_rows: ReadRows, cutoffs: Cutoffs, cursor: str, limit: int) -> PrunablePage:
    """Of the next ``limit`` tasks after a cursor, what may be deleted."""
    ((last, looked_at),) = await read_rows(_LAST_OF_PAGE, (cursor, limit))
    if not looked_at:
        return PrunablePage((), None)
    found = await read_rows(_FIND, (to_ms(cutoffs.events), to_ms(cutoffs.payloads), cursor, last))
    items = tuple(
        Prunable(TaskId(task_id), Pruned(1, events, deliveries, payloads, requests))
        for task_id, events, deliveries, payloads, requests in found
        if events or deliveries or payloads or requests
    )
    return PrunablePage(items, last if looked_at == limit else None)


async def find_stored_files(
    read_rows: ReadRows, before: datetime, after: tuple[str, str], limit: int
) -> list[StoredFile]:
    """Archived files of tasks that finished before a time, in the order of task and identity."""
    return [
        StoredFile(TaskId(task_id), identity, path, size)
        for task_id, identity, path, size in await read_rows(_FILES, (*after, to_ms(before), limit))
    ]


def prune(
    tx: Transaction, task_ids: Sequence[TaskId], cutoffs: Cutoffs, size: StepSize = BESIDE_CALLBACKS
) -> tuple[Pruned, int]:
    """Delete what may go of these tasks, as many of them as the step's time allows, at least a few.

    Returns:
        What was deleted, and how many tasks were processed, each completely.
    """
    ends_at = time.perf_counter() + size.lasts_s
    dropped = Pruned()
    done = 0
    while done < len(task_ids):
        dropped += _prune_few(tx.db, task_ids[done : done + size.at_once], cutoffs)
        done = min(done + size.at_once, len(task_ids))
        if time.perf_counter() >= ends_at:
            break
    return dropped, done


def _prune_few(db: sqlite3.Connection, task_ids: Sequence[TaskId], cutoffs: Cutoffs) -> Pruned:
    due = db.execute(
        _STILL_DUE, (to_ms(cutoffs.events), to_ms(cutoffs.payloads), orjson.dumps(task_ids).decode())
    ).fetchall()
    of_history = orjson.dumps([task_id for task_id, history, _ in due if history]).decode()
    of_bodies = orjson.dumps([task_id for task_id, _, bodies in due if bodies]).decode()
    of_payloads = orjson.dumps([task_id for task_id, history, bodies in due if bodies and not history]).decode()

    def change(statement: str, ids: str) -> int:
        return db.execute(statement, (ids,)).rowcount

    deliveries = change(f"DELETE FROM deliveries WHERE task_id {_IN} AND {_ENDED_DELIVERY}", of_history)
    events = change(f"DELETE FROM events WHERE task_id {_IN}", of_history)
    payloads = _drop_payloads(db, of_payloads)
    requests = change(f"DELETE FROM requests WHERE task_id {_IN}", of_bodies)
    if not deliveries + events + payloads + requests:
        return Pruned()
    # the public form of the task changes with what is gone: a new version
    change(
        f"UPDATE tasks SET result_seq = NULL, version = version + 1 WHERE id {_IN}",
        orjson.dumps([task_id for task_id, _, _ in due]).decode(),
    )
    return Pruned(len(due), events, deliveries, payloads, requests)


def _drop_payloads(db: sqlite3.Connection, task_ids: str) -> int:
    """Rewrite the events without their payloads, otherwise unchanged; the number of them.

    Set to NULL in place they would leave their pages nearly empty: SQLite merges pages when rows are deleted, not when
    they get smaller. Measured with payloads of 1,500 characters: the file shrinks to 18 % of its size, not 100 %. The
    rows wait in a table in memory: a row costs 6.6 us of CPU there, and 11 as a tuple of Python.
    """
    having = f"task_id {_IN} AND payload IS NOT NULL"
    db.execute(f"CREATE TEMP TABLE IF NOT EXISTS lasting AS SELECT {_LASTING_COLUMNS} FROM events LIMIT 0")
    copy = f"INSERT INTO temp.lasting SELECT {_LASTING_COLUMNS} FROM events WHERE {having}"
    if rewritten := db.execute(copy, (task_ids,)).rowcount:
        db.execute(f"DELETE FROM events WHERE {having}", (task_ids,))
        db.execute(f"INSERT INTO events ({_LASTING_COLUMNS}) SELECT * FROM temp.lasting")
        db.execute("DELETE FROM temp.lasting")
    return rewritten


def record_deleted_files(tx: Transaction, files: Sequence[StoredFile]) -> int:
    """Record that archived files are deleted: their outputs count as not archived; the number of them."""
    forgotten = 0
    for file in files:
        found = tx.db.execute(
            "DELETE FROM archives WHERE task_id = ? AND identity = ? AND path = ? AND state = 'stored'",
            (file.task_id, file.identity, file.path),
        ).rowcount
        if found:
            tx.db.execute("UPDATE tasks SET version = version + 1 WHERE id = ?", (file.task_id,))
        forgotten += found
    return forgotten


def shrink(tx: Transaction, size: StepSize = BESIDE_CALLBACKS) -> tuple[int, int]:
    """Move pages from the end of the file into the gaps, as many as the step's time allows, and truncate it.

    The file itself gets smaller at the next checkpoint.

    Returns:
        Bytes given back, and gaps left, in pages; both 0 for a file without incremental vacuum.
    """
    db = tx.db
    if db.execute("PRAGMA auto_vacuum").fetchone() == (0,):
        return 0, 0
    ends_at = time.perf_counter() + size.lasts_s
    (gaps,) = db.execute("PRAGMA freelist_count").fetchone()
    moved = 0
    while moved < gaps and time.perf_counter() < ends_at:
        db.execute("PRAGMA incremental_vacuum(1)")  # with any number, Python's driver stops after one page
        moved += 1
    (left,) = db.execute("PRAGMA freelist_count").fetchone()
    (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
    return (gaps - left) * page_bytes, left
