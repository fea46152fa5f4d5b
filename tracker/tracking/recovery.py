"""What a person does about a task: stop following it, send its request again, or name its upstream id.

Owns when each is possible. A paid create is sent by the submitter alone, and a task changes by an observation alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.domain.ids import shown_id
from tracker.domain.observation import Observation, Reading, Submission
from tracker.domain.statuses import Origin, Reason, Source, Status
from tracker.domain.task import SubmitState
from tracker.errors import NotAdoptable, NotRepeatable
from tracker.tracking.intake import SubmitRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from datetime import datetime

    from tracker.domain.records import TaskRecord
    from tracker.domain.task import ExternalId, TaskId
    from tracker.store.protocol import Store
    from tracker.store.values import Applied
    from tracker.tracking.reconciler import Reconciler
    from tracker.tracking.submitter import Submitted, Submitter


async def resubmit(
    store: Store, submitter: Submitter, task_id: TaskId, idempotency_key: str | None = None
) -> Submitted:
    """Send the request of a task again, as a new paid job with its labels and account.

    Args:
        store: has the task.
        submitter: sends the create.
        task_id: the task.
        idempotency_key: None: a second resubmit of the same task returns the new task of the first, so that a
            repeated call is not paid twice.

    Raises:
        TaskNotFound: no task has this id.
        NotRepeatable: there is no request to send again.
        RequestInvalid, IdempotencyConflict, SubmitInFlight, StoreUnavailable, WriteUnknown: see `Submitter.submit`.
    """
    return await submitter.submit(repetition_of(await store.get_task(task_id), idempotency_key))


def repetition_of(record: TaskRecord, idempotency_key: str | None = None) -> SubmitRequest:
    """The submit that sends the request of a task again, see `resubmit`.

    Raises:
        NotRepeatable: there is no request to send again.
    """
    if record.request is None:
        is_foreign = record.origin is Origin.REGISTER
        raise NotRepeatable("it was created elsewhere" if is_foreign else "its request is no longer stored")
    return SubmitRequest(
        route=record.task.route,
        request=record.request,
        labels=record.labels,
        account=record.task.account,
        idempotency_key=idempotency_key or f"resubmit:{record.task.id}",
        fallbacks=record.fallbacks,
        retry_of=record.task.id,
    )


def cancel(reconciler: Reconciler, task_id: TaskId, now: datetime, by: str) -> Awaitable[Applied]:
    """Stop following a task: unless it has ended, it becomes FAILED with reason canceled.

    Args:
        reconciler: applies it.
        task_id: the task.
        now: the current time.
        by: who acts, for the history.

    Raises:
        TaskNotFound: no task has this id.
    """
    detail = f"canceled by {by}"
    reading = Reading(status=Status.FAILED, reason=Reason.CANCELED, retryable=False, detail=detail)
    return reconciler.apply(Observation(task_id, Source.OPERATOR, now, reading))


async def adopt(
    store: Store,
    reconciler: Reconciler,
    task_id: TaskId,
    external_id: ExternalId,
    now: datetime,
    *,
    by: str = "an operator",
) -> TaskRecord:
    """Give a task whose create got no clear answer the upstream id that was found elsewhere, and follow it.

    A task that was given up stays FAILED until the upstream reports its success. ``by`` says in the history who acts.

    Raises:
        TaskNotFound: no task has this id.
        NotAdoptable: its create is decided, or another task has that upstream id.
    """
    record = await store.get_task(task_id)
    task = record.task
    if task.external_id == external_id:
        return record
    if task.external_id is not None:
        raise NotAdoptable(f"it has the service's id {shown_id(task.external_id)} already")
    is_undecided = task.submit_state is SubmitState.AMBIGUOUS and not task.status.is_terminal
    if not (is_undecided or task.is_given_up):
        raise NotAdoptable("only a task whose create got no clear answer can take one")
    reading = Reading(submission=Submission.ACCEPTED, external_id=external_id, detail=f"by {by}")
    applied = await reconciler.apply(Observation(task_id, Source.OPERATOR, now, reading))
    if applied.task.external_id != external_id:  # another one came first
        raise NotAdoptable(f"it has the service's id {shown_id(applied.task.external_id)} already")
    return await store.get_task(task_id)
