"""The state machine: one pure function.

`decide` applies the table of `tracker.domain.table` together with the rules that a status alone does not show: success
needs outputs, stages and progress never go back, an upstream id is learnt once. An observation that changes nothing is
an ordinary decision, not an error.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from tracker.domain.archives import renew_urls
from tracker.domain.hook_events import HookEvent
from tracker.domain.ids import shown_id
from tracker.domain.observation import Observation, Reading, Source, Submission, Trouble
from tracker.domain.outputs import described, disambiguate, merge_known, new_outputs
from tracker.domain.table import TABLE, TaskPhase, TransitionKind, phase_of
from tracker.domain.task import (
    RETRYABLE_REASONS,
    Reason,
    Stage,
    Status,
    SubmitState,
    Task,
    UpstreamError,
    stage_rank,
)

if TYPE_CHECKING:
    from datetime import datetime


class Outcome(StrEnum):
    """What became of an observation."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    STALE = "stale"
    CONFLICT = "conflict"
    IGNORED = "ignored"


class Decision(Struct, frozen=True, gc=False):
    """What follows from one observation.

    Attributes:
        outcome: what became of it.
        task: the task afterwards; the same values where nothing changed.
        detail: one plain sentence for the history.
        announces: the hook events that the change gives rise to, in order.
        confirm: the tracker should ask the upstream now: news that only a poll can confirm.
    """

    outcome: Outcome
    task: Task
    detail: str
    announces: tuple[HookEvent, ...] = ()
    confirm: bool = False


HELD = "held until its account is accepted: "
"""How the history tells of a create that waits because its account is refused."""
_OURS = frozenset({Source.CLOCK, Source.OPERATOR})


def decide(task: Task, observation: Observation, now: datetime) -> Decision:
    """Decide what an observation means for a task.

    Args:
        task: the task as it stands.
        observation: what was heard; already known not to be a repetition of an earlier one.
        now: the current time, aware UTC.

    Returns:
        The decision. The task in it never stands behind the one given: neither status, stage nor progress.
    """
    reading = observation.reading
    if reading.submission is not None:
        return _decide_submission(task, observation, now)
    if reading.renews and task.status is Status.SUCCEEDED:
        return _decide_renewal(task, reading)
    foreign = (
        observation.source is Source.CALLBACK
        and reading.external_id is not None
        and task.external_id is not None
        and reading.external_id != task.external_id
    )
    if foreign:
        words = f"speaks of another upstream task ({shown_id(reading.external_id)}); not applied"
        return Decision(Outcome.CONFLICT, task, words, confirm=not task.status.is_terminal)
    learnt, announces = _learn_acceptance(task, observation, now)
    return _decide_status(learnt, observation, now, announces)


def _learn_acceptance(task: Task, observation: Observation, now: datetime) -> tuple[Task, tuple[HookEvent, ...]]:
    """Take in what any provider word implies: the upstream has the task, and under which id."""
    reading = observation.reading
    told = task.submit_state is SubmitState.ACCEPTED
    # a callback came to an address that only the upstream knows: it has the task, even where it names no id
    called = observation.source is Source.CALLBACK and reading.status is not None and not told
    if task.external_id is not None or not (called or reading.external_id is not None):
        return task, ()
    learnt = replace(
        task,
        external_id=reading.external_id,
        submit_state=SubmitState.ACCEPTED,
        submitted_at=task.submitted_at or now,
        progress_at=now,
    )
    return learnt, () if told or task.status.is_terminal else (HookEvent.SUBMITTED,)


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
    told = task.submit_state is SubmitState.ACCEPTED
    is_over = task.status.is_terminal
    accepted = replace(
        task,
        submit_state=SubmitState.ACCEPTED,
        # the id that the create is answered with is the one to ask for, whatever an early callback named
        external_id=task.external_id if is_over and task.external_id else reading.external_id or task.external_id,
        submitted_at=task.submitted_at or now,
        progress_at=task.progress_at if told else now,
    )
    announces = () if told or is_over else (HookEvent.SUBMITTED,)
    decision = _decide_status(accepted, observation, now, announces)
    if told and reading.external_id is not None and task.external_id not in {None, reading.external_id}:
        words = f"accepted as {shown_id(reading.external_id)}, but a callback had named {shown_id(task.external_id)}"
        if decision.task.status is not task.status and decision.task.status.is_terminal:
            return replace(decision, detail=f"{decision.detail}; {words}")
        return replace(decision, outcome=Outcome.CONFLICT, detail=words, confirm=not decision.task.status.is_terminal)
    if decision.task.status is task.status and not is_over:
        return replace(decision, detail=f"accepted as {shown_id(accepted.external_id)}")
    return decision


