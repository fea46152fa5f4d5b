"""What changes tasks besides observations: creation, leases, nudges, and the callbacks that belong to nobody.

Plain functions of the write connection, each run inside one of the writer's transactions.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import orjson
from msgspec.structs import replace

from tracker.domain.records import TaskRecord
from tracker.domain.task import GIVEN_UP_REASONS, Status, SubmitState, Task, TaskId
from tracker.domain.user_messages import user_message
from tracker.store.sqlite.keys import SELECT_BY_KEY, repeated_from
from tracker.store.sqlite.rows import (
    RECORD_COLUMNS,
    TASK,
    moment_of,
    placeholders,
    record_from,
    task_from,
    to_ms,
)
from tracker.store.sqlite.tasks import get_task, unpark
from tracker.store.values import Created, Lane, NewTask, Nudged

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from datetime import datetime

    from tracker.domain.ai_models import Model
    from tracker.domain.task import ExternalId

_CLOCK_SEEN, _CLOCK_AT = "clock seen", "clock at"
"""Cursors: the last event when due times were brought back, and what the clock showed then."""
MAX_PARKED = 10_000
MAX_REJECTED = 1_000
MAX_REJECTED_CHARS = 16_384


def create_task(db: sqlite3.Connection, new: NewTask) -> Created:
    """Record a task, or find the one that it repeats.

    Raises:
        IdempotencyConflict: the key is known with another fingerprint.
        SubmitInFlight: the key is known and its first attempt is not decided yet.
    """
    known = _find_repeated(db, new)
    if known is not None:
        return Created(known, is_new=False)
    task = Task(
        id=new.id,
        route=new.route,
        provider=new.provider,
        account=new.account,
        asset=new.asset,
        external_id=new.external_id,
        model=new.model,
        created_at=new.created_at,
        progress_at=new.created_at,
        due_at=new.due_at,
        submit_state=new.submit_state,
        expects_callback=new.expects_callback,
    )
    if task.external_id is not None:
        task = unpark(db, task, new.created_at)
    _insert_task(db, task, new)
    body = orjson.loads(new.request) if new.body is None and new.request is not None else new.body
    labels = dict(sorted(new.labels.items()))  # as they are read
    record = TaskRecord(task, body, labels=labels, idempotency_key=new.idempotency_key, fallbacks=new.fallbacks)
    return Created(record, is_new=True)


def _find_repeated(db: sqlite3.Connection, new: NewTask) -> TaskRecord | None:
    if new.idempotency_key is not None:
        row = db.execute(SELECT_BY_KEY, (new.idempotency_key,)).fetchone()
        return None if row is None else repeated_from(row, lambda _: new.fingerprint)
    if new.external_id is not None:
        row = db.execute(
            f"SELECT {RECORD_COLUMNS} FROM tasks WHERE external_id = ? AND route = ? AND account = ?"
            " ORDER BY id LIMIT 1",
            (new.external_id, new.route, new.account),
        ).fetchone()
        return None if row is None else record_from(row)
    return None


def _insert_task(db: sqlite3.Connection, task: Task, new: NewTask) -> None:
    db.execute(
        """
        INSERT INTO tasks (id, route, provider, account, asset, external_id, model, status, user_message, created_at,
            due_at, leased, progress_at, submit_state, expects_callback, idempotency_key, fingerprint)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            task.id,
            task.route,
            task.provider,
            task.account,
            task.asset,
            task.external_id,
            task.model,
            task.status.value,
            user_message(task),
            to_ms(task.created_at),
            to_ms(task.due_at),
            task.submit_state is SubmitState.QUEUED,
            to_ms(task.progress_at),
            task.submit_state.value,
            task.expects_callback,
            new.idempotency_key,
            new.fingerprint,
        ),
    )
    if new.request is not None:
        fallbacks = orjson.dumps(new.fallbacks).decode() if new.fallbacks else None
        db.execute(
            "INSERT INTO requests (task_id, body, fallbacks) VALUES (?, ?, ?)", (task.id, new.request, fallbacks)
        )
    db.executemany(
        "INSERT INTO labels (task_id, name, value) VALUES (?, ?, ?)",
        [(task.id, name, value) for name, value in new.labels.items()],
    )


