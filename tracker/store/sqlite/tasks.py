"""One task within a transaction: fetched, or brought together with the callbacks that came before it was known."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from msgspec.structs import replace

from tracker.domain.task import Task, TaskId
from tracker.errors import TaskNotFound
from tracker.store.sqlite.rows import TASK, task_from

_SELECT_TASK = f"SELECT {TASK} FROM tasks WHERE id = ?"


def get_task(db: sqlite3.Connection, task_id: TaskId) -> Task:
    """The task as this transaction sees it.

    Raises:
        TaskNotFound: no task has this id.
    """
    row = db.execute(_SELECT_TASK, (task_id,)).fetchone()
    if row is None:
        raise TaskNotFound(f"no task has the id {task_id}")
    return task_from(row[0])


def unpark(db: sqlite3.Connection, task: Task, now: datetime) -> Task:
    """A callback came before the id was known: it makes the tracker poll now. The task is not written here."""
    parked = db.execute(
        "DELETE FROM parked WHERE provider = ? AND external_id = ?", (task.provider, task.external_id)
    ).rowcount
    return replace(task, due_at=now) if parked and not task.status.is_terminal else task
