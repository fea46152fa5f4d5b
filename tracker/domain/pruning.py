"""What retention drops, in words that a store, a dry run and a report share.

Owns the moments before which things of finished tasks go, and the counts of what went. Must not decide what is
finished or delivered: the store does, in the transaction that drops it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.domain.task import TaskId


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """What belongs to tasks that finished before these moments is dropped; None keeps for ever.

    Attributes:
        events: the history, with the deliveries that succeeded or failed for good.
        payloads: the bodies of requests, and of what the upstream said.
        outputs: archived files.
    """

    events: datetime | None = None
    payloads: datetime | None = None
    outputs: datetime | None = None


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was dropped, or would be.

    Attributes:
        tasks: whose history or bodies it was; their rows stay.
        events: whole entries of histories.
        deliveries: hook runs of those histories.
        payloads: upstream bodies of events that stay.
        requests: bodies of requests, prompts and all.
        files: archived files.
        file_bytes: their size.
        freed_bytes: what the database file gave back.
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
        """Rows that are touched: the cost of a transaction grows with them."""
        return self.tasks + self.events + self.deliveries + self.payloads + self.requests


_COUNTS = tuple(field.name for field in fields(Pruned))


@dataclass(frozen=True, slots=True)
class Prunable:
    """One finished task with something to drop, and how much that is."""

    task_id: TaskId
    counts: Pruned


@dataclass(frozen=True, slots=True)
class PrunablePage:
    """What was found among the next tasks.

    Attributes:
        next_cursor: where to look on; None when all tasks were looked at.
    """

    items: tuple[Prunable, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An archived file of a finished task.

    Attributes:
        identity: which output of the task it is.
        path: relative to the archive.
    """

    task_id: TaskId
    identity: str
    path: str
    bytes: int


def days_before(now: datetime, days: int) -> datetime | None:
    """The moment so many days ago; None for 0 (keep for ever) and for more days than the calendar has."""
    try:
        return now - timedelta(days=days) if days > 0 else None
    except OverflowError:
        return None
