"""Explain a task to operators: what each source reported, what was refused, what happens next, and when it ends.

Texts for end users are in `user_messages`. Must not decide anything: it describes what `transitions` and `schedule` do.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from tracker.domain.advice import ActionView, list_actions
from tracker.domain.archives import archive_notes, archive_steps
from tracker.domain.costs import describe_charge
from tracker.domain.durations import LEAST_SAMPLES, NOTHING_LEARNED
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.next_steps import ends_by, next_of_held, next_of_hooks, next_of_task
from tracker.domain.records import iso, to_json
from tracker.domain.schedule import age_s, submit_end
from tracker.domain.statuses import Source, Status
from tracker.domain.summary import last_of_submit, summarize
from tracker.domain.task import Reason, SubmitState
from tracker.domain.text import count as _count
from tracker.domain.text import duration, span, spans
from tracker.domain.transitions import HELD, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracker.domain.durations import Durations
    from tracker.domain.history import TaskHistory
    from tracker.domain.records import EventRecord
    from tracker.domain.schedule import PollPolicy
    from tracker.domain.task import Task

Json = Any

_REFUSED = {
    Outcome.DUPLICATE: "it was reported before",
    Outcome.STALE: "it is older than what is known",
    Outcome.CONFLICT: "it contradicts what is final",
    Outcome.IGNORED: "it needs a poll to confirm it",
}


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
    details: Annotated[list[str], Meta(description="Counts and rules, for those who look closer.")]
    actions: Annotated[list[ActionView], Meta(description="What can be done now, the most useful first.")]


def explain(
    history: TaskHistory,
    policy: PollPolicy,
    now: datetime,
    notes: Iterable[str] = (),
    *,
    max_in_flight: int | None = None,
    durations: Durations = NOTHING_LEARNED,
    not_before: datetime | None = None,
) -> dict[str, Json]:
    """Explain why a task is where it is.

    Args:
        history: the task and what happened to it.
        policy: the poll policy of its provider.
        now: the current time.
        notes: what only the running daemon knows, one sentence each.
        max_in_flight: how many tasks of its account may be in flight; None: any number.
        durations: how long tasks usually take.
        not_before: until when the tracker sends nothing for it, as far as the running daemon knows.

    Returns:
        The JSON of `WhyView`: the soonest step is the first, those without a time the last.
    """
    task, events, deliveries = history.task, history.events, history.deliveries
    is_queued = task.submit_state is SubmitState.QUEUED and not task.waits_for_slot
    is_held = is_queued and last_of_submit(events).startswith(HELD)
    steps = [
        *(next_of_held(task) if is_held else next_of_task(task, policy, not_before)),
        *next_of_hooks(deliveries),
        *archive_steps(history.archives),
    ]
    end = submit_end(task, policy) if is_held else ends_by(task, policy, now)
    steps.sort(key=lambda step: (step[0] is None, step[0] or now))
    return to_json(
        WhyView,
        task,
        summary=summarize(task, events),
        heard=[to_json(ObservedView, event, said=event.detail) for event in events],
        refused=[
            to_json(RefusedView, event, what=f"{event.source}: {event.detail}", why=why)
            for event in events
            if (why := _refusal(event)) is not None
        ],
        next=[to_json(NextView, None, at=at, what=what) for at, what in steps],
        ends_by=end,
        notes=[
            *_line(history, max_in_flight),
            *_usual(task, durations, now, end),
            *_own_notes(history),
            *archive_notes(history.archives),
            *notes,
        ],
        details=_details(task, policy, durations),
        actions=[to_json(ActionView, action) for action in list_actions(history)],
    )


def _refusal(event: EventRecord) -> str | None:
    """Why an event was not applied; None when it was, or when there was nothing to refuse."""
    outcome = Outcome(event.outcome)
    if outcome is Outcome.IGNORED and event.source != "callback":
        return None  # a failed poll or an unknown status: recorded, not refused
    return _REFUSED.get(outcome)


# -- notes -----------------------------------------------------------------------------------


def _details(task: Task, policy: PollPolicy, durations: Durations) -> list[str]:
    details = []
    if task.polls or task.callbacks:
        details.append(
            f"{_count(task.polls, 'poll')} and {_count(task.callbacks, 'callback')} so far. "
            "The history leaves out polls that brought nothing new."
        )
    if not task.status.is_terminal and task.submit_state is SubmitState.ACCEPTED:
        details.append(f"The tracker gives a task up when nothing moves for {duration(policy.deadline_s)}.")
        if durations.usual(task) is None:
            known = f"{durations.samples(task.route)} of {LEAST_SAMPLES} samples"
            details.append(f"The tracker does not know yet how long such a task usually takes ({known}).")
    return details


def _line(history: TaskHistory, limit: int | None) -> list[str]:
    """Why a create waits for a slot, and how many wait before it."""
    line, account = history.line, history.task.account
    if line is None:
        return []
    before = "This task is the next one."
    if line.before:
        before = f"{_count(line.before, 'task')} {'waits' if line.before == 1 else 'wait'} before this one."
    if limit is None:
        return [f"The request waits for a free slot of account {account}. {before}"]
    verb = "runs" if line.in_flight == 1 else "run"
    now = f"{_count(line.in_flight, 'task')} {verb} now"
    return [f"Account {account} may run {_count(limit, 'task')} at once, and {now}. {before}"]


def _own_notes(history: TaskHistory) -> list[str]:
    task, notes = history.task, []
    if task.unknown_statuses and not task.status.is_terminal:
        notes.append(
            f"The service reported the status {task.unknown_status!r}, which its documents do not name. "
            "The tracker counts it as running."
        )
    if not task.status.is_terminal:
        if task.submit_state is SubmitState.ACCEPTED:
            if task.external_id is None:
                notes.append(
                    "The service has not named its id for the job yet, so the tracker cannot ask for the status. "
                    "Only a callback can end the task."
                )
            elif not task.expects_callback:
                notes.append("The service sends no callbacks for this task, so the tracker asks it.")
        if task.missing_output_since is not None and task.poll_trouble is not None:
            notes.append(f"The last poll failed: {task.poll_trouble}.")
    elif task.is_canceled and task.submit_state in {SubmitState.SENDING, SubmitState.AMBIGUOUS, SubmitState.ACCEPTED}:
        notes.append("The service does not know that the task was canceled, and may charge for the job.")
    if charge := _charge(task):
        notes.append(charge)
    for delivery in history.deliveries:
        if delivery.status in {DeliveryStatus.DEAD, DeliveryStatus.FAILED}:
            printed = _last_line(delivery.output)
            causes = [f'"{printed}"'] if printed else []
            causes += [delivery.error] if delivery.error else []
            tried = f" (tried {delivery.attempts} times)" if delivery.attempts > 1 else ""
            why = f": {', '.join(causes)}" if causes else ""
            notes.append(f"The hook {delivery.hook} gave up on {delivery.event}{tried}{why}.")
    return notes


def _charge(task: Task) -> str:
    """What an ended task cost; where nothing is known the summary of these reasons has said that it may be charged."""
    if not task.status.is_terminal:
        return ""
    is_unknown_id = task.reason is Reason.NOT_FOUND and not task.submit_attempts  # a person named it
    is_open = task.submit_state is not SubmitState.REFUSED and (task.is_canceled or task.is_given_up or is_unknown_id)
    return describe_charge(
        failed=task.status is Status.FAILED,
        cost=task.cost,
        is_refused=None if is_open else task.submit_state is SubmitState.REFUSED,
    )


def _last_line(output: str | None) -> str:
    lines = [line.strip() for line in (output or "").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _usual(task: Task, durations: Durations, now: datetime, end: datetime | None) -> list[str]:
    """How long such a task usually takes, if enough are known."""
    usual, age = durations.usual(task), age_s(task, now)
    if usual is None or age is None or task.status.is_terminal:
        return []
    if age <= usual.p95_s:
        usually = spans(usual.p50_s, usual.p90_s, " to ")
        return [f"Such a task usually takes {usually}. This one has taken {span(age)} so far."]
    late = f"This task has taken {span(age)} so far. Of such tasks, 95 % took at most {span(usual.p95_s)}."
    return [late if end is None else f"{late} It ends by {iso(end)} at the latest."]
