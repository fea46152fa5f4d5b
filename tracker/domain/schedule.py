"""When the tracker acts on a task next: poll intervals, delays between attempts, deadlines and grace periods.

Where it is known how long such tasks usually take, polls follow a plan, see `tracker.domain.poll_plan`.

Durations come from `PollPolicy`; the caller draws the jitter, 0 to 1.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct

from tracker.domain.observation import Observation, Reading, Source, Submission, Trouble
from tracker.domain.retry import SPREAD, growing_delay_s, jittered
from tracker.domain.task import Reason, Status, SubmitState, Task
from tracker.domain.text import duration

GROWTH = 1.4
"""Each poll without a change multiplies the interval by this, up to the maximum."""
HEALTHY_FACTOR = 2.0
"""While callbacks work, polls are only a fallback: their interval is multiplied by this."""
SUBMIT_MAX_S = 64.0
"""The longest delay between submit attempts, unless the upstream asks for a longer one."""
TROUBLE_MAX_S = 300.0
"""The shortest poll interval while the upstream rejects the key."""

# Python 3.11 takes 60 ns to look up a member of an enumeration, and each callback needs many
_POLL, _QUEUED, _AMBIGUOUS, _ACCEPTED = Source.POLL, SubmitState.QUEUED, SubmitState.AMBIGUOUS, Submission.ACCEPTED
_NOT_FOUND, _UNAUTHORIZED, _UNKNOWN_STATUS = Trouble.NOT_FOUND, Trouble.UNAUTHORIZED, Trouble.UNKNOWN_STATUS
_UNDECIDED = frozenset({SubmitState.QUEUED, SubmitState.SENDING, SubmitState.AMBIGUOUS})


class PollPolicy(Struct, frozen=True, gc=False):
    """The settings of ``[poll]`` and ``[poll.<provider>]``, seconds.

    Attributes:
        first_delay_s: from acceptance to the first poll.
        min_interval_s, max_interval_s: bounds of the growing interval.
        deadline_s: from the last progress to giving up (reason ``expired``).
        missing_output_grace_s: from a success without outputs to ``missing_output``, or to a success with the outputs
            reported before it.
        not_found_grace_s: from the first "unknown id" to ``not_found``.
        submit_retry_s: the longest time without a result of a submit: deferred, or without an answer.
    """

    first_delay_s: float = 5.0
    min_interval_s: float = 3.0
    max_interval_s: float = 30.0
    deadline_s: float = 86400.0
    missing_output_grace_s: float = 300.0
    not_found_grace_s: float = 600.0
    submit_retry_s: float = 900.0


class Learned(Protocol):
    """Knows when tasks usually end, see `tracker.domain.durations.Durations`."""

    def poll_interval_s(self, task: Task, age_s: float, timing: PollTiming) -> float | None:
        """Seconds from a poll to the next one, without jitter; None where nothing is known.

        Args:
            task: the task.
            age_s: from its acceptance to that poll; 0 for the first interval.
            timing: policy and suggestion.
        """


class PollTiming(Struct, frozen=True, gc=False):
    """What scheduling needs besides the task.

    Attributes:
        policy: the settings of the task's provider.
        suggested_interval_s: the interval that the provider's contract suggests.
        jitter: 0 to 1.
        callbacks_healthy: callbacks of this provider and account recently reported changes before polls did.
        learned: knows when tasks usually end; None: nothing does.
    """

    policy: PollPolicy
    suggested_interval_s: float
    jitter: float = 0.5
    callbacks_healthy: bool = False
    learned: Learned | None = None


def poll_interval_s(step: int, timing: PollTiming) -> float:
    """Seconds until the next poll, jittered: they grow with ``step``, the polls since the last change, to the maximum.

    They start at the provider's suggestion, and double while callbacks are healthy.
    """
    policy = timing.policy
    start_s = min(max(timing.suggested_interval_s, policy.min_interval_s), policy.max_interval_s)
    interval_s = growing_delay_s(step, start_s, policy.max_interval_s, GROWTH)
    if timing.callbacks_healthy:
        interval_s *= HEALTHY_FACTOR
    return jittered(interval_s, timing.jitter)


def age_s(task: Task, now: datetime) -> float | None:
    """Seconds since the acceptance of a task; None where that is not known: it was created elsewhere."""
    if task.submitted_at is None or not task.submit_attempts:
        return None
    return max(0.0, (now - task.submitted_at).total_seconds())


def _next_interval_s(task: Task, now: datetime, step: int, timing: PollTiming) -> float:
    """Seconds until the next poll of a task without trouble: as was learned, else by `poll_interval_s`."""
    age = age_s(task, now)
    interval_s = None
    if timing.learned is not None and age is not None and task.missing_output_since is None:
        interval_s = timing.learned.poll_interval_s(task, age, timing)
    if interval_s is None:
        return poll_interval_s(step, timing)
    return jittered(interval_s * HEALTHY_FACTOR if timing.callbacks_healthy else interval_s, timing.jitter)


def submit_delay_s(attempt: int, retry_after_s: float | None, timing: PollTiming) -> float:
    """Seconds until a submit is sent again, after ``attempt`` rejected attempts; at least ``retry_after_s``."""
    if retry_after_s is not None:
        return retry_after_s + timing.jitter * min(1.0, SPREAD * max(retry_after_s, 0.1))
    return jittered(growing_delay_s(attempt, 1.0, min(SUBMIT_MAX_S, timing.policy.max_interval_s)), timing.jitter)


def submit_end(task: Task, policy: PollPolicy) -> datetime:
    """When a create that was not accepted or got no answer fails: its wait for a slot of the account does not count."""
    return task.progress_at + timedelta(seconds=policy.submit_retry_s)


def deadline_of(task: Task, policy: PollPolicy) -> datetime:
    """When a task without further progress expires."""
    return task.progress_at + timedelta(seconds=policy.deadline_s)


def find_timeout(task: Task, last: Observation, policy: PollPolicy) -> Observation | None:
    """The clock's observation that ends a task, once a deadline or grace period is over; else None.

    Time alone never ends a task that can be polled: after an outage, a poll must have been answered now, or polls must
    have failed for the full not-found grace. A task without an upstream id cannot be polled: time alone ends it.

    Args:
        task: the task after its last observation.
        last: that observation; its ``observed_at`` counts as now.
        policy: the settings of its provider.
    """
    if task.status.is_terminal:
        return None
    now = last.observed_at
    if task.submit_state in _UNDECIDED:
        if task.submit_state is SubmitState.AMBIGUOUS and _passed(task.progress_at, now, policy.submit_retry_s):
            return _ended(task, now, Reason.SUBMIT_UNKNOWN, "there was no clear answer and no callback")
        return None
    if last.source is not _POLL and task.external_id is not None:
        return None  # a poll is due anyway
    not_found = last.reading.trouble is _NOT_FOUND
    polls_failed = task.poll_trouble_since is not None and not _passed(
        task.poll_trouble_since, now, policy.not_found_grace_s
    )
    if _passed(task.missing_output_since, now, policy.missing_output_grace_s) and (not_found or not polls_failed):
        return _ended_without_outputs(task, now, policy)
    if not_found and _passed(task.not_found_since, now, policy.not_found_grace_s):
        return _ended(
            task, now, Reason.NOT_FOUND, f"the service has not known it for {duration(policy.not_found_grace_s)}"
        )
    # a success without outputs has its own grace period
    if now >= deadline_of(task, policy) and not polls_failed and task.missing_output_since is None:
        return _ended(task, now, Reason.EXPIRED, f"nothing has moved for {duration(policy.deadline_s)}")
    return None


def _passed(since: datetime | None, now: datetime, grace_s: float) -> bool:
    return since is not None and (now - since).total_seconds() >= grace_s


def _ended_without_outputs(task: Task, now: datetime, policy: PollPolicy) -> Observation:
    """After a success without outputs: succeed with outputs reported earlier, else fail."""
    detail = f"it named none for {duration(policy.missing_output_grace_s)}"
    if not task.outputs:
        return _ended(task, now, Reason.MISSING_OUTPUT, detail)
    detail = f"{detail}; the tracker uses the outputs named before"
    reading = Reading(status=Status.SUCCEEDED, outputs=task.outputs, detail=detail)
    return Observation(task_id=task.id, source=Source.CLOCK, observed_at=now, reading=reading)


def _ended(task: Task, now: datetime, reason: Reason, detail: str) -> Observation:
    return Observation(
        task_id=task.id,
        source=Source.CLOCK,
        observed_at=now,
        reading=Reading(status=Status.FAILED, reason=reason, error=task.error, detail=detail),
    )


def next_due(
    task: Task, observation: Observation, *, confirm: bool, moved: bool, timing: PollTiming
) -> datetime | None:
    """When the tracker acts on a task next, after an observation; None if nothing is left to do.

    Args:
        task: the task after the decision, with its old ``due_at``.
        observation: the observation.
        confirm: the decision asks for a poll now.
        moved: the decision changed the task.
        timing: policy, suggestion and jitter.
    """
    now = observation.observed_at
    reading = observation.reading
    if task.status.is_terminal:
        return _due_after_end(task, observation, confirm=confirm, timing=timing)
    if task.submit_state is _QUEUED:
        if reading.held:  # released earlier, or failed then
            return max(submit_end(task, timing.policy), now + timedelta(seconds=1))
        if reading.submission is Submission.DEFERRED:
            return now + timedelta(seconds=submit_delay_s(task.submit_attempts, reading.retry_after_s, timing))
        return task.due_at
    if task.submit_state is _AMBIGUOUS:
        return task.progress_at + timedelta(seconds=timing.policy.submit_retry_s)
    if task.external_id is None:
        return task.due_at
    if observation.source is not _POLL:
        if reading.submission is _ACCEPTED:
            first_s = None if timing.learned is None else timing.learned.poll_interval_s(task, 0.0, timing)
            first_s = timing.policy.first_delay_s if first_s is None else first_s
            due = now + timedelta(seconds=jittered(first_s, timing.jitter))
        elif confirm:
            due = now
        elif task.due_at is not None and task.due_at <= now:
            return task.due_at  # a poll is due; many callbacks must not postpone it repeatedly
        elif moved or task.due_at is None:
            # a change by callback restarts the intervals
            due = now + timedelta(seconds=_next_interval_s(task, now, 0, timing))
        else:
            return task.due_at
        return min(due, deadline_of(task, timing.policy))
    return _due_after_poll(task, reading, now, timing)


def _due_after_poll(task: Task, reading: Reading, now: datetime, timing: PollTiming) -> datetime:
    if task.due_at is not None and task.due_at <= now and reading.trouble is None:
        return now  # a poll was requested during this one, whose answer may be older than the request
    if reading.trouble is None or reading.trouble is _UNKNOWN_STATUS:
        wait_s = _next_interval_s(task, now, task.poll_step, timing)
    else:
        wait_s = poll_interval_s(task.poll_step, timing)
    if reading.retry_after_s is not None:
        wait_s = max(reading.retry_after_s, wait_s)
    if reading.trouble is _UNAUTHORIZED:
        wait_s = max(wait_s, min(TROUBLE_MAX_S, timing.policy.max_interval_s * 10))
    due = now + timedelta(seconds=wait_s)
    ends = [deadline_of(task, timing.policy)]
    if task.missing_output_since is not None:
        ends.append(task.missing_output_since + timedelta(seconds=timing.policy.missing_output_grace_s))
    if task.not_found_since is not None:
        ends.append(task.not_found_since + timedelta(seconds=timing.policy.not_found_grace_s))
    # the last poll is at the end of a grace period, not an interval later
    return min([due, *(end for end in ends if end > now)])


def _due_after_end(task: Task, observation: Observation, *, confirm: bool, timing: PollTiming) -> datetime | None:
    """A task that timed out is polled again if the upstream turns out to have it."""
    if not task.is_given_up or task.external_id is None:
        return None
    now = observation.observed_at
    if confirm:
        return now
    if not _may_still_end(task, observation, timing.policy):
        return None
    if observation.source is Source.POLL:
        return now + timedelta(seconds=poll_interval_s(task.poll_step, timing))
    return now + timedelta(seconds=timing.policy.min_interval_s)


def _may_still_end(task: Task, observation: Observation, policy: PollPolicy) -> bool:
    """Whether a task that timed out may still get a result: the upstream works on it, or polls failed."""
    reading = observation.reading
    if observation.source is Source.CLOCK or observation.observed_at >= deadline_of(task, policy):
        return False
    if reading.status is Status.SUCCEEDED:  # still without outputs
        return (observation.observed_at - task.progress_at).total_seconds() < policy.missing_output_grace_s
    is_running = reading.status in {Status.PENDING, Status.RUNNING} or reading.submission is Submission.ACCEPTED
    poll_failed = observation.source is Source.POLL and reading.trouble not in {None, Trouble.NOT_FOUND}
    return is_running or poll_failed
