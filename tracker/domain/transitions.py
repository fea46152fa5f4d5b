"""The state machine: one pure function.

`decide` applies the table of `tracker.domain.table` and the rules that a status alone does not show: success needs
outputs, stages and progress never go back, an upstream id is set once. An observation that changes nothing is an
ordinary decision, not an error.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from tracker.domain.archives import renew_urls
from tracker.domain.costs import charge_of
from tracker.domain.event_text import (
    NOT_ACCEPTED,
    NOT_SENT,
    SENT_AGAIN,
    TROUBLES,
    count_outputs,
    describe_advance,
    error_text,
    final_text,
)
from tracker.domain.figures import plausible_end
from tracker.domain.hook_events import HookEvent
from tracker.domain.ids import shown_id
from tracker.domain.observation import Observation, Reading, Source, Submission, Trouble
from tracker.domain.outputs import described, disambiguate, merge_known, new_outputs
from tracker.domain.table import TABLE, TaskPhase, TransitionKind, phase_of
from tracker.domain.task import RETRYABLE_REASONS, Reason, Stage, Status, SubmitState, Task, stage_rank

if TYPE_CHECKING:
    from datetime import datetime


class Outcome(StrEnum):
    """The result of an observation."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    STALE = "stale"
    CONFLICT = "conflict"
    IGNORED = "ignored"


class Decision(Struct, frozen=True, gc=False):
    """What follows from one observation.

    Attributes:
        task: the task afterwards; the same values where nothing changed.
        detail: one plain sentence for the history.
        announces: the hook events of the change, in order.
        confirm: the tracker should poll now, to confirm what was reported.
    """

    outcome: Outcome
    task: Task
    detail: str
    announces: tuple[HookEvent, ...] = ()
    confirm: bool = False


HELD = "held until its account is accepted: "
"""Begins the history's detail of a create that waits because its account is rejected. Stored: it must not change."""
_OWN_SOURCES = frozenset({Source.CLOCK, Source.OPERATOR})
# Python 3.11 takes 60 ns to look up a member of an enumeration, and each callback needs many
_PENDING, _RUNNING, _SUCCEEDED = Status.PENDING, Status.RUNNING, Status.SUCCEEDED
_CALLBACK, _ACCEPTED, _APPLIED = Source.CALLBACK, SubmitState.ACCEPTED, Outcome.APPLIED
_COMPLETE = Stage.COMPLETE


def decide(task: Task, observation: Observation, now: datetime) -> Decision:
    """Decide what an observation means for a task.

    Args:
        task: the current task.
        observation: one that does not repeat an earlier one.
        now: the current time, aware UTC.

    Returns:
        The decision. Its task never goes back in status, stage or progress.
    """
    reading = observation.reading
    foreign = (
        reading.external_id is not None
        and task.external_id is not None
        and reading.external_id != task.external_id
        and (observation.source is _CALLBACK or observation.source is Source.OPERATOR)
    )
    if foreign:
        detail = f"names another job of the service ({shown_id(reading.external_id)}); not applied"
        return Decision(Outcome.CONFLICT, task, detail, confirm=not task.status.is_terminal)
    if reading.submission is not None:
        return _decide_submission(task, observation, now)
    if reading.renews and task.status is _SUCCEEDED:
        return _decide_renewal(task, reading)
    accepted, announces = _record_acceptance(task, observation, now)
    return _decide_status(accepted, observation, now, announces)


def _record_acceptance(task: Task, observation: Observation, now: datetime) -> tuple[Task, tuple[HookEvent, ...]]:
    """Apply what any provider answer implies: the upstream has the task, and under which id."""
    if task.external_id is not None:
        return task, ()
    reading = observation.reading
    was_accepted = task.submit_state is _ACCEPTED
    # only the upstream knows the callback URL: it has the task, even where the callback names no id
    called_back = observation.source is _CALLBACK and reading.status is not None and not was_accepted
    if not (called_back or reading.external_id is not None):
        return task, ()
    accepted = replace(
        task,
        external_id=reading.external_id,
        submit_state=SubmitState.ACCEPTED,
        submitted_at=task.submitted_at or now,
        progress_at=now,
    )
    return accepted, () if was_accepted or task.status.is_terminal else (HookEvent.SUBMITTED,)


def _decide_submission(task: Task, observation: Observation, now: datetime) -> Decision:
    match observation.reading.submission:
        case Submission.ACCEPTED:
            return _decide_accepted(task, observation, now)
        case Submission.REFUSED:
            return _decide_refused(task, observation, now)
        case Submission.DEFERRED:
            return _decide_deferred(task, observation.reading)
        case Submission.AMBIGUOUS | None:
            return _decide_ambiguous(task, observation, now)


