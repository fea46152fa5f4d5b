"""The shapes of the answers about hooks; see `tracker.server.models`."""

from __future__ import annotations

from typing import Literal

from tracker.server.models import Answer, DeliveryView


class DeliveryCounts(Answer):
    """Deliveries by status."""

    pending: int
    running: int
    succeeded: int
    failed: int
    dead: int


class HookView(Answer):
    """A hook, and how it is doing since the daemon started or was reloaded."""

    name: str
    kind: str | None
    on: list[str]
    state: Literal["healthy", "failing", "open", "probing", "disabled", "absent"]
    running: int
    failures: int
    retry_in_s: float | None
    last_error: str | None
    last_success_at: str | None
    last_failure_at: str | None
    deliveries: DeliveryCounts


class HookList(Answer):
    """Every hook: the configured, the dropped in, and those that only deliveries remember."""

    items: list[HookView]


class DeliveryPage(Answer):
    """Runs of hooks for all tasks, newest first."""

    items: list[DeliveryView]
    next_cursor: str | None


class RetriedView(Answer):
    """How many deliveries were made pending."""

    retried: int
