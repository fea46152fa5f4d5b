"""The table of the state machine: what each status that can be told means for each standing that a task can have.

Owns the table alone; `tracker.domain.transitions` applies it.
"""

from __future__ import annotations

from enum import StrEnum

from tracker.domain.task import Status, Task


class Standing(StrEnum):
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


class Move(StrEnum):
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


TABLE: dict[tuple[Standing, Status], Move] = {
    (Standing.PENDING, Status.PENDING): Move.STAY,
    (Standing.PENDING, Status.RUNNING): Move.ADVANCE,
    (Standing.PENDING, Status.SUCCEEDED): Move.ADVANCE,
    (Standing.PENDING, Status.FAILED): Move.ADVANCE,
    (Standing.RUNNING, Status.PENDING): Move.STALE,
    (Standing.RUNNING, Status.RUNNING): Move.STAY,
    (Standing.RUNNING, Status.SUCCEEDED): Move.ADVANCE,
    (Standing.RUNNING, Status.FAILED): Move.ADVANCE,
    (Standing.SUCCEEDED, Status.PENDING): Move.STALE,
    (Standing.SUCCEEDED, Status.RUNNING): Move.STALE,
    (Standing.SUCCEEDED, Status.SUCCEEDED): Move.SAME,
    (Standing.SUCCEEDED, Status.FAILED): Move.CONFLICT,
    (Standing.FAILED, Status.PENDING): Move.STALE,
    (Standing.FAILED, Status.RUNNING): Move.STALE,
    (Standing.FAILED, Status.SUCCEEDED): Move.CONFLICT,
    (Standing.FAILED, Status.FAILED): Move.SAME,
    (Standing.GIVEN_UP, Status.PENDING): Move.STALE,
    (Standing.GIVEN_UP, Status.RUNNING): Move.STALE,
    (Standing.GIVEN_UP, Status.SUCCEEDED): Move.REVIVE,
    (Standing.GIVEN_UP, Status.FAILED): Move.SAME,
    (Standing.CANCELED, Status.PENDING): Move.CONFLICT,
    (Standing.CANCELED, Status.RUNNING): Move.CONFLICT,
    (Standing.CANCELED, Status.SUCCEEDED): Move.CONFLICT,
    (Standing.CANCELED, Status.FAILED): Move.CONFLICT,
}
"""(where the task stands, what a provider says) -> what follows. A verdict of the clock or of an operator on a
task that has ended is STALE whatever the cell says: it came too late."""


_STANDINGS = {status: Standing(status.value) for status in Status if status is not Status.FAILED}


def standing_of(task: Task) -> Standing:
    """The row of the table that a task stands in."""
    if task.status is not Status.FAILED:
        return _STANDINGS[task.status]
    if task.is_canceled:
        return Standing.CANCELED
    return Standing.GIVEN_UP if task.is_given_up else Standing.FAILED
