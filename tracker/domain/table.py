"""The table of the state machine: what each status that can be told means for each standing that a task can have.

Owns the table alone; `tracker.domain.transitions` applies it.
"""

from __future__ import annotations

from enum import StrEnum

from tracker.domain.task import Status, Task


class TaskPhase(StrEnum):
    """The rows of the table: a status, with FAILED told apart by whose verdict it was."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    """The provider's word."""
    GIVEN_UP = "GIVEN_UP"
    """FAILED by the tracker's own verdict (`GIVEN_UP_REASONS`)."""
    CANCELED = "CANCELED"
    """FAILED by an operator."""


class TransitionKind(StrEnum):
    """The cells of the table."""

    ADVANCE = "advance"
    """The status changes to what was said."""
    STAY = "stay"
    """The same status: stage, progress and outputs may still come forward."""
    STALE = "stale"
    """Older than what is known."""
    SAME = "same"
    """The end that is known already."""
    REVIVE = "revive"
    """FAILED becomes SUCCEEDED: no paid result is thrown away."""
    CONFLICT = "conflict"
    """Contradicts a final word; recorded, not applied."""


TABLE: dict[tuple[TaskPhase, Status], TransitionKind] = {
    (TaskPhase.PENDING, Status.PENDING): TransitionKind.STAY,
    (TaskPhase.PENDING, Status.RUNNING): TransitionKind.ADVANCE,
    (TaskPhase.PENDING, Status.SUCCEEDED): TransitionKind.ADVANCE,
    (TaskPhase.PENDING, Status.FAILED): TransitionKind.ADVANCE,
    (TaskPhase.RUNNING, Status.PENDING): TransitionKind.STALE,
    (TaskPhase.RUNNING, Status.RUNNING): TransitionKind.STAY,
    (TaskPhase.RUNNING, Status.SUCCEEDED): TransitionKind.ADVANCE,
    (TaskPhase.RUNNING, Status.FAILED): TransitionKind.ADVANCE,
    (TaskPhase.SUCCEEDED, Status.PENDING): TransitionKind.STALE,
    (TaskPhase.SUCCEEDED, Status.RUNNING): TransitionKind.STALE,
    (TaskPhase.SUCCEEDED, Status.SUCCEEDED): TransitionKind.SAME,
    (TaskPhase.SUCCEEDED, Status.FAILED): TransitionKind.CONFLICT,
    (TaskPhase.FAILED, Status.PENDING): TransitionKind.STALE,
    (TaskPhase.FAILED, Status.RUNNING): TransitionKind.STALE,
    (TaskPhase.FAILED, Status.SUCCEEDED): TransitionKind.CONFLICT,
    (TaskPhase.FAILED, Status.FAILED): TransitionKind.SAME,
    (TaskPhase.GIVEN_UP, Status.PENDING): TransitionKind.STALE,
    (TaskPhase.GIVEN_UP, Status.RUNNING): TransitionKind.STALE,
    (TaskPhase.GIVEN_UP, Status.SUCCEEDED): TransitionKind.REVIVE,
    (TaskPhase.GIVEN_UP, Status.FAILED): TransitionKind.SAME,
    (TaskPhase.CANCELED, Status.PENDING): TransitionKind.CONFLICT,
    (TaskPhase.CANCELED, Status.RUNNING): TransitionKind.CONFLICT,
    (TaskPhase.CANCELED, Status.SUCCEEDED): TransitionKind.CONFLICT,
    (TaskPhase.CANCELED, Status.FAILED): TransitionKind.CONFLICT,
}
"""(where the task stands, what a provider says) -> what follows. A verdict of the clock or of an operator on a
task that has ended is STALE whatever the cell says: it came too late."""


_STANDINGS = {status: TaskPhase(status.value) for status in Status if status is not Status.FAILED}


def phase_of(task: Task) -> TaskPhase:
    """The row of the table that a task stands in."""
    if task.status is not Status.FAILED:
        return _STANDINGS[task.status]
    if task.is_canceled:
        return TaskPhase.CANCELED
    return TaskPhase.GIVEN_UP if task.is_given_up else TaskPhase.FAILED
