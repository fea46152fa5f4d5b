"""The sentences of the history about a decision, see `tracker.domain.transitions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracker.domain.observation import Trouble

if TYPE_CHECKING:
    from tracker.domain.statuses import Reason
    from tracker.domain.task import Task, UpstreamError


NOT_ACCEPTED: Final = "not accepted yet: "
"""Begins the history's detail of a create that the service deferred."""
NOT_SENT: Final = "not sent yet: "
"""The same of a create that could not be sent."""
SENT_AGAIN: Final = "; the tracker sends it again"
"""Ends both."""
NO_MESSAGE: Final = "no message given"
WRONG_ADDRESS: Final = "the base URL "
"""Begins the detail of a create whose base URL leads elsewhere."""
TROUBLES: Final[dict[Trouble, str]] = {
    Trouble.UNKNOWN_STATUS: "unknown status",
    Trouble.NOT_VISIBLE: "not listed yet",
    Trouble.NOT_FOUND: "unknown id",
    Trouble.UNAUTHORIZED: "key rejected",
    Trouble.THROTTLED: "too many requests",
    Trouble.UNAVAILABLE: "no status",
    Trouble.UNREADABLE: "unreadable answer",
    Trouble.REJECTED: "refused",
}
"""What the history calls a poll that learned no status."""


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
        return NO_MESSAGE
    return quote_error(error) or (f"HTTP {error.http_status}" if error.http_status else NO_MESSAGE)


def quote_error(error: UpstreamError) -> str:
    """The words of the service: ``"Invalid parameters" (code 400)``; empty if it gave none."""
    message = (error.message or "").strip().rstrip(".")
    if message and error.code and error.code != message:
        return f'"{message}" (code {error.code})'
    if message:
        return f'"{message}"'
    return f"code {error.code}" if error.code else ""


def end_detail(detail: str, reason: Reason | None) -> str:
    """The history's detail of a failure, without the reason."""
    return detail.removeprefix(f"failed: {reason} (").removesuffix(")")
