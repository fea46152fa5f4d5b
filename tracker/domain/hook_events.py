"""The names that hooks are configured with: every event that they can hear, and the patterns that cover several.

Derived from the state machine's own list, so that a new event needs no second entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracker.domain.transitions import HookEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

EVENTS: Final[tuple[str, ...]] = tuple(event.value for event in HookEvent)
"""Every event that hooks can hear, in the order of a task's life."""

FINAL_STATUSES: Final = frozenset({413, 422, 451})
"""HTTP statuses of an endpoint that are about the content of an event: it is the same when it is sent again."""

PATTERNS: Final[Mapping[str, frozenset[str]]] = {
    **{event: frozenset({event}) for event in EVENTS},
    "task.finished": frozenset({HookEvent.SUCCEEDED.value, HookEvent.FAILED.value}),
    "task.*": frozenset(EVENTS),
}
"""What may stand in ``on``, each with the events that it covers; the narrower come before the wider."""
