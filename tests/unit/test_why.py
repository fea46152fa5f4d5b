"""The plain account of a task, for every place that a task can be in; histories come from the real rules."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.judge import judge
from tracker.domain.observation import NOTHING, Observation, Reading, Source, Submission, Trouble
from tracker.domain.records import DeliveryRecord, EventRecord, iso
from tracker.domain.schedule import PollPolicy, PollTiming
from tracker.domain.task import (
    ExternalId,
    Output,
    Reason,
    Stage,
    Status,
    SubmitState,
    Task,
    TaskId,
    UpstreamError,
)
from tracker.domain.why import TaskHistory, explain

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
POLICY = PollPolicy()
SONG = (Output("audio", "https://files.example/a.mp3"),)
NO_OUTPUT = Reading(status=Status.SUCCEEDED)
ACCEPTED = Reading(submission=Submission.ACCEPTED, external_id=ExternalId("x-1"))


def make_task(**changes: Any) -> Task:  # noqa: ANN401 - fields of a record
    """A task that waits to be sent."""
    task = Task(
        id=TaskId("01JD0000000000000000000000"),
        route="suno.generate",
        provider="suno",
        account="default",
        created_at=START,
        progress_at=START,
        due_at=START,
        expects_callback=True,
    )
    return replace(task, **changes)


def at(seconds: float) -> datetime:
    """A moment of the story, seconds after its start."""
    return START + timedelta(seconds=seconds)


class Story:
    """Plays observations through the real rules and keeps the history that follows from them."""

    def __init__(self, task: Task | None = None) -> None:
        self.task = task or make_task()
        self.events: list[EventRecord] = []
        self._keys: set[str] = set()

    def sending(self) -> "Story":
        """The create goes out; its answer is due in a minute."""
        self.task = replace(self.task, submit_state=SubmitState.SENDING, submit_attempts=1, due_at=at(60))
        return self

    def hear(self, seconds: float, source: Source, reading: Reading = NOTHING, **more: Any) -> "Story":  # noqa: ANN401 - fields of a record
        """Something is heard."""
        heard = Observation(self.task.id, source, at(seconds), reading, **more)
        for step in judge(self.task, heard, self._keys.__contains__, PollTiming(POLICY, 5.0)):
            before, self.task = self.task, step.task
            if step.is_recorded:
                self._keys.add(step.key)
                self.events.append(
                    EventRecord(
                        seq=len(self.events) + 1,
                        task_id=self.task.id,
                        at=step.observation.observed_at,
                        source=step.observation.source,
                        stage=step.observation.reading.stage,
                        outcome=step.outcome,
                        from_status=before.status,
                        to_status=step.task.status,
                        detail=step.detail,
                    )
                )
        return self

    def why(
        self, seconds: float, deliveries: Sequence[DeliveryRecord] = (), notes: Sequence[str] = ()
    ) -> dict[str, Any]:
        """The account at a moment; always plain JSON."""
        told = explain(TaskHistory(self.task, self.events, deliveries), POLICY, at(seconds), notes)
        assert list(told) == ["id", "status", "summary", "heard", "refused", "next", "ends_by", "notes"]
        assert orjson.loads(orjson.dumps(told)) == told
        return told


def accepted() -> Story:
    """A task that the upstream took after a second."""
    return Story().sending().hear(1, Source.SUBMIT, ACCEPTED, attempt=1)


def test_queued() -> None:
    """Nothing has gone out, no clock runs, the next step is to send."""
    told = Story().why(0, notes=["a note of the daemon"])
    assert told["summary"] == "It waits to be sent; nothing has gone out to the upstream yet."
    assert told["next"] == [{"at": iso(START), "what": "sends it to the upstream"}]
    assert (told["heard"], told["refused"], told["ends_by"]) == ([], [], None)
    assert told["notes"] == ["a note of the daemon"]


def test_put_off() -> None:
    """Surely not accepted: it is sent again, until the submit's time is up."""
    busy = Reading(submission=Submission.DEFERRED, reason=Reason.RATE_LIMITED, retry_after_s=7, detail="HTTP 429")
    told = Story().sending().hear(2, Source.SUBMIT, busy, attempt=1).why(3)
    assert told["summary"] == (
        "The upstream has not accepted it after 1 attempt: not accepted (HTTP 429, asked to wait 7 s); it is sent "
        "again later. Surely nothing was started or charged."
    )
    (step,) = told["next"]
    assert step["what"] == "sends it again"
    assert step["at"] >= iso(at(9))
    assert told["ends_by"] == iso(at(900))


