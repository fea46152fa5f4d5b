"""Creation of tasks: the row, its request and labels, and what a repeated submit finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from tracker.domain.ids import shown_id
from tracker.domain.records import TaskRecord
from tracker.domain.task import SubmitState, Task
from tracker.domain.user_messages import user_message
from tracker.errors import IdempotencyConflict, SubmitInFlight, TaskNotFound
from tracker.store.sqlite.costs import check_budget
from tracker.store.sqlite.rows import RECORD_COLUMNS, TASK, cost_values, record_from, task_from, to_ms
from tracker.store.sqlite.unmatched import unpark
from tracker.store.values import Created

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from tracker.domain.task import TaskId
    from tracker.store.sqlite.transactions import Transaction
    from tracker.store.values import NewTask

SELECT_BY_KEY = f"SELECT {RECORD_COLUMNS}, fingerprint FROM tasks WHERE idempotency_key = ?"
_SELECT_TASK = f"SELECT {TASK} FROM tasks WHERE id = ?"


def get_task(db: sqlite3.Connection, task_id: TaskId) -> Task:
    """The task as this transaction sees it.

    Raises:
        TaskNotFound: no task has this id.
    """
    row = db.execute(_SELECT_TASK, (task_id,)).fetchone()
    if row is None:
        raise TaskNotFound(f"no task has the id {shown_id(task_id)}; tracker list shows the ids")
    return task_from(row[0])


def create_task(tx: Transaction, new: NewTask) -> Created:
    """Record a task, or find the one that it repeats; see the protocol."""
    known = _find_repeated(tx.db, new)
    if known is not None:
        return Created(known, is_new=False)
    check_budget(tx, new)
    task = Task(
        id=new.id,
        route=new.route,
        provider=new.provider,
        account=new.account,
        asset=new.asset,
        external_id=new.external_id,
        model=new.model,
        size=new.size,
        created_at=new.created_at,
        progress_at=new.created_at,
        due_at=new.due_at,
        submit_state=new.submit_state,
        expects_callback=new.expects_callback,
        price=new.price,
    )
    if task.external_id is not None:
        task = unpark(tx.db, task, new.created_at)
    _insert_task(tx, task, new)
    body = orjson.loads(new.request) if new.body is None and new.request is not None else new.body
    labels = dict(sorted(new.labels.items()))  # as they are read
    record = TaskRecord(
        task,
        body,
        labels=labels,
        idempotency_key=new.idempotency_key,
        fallbacks=new.fallbacks,
        origin=new.origin,
        retry_of=new.retry_of,
    )
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


def repeated_from(row: tuple[Any, ...], fingerprint: Callable[[str], str | None]) -> TaskRecord:
    """The task that a submit repeats, from a row of `SELECT_BY_KEY`.

    Args:
        row: the task that has the key.
        fingerprint: of the new submit, computed for the account of that task.

    Raises:
        IdempotencyConflict: the key was used with another fingerprint.
        SubmitInFlight: the task's first attempt is not decided yet.
    """
    record = record_from(row)
    task = record.task
    if row[-1] != fingerprint(task.account):
        raise IdempotencyConflict(
            f"the idempotency key {record.idempotency_key!r} was used with another payload, for task {task.id}"
        )
    # a create that waited, was held or put off before it was sent has no attempt, but its record changed meanwhile
    is_sending = task.submit_state is SubmitState.SENDING
    decided = task.submit_attempts - is_sending or task.version > 1 + is_sending
    unsent = task.submit_state in {SubmitState.QUEUED, SubmitState.SENDING}
    if unsent and not decided and not task.status.is_terminal:
        raise SubmitInFlight(f"task {task.id} with this idempotency key is being submitted right now")
    return record


def _insert_task(tx: Transaction, task: Task, new: NewTask) -> None:
    tx.db.execute(
        """
        INSERT INTO tasks (id, route, provider, account, asset, external_id, model, size, status, user_message,
            created_at, due_at, holder, progress_at, submit_state, expects_callback, idempotency_key, fingerprint,
            origin, retry_of, price_amount, price_currency)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            task.id,
            task.route,
            task.provider,
            task.account,
            task.asset,
            task.external_id,
            task.model,
            task.size,
            task.status.value,
            user_message(task),
            to_ms(task.created_at),
            to_ms(task.due_at),
            tx.holder if task.submit_state is SubmitState.QUEUED else None,
            to_ms(task.progress_at),
            task.submit_state.value,
            task.expects_callback,
            new.idempotency_key,
            new.fingerprint,
            new.origin.value,
            new.retry_of,
            *cost_values(task.price)[:2],
        ),
    )
    if new.request is not None:
        fallbacks = orjson.dumps(new.fallbacks).decode() if new.fallbacks else None
        tx.db.execute(
            "INSERT INTO requests (task_id, body, fallbacks) VALUES (?, ?, ?)", (task.id, new.request, fallbacks)
        )
    tx.db.executemany(
        "INSERT INTO labels (task_id, name, value) VALUES (?, ?, ?)",
        [(task.id, name, value) for name, value in new.labels.items()],
    )
