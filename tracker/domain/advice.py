"""What a person can do about a task, each with the command to type.

Must not decide anything, nor name an action that the state of the task makes impossible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from tracker.domain.archives import ArchiveState, is_file
from tracker.domain.event_text import WRONG_ADDRESS
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.task import Reason, Status, SubmitState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracker.domain.history import TaskHistory
    from tracker.domain.task import Task

MAX_DELIVERIES = 3
"""Retries that are named one by one; ``tracker deliveries retry --hook`` retries all of a hook."""

_SAME_REQUEST = "send the same request again, as a new paid job"
_CHARGED_TWICE = f"{_SAME_REQUEST} (the first may be charged too)"
_AGAIN = {
    Reason.AUTH_FAILED: f"{_SAME_REQUEST}, once the key is accepted",
    Reason.ENTITLEMENT: f"{_SAME_REQUEST}, once the account may use this model",
    Reason.QUOTA_EXHAUSTED: f"{_SAME_REQUEST}, once the account has quota",
    Reason.MISSING_OUTPUT: _CHARGED_TWICE,
    Reason.EXPIRED: _CHARGED_TWICE,
    Reason.SUBMIT_UNKNOWN: _CHARGED_TWICE,
    Reason.CANCELED: _CHARGED_TWICE,
    Reason.NOT_FOUND: _CHARGED_TWICE,
}
_STOP = "stop the task (nothing was charged)"
_STOP_FOLLOWING = "stop following the task (the job may be charged all the same)"
_CHANGED = frozenset({Reason.INVALID_REQUEST, Reason.POLICY_REJECTED})
"""The same request would fail again."""
_OF_THE_ACCOUNT = frozenset({Reason.AUTH_FAILED, Reason.ENTITLEMENT, Reason.QUOTA_EXHAUSTED})


class ActionView(Struct, frozen=True):
    """One thing that a person can do about a task."""

    what: str
    command: str


def list_actions(history: TaskHistory) -> list[ActionView]:
    """The actions that make sense now, the most useful first."""
    task = history.task
    is_misrouted = bool(history.events) and WRONG_ADDRESS in history.events[-1].detail
    unsaved = any(record.state is ArchiveState.DEAD for record in history.archives)
    failed = [item for item in history.deliveries if item.status in {DeliveryStatus.DEAD, DeliveryStatus.FAILED}]
    actions = [*(_of_failed(task, is_misrouted=is_misrouted) if task.status is Status.FAILED else _of_other(task))]
    if unsaved or (task.status is Status.SUCCEEDED and any(map(is_file, task.outputs))):
        what = "fetch the files that are not saved yet" if unsaved else "copy the files into this directory"
        actions.append((what, f"tracker download {task.id}"))
    actions += [
        (f"run the hook {item.hook} again for {item.event}", f"tracker deliveries retry {item.id}")
        for item in failed[:MAX_DELIVERIES]
    ]
    return [ActionView(what, command) for what, command in actions]


def _of_other(task: Task) -> Iterator[tuple[str, str]]:
    if task.status is Status.SUCCEEDED:
        return
    stop = f"tracker cancel {task.id}"
    match task.submit_state:
        case SubmitState.QUEUED if task.waits_for_slot:
            yield _STOP, stop
            yield (
                f"run more tasks at once: raise accounts.{task.account}.max_in_flight in the configuration, then",
                "tracker config reload",
            )
        case SubmitState.QUEUED:
            yield _STOP, stop
        case SubmitState.AMBIGUOUS:
            yield from _adopt(task)
            yield "stop waiting for the task (the job may be charged all the same)", stop
        case SubmitState.ACCEPTED if task.external_id is not None:
            yield "ask the service now", f"tracker poll {task.id}"
            yield _STOP_FOLLOWING, stop
        case SubmitState.ACCEPTED:
            yield _STOP_FOLLOWING, stop
        case SubmitState.SENDING | SubmitState.REFUSED:
            pass


def _of_failed(task: Task, *, is_misrouted: bool) -> Iterator[tuple[str, str]]:
    reason = task.reason or Reason.GENERATION_FAILED
    if reason is Reason.SUBMIT_UNKNOWN:
        yield from _adopt(task)
    if task.is_given_up and task.external_id is not None:
        yield "ask the service once more", f"tracker poll {task.id}"
    if reason in _OF_THE_ACCOUNT or is_misrouted:
        yield "check the account", "tracker doctor"
    if reason in _CHANGED:
        yield "see the request that you may have to change", f"tracker show {task.id} --json"
        yield "see what the route accepts", f"tracker routes {task.route}"
    elif task.submit_attempts or task.submit_state is not SubmitState.ACCEPTED:  # else it was created elsewhere
        yield _AGAIN.get(reason, _SAME_REQUEST), f"tracker resubmit {task.id}"


def _adopt(task: Task) -> Iterator[tuple[str, str]]:
    yield "if the service's own console shows the job, give the task the job's id", f"tracker adopt {task.id} THEIR-ID"
