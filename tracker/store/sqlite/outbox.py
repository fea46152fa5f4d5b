"""The outbox: committed events become deliveries; deliveries are leased and end.

An event that announces something is put into the outbox by its own transaction, and leaves it in the one that inserts
its deliveries. So each is fanned out exactly once, in whatever order events become visible.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import orjson
from msgspec.structs import replace

from tracker.domain.deliveries import TaskJob
from tracker.domain.hook_events import DeliveryStatus, HookEvent
from tracker.domain.ids import shown_id
from tracker.domain.records import DeliveryRecord
from tracker.domain.task import TaskId
from tracker.errors import DeliveryNotFound
from tracker.store.sqlite import alarms
from tracker.store.sqlite.rows import (
    ATTEMPT_OUTPUT_MAX,
    DELIVERY_COLUMNS,
    RECORD_COLUMNS,
    delivery_conditions,
    delivery_from,
    embed,
    record_from,
    task_at_snapshot,
    time_of,
    where_clause,
)
from tracker.store.values import Announcement, AttemptResult, DeliveryFilter, Match

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from datetime import datetime

    from tracker.domain.deliveries import DeliveryJob
    from tracker.store.sqlite.rows import Row
    from tracker.store.sqlite.transactions import Transaction


_ONCE: Final = frozenset({HookEvent.SUCCEEDED.value, HookEvent.FAILED.value, HookEvent.ARCHIVED.value})
"""Events that a task has at most once, see `tracker.domain.transitions`."""


_PAGE: Final = """
    SELECT count(*), max(seq), json_group_array(json_array(seq, announces, task_id, provider, route, account,
            (SELECT json_group_object(name, value) FROM labels WHERE task_id = page.task_id), dedupe_key))
    FROM (SELECT outbox.seq, announces, task_id, provider, route, account, dedupe_key
          FROM outbox CROSS JOIN events ON events.seq = outbox.seq CROSS JOIN tasks ON tasks.id = events.task_id
          ORDER BY outbox.seq LIMIT ?) AS page
"""
"""All rows as one JSON text: for each row that is fetched, or written separately, this thread would have to take the
interpreter lock back from the event loop."""


def put(db: sqlite3.Connection, seqs: Sequence[int]) -> None:
    """Put new events that announce something into the outbox, in the transaction that writes them."""
    db.execute("INSERT INTO outbox (seq) SELECT value FROM json_each(?)", (orjson.dumps(seqs).decode(),))


def fan_out(tx: Transaction, match: Match | None, limit: int) -> int:
    """Take the oldest events out of the outbox and insert their deliveries."""
    db = tx.db
    of_alarms = alarms.fan_out(tx, match, limit)
    if match is None:
        db.execute("DELETE FROM outbox WHERE true")  # without a condition it would write even where nothing is
        return 0
    looked_at: int
    looked_at, last, announced = db.execute(_PAGE, (limit,)).fetchone()
    if not looked_at:
        return of_alarms
    new = []
    for seq, announces, task_id, provider, route, account, labels, key in orjson.loads(announced):
        for index, event in enumerate(announces.split()):
            announcement = Announcement(seq, index, event, TaskId(task_id), provider, route, account, labels)
            new += [
                (_delivery_id(task_id, event, hook, key), task_id, seq, hook, event) for hook in match(announcement)
            ]
    if new:
        db.execute(
            """
            INSERT INTO deliveries (id, task_id, seq, hook, event, status, due_at, created_at)
            SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, 'pending', :now, :now
            FROM json_each(:new) WHERE true ORDER BY key ON CONFLICT DO NOTHING
            """,
            {"new": orjson.dumps(new).decode(), "now": tx.in_ms()},
        )
    db.execute("DELETE FROM outbox WHERE seq <= ?", (last,))  # those looked at: this transaction has the only writer
    return max(looked_at, of_alarms)


def _delivery_id(task_id: str, event: str, hook: str, key: str) -> str:
    """The id of a delivery: made of its content, since a restored backup repeats values of `seq`.

    A task ends once and is archived once, so such an event has the same id in every copy of the file; others are
    distinguished by the key of their observation, which is unique within the task.
    """
    parts = (task_id, event, hook) if event in _ONCE else (task_id, event, hook, key)
    return "dlv_" + hashlib.blake2b("\x1f".join(parts).encode(), digest_size=12).hexdigest()


_CLAIMABLE: Final = f"""
    SELECT delivery, named, of, tries, about, change.at, change.from_status, change.snapshot, {RECORD_COLUMNS}
    FROM (
        SELECT id AS delivery, event AS named, seq AS of, attempts AS tries, task_id AS whose, alarm_id AS about
        FROM deliveries AS mine
        WHERE hook = ? AND due_at <= ? AND NOT EXISTS (
            -- without the hint the planner scans all that is due, once for each row
            SELECT 1 FROM deliveries AS earlier INDEXED BY deliveries_open
            WHERE earlier.task_id = mine.task_id AND earlier.hook = mine.hook AND earlier.due_at IS NOT NULL
              AND (earlier.seq < mine.seq OR (earlier.seq = mine.seq AND earlier.rowid < mine.rowid)))
          AND {alarms.IS_NEXT_OF_ALARM}
        ORDER BY due_at, mine.rowid LIMIT ?
    ) LEFT JOIN tasks ON tasks.id = whose
    LEFT JOIN (SELECT seq AS change_seq, at, from_status, snapshot FROM events) AS change
        ON change_seq = of AND about IS NULL
