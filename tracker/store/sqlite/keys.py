"""Idempotency keys: what a submit finds whose key was used before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracker.domain.task import SubmitState
from tracker.errors import IdempotencyConflict, SubmitInFlight
from tracker.store.sqlite.rows import RECORD_COLUMNS, record_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracker.domain.records import TaskRecord

SELECT_BY_KEY = f"SELECT {RECORD_COLUMNS}, fingerprint FROM tasks WHERE idempotency_key = ?"


def repeated_from(row: tuple[Any, ...], fingerprint: Callable[[str], str | None]) -> TaskRecord:
    """The task that a submit repeats, from a row of `SELECT_BY_KEY`.

    Args:
        row: the task that has the key.
        fingerprint: of what is submitted now, were it for this account.

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
    # a create that was held or put off before it was sent has no attempt, but its record has changed since it was made
    put_off = task.submit_state is SubmitState.QUEUED and task.version > 1
    decided = put_off or task.submit_attempts - (task.submit_state is SubmitState.SENDING)
    unsent = task.submit_state in {SubmitState.QUEUED, SubmitState.SENDING}
    if unsent and not decided and not task.status.is_terminal:
        raise SubmitInFlight(f"task {task.id} with this idempotency key is being submitted right now")
    return record
