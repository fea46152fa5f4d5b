"""Why a task has its status, in a few sentences for operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracker.domain.event_text import (
    NO_MESSAGE,
    NOT_ACCEPTED,
    NOT_SENT,
    SENT_AGAIN,
    WRONG_ADDRESS,
    end_detail,
    quote_error,
)
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

_LATER: Final = "If the service reports a success later, the tracker accepts it."
_FREE: Final = "Nothing was started or charged."
_ENDED: Final = {
    Reason.INVALID_REQUEST: "The service refused the request as invalid{why}.",
    Reason.AUTH_FAILED: "The service rejected the key of account {account}{why}.",
    Reason.ENTITLEMENT: "The account {account} may not use this model or feature{why}.",
    Reason.QUOTA_EXHAUSTED: "The balance or quota of account {account} is used up{why}.",
    Reason.RATE_LIMITED: "The service got too many requests{why}.",
    Reason.POLICY_REJECTED: "The request or its result breaks the content rules of the service{why}.",
    Reason.UPSTREAM_UNAVAILABLE: "The service was not available{why}.",
    Reason.GENERATION_FAILED: "The service accepted the request but could not finish the job{why}.",
    Reason.MISSING_OUTPUT: f"The service reported success but no output{{why}}. The tracker gave the task up. {_LATER}",
    Reason.EXPIRED: f"The task did not end in time{{why}}. The tracker gave it up. {_LATER}",
    Reason.SUBMIT_UNKNOWN: "The tracker sent the request and does not know whether the service accepted it{why}. "
    f"The job may be charged, so the tracker did not send it again. {_LATER}",
    Reason.CANCELED: "An operator canceled the task. The service may go on with the job, but the tracker ignores it.",
}
_REPORTS: Final = {
    Source.CALLBACK: "The service reported it by a callback.",
    Source.POLL: "The tracker learned it by asking the service.",
    Source.SUBMIT: "The service answered the request with the result.",
}


def summarize(task: Task, events: Sequence[EventRecord]) -> str:
    """The state of a task, from its own fields and its history, oldest event first."""
    if task.status is Status.SUCCEEDED:
        by = _REPORTS.get(task.ended_by) if task.ended_by else None
        return " ".join(filter(None, (f"The task succeeded with {_count(len(task.outputs), 'output')}.", by)))
    if task.status is Status.FAILED:
        again = " The same request may succeed as a new job." if task.retryable else ""
        return f"{_summary_of_failure(task, events)}{again}"
    match task.submit_state:
        case SubmitState.QUEUED:
            return _summary_of_queued(task, last_of_submit(events))
        case SubmitState.SENDING:
            return "The tracker is sending the request to the service. There is no answer yet."
        case SubmitState.AMBIGUOUS:
            return (
                "The tracker sent the request and got no clear answer, so the job may be running and charged. "
                "The tracker does not send it a second time. It waits for the service to report the job."
            )
        case SubmitState.ACCEPTED | SubmitState.REFUSED:
            return _summary_of_work(task)


def last_of_submit(events: Sequence[EventRecord]) -> str:
    """The result of the last attempt to send it; empty before the first."""
    return next((event.detail for event in reversed(events) if event.source == "submit"), "")


def _summary_of_queued(task: Task, last: str) -> str:
    if last.startswith(HELD):
        return f"The tracker holds the request back: {last.removeprefix(HELD)}. {_FREE}"
    if not task.submit_attempts:
        return "The tracker has not sent the request yet."
    cause = last.removesuffix(SENT_AGAIN)
    if cause.startswith(NOT_SENT):
        return f"The tracker could not send the request yet: {cause.removeprefix(NOT_SENT)}. {_FREE}"
    cause = cause.removeprefix(NOT_ACCEPTED) or "it asked to wait"
    return f"The service has not accepted the request yet: {cause}. {_FREE}"


def _summary_of_work(task: Task) -> str:
    named = shown_id(task.external_id)
    is_tracked = not task.submit_attempts
    if task.not_found_since is not None:
        since = f"The service has not known it since {iso(task.not_found_since)}."
        if is_tracked:
            return f"You gave the id {named}. {since} Check the id, the route and the account."
        return f"The service named the id {named} when it accepted the request. {since}"
    if task.missing_output_since is not None:
        return f"The service has reported success since {iso(task.missing_output_since)}, but has named no output yet."
    with_id = f"with the id {named}" if task.external_id else "without naming an id"
    accepted = f"The service accepted the request {with_id}"
    if is_tracked:
        accepted = f"The tracker follows the job {named}, which was created elsewhere"
    if task.poll_trouble is not None:
        return (
            f"{accepted}. The tracker has not learned its status since {iso(task.poll_trouble_since)}: "
            f"{task.poll_trouble}."
        )
    if task.status is Status.PENDING:
        return f"{accepted}. The service has not started the job yet."
    reached = [f"stage {task.stage}"] if task.stage is not None else []
    reached += [f"{task.progress} %"] if task.progress is not None else []
    return f"The service is working on the job{': ' if reached else ''}{', '.join(reached)}."


def _summary_of_failure(task: Task, events: Sequence[EventRecord]) -> str:
    reason = task.reason or Reason.GENERATION_FAILED
    quoted = quote_error(task.error) if task.error is not None else ""
    own = _own_cause(task, events)
    was_unsent = last_of_submit(events).startswith(NOT_SENT)
    if was_unsent:  # then the tracker wrote the message
        cause = (task.error and task.error.message) or own or "no reason is known"
        return f"The tracker could not send the request: {cause}. {_FREE}"
    if own.startswith(WRONG_ADDRESS):
        return f"The tracker asked at a wrong address: {own}."
    if reason is Reason.NOT_FOUND:
        named = "You gave" if not task.submit_attempts else "The service named"
        since = f" {own[0].upper()}{own[1:]}." if own else ""
        check = " Check the id, the route and the account." if not task.submit_attempts else ""
        reply = f" It says: {quoted}." if quoted else ""
        return f"{named} the id {shown_id(task.external_id)}, and the service does not know it.{reply}{since}{check}"
    why = quoted or own or "the service gave no reason"
    text = _ENDED[reason].format(why=f": {why}", account=task.account)
    if own and quoted:  # the tracker's reason follows the message of the service
        text += f" {own[0].upper()}{own[1:]}."
    return text


def _own_cause(task: Task, events: Sequence[EventRecord]) -> str:
    """Why the tracker ended the task; empty if the history only repeats the message of the service."""
    ends = (event for event in reversed(events) if event.to_status == Status.FAILED != event.from_status)
    last = next(ends, None)
    if last is None:
        return ""
    detail = end_detail(last.detail, task.reason)
    quoted = "" if task.error is None else quote_error(task.error)
    return "" if detail in {quoted, NO_MESSAGE} else detail
