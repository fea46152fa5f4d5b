"""Callbacks without a token: they make tasks due, or wait for a task that is not known yet; and rejected callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.task import GIVEN_UP_REASONS, Status, TaskId
from tracker.domain.unmatched import ParkedCallback, RejectedCallback, Unmatched
from tracker.store.sqlite.rows import placeholders, time_of
from tracker.store.values import PollsRequested

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from datetime import datetime

    from tracker.domain.task import ExternalId, Task
    from tracker.store.sqlite.rows import ReadRows
    from tracker.store.sqlite.transactions import Transaction

MAX_PARKED = 10_000
MAX_REJECTED = 1_000
MAX_REJECTED_CHARS = 16_384


async def list_unmatched(read: ReadRows, limit: int) -> Unmatched:
    """The latest callbacks that wait for their task, and that were rejected."""
    parked = await read(
        "SELECT provider, external_id, received_at, payload FROM parked ORDER BY received_at DESC, id DESC LIMIT ?",
        (limit,),
    )
    rejected = await read(
        "SELECT provider, received_at, http_status, why, body FROM rejected ORDER BY id DESC LIMIT ?", (limit,)
    )
    return Unmatched(
        [ParkedCallback(provider, name, time_of(at), payload) for provider, name, at, payload in parked],
        [RejectedCallback(provider, time_of(at), *rest) for provider, at, *rest in rejected],
    )


def request_polls(
    tx: Transaction, provider: str, external_ids: Sequence[ExternalId], payload: str | None
) -> PollsRequested:
    """Make the tasks with one of these ids due now that may still bring a result, or park the callback."""
    rows = tx.db.execute(
        f"SELECT id, status, reason FROM tasks WHERE external_id IN ({placeholders(external_ids)}) AND provider = ?",
        (*external_ids, provider),
    ).fetchall()
    if not rows:
        text = None if payload is None else payload[:MAX_REJECTED_CHARS]
        tx.db.executemany(
            "INSERT INTO parked (provider, external_id, received_at, payload) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (provider, external_id) DO UPDATE SET received_at = excluded.received_at,"
            " payload = excluded.payload",
            [(provider, external_id, tx.in_ms(), text) for external_id in external_ids],
        )
        tx.db.execute("DELETE FROM parked WHERE id <= (SELECT max(id) FROM parked) - ?", (MAX_PARKED,))
        return PollsRequested((), known=False)
    wanted = tuple(TaskId(row[0]) for row in rows if not Status(row[1]).is_terminal or row[2] in GIVEN_UP_REASONS)
    tx.db.executemany(
        "UPDATE tasks SET due_at = ?, holder = NULL, poll_step = 0 WHERE id = ?",
        [(tx.in_ms(), task_id) for task_id in wanted],
    )
    return PollsRequested(wanted, known=True)


def unpark(db: sqlite3.Connection, task: Task, now: datetime) -> Task:
    """The task, due now if a callback for it is parked, which is deleted. The task is not written here."""
    parked = db.execute(
        "DELETE FROM parked WHERE provider = ? AND external_id = ?", (task.provider, task.external_id)
    ).rowcount
    return replace(task, due_at=now) if parked and not task.status.is_terminal else task


def delete_parked(tx: Transaction, older_than_s: float) -> int:
    """Delete callbacks that have been parked for longer; the number of them."""
    return tx.db.execute("DELETE FROM parked WHERE received_at < ?", (tx.in_ms(-older_than_s),)).rowcount


def record_rejected(tx: Transaction, *, provider: str, http_status: int, why: str, body: str) -> None:
    """Store a rejected callback and delete the oldest ones beyond the bound."""
    tx.db.execute(
        "INSERT INTO rejected (provider, received_at, http_status, why, body) VALUES (?, ?, ?, ?, ?)",
        (provider, tx.in_ms(), http_status, why[:500], body[:MAX_REJECTED_CHARS]),
    )
    tx.db.execute("DELETE FROM rejected WHERE id <= (SELECT max(id) FROM rejected) - ?", (MAX_REJECTED,))
