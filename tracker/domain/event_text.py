"""The sentences of the history about a decision, see `tracker.domain.transitions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.domain.task import Task, UpstreamError


def describe_advance(before: Task, after: Task) -> str:
    """What changed in a task that goes on."""
    parts = [after.status if after.status is not before.status else "progress"]
    if after.stage is not before.stage:
        parts.append(f"stage {after.stage}")
    if after.progress != before.progress:
        parts.append(f"{after.progress} %")
    if after.outputs != before.outputs:
        parts.append(f"{count_outputs(len(after.outputs))} so far")
    return ", ".join(parts)


def count_outputs(count: int) -> str:
    """A number of outputs."""
    return f"{count} output{'' if count == 1 else 's'}"


def final_text(task: Task) -> str:
    """How a task ended."""
    return f"{task.status} ({task.reason})" if task.reason else task.status


def error_text(error: UpstreamError | None) -> str:
    """An upstream's error in one line."""
    if error is None:
        return "no message given"
    text = " ".join(part for part in (error.code, error.message) if part)
    return text or (f"HTTP {error.http_status}" if error.http_status else "no message given")
