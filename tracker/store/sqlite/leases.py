"""Processes and what they hold: leases of tasks, and due times.

A lease is a due time in the future and a holder, the id of a process. A process is alive while its row is in
`processes`. Here one process at a time has the file lock, so each start deletes all other rows; an engine for several
processes deletes those that were not seen for some time, and all else stays the same.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import orjson
from msgspec.structs import replace

from tracker.store.sqlite.rows import NEW_ARCHIVE, TASK, WAITING_ARCHIVE, task_from, tasks_from, time_of
from tracker.store.sqlite.slots import wait_if_full
from tracker.store.sqlite.tasks import get_task
from tracker.store.values import Claimed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracker.domain.task import Task, TaskId
    from tracker.store.sqlite.transactions import Transaction
    from tracker.store.values import Lane, Process

_CLOCK_SEEN, _CLOCK_AT = "clock seen", "clock at"
"""Cursors: the last event when due times were brought back, and what the clock showed then."""

_DEAD = "(holder IS NOT NULL AND holder NOT IN (SELECT id FROM processes))"


# -- processes ---------------------------------------------------------------------------------------------


def register_process(tx: Transaction, process: Process) -> None:
    """Register this process, delete all others, and make due now what dead ones held.

    Creates that were held because their account was refused fall due, too: sending one shows whether it still is.
    An archive attempt that was cut off does not count.
    """
    _follow_clock(tx)
    tx.db.execute("DELETE FROM processes")
    renew_process(tx, process)
    now = tx.in_ms()
    tx.db.execute(
        f"UPDATE tasks INDEXED BY tasks_held SET due_at = ?, holder = NULL WHERE due_at IS NOT NULL AND {_DEAD}", (now,)
    )
    tx.db.execute(
        """
        UPDATE tasks INDEXED BY tasks_unsent SET due_at = ? WHERE status = 'PENDING' AND submit_state = 'queued'
            AND due_at IS NOT NULL AND (
            SELECT json_extract(reading, '$.held') FROM events
            WHERE task_id = tasks.id AND source = 'submit' ORDER BY seq DESC LIMIT 1)
        """,
        (now,),
    )
    tx.db.execute(
        "UPDATE deliveries INDEXED BY deliveries_running SET status = 'pending', due_at = ?, holder = NULL"
        f" WHERE status = 'running' AND {_DEAD}",
        (now,),
    )
    tx.db.execute(
        "UPDATE archives INDEXED BY archives_running"
        " SET state = 'pending', attempts = max(attempts - 1, 0), due_at = ?, holder = NULL"
        f" WHERE state = 'running' AND {_DEAD}",
        (now,),
    )


def renew_process(tx: Transaction, process: Process) -> None:
    """Write this process's row: its heartbeat, and a proof that a write can be committed."""
    tx.db.execute(
        "INSERT INTO processes (id, host, pid, version, started_at, seen_at) VALUES (?, ?, ?, ?, ?5, ?5)"
        " ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
        (process.id, process.host, process.pid, process.version, tx.in_ms()),
    )


# -- leases of tasks ---------------------------------------------------------------------------------------


def mark_sending(tx: Transaction, task_id: TaskId, lease_s: float, max_in_flight: int | None = None) -> Task | None:
    """Record that the create is sent now, or that it waits for a slot; None when it must not be sent."""
    if max_in_flight is not None and (waits := wait_if_full(tx, task_id, max_in_flight)) is not None:
        return waits
    row = tx.db.execute(
        f"""
        UPDATE tasks SET submit_state = 'sending', submit_attempts = submit_attempts + 1, due_at = ?, holder = ?,
            version = version + 1
        WHERE id = ? AND submit_state = 'queued' AND status = 'PENDING' AND external_id IS NULL RETURNING {TASK}
        """,
        (tx.in_ms(lease_s), tx.holder, task_id),
    ).fetchall()
    return task_from(row[0][0]) if row else None