"""


def claim_deliveries(tx: Transaction, hook: str, limit: int, lease_s: float) -> list[DeliveryJob]:
    """Lease due deliveries of a hook, of each task and alarm only the oldest unfinished one."""
    rows = tx.db.execute(_CLAIMABLE, (hook, tx.in_ms(), limit)).fetchall()
    tx.db.execute(
        "UPDATE deliveries SET status = 'running', attempts = attempts + 1, due_at = ?, holder = ?"
        " WHERE id IN (SELECT value FROM json_each(?))",
        (tx.in_ms(lease_s), tx.holder, orjson.dumps([row[0] for row in rows]).decode()),
    )
    of_alarms = {row[0] for row in rows if row[4] is not None}
    jobs: list[DeliveryJob] = [*alarms.read_jobs(tx.db, hook, of_alarms)]
    return jobs + [_job_from(hook, row) for row in rows if row[0] not in of_alarms]


def _job_from(hook: str, row: Row) -> TaskJob:
    """A delivery with the task as it stood right after its event, when that was, and its status before."""
    delivery_id, event, seq, attempts, _, at_ms, previous, snapshot, *columns = row
    record = record_from(tuple(columns), decode=embed)
    at = record.task.created_at if at_ms is None else time_of(at_ms)
    if snapshot is not None:
        known_by_then = record.task.result_seq is not None and record.task.result_seq <= seq
        result = record.result if known_by_then else None
        record = replace(record, task=task_at_snapshot(snapshot), result=result)
    return TaskJob(delivery_id, hook, event, seq, attempts + 1, at, previous or record.task.status.value, record)


_OUTCOMES: Final = {DeliveryStatus.FAILED: "failed", DeliveryStatus.DEAD: "dead"}

_NEXT_N: Final = "coalesce((SELECT max(n) FROM delivery_attempts WHERE delivery_id = deliveries.id), 0) + 1"

_RECORD_FAILED: Final = f"""
    INSERT INTO delivery_attempts (delivery_id, n, attempt, started_at, took_ms, outcome, error, output)
    SELECT deliveries.id, {_NEXT_N}, ended.value ->> 1, ended.value ->> 2, ended.value ->> 3, ended.value ->> 4,
        ended.value ->> 5, ended.value ->> 6
    FROM json_each(?) AS ended CROSS JOIN deliveries ON deliveries.id = ended.value ->> 0
    WHERE status = 'running' AND attempts = ended.value ->> 1 AND holder = ?
