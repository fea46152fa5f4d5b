"""The events that hooks can subscribe to, the patterns that cover several of them, and the states of a delivery."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class HookEvent(StrEnum):
    """The hook events of tasks, in the order of a task's life."""

    SUBMITTED = "task.submitted"
    RUNNING = "task.running"
    PROGRESS = "task.progress"
    SUCCEEDED = "task.succeeded"
    FAILED = "task.failed"
    ARCHIVED = "task.archived"
    """All files of a SUCCEEDED task are in the archive; it changes no status."""


class SystemEvent(StrEnum):
    """The hook events about the tracker itself, see `tracker.domain.alarms`."""

    ALARM = "system.alarm"
    CLEAR = "system.clear"


TASK_EVENTS: Final[tuple[str, ...]] = tuple(event.value for event in HookEvent)
SYSTEM_EVENTS: Final[tuple[str, ...]] = tuple(event.value for event in SystemEvent)
EVENTS: Final[tuple[str, ...]] = (*TASK_EVENTS, *SYSTEM_EVENTS)

FINAL_STATUSES: Final = frozenset({413, 422, 451})
"""HTTP statuses of an endpoint that are about the content of an event: sending it again does not help."""

PATTERNS: Final[Mapping[str, frozenset[str]]] = {
    **{event: frozenset({event}) for event in EVENTS},
    "task.finished": frozenset({HookEvent.SUCCEEDED.value, HookEvent.FAILED.value}),
    "system.*": frozenset(SYSTEM_EVENTS),
    "task.*": frozenset(TASK_EVENTS),
}
"""The values of ``on``, each with the events that it covers; narrower patterns come first."""


def covers(pattern: str, event: str) -> bool:
    """Whether an event pattern covers an event; an unknown pattern covers nothing."""
    return event in PATTERNS.get(pattern, ())


class DeliveryStatus(StrEnum):
    """The state of one run of a hook."""

    PENDING = "pending"
    """Waits for its turn, or for its next attempt."""
    RUNNING = "running"
    """Claimed by the dispatcher; found after a crash it is claimed again, with the same id."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Final by decision of the hook (exit 100)."""
    DEAD = "dead"
    """Final because its attempts ran out; can be retried by hand."""
