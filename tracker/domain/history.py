"""The history: of one task with all that explains it, and the events of all tasks as a feed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracker.domain.archives import ArchiveRecord
    from tracker.domain.records import DeliveryRecord, EventRecord, TaskRecord
    from tracker.domain.task import Task, TaskId


class WaitingLine(Struct, frozen=True):
    """The line in which a create waits for a slot of its account.

    Attributes:
        in_flight: tasks of the account that are in flight.
        before: tasks that wait before it.
    """

    in_flight: int
    before: int


class TaskHistory(Struct, frozen=True):
    """All that explains a task, as of one transaction; payloads and outputs of hooks are left out.

    Attributes:
        events, deliveries: oldest first.
        archives: the state of each output in the archive.
        line: None unless it waits for a slot.
    """

    task: Task
    events: Sequence[EventRecord] = ()
    deliveries: Sequence[DeliveryRecord] = ()
    archives: Sequence[ArchiveRecord] = ()
    line: WaitingLine | None = None


class FeedEvent(Struct, frozen=True):
    """An event in the history of all tasks: what filters need of it and of its task.

    Attributes:
        status: of the task right after the event.
        reason: why the task was FAILED right after the event; None: it was not.
    """

    seq: int
    task_id: TaskId
    status: str
    reason: str | None
    provider: str
    route: str
    account: str
    labels: Mapping[str, str]


class FeedItem(Struct, frozen=True):
    """An event in the history of all tasks, with its task as it is now.

    Attributes:
        omitted: which of ``payload``, ``task.request`` and ``task.result`` are too large to be read: they are None.
    """

    event: EventRecord
    record: TaskRecord
    omitted: tuple[str, ...] = ()
