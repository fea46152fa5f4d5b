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


def next_of_held(task: Task) -> list[Step]:
    """Of a create that waits because its account is rejected."""
    return [
        (None, "sends it once the account's key is accepted; one create at a time tests that"),
        (task.due_at, "gives it up if the account's key is still not accepted"),
    ]


def next_of_task(task: Task, policy: PollPolicy) -> list[Step]:
    """Of any other task."""
    if task.status.is_terminal:
        if task.due_at is None:
            return []
        return [(task.due_at, "asks the service once more; a success with outputs is still accepted")]
    match task.submit_state:
        case SubmitState.QUEUED if task.waits_for_slot:
            return [(None, "sends it to the service when a slot of its account is free")]
        case SubmitState.QUEUED:
            again = "sends it again" if task.submit_attempts else "sends it to the service"
            return [(task.due_at, again)]
        case SubmitState.SENDING:
            return [(task.due_at, "treats the answer as lost if none has come")]
        case SubmitState.AMBIGUOUS:
            return [
                (None, "the service may report it by a callback"),
                (submit_end(task, policy), "gives it up (submit_unknown) if the service has reported nothing"),
            ]
        case SubmitState.ACCEPTED | SubmitState.REFUSED:
            pass
    steps: list[Step] = []
    if task.external_id is not None:
        steps.append((task.due_at, f"asks the service (poll {task.polls + 1})"))
    if task.expects_callback:
        steps.append((None, "the service may report first, by a callback"))
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
        found.append((end, "gives it up (not_found) if the service still does not know it"))
    if task.missing_output_since is None:
        end = max(deadline, polled_enough)
        found.append((end, "gives it up (expired) if nothing has moved"))
    else:  # a success without outputs has a grace instead of the deadline
        end = task.missing_output_since + timedelta(seconds=policy.missing_output_grace_s)
        if task.poll_trouble_since is not None and task.not_found_since is None:
            end = max(end, polled_enough)
        named = _count(len(task.outputs), "output")
        what = f"accepts the {named} named before as the result" if task.outputs else "gives it up (missing_output)"
        found.append((end, f"{what} if the service still names no outputs"))
    return found


_TO_COME = frozenset({DeliveryStatus.PENDING, DeliveryStatus.RUNNING})


def next_of_hooks(deliveries: Sequence[DeliveryRecord]) -> list[Step]:
    """The hook runs to come."""
    steps: list[Step] = []
    first: dict[str, DeliveryRecord] = {}
    for delivery in deliveries:
        what = f"runs hook {delivery.hook!r} for {delivery.event}"
        if delivery.status in _TO_COME and (before := first.setdefault(delivery.hook, delivery)) is not delivery:
            steps.append((before.next_attempt_at, f"{what}, after {before.event}"))
            continue
        if delivery.status is DeliveryStatus.RUNNING:
            steps.append((None, f"{what}: under way, attempt {max(delivery.attempts, 1)}"))
        elif delivery.status is DeliveryStatus.PENDING:
            after = (
                f" again, after {_count(delivery.attempts, 'attempt')} ({delivery.error})" if delivery.attempts else ""
            )
            steps.append((delivery.next_attempt_at, f"{what}{after}"))
    return steps


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
