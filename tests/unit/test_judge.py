"""Judging one observation: what is new, what is recorded, what the clock adds, and when to act next."""

import itertools
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from tests.kits.clock import after
from tests.kits.factories import (
    EXTERNAL_ID,
    POLICY,
    TIMING,
    make_answer,
    make_cancel,
    make_observation,
    make_output,
    make_sent_task,
    make_task,
)
from tracker.domain.hook_events import HookEvent
from tracker.domain.judge import Step, judge
from tracker.domain.observation import NOTHING, Observation, Reading, Source, Submission, Trouble, dedupe_key
from tracker.domain.schedule import PollTiming
from tracker.domain.task import Output, Reason, Stage, Status, SubmitState, Task, UpstreamError
from tracker.domain.transitions import Outcome

LEASE = timedelta(seconds=40)


class History:
    """A task and its events, recorded as a store records them."""

    def __init__(self, task: Task, timing: PollTiming = TIMING) -> None:
        self.task = task
        self.timing = timing
        self.events: list[Step] = []

    def observe(self, observation: Observation) -> Step:
        """Judge and record; the step of the observation itself."""
        keys = {step.key for step in self.events}
        steps = judge(self.task, observation, keys.__contains__, self.timing)
        recorded = [step for step in steps if step.is_recorded]
        assert len({step.key for step in recorded} - keys) == len(recorded), "each event has its own key"
        self.events += recorded
        self.task = replace(steps[-1].task, version=self.task.version + len(steps))
        return steps[0]

    def poll(self, status: Status | None = None, **fields: Any) -> Step:  # noqa: ANN401 - as for the factory
        """Observe the answer of a claimed poll."""
        observation = make_observation(status, source=Source.POLL, **fields)
        self.task = replace(self.task, due_at=observation.observed_at + LEASE)
        return self.observe(observation)

    def call(self, status: Status | None = None, **fields: Any) -> Step:  # noqa: ANN401 - as for the factory
        """Observe a callback."""
        return self.observe(make_observation(status, source=Source.CALLBACK, **fields))

    def look(self, at: float) -> Step:
        """Let the clock decide."""
        return self.observe(make_observation(source=Source.CLOCK, at=at))

    @property
    def due_s(self) -> float | None:
        """When the task is due, in seconds after the start."""
        return None if self.task.due_at is None else (self.task.due_at - after(0)).total_seconds()


# -- the dedupe key ----------------------------------------------------------------------------------------


def key(status: Status | None = None, **fields: Any) -> str:  # noqa: ANN401 - as for the factory
    """The key of an observation."""
    return dedupe_key(make_observation(status, **fields))


def test_the_same_meaning_has_the_same_key() -> None:
    """Other times, other signatures in URLs, other payload texts, other titles: the same observation."""
    first = key(Status.SUCCEEDED, outputs=(make_output(url="https://a/x.mp3?Expires=1&Sig=a"),), at=1, payload="{}")
    again = key(
        Status.SUCCEEDED, outputs=(make_output(url="https://a/x.mp3?Expires=2&Sig=b", title="R"),), at=9, payload="[]"
    )
    assert first == again


@pytest.mark.parametrize(
    "other",
    [
        {"source": Source.CALLBACK},
        {"stage": Stage.FIRST},
        {"progress": 10},
        {"external_id": "up-9"},
        {"outputs": (make_output(1),)},
        {"error": UpstreamError("500")},
        {"is_trusted": False},
        {"submission": Submission.ACCEPTED},
        {"submission": Submission.ACCEPTED, "attempt": 2},
    ],
    ids=str,
)
def test_another_meaning_has_another_key(other: dict[str, Any]) -> None:
    """Source, stage and meaning make the identity."""
    assert key(Status.RUNNING, **other) != key(Status.RUNNING)


