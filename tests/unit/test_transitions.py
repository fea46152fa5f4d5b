"""The state machine: every pair of phase and status, every answer to a create, and nothing goes back."""

import itertools
from typing import Any

import pytest
from msgspec.structs import replace

from tests.kits.clock import after
from tests.kits.factories import (
    EXTERNAL_ID,
    TASK_ID,
    make_answer,
    make_cancel,
    make_observation,
    make_output,
    make_sent_task,
    make_task,
)
from tracker.domain.hook_events import HookEvent
from tracker.domain.observation import Observation, Source, Submission, Trouble
from tracker.domain.outputs import output_identity
from tracker.domain.table import TABLE, TaskPhase, phase_of
from tracker.domain.task import (
    GIVEN_UP_REASONS,
    ExternalId,
    Reason,
    Stage,
    Status,
    SubmitState,
    Task,
    UpstreamError,
    stage_rank,
)
from tracker.domain.transitions import Decision, Outcome, decide

TASKS = {
    "PENDING": make_task(),
    "RUNNING": make_task(status=Status.RUNNING),
    "SUCCEEDED": make_task(status=Status.SUCCEEDED),
    "FAILED": make_task(status=Status.FAILED),
    "GIVEN_UP": make_task(status=Status.FAILED, reason=Reason.EXPIRED),
    "CANCELED": make_task(status=Status.FAILED, reason=Reason.CANCELED),
}

# (phase of the task, reported status) -> (outcome, status afterwards, hook events)
EXPECTED = {
    ("PENDING", "PENDING"): ("applied", "PENDING", ""),
    ("PENDING", "RUNNING"): ("applied", "RUNNING", "task.running"),
    ("PENDING", "SUCCEEDED"): ("applied", "SUCCEEDED", "task.succeeded"),
    ("PENDING", "FAILED"): ("applied", "FAILED", "task.failed"),
    ("RUNNING", "PENDING"): ("stale", "RUNNING", ""),
    ("RUNNING", "RUNNING"): ("applied", "RUNNING", ""),
    ("RUNNING", "SUCCEEDED"): ("applied", "SUCCEEDED", "task.succeeded"),
    ("RUNNING", "FAILED"): ("applied", "FAILED", "task.failed"),
    ("SUCCEEDED", "PENDING"): ("stale", "SUCCEEDED", ""),
    ("SUCCEEDED", "RUNNING"): ("stale", "SUCCEEDED", ""),
    ("SUCCEEDED", "SUCCEEDED"): ("duplicate", "SUCCEEDED", ""),
    ("SUCCEEDED", "FAILED"): ("conflict", "SUCCEEDED", ""),
    ("FAILED", "PENDING"): ("stale", "FAILED", ""),
    ("FAILED", "RUNNING"): ("stale", "FAILED", ""),
    ("FAILED", "SUCCEEDED"): ("conflict", "FAILED", ""),
    ("FAILED", "FAILED"): ("duplicate", "FAILED", ""),
    ("GIVEN_UP", "PENDING"): ("stale", "FAILED", ""),
    ("GIVEN_UP", "RUNNING"): ("stale", "FAILED", ""),
    ("GIVEN_UP", "SUCCEEDED"): ("applied", "SUCCEEDED", "task.succeeded"),
    ("GIVEN_UP", "FAILED"): ("duplicate", "FAILED", ""),
    ("CANCELED", "PENDING"): ("conflict", "FAILED", ""),
    ("CANCELED", "RUNNING"): ("conflict", "FAILED", ""),
    ("CANCELED", "SUCCEEDED"): ("conflict", "FAILED", ""),
    ("CANCELED", "FAILED"): ("conflict", "FAILED", ""),
}


def apply(task: Task, observation: Observation) -> Decision:
    """Decide at the time of the observation."""
    return decide(task, observation, observation.observed_at)


def announced(decision: Decision) -> str:
    """The hook events, space separated."""
    return " ".join(decision.announces)


# -- the table ---------------------------------------------------------------------------------------------