def test_sending() -> None:
    """The answer is awaited, not for ever."""
    told = Story().sending().why(5)
    assert told["summary"] == "It is being sent to the upstream now; the answer is awaited."
    assert told["next"][0]["at"] == iso(at(60))
    assert told["ends_by"] == iso(at(960))
    alone = Story(make_task(expects_callback=False)).sending().why(5)
    assert alone["ends_by"] == iso(at(60))


def test_ambiguous() -> None:
    """It is never sent again; a callback may tell, else the clock decides."""
    cut = Reading(submission=Submission.AMBIGUOUS, detail="the connection was cut")
    told = Story().sending().hear(2, Source.SUBMIT, cut, attempt=1).why(3)
    assert "may have been accepted and charged, so it is never sent again" in told["summary"]
    assert told["next"] == [
        {"at": iso(at(902)), "what": "gives it up (submit_unknown), unless a callback has told by then"},
        {"at": None, "what": "a callback may tell the task's id and how it went"},
    ]
    assert told["ends_by"] == iso(at(902))
    assert told["heard"][0]["source"] == "submit"


def test_accepted() -> None:
    """The first poll, the callback that may come before it, and the deadline."""
    told = accepted().why(2)
    assert told["summary"] == "The upstream accepted it as x-1 and has not said yet that work began."
    assert [step["what"] for step in told["next"]] == [
        "asks the upstream (poll 1)",
        "gives it up (expired), unless there is progress by then",
        "a callback may bring the news before that",
    ]
    assert told["ends_by"] == told["next"][1]["at"] == iso(at(86401))
    assert told["heard"] == [
        {"at": iso(at(1)), "source": "submit", "said": "accepted as x-1", "outcome": "applied"},
    ]
    assert "The deadline of 1 d counts from the last progress." in told["notes"]


def test_polled_alone() -> None:
    """Without a callback URL polls alone find the end, and the account says so."""
    story = Story(make_task(expects_callback=False)).sending().hear(1, Source.SUBMIT, ACCEPTED, attempt=1)
    told = story.why(2)
    assert "No callback is expected: polls alone find the end." in told["notes"]
    assert [step["at"] is None for step in told["next"]] == [False, False]


def test_running_with_news_refused() -> None:
    """What came twice or late is listed with why it changed nothing."""
    first = Reading(status=Status.RUNNING, stage=Stage.FIRST)
    story = accepted()
    story.hear(10, Source.CALLBACK, first)
    story.hear(11, Source.CALLBACK, first)
    story.hear(12, Source.CALLBACK, Reading(status=Status.RUNNING, stage=Stage.TEXT))
    story.hear(13, Source.POLL, Reading(status=Status.RUNNING, progress=50))
    told = story.why(14)
    assert told["summary"] == "The upstream is working on it: stage first, 50 %."
    assert [(entry["source"], entry["outcome"]) for entry in told["heard"]] == [
        ("submit", "applied"),
        ("callback", "applied"),
        ("callback", "duplicate"),
        ("callback", "stale"),
        ("poll", "applied"),
    ]
    assert told["refused"] == [
        {
            "at": iso(at(11)),
            "what": "callback: the same news came before",
            "why": "the same news came before",
        },
        {
            "at": iso(at(12)),
            "what": "callback: says stage text, but first is known already",
            "why": "it came too late: newer news is known already",
        },
    ]
    assert told["ends_by"] == iso(at(13 + 86400))
    assert told["notes"][0] == ("1 poll and 3 callbacks so far; polls that brought nothing new leave no entry.")