def test_more_meanings_have_their_own_keys() -> None:
    """Statuses, stages, reasons, codes, messages, unknown values, texts: all are different."""
    keys = [
        *(key(status) for status in Status),
        *(key(Status.RUNNING, stage=stage) for stage in Stage),
        *(key(Status.FAILED, reason=reason) for reason in Reason if reason is not Reason.GENERATION_FAILED),
        *(key(trouble=trouble) for trouble in Trouble),
        key(trouble=Trouble.UNKNOWN_STATUS, upstream_status="DREAMING"),
        key(trouble=Trouble.UNKNOWN_STATUS, upstream_status="THINKING"),
        key(Status.FAILED, error=UpstreamError("413")),
        key(Status.FAILED, error=UpstreamError(None, "413: no")),
        key(Status.SUCCEEDED, outputs=(Output("text", text="a"),)),
        key(Status.SUCCEEDED, outputs=(Output("text", text="b"),)),
        key(Status.SUCCEEDED, outputs=()),
        *(key(submission=Submission.DEFERRED, attempt=attempt) for attempt in (1, 2)),
    ]
    assert len(set(keys)) == len(keys)


# -- what is recorded ------------------------------------------------------------------------------------------


def test_identical_polls_record_nothing() -> None:
    """Ten polls that say the same leave one event, but are counted."""
    history = History(make_task())
    for n in range(10):
        history.poll(Status.RUNNING, at=10.0 + n)
    assert [step.detail for step in history.events] == ["RUNNING"]
    assert (history.task.polls, history.task.poll_step) == (10, 9)


def test_duplicate_callbacks_record_one_event() -> None:
    """An observation that comes often is in the history once, and once as a repetition."""
    history = History(make_task())
    outcomes = [history.call(Status.SUCCEEDED, at=10.0 + n).outcome for n in range(5)]
    assert outcomes == ["applied", *["duplicate"] * 4]
    assert [step.outcome for step in history.events] == ["applied", "duplicate"]
    assert history.task.callbacks == 5


def test_every_change_of_a_description_within_a_stage_counts() -> None:
    """The key is the same, but the callback is not a duplicate; one that changes nothing is."""
    history = History(make_task())
    for title in ("one", "two", "three"):
        step = history.call(Status.RUNNING, stage=Stage.FIRST, outputs=(make_output(title=title),))
        assert (step.outcome, history.task.outputs[0].title) == (Outcome.APPLIED, title)
    assert history.call(Status.RUNNING, stage=Stage.FIRST, outputs=(make_output(title="three"),)).outcome is (
        Outcome.DUPLICATE
    )


def test_equal_texts_keep_their_titles() -> None:
    """Two texts that differ in their titles only are no better described by a repetition."""
    history = History(make_task())
    texts = (Output("text", text="la", title="Dawn"), Output("text", text="la", title="Dusk"))
    history.call(Status.SUCCEEDED, outputs=texts)
    assert history.call(Status.SUCCEEDED, outputs=texts, at=12).outcome is Outcome.DUPLICATE
    assert history.task.outputs == texts


def test_a_duplicate_of_an_end_that_is_not_settled_asks_for_a_poll() -> None:
    """A callback that waits for its confirmation asks again when it is repeated."""
    history = History(make_task())
    history.call(Status.SUCCEEDED, is_trusted=False, at=10)
    history.poll(trouble=Trouble.UNAVAILABLE, at=11)
    assert history.due_s is not None
    assert history.due_s > 13
    assert history.call(Status.SUCCEEDED, is_trusted=False, at=13).outcome is Outcome.DUPLICATE
    assert history.due_s == 13


def test_a_repetition_that_changes_something_is_recorded_again() -> None:
    """A poll's key known from before does not hide a change that it makes now."""
    history = History(make_task(status=Status.RUNNING))
    history.poll(trouble=Trouble.UNAVAILABLE, at=10)
    history.poll(trouble=Trouble.UNAVAILABLE, at=20)
    assert len(history.events) == 1
    revivable = History(make_task(status=Status.FAILED, reason=Reason.EXPIRED))
    revivable.events.append(judge(revivable.task, make_observation(Status.SUCCEEDED), lambda _: False, TIMING)[0])
    revivable.poll(Status.SUCCEEDED, at=20)
    assert revivable.task.status is Status.SUCCEEDED
    assert len(revivable.events) == 2


def test_a_conflict_is_recorded_once() -> None:
    """A poll that repeatedly contradicts an end is one entry."""
    history = History(make_task(status=Status.SUCCEEDED))
    for at in (10.0, 20.0, 30.0):
        assert history.poll(Status.FAILED, at=at).outcome is Outcome.CONFLICT
    assert len(history.events) == 1