def mark_sending(db: sqlite3.Connection, task_id: TaskId, lease_until: datetime) -> Task | None:
    """Put on disk that the create goes out now."""
    row = db.execute(
        f"""
        UPDATE tasks SET submit_state = 'sending', submit_attempts = submit_attempts + 1, due_at = ?,
            leased = 1, version = version + 1
        WHERE id = ? AND submit_state = 'queued' AND status = 'PENDING' AND external_id IS NULL RETURNING {TASK}
        """,
        (to_ms(lease_until), task_id),
    ).fetchall()
    return task_from(row[0][0]) if row else None


def nudge(
    db: sqlite3.Connection,
    provider: str,
    external_ids: Sequence[ExternalId],
    payload: str | None,
    now: datetime,
) -> Nudged:
    """Make the tasks with one of these ids due now that may still bring a result, or park the callback."""
    rows = db.execute(
        f"""
        SELECT id, status, reason FROM tasks
        WHERE external_id IN ({placeholders(external_ids)}) AND provider = ?
        """,
        (*external_ids, provider),
    ).fetchall()
    if not rows:
        for external_id in external_ids:
            _park(db, provider, external_id, payload, now)
        return Nudged((), known=False)
    wanted = tuple(TaskId(row[0]) for row in rows if not Status(row[1]).is_terminal or row[2] in GIVEN_UP_REASONS)
    db.executemany(
        "UPDATE tasks SET due_at = ?, leased = 0, poll_step = 0 WHERE id = ?",
        [(to_ms(now), task_id) for task_id in wanted],
    )
    return Nudged(wanted, known=True)


def _park(db: sqlite3.Connection, provider: str, external_id: ExternalId, payload: str | None, now: datetime) -> None:
    db.execute(
        """
        INSERT INTO parked (provider, external_id, received_at, payload) VALUES (?, ?, ?, ?)
        ON CONFLICT (provider, external_id) DO UPDATE SET received_at = excluded.received_at,
            payload = excluded.payload
        """,
        (provider, external_id, to_ms(now), None if payload is None else payload[:MAX_REJECTED_CHARS]),
    )
    db.execute("DELETE FROM parked WHERE id <= (SELECT max(id) FROM parked) - ?", (MAX_PARKED,))


def replace_models(db: sqlite3.Connection, account: str, family: str, models: Sequence[Model], now: datetime) -> None:
    """Keep a family's list of an account's models in place of the one before."""
    db.execute("DELETE FROM models WHERE account = ? AND family = ?", (account, family))
    db.executemany(
        "INSERT INTO models (account, family, id, display_name, type, created_at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        [(account, family, model.id, model.display_name, model.type, model.created_at) for model in models],
    )
    db.execute(
        "INSERT INTO model_lists (account, family, synced_at) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET synced_at = excluded.synced_at",
        (account, family, to_ms(now)),
    )


def forget_parked(db: sqlite3.Connection, before: datetime) -> int:
    """Drop callbacks that were parked before a moment."""
    return db.execute("DELETE FROM parked WHERE received_at < ?", (to_ms(before),)).rowcount


def keep_rejected(
    db: sqlite3.Connection, *, provider: str, http_status: int, why: str, body: str, now: datetime
) -> None:
    """Keep a rejected callback; the oldest make room."""
    db.execute(
        "INSERT INTO rejected (provider, received_at, http_status, why, body) VALUES (?, ?, ?, ?, ?)",
        (provider, to_ms(now), http_status, why[:500], body[:MAX_REJECTED_CHARS]),
    )
    db.execute("DELETE FROM rejected WHERE id <= (SELECT max(id) FROM rejected) - ?", (MAX_REJECTED,))


def poll_now(db: sqlite3.Connection, task_id: TaskId, now: datetime) -> Task:
    """Make one task due now, unless it has ended for good; one that was given up may still bring its result.

    Raises:
        TaskNotFound: no task has this id.
    """
    task = get_task(db, task_id)
    ended = task.status.is_terminal and not task.is_given_up
    if ended or task.external_id is None:
        return task
    db.execute("UPDATE tasks SET due_at = ?, leased = 0 WHERE id = ?", (to_ms(now), task_id))
    return replace(task, due_at=now)