def _decide_accepted(task: Task, observation: Observation, now: datetime) -> Decision:
    reading = observation.reading
    was_accepted = task.submit_state is SubmitState.ACCEPTED
    is_over = task.status.is_terminal
    accepted = replace(
        task,
        submit_state=SubmitState.ACCEPTED,
        # the id in the answer to the create is the one to poll, even if an early callback named another
        external_id=task.external_id if is_over and task.external_id else reading.external_id or task.external_id,
        submitted_at=task.submitted_at or now,
        progress_at=task.progress_at if was_accepted else now,
    )
    announces = () if was_accepted or is_over else (HookEvent.SUBMITTED,)
    decision = _decide_status(accepted, observation, now, announces)
    if was_accepted and reading.external_id is not None and task.external_id not in {None, reading.external_id}:
        detail = f"accepted as {shown_id(reading.external_id)}, but a callback named {shown_id(task.external_id)}"
        if decision.task.status is not task.status and decision.task.status.is_terminal:
            return replace(decision, detail=f"{decision.detail}; {detail}")
        return replace(decision, outcome=Outcome.CONFLICT, detail=detail, confirm=not decision.task.status.is_terminal)
    if decision.task.status is task.status and (not is_over or reading.status is None):
        # also after the first callback, when its status is old
        by = f", {reading.detail}" if reading.detail and observation.source is Source.OPERATOR else ""
        return replace(decision, outcome=_APPLIED, detail=f"accepted as {shown_id(accepted.external_id)}{by}")
    return decision


def _decide_refused(task: Task, observation: Observation, now: datetime) -> Decision:
    reading = observation.reading
    if task.submit_state is SubmitState.ACCEPTED:
        detail = f"refused ({error_text(reading.error)}), although a callback shows that it was accepted"
        return Decision(Outcome.CONFLICT, task, detail, confirm=True)
    if task.status.is_terminal:
        return Decision(Outcome.STALE, task, "refused, after the task had ended")
    refusal = replace(observation, reading=replace(reading, status=Status.FAILED))
    return _end(replace(task, submit_state=SubmitState.REFUSED), refusal, now, ())


def _decide_deferred(task: Task, reading: Reading) -> Decision:
    if task.submit_state is SubmitState.ACCEPTED or task.status.is_terminal:
        return Decision(Outcome.STALE, task, "not accepted, after the task was accepted or had ended")
    queued = replace(task, submit_state=SubmitState.QUEUED, model=reading.next_model or task.model)
    if reading.held:
        return Decision(Outcome.APPLIED, queued, f"{HELD}{reading.detail}")
    why = reading.detail or error_text(reading.error)
    if reading.next_model is not None:
        return Decision(Outcome.APPLIED, queued, f"{NOT_ACCEPTED}{why}{SENT_AGAIN}")
    if why.startswith(NOT_SENT):
        return Decision(Outcome.APPLIED, queued, f"{why}{SENT_AGAIN}")
    wait = f" (wait {reading.retry_after_s:g} s)" if reading.retry_after_s is not None else ""
    return Decision(Outcome.APPLIED, queued, f"{NOT_ACCEPTED}{why}{wait}{SENT_AGAIN}")


def _decide_ambiguous(task: Task, observation: Observation, now: datetime) -> Decision:
    reading = observation.reading
    if task.submit_state is SubmitState.ACCEPTED or task.status.is_terminal:
        return Decision(Outcome.STALE, task, f"no clear answer ({reading.detail})")
    # the wait for its callback begins now, however long the task waited to be sent
    unknown = replace(task, submit_state=SubmitState.AMBIGUOUS, progress_at=now)
    if task.expects_callback:
        return Decision(
            Outcome.APPLIED,
            unknown,
            f"no clear answer ({reading.detail}), so the tracker does not send it again",
        )
    given_up = replace(
        observation,
        reading=replace(reading, status=Status.FAILED, reason=Reason.SUBMIT_UNKNOWN, retryable=False),
    )
    return _end(unknown, given_up, now, ())