def test_the_table_is_complete() -> None:
    """Every pair of phase and status has a cell."""
    assert set(TABLE) == set(itertools.product(TaskPhase, Status))
    assert len(EXPECTED) == len(TABLE)


@pytest.mark.parametrize("source", [Source.POLL, Source.CALLBACK])
@pytest.mark.parametrize(("phase", "said"), [*EXPECTED])
def test_every_pair(phase: str, said: str, source: Source) -> None:
    """A reported status means the same in a callback and a poll: what the literal table states."""
    task = TASKS[phase]
    assert phase_of(task) == phase
    decision = apply(task, make_observation(Status(said), source=source))
    assert (decision.outcome, decision.task.status, announced(decision)) == EXPECTED[phase, said]
    if decision.task.status is task.status:
        assert decision.task == task
    assert decision.detail


@pytest.mark.parametrize("phase", ["SUCCEEDED", "FAILED", "GIVEN_UP", "CANCELED"])
@pytest.mark.parametrize("source", [Source.CLOCK, Source.OPERATOR])
def test_a_decision_of_the_tracker_on_an_ended_task_is_stale(phase: str, source: Source) -> None:
    """Neither the clock nor an operator changes an end."""
    decision = apply(TASKS[phase], make_observation(Status.FAILED, source=source, reason=Reason.CANCELED))
    assert (decision.outcome, decision.task, decision.announces) == (Outcome.STALE, TASKS[phase], ())


@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING])
def test_an_operator_cancels(status: Status) -> None:
    """An unfinished task ends FAILED ``canceled``, not retryable."""
    decision = apply(make_task(status=status), make_cancel())
    assert (decision.outcome, announced(decision)) == ("applied", "task.failed")
    assert (decision.task.status, decision.task.reason) == (Status.FAILED, Reason.CANCELED)
    assert decision.task.retryable is False
    assert decision.task.finished_at == after(10)


@pytest.mark.parametrize("reason", sorted(GIVEN_UP_REASONS))
def test_a_given_up_task_is_revived(reason: Reason) -> None:
    """A success with outputs overrides each decision of the tracker itself and clears its fields."""
    task = make_task(status=Status.FAILED, reason=reason, error=UpstreamError("x"), missing_output_since=after(1))
    ended = apply(task, make_observation(Status.SUCCEEDED, at=99)).task
    assert (ended.status, ended.reason, ended.error, ended.retryable) == (Status.SUCCEEDED, None, None, None)
    assert (ended.finished_at, ended.outputs, ended.missing_output_since) == (after(99), (make_output(),), None)


@pytest.mark.parametrize("reason", sorted(set(Reason) - GIVEN_UP_REASONS))
def test_no_other_failure_is_revived(reason: Reason) -> None:
    """What a provider or an operator decided is final; a later success is recorded as a conflict."""
    task = make_task(status=Status.FAILED, reason=reason)
    decision = apply(task, make_observation(Status.SUCCEEDED, source=Source.CALLBACK))
    assert (decision.outcome, decision.task) == (Outcome.CONFLICT, task)


# -- success without outputs -------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [Source.POLL, Source.CALLBACK])
@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING])
def test_a_success_without_outputs_is_not_one_yet(status: Status, source: Source) -> None:
    """The task stays unfinished, records since when, and asks for a poll."""
    decision = apply(make_task(status=status), make_observation(Status.SUCCEEDED, outputs=(), source=source))
    assert decision.task.status is Status.RUNNING
    assert decision.task.missing_output_since == after(10)
    assert decision.confirm
    again = apply(decision.task, make_observation(Status.SUCCEEDED, outputs=(), source=source, at=20))
    assert again.task.missing_output_since == after(10)
    assert apply(again.task, make_observation(Status.SUCCEEDED)).task.status is Status.SUCCEEDED


