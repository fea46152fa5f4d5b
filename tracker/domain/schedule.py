"""When the tracker acts on a task next: poll intervals, waits between attempts, deadlines and graces.

Durations come from `PollPolicy`; jitter arrives as a number from 0 to 1, drawn by the caller.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from tracker.domain.observation import Observation, Reading, Source, Submission, Trouble
from tracker.domain.retry import SPREAD, growing_delay_s, jittered
from tracker.domain.task import Reason, Status, SubmitState, Task

GROWTH = 1.4
"""Each poll without news stretches the interval by this factor, up to the maximum."""
HEALTHY_FACTOR = 2.0
"""While callbacks prove healthy, polls are only the safety net and run this much slower."""
SUBMIT_MAX_S = 64.0
"""The longest wait between attempts to submit, unless the upstream asks for a longer one."""
TROUBLE_MAX_S = 300.0
"""A key that is refused is tried again this seldom."""

_UNDECIDED = frozenset({SubmitState.QUEUED, SubmitState.SENDING, SubmitState.AMBIGUOUS})


class PollPolicy(Struct, frozen=True, gc=False):
    """The numbers of ``[poll]`` and ``[poll.<provider>]``, seconds.

    Attributes:
        first_delay_s: from acceptance to the first poll.
        min_interval_s, max_interval_s: bounds of the growing interval.
        deadline_s: from the last progress to giving up (reason ``expired``).
        missing_output_grace_s: from a success without outputs to ``missing_output``, or to a success with those that
            were named before it.
        not_found_grace_s: from the first "unknown id" to ``not_found``.
        submit_retry_s: how long a submit may stay undecided: put off again and again, or without an answer.
    """

    first_delay_s: float = 5.0
    min_interval_s: float = 3.0
    max_interval_s: float = 30.0
    deadline_s: float = 86400.0
    missing_output_grace_s: float = 300.0
    not_found_grace_s: float = 600.0
    submit_retry_s: float = 900.0


class Pace(Struct, frozen=True, gc=False):
    """What scheduling needs to know besides the task.

    Attributes:
        policy: the configured numbers for the task's provider.
        suggested_interval_s: the interval that the provider's contract suggests.
        jitter: 0 to 1.
        callbacks_healthy: whether callbacks of this provider and account have lately brought the news themselves.
    """

    policy: PollPolicy
    suggested_interval_s: float
    jitter: float = 0.5
    callbacks_healthy: bool = False


def poll_interval_s(step: int, pace: Pace) -> float:
    """Seconds until the next poll.

    Args:
        step: polls since the last news, 0 or more.
        pace: policy, suggestion and jitter.

    Returns:
        Seconds, jittered, growing with ``step`` from the suggested interval to ``max_interval_s``; twice that
        while callbacks are expected to bring the news.
    """
    policy = pace.policy
    start_s = min(max(pace.suggested_interval_s, policy.min_interval_s), policy.max_interval_s)
    interval_s = growing_delay_s(step, start_s, policy.max_interval_s, GROWTH)
    if pace.callbacks_healthy:
        interval_s *= HEALTHY_FACTOR
    return jittered(interval_s, pace.jitter)


def submit_delay_s(attempt: int, retry_after_s: float | None, pace: Pace) -> float:
    """Seconds until a submit that was surely not accepted is sent again.

    Args:
        attempt: attempts so far, 1 or more.
        retry_after_s: what the upstream asked for; never undercut.
        pace: policy and jitter.
    """
    if retry_after_s is not None:
        return retry_after_s + pace.jitter * min(1.0, SPREAD * max(retry_after_s, 0.1))
    return jittered(growing_delay_s(attempt, 1.0, min(SUBMIT_MAX_S, pace.policy.max_interval_s)), pace.jitter)


def submit_end(task: Task, policy: PollPolicy) -> datetime:
    """When the tracker gives a create up that was never accepted."""
    return task.created_at + timedelta(seconds=policy.submit_retry_s)


def deadline_of(task: Task, policy: PollPolicy) -> datetime:
    """When the tracker gives a task up, counted from its last progress."""
    return task.progress_at + timedelta(seconds=policy.deadline_s)


def verdict_due(task: Task, heard: Observation, policy: PollPolicy) -> Observation | None:
    """The clock's own observation about a task, when one of its times has run out.

    Time alone never ends a task that the upstream could not be asked about: after an outage of ours or theirs, a
    last poll must have been answered now, or polls must have failed for the whole not-found grace. A task whose
    upstream id was never learnt cannot be asked about; for it, time alone decides.

    Args:
        task: the task after its last observation.
        heard: that observation; its ``observed_at`` is taken as now.
        policy: the numbers for its provider.

    Returns:
        An observation of source ``clock`` that ends the task, or None.
    """
    if task.status.is_terminal:
        return None
    now = heard.observed_at

    def passed(since: datetime | None, grace_s: float) -> bool:
        return since is not None and (now - since).total_seconds() >= grace_s

    undecided = task.submit_state in _UNDECIDED
    if undecided:
        if task.submit_state is SubmitState.AMBIGUOUS and passed(task.progress_at, policy.submit_retry_s):
            return _verdict(task, now, Reason.SUBMIT_UNKNOWN, "no answer and no callback ever told what became of it")
        return None
    if heard.source is not Source.POLL and task.external_id is not None:
        return None  # a poll is due anyway, and may know better
    not_found = heard.reading.trouble is Trouble.NOT_FOUND
    asked_in_vain = task.poll_trouble_since is not None and not passed(
        task.poll_trouble_since, policy.not_found_grace_s
    )
    if passed(task.missing_output_since, policy.missing_output_grace_s) and (not_found or not asked_in_vain):
        return _verdict_without_outputs(task, now, policy)
    if not_found and passed(task.not_found_since, policy.not_found_grace_s):
        return _verdict(task, now, Reason.NOT_FOUND, f"id unknown upstream for {policy.not_found_grace_s:g} s")
    # a success that was announced has its own grace, which ends it one way or the other
    if now >= deadline_of(task, policy) and not asked_in_vain and task.missing_output_since is None:
        return _verdict(task, now, Reason.EXPIRED, f"no progress for {policy.deadline_s:g} s")
    return None


def _verdict_without_outputs(task: Task, now: datetime, policy: PollPolicy) -> Observation:
    """The upstream says success and names no output: with those that it named on the way, it is one."""
    detail = f"no output {policy.missing_output_grace_s:g} s after success"
    if not task.outputs:
        return _verdict(task, now, Reason.MISSING_OUTPUT, detail)
    told = Reading(status=Status.SUCCEEDED, outputs=task.outputs, detail=f"{detail}: those named before stand")
    return Observation(task_id=task.id, source=Source.CLOCK, observed_at=now, reading=told)


def _verdict(task: Task, now: datetime, reason: Reason, detail: str) -> Observation:
    return Observation(
        task_id=task.id,
        source=Source.CLOCK,
        observed_at=now,
        reading=Reading(status=Status.FAILED, reason=reason, error=task.error, detail=detail),
    )


def next_due(task: Task, observation: Observation, *, confirm: bool, moved: bool, pace: Pace) -> datetime | None:
    """When the tracker acts on a task next, after an observation was taken in.

    Args:
        task: the task after the decision, its ``due_at`` still what it was before.
        observation: what was heard.
        confirm: the decision asks for a poll now.
        moved: the decision changed the task.
        pace: policy, suggestion and jitter.

    Returns:
        The moment, or None when nothing is left to do.
    """
    now = observation.observed_at
    reading = observation.reading
    if task.status.is_terminal:
        return _due_after_end(task, observation, confirm=confirm, pace=pace)
    if task.submit_state is SubmitState.QUEUED:
        if reading.held:  # released before, or given up then
            return max(submit_end(task, pace.policy), now + timedelta(seconds=1))
        if reading.submission is Submission.DEFERRED:
            return now + timedelta(seconds=submit_delay_s(task.submit_attempts, reading.retry_after_s, pace))
        return task.due_at
    if task.submit_state is SubmitState.AMBIGUOUS:
        return task.progress_at + timedelta(seconds=pace.policy.submit_retry_s)
    if task.external_id is None:
        return task.due_at
    if observation.source is not Source.POLL:
        if reading.submission is Submission.ACCEPTED:
            first_s = jittered(pace.policy.first_delay_s, pace.jitter)
            due = now + timedelta(seconds=first_s)
        elif confirm:
            due = now
        elif task.due_at is not None and task.due_at <= now:
            return task.due_at  # it waits for its poll already; a stream of news must not put that off for ever
        elif moved or task.due_at is None:
            # news by callback: ask again a little later, from the start of the interval
            due = now + timedelta(seconds=poll_interval_s(0, pace))
        else:
            return task.due_at
        return min(due, deadline_of(task, pace.policy))
    return _due_after_poll(task, reading, now, pace)


def _due_after_poll(task: Task, reading: Reading, now: datetime, pace: Pace) -> datetime:
    if task.due_at is not None and task.due_at <= now and reading.trouble is None:
        return now  # somebody nudged while this poll was on its way: its answer may be older than the nudge
    wait_s = poll_interval_s(task.poll_step, pace)
    if reading.retry_after_s is not None:
        wait_s = max(reading.retry_after_s, wait_s)
    if reading.trouble is Trouble.UNAUTHORIZED:
        wait_s = max(wait_s, min(TROUBLE_MAX_S, pace.policy.max_interval_s * 10))
    due = now + timedelta(seconds=wait_s)
    ends = [deadline_of(task, pace.policy)]
    if task.missing_output_since is not None:
        ends.append(task.missing_output_since + timedelta(seconds=pace.policy.missing_output_grace_s))
    if task.not_found_since is not None:
        ends.append(task.not_found_since + timedelta(seconds=pace.policy.not_found_grace_s))
    # a last poll falls on the moment of the verdict, not an interval later; past it, the interval holds
    return min([due, *(end for end in ends if end > now)])


def _due_after_end(task: Task, observation: Observation, *, confirm: bool, pace: Pace) -> datetime | None:
    """A task given up is still asked about when the upstream turns out to have it."""
    if not task.is_given_up or task.external_id is None:
        return None
    now = observation.observed_at
    if confirm:
        return now
    if not _is_worth_asking(task, observation, pace.policy):
        return None
    if observation.source is Source.POLL:
        return now + timedelta(seconds=poll_interval_s(task.poll_step, pace))
    return now + timedelta(seconds=pace.policy.min_interval_s)


def _is_worth_asking(task: Task, observation: Observation, policy: PollPolicy) -> bool:
    """Whether a task given up may still bring its result: the upstream is at work on it, or could not be asked."""
    reading = observation.reading
    if observation.source in {Source.CLOCK, Source.OPERATOR} or observation.observed_at >= deadline_of(task, policy):
        return False
    if reading.status is Status.SUCCEEDED:  # still without an output
        return (observation.observed_at - task.progress_at).total_seconds() < policy.missing_output_grace_s
    at_work = reading.status in {Status.PENDING, Status.RUNNING} or reading.submission is Submission.ACCEPTED
    not_asked = observation.source is Source.POLL and reading.trouble not in {None, Trouble.NOT_FOUND}
    return at_work or not_asked