def test_a_callback_that_must_be_confirmed() -> None:
    """A callback that is not believed is refused until a poll confirms it, and the poll is next."""
    story = accepted().hear(20, Source.CALLBACK, Reading(status=Status.SUCCEEDED, outputs=SONG), believed=False)
    told = story.why(20)
    assert told["refused"][0]["what"] == "callback: says SUCCEEDED; a poll must confirm it"
    assert told["next"][0] == {"at": iso(at(20)), "what": "asks the upstream (poll 1)"}


def test_missing_output() -> None:
    """A success without an output has a time of its own."""
    told = accepted().hear(30, Source.CALLBACK, NO_OUTPUT).why(31)
    assert told["status"] == "RUNNING"
    assert (
        told["summary"]
        == f"The upstream says since {iso(at(30))} that it succeeded, but does not name its outputs yet."
    )
    assert told["ends_by"] == iso(at(330))
    assert [step["what"] for step in told["next"]] == [
        "asks the upstream (poll 1)",
        "gives it up (missing_output), unless the upstream names its outputs by then",
        "a callback may bring the news before that",
    ]


def test_outputs_named_on_the_way() -> None:
    """A success that names none is one with them, once its time is up."""
    first = Reading(status=Status.RUNNING, stage=Stage.FIRST, outputs=SONG)
    told = accepted().hear(20, Source.CALLBACK, first).hear(30, Source.CALLBACK, NO_OUTPUT).why(31)
    what = "takes the 1 output named before as the result, unless the upstream names its outputs by then"
    assert {"at": iso(at(330)), "what": what} in told["next"]


def test_not_found_within_its_grace() -> None:
    """An unknown id changes nothing until the grace has passed."""
    gone = Reading(trouble=Trouble.NOT_FOUND, error=UpstreamError(http_status=404))
    told = accepted().hear(10, Source.POLL, gone).why(11)
    assert "says since 2026-11-20T12:00:10.000Z that it does not know it" in told["summary"]
    assert told["ends_by"] == iso(at(610))
    assert "gives it up (not_found), unless the upstream knows it by then" in [s["what"] for s in told["next"]]
    assert told["refused"] == []


def test_poll_trouble() -> None:
    """What the last poll met, and that the deadline alone does not end what cannot be asked about."""
    down = Reading(trouble=Trouble.UNAVAILABLE, error=UpstreamError(message="bad gateway", http_status=502))
    story = accepted().hear(10, Source.POLL, down)
    told = story.why(11)
    assert told["summary"] == (
        "The upstream accepted it as x-1, but cannot be asked since 2026-11-20T12:00:10.000Z: "
        "unavailable HTTP 502 bad gateway."
    )
    assert told["ends_by"] == iso(at(86401))
    story.task = replace(story.task, poll_trouble_since=at(86300))
    assert story.why(86350)["ends_by"] == iso(at(86900))
    story.task = replace(story.task, missing_output_since=at(86000))
    assert story.why(86350)["ends_by"] == iso(at(86900))


def test_accepted_without_an_id() -> None:
    """A callback came, but never an id: nobody can be asked, and the deadline alone decides."""
    story = Story().sending().hear(5, Source.CALLBACK, Reading(status=Status.RUNNING))
    told = story.why(6)
    assert story.task.external_id is None
    assert told["summary"] == "The upstream is working on it."
    assert "Its upstream id is not known yet, so it cannot be polled: callbacks alone can tell." in told["notes"]
    assert [step["what"] for step in told["next"]] == [
        "gives it up (expired), unless there is progress by then",
        "a callback may bring the news before that",
    ]