def bring_back_due_times(db: sqlite3.Connection, by: timedelta, now: datetime) -> None:
    """Have everything that is due some time fall due so much earlier: polls, submits, hooks, files, and leases."""
    by_ms = by // timedelta(milliseconds=1)
    for table in ("tasks", "deliveries", "archives"):
        db.execute(f"UPDATE {table} SET due_at = due_at - ? WHERE due_at IS NOT NULL", (by_ms,))
    # events from before the step are no sign of another one
    db.execute(
        "INSERT INTO cursors (name, seq) VALUES (?, (SELECT coalesce(max(seq), 0) FROM events)), (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET seq = excluded.seq",
        (_CLOCK_SEEN, _CLOCK_AT, to_ms(now)),
    )


def bring_back_after(db: sqlite3.Connection, now: datetime) -> None:
    """The same where the clock was set back while no process ran: the last event is then told to be still to come."""
    last: tuple[int, int] = db.execute("SELECT seq, at FROM events ORDER BY seq DESC LIMIT 1").fetchone() or (0, 0)
    known: dict[str, int] = dict(
        db.execute("SELECT name, seq FROM cursors WHERE name IN (?, ?)", (_CLOCK_SEEN, _CLOCK_AT)).fetchall()
    )
    last_seq, last_at = last
    at = known[_CLOCK_AT] if last_seq <= known.get(_CLOCK_SEEN, -1) else last_at
    seen = moment_of(at)
    if seen > now:
        bring_back_due_times(db, seen - now, now)


def claim_due(db: sqlite3.Connection, lane: Lane, limit: int, now: datetime, lease_until: datetime) -> list[Task]:
    """Take due tasks of a lane, longest waiting first, until the lease's end."""
    due = db.execute(
        f"""
        SELECT {TASK} FROM tasks
        WHERE account = ? AND provider = ? AND due_at <= ? ORDER BY due_at LIMIT ?
        """,
        (lane.account, lane.provider, to_ms(now), limit),
    ).fetchall()
    tasks = [task_from(row[0]) for row in due]
    lease = to_ms(lease_until)
    db.executemany("UPDATE tasks SET due_at = ?, leased = 1 WHERE id = ?", [(lease, task.id) for task in tasks])
    return tasks


def put_off(db: sqlite3.Connection, task_id: TaskId, until: datetime) -> None:
    """Give a claimed task back, due later; not when it was made due since, which ended the claim."""
    db.execute(
        "UPDATE tasks SET due_at = ?, leased = 0 WHERE id = ? AND leased = 1 AND due_at IS NOT NULL",
        (to_ms(until), task_id),
    )


def release_creates(db: sqlite3.Connection, task_ids: Sequence[TaskId], now: datetime) -> None:
    """Make those of these tasks due now that still wait to be sent."""
    db.executemany(
        "UPDATE tasks SET due_at = ?, leased = 0 WHERE id = ? AND submit_state = 'queued' AND status = 'PENDING'",
        [(to_ms(now), task_id) for task_id in task_ids],
    )


def give_back_leases(db: sqlite3.Connection, now: datetime) -> None:
    """What a previous process held falls due now: its sends, its polls and its deliveries.

    So do creates that it kept back because their account was refused: whether that is still so shows when one is sent.

    Only for an engine that knows that no other process has the file.
    """
    db.execute("UPDATE tasks SET due_at = ?, leased = 0 WHERE due_at IS NOT NULL AND leased = 1", (to_ms(now),))
    db.execute(
        """
        UPDATE tasks SET due_at = ? WHERE status = 'PENDING' AND submit_state = 'queued' AND (
            SELECT json_extract(reading, '$.held') FROM events
            WHERE task_id = tasks.id AND source = 'submit' ORDER BY seq DESC LIMIT 1)
        """,
        (to_ms(now),),
    )
    db.execute(
        "UPDATE deliveries SET status = 'pending', due_at = ? WHERE status = 'running'",
        (to_ms(now),),
    )