@pytest.mark.parametrize(
    ("phase", "outcome"),
    [("SUCCEEDED", "duplicate"), ("FAILED", "conflict"), ("CANCELED", "conflict"), ("GIVEN_UP", "ignored")],
)
def test_a_success_without_outputs_after_the_end(phase: str, outcome: str) -> None:
    """It changes nothing, whatever the end was."""
    decision = apply(TASKS[phase], make_observation(Status.SUCCEEDED, outputs=(), source=Source.CALLBACK))
    assert (decision.outcome, decision.task) == (outcome, TASKS[phase])
    assert decision.confirm is (phase == "GIVEN_UP")


def test_a_poll_without_outputs_does_not_ask_for_another_poll_of_a_given_up_task() -> None:
    """Otherwise the tracker would poll it for ever, without a pause."""
    assert not apply(TASKS["GIVEN_UP"], make_observation(Status.SUCCEEDED, outputs=(), source=Source.POLL)).confirm


# -- coming forward ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("known", "said"), [*itertools.product([None, *Stage], repeat=2)])
def test_stages_never_go_back(known: Stage | None, said: Stage | None) -> None:
    """Every pair of stages: a later one is applied, an earlier one is stale, none changes nothing."""
    task = make_task(status=Status.RUNNING, stage=known)
    decision = apply(task, make_observation(Status.RUNNING, stage=said, source=Source.CALLBACK))
    assert stage_rank(decision.task.stage) == max(stage_rank(known), stage_rank(said))
    older = said is not None and stage_rank(said) < stage_rank(known)
    assert decision.outcome is (Outcome.STALE if older else Outcome.APPLIED)
    assert announced(decision) == ("task.progress" if stage_rank(said) > stage_rank(known) else "")


@pytest.mark.parametrize(
    ("known", "said", "expected"),
    [(None, None, None), (None, 0, 0), (50, None, 50), (50, 20, 50), (50, 50, 50), (50, 70, 70), (50, 999, 100),
     (None, -5, 0)],
)  # fmt: skip
def test_progress_never_goes_back(known: int | None, said: int | None, expected: int | None) -> None:
    """The highest reported percentage counts, within 0 to 100."""
    task = make_task(status=Status.RUNNING, progress=known)
    decision = apply(task, make_observation(Status.RUNNING, progress=said))
    assert decision.task.progress == expected
    assert announced(decision) == ("task.progress" if expected != known else "")
    assert decision.task.progress_at == (after(10) if expected != known else task.progress_at)


def test_finished_parts_stay() -> None:
    """Outputs of a stage stay when a later answer names fewer, and when the task fails."""
    task = make_task()
    first = apply(task, make_observation(Status.RUNNING, stage=Stage.FIRST, outputs=(make_output(),))).task
    assert first.outputs == (make_output(),)
    assert apply(first, make_observation(Status.RUNNING)).task.outputs == (make_output(),)
    assert apply(first, make_observation(Status.FAILED)).task.outputs == (make_output(),)


def test_a_success_that_names_fewer_outputs_loses_none() -> None:
    """Outputs that only earlier answers named stay, after those that the end names."""
    both = apply(make_task(), make_observation(Status.RUNNING, outputs=(make_output(0), make_output(1)))).task
    assert apply(both, make_observation(Status.SUCCEEDED, outputs=(make_output(1),))).task.outputs == (
        make_output(1),
        make_output(0),
    )
    moved = (make_output(2), make_output(3))
    assert apply(both, make_observation(Status.SUCCEEDED, outputs=moved)).task.outputs == moved
    signed_in_the_path = apply(both, make_observation(Status.SUCCEEDED, outputs=(make_output(2),))).task.outputs
    assert signed_in_the_path == (make_output(2), make_output(1)), "each song is listed once"


def test_a_repeated_success_may_bring_more() -> None:
    """It is applied as progress; known outputs stay at their positions, and fewer or the same change nothing."""
    done = apply(make_task(), make_observation(Status.SUCCEEDED, outputs=(make_output(0),))).task
    more = make_observation(Status.SUCCEEDED, at=20, outputs=(make_output(1), make_output(0)))
    decision = apply(done, more)
    assert (decision.outcome, announced(decision)) == (Outcome.APPLIED, "task.progress")
    assert decision.task == replace(done, outputs=(make_output(0), make_output(1)))
    signed_in_the_path = (make_output(8), make_output(9))
    assert apply(done, make_observation(Status.SUCCEEDED, outputs=signed_in_the_path)).task.outputs == (
        make_output(0),
        make_output(9),
    )
    for again in (done.outputs, (make_output(7),)):
        assert apply(done, make_observation(Status.SUCCEEDED, outputs=again)).outcome is Outcome.DUPLICATE
    assert apply(done, replace(more, is_trusted=False)).outcome is Outcome.DUPLICATE


