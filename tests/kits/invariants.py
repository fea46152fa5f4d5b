"""What holds for every task at any time, and for every change of one."""

from collections.abc import Sequence

import orjson

from tracker.domain.exports import read_export
from tracker.domain.records import EventRecord, Json
from tracker.domain.replay import differences
from tracker.domain.task import GIVEN_UP_REASONS, Status, SubmitState, Task, stage_rank

RANK = {Status.PENDING: 0, Status.RUNNING: 1, Status.SUCCEEDED: 2, Status.FAILED: 2}


def check_task(task: Task) -> None:
    """What holds at any time."""
    assert (task.reason is not None) == (task.status is Status.FAILED)
    assert (task.finished_at is not None) == task.status.is_terminal
    assert task.status is not Status.SUCCEEDED or (task.outputs and task.progress == 100)
    assert task.progress is None or 0 <= task.progress <= 100
    if task.status is Status.RUNNING:
        assert task.started_at is not None
    if task.external_id is not None:
        assert task.submit_state is SubmitState.ACCEPTED


def check_schedule(task: Task) -> None:
    """An unfinished task is never forgotten; an ended one is at rest, unless it was given up too early."""
    if not task.status.is_terminal:
        assert task.due_at is not None
    elif not task.is_given_up or task.external_id is None:
        assert task.due_at is None


def check_change(before: Task, after: Task) -> None:
    """What holds for every change."""
    check_task(after)
    check_schedule(after)
    revived = before.is_given_up and after.status is Status.SUCCEEDED
    if before.status.is_terminal and not revived:
        assert (after.status, after.reason, after.finished_at) == (before.status, before.reason, before.finished_at)
        assert after.error == before.error
        grows = before.status is Status.SUCCEEDED  # a later report of the same success may add outputs at the end
        assert after.outputs[: len(before.outputs) if grows else None] == before.outputs
    assert RANK[after.status] >= RANK[before.status]
    assert (after.progress or 0) >= (before.progress or 0)
    assert after.progress is not None or before.progress is None
    assert stage_rank(after.stage) >= stage_rank(before.stage)
    if before.external_id not in {None, after.external_id}:  # the create's answer corrects an early callback
        assert after.external_id is not None
        assert not before.status.is_terminal
    assert after.version >= before.version
    assert after.polls >= before.polls
    assert after.callbacks >= before.callbacks
    same = (after.id, after.route, after.created_at, after.expects_callback)
    assert same == (before.id, before.route, before.created_at, before.expects_callback)


def check_replay(document: Json) -> None:
    """An exported task is run through the state machine again: each event does what it did."""
    file = read_export(orjson.dumps(document))
    replayed = file.run_again()
    assert replayed is not None
    steps, task = replayed
    assert len(steps) == len(document["events"])
    assert [step for step in steps if not step.is_same] == []
    assert differences(file.state, task) == []


def check_history(task: Task, events: Sequence[EventRecord]) -> None:
    """The history leads without a gap from PENDING to the task's status, and ends it once."""
    status = Status.PENDING.value
    ends = []
    for event in events:
        assert event.from_status == status, "a gap in the history"
        status = event.to_status
        if event.from_status != event.to_status and Status(event.to_status).is_terminal:
            ends.append(event)
    assert status == task.status
    if len(ends) > 1:
        assert [event.to_status for event in ends] == ["FAILED", "SUCCEEDED"]
        assert any(reason in ends[0].detail for reason in GIVEN_UP_REASONS)
    assert [event.seq for event in events] == sorted({event.seq for event in events})
