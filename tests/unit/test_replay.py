"""Histories judged again: the task that follows from its events, independent of its row."""

import pytest

from tests.kits.clock import after
from tests.kits.factories import make_output, make_task
from tracker.domain.observation import Observation, Reading, Source, Submission, dedupe_key
from tracker.domain.replay import PastEvent, differences, rederive
from tracker.domain.task import ExternalId, Reason, Status, SubmitState, TaskId

SONG = make_output()


def past(
    source: Source,
    reading: Reading,
    at: float = 10,
    *,
    is_trusted: bool = True,
    attempt: int = 0,
    before: str = "PENDING",
) -> PastEvent:
    """An event as stored."""
    observation = Observation(TaskId("t"), source, after(at), reading, is_trusted=is_trusted, attempt=attempt)
    return PastEvent(after(at), source, dedupe_key(observation), Status(before), reading)


ACCEPTED = past(Source.SUBMIT, Reading(external_id=ExternalId("up-1"), submission=Submission.ACCEPTED), at=1, attempt=1)
SUCCESS = Reading(status=Status.SUCCEEDED, outputs=(SONG,))


def test_a_history_leads_to_its_task() -> None:
    """Sent, accepted, ended."""
    stored = make_task(status=Status.SUCCEEDED, submit_attempts=1)
    derived = rederive(stored, [ACCEPTED, past(Source.CALLBACK, SUCCESS)])
    assert derived is not None
    assert differences(stored, derived) == []
    assert derived.external_id == "up-1"


def test_an_untrusted_callback_ends_nothing() -> None:
    """Only its key shows that it was not trusted."""
    stored = make_task(submit_attempts=1)
    derived = rederive(stored, [ACCEPTED, past(Source.CALLBACK, SUCCESS, is_trusted=False)])
    assert derived is not None
    assert derived.status is Status.PENDING


def test_a_repetition_changes_nothing() -> None:
    """A repetition was a duplicate, whatever it would mean now."""
    stored = make_task(submit_attempts=1)
    one = past(Source.CALLBACK, SUCCESS)
    derived = rederive(
        stored, [ACCEPTED, PastEvent(one.at, one.source, f"dup:{one.key}", one.from_status, one.reading)]
    )
    assert derived is not None
    assert derived.status is Status.PENDING


def test_a_refusal_that_was_sent_again() -> None:
    """The number of the attempt is read from the key; the same detail twice is two events."""
    stored = make_task(
        status=Status.FAILED,
        reason=Reason.QUOTA_EXHAUSTED,
        submit_attempts=2,
        external_id=None,
        submit_state=SubmitState.REFUSED,
    )
    put_off = past(Source.SUBMIT, Reading(submission=Submission.DEFERRED), at=1, attempt=1)
    refused = past(
        Source.SUBMIT, Reading(submission=Submission.REFUSED, reason=Reason.QUOTA_EXHAUSTED), at=2, attempt=2
    )
    derived = rederive(stored, [put_off, refused])
    assert derived is not None
    assert differences(stored, derived) == []


def test_a_registered_task_has_its_id_from_the_start() -> None:
    """A callback that names another is a conflict when judged again, too."""
    stored = make_task()
    foreign = Reading(status=Status.SUCCEEDED, outputs=(SONG,), external_id=ExternalId("somebody-elses"))
    derived = rederive(stored, [past(Source.CALLBACK, foreign)])
    assert derived is not None
    assert differences(stored, derived) == []


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED])
def test_a_dropped_history_cannot_be_judged(status: Status) -> None:
    """No event is left, or only those after the end."""
    stored = make_task(status=status)
    assert rederive(stored, []) is None
    assert rederive(stored, [past(Source.CALLBACK, SUCCESS, before=status.value)]) is None


def test_a_task_without_events_is_as_created() -> None:
    """No observation, no change."""
    stored = make_task()
    derived = rederive(stored, [])
    assert derived is not None
    assert differences(stored, derived) == []
    assert differences(make_task(status=Status.RUNNING), derived) == [("status", "RUNNING", "PENDING")]


def test_outputs_are_compared_by_identity() -> None:
    """A URL that was signed anew is the same output; another file is not."""
    derived = make_task(status=Status.SUCCEEDED, outputs=(make_output(url="https://cdn.example/a?sig=1"),))
    renewed = make_task(status=Status.SUCCEEDED, outputs=(make_output(url="https://cdn.example/a?sig=2"),))
    other = make_task(status=Status.SUCCEEDED, outputs=(make_output(url="https://cdn.example/b"),))
    assert differences(renewed, derived) == []
    assert [field for field, _, _ in differences(other, derived)] == ["outputs"]
