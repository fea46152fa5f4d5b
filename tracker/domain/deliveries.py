"""Deliveries that were claimed, with all that their hooks need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tracker.domain.durations import NO_OUTLOOK

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.domain.alarms import Alarm
    from tracker.domain.durations import Outlook
    from tracker.domain.records import TaskRecord


@dataclass(frozen=True, slots=True)
class DeliveryJob:
    """A delivery that was claimed: a `TaskJob` or an `AlarmJob`.

    Attributes:
        attempt: number of this attempt, 1 or more.
        at: when the event was recorded.
        is_test: a synthetic delivery, to test a hook.
    """

    id: str
    hook: str
    event: str
    seq: int
    attempt: int
    at: datetime
    is_test: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class TaskJob(DeliveryJob):
    """A delivery of an event of a task.

    Attributes:
        previous_status: the task's status before the event.
        record: the task as it stood right after the event.
        outlook: the future of the task, when the attempt begins.
    """

    previous_status: str
    record: TaskRecord
    outlook: Outlook = NO_OUTLOOK


@dataclass(frozen=True, slots=True)
class AlarmJob(DeliveryJob):
    """A delivery of an event of an alarm.

    Attributes:
        alarm: the alarm; in the event that clears it, as it was raised.
    """

    alarm: Alarm