def test_counting_unknown_statuses() -> None:
    """Counted and shown, whatever their source."""
    history = History(make_task())
    history.poll(trouble=Trouble.UNKNOWN_STATUS, upstream_status="DREAMING")
    history.call(trouble=Trouble.UNKNOWN_STATUS, upstream_status="THINKING")
    assert (history.task.unknown_status, history.task.unknown_statuses) == ("THINKING", 2)
    assert history.task.poll_trouble is None


def test_recording_trouble() -> None:
    """Since when, and what; a good answer clears both."""
    history = History(make_task())
    history.poll(trouble=Trouble.UNAVAILABLE, error=UpstreamError("E1", "down", 503), at=10)
    history.poll(trouble=Trouble.NOT_FOUND, at=20)
    assert (history.task.poll_trouble, history.task.poll_trouble_since) == ("unknown id", after(10))
    assert history.task.not_found_since == after(20)
    history.poll(Status.RUNNING, at=30)
    assert (history.task.poll_trouble, history.task.poll_trouble_since) == (None, None)
    assert history.task.not_found_since is None


def test_running_clears_a_success_without_outputs() -> None:
    """An upstream that reports RUNNING after SUCCEEDED without outputs restarts the grace."""
    history = History(make_task())
    history.poll(Status.SUCCEEDED, outputs=(), at=10)
    history.poll(Status.RUNNING, at=20)
    assert history.task.missing_output_since is None
    history.poll(Status.SUCCEEDED, outputs=(), at=30)
    assert history.task.missing_output_since == after(30)


# -- deadlines and graces ----------------------------------------------------------------------------------


def ends(history: History) -> tuple[Status, Reason | None]:
    """How a history ended."""
    return history.task.status, history.task.reason


def test_the_deadline_needs_a_last_poll() -> None:
    """At the deadline a poll that still says RUNNING is followed by the clock's timeout; just before it, not."""
    history = History(make_task(status=Status.RUNNING))
    history.poll(Status.RUNNING, at=POLICY.deadline_s - 0.001)
    assert ends(history) == (Status.RUNNING, None)
    history.poll(Status.RUNNING, at=POLICY.deadline_s)
    assert ends(history) == (Status.FAILED, Reason.EXPIRED)
    assert history.events[-1].observation.source is Source.CLOCK
    assert history.events[-1].announces == (HookEvent.FAILED,)
    assert history.task.due_at is None


def test_a_last_poll_with_progress_extends_the_deadline() -> None:
    """Progress just before the deadline starts the deadline anew; a success ends the task."""
    history = History(make_task(status=Status.RUNNING, progress=10))
    history.poll(Status.RUNNING, progress=20, at=POLICY.deadline_s + 5)
    assert ends(history) == (Status.RUNNING, None)
    history.poll(Status.SUCCEEDED, at=3 * POLICY.deadline_s)
    assert ends(history) == (Status.SUCCEEDED, None)


@pytest.mark.parametrize(
    "observation",
    [
        make_observation(Status.PENDING, source=Source.CALLBACK, at=2 * POLICY.deadline_s),
        make_observation(trouble=Trouble.UNKNOWN_STATUS, source=Source.CALLBACK, at=2 * POLICY.deadline_s),
        make_observation(trouble=Trouble.UNAVAILABLE, at=2 * POLICY.deadline_s),
        make_observation(trouble=Trouble.NOT_FOUND, at=2 * POLICY.deadline_s),
        make_observation(source=Source.CLOCK, at=2 * POLICY.deadline_s),
    ],
    ids=lambda observation: f"{observation.source}-{observation.reading.trouble}",
)
def test_an_outage_alone_expires_nothing(observation: Observation) -> None:
    """After an outage on either side, the deadline waits for a poll that is answered."""
    history = History(make_task(status=Status.RUNNING, polls=7))
    history.observe(observation)
    assert ends(history) == (Status.RUNNING, None)
    history.poll(Status.RUNNING, at=2 * POLICY.deadline_s + 60)
    assert ends(history) == (Status.FAILED, Reason.EXPIRED)


def test_a_task_whose_polls_fail_for_the_full_grace_expires() -> None:
    """An upstream without answers does not leave a task unfinished for ever."""
    history = History(make_task(status=Status.RUNNING))
    start = POLICY.deadline_s + 100
    history.poll(trouble=Trouble.UNAVAILABLE, at=start)
    history.poll(trouble=Trouble.UNREADABLE, at=start + POLICY.not_found_grace_s - 1)
    assert ends(history) == (Status.RUNNING, None)
    history.poll(trouble=Trouble.UNAUTHORIZED, at=start + POLICY.not_found_grace_s)
    assert ends(history) == (Status.FAILED, Reason.EXPIRED)