def test_unknown_status() -> None:
    """Named, counted, and taken as still running."""
    odd = Reading(trouble=Trouble.UNKNOWN_STATUS, upstream_status="DREAMING")
    told = accepted().hear(10, Source.POLL, odd).hear(15, Source.POLL, odd).why(16)
    assert (
        "The upstream status 'DREAMING' is not in its contract; it was seen 2 times and is taken as still running."
        in told["notes"]
    )
    assert told["status"] == "PENDING"


def test_an_overdue_end_falls_on_the_next_look() -> None:
    """A deadline in the past is not when it will be decided."""
    story = accepted()
    story.task = replace(story.task, due_at=at(90_000))
    assert story.why(89_000)["ends_by"] == iso(at(90_000))


def test_succeeded() -> None:
    """Nothing is left to do; who told is said; later contradictions are listed."""
    story = accepted()
    story.hear(20, Source.CALLBACK, Reading(status=Status.SUCCEEDED, outputs=SONG))
    story.hear(25, Source.POLL, Reading(status=Status.FAILED, reason=Reason.GENERATION_FAILED))
    told = story.why(30)
    assert told["summary"] == "It succeeded with 1 output. A callback said so."
    assert (told["next"], told["ends_by"]) == ([], None)
    (refused,) = told["refused"]
    assert refused["what"] == "poll: says FAILED, but the task is SUCCEEDED"
    assert refused["why"] == "it contradicts what is final or known; recorded, not applied"


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_words(reason: Reason) -> None:
    """Whatever ended a task is said in a sentence, with the upstream's own word in it."""
    error = UpstreamError(code="E42", message="as it was put")
    failed = Reading(status=Status.FAILED, reason=reason, error=error, retryable=False)
    told = accepted().hear(20, Source.POLL, failed).why(21)
    assert told["status"] == "FAILED"
    assert told["summary"].endswith(".")
    assert ("E42: as it was put" in told["summary"]) is (reason is not Reason.CANCELED)
    assert told["ends_by"] is None


@pytest.mark.parametrize(
    ("story", "seconds", "expected"),
    [
        (accepted().hear(5, Source.POLL, Reading(status=Status.RUNNING)).hear(86500, Source.POLL), 86501,
         "given up (no progress for 86400 s)"),
        (accepted().hear(5, Source.CALLBACK, NO_OUTPUT).hear(400, Source.POLL, NO_OUTPUT), 401,
         "named no output, so the tracker gave it up (no output 300 s after success)"),
        (Story().sending().hear(2, Source.SUBMIT, Reading(submission=Submission.AMBIGUOUS)).hear(902, Source.CLOCK),
         903, "(the outcome is unknown: no answer and no callback)"),
    ],
)  # fmt: skip
def test_given_up(story: Story, seconds: float, expected: str) -> None:
    """The tracker's own verdicts say what ran out, and that a success would still be taken."""
    told = story.why(seconds)
    assert told["status"] == "FAILED"
    assert expected in told["summary"]
    assert "would still be taken" in told["summary"]


def test_given_up_and_asked_once_more() -> None:
    """A task given up that turns out to be alive is still asked about."""
    story = accepted().hear(5, Source.CALLBACK, NO_OUTPUT).hear(400, Source.POLL, NO_OUTPUT)
    story.hear(410, Source.CALLBACK, Reading(status=Status.RUNNING))
    assert story.task.is_given_up
    (step,) = story.why(410)["next"]
    assert step == {
        "at": iso(story.task.due_at),
        "what": "asks the upstream once more; a success with outputs would still be taken",
    }


def test_refused_with_a_hint() -> None:
    """A failure that may pass says so."""
    refused = Reading(
        status=Status.FAILED,
        submission=Submission.REFUSED,
        reason=Reason.UPSTREAM_UNAVAILABLE,
        error=UpstreamError(message="maintenance"),
    )
    told = Story().sending().hear(2, Source.SUBMIT, refused, attempt=1).why(3)
    assert told["summary"] == (
        "The upstream was not available (maintenance). The same request may succeed as a new job."
    )