def test_later_descriptions_of_an_output_replace_the_first() -> None:
    """A later title or length applies to the same file; what it leaves out stays, and so does the URL."""
    first = make_output(title="untitled", mime="audio/mpeg")
    running = make_task(status=Status.RUNNING, outputs=(first,))
    signed_anew = replace(first, url=f"{first.url}?sig=2", title="Dawn", duration_s=91.5, mime=None)
    better = replace(first, title="Dawn", duration_s=91.5)
    on_the_way = apply(running, make_observation(Status.RUNNING, outputs=(signed_anew,)))
    assert on_the_way.task.outputs == (better,)
    final = make_observation(Status.SUCCEEDED, source=Source.CALLBACK, outputs=(signed_anew,))
    assert apply(running, final).task.outputs == (replace(signed_anew, mime="audio/mpeg"),)
    done = make_task(status=Status.SUCCEEDED, outputs=(better,))
    silent = apply(done, make_observation(Status.SUCCEEDED, outputs=(replace(first, title=None),)))
    assert (silent.outcome, silent.task.outputs) == (Outcome.DUPLICATE, (better,))
    latest = apply(replace(done, outputs=(first,)), final)
    assert (latest.outcome, latest.task.outputs, latest.announces) == (Outcome.APPLIED, (better,), ())


def test_outputs_that_differ_only_in_the_query_are_two() -> None:
    """Neither their order nor a fresh signature changes their identity."""
    latest = [make_output(url=f"https://c.example/get?item={n}&Expires=1&Signature=s{n}") for n in (1, 2)]
    done = apply(make_task(), make_observation(Status.SUCCEEDED, outputs=tuple(latest))).task
    names = ["https://c.example/get?item=1", "https://c.example/get?item=2"]
    assert [output_identity(output) for output in done.outputs] == names
    fresh = tuple(replace(output, url=f"{output.url}&x-oss-date=2") for output in reversed(latest))
    renewed = apply(done, make_observation(Status.SUCCEEDED, outputs=fresh, renews=True)).task
    assert [output.url for output in renewed.outputs] == [output.url for output in reversed(fresh)]
    assert [output_identity(output) for output in renewed.outputs] == names


def test_outputs_that_differ_only_in_what_looks_like_a_signature_are_two() -> None:
    """A parameter that distinguishes files may have any name."""
    latest = tuple(make_output(url=f"https://c.example/get?token={n}") for n in (1, 2))
    done = apply(make_task(), make_observation(Status.SUCCEEDED, outputs=latest)).task
    assert len({output_identity(output) for output in done.outputs}) == 2


def test_a_partial_success_gives_its_reason() -> None:
    """The reading's detail follows the count."""
    remark = "1 of 2 results failed: DataInspectionFailed"
    decision = apply(make_task(), make_observation(Status.SUCCEEDED, detail=remark))
    assert decision.detail == f"succeeded with 1 output; {remark}"


def test_a_callback_about_another_upstream_task_causes_a_poll() -> None:
    """It is not applied; its URL still belongs to this task."""
    other = make_observation(Status.SUCCEEDED, source=Source.CALLBACK, external_id="up-9")
    decision = apply(make_task(), other)
    assert (decision.outcome, decision.task, decision.confirm) == (Outcome.CONFLICT, make_task(), True)


def test_the_first_running_starts_the_task() -> None:
    """RUNNING sets when it started, and is announced together with its stage."""
    decision = apply(make_task(), make_observation(Status.RUNNING, stage=Stage.TEXT, progress=30))
    assert (decision.task.started_at, decision.task.progress_at) == (after(10), after(10))
    assert announced(decision) == "task.running"