def test_an_unknown_id_is_tolerated_for_a_grace() -> None:
    """A poll answered 404 changes nothing until the grace has passed."""
    history = History(make_task())
    history.poll(trouble=Trouble.NOT_FOUND, at=10)
    history.poll(trouble=Trouble.NOT_FOUND, at=9 + POLICY.not_found_grace_s)
    assert ends(history) == (Status.PENDING, None)
    assert history.due_s == 10 + POLICY.not_found_grace_s
    history.poll(trouble=Trouble.NOT_FOUND, at=10 + POLICY.not_found_grace_s)
    assert ends(history) == (Status.FAILED, Reason.NOT_FOUND)


@pytest.mark.parametrize("trouble", [Trouble.UNAVAILABLE, Trouble.THROTTLED, Trouble.UNAUTHORIZED])
def test_an_outage_after_a_404_is_not_a_404(trouble: Trouble) -> None:
    """One 404 and an outage for the rest of the grace prove nothing; the next 404 does."""
    history = History(make_task())
    history.poll(trouble=Trouble.NOT_FOUND, at=10)
    history.poll(trouble=trouble, at=20 + POLICY.not_found_grace_s)
    assert ends(history) == (Status.PENDING, None)
    history.poll(trouble=Trouble.NOT_FOUND, at=30 + POLICY.not_found_grace_s)
    assert ends(history) == (Status.FAILED, Reason.NOT_FOUND)


def test_a_found_id_restarts_the_grace() -> None:
    """404, RUNNING, 404: the second one counts from its own beginning."""
    history = History(make_task())
    history.poll(trouble=Trouble.NOT_FOUND, at=10)
    history.poll(Status.RUNNING, at=20)
    history.poll(trouble=Trouble.NOT_FOUND, at=700)
    assert ends(history) == (Status.RUNNING, None)


def test_a_success_without_outputs_fails_after_its_grace() -> None:
    """Polled on, with a last poll at the very end of the grace."""
    history = History(make_task())
    history.poll(Status.SUCCEEDED, outputs=(), at=10)
    history.poll(Status.SUCCEEDED, outputs=(), at=8 + POLICY.missing_output_grace_s)
    assert ends(history) == (Status.RUNNING, None)
    assert history.due_s == 10 + POLICY.missing_output_grace_s
    history.poll(Status.SUCCEEDED, outputs=(), at=10 + POLICY.missing_output_grace_s)
    assert ends(history) == (Status.FAILED, Reason.MISSING_OUTPUT)
    assert history.task.due_at is None


def test_missing_output_needs_an_upstream_that_answers() -> None:
    """An outage during the grace is no proof that there is no file."""
    history = History(make_task())
    history.call(Status.SUCCEEDED, outputs=(), at=10)
    assert history.due_s == 10
    history.poll(trouble=Trouble.UNAVAILABLE, at=20)
    history.poll(trouble=Trouble.UNAVAILABLE, at=20 + POLICY.missing_output_grace_s)
    history.call(Status.SUCCEEDED, outputs=(), at=30 + POLICY.missing_output_grace_s)
    assert ends(history) == (Status.RUNNING, None)
    history.poll(Status.SUCCEEDED, at=40 + POLICY.missing_output_grace_s)
    assert ends(history) == (Status.SUCCEEDED, None)


def test_earlier_outputs_complete_a_success_without_outputs() -> None:
    """A song whose first track was delivered: the user has a file and need not pay for it again."""
    history = History(make_task())
    history.call(Status.RUNNING, stage=Stage.FIRST, outputs=(make_output(),), at=5)
    history.poll(Status.SUCCEEDED, outputs=(), at=10)
    assert ends(history) == (Status.RUNNING, None)
    history.poll(Status.SUCCEEDED, outputs=(), at=10 + POLICY.missing_output_grace_s)
    assert ends(history) == (Status.SUCCEEDED, None)
    assert history.task.outputs == (make_output(),)
    assert history.events[-1].observation.source is Source.CLOCK
    assert "the tracker uses the outputs named before" in history.events[-1].detail