"""


def record_attempts(
    db: sqlite3.Connection, holder: str, attempts: Sequence[tuple[datetime, str, AttemptResult, int]]
) -> Sequence[None]:
    """Store how attempts ended, each if this process still holds its lease.

    Args:
        db: the write connection, in a transaction.
        holder: this process.
        attempts: of each when it ended, its delivery, its result, and the number that it was claimed with.
    """
    rows = []
    failed = []
    for now, delivery_id, result, attempt in attempts:
        at = round(now.timestamp() * 1000)
        started_at = None if result.started_at is None else round(result.started_at.timestamp() * 1000)
        took_ms = round(result.took_s * 1000)
        due_at = at + round((result.retry_in_s or 0.0) * 1000) if result.status is DeliveryStatus.PENDING else None
        finished_at = at if due_at is None else None
        rows.append(
            (
                delivery_id,
                attempt,
                0 if result.counts else 1,
                result.status.value,
                due_at,
                result.error,
                result.output,
                finished_at,
                started_at,
                took_ms,
            )
        )
        if result.status is not DeliveryStatus.SUCCEEDED and started_at is not None:
            output = result.output and result.output[-ATTEMPT_OUTPUT_MAX:]
            outcome = _OUTCOMES.get(result.status, "retry")
            failed.append((delivery_id, attempt, started_at, took_ms, outcome, result.error, output))
    if failed:  # before the lease ends below
        db.execute(_RECORD_FAILED, (orjson.dumps(failed).decode(), holder))
    db.execute(
        """
        UPDATE deliveries SET attempts = attempts - (ended.value ->> 2), status = ended.value ->> 3,
            due_at = ended.value ->> 4, holder = NULL, error = ended.value ->> 5, output = ended.value ->> 6,
            finished_at = ended.value ->> 7, started_at = ended.value ->> 8, took_ms = ended.value ->> 9
        FROM json_each(?) AS ended
        WHERE deliveries.id = ended.value ->> 0 AND status = 'running' AND attempts = ended.value ->> 1 AND holder = ?
        """,
        (orjson.dumps(rows).decode(), holder),
    )
    return [None] * len(attempts)


def release_deliveries(tx: Transaction, claims: Sequence[tuple[str, int]]) -> None:
    """Undo claims that were not begun; what an earlier attempt left stays."""
    tx.db.executemany(
        "UPDATE deliveries SET status = 'pending', attempts = attempts - 1, due_at = ?, holder = NULL"
        " WHERE id = ? AND attempts = ? AND status = 'running' AND holder = ?",
        [(tx.in_ms(), *claim, tx.holder) for claim in claims],
    )


def fail_deliveries(tx: Transaction, hook: str, error: str) -> int:
    """End all pending deliveries of a hook as failed."""
    return tx.db.execute(
        "UPDATE deliveries SET status = 'failed', due_at = NULL, error = ?, finished_at = ?"
        " WHERE hook = ? AND due_at IS NOT NULL AND status = 'pending'",
        (error, tx.in_ms(), hook),
    ).rowcount


def retry_deliveries(tx: Transaction, wanted: DeliveryFilter) -> int:
    """Make the failed and dead deliveries that match pending again."""
    clause, values = where_clause(("status IN ('failed', 'dead')",), *delivery_conditions(wanted))
    return tx.db.execute(
        f"UPDATE deliveries SET status = 'pending', attempts = 0, due_at = ?, finished_at = NULL {clause}",
        (tx.in_ms(), *values),
    ).rowcount


def retry_delivery(tx: Transaction, delivery_id: str, *, again: bool = False) -> DeliveryRecord:
    """Make a failed or dead delivery pending again, with ``again`` a succeeded one too; any other stays as it is.

    Raises:
        DeliveryNotFound: no delivery has this id.
    """
    if again:  # the success is in the delivery alone
        tx.db.execute(
            f"""
            INSERT INTO delivery_attempts (delivery_id, n, attempt, started_at, took_ms, outcome, output)
            SELECT id, {_NEXT_N}, attempts, started_at, took_ms, 'succeeded', substr(output, -{ATTEMPT_OUTPUT_MAX})
            FROM deliveries WHERE id = ? AND status = 'succeeded'
            """,
            (delivery_id,),
        )
    tx.db.execute(
        """
        UPDATE deliveries SET status = 'pending', attempts = 0, due_at = ?, finished_at = NULL
        WHERE id = ? AND (status IN ('failed', 'dead') OR (status = 'succeeded' AND ?))
        """,
        (tx.in_ms(), delivery_id, again),
    )
    row = tx.db.execute(f"SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE id = ?", (delivery_id,)).fetchone()
    if row is None:
        raise DeliveryNotFound(f"no delivery has the id {shown_id(delivery_id)}; tracker deliveries list shows them")
    return delivery_from(row)
