"""The archive's items: created with the outputs, leased, ended; and the event when all files are safe.

Functions of the write connection, each run inside one of the writer's transactions.
"""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import TYPE_CHECKING

import orjson
from msgspec.structs import replace

from tracker.domain.archives import ArchiveRecord, ArchiveState, all_stored, is_file
from tracker.domain.hook_events import HookEvent
from tracker.domain.observation import Source
from tracker.domain.outputs import has_inline_data, output_identity, reference_of
from tracker.domain.task import Status, TaskId
from tracker.domain.transitions import Outcome
from tracker.store.sqlite import outbox
from tracker.store.sqlite.inline_data import SELECT_PIECE
from tracker.store.sqlite.rows import (
    ARCHIVE_COLUMNS,
    NEW_ARCHIVE,
    WAITING_ARCHIVE,
    archive_from,
    batches,
    from_ms,
    outputs_text,
    to_ms,
)
from tracker.store.sqlite.tasks import get_task
from tracker.store.values import Applied, ArchiveJob

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from tracker.domain.task import Output, Task
    from tracker.store.sqlite.transactions import Transaction
    from tracker.store.values import ArchiveChoice, ArchiveResult

_ARCHIVED_KEY = f"{Source.CLOCK}:-:archived"
"""The dedupe key of the one event that says that all files of a task are safe."""


def plan(db: sqlite3.Connection, tasks: Sequence[Task], choose: ArchiveChoice, now: datetime) -> None:
    """Create the items of new outputs, in the transaction that stores the outputs."""
    if _insert_missing(db, tasks, choose, now):
        return  # no file of these tasks is stored yet
    for task in _with_copies(db, tasks):
        _announce_if_safe(db, task, now)


def _with_copies(db: sqlite3.Connection, tasks: Iterable[Task]) -> list[Task]:
    """The tasks with a stored file; one query, for there is hardly ever one."""
    ended = {task.id: task for task in tasks if task.status is Status.SUCCEEDED}
    if not ended:
        return []
    (found,) = db.execute(
        "SELECT json_group_array(DISTINCT task_id) FROM archives"
        " WHERE task_id IN (SELECT value FROM json_each(?)) AND state = 'stored'",
        (orjson.dumps(list(ended)).decode(),),
    ).fetchone()
    return [ended[task_id] for task_id in orjson.loads(found)]


def _insert_missing(db: sqlite3.Connection, tasks: Iterable[Task], choose: ArchiveChoice, now: datetime) -> bool:
    """Create the items that do not exist; whether all of these tasks' files are new and have an item now."""
    rows: list[tuple[object, ...]] = []
    files = new = 0
    now_ms = to_ms(now)
    for task in tasks:
        for n, output in enumerate(task.outputs):
            if not is_file(output):
                continue
            files += 1
            choice = choose(task, output)
            if choice is not None:
                rows.append((task.id, output_identity(output), n, now_ms, to_ms(choice.expires_at), now_ms))
    for batch in batches(rows):
        new += db.execute(_insert_statement(len(batch)), list(chain.from_iterable(batch))).rowcount
    return new == files


@cache
def _insert_statement(count: int) -> str:
    """Many rows in a statement: under load each statement waits for the interpreter's lock."""
    return f"""
        INSERT INTO archives (task_id, identity, n, state, due_at, expires_at, created_at)
        VALUES {", ".join(["(?, ?, ?, 'pending', ?, ?, ?)"] * count)} ON CONFLICT DO NOTHING
    """


# A claim examines so many items of each index, and no more: it runs on the writer's thread, and callbacks wait for it.
_EXAMINED = 500
_BY_EXPIRY = "expires_at IS NULL, expires_at, due_at"
_NEW_DUE = f"""
    SELECT task_id, identity, n, attempts, expires_at, due_at FROM (
        SELECT task_id, identity FROM (
            SELECT task_id, identity, due_at FROM archives INDEXED BY archives_new
            WHERE {NEW_ARCHIVE} ORDER BY {_BY_EXPIRY} LIMIT {_EXAMINED})
        WHERE due_at <= :now LIMIT :limit)
    CROSS JOIN archives USING (task_id, identity)
"""
_DUE_AGAIN = f"""
    SELECT task_id, identity, n, attempts, expires_at, due_at FROM (
        SELECT * FROM archives INDEXED BY archives_waiting
        WHERE {WAITING_ARCHIVE} AND due_at <= :now ORDER BY due_at LIMIT {_EXAMINED})
    ORDER BY {_BY_EXPIRY} LIMIT :limit
"""
"""If more are due again, those that have been for longest go first."""
_LEASE = """
    UPDATE archives SET state = 'running', attempts = attempts + 1, due_at = ?, holder = ?
    WHERE (task_id, identity) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))
"""


def claim_archives(tx: Transaction, limit: int, lease_s: float) -> list[ArchiveJob]:
    """Lease due items, those whose URL expires first before the others; delete those whose output is gone."""
    jobs = []
    tasks: dict[TaskId, Task] = {}  # one may hold many images inline
    for task_id, identity, n, attempts, expires_at in _find_due(tx, limit):
        task = tasks.get(task_id) or get_task(tx.db, task_id)
        tasks[task_id] = task
        output = find_output(task, identity)
        if output is None:
            tx.db.execute("DELETE FROM archives WHERE task_id = ? AND identity = ?", (task_id, identity))
        else:
            jobs.append(ArchiveJob(task, output, identity, n, attempts + 1, from_ms(expires_at)))
    if jobs:
        keys = orjson.dumps([(job.task.id, job.identity) for job in jobs]).decode()
        tx.db.execute(_LEASE, (tx.in_ms(lease_s), tx.holder, keys))
    return jobs