def test_the_deadline_leaves_an_announced_success_its_grace() -> None:
    """However long the work took: once the upstream says that it succeeded, the file has its time to appear."""
    history = History(make_task(status=Status.RUNNING))
    history.poll(Status.SUCCEEDED, outputs=(), at=POLICY.deadline_s - 1)
    history.poll(Status.SUCCEEDED, outputs=(), at=POLICY.deadline_s + 1)
    assert ends(history) == (Status.RUNNING, None)
    history.poll(Status.SUCCEEDED, at=POLICY.deadline_s + 2)
    assert ends(history) == (Status.SUCCEEDED, None)


@pytest.mark.parametrize(
    "said",
    [
        {"status": Status.SUCCEEDED, "outputs": ()},
        {"trouble": Trouble.NOT_VISIBLE, "detail": "no record yet"},
        {"upstream_status": "UNKNOWN", "detail": "says that it does not know the task"},
    ],
)
def test_the_first_report_of_a_poll_is_in_the_history(said: dict[str, Any]) -> None:
    """Also where it changes nothing; a repetition is not recorded."""
    history = History(make_task(status=Status.RUNNING))
    for at in (10, 20, 30):
        history.poll(**said, at=at)
    assert len(history.events) == 1


def test_changing_request_ids_are_not_recorded() -> None:
    """Refused polls with changing messages are recorded once; another kind of refusal is recorded too."""
    history = History(make_task(status=Status.RUNNING))
    for n in range(5):
        error = UpstreamError(message=f"no access (request id: {n})", http_status=403)
        history.poll(trouble=Trouble.REJECTED, error=error, at=10 + n)
    assert len(history.events) == 1
    history.poll(trouble=Trouble.REJECTED, error=UpstreamError(message="gone", http_status=410), at=20)
    assert len(history.events) == 2


def test_the_wait_for_an_ambiguous_submits_callback_begins_with_its_answer() -> None:
    """Not with the task, which may have waited long to be sent."""
    history = History(make_sent_task())
    late = POLICY.submit_retry_s - 1
    history.observe(make_answer(Submission.AMBIGUOUS, at=late))
    history.look(late + POLICY.submit_retry_s - 1)
    assert ends(history) == (Status.PENDING, None)
    history.look(late + POLICY.submit_retry_s)
    assert ends(history) == (Status.FAILED, Reason.SUBMIT_UNKNOWN)


def test_missing_output_of_a_task_that_cannot_be_polled() -> None:
    """A synchronous answer without its outputs: the clock alone decides."""
    history = History(make_sent_task(expects_callback=False))
    history.observe(make_answer(Submission.ACCEPTED, status=Status.SUCCEEDED, outputs=(), external_id=None, at=1))
    assert ends(history) == (Status.RUNNING, None)
    history.look(POLICY.missing_output_grace_s)
    assert ends(history) == (Status.RUNNING, None)
    history.look(1 + POLICY.missing_output_grace_s)
    assert ends(history) == (Status.FAILED, Reason.MISSING_OUTPUT)


def test_the_deadline_of_a_task_that_cannot_be_polled() -> None:
    """Callbacks that never name an upstream id do not extend a task for ever."""
    history = History(make_sent_task())
    history.call(Status.RUNNING, at=10)
    history.look(9 + POLICY.deadline_s)
    assert ends(history) == (Status.RUNNING, None)
    history.look(10 + POLICY.deadline_s)
    assert ends(history) == (Status.FAILED, Reason.EXPIRED)


def test_an_ambiguous_submit_is_given_up_after_its_time() -> None:
    """Its callback may decide it until then, and after it too: the timeout is the tracker's own decision."""
    history = History(make_sent_task())
    history.observe(make_answer(Submission.AMBIGUOUS, at=1))
    assert history.due_s == 1 + POLICY.submit_retry_s
    history.look(POLICY.submit_retry_s)
    assert ends(history) == (Status.PENDING, None)
    history.look(1 + POLICY.submit_retry_s)
    assert ends(history) == (Status.FAILED, Reason.SUBMIT_UNKNOWN)
    history.call(Status.SUCCEEDED, external_id=EXTERNAL_ID, at=POLICY.submit_retry_s + 100)
    assert ends(history) == (Status.SUCCEEDED, None)