def claim_due(tx: Transaction, lane: Lane, limit: int, lease_s: float) -> list[Claimed]:
    """Lease due tasks of a lane, longest waiting first; never one whose create another living process is sending."""
    # one row and one statement for all: each one waits for the interpreter's lock, see `observations`
    due, were_held = tx.db.execute(
        f"""
        SELECT json_group_array({TASK}), json_group_array(holder IS NOT NULL) FROM (
            SELECT * FROM tasks INDEXED BY tasks_due WHERE account = ? AND provider = ? AND due_at <= ?
                AND (submit_state <> 'sending' OR holder IS NULL OR holder = ? OR {_DEAD})
            ORDER BY due_at LIMIT ?)
        """,
        (lane.account, lane.provider, tx.in_ms(), tx.holder, limit),
    ).fetchone()
    tasks = tasks_from(due)
    tx.db.execute(
        "UPDATE tasks SET due_at = ?, holder = ? WHERE id IN (SELECT value FROM json_each(?))",
        (tx.in_ms(lease_s), tx.holder, orjson.dumps([task.id for task in tasks]).decode()),
    )
    return [Claimed(task, bool(was_held)) for task, was_held in zip(tasks, orjson.loads(were_held), strict=True)]


def postpone(tx: Transaction, task_id: TaskId, in_s: float) -> None:
    """End a lease of this process; nothing when the task was made due since, or is another's."""
    tx.db.execute(
        "UPDATE tasks SET due_at = ?, holder = NULL WHERE id = ? AND holder = ? AND due_at IS NOT NULL",
        (tx.in_ms(in_s), task_id, tx.holder),
    )


def release_creates(tx: Transaction, task_ids: Sequence[TaskId]) -> None:
    """Make those of these tasks due now that still wait to be sent."""
    tx.db.executemany(
        "UPDATE tasks SET due_at = ?, holder = NULL WHERE id = ? AND submit_state = 'queued' AND status = 'PENDING'",
        [(tx.in_ms(), task_id) for task_id in task_ids],
    )


def poll_now(tx: Transaction, task_id: TaskId) -> Task:
    """Make one task due now, unless it has ended for good; one that was given up may still bring its result.

    Raises:
        TaskNotFound: no task has this id.
    """
    task = get_task(tx.db, task_id)
    ended = task.status.is_terminal and not task.is_given_up
    if ended or task.external_id is None:
        return task
    tx.db.execute("UPDATE tasks SET due_at = ?, holder = NULL WHERE id = ?", (tx.in_ms(), task_id))
    return replace(task, due_at=tx.now)


# -- a wall clock that is set back -------------------------------------------------------------------------


def move_due_times_back(tx: Transaction, by: timedelta) -> None:
    """Move every due time back by as much: polls, submits, hooks, files, and the ends of leases."""
    by_ms = by // timedelta(milliseconds=1)
    is_due = "due_at IS NOT NULL"
    for table, which in (
        ("tasks", is_due),
        ("deliveries", is_due),
        ("archives", NEW_ARCHIVE),
        ("archives", WAITING_ARCHIVE),
    ):
        tx.db.execute(f"UPDATE {table} SET due_at = due_at - ? WHERE {which}", (by_ms,))
    # events from before the step do not show another one
    tx.db.execute(
        "INSERT INTO cursors (name, seq) VALUES (?, (SELECT coalesce(max(seq), 0) FROM events)), (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET seq = excluded.seq",
        (_CLOCK_SEEN, _CLOCK_AT, tx.in_ms()),
    )


def _follow_clock(tx: Transaction) -> None:
    """The same if the clock was set back while no process ran: then the last event lies in the future."""
    last: tuple[int, int] = tx.db.execute("SELECT seq, at FROM events ORDER BY seq DESC LIMIT 1").fetchone() or (0, 0)
    known: dict[str, int] = dict(
        tx.db.execute("SELECT name, seq FROM cursors WHERE name IN (?, ?)", (_CLOCK_SEEN, _CLOCK_AT)).fetchall()
    )
    last_seq, last_at = last
    at = known[_CLOCK_AT] if last_seq <= known.get(_CLOCK_SEEN, -1) else last_at
    seen = time_of(at)
    if seen > tx.now:
        move_due_times_back(tx, seen - tx.now)
