"""What happens next to a task, and when it ends at the latest.

Must not decide anything: it describes what `transitions` and `schedule` do.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.schedule import deadline_of, submit_end
from tracker.domain.task import SubmitState
from tracker.domain.text import count as _count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracker.domain.records import DeliveryRecord
    from tracker.domain.schedule import PollPolicy
    from tracker.domain.task import Task

Step = tuple["datetime | None", str]
"""(when, None: at any time; what)"""
_MAY_REPORT: Step = (None, "The service may report first, by a callback.")


def next_of_held(task: Task) -> list[Step]:
    """Of a create that waits because its account is rejected."""
    return [
        (None, "The tracker sends it when the service accepts the account again; it tests that with one request."),
        (task.due_at, "If the service still rejects the account by then, the tracker gives the task up."),
    ]


def next_of_task(task: Task, policy: PollPolicy, not_before: datetime | None = None) -> list[Step]:
    """Of any other task; nothing is sent before a time, if one is given."""
    sent_at = max(filter(None, (task.due_at, not_before)), default=None)
    if task.status.is_terminal:
        if task.due_at is None:
            return []
        return [(sent_at, "The tracker asks the service once more. It still accepts a success with outputs.")]
    match task.submit_state:
        case SubmitState.QUEUED if task.waits_for_slot:
            return [(None, "The tracker sends the request when a slot of its account is free.")]
        case SubmitState.QUEUED if not task.submit_attempts:
            return [(sent_at, "The tracker sends the request to the service.")]
        case SubmitState.QUEUED:
            return [
                (sent_at, "The tracker sends the request again."),
                (submit_end(task, policy), "If the service has not accepted it by then, the tracker gives it up."),
            ]
        case SubmitState.SENDING:
            return [(task.due_at, "If there is no answer by then, the tracker treats it as lost.")]
        case SubmitState.AMBIGUOUS:
            return [
                (None, "The service may report the job by a callback."),
                (submit_end(task, policy), "If the service has reported nothing, the tracker gives the task up."),
            ]
        case SubmitState.ACCEPTED | SubmitState.REFUSED:
            pass
    steps: list[Step] = []
    if task.external_id is not None:
        again = " again" if task.polls else ""
        steps.append((sent_at, f"The tracker asks the service{again}."))
    if task.expects_callback:
        steps.append(_MAY_REPORT)
    steps += _timeouts(task, policy)
    return steps


def _timeouts(task: Task, policy: PollPolicy) -> list[tuple[datetime, str]]:
    """When each timeout of an accepted task ends: (when, what happens and what prevents it)."""
    deadline = deadline_of(task, policy)
    if task.poll_trouble_since is None:
        polled_enough = deadline
    else:  # time alone never ends a task that could not be polled
        polled_enough = task.poll_trouble_since + timedelta(seconds=policy.not_found_grace_s)
    found: list[tuple[datetime, str]] = []
    if task.not_found_since is not None:
        end = task.not_found_since + timedelta(seconds=policy.not_found_grace_s)
        found.append((end, "If the service still does not know it, the tracker gives the task up."))
    if task.missing_output_since is None:
        end = max(deadline, polled_enough)
        if not found or end < found[0][0]:  # one end is enough
            found.append((end, "If nothing moves until then, the tracker gives the task up."))
    else:  # a success without outputs has a grace instead of the deadline
        end = task.missing_output_since + timedelta(seconds=policy.missing_output_grace_s)
        if task.poll_trouble_since is not None and task.not_found_since is None:
            end = max(end, polled_enough)
        known = _count(len(task.outputs), "output")
        what = f"takes the {known} named before as the result" if task.outputs else "gives the task up"
        found.append((end, f"If the service still names no output, the tracker {what}."))
    return found


_TO_COME = frozenset({DeliveryStatus.PENDING, DeliveryStatus.RUNNING})


def next_of_hooks(deliveries: Sequence[DeliveryRecord]) -> list[Step]:
    """The hook runs to come."""
    to_come: dict[str, list[DeliveryRecord]] = {}
    for delivery in deliveries:
        if delivery.status in _TO_COME:
            to_come.setdefault(delivery.hook, []).append(delivery)
    return [_next_of_hook(hook, first, later) for hook, (first, *later) in to_come.items()]


def _next_of_hook(hook: str, first: DeliveryRecord, later: Sequence[DeliveryRecord]) -> Step:
    """The first run of a hook; the later ones follow in their order."""
    after = f", then for {_named(later)}" if later else ""
    if first.status is DeliveryStatus.RUNNING:
        return None, f"The hook {hook} is running now for {first.event}{after}."
    if not first.attempts:
        return first.next_attempt_at, f"The hook {hook} runs for {first.event}{after}."
    failed = f"It has failed {_count(first.attempts, 'time')}{f': {first.error}' if first.error else ''}."
    return first.next_attempt_at, f"The hook {hook} runs again for {first.event}{after}. {failed}"


def _named(deliveries: Sequence[DeliveryRecord]) -> str:
    return deliveries[0].event if len(deliveries) == 1 else f"{len(deliveries)} later events"


def ends_by(task: Task, policy: PollPolicy, now: datetime) -> datetime | None:
    """When the task ends at the latest; None when it has ended, or when no timeout runs yet."""
    if task.status.is_terminal:
        return None
    match task.submit_state:
        case SubmitState.QUEUED:
            return submit_end(task, policy) if task.submit_attempts and not task.waits_for_slot else None
        case SubmitState.SENDING:
            if task.due_at is None or not task.expects_callback:
                return task.due_at
            return task.due_at + timedelta(seconds=policy.submit_retry_s)
        case SubmitState.AMBIGUOUS:
            return _not_before(now, submit_end(task, policy), task.due_at)
        case SubmitState.ACCEPTED | SubmitState.REFUSED:
            first = min(when for when, _what in _timeouts(task, policy))
            return _not_before(now, first, task.due_at)


def _not_before(now: datetime, end: datetime, due_at: datetime | None) -> datetime:
    """An overdue end comes with the next action on the task."""
    return end if end > now or due_at is None else max(due_at, now)