def test_a_submit_deferred_too_long_fails_with_the_reason_of_the_deferral() -> None:
    """Deferred while the next attempt falls within its time; then FAILED, retryable, never started."""
    history = History(make_sent_task())
    fields: dict[str, Any] = {"reason": Reason.RATE_LIMITED, "retry_after_s": 400.0, "error": UpstreamError("429")}
    history.observe(make_answer(Submission.DEFERRED, at=1, **fields))
    assert ends(history) == (Status.PENDING, None)
    assert history.due_s == pytest.approx(401, abs=1)
    history.task = replace(history.task, submit_state=SubmitState.SENDING, submit_attempts=2)
    history.observe(make_answer(Submission.DEFERRED, at=501, attempt=2, **fields))
    assert ends(history) == (Status.FAILED, Reason.RATE_LIMITED)
    assert history.task.retryable is True
    assert history.task.error == UpstreamError("429")
    assert history.task.submit_state is SubmitState.REFUSED
    assert [step.observation.source for step in history.events] == ["submit", "submit", "clock"]


def test_a_submit_whose_wait_exceeds_its_time_fails_at_once() -> None:
    """It does not wait for an attempt that would never be made."""
    history = History(make_sent_task())
    history.observe(make_answer(Submission.DEFERRED, at=1, reason=None, retry_after_s=POLICY.submit_retry_s + 1))
    assert ends(history) == (Status.FAILED, Reason.UPSTREAM_UNAVAILABLE)


def test_the_clock_finds_nothing_to_decide() -> None:
    """Only the schedule changes; no event is recorded."""
    history = History(make_sent_task(submit_state=SubmitState.AMBIGUOUS))
    for nothing in (NOTHING, Reading()):
        step = history.observe(replace(make_observation(source=Source.CLOCK, at=100), reading=nothing))
        assert (step.outcome, step.is_recorded) == (Outcome.IGNORED, False)
    assert history.due_s == POLICY.submit_retry_s
    assert history.events == []


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED])
def test_the_clock_does_not_change_ended_tasks(status: Status) -> None:
    """Nothing is due."""
    history = History(make_task(status=status))
    history.look(10 * POLICY.deadline_s)
    assert (history.task.status, history.task.due_at) == (status, None)


# -- when to act next --------------------------------------------------------------------------------------


def test_the_first_poll_after_acceptance() -> None:
    """After the configured first delay."""
    history = History(make_sent_task())
    history.observe(make_answer(Submission.ACCEPTED, at=1))
    assert history.due_s == 1 + POLICY.first_delay_s


def test_polls_without_change_grow_rarer_and_a_change_resets_them() -> None:
    """7, 9.8, 13.72 … seconds; progress resets the step."""
    history = History(make_task(status=Status.RUNNING))
    at = 10.0
    for expected_s in (7.0, 9.8, 13.72, 19.208):
        history.poll(Status.RUNNING, at=at)
        assert history.due_s == pytest.approx(at + expected_s)
        at += expected_s
    history.poll(Status.RUNNING, progress=50, at=at)
    assert history.due_s == pytest.approx(at + 5.0)


def test_a_callback_with_a_change_restarts_the_interval() -> None:
    """The next poll is one interval after the change."""
    history = History(make_task())
    history.call(Status.RUNNING, at=3)
    assert history.due_s == 8


def test_a_callback_without_a_change_leaves_the_schedule() -> None:
    """Neither a duplicate nor a stale observation delays the next poll."""
    history = History(make_task(status=Status.RUNNING, due_at=after(15)))
    history.call(Status.PENDING, at=11)
    history.call(Status.PENDING, at=12)
    assert history.due_s == 15


def test_a_stream_of_callbacks_does_not_delay_a_due_poll() -> None:
    """A confirming poll happens on time, regardless of later callbacks."""
    history = History(make_task(status=Status.RUNNING))
    history.call(Status.SUCCEEDED, is_trusted=False, at=10)
    for n in range(5):
        history.call(Status.RUNNING, progress=n, at=11.0 + n)
    assert history.due_s == 10


def test_no_schedule_goes_past_the_deadline() -> None:
    """The last poll falls on the deadline itself."""
    history = History(make_task(status=Status.RUNNING))
    history.poll(Status.RUNNING, at=POLICY.deadline_s - 2)
    assert history.due_s == POLICY.deadline_s