@pytest.mark.parametrize(
    ("reading", "reason", "retryable"),
    [
        ({"reason": Reason.POLICY_REJECTED}, Reason.POLICY_REJECTED, False),
        ({"reason": Reason.RATE_LIMITED}, Reason.RATE_LIMITED, True),
        ({"reason": Reason.POLICY_REJECTED, "retryable": True}, Reason.POLICY_REJECTED, True),
        ({"reason": None}, Reason.GENERATION_FAILED, True),
    ],
)
def test_a_failure_has_a_reason(reading: dict[str, Any], reason: Reason, retryable: bool) -> None:
    """The provider's reason and retryability are used; without a reason there is a general one."""
    error = UpstreamError("531", "refunded", 200)
    ended = apply(make_task(), make_observation(Status.FAILED, error=error, **reading)).task
    assert (ended.reason, ended.retryable, ended.error) == (reason, retryable, error)


@pytest.mark.parametrize(
    ("known", "said", "expected"),
    [(None, None, None), (None, Stage.COMPLETE, Stage.COMPLETE), (Stage.TEXT, None, Stage.COMPLETE)],
)
def test_a_success_completes_the_stages(known: Stage | None, said: Stage | None, expected: Stage | None) -> None:
    """Where there are stages, the end is the last of them; progress is 100."""
    ended = apply(make_task(stage=known), make_observation(Status.SUCCEEDED, stage=said)).task
    assert (ended.stage, ended.progress) == (expected, 100)


# -- trouble -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", Trouble)
@pytest.mark.parametrize("phase", [*TASKS])
def test_trouble_changes_nothing(phase: str, trouble: Trouble) -> None:
    """An upstream answer without a state does not change the task."""
    task = TASKS[phase]
    decision = apply(task, make_observation(trouble=trouble, upstream_status="DREAMING"))
    assert (decision.outcome, decision.task, decision.announces) == (Outcome.IGNORED, task, ())


def test_an_unknown_status_is_named() -> None:
    """The history shows the unknown value."""
    decision = apply(make_task(), make_observation(trouble=Trouble.UNKNOWN_STATUS, upstream_status="DREAMING"))
    assert "'DREAMING'" in decision.detail
    assert decision.confirm


@pytest.mark.parametrize(("age_s", "status"), [(86400.0, Status.PENDING), (86401.0, Status.FAILED)])
def test_an_unknown_id_of_an_old_task_means_expired(age_s: float, status: Status) -> None:
    """Where the contract states it: before that age it is trouble, after it the end."""
    observation = make_observation(trouble=Trouble.NOT_FOUND, expired_after_s=86400.0, at=age_s)
    ended = apply(make_task(), observation).task
    assert ended.status is status
    assert ended.reason is (Reason.EXPIRED if status is Status.FAILED else None)


# -- untrusted callbacks-----------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [Status.SUCCEEDED, Status.FAILED])
@pytest.mark.parametrize("phase", ["PENDING", "RUNNING"])
def test_an_untrusted_callback_ends_nothing(phase: str, said: Status) -> None:
    """It causes a poll instead."""
    decision = apply(TASKS[phase], make_observation(said, source=Source.CALLBACK, is_trusted=False))
    assert (decision.outcome, decision.task, decision.confirm) == (Outcome.IGNORED, TASKS[phase], True)


def test_an_untrusted_callback_revives_nothing() -> None:
    """Only a confirmed success revives a given-up task; this one causes a poll."""
    decision = apply(TASKS["GIVEN_UP"], make_observation(Status.SUCCEEDED, source=Source.CALLBACK, is_trusted=False))
    assert (decision.outcome, decision.task, decision.confirm) == (Outcome.IGNORED, TASKS["GIVEN_UP"], True)


def test_an_untrusted_callback_may_bring_progress() -> None:
    """Only ends need confirmation."""
    decision = apply(make_task(), make_observation(Status.RUNNING, source=Source.CALLBACK, is_trusted=False))
    assert decision.task.status is Status.RUNNING


