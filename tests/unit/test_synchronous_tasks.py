"""Tasks whose create returns the result: one observation takes them from sending to their end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from tests.kits.clock import RECORDED_AT
from tests.kits.payloads import make_task
from tests.kits.providers import create, known
from tracker.domain.hook_events import HookEvent
from tracker.domain.judge import Step, judge
from tracker.domain.observation import NOTHING, Observation, Reading, Source, Submission
from tracker.domain.schedule import PollPolicy, PollTiming
from tracker.domain.task import Reason, Status, SubmitState, Task
from tracker.domain.transitions import Outcome

POLICY = PollPolicy()
CHAT = {"id": "chatcmpl-1", "choices": [{"message": {"content": "OK"}, "finish_reason": "stop"}]}
REFUSAL = {"id": "chatcmpl-1", "choices": [{"message": {"refusal": "no"}, "finish_reason": "stop"}]}


def sending(name: str = "openai.chat") -> Task:
    """A task whose create is on its way, leased as the submitter leases it."""
    route, _ = known(name)
    return replace(make_task(route, "create", None), due_at=RECORDED_AT + timedelta(seconds=360))


def apply(task: Task, source: Source, reading: Reading, after_s: float = 0.0) -> Step:
    """The last step of judging one observation."""
    observation = Observation(task.id, source, RECORDED_AT + timedelta(seconds=after_s), reading, attempt=1)
    return judge(task, observation, lambda _key: False, PollTiming(POLICY, 5.0))[-1]


def test_a_result_submits_and_succeeds_in_one_step() -> None:
    """Both events are announced, in order, and nothing is left to do."""
    step = apply(sending(), Source.SUBMIT, create("openai.chat", CHAT))
    assert (step.outcome, step.announces) == (Outcome.APPLIED, (HookEvent.SUBMITTED, HookEvent.SUCCEEDED))
    task = step.task
    assert (task.status, task.submit_state, task.external_id) == (Status.SUCCEEDED, SubmitState.ACCEPTED, "chatcmpl-1")
    assert (task.submitted_at, task.finished_at, task.progress, task.due_at) == (RECORDED_AT, RECORDED_AT, 100, None)
    assert [output.text for output in task.outputs] == ["OK"]


def test_a_refusal_inside_a_success_submits_and_fails_in_one_step() -> None:
    """It was accepted and charged, and its content is a refusal."""
    step = apply(sending(), Source.SUBMIT, create("openai.chat", REFUSAL))
    assert step.announces == (HookEvent.SUBMITTED, HookEvent.FAILED)
    assert (step.task.status, step.task.reason, step.task.due_at) == (Status.FAILED, Reason.POLICY_REJECTED, None)
    assert step.task.retryable is False


def test_an_unreadable_result_ends_as_unknown() -> None:
    """It cannot be polled, so it does not wait."""
    step = apply(sending(), Source.SUBMIT, create("openai.chat", b"<html>"))
    assert (step.task.status, step.task.reason, step.task.due_at) == (Status.FAILED, Reason.SUBMIT_UNKNOWN, None)
    assert step.announces == (HookEvent.FAILED,)


def test_a_deferred_result_waits_to_be_sent_again() -> None:
    """An overloaded upstream did not accept it."""
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    step = apply(sending("anthropic.messages"), Source.SUBMIT, create("anthropic.messages", body, 529, retry_after="7"))
    assert (step.task.status, step.task.submit_state) == (Status.PENDING, SubmitState.QUEUED)
    assert step.task.due_at is not None
    assert step.task.due_at >= RECORDED_AT + timedelta(seconds=7)


@pytest.mark.parametrize(
    ("reading", "after_s", "reason"),
    [
        (Reading(submission=Submission.ACCEPTED), POLICY.deadline_s, Reason.EXPIRED),
        (
            Reading(submission=Submission.ACCEPTED, status=Status.SUCCEEDED),
            POLICY.missing_output_grace_s,
            Reason.MISSING_OUTPUT,
        ),
    ],
)
def test_an_acceptance_without_an_id_or_an_end_is_bounded(reading: Reading, after_s: float, reason: Reason) -> None:
    """No provider returns such a reading; the clock would end the task."""
    task = apply(sending(), Source.SUBMIT, reading).task
    assert not task.status.is_terminal
    assert task.due_at is not None
    waiting = apply(task, Source.CLOCK, NOTHING, 1).task
    assert not waiting.status.is_terminal
    assert waiting.due_at is not None
    ended = apply(waiting, Source.CLOCK, NOTHING, after_s).task
    assert (ended.status, ended.reason, ended.due_at) == (Status.FAILED, reason, None)