def _decide_status(task: Task, observation: Observation, now: datetime, announces: tuple[HookEvent, ...]) -> Decision:
    reading = observation.reading
    status = reading.status
    if status is None and reading.expired_after_s is not None:
        age_s = (now - (task.submitted_at or task.created_at)).total_seconds()
        if age_s > reading.expired_after_s and not task.status.is_terminal:
            expired = replace(reading, status=Status.FAILED, reason=Reason.EXPIRED)
            return _end(task, replace(observation, reading=expired), now, announces)
    if status is None:
        return _decide_no_status(task, reading, announces)
    if status is _SUCCEEDED and not reading.outputs:
        return _decide_missing_output(task, observation, now, announces)
    may_end = not task.status.is_terminal or (task.is_given_up and status is _SUCCEEDED)
    if status.is_terminal and not observation.is_trusted and may_end:
        return Decision(
            _outcome_without_change(announces),
            task,
            f"reports {status}; a poll must confirm it",
            announces,
            confirm=True,
        )
    kind = TABLE[phase_of(task), status]
    if task.status.is_terminal and observation.source in _OWN_SOURCES:
        kind = TransitionKind.STALE
    match kind:
        case TransitionKind.ADVANCE | TransitionKind.STAY | TransitionKind.REVIVE:
            if status.is_terminal:
                return _end(task, observation, now, announces)
            return _advance(task, reading, now, announces)
        case TransitionKind.STALE:
            return Decision(Outcome.STALE, task, f"reports {status}, but the task is {task.status} already", announces)
        case TransitionKind.SAME:
            return _decide_same(task, observation, announces)
        case TransitionKind.CONFLICT:
            error = f": {error_text(reading.error)}" if reading.error else ""
            detail = f"reports {status}{error}, but the task is {final_text(task)} already"
            return Decision(Outcome.CONFLICT, task, detail, announces)


def _decide_same(task: Task, observation: Observation, announces: tuple[HookEvent, ...]) -> Decision:
    """The known end. A success may still bring outputs that its first report did not name."""
    reading = observation.reading
    if reading.status is Status.SUCCEEDED and observation.is_trusted:
        latest = disambiguate(reading.outputs)
        new = new_outputs(task.outputs, latest)
        outputs = described(task.outputs, latest, task.outputs) + new
        updated = replace(task, outputs=outputs)
        if new:
            detail = f"reports {len(new)} more after the success: {count_outputs(len(outputs))} now"
            return Decision(Outcome.APPLIED, updated, detail, (*announces, HookEvent.PROGRESS))
        if outputs != task.outputs:
            return Decision(Outcome.APPLIED, updated, "reports SUCCEEDED again, and describes the outputs", announces)
    return Decision(Outcome.DUPLICATE, task, f"reports {reading.status} again", announces)


def _decide_no_status(task: Task, reading: Reading, announces: tuple[HookEvent, ...]) -> Decision:
    """An accepted create without a status, an unknown status, or trouble."""
    if reading.submission is Submission.ACCEPTED:
        return Decision(Outcome.APPLIED, task, "accepted", announces)
    match reading.trouble:
        case Trouble.UNKNOWN_STATUS:
            detail = f"reports an unknown status, {reading.upstream_status!r}; it counts as running"
        case None:
            detail = reading.detail or "reports no status"
        case trouble:
            detail = f"{TROUBLES[trouble]}: {reading.detail or error_text(reading.error)}"
    return Decision(_outcome_without_change(announces), task, detail, announces, confirm=not task.status.is_terminal)


def _decide_renewal(task: Task, reading: Reading) -> Decision:
    """A poll after the success, only to renew URLs: it changes nothing else."""
    if reading.status is not Status.SUCCEEDED or not reading.outputs:
        why = reading.trouble or reading.detail or error_text(reading.error)
        return Decision(Outcome.IGNORED, task, f"names no fresh URLs: {why}")
    outputs = renew_urls(task.outputs, reading.outputs)
    if outputs == task.outputs:
        return Decision(Outcome.DUPLICATE, task, "names the same URLs again")
    return Decision(Outcome.APPLIED, replace(task, outputs=outputs), "names fresh URLs of the outputs")


def _decide_missing_output(
    task: Task, observation: Observation, now: datetime, announces: tuple[HookEvent, ...]
) -> Decision:
    """A success without an output is not a success yet."""
    if task.status.is_terminal:
        phase = phase_of(task)
        if phase is TaskPhase.GIVEN_UP:
            detail = "reports SUCCEEDED without an output; the task stays given up"
            confirm = observation.source is not Source.POLL  # a poll that causes a poll would never end
            return Decision(Outcome.IGNORED, task, detail, announces, confirm)
        if phase is TaskPhase.SUCCEEDED:
            return Decision(Outcome.DUPLICATE, task, "reports SUCCEEDED again", announces)
        return Decision(
            Outcome.CONFLICT, task, f"reports SUCCEEDED, but the task is {final_text(task)} already", announces
        )
    if not observation.is_trusted:
        detail = "reports SUCCEEDED without an output; a poll must confirm it"
        return Decision(_outcome_without_change(announces), task, detail, announces, confirm=True)
    waiting = replace(task, missing_output_since=task.missing_output_since or now)
    decision = _advance(
        waiting,
        replace(observation.reading, status=Status.RUNNING, stage=None, progress=None),
        now,
        announces,
    )
    why = f" ({observation.reading.detail})" if observation.reading.detail else ""
    return replace(decision, detail=f"reports SUCCEEDED, but no output yet{why}", confirm=True)