def test_a_poll_request_during_a_poll_causes_another_poll() -> None:
    """The answer under way may be older than the request."""
    nudged = make_task(status=Status.RUNNING, due_at=after(9))
    history = History(nudged)
    history.observe(make_observation(Status.RUNNING, at=10))
    assert history.due_s == 10
    in_trouble = History(nudged)
    in_trouble.observe(make_observation(trouble=Trouble.UNAVAILABLE, at=10))
    assert in_trouble.due_s == pytest.approx(17)


@pytest.mark.parametrize(
    ("trouble", "retry_after_s", "wait_s"),
    [
        (Trouble.UNAVAILABLE, None, 7.0),
        (Trouble.THROTTLED, 42.0, 42.0),
        (Trouble.THROTTLED, 0.5, 7.0),
        (Trouble.UNAUTHORIZED, None, 300.0),
    ],
)
def test_waits_after_trouble(trouble: Trouble, retry_after_s: float | None, wait_s: float) -> None:
    """Retry-After is honoured and never shortened; a rejected key is tried rarely."""
    history = History(make_task(status=Status.RUNNING, due_at=after(50)))
    history.poll(trouble=trouble, retry_after_s=retry_after_s, at=10)
    assert history.due_s == pytest.approx(10 + wait_s)


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED])
def test_nothing_is_due_after_the_end(status: Status) -> None:
    """A provider's end ends the schedule."""
    history = History(make_task())
    history.call(status)
    assert history.task.due_at is None


def test_nothing_is_due_after_a_cancel() -> None:
    """Neither through the cancel nor through later reports of the provider."""
    history = History(make_task())
    history.observe(make_cancel())
    for status in Status:
        history.call(status, at=20)
    assert history.task.due_at is None
    assert ends(history) == (Status.FAILED, Reason.CANCELED)


# -- tasks that were given up ------------------------------------------------------------------------------

GIVEN_UP = make_task(status=Status.FAILED, reason=Reason.EXPIRED, progress_at=after(0))


def test_a_callback_for_a_given_up_task_restarts_polling() -> None:
    """After a late RUNNING it is polled until it ends, through outages, for one more deadline."""
    history = History(GIVEN_UP)
    history.call(Status.RUNNING, at=10)
    assert history.due_s == 13
    history.poll(Status.RUNNING, at=13)
    assert history.due_s is not None
    history.poll(trouble=Trouble.UNAVAILABLE, at=20)
    assert history.due_s is not None
    history.poll(Status.RUNNING, at=POLICY.deadline_s)
    assert history.due_s is None


@pytest.mark.parametrize("status", [None, Status.FAILED])
def test_a_given_up_task_that_failed_upstream_is_not_polled(status: Status | None) -> None:
    """A task that the upstream reports as failed or unknown is not polled again."""
    history = History(GIVEN_UP)
    history.call(Status.RUNNING, at=10)
    history.poll(status, trouble=None if status else Trouble.NOT_FOUND, at=13)
    assert history.due_s is None


def test_a_given_up_task_without_outputs_is_not_polled_for_ever() -> None:
    """A callback causes a poll; polls continue at their interval and end with the grace."""
    history = History(GIVEN_UP)
    history.call(Status.SUCCEEDED, outputs=(), at=10)
    assert history.due_s == 10
    due_s: float | None = 10.0
    polled_at: list[float] = []
    while due_s is not None:
        polled_at.append(due_s)
        history.poll(Status.SUCCEEDED, outputs=(), at=due_s)
        due_s = history.due_s
    assert polled_at[-1] >= POLICY.missing_output_grace_s
    assert min(b - a for a, b in itertools.pairwise(polled_at)) >= POLICY.min_interval_s


def test_an_acceptance_that_came_late_is_followed() -> None:
    """A paid job whose create was given up as unknown is polled once its id is known."""
    history = History(make_sent_task(expects_callback=False))
    history.observe(make_answer(Submission.AMBIGUOUS, at=1))
    assert ends(history) == (Status.FAILED, Reason.SUBMIT_UNKNOWN)
    history.observe(make_answer(Submission.ACCEPTED, at=50))
    assert history.due_s == 53
    history.poll(Status.SUCCEEDED, at=53)
    assert ends(history) == (Status.SUCCEEDED, None)
    assert history.task.external_id == EXTERNAL_ID
