"""Why a task has its status, in one or two sentences for operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.domain.ids import shown_id
from tracker.domain.records import iso
from tracker.domain.statuses import Reason, Source, Status
from tracker.domain.task import SubmitState
from tracker.domain.text import count as _count
from tracker.domain.transitions import HELD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracker.domain.records import EventRecord
    from tracker.domain.task import Task

_ENDED = {
    Reason.INVALID_REQUEST: "The service refused the request as invalid: {error}.",
    Reason.AUTH_FAILED: "The service rejected the account's key: {error}.",
    Reason.ENTITLEMENT: "The account may not use this model or feature: {error}.",
    Reason.QUOTA_EXHAUSTED: "The account's balance or quota is used up: {error}.",
    Reason.RATE_LIMITED: "The service refused it because of too many requests: {error}.",
    Reason.POLICY_REJECTED: "The request or its result breaks the content rules of the service: {error}.",
    Reason.UPSTREAM_UNAVAILABLE: "The service was not available: {error}.",
    Reason.GENERATION_FAILED: "The service accepted it but could not finish it: {error}.",
    Reason.MISSING_OUTPUT: "The service reported success but no output, so it was given up: {error}. "
    "If outputs come later, they are accepted.",
    Reason.EXPIRED: "It did not end in time and was given up: {error}. If it succeeds later, that is accepted.",
    Reason.SUBMIT_UNKNOWN: "It is not known whether the service accepted it: {error}. It may have been charged, so it "
    "was not sent again. If it succeeds later, that is accepted.",
    Reason.CANCELED: "An operator canceled it. The service may go on, but what it reports is no longer applied.",
    Reason.NOT_FOUND: "The service does not know its id: {error}.",
}


_REPORTS = {Source.CALLBACK: "A callback", Source.POLL: "A poll", Source.SUBMIT: "The answer to the submit"}


def summarize(task: Task, events: Sequence[EventRecord]) -> str:
    """The state of a task, from its own fields and its history, oldest event first."""
    if task.status is Status.SUCCEEDED:
        by = _REPORTS.get(task.ended_by) if task.ended_by else None
        reported = f" {by} reported it." if by else ""
        return f"It succeeded with {_count(len(task.outputs), 'output')}.{reported}"
    if task.status is Status.FAILED:
        ended = _ENDED[task.reason or Reason.GENERATION_FAILED].format(error=_ending_error(task, events))
        return f"{ended} The same request may succeed as a new job." if task.retryable else ended
    match task.submit_state:
        case SubmitState.QUEUED if task.submit_attempts:
            return (
                f"The service has not accepted it yet, after {_count(task.submit_attempts, 'attempt')}: "
                f"{last_of_submit(events) or 'deferred'}. Nothing was started or charged."
            )
        case SubmitState.QUEUED:
            last = last_of_submit(events)
            held = f" It is {last}." if last.startswith(HELD) else ""
            return f"It waits to be sent. Nothing was sent to the service yet.{held}"
        case SubmitState.SENDING:
            return "It is being sent to the service now. There is no answer yet."
        case SubmitState.AMBIGUOUS:
            return (
                "It was sent and got no clear answer, so it may be running and charged. It is not sent a second time. "
                "The service may still report it."
            )
        case SubmitState.ACCEPTED | SubmitState.REFUSED:
            return _summary_of_work(task)


def last_of_submit(events: Sequence[EventRecord]) -> str:
    """The result of the last attempt to send it; empty before the first."""
    return next((event.detail for event in reversed(events) if event.source == "submit"), "")


def _summary_of_work(task: Task) -> str:
    named = shown_id(task.external_id)
    with_id = f"as {named}" if task.external_id else "without naming an id"
    if task.not_found_since is not None:
        return f"The service says since {iso(task.not_found_since)} that it does not know the id {named}."
    if task.missing_output_since is not None:
        since = iso(task.missing_output_since)
        return f"The service has reported success since {since}, but no outputs yet."
    if task.poll_trouble is not None:
        return (
            f"The service accepted it {with_id}, but asking it has failed since {iso(task.poll_trouble_since)}: "
            f"{task.poll_trouble}."
        )
    if task.status is Status.PENDING:
        return f"The service accepted it {with_id} and has not started it yet."
    reached = [f"stage {task.stage}"] if task.stage is not None else []
    reached += [f"{task.progress} %"] if task.progress is not None else []
    return f"The service is working on it{': ' if reached else ''}{', '.join(reached)}."


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
