"""The shapes of the answers about hooks; see `tracker.server.schemas`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tracker.domain.task import Status
from tracker.server.schemas import Answer, DeliveryView, TaskView


class HookEventView(Answer):
    """What a hook is told about a task; every kind of hook gets the same."""

    type: Literal["task.submitted", "task.running", "task.progress", "task.succeeded", "task.failed", "task.archived"]
    seq: int = Field(description="The entry of the task's history that it follows from.")
    delivery_id: str = Field(description="The same in every attempt; never that of another event. webhook-id has it.")
    at: str = Field(description="When the event was recorded, ISO 8601, UTC.")
    task: TaskView = Field(description="The task as it stood right after the event.")
    previous_status: Status
    test: Literal[True] | None = Field(default=None, description="Made up by tracker hooks test; absent otherwise.")


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
    failing_since: str | None = Field(description="Since when runs went wrong without a success; null while healthy.")
    last_error: str | None
    last_success_at: str | None
    last_failure_at: str | None
    deliveries: DeliveryCounts


class IgnoredFileView(Answer):
    """A file below the directory of hooks that is not run."""

    file: str
    reason: str
    fix: str | None = Field(description="The command that corrects it; null where nothing has to be corrected.")


class HookList(Answer):
    """Every hook: the configured, the dropped in, and those that only deliveries remember; and what is not run."""

    items: list[HookView]
    ignored: list[IgnoredFileView]


class DeliveryPage(Answer):
    """Runs of hooks for all tasks, newest first."""

    items: list[DeliveryView]
    next_cursor: str | None


class RetriedView(Answer):
    """How many deliveries were made pending."""

    retried: int
