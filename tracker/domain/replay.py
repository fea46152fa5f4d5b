"""A history judged once more: what a task must be, going by what was heard about it.

Owns the way back from the events to the task. Must not know how either is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from tracker.domain.observation import Observation, Reading, Source, dedupe_key
from tracker.domain.outputs import output_identity
from tracker.domain.task import Status, SubmitState, Task
from tracker.domain.transitions import decide

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

_REPEATED = "dup:"
"""Begins the key of an event that says that the same news came again."""
_ATTEMPT = "try"


class Heard(Struct, frozen=True, gc=False):
    """One event of a history, as far as judging it again needs.

    Attributes:
        key: the identity that it was kept under, see `dedupe_key`.
        from_status: the task's status before it.
    """

    at: datetime
    source: Source
    key: str
    from_status: Status
    reading: Reading


def rederive(kept: Task, history: Sequence[Heard]) -> Task | None:
    """Run a task's history through the state machine again, from its beginning.

    Polls that changed nothing and counters leave no event, so counts and schedules are not what they were; status,
    stage, progress, reason and outputs must be.

    Args:
        kept: the task as it is kept; only what no observation changes is taken from it.
        history: all its events, oldest first.

    Returns:
        The task that follows; None where retention has dropped the beginning of the history.
    """
    if history[0].from_status is not Status.PENDING if history else kept.status.is_terminal:
        return None
    task = _beginning(kept)
    for heard in history:
        if heard.key.startswith(_REPEATED):
            continue
        if heard.source is Source.SUBMIT and task.submit_state is SubmitState.QUEUED:
            task = replace(task, submit_state=SubmitState.SENDING)  # going out is no event: its answer is
        observation = _observation(task, heard)
        task = decide(task, observation, heard.at).task
    return task


def differences(kept: Task, derived: Task) -> list[tuple[str, str, str]]:
    """In what a kept task is not what its history makes it: (field, as kept, as derived).

    Outputs are compared by kind and identity: URLs are signed anew, and data gives way to a file.
    """
    found = []
    for name in ("status", "stage", "progress", "reason"):
        one, other = getattr(kept, name), getattr(derived, name)
        if one != other:
            found.append((name, _words(one), _words(other)))
    one, other = ([(output.kind, output_identity(output)) for output in task.outputs] for task in (kept, derived))
    if one != other:
        found.append(("outputs", _words(one), _words(other)))
    return found


def _words(value: object) -> str:
    return "none" if value is None else str(value)


def _beginning(kept: Task) -> Task:
    """The task as it was created. One that was never sent and has an upstream id was created elsewhere."""
    is_registered = kept.submit_attempts == 0 and kept.external_id is not None
    return Task(
        id=kept.id,
        route=kept.route,
        provider=kept.provider,
        account=kept.account,
        created_at=kept.created_at,
        progress_at=kept.created_at,
        asset=kept.asset,
        model=kept.model,
        external_id=kept.external_id if is_registered else None,
        submit_state=SubmitState.ACCEPTED if is_registered else SubmitState.QUEUED,
        expects_callback=kept.expects_callback,
    )


def _observation(task: Task, heard: Heard) -> Observation:
    """The observation that an event was made of; whether it was believed shows in its key alone."""
    stage = heard.key.split(":")[1]
    attempt = stage.removeprefix(_ATTEMPT)
    observation = Observation(
        task_id=task.id,
        source=heard.source,
        observed_at=heard.at,
        reading=heard.reading,
        attempt=int(attempt) if attempt != stage and attempt.isdecimal() else 0,
    )
    doubted = replace(observation, believed=False)
    return doubted if heard.key.startswith(dedupe_key(doubted)) else observation