@pytest.mark.parametrize("said", Status)
def test_a_callback_about_another_upstream_task_is_not_applied(said: Status) -> None:
    """The token is right, the id in the body is not: recorded, not applied."""
    task = make_task()
    decision = apply(task, make_observation(said, source=Source.CALLBACK, external_id="somebody-elses"))
    assert (decision.outcome, decision.task, decision.announces) == (Outcome.CONFLICT, task, ())
    assert "somebody-elses" in decision.detail


# -- answers to a create -----------------------------------------------------------------------------------

SENT = make_sent_task()
QUEUED = make_sent_task(submit_state=SubmitState.QUEUED)
AMBIGUOUS = make_sent_task(submit_state=SubmitState.AMBIGUOUS)
CALLED_BACK = apply(
    SENT, make_observation(Status.RUNNING, source=Source.CALLBACK, external_id=EXTERNAL_ID, at=0.5)
).task
CANCELED = apply(SENT, make_cancel(at=0.5)).task
REFUSED = make_sent_task(status=Status.FAILED, submit_state=SubmitState.REFUSED, reason=Reason.POLICY_REJECTED)

# (submit state before, answer) -> (outcome, status, reason, submit state afterwards, hook events, asks for a poll)
ANSWERS = {
    ("queued", "accepted"): ("applied", "PENDING", None, "accepted", "task.submitted", False),
    ("queued", "refused"): ("applied", "FAILED", "policy_rejected", "refused", "task.failed", False),
    ("queued", "deferred"): ("applied", "PENDING", None, "queued", "", False),
    ("queued", "ambiguous"): ("applied", "PENDING", None, "ambiguous", "", False),
    ("sending", "accepted"): ("applied", "PENDING", None, "accepted", "task.submitted", False),
    ("sending", "refused"): ("applied", "FAILED", "policy_rejected", "refused", "task.failed", False),
    ("sending", "deferred"): ("applied", "PENDING", None, "queued", "", False),
    ("sending", "ambiguous"): ("applied", "PENDING", None, "ambiguous", "", False),
    ("ambiguous", "accepted"): ("applied", "PENDING", None, "accepted", "task.submitted", False),
    ("ambiguous", "refused"): ("applied", "FAILED", "policy_rejected", "refused", "task.failed", False),
    ("ambiguous", "deferred"): ("applied", "PENDING", None, "queued", "", False),
    ("ambiguous", "ambiguous"): ("applied", "PENDING", None, "ambiguous", "", False),
    ("accepted", "accepted"): ("applied", "RUNNING", None, "accepted", "", False),
    ("accepted", "refused"): ("conflict", "RUNNING", None, "accepted", "", True),
    ("accepted", "deferred"): ("stale", "RUNNING", None, "accepted", "", False),
    ("accepted", "ambiguous"): ("stale", "RUNNING", None, "accepted", "", False),
    ("refused", "accepted"): ("applied", "FAILED", "policy_rejected", "accepted", "", False),
    ("refused", "refused"): ("stale", "FAILED", "policy_rejected", "refused", "", False),
    ("refused", "deferred"): ("stale", "FAILED", "policy_rejected", "refused", "", False),
    ("refused", "ambiguous"): ("stale", "FAILED", "policy_rejected", "refused", "", False),
}
STATES = {"queued": QUEUED, "sending": SENT, "ambiguous": AMBIGUOUS, "accepted": CALLED_BACK, "refused": REFUSED}


@pytest.mark.parametrize(("state", "answer"), [*ANSWERS])
def test_every_answer_from_every_submit_state(state: str, answer: str) -> None:
    """The literal table of what an answer to a create means, early callbacks included (``accepted``)."""
    reason = Reason.POLICY_REJECTED if answer == "refused" else None
    said = apply(STATES[state], make_answer(Submission(answer), reason=reason, detail="…"))
    outcome, status, expected_reason, after_state, hooks, confirm = ANSWERS[state, answer]
    assert (said.outcome, said.task.status, said.task.reason) == (outcome, status, expected_reason)
    assert (said.task.submit_state, announced(said), said.confirm) == (after_state, hooks, confirm)


