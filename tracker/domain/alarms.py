"""Alarms: what needs a person although the daemon works, and the events about them.

Owns the kinds. Must not decide when one is raised: `tracker.maintenance.alarms` does.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from msgspec import UNSET, Meta, Struct, UnsetType

from tracker.domain.hook_events import SystemEvent
from tracker.domain.records import Synthetic, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tracker.domain.records import Json
    from tracker.domain.task import Task


class AlarmKind(StrEnum):
    """What is wrong; the subject of the alarm is what it concerns."""

    ACCOUNT_MISSING = "account_missing"
    """The configuration does not have an account that open tasks need."""
    KEY_MISSING = "key_missing"
    """An account has no API key."""
    KEY_REJECTED = "key_rejected"
    """The service rejects the key of an account."""
    ADDRESS_WRONG = "address_wrong"
    """The base URL of an account does not have the paths of a provider."""
    QUOTA_EXHAUSTED = "quota_exhausted"
    """The balance or quota of an account is used up."""
    BUDGET_EXHAUSTED = "budget_exhausted"
    """The configured budget of an account is used up for today."""
    MODEL_GONE = "model_gone"
    """No account's list of models has a configured model; the subject is its key in the configuration."""
    UPSTREAM_CIRCUIT_OPEN = "upstream_circuit_open"
    """A host, or one provider behind it, does not answer or fails."""
    CALLBACKS_SILENT = "callbacks_silent"
    """No callbacks of a provider arrive, and polls find the ends."""
    CLOCK_SKEWED = "clock_skewed"
    """The clock of this machine differs from that of a host."""
    HOOK_CIRCUIT_OPEN = "hook_circuit_open"
    """A hook cannot be reached."""
    HOOK_DISABLED = "hook_disabled"
    """A hook answered that it is gone (HTTP 410)."""
    DEAD_DELIVERIES = "dead_deliveries"
    """A hook has deliveries whose attempts ran out."""
    ARCHIVE_BEHIND = "archive_behind"
    """Files wait to be archived, and the URLs of some expire before their turn."""
    ARCHIVE_GAVE_UP = "archive_gave_up"
    """Files could not be archived."""
    LOOP_LATE = "loop_late"
    """A loop or a periodic job does not complete its rounds, or the event loop is late."""
    DISK_LOW = "disk_low"
    """A disk is nearly full; the subject is a directory on it."""
    BACKUP_OLD = "backup_old"
    """The newest copy of the database is too old, although a timer makes them; the subject is their directory."""


OF_HOOKS: Final = frozenset({AlarmKind.HOOK_CIRCUIT_OPEN, AlarmKind.HOOK_DISABLED, AlarmKind.DEAD_DELIVERIES})
"""Kinds whose subject is a hook, which does not get their events."""
OF_THE_ARCHIVE: Final = frozenset({AlarmKind.ARCHIVE_BEHIND, AlarmKind.DISK_LOW})


class Alarm(Struct, frozen=True):
    """An alarm that is raised; also its public form."""

    kind: AlarmKind
    subject: Annotated[str, Meta(description="The account, provider, hook, host, loop or directory it is about.")]
    since: datetime
    message: Annotated[str, Meta(description="What is wrong, one sentence.")]
    fix: Annotated[str, Meta(description="What a person can do about it.")]


class Finding(NamedTuple):
    """A reason for an alarm, now."""

    kind: AlarmKind
    subject: str
    message: str
    fix: str


class StoredAlarm(Struct, frozen=True):
    """An alarm as it is stored.

    Attributes:
        is_raised: False for one that is cleared.
        announced_at: when it was last raised.
    """

    alarm: Alarm
    is_raised: bool
    announced_at: datetime


class AlarmEventView(Struct, frozen=True):
    """The event that every kind of hook gets about an alarm."""

    type: SystemEvent
    seq: Annotated[int, Meta(description="Position among the events of alarms, counted apart from those of tasks.")]
    delivery_id: Annotated[str, Meta(description="The same in every attempt, unique to the event; the webhook-id.")]
    at: Annotated[datetime, Meta(description="When the event was recorded, ISO 8601, UTC.")]
    alarm: Alarm
    test: Synthetic | UnsetType = UNSET


def alarm_json(alarm: Alarm) -> dict[str, Json]:
    """The public form of an alarm."""
    return to_json(Alarm, alarm)


def count_kinds(alarms: Iterable[Alarm]) -> Mapping[str, int]:
    """Kind -> how many alarms of it are raised, with zeros."""
    counts = dict.fromkeys(map(str, AlarmKind), 0)
    for alarm in alarms:
        counts[alarm.kind] += 1
    return counts


def is_about(alarm: Alarm, task: Task, *, waits_for_files: bool) -> bool:
    """Whether an alarm concerns a task, beyond what `tracker.tracking.blockers` finds.

    Args:
        alarm: the alarm.
        task: the task.
        waits_for_files: whether files of it are not archived yet.
    """
    if alarm.kind in OF_THE_ARCHIVE:
        return waits_for_files
    if task.status.is_terminal:
        return False
    match alarm.kind:
        case AlarmKind.KEY_MISSING:
            return alarm.subject == task.account
        case AlarmKind.CALLBACKS_SILENT:
            return alarm.subject == task.provider and task.expects_callback
        case AlarmKind.LOOP_LATE:
            return alarm.subject == "sweep"
        case _:
            return False