def _decide_refused(task: Task, observation: Observation, now: datetime) -> Decision:
    reading = observation.reading
    if task.submit_state is SubmitState.ACCEPTED:
        return Decision(
            Outcome.CONFLICT,
            task,
            f"refused ({_error_words(reading.error)}), although a callback shows that it was accepted",
            confirm=True,
        )
    if task.status.is_terminal:
        return Decision(Outcome.STALE, task, "refused, after the task had ended")
    refusal = replace(observation, reading=replace(reading, status=Status.FAILED))
    return _end(replace(task, submit_state=SubmitState.REFUSED), refusal, now, ())


def _decide_deferred(task: Task, reading: Reading) -> Decision:
    if task.submit_state is SubmitState.ACCEPTED or task.status.is_terminal:
        return Decision(Outcome.STALE, task, "put off, after the task was known to be accepted or had ended")
    wait = f", asked to wait {reading.retry_after_s:g} s" if reading.retry_after_s is not None else ""
    later = "it is sent again later"
    if reading.next_model is not None:
        wait, later = "", "it is sent again"
    if reading.held:
        return Decision(Outcome.APPLIED, replace(task, submit_state=SubmitState.QUEUED), f"{HELD}{reading.detail}")
    return Decision(
        Outcome.APPLIED,
        replace(task, submit_state=SubmitState.QUEUED, model=reading.next_model or task.model),
        f"not accepted ({reading.detail or _error_words(reading.error)}{wait}); {later}",
    )


def _decide_ambiguous(task: Task, observation: Observation, now: datetime) -> Decision:
    reading = observation.reading
    if task.submit_state is SubmitState.ACCEPTED or task.status.is_terminal:
        return Decision(Outcome.STALE, task, f"no clear answer to the submit ({reading.detail})")
    # its callback is waited for from now on, however long the task had been waiting to be sent
    unknown = replace(task, submit_state=SubmitState.AMBIGUOUS, progress_at=now)
    if task.expects_callback:
        return Decision(
            Outcome.APPLIED,
            unknown,
            f"no clear answer to the submit ({reading.detail}); it may have been accepted and charged, "
            "so it is not sent again; its callback may still tell",
        )
    verdict = replace(
        observation,
        reading=replace(reading, status=Status.FAILED, reason=Reason.SUBMIT_UNKNOWN, retryable=False),
    )
    return _end(unknown, verdict, now, ())


def _decide_status(task: Task, observation: Observation, now: datetime, announces: tuple[HookEvent, ...]) -> Decision:
    reading = observation.reading
    status = reading.status
    if status is None and reading.expired_after_s is not None:
        age_s = (now - (task.submitted_at or task.created_at)).total_seconds()
        if age_s > reading.expired_after_s and not task.status.is_terminal:
            expired = replace(reading, status=Status.FAILED, reason=Reason.EXPIRED)
            return _end(task, replace(observation, reading=expired), now, announces)
    if status is None:
        return _decide_nothing_said(task, reading, announces)
    if status is Status.SUCCEEDED and not reading.outputs:
        return _decide_missing_output(task, observation, now, announces)
    open_to_news = not task.status.is_terminal or (task.is_given_up and status is Status.SUCCEEDED)
    if status.is_terminal and not observation.believed and open_to_news:
        return Decision(_heard(announces), task, f"says {status}; a poll must confirm it", announces, confirm=True)
    move = TABLE[phase_of(task), status]
    if task.status.is_terminal and observation.source in _OURS:
        move = TransitionKind.STALE
    match move:
        case TransitionKind.ADVANCE | TransitionKind.REVIVE:
            if status.is_terminal:
                return _end(task, observation, now, announces)
            return _come_forward(task, reading, now, announces)
        case TransitionKind.STAY:
            return _come_forward(task, reading, now, announces)
        case TransitionKind.STALE:
            return Decision(Outcome.STALE, task, f"says {status}, but the task is {task.status}", announces)
        case TransitionKind.SAME:
            return _decide_same(task, observation, announces)
        case TransitionKind.CONFLICT:
            words = f": {_error_words(reading.error)}" if reading.error else ""
            return Decision(
                Outcome.CONFLICT,
                task,
                f"says {status}{words}, but the task is {_final_words(task)}",
                announces,
            )


