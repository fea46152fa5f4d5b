"""The table of the state machine: what a reported status means for a task in each phase.

Owns the table alone; `tracker.domain.transitions` applies it.
"""

from __future__ import annotations

from enum import StrEnum

from tracker.domain.task import Status, Task


class TaskPhase(StrEnum):
    """The rows of the table: a status, with FAILED split by who decided it."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    """Reported by the provider."""
    GIVEN_UP = "GIVEN_UP"
    """FAILED by the tracker's own decision (`GIVEN_UP_REASONS`)."""
    CANCELED = "CANCELED"
    """FAILED by an operator."""


class TransitionKind(StrEnum):
    """The cells of the table."""

    ADVANCE = "advance"
    """The status changes to the reported one."""
    STAY = "stay"
    """The same status: stage, progress and outputs may still advance."""
    STALE = "stale"
    """Older than what is known."""
    SAME = "same"
    """The known end, reported again."""
    REVIVE = "revive"
    """FAILED becomes SUCCEEDED: no paid result is thrown away."""
    CONFLICT = "conflict"
    """Contradicts a final status; recorded, not applied."""


# fmt: off
_ROWS = {  # reported:   PENDING  RUNNING  SUCCEEDED FAILED
    TaskPhase.PENDING:   "stay     advance  advance  advance",
    TaskPhase.RUNNING:   "stale    stay     advance  advance",
    TaskPhase.SUCCEEDED: "stale    stale    same     conflict",
    TaskPhase.FAILED:    "stale    stale    conflict same",
    TaskPhase.GIVEN_UP:  "stale    stale    revive   same",
    TaskPhase.CANCELED:  "conflict conflict conflict conflict",
}
# fmt: on
TABLE: dict[tuple[TaskPhase, Status], TransitionKind] = {
    (phase, status): TransitionKind(kind)
    for phase, row in _ROWS.items()
    for status, kind in zip(Status, row.split(), strict=True)
}
"""(phase of the task, reported status) -> what follows. What the clock or an operator decides about an ended task is
STALE in spite of the cell: it came too late."""

_FAILED = Status.FAILED  # Python 3.11 takes 60 ns to look it up, and each callback needs it
_PHASES = {status: TaskPhase(status.value) for status in Status if status is not _FAILED}


def phase_of(task: Task) -> TaskPhase:
    """The row of the table that applies to a task."""
    if task.status is not _FAILED:
        return _PHASES[task.status]
    if task.is_canceled:
        return TaskPhase.CANCELED
    return TaskPhase.GIVEN_UP if task.is_given_up else TaskPhase.FAILED