def _find_due(tx: Transaction, limit: int) -> list[tuple[TaskId, str, int, int, int | None]]:
    values = {"now": tx.in_ms(), "limit": limit}
    found = [row for select in (_NEW_DUE, _DUE_AGAIN) for row in tx.db.execute(select, values)]
    found.sort(key=lambda row: (row[4] is None, row[4] or 0, row[5]))
    return [row[:5] for row in found[:limit]]


def find_output(task: Task, identity: str) -> Output | None:
    """The file among a task's outputs that has an identity."""
    return next((output for output in task.outputs if is_file(output) and output_identity(output) == identity), None)


def record_archive(tx: Transaction, job: ArchiveJob, result: ArchiveResult) -> Applied | None:
    """Store how an attempt ended; None when this process no longer holds its lease."""
    db = tx.db
    file = result.file
    again = result.state is ArchiveState.PENDING
    changed = db.execute(
        """
        UPDATE archives SET state = ?, attempts = attempts - ?, due_at = ?, holder = NULL, expires_at = ?, error = ?,
            path = ?, bytes = ?, sha256 = ?, mime = ?, finished_at = ?
        WHERE task_id = ? AND identity = ? AND state = 'running' AND attempts = ? AND holder = ?
        """,
        (
            result.state.value,
            0 if result.counts else 1,
            tx.in_ms(result.retry_in_s or 0) if again else None,
            to_ms(result.expires_at),
            result.error,
            *((file.path, file.bytes, file.sha256, file.mime) if file is not None else (None,) * 4),
            None if again else tx.in_ms(),
            job.task.id,
            job.identity,
            job.attempt,
            tx.holder,
        ),
    ).rowcount
    if not changed:
        return None
    task = get_task(db, job.task.id)
    if result.state is not ArchiveState.STORED:
        return Applied(task=task, outcome=Outcome.APPLIED, confirm=False, announced=False)
    if job.output.inline is not None:
        db.execute("DELETE FROM inline_pieces WHERE task_id = ? AND identity = ?", (task.id, job.identity))
    task = _show_file(db, task, job.identity)
    announced = _announce_if_safe(db, task, tx.now)
    return Applied(task=task, outcome=Outcome.APPLIED, confirm=False, announced=announced)


def _show_file(db: sqlite3.Connection, task: Task, identity: str) -> Task:
    """A new version of the task: its public form shows the file. A reference replaces inline data."""
    outputs = tuple(
        replace(output, inline=reference_of(output.inline))
        if output.inline is not None and has_inline_data(output) and output_identity(output) == identity
        else output
        for output in task.outputs
    )
    if outputs != task.outputs:
        db.execute("UPDATE tasks SET outputs = ? WHERE id = ?", (outputs_text(outputs), task.id))
    db.execute("UPDATE tasks SET version = version + 1 WHERE id = ?", (task.id,))
    return replace(task, outputs=outputs, version=task.version + 1)


def _announce_if_safe(db: sqlite3.Connection, task: Task, now: datetime) -> bool:
    """Announce once that every file of a task that SUCCEEDED is safe; its status does not change."""
    if task.status is not Status.SUCCEEDED:
        return False
    stored = [
        identity
        for (identity,) in db.execute(
            "SELECT identity FROM archives WHERE task_id = ? AND state = 'stored'", (task.id,)
        )
    ]
    if not all_stored(task.outputs, stored):
        return False
    known = db.execute("SELECT 1 FROM events WHERE task_id = ? AND dedupe_key = ?", (task.id, _ARCHIVED_KEY)).fetchone()
    if known is not None:
        return False
    count = len(stored)
    cursor = db.execute(
        """
        INSERT INTO events (task_id, at, source, outcome, from_status, to_status, detail, dedupe_key, reading,
            announces)
        VALUES (?, ?, 'clock', 'applied', ?, ?, ?, ?, '{}', ?)
        """,
        (
            task.id,
            to_ms(now),
            task.status.value,
            task.status.value,
            f"archived: {count} file{'' if count == 1 else 's'} saved",
            _ARCHIVED_KEY,
            HookEvent.ARCHIVED.value,
        ),
    )
    assert cursor.lastrowid is not None  # noqa: S101 - a row was inserted
    outbox.put(db, [cursor.lastrowid])
    return True


def redrive_archives(
    tx: Transaction, task_id: TaskId, choose: ArchiveChoice, lost: Collection[str]
) -> list[ArchiveRecord]:
    """See the protocol."""
    db, now_ms = tx.db, tx.in_ms()
    task = get_task(db, task_id)
    _insert_missing(db, [task], choose, tx.now)
    again = "state = 'pending', attempts = 0, due_at = ?, finished_at = NULL"
    db.execute(f"UPDATE archives SET {again} WHERE task_id = ? AND state IN ('pending', 'dead')", (now_ms, task_id))
    db.executemany(
        f"UPDATE archives SET {again}, path = NULL, bytes = NULL, sha256 = NULL, mime = NULL"
        " WHERE task_id = ? AND identity = ? AND state = 'stored'",
        [(now_ms, task_id, identity) for identity in lost if _can_be_fetched_again(db, task, identity)],
    )
    rows = db.execute(f"SELECT {ARCHIVE_COLUMNS} FROM archives WHERE task_id = ? ORDER BY n", (task_id,)).fetchall()
    return [archive_from(row) for row in rows]


def _can_be_fetched_again(db: sqlite3.Connection, task: Task, identity: str) -> bool:
    """False for a file that came inline: its data was deleted when the file was safe."""
    output = find_output(task, identity)
    if output is None or output.url is not None or has_inline_data(output):
        return output is not None
    return db.execute(SELECT_PIECE, (task.id, identity, 0)).fetchone() is not None
