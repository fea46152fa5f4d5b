"""Slots of accounts: how many tasks of an account are in flight, and which creates wait for a free slot.

A task is in flight from the transaction that marks it as being sent until it ends or is queued again. A create waits
for a slot while it is queued and has no due time. A queued create with a lease, or one that is due, is about to be
sent: it counts, too, so that no later one takes its slot. One that is put off (due later, no lease) holds no slot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from tracker.store.sqlite.rows import TASK, task_from, tasks_from
from tracker.store.values import WaitingClaim

if TYPE_CHECKING:
    from tracker.domain.task import Task, TaskId
    from tracker.store.sqlite.rows import ReadRows
    from tracker.store.sqlite.transactions import Transaction

MAX_CLAIM = 64
"""Creates that one transaction claims."""

_IN_FLIGHT: Final = "(status = 'PENDING' OR status = 'RUNNING') AND submit_state <> 'queued'"
_ABOUT_TO_BE_SENT: Final = "submit_state = 'queued' AND (holder IS NOT NULL OR due_at <= :now)"
_WAITS: Final = "submit_state = 'queued' AND due_at IS NULL"

# every task that has not ended and does not wait has a due time
_COUNT_TAKEN: Final = f"""
    SELECT count(*) FROM (
        SELECT 1 FROM tasks INDEXED BY tasks_due WHERE account = :account AND due_at IS NOT NULL
            AND (({_IN_FLIGHT}) OR ({_ABOUT_TO_BE_SENT} AND rowid < :row)) LIMIT :slots)
"""
_SOME_WAITS: Final = f"""
    SELECT EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_unsent WHERE account = :account AND {_WAITS} AND rowid < :row)
"""
_LAST_ROW: Final = (1 << 63) - 1

# Two numbers for a task that waits: those in flight, and those that wait before it.
COUNT_LINE: Final = f"""
    iif({_WAITS}, json_array(
        (SELECT count(*) FROM tasks AS other INDEXED BY tasks_due
         WHERE other.account = tasks.account AND other.due_at IS NOT NULL
            AND (other.status = 'PENDING' OR other.status = 'RUNNING') AND other.submit_state <> 'queued'),
        (SELECT count(*) FROM tasks AS other INDEXED BY tasks_unsent
         WHERE other.account = tasks.account AND other.submit_state = 'queued' AND other.due_at IS NULL
            AND other.rowid < tasks.rowid)), NULL)
"""
_COUNT_WAITING: Final = (
    f"SELECT account, count(*) FROM tasks INDEXED BY tasks_unsent WHERE {_WAITS} GROUP BY account ORDER BY account"
)


def wait_if_full(tx: Transaction, task_id: TaskId, max_in_flight: int) -> Task | None:
    """Have a create wait that may not be sent yet; None when its slot is free, or when it is not to be sent at all."""
    found = tx.db.execute(
        "SELECT account, rowid FROM tasks WHERE id = ? AND submit_state = 'queued' AND status = 'PENDING'", (task_id,)
    ).fetchone()
    if found is None:
        return None
    values = {"account": found[0], "row": found[1], "slots": max_in_flight, "now": tx.in_ms()}
    ((taken,),) = tx.db.execute(_COUNT_TAKEN, values).fetchall()
    if taken < max_in_flight:
        ((some_waits,),) = tx.db.execute(_SOME_WAITS, values).fetchall()
        if not some_waits:
            return None
    row = tx.db.execute(
        f"UPDATE tasks SET due_at = NULL, holder = NULL, version = version + 1 WHERE id = ? RETURNING {TASK}",
        (task_id,),
    ).fetchall()
    return task_from(row[0][0])


def claim_waiting(tx: Transaction, account: str, max_in_flight: int | None, lease_s: float) -> WaitingClaim:
    """Lease creates that wait for a slot, as many as are free; the time to send them begins now."""
    free = MAX_CLAIM
    if max_in_flight is not None:
        values = {"account": account, "row": _LAST_ROW, "slots": max_in_flight, "now": tx.in_ms()}
        ((taken,),) = tx.db.execute(_COUNT_TAKEN, values).fetchall()
        free = min(free, max_in_flight - taken)
    ((found,),) = tx.db.execute(
        f"""
        SELECT json_group_array({TASK}) FROM (
            SELECT * FROM tasks INDEXED BY tasks_unsent WHERE account = ? AND {_WAITS} ORDER BY rowid LIMIT ?)
        """,
        (account, free + 1),
    ).fetchall()
    tasks = tasks_from(found)
    claimed = tasks[:free]
    if claimed:
        tx.db.execute(
            "UPDATE tasks SET due_at = ?, holder = ?, progress_at = ? WHERE id IN (SELECT value FROM json_each(?))",
            (tx.in_ms(lease_s), tx.holder, tx.in_ms(), orjson.dumps([task.id for task in claimed]).decode()),
        )
    return WaitingClaim(claimed, more=len(tasks) > len(claimed))


async def count_waiting(read: ReadRows) -> dict[str, int]:
    """Account -> how many creates wait for a slot; none for an account where none waits."""
    rows: list[tuple[str, int]] = [(account, waiting) for account, waiting in await read(_COUNT_WAITING, ())]
    return dict(rows)
