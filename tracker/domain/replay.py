"""Judge a history again: the task that its events lead to, and what each event does. Must not know how it is stored."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from tracker.domain.observation import NOTHING, Observation, Reading, Source, dedupe_key
from tracker.domain.outputs import output_identity
from tracker.domain.task import Status, SubmitState, Task
from tracker.domain.transitions import Outcome, decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracker.domain.transitions import Decision

REPEATED = "dup:"
"""Begins the key of an event that records a repetition."""
_SUBMIT, _CALLBACK, _QUEUED = Source.SUBMIT, Source.CALLBACK, SubmitState.QUEUED


class PastEvent(Struct, frozen=True, gc=False):
    """The part of an event that judging it again needs.

    Attributes:
        key: its stored identity, see `dedupe_key`.
        from_status: the task's status before it.
    """

    at: datetime
    source: Source
    key: str
    from_status: Status
    reading: Reading


def rederive(stored: Task, history: Sequence[PastEvent]) -> Task | None:
    """Run a task's history through the state machine again, from its beginning.

    Counters and polls that changed nothing leave no event, so counts and schedules differ; status, stage, progress,
    reason and outputs must not.

    Args:
        stored: the stored task; only the fields that no observation changes are read.
        history: all its events, oldest first.

    Returns:
        The derived task; None where retention has removed the beginning of the history.
    """
    if history[0].from_status is not Status.PENDING if history else stored.status.is_terminal:
        return None
    # one that was never sent but has an upstream id was registered
    task = _beginning(stored, is_registered=stored.submit_attempts == 0 and stored.external_id is not None)
    for event in history:
        if not event.key.startswith(REPEATED):
            task = _judge_again(task, event, is_trusted(stored, event)).task
    return task


class ReplayEvent(Struct, frozen=True, rename={"from_status": "from", "to_status": "to"}):
    """An event with all that judging it again needs, and with what came of it.

    Attributes:
        from_status, to_status: the task's status before and after.
        is_judged: False for a repetition, and for a note about the files of the task: these change nothing.
        is_trusted: False for a callback that could not end the task.
    """

    seq: int
    at: datetime
    source: Source
    outcome: Outcome
    from_status: Status
    to_status: Status
    detail: str
    reading: Reading = NOTHING
    is_judged: bool = True
    is_trusted: bool = True


class ReplayStep(Struct, frozen=True):
    """What an event does when it is judged again."""

    event: ReplayEvent
    outcome: Outcome
    from_status: Status
    to_status: Status

    @property
    def is_same(self) -> bool:
        """Whether it does what it did."""
        event = self.event
        replayed = (self.outcome, self.from_status, self.to_status)
        return replayed == (event.outcome, event.from_status, event.to_status)


def is_judged(event: PastEvent) -> bool:
    """Whether an event is an observation of its own: no repetition, and no note about files."""
    return not event.key.startswith(REPEATED) and not (event.source is Source.CLOCK and event.reading == NOTHING)


def run_again(
    stored: Task, history: Sequence[ReplayEvent], *, is_registered: bool
) -> tuple[list[ReplayStep], Task] | None:
    """Run a task's history through the state machine again, event by event; see `rederive`.

    Args:
        stored: the stored task.
        history: all its events, oldest first.
        is_registered: whether it was created elsewhere.

    Returns:
        What each event does, and the task at the end; None where retention has removed the beginning of the history.
    """
    if history[0].from_status is not Status.PENDING if history else stored.status.is_terminal:
        return None
    task, steps = _beginning(stored, is_registered=is_registered), []
    for event in history:
        before, outcome = task.status, event.outcome
        if event.is_judged:
            decision = _judge_again(task, event, event.is_trusted)
            task, outcome = decision.task, decision.outcome
        steps.append(ReplayStep(event, outcome, before, task.status))
    return steps, task


def _judge_again(task: Task, event: PastEvent | ReplayEvent, trusted: bool) -> Decision:  # noqa: FBT001 - called for each event
    if event.source is _SUBMIT and task.submit_state is _QUEUED:
        task = replace(task, submit_state=SubmitState.SENDING)  # sending leaves no event, only its answer does
    at = event.at
    return decide(task, Observation(task.id, event.source, at, event.reading, None, trusted), at)


def differences(stored: Task, derived: Task) -> list[tuple[str, str, str]]:
    """The differences between a stored task and the one derived from its history: (field, stored, derived).

    Outputs are compared by kind and identity: URLs get new signatures, and a file replaces inline data.
    """
    found = []
    for name in ("status", "stage", "progress", "reason"):
        one, other = getattr(stored, name), getattr(derived, name)
        if one != other:
            found.append((name, _text(one), _text(other)))
    if stored.outputs != derived.outputs:  # mostly they are the same
        one, other = ([(output.kind, output_identity(output)) for output in task.outputs] for task in (stored, derived))
        if one != other:
            found.append(("outputs", _text(one), _text(other)))
    return found


def _text(value: object) -> str:
    return "none" if value is None else str(value)


def _beginning(stored: Task, *, is_registered: bool) -> Task:
    """The task at its creation."""
    return Task(
        id=stored.id,
        route=stored.route,
        provider=stored.provider,
        account=stored.account,
        created_at=stored.created_at,
        progress_at=stored.created_at,
        asset=stored.asset,
        model=stored.model,
        size=stored.size,
        external_id=stored.external_id if is_registered else None,
        submit_state=SubmitState.ACCEPTED if is_registered else SubmitState.QUEUED,
        expects_callback=stored.expects_callback,
    )


def is_trusted(stored: Task, event: PastEvent) -> bool:
    """Whether an event was trusted to end its task: only its key shows that, and only a callback can lack it."""
    status = event.reading.status
    if event.source is not _CALLBACK or status is None or not status.is_terminal:
        return True
    untrusted = Observation(stored.id, event.source, event.at, event.reading, is_trusted=False)
    return not event.key.startswith(dedupe_key(untrusted))