def _decide_same(task: Task, observation: Observation, announces: tuple[HookEvent, ...]) -> Decision:
    """An end that is known. A success may still bring outputs that the first word of it did not name."""
    reading = observation.reading
    if reading.status is Status.SUCCEEDED and observation.believed:
        told = disambiguate(reading.outputs)
        more = new_outputs(task.outputs, told)
        better = described(task.outputs, told, task.outputs)
        if not more and better != task.outputs:
            words = "says SUCCEEDED, as known, and more about the outputs"
            return Decision(Outcome.APPLIED, replace(task, outputs=better), words, announces)
        if more:
            grown = replace(task, outputs=better + more)
            words = f"brought {_count_words(len(more))} more after the success, {_count_words(len(grown.outputs))} now"
            return Decision(Outcome.APPLIED, grown, words, (*announces, HookEvent.PROGRESS))
    return Decision(Outcome.DUPLICATE, task, f"says {reading.status}, as known", announces)


def _decide_nothing_said(task: Task, reading: Reading, announces: tuple[HookEvent, ...]) -> Decision:
    """An accepted create without a status, an unknown status, or trouble."""
    if reading.submission is Submission.ACCEPTED:
        return Decision(Outcome.APPLIED, task, "accepted", announces)
    match reading.trouble:
        case Trouble.UNKNOWN_STATUS:
            detail = f"unknown upstream status {reading.upstream_status!r}; taken as still running"
        case None:
            detail = reading.detail or "says nothing about the state"
        case trouble:
            words = reading.detail or _error_words(reading.error)
            detail = f"{trouble.replace('_', ' ')}: {words}"
    return Decision(_heard(announces), task, detail, announces, confirm=not task.status.is_terminal)


def _decide_renewal(task: Task, reading: Reading) -> Decision:
    """A poll after the success, for the sake of the URLs alone: it may renew them and changes nothing else."""
    if reading.status is not Status.SUCCEEDED or not reading.outputs:
        words = reading.detail or _error_words(reading.error)
        return Decision(Outcome.IGNORED, task, f"asked for fresh URLs, gave none: {reading.trouble or words}")
    outputs = renew_urls(task.outputs, reading.outputs)
    if outputs == task.outputs:
        return Decision(Outcome.DUPLICATE, task, "asked for fresh URLs, gave those known already")
    return Decision(Outcome.APPLIED, replace(task, outputs=outputs), "gave fresh URLs of the same outputs")


def _decide_missing_output(
    task: Task, observation: Observation, now: datetime, announces: tuple[HookEvent, ...]
) -> Decision:
    """A success without an output is not a success yet."""
    if task.status.is_terminal:
        standing = phase_of(task)
        if standing is TaskPhase.GIVEN_UP:
            return Decision(
                Outcome.IGNORED,
                task,
                "says SUCCEEDED without an output; given up all the same",
                announces,
                confirm=observation.source is not Source.POLL,  # a poll that asked for a poll would never end
            )
        if standing is TaskPhase.SUCCEEDED:
            return Decision(Outcome.DUPLICATE, task, "says SUCCEEDED, as known", announces)
        return Decision(Outcome.CONFLICT, task, f"says SUCCEEDED, but the task is {_final_words(task)}", announces)
    if not observation.believed:
        words = "says SUCCEEDED without an output; a poll must confirm it"
        return Decision(_heard(announces), task, words, announces, confirm=True)
    waiting = replace(task, missing_output_since=task.missing_output_since or now)
    decision = _come_forward(
        waiting,
        replace(observation.reading, status=Status.RUNNING, stage=None, progress=None),
        now,
        announces,
    )
    why = f" ({observation.reading.detail})" if observation.reading.detail else ""
    return replace(decision, detail=f"says SUCCEEDED without an output yet{why}; waiting for it", confirm=True)