def test_the_literal_table_of_answers_is_complete() -> None:
    """No submit state and no answer is left out."""
    assert set(ANSWERS) == set(itertools.product(SubmitState, Submission))


def test_acceptance_sets_the_id_and_the_time() -> None:
    """It sets the upstream's id, the time, and the start of the deadline."""
    task = apply(SENT, make_answer(Submission.ACCEPTED, at=3)).task
    assert (task.external_id, task.submitted_at, task.progress_at) == (EXTERNAL_ID, after(3), after(3))


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED])
def test_accepted_and_ended_at_once(status: Status) -> None:
    """A synchronous route is accepted and ended by one answer: two hook events, in order."""
    decision = apply(SENT, make_answer(Submission.ACCEPTED, status=status, external_id=None))
    assert decision.task.status is status
    assert announced(decision) == f"task.submitted task.{status.value.lower()}"


@pytest.mark.parametrize("answer", Submission)
def test_an_answer_does_not_undo_a_cancel(answer: Submission) -> None:
    """The task stays canceled, whatever the result of the send; an id is recorded."""
    decision = apply(CANCELED, make_answer(answer, status=Status.PENDING if answer == "accepted" else None))
    assert (decision.task.status, decision.task.reason) == (Status.FAILED, Reason.CANCELED)
    assert decision.announces == ()
    assert decision.task.external_id == (EXTERNAL_ID if answer is Submission.ACCEPTED else None)


def test_ambiguous_without_an_expected_callback_is_given_up() -> None:
    """No callback can decide it: FAILED ``submit_unknown``, never sent again automatically."""
    decision = apply(make_sent_task(expects_callback=False), make_answer(Submission.AMBIGUOUS, detail="cut"))
    assert (decision.task.status, decision.task.reason) == (Status.FAILED, Reason.SUBMIT_UNKNOWN)
    assert decision.task.submit_state is SubmitState.AMBIGUOUS
    assert decision.task.retryable is False
    revived = apply(
        decision.task, make_observation(Status.SUCCEEDED, source=Source.CALLBACK, external_id=EXTERNAL_ID)
    ).task
    assert (revived.status, revived.external_id) == (Status.SUCCEEDED, EXTERNAL_ID)


def test_given_up_before_it_was_sent_is_refused() -> None:
    """A queued create that ends is no longer queued."""
    assert apply(QUEUED, make_cancel()).task.submit_state is SubmitState.REFUSED
    assert apply(SENT, make_cancel()).task.submit_state is SubmitState.SENDING


# -- early callbacks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["queued", "sending", "ambiguous"])
@pytest.mark.parametrize("external_id", [EXTERNAL_ID, None])
@pytest.mark.parametrize("said", Status)
def test_an_early_callback_is_applied(state: str, external_id: ExternalId | None, said: Status) -> None:
    """It proves acceptance (even where it names no id), sets the id, and its status is applied."""
    decision = apply(STATES[state], make_observation(said, source=Source.CALLBACK, external_id=external_id))
    assert decision.outcome is Outcome.APPLIED
    assert decision.task.submit_state is SubmitState.ACCEPTED
    assert (decision.task.external_id, decision.task.submitted_at) == (external_id, after(10))
    assert decision.task.status is said
    assert decision.announces[0] is HookEvent.SUBMITTED
    assert len(decision.announces) == (1 if said is Status.PENDING else 2)


def test_the_answer_after_a_callback_without_an_id_sets_it() -> None:
    """No conflict, and no second hook event."""
    latest = apply(SENT, make_observation(Status.RUNNING, source=Source.CALLBACK)).task
    decision = apply(latest, make_answer(Submission.ACCEPTED, at=20))
    assert (decision.outcome, decision.task.external_id, decision.announces) == (Outcome.APPLIED, EXTERNAL_ID, ())


