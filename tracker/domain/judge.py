"""One observation, judged: whether it is new, what it means, what is recorded, and when to act next.

The store calls `judge` inside its transaction for every observation of any source. It joins `decide` (the state
machine), the counters of polls and callbacks, the clock's decisions and the schedule.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from tracker.domain.event_text import TROUBLES, quote_error
from tracker.domain.hook_events import HookEvent
from tracker.domain.observation import NOTHING, Observation, Reading, Source, Submission, Trouble, dedupe_key
from tracker.domain.outputs import described, disambiguate
from tracker.domain.schedule import PollTiming, find_timeout, next_due, submit_end
from tracker.domain.task import Reason, Status, SubmitState, Task
from tracker.domain.text import duration
from tracker.domain.transitions import Decision, Outcome, decide

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

# Python 3.11 takes 60 ns to look up a member of an enumeration, and each callback needs many
_CALLBACK, _POLL, _CLOCK = Source.CALLBACK, Source.POLL, Source.CLOCK
_QUEUED, _SUCCEEDED, _CONFLICT = SubmitState.QUEUED, Status.SUCCEEDED, Outcome.CONFLICT
_UNKNOWN_STATUS = Trouble.UNKNOWN_STATUS
_POLL_TROUBLES = frozenset(Trouble) - {Trouble.UNKNOWN_STATUS, Trouble.NOT_VISIBLE}


class Step(Struct, frozen=True, gc=False):
    """One judged observation; a decision of the clock is a separate step.

    Attributes:
        key: its identity within the task; unique among the task's events.
        task: the task afterwards, with its next ``due_at`` and version.
        detail: one plain sentence.
        announces: hook events, in order.
        is_recorded: whether it leaves an event in the history; identical polls leave none.
    """

    observation: Observation
    key: str
    task: Task
    outcome: Outcome
    detail: str
    announces: tuple[HookEvent, ...]
    is_recorded: bool


def judge(task: Task, observation: Observation, seen: Callable[[str], bool], timing: PollTiming) -> tuple[Step, ...]:
    """Judge one observation, and what the clock adds to it.

    Args:
        task: the current task.
        observation: its ``observed_at`` counts as now.
        seen: whether the task's history holds an event with this key.
        timing: the numbers for scheduling.

    Returns:
        At least one step; a second one when a deadline or grace of the task has run out.
    """
    steps: list[Step] = []
    if observation.source is not _CLOCK or observation.reading != NOTHING:
        steps.append(_judge_one(task, observation, seen, timing))
        task = steps[-1].task
        if task.status.is_terminal:
            return tuple(steps)  # the clock has nothing to add
    timeout = _give_up_submit(task, observation, timing) or find_timeout(task, observation, timing.policy)
    if timeout is not None:
        steps.append(_judge_one(task, timeout, seen, timing))
    elif not steps:
        steps.append(_still_waiting(task, observation, timing))
    return tuple(steps)


def _judge_one(task: Task, observation: Observation, seen: Callable[[str], bool], timing: PollTiming) -> Step:
    is_callback, is_poll = observation.source is _CALLBACK, observation.source is _POLL
    key = dedupe_key(observation) if is_callback else ""
    before = is_callback and seen(key)
    repeated = before and not _describes(task, observation.reading)
    if repeated:
        status = observation.reading.status
        unsettled = status is not None and status.is_terminal and not task.status.is_terminal
        decision = Decision(Outcome.DUPLICATE, task, "repeats an earlier report", confirm=unsettled)
    else:
        decision = decide(task, observation, observation.observed_at)
    moved = decision.task is not task and _is_change(task, decision.task)
    counted = _counts(task, observation)
    if moved or (decision.confirm and not is_poll):
        counted["poll_step"] = 0  # before scheduling: after a change the next poll comes soon
    after = decision.task
    if is_poll:  # the schedule after a poll depends on what was counted
        if not after.status.is_terminal and observation.reading.trouble not in _POLL_TROUBLES:
            counted["unfinished_at"] = observation.observed_at
        after, counted = replace(after, **counted), {}
    counted["due_at"] = next_due(after, observation, confirm=decision.confirm, moved=moved, timing=timing)
    counted["version"] = task.version + 1
    after = replace(after, **counted)
    if repeated:
        dup_key = f"dup:{key}"
        return Step(observation, dup_key, after, decision.outcome, decision.detail, (), not seen(dup_key))
    matters = not is_poll or moved or decision.outcome is _CONFLICT or _is_worth_an_event(observation.reading)
    if not matters:  # most polls: they need no key
        return Step(observation, "", after, decision.outcome, decision.detail, decision.announces, is_recorded=False)
    if not is_callback:
        key = dedupe_key(observation)
        before = seen(key)
    if moved and before:
        key = f"{key}:{task.version}"  # a repetition that changes something is a separate event
    is_recorded = moved or not before
    return Step(observation, key, after, decision.outcome, decision.detail, decision.announces, is_recorded)


def _describes(task: Task, reading: Reading) -> bool:
    """Whether a reading adds descriptions to the outputs of a task."""
    return described(task.outputs, disambiguate(reading.outputs), task.outputs) is not task.outputs


def _is_change(before: Task, after: Task) -> bool:
    """Whether a change is worth an event."""
    return (
        after.status is not before.status
        or after.stage is not before.stage
        or after.progress != before.progress
        or after.outputs != before.outputs
        or after.external_id != before.external_id
        or after.submit_state is not before.submit_state
        or after.reason is not before.reason
    )


def _is_worth_an_event(reading: Reading) -> bool:
    """Whether a poll that changed nothing is recorded, once: the first one in trouble, and one without a status."""
    return reading.status is None or (reading.status is _SUCCEEDED and not reading.outputs)


def _counts(task: Task, observation: Observation) -> dict[str, Any]:
    """The fields that count polls and callbacks, for any decision."""
    reading = observation.reading
    counted: dict[str, Any] = {}
    if reading.trouble is _UNKNOWN_STATUS:
        counted["unknown_status"] = reading.upstream_status
        counted["unknown_statuses"] = task.unknown_statuses + 1
    if observation.source is _CALLBACK:
        counted["callbacks"] = task.callbacks + 1
    if observation.source is not _POLL:
        return counted
    now = observation.observed_at
    in_trouble = reading.trouble in _POLL_TROUBLES
    counted["polls"] = task.polls + 1
    counted["poll_step"] = task.poll_step + 1
    counted["poll_trouble"] = _trouble_text(reading) if in_trouble else None
    counted["poll_trouble_since"] = (task.poll_trouble_since or now) if in_trouble else None
    if reading.trouble is None or reading.trouble is _UNKNOWN_STATUS:
        counted["not_found_since"] = None
    elif reading.trouble is Trouble.NOT_FOUND:
        counted["not_found_since"] = task.not_found_since or now
    if reading.status is not None and not reading.status.is_terminal:
        counted["missing_output_since"] = None
    return counted


def _trouble_text(reading: Reading) -> str:
    error = reading.error
    parts = [reading.detail] if reading.detail else []
    if error is not None:
        parts += [f"HTTP {error.http_status}"] if error.http_status else []
        parts += [quoted] if (quoted := quote_error(error)) else []
    if not parts or reading.trouble is Trouble.UNAUTHORIZED:
        parts.insert(0, TROUBLES[reading.trouble or Trouble.UNREADABLE])
    return ", ".join(parts)[:500]


def _give_up_submit(task: Task, observation: Observation, timing: PollTiming) -> Observation | None:
    """Give up a submit that was deferred for too long; it was certainly never accepted."""
    reading = observation.reading
    if task.submit_state is not _QUEUED or reading.submission is not Submission.DEFERRED:
        return None
    limit = submit_end(task, timing.policy)
    if task.status.is_terminal or task.due_at is None or task.due_at <= limit:
        return None
    return Observation(
        task_id=task.id,
        source=Source.CLOCK,
        observed_at=observation.observed_at,
        reading=Reading(
            status=Status.FAILED,
            reason=reading.reason or Reason.UPSTREAM_UNAVAILABLE,
            error=reading.error,
            retryable=not reading.held,
            detail=f"the service did not accept it for {duration(timing.policy.submit_retry_s)}, and charged nothing",
        ),
    )


def _still_waiting(task: Task, observation: Observation, timing: PollTiming) -> Step:
    """The clock has nothing to decide: only the schedule moves."""
    after = replace(task, due_at=_next_check(task, observation.observed_at, timing), version=task.version + 1)
    return Step(observation, "", after, Outcome.IGNORED, "nothing to decide yet", (), is_recorded=False)


def _next_check(task: Task, now: datetime, timing: PollTiming) -> datetime | None:
    if task.status.is_terminal:
        return None
    if task.submit_state is SubmitState.AMBIGUOUS:
        return max(task.progress_at + timedelta(seconds=timing.policy.submit_retry_s), now + timedelta(seconds=1))
    return now + timedelta(seconds=timing.policy.max_interval_s)