def _come_forward(task: Task, reading: Reading, now: datetime, announces: tuple[HookEvent, ...]) -> Decision:
    """Not ended: take in what is newer of status, stage, progress and outputs; refuse what is older."""
    status = Status.RUNNING if reading.status is Status.RUNNING else task.status
    if stage_rank(reading.stage) < stage_rank(task.stage) and reading.stage is not None:
        return Decision(
            Outcome.STALE, task, f"says stage {reading.stage}, but {task.stage} is known already", announces
        )
    stage = reading.stage or task.stage
    progress = task.progress
    if reading.progress is not None:
        progress = max(min(max(reading.progress, 0), 100), progress or 0)
    told = disambiguate(reading.outputs)
    outputs = described(task.outputs, told, told if len(told) > len(task.outputs) else task.outputs)
    if (status, stage, progress, outputs) == (task.status, task.stage, task.progress, task.outputs):
        return Decision(Outcome.APPLIED, task, f"says {reading.status}, as known", announces)
    began = status is Status.RUNNING and task.status is Status.PENDING
    forward = replace(
        task,
        status=status,
        stage=stage,
        progress=progress,
        outputs=outputs,
        started_at=now if began else task.started_at,
        progress_at=now,
    )
    news = (HookEvent.RUNNING,) if began else (HookEvent.PROGRESS,)
    return Decision(Outcome.APPLIED, forward, _forward_words(task, forward), announces + news)


def _end(task: Task, observation: Observation, now: datetime, announces: tuple[HookEvent, ...]) -> Decision:
    """SUCCEEDED with outputs, or FAILED with a reason."""
    reading = observation.reading
    if reading.status is Status.SUCCEEDED:
        staged = task.stage is not None or reading.stage is not None
        ended = replace(
            task,
            status=Status.SUCCEEDED,
            stage=Stage.COMPLETE if staged else None,
            progress=100,
            outputs=merge_known(disambiguate(reading.outputs), task.outputs),
            reason=None,
            error=None,
            retryable=None,
            missing_output_since=None,
            finished_at=now,
            progress_at=now,
        )
        revived = f", after it was given up as {task.reason}" if task.is_given_up else ""
        remark = f"; {reading.detail}" if reading.detail else ""
        return Decision(
            Outcome.APPLIED,
            ended,
            f"succeeded with {_count_words(len(ended.outputs))}{revived}{remark}",
            (*announces, HookEvent.SUCCEEDED),
        )
    reason = reading.reason or Reason.GENERATION_FAILED
    retryable = reading.retryable if reading.retryable is not None else reason in RETRYABLE_REASONS
    ended = replace(
        task,
        status=Status.FAILED,
        reason=reason,
        error=reading.error,
        retryable=retryable,
        submit_state=SubmitState.REFUSED if task.submit_state is SubmitState.QUEUED else task.submit_state,
        finished_at=now,
        progress_at=now,
    )
    words = reading.detail or _error_words(reading.error)
    return Decision(Outcome.APPLIED, ended, f"failed: {reason} ({words})", (*announces, HookEvent.FAILED))


def _heard(announces: tuple[HookEvent, ...]) -> Outcome:
    """Something that changes no status is applied all the same when it taught us that the task was accepted."""
    return Outcome.APPLIED if announces else Outcome.IGNORED


def _forward_words(before: Task, after: Task) -> str:
    parts = [after.status if after.status is not before.status else "came forward"]
    if after.stage is not before.stage:
        parts.append(f"stage {after.stage}")
    if after.progress != before.progress:
        parts.append(f"{after.progress} %")
    if after.outputs != before.outputs:
        parts.append(f"{_count_words(len(after.outputs))} so far")
    return ", ".join(parts)


def _count_words(count: int) -> str:
    return f"{count} output{'' if count == 1 else 's'}"


def _final_words(task: Task) -> str:
    return f"{task.status} ({task.reason})" if task.reason else task.status


def _error_words(error: UpstreamError | None) -> str:
    if error is None:
        return "no words given"
    words = " ".join(part for part in (error.code, error.message) if part)
    return words or (f"HTTP {error.http_status}" if error.http_status else "no words given")