def test_an_answer_with_another_id_than_the_callback_is_a_conflict() -> None:
    """The id in the create's answer is polled; the contradiction is recorded and checked."""
    decision = apply(CALLED_BACK, make_answer(Submission.ACCEPTED, external_id="up-2"))
    assert (decision.outcome, decision.confirm, decision.task.external_id) == (Outcome.CONFLICT, True, "up-2")


def test_an_answer_that_ends_the_task_is_not_a_conflict() -> None:
    """Its outcome is applied, whatever id an early callback named."""
    answer = make_answer(Submission.ACCEPTED, external_id="up-2", status=Status.SUCCEEDED, outputs=(make_output(),))
    decision = apply(CALLED_BACK, answer)
    assert (decision.outcome, decision.task.status) == (Outcome.APPLIED, Status.SUCCEEDED)
    assert "a callback named up-1" in decision.detail


def test_an_untrusted_success_without_an_output_only_causes_a_poll() -> None:
    """A callback that a poll must confirm does not start the grace after which a task may succeed."""
    decision = apply(
        CALLED_BACK, make_observation(Status.SUCCEEDED, source=Source.CALLBACK, outputs=(), is_trusted=False)
    )
    assert (decision.outcome, decision.confirm, decision.task) == (Outcome.IGNORED, True, CALLED_BACK)


def test_the_id_of_a_finished_task_stays() -> None:
    """The id in the callback that brought the result holds."""
    done = apply(CALLED_BACK, make_observation(Status.SUCCEEDED, source=Source.CALLBACK, outputs=(make_output(),))).task
    decision = apply(done, make_answer(Submission.ACCEPTED, external_id="up-2"))
    assert (decision.outcome, decision.confirm, decision.task.external_id) == (Outcome.CONFLICT, False, EXTERNAL_ID)


def test_an_unknown_status_in_an_early_callback_still_sets_the_id() -> None:
    """The state is unknown, but the upstream has the task."""
    decision = apply(
        SENT,
        make_observation(
            source=Source.CALLBACK, trouble=Trouble.UNKNOWN_STATUS, upstream_status="?", external_id=EXTERNAL_ID
        ),
    )
    assert (decision.outcome, decision.task.external_id) == (Outcome.APPLIED, EXTERNAL_ID)
    assert announced(decision) == "task.submitted"


def test_decisions_name_their_task() -> None:
    """A decision always has the id of the given task."""
    assert all(apply(task, make_observation(Status.RUNNING)).task.id == TASK_ID for task in TASKS.values())


@pytest.mark.parametrize(
    ("said", "submitted", "stored"),
    [(60, 0, 60), (-200, 0, -200), (-301, 0, None), (-301, None, -301), (399, 0, 399), (401, 0, None)],
)
@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED])
def test_the_upstream_s_own_time_of_the_end(
    status: Status, said: float, submitted: float | None, stored: float | None
) -> None:
    """It is stored unless it is before the submit, or in the future, by more than clocks differ."""
    task = make_task(status=Status.RUNNING, submitted_at=None if submitted is None else after(submitted))
    ended = decide(task, make_observation(status, finished_at=after(said)), after(100)).task
    assert ended.status is status
    assert ended.upstream_finished_at == (None if stored is None else after(stored))


def test_the_time_of_a_stage() -> None:
    """It moves with the stage, not with the progress within it, and the end of a song is a stage too."""
    task, times = make_task(), []
    reports: tuple[dict[str, Any], ...] = (
        {"stage": Stage.TEXT},
        {"stage": Stage.TEXT, "progress": 9},
        {"stage": Stage.FIRST},
    )
    for at, fields in enumerate(reports):
        task = decide(task, make_observation(Status.RUNNING, **fields), after(at)).task
        times.append(task.stage_at)
    ended = decide(task, make_observation(Status.SUCCEEDED, stage=Stage.COMPLETE), after(9)).task
    assert [*times, ended.stage_at] == [after(0), after(0), after(2), after(9)]
    assert decide(make_task(), make_observation(Status.SUCCEEDED), after(9)).task.stage_at is None