def test_canceled() -> None:
    """The upstream was not told, and what it says later is a conflict."""
    story = accepted()
    story.hear(5, Source.OPERATOR, Reading(status=Status.FAILED, reason=Reason.CANCELED, detail="canceled by hand"))
    story.hear(9, Source.CALLBACK, Reading(status=Status.SUCCEEDED, outputs=SONG))
    told = story.why(10)
    assert told["summary"].startswith("An operator canceled it; the upstream may go on")
    assert "The upstream was not told of the cancellation and may charge for the job." in told["notes"]
    assert told["refused"][0]["why"] == "it contradicts what is final or known; recorded, not applied"


def make_delivery(status: DeliveryStatus, **changes: Any) -> DeliveryRecord:  # noqa: ANN401 - fields of a record
    """A delivery of the end."""
    record = DeliveryRecord(
        id="d-1",
        task_id=TaskId("01JD0000000000000000000000"),
        seq=3,
        hook="publish",
        event="task.succeeded",
        status=status,
        attempts=0,
        next_attempt_at=None,
        error=None,
        output=None,
        created_at=START,
        finished_at=None,
    )
    return replace(record, **changes)


@pytest.mark.parametrize(
    ("delivery", "step"),
    [
        (make_delivery(DeliveryStatus.PENDING, next_attempt_at=at(40)), (at(40), "")),
        (
            make_delivery(DeliveryStatus.PENDING, next_attempt_at=at(50), attempts=2, error="exit 1"),
            (at(50), " again, after 2 attempts (exit 1)"),
        ),
        (make_delivery(DeliveryStatus.RUNNING, attempts=1), (None, ": under way, attempt 1")),
    ],
)
def test_pending_hooks(delivery: DeliveryRecord, step: tuple[datetime | None, str]) -> None:
    """After the end, hooks are what happens next."""
    story = accepted().hear(20, Source.CALLBACK, Reading(status=Status.SUCCEEDED, outputs=SONG))
    told = story.why(30, [make_delivery(DeliveryStatus.SUCCEEDED), delivery])
    assert told["next"] == [{"at": iso(step[0]), "what": f"runs hook 'publish' for task.succeeded{step[1]}"}]


def test_hooks_run_in_order() -> None:
    """What waits for an earlier event of the same hook has the time of that one, and says so."""
    story = accepted().hear(20, Source.CALLBACK, Reading(status=Status.SUCCEEDED, outputs=SONG))
    waits = make_delivery(DeliveryStatus.PENDING, next_attempt_at=at(21))
    first = make_delivery(DeliveryStatus.PENDING, next_attempt_at=at(60), event="task.submitted", attempts=1, error="x")
    told = story.why(30, [first, waits, replace(waits, hook="other")])
    assert [(step["at"], step["what"]) for step in told["next"]] == [
        (iso(at(21)), "runs hook 'other' for task.succeeded"),
        (iso(at(60)), "runs hook 'publish' for task.submitted again, after 1 attempt (x)"),
        (iso(at(60)), "runs hook 'publish' for task.succeeded, once it is through with task.submitted"),
    ]


def test_ended_hooks() -> None:
    """A hook that was given up is told, with how to run it again."""
    story = accepted().hear(20, Source.CALLBACK, Reading(status=Status.SUCCEEDED, outputs=SONG))
    dead = make_delivery(DeliveryStatus.DEAD, attempts=12, error="exit 1")
    told = story.why(30, [dead, make_delivery(DeliveryStatus.FAILED, id="d-2", attempts=1)])
    assert told["next"] == []
    given_up, failed = told["notes"][-2:]
    assert given_up == (
        "Hook 'publish' was given up for task.succeeded after 12 attempts (exit 1); "
        "POST /v1/deliveries/d-1/retry runs it again."
    )
    assert failed.startswith("Hook 'publish' said that it failed for good for task.succeeded after 1 attempt")