def _advance(task: Task, reading: Reading, now: datetime, announces: tuple[HookEvent, ...]) -> Decision:
    """Not ended: apply newer status, stage, progress and outputs; refuse older ones."""
    status = _RUNNING if reading.status is _RUNNING else task.status
    if reading.stage is not None and stage_rank(reading.stage) < stage_rank(task.stage):
        detail = f"reports stage {reading.stage}, but the task is at stage {task.stage} already"
        return Decision(Outcome.STALE, task, detail, announces)
    stage = reading.stage or task.stage
    progress = task.progress
    if reading.progress is not None:
        progress = max(min(max(reading.progress, 0), 100), progress or 0)
    latest = disambiguate(reading.outputs)
    outputs = described(task.outputs, latest, latest if len(latest) > len(task.outputs) else task.outputs)
    if (status, stage, progress, outputs) == (task.status, task.stage, task.progress, task.outputs):
        return Decision(_APPLIED, task, f"reports {reading.status}: nothing new", announces)
    began = status is _RUNNING and task.status is _PENDING
    advanced = replace(
        task,
        status=status,
        stage=stage,
        progress=progress,
        outputs=outputs,
        started_at=now if began else task.started_at,
        stage_at=task.stage_at if stage is task.stage else now,
        progress_at=now,
    )
    event = HookEvent.RUNNING if began else HookEvent.PROGRESS
    return Decision(_APPLIED, advanced, describe_advance(task, advanced), (*announces, event))


def _end(task: Task, observation: Observation, now: datetime, announces: tuple[HookEvent, ...]) -> Decision:
    """SUCCEEDED with outputs, or FAILED with a reason."""
    reading = observation.reading
    upstream_finished_at = reading.finished_at and plausible_end(reading.finished_at, task.submitted_at, now)
    is_refused = task.submit_state is SubmitState.REFUSED or task.submit_state is SubmitState.QUEUED
    cost, price = charge_of(reading.cost, task.price, is_refused=is_refused)
    if reading.status is _SUCCEEDED:
        stage = _COMPLETE if task.stage is not None or reading.stage is not None else None
        ended = replace(
            task,
            status=_SUCCEEDED,
            stage=stage,
            stage_at=task.stage_at if stage is task.stage else now,
            progress=100,
            outputs=merge_known(disambiguate(reading.outputs), task.outputs),
            reason=None,
            error=None,
            retryable=None,
            missing_output_since=None,
            ended_by=observation.source,
            finished_at=now,
            upstream_finished_at=upstream_finished_at,
            usage=reading.usage,
            price=price,
            cost=cost,
            progress_at=now,
        )
        revived = f", after it was given up as {task.reason}" if task.is_given_up else ""
        remark = f"; {reading.detail}" if reading.detail else ""
        detail = f"succeeded with {count_outputs(len(ended.outputs))}{revived}{remark}"
        return Decision(_APPLIED, ended, detail, (*announces, HookEvent.SUCCEEDED))
    reason = reading.reason or Reason.GENERATION_FAILED
    retryable = reading.retryable if reading.retryable is not None else reason in RETRYABLE_REASONS
    ended = replace(
        task,
        status=Status.FAILED,
        reason=reason,
        error=reading.error,
        retryable=retryable,
        submit_state=SubmitState.REFUSED if task.submit_state is SubmitState.QUEUED else task.submit_state,
        ended_by=observation.source,
        finished_at=now,
        upstream_finished_at=upstream_finished_at,
        usage=reading.usage,
        price=price,
        cost=cost,
        progress_at=now,
    )
    detail = f"failed: {reason} ({reading.detail or error_text(reading.error)})"
    return Decision(Outcome.APPLIED, ended, detail, (*announces, HookEvent.FAILED))


def _outcome_without_change(announces: tuple[HookEvent, ...]) -> Outcome:
    """An observation that changes no status is still applied when it shows that the task was accepted."""
    return Outcome.APPLIED if announces else Outcome.IGNORED
