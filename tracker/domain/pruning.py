"""Retention: the cutoff times and the counts that the store, a dry run and a report share.

Must not decide what is finished or delivered: the store does, in the transaction that deletes it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.domain.task import TaskId


@dataclass(frozen=True, slots=True)
class StepSize:
    """How much one step of a run deletes. Whatever else waits for the store's writer waits for a step.

    Attributes:
        rows: rows in one step, unless a single task has more.
        at_once: tasks in one statement; the time is checked between statements.
        lasts_s: a step ends after so long, with what it has done.
        pause_factor: the pause after a step, as a multiple of the time that the step took.
        pause_min_s: the shortest pause.
    """

    rows: int
    at_once: int
    lasts_s: float
    pause_factor: float
    pause_min_s: float


BESIDE_CALLBACKS = StepSize(rows=128, at_once=4, lasts_s=0.002, pause_factor=4.0, pause_min_s=0.002)
"""Steps that hardly delay the callbacks of a running daemon."""
ALONE = StepSize(rows=8192, at_once=128, lasts_s=0.5, pause_factor=0.0, pause_min_s=0.0)
"""Steps of a process that has the file for itself: a commit is a small part of each, and nothing waits."""


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """Data of tasks that finished before these times is deleted; None: never.

    Attributes:
        events: the history, with the deliveries that succeeded or failed permanently.
        payloads: the bodies of requests and of upstream answers.
        outputs: archived files.
    """

    events: datetime | None = None
    payloads: datetime | None = None
    outputs: datetime | None = None


@dataclass(frozen=True, slots=True)
class Pruned:
    """The counts of what was deleted, or would be.

    Attributes:
        tasks: tasks that lost data; their rows stay.
        payloads: upstream bodies of events that stay.
        requests: bodies of requests, prompts included.
        files, file_bytes: archived files and their size.
        freed_bytes: by how much the database file shrank.
    """

    tasks: int = 0
    events: int = 0
    deliveries: int = 0
    payloads: int = 0
    requests: int = 0
    files: int = 0
    file_bytes: int = 0
    freed_bytes: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(*(getattr(self, name) + getattr(other, name) for name in _COUNTS))

    @property
    def rows(self) -> int:
        """The changed rows: the cost of a transaction grows with them."""
        return self.tasks + self.events + self.deliveries + self.payloads + self.requests


_COUNTS = tuple(field.name for field in fields(Pruned))


@dataclass(frozen=True, slots=True)
class Prunable:
    """One finished task with data to delete, and how much."""

    task_id: TaskId
    counts: Pruned


@dataclass(frozen=True, slots=True)
class PrunablePage:
    """The prunable tasks among the next ones.

    Attributes:
        next_cursor: where to continue; None when all tasks were checked.
    """

    items: tuple[Prunable, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An archived file of a finished task.

    Attributes:
        identity: of the output.
        path: relative to the archive.
    """

    task_id: TaskId
    identity: str
    path: str
    bytes: int


def days_before(now: datetime, days: int) -> datetime | None:
    """The time so many days ago; None for 0 (never) and for more days than the calendar has."""
    try:
        return now - timedelta(days=days) if days > 0 else None
    except OverflowError:
        return None
