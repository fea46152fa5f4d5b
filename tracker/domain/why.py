"""Explain a task to operators: what each source reported, what was refused, what happens next, and when it ends.

Texts for end users are in `user_messages`. Must not decide anything: it describes what `transitions` and `schedule` do.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from tracker.domain.archives import archive_notes, archive_steps
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.ids import shown_id
from tracker.domain.observation import Source
from tracker.domain.records import iso, to_json
from tracker.domain.schedule import deadline_of, submit_end
from tracker.domain.task import Reason, Status, SubmitState
from tracker.domain.transitions import HELD, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracker.domain.archives import ArchiveRecord
    from tracker.domain.records import DeliveryRecord, EventRecord
    from tracker.domain.schedule import PollPolicy
    from tracker.domain.task import Task

Json = Any

_REFUSED = {
    Outcome.DUPLICATE: "the same observation came before",
    Outcome.STALE: "it is older than what is already known",
    Outcome.CONFLICT: "it contradicts a final status or a known id; recorded, not applied",
    Outcome.IGNORED: "it cannot change the task by itself; a poll must confirm it",
}
_ENDED = {
    Reason.INVALID_REQUEST: "The upstream refused the request as invalid ({error}).",
    Reason.AUTH_FAILED: "The upstream rejected the account's key ({error}).",
    Reason.ENTITLEMENT: "The account may not use this model or feature ({error}).",
    Reason.QUOTA_EXHAUSTED: "The account's balance or quota is used up ({error}).",
    Reason.RATE_LIMITED: "The upstream refused it: too many requests ({error}).",
    Reason.POLICY_REJECTED: "The request or its result violates the upstream's content rules ({error}).",
    Reason.UPSTREAM_UNAVAILABLE: "The upstream was unavailable ({error}).",
    Reason.GENERATION_FAILED: "The upstream accepted it but could not finish it ({error}).",
    Reason.MISSING_OUTPUT: "The upstream reported success without an output, so the tracker gave it up ({error}); "
    "a success with outputs is still accepted.",
    Reason.EXPIRED: "It did not end in time and was given up ({error}); a success with outputs is still accepted.",
    Reason.SUBMIT_UNKNOWN: "It is unknown whether the upstream accepted it ({error}); it may have been charged, so it "
    "was not sent again; a callback that reports success is still accepted.",
    Reason.CANCELED: "An operator canceled it; the upstream may continue, but its reports are no longer applied.",
    Reason.NOT_FOUND: "The upstream does not know the task ({error}).",
}


class TaskHistory(Struct, frozen=True):
    """All that explains a task, as of one transaction; payloads and outputs of hooks are left out.

    Attributes:
        events, deliveries: oldest first.
        archives: the state of each output in the archive.
    """

    task: Task
    events: Sequence[EventRecord] = ()
    deliveries: Sequence[DeliveryRecord] = ()
    archives: Sequence[ArchiveRecord] = ()


class ObservedView(Struct, frozen=True):
    """One observation of the task and its outcome."""

    at: datetime
    source: Source
    said: str
    outcome: Outcome


class RefusedView(Struct, frozen=True):
    """An observation that changed nothing."""

    at: datetime
    what: str
    why: str


class NextView(Struct, frozen=True):
    """What happens next, and when."""

    at: datetime | None
    what: str


class WhyView(Struct, frozen=True):
    """Why a task has its status."""

    id: str
    status: Status
    summary: str
    heard: list[ObservedView]
    refused: list[RefusedView]
    next: list[NextView]
    ends_by: datetime | None
    notes: list[str]


def explain(history: TaskHistory, policy: PollPolicy, now: datetime, notes: Iterable[str] = ()) -> dict[str, Json]:
    """Explain why a task is where it is.

    Args:
        history: the task and what happened to it.
        policy: the poll policy of its provider.
        now: the current time.
        notes: what only the running daemon knows, one sentence each.

    Returns:
        The JSON of `WhyView`: the soonest step is the first, those without a time the last.
    """
    task, events, deliveries = history.task, history.events, history.deliveries
    is_held = task.submit_state is SubmitState.QUEUED and _last_of_submit(events).startswith(HELD)
    steps = [
        *(_next_of_held(task) if is_held else _next_of_task(task, policy)),
        *_next_of_hooks(deliveries),
        *archive_steps(history.archives),
    ]
    steps.sort(key=lambda step: (step[0] is None, step[0] or now))
    return to_json(
        WhyView,
        task,
        summary=_summary(task, events),
        heard=[to_json(ObservedView, event, said=event.detail) for event in events],
        refused=[
            to_json(RefusedView, event, what=f"{event.source}: {event.detail}", why=why)
            for event in events
            if (why := _refusal(event)) is not None
        ],
        next=[to_json(NextView, None, at=at, what=what) for at, what in steps],
        ends_by=submit_end(task, policy) if is_held else _ends_by(task, policy, now),
        notes=[*_own_notes(task, deliveries, policy), *archive_notes(history.archives), *notes],
    )


def _refusal(event: EventRecord) -> str | None:
    """Why an event was not applied; None when it was, or when there was nothing to refuse."""
    outcome = Outcome(event.outcome)
    if outcome is Outcome.IGNORED and event.source != "callback":
        return None  # a failed poll or an unknown status: recorded, not refused
    return _REFUSED.get(outcome)


# -- the current state -----------------------------------------------------------------------------------------


def _summary(task: Task, events: Sequence[EventRecord]) -> str:
    if task.status is Status.SUCCEEDED:
        source = next((event.source for event in events if event.to_status == task.status), None)
        by = {"callback": "A callback", "poll": "A poll", "submit": "The answer to the submit"}.get(source or "")
        reported = f" {by} reported it." if by else ""
        return f"It succeeded with {_count(len(task.outputs), 'output')}.{reported}"
    if task.status is Status.FAILED:
        ended = _ENDED[task.reason or Reason.GENERATION_FAILED].format(error=_ending_error(task, events))
        return f"{ended} The same request may succeed as a new job." if task.retryable else ended
    match task.submit_state:
        case SubmitState.QUEUED if task.submit_attempts:
            return (
                f"The upstream has not accepted it after {_count(task.submit_attempts, 'attempt')}: "
                f"{_last_of_submit(events) or 'deferred'}. "
                "Nothing was started or charged."
            )
        case SubmitState.QUEUED:
            last = _last_of_submit(events)
            held = f" It is {last}." if last.startswith(HELD) else ""
            return f"It waits to be sent; nothing was sent to the upstream yet.{held}"
        case SubmitState.SENDING:
            return "It is being sent to the upstream now; there is no answer yet."
        case SubmitState.AMBIGUOUS:
            return (
                "The submit got no clear answer: it may have been accepted and charged, so it is never sent again. "
                "Its callback may still decide it."
            )
        case SubmitState.ACCEPTED | SubmitState.REFUSED:
            return _summary_of_work(task)


def _last_of_submit(events: Sequence[EventRecord]) -> str:
    """The result of the last attempt to send it; empty before the first."""
    return next((event.detail for event in reversed(events) if event.source == "submit"), "")


def _summary_of_work(task: Task) -> str:
    with_id = f"as {shown_id(task.external_id)}" if task.external_id else "without naming an id"
    if task.not_found_since is not None:
        return f"The upstream accepted it {with_id}, but has not known it since {iso(task.not_found_since)}."
    if task.missing_output_since is not None:
        since = iso(task.missing_output_since)
        return f"The upstream has reported success since {since}, but no outputs yet."
    if task.poll_trouble is not None:
        return (
            f"The upstream accepted it {with_id}, but polls have failed since {iso(task.poll_trouble_since)}: "
            f"{task.poll_trouble}."
        )
    if task.status is Status.PENDING:
        return f"The upstream accepted it {with_id} and has not started it yet."
    reached = [f"stage {task.stage}"] if task.stage is not None else []
    reached += [f"{task.progress} %"] if task.progress is not None else []
    return f"The upstream is working on it{': ' if reached else ''}{', '.join(reached)}."


def _ending_error(task: Task, events: Sequence[EventRecord]) -> str:
    error = task.error
    if error is not None and (error.code or error.message):
        return ": ".join(part for part in (error.code, error.message) if part)
    for event in reversed(events):
        if event.to_status == Status.FAILED and event.from_status != Status.FAILED:
            return event.detail.removeprefix(f"failed: {task.reason} (").removesuffix(")")
    if error is not None and error.http_status:
        return f"HTTP {error.http_status}"
    return "no message given"


# -- what comes next -----------------------------------------------------------------------------------------

_Step = tuple["datetime | None", str]


def _next_of_held(task: Task) -> list[_Step]:
    return [
        (None, "sends it once the account's key is accepted; one create at a time tests that"),
        (task.due_at, "gives it up, unless the account's key is accepted by then"),
    ]


def _next_of_task(task: Task, policy: PollPolicy) -> list[_Step]:
    if task.status.is_terminal:
        if task.due_at is None:
            return []
        return [(task.due_at, "polls the upstream once more; a success with outputs is still accepted")]
    match task.submit_state:
        case SubmitState.QUEUED:
            again = "sends it again" if task.submit_attempts else "sends it to the upstream"
            return [(task.due_at, again)]
        case SubmitState.SENDING:
            return [(task.due_at, "treats the submit as ambiguous, unless the answer comes first")]
        case SubmitState.AMBIGUOUS:
            return [
                (None, "a callback may report the task's id and result"),
                (_submit_end(task, policy), "gives it up (submit_unknown), unless a callback comes first"),
            ]
        case SubmitState.ACCEPTED | SubmitState.REFUSED:
            pass
    steps: list[_Step] = []
    if task.external_id is not None:
        steps.append((task.due_at, f"polls the upstream (poll {task.polls + 1})"))
    if task.expects_callback:
        steps.append((None, "a callback may come first"))
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
        found.append((end, "gives it up (not_found), unless the upstream knows it by then"))
    if task.missing_output_since is None:
        end = max(deadline, polled_enough)
        found.append((end, "gives it up (expired), unless there is progress by then"))
    else:  # a success without outputs has a grace instead of the deadline
        end = task.missing_output_since + timedelta(seconds=policy.missing_output_grace_s)
        if task.poll_trouble_since is not None and task.not_found_since is None:
            end = max(end, polled_enough)
        named = _count(len(task.outputs), "output")
        what = f"accepts the {named} named before as the result" if task.outputs else "gives it up (missing_output)"
        found.append((end, f"{what}, unless the upstream names its outputs by then"))
    return found


_TO_COME = frozenset({DeliveryStatus.PENDING, DeliveryStatus.RUNNING})


def _next_of_hooks(deliveries: Sequence[DeliveryRecord]) -> list[_Step]:
    steps: list[_Step] = []
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


# -- when it ends --------------------------------------------------------------------------------------


def _ends_by(task: Task, policy: PollPolicy, now: datetime) -> datetime | None:
    """When the task ends at the latest; None when it has ended, or when no timeout runs yet."""
    if task.status.is_terminal:
        return None
    match task.submit_state:
        case SubmitState.QUEUED:
            return submit_end(task, policy) if task.submit_attempts else None
        case SubmitState.SENDING:
            if task.due_at is None or not task.expects_callback:
                return task.due_at
            return task.due_at + timedelta(seconds=policy.submit_retry_s)
        case SubmitState.AMBIGUOUS:
            return _not_before(now, _submit_end(task, policy), task.due_at)
        case SubmitState.ACCEPTED | SubmitState.REFUSED:
            first = min(when for when, _what in _timeouts(task, policy))
            return _not_before(now, first, task.due_at)


def _not_before(now: datetime, end: datetime, due_at: datetime | None) -> datetime:
    """An overdue end comes with the next action on the task."""
    return end if end > now or due_at is None else max(due_at, now)


def _submit_end(task: Task, policy: PollPolicy) -> datetime:
    return task.progress_at + timedelta(seconds=policy.submit_retry_s)


# -- notes -----------------------------------------------------------------------------------


def _own_notes(task: Task, deliveries: Sequence[DeliveryRecord], policy: PollPolicy) -> list[str]:
    notes: list[str] = []
    if task.polls or task.callbacks:
        notes.append(
            f"{_count(task.polls, 'poll')} and {_count(task.callbacks, 'callback')} so far; "
            "polls that changed nothing are not listed."
        )
    if task.unknown_statuses:
        notes.append(
            f"The upstream status {task.unknown_status!r} is not in its contract; it was seen "
            f"{_count(task.unknown_statuses, 'time')} and is treated as still running."
        )
    if not task.status.is_terminal:
        if task.submit_state is SubmitState.ACCEPTED:
            if task.external_id is None:
                notes.append("Its upstream id is not known yet, so it cannot be polled: only a callback can end it.")
            elif not task.expects_callback:
                notes.append("No callback is expected: the task is only polled.")
            notes.append(f"The deadline of {_duration(policy.deadline_s)} counts from the last progress.")
        if task.missing_output_since is not None and task.poll_trouble is not None:
            notes.append(f"The last poll failed: {task.poll_trouble}.")
    elif task.is_canceled and task.submit_state in {SubmitState.SENDING, SubmitState.AMBIGUOUS, SubmitState.ACCEPTED}:
        notes.append("The upstream does not know of the cancellation and may charge for the job.")
    for delivery in deliveries:
        if delivery.status in {DeliveryStatus.DEAD, DeliveryStatus.FAILED}:
            ended = "failed permanently" if delivery.status is DeliveryStatus.FAILED else "was given up"
            notes.append(
                f"Hook {delivery.hook!r} {ended} for {delivery.event} after "
                f"{_count(delivery.attempts, 'attempt')} ({delivery.error or 'no message given'}); "
                f"POST /v1/deliveries/{delivery.id}/retry runs it again."
            )
    return notes


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
