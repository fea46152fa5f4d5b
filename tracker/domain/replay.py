"""Judge a history again: the task that its events lead to. Must not know how either is stored."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from tracker.domain.observation import Observation, Reading, Source, dedupe_key
from tracker.domain.outputs import output_identity
from tracker.domain.task import Status, SubmitState, Task
from tracker.domain.transitions import decide

if TYPE_CHECKING:
    from collections.abc import Sequence


_REPEATED = "dup:"
"""Begins the key of an event that records a repetition."""


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
    task = _beginning(stored)
    for event in history:
        if event.key.startswith(_REPEATED):
            continue
        if event.source is Source.SUBMIT and task.submit_state is SubmitState.QUEUED:
            task = replace(task, submit_state=SubmitState.SENDING)  # sending leaves no event, only its answer does
        is_trusted = _is_trusted(stored, event)
        observation = Observation(stored.id, event.source, event.at, event.reading, is_trusted=is_trusted)
        task = decide(task, observation, event.at).task
    return task


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


def _beginning(stored: Task) -> Task:
    """The task at its creation. One that was never sent but has an upstream id was registered."""
    is_registered = stored.submit_attempts == 0 and stored.external_id is not None
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


def _is_trusted(stored: Task, event: PastEvent) -> bool:
    """Whether an event was trusted to end its task: only its key shows that, and only a callback can lack it."""
    status = event.reading.status
    if event.source is not Source.CALLBACK or status is None or not status.is_terminal:
        return True
    untrusted = Observation(stored.id, event.source, event.at, event.reading, is_trusted=False)
    return not event.key.startswith(dedupe_key(untrusted))
