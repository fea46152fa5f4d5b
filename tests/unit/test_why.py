"""Explaining a task in every state; histories come from the real rules."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from tests.kits.factories import make_durations
from tracker.domain.durations import Durations
from tracker.domain.event_text import NOT_SENT, WRONG_ADDRESS
from tracker.domain.history import TaskHistory, WaitingLine
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
from tracker.domain.why import explain

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
POLICY = PollPolicy()
SONG = (Output("audio", "https://files.example/a.mp3"),)
NO_OUTPUT = Reading(status=Status.SUCCEEDED)
DONE = Reading(status=Status.SUCCEEDED, outputs=SONG)
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
    """A time in the scenario, seconds after its start."""
    return START + timedelta(seconds=seconds)


class Scenario:
    """Runs observations through the real rules and records their history."""

    def __init__(self, task: Task | None = None) -> None:
        self.task = task or make_task()
        self.events: list[EventRecord] = []
        self._keys: set[str] = set()

    def sending(self) -> "Scenario":
        """The create goes out; its answer is due in a minute."""
        self.task = replace(self.task, submit_state=SubmitState.SENDING, submit_attempts=1, due_at=at(60))
        return self

    def observe(self, seconds: float, source: Source, reading: Reading = NOTHING, **more: Any) -> "Scenario":  # noqa: ANN401 - fields of a record
        """Apply an observation."""
        observation = Observation(self.task.id, source, at(seconds), reading, **more)
        for step in judge(self.task, observation, self._keys.__contains__, PollTiming(POLICY, 5.0)):
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
        """The explanation at a time; always plain JSON."""
        account = explain(TaskHistory(self.task, self.events, deliveries), POLICY, at(seconds), notes)
        assert list(account) == [
            "id",
            "status",
            "summary",
            "heard",
            "refused",
            "next",
            "ends_by",
            "notes",
            "details",
            "actions",
        ]
        assert orjson.loads(orjson.dumps(account)) == account
        return account


def accepted() -> Scenario:
    """A task that the upstream accepted after a second."""
    return Scenario().sending().observe(1, Source.SUBMIT, ACCEPTED, attempt=1)


def test_queued() -> None:
    """Not sent yet, no timeout runs, the next step is to send."""
    account = Scenario().why(0, notes=["a note of the daemon"])
    assert account["summary"] == "The tracker has not sent the request yet."
    assert account["next"] == [{"at": iso(START), "what": "The tracker sends the request to the service."}]
    assert (account["heard"], account["refused"], account["ends_by"]) == ([], [], None)
    assert account["notes"] == ["a note of the daemon"]


def test_deferred() -> None:
    """Certainly not accepted: it is sent again, until the submit's time is up."""
    busy = Reading(submission=Submission.DEFERRED, reason=Reason.RATE_LIMITED, retry_after_s=7, detail="HTTP 429")
    account = Scenario().sending().observe(2, Source.SUBMIT, busy, attempt=1).why(3)
    assert account["summary"] == (
        "The service has not accepted the request yet: HTTP 429 (wait 7 s). Nothing was started or charged."
    )
    step, end = account["next"]
    assert step["what"] == "The tracker sends the request again."
    assert end == {
        "at": iso(at(900)),
        "what": "If the service has not accepted it by then, the tracker gives it up.",
    }
    assert step["at"] >= iso(at(9))
    assert account["ends_by"] == iso(at(900))


def test_sending() -> None:
    """The wait for the answer has an end."""
    account = Scenario().sending().why(5)
    assert account["summary"] == "The tracker is sending the request to the service. There is no answer yet."
    assert account["next"][0]["at"] == iso(at(60))
    assert account["ends_by"] == iso(at(960))
    alone = Scenario(make_task(expects_callback=False)).sending().why(5)
    assert alone["ends_by"] == iso(at(60))


def test_unsent() -> None:
    """A create that could not be sent, while it waits and when it is given up: the tracker's words are not quoted."""
    broken = UpstreamError(message="account other has no API key")
    unsent = Reading(
        submission=Submission.DEFERRED,
        reason=Reason.UPSTREAM_UNAVAILABLE,
        error=broken,
        detail=f"{NOT_SENT}{broken.message}",
    )
    scenario = Scenario().sending().observe(2, Source.SUBMIT, unsent, attempt=1)
    cause = "account other has no API key. Nothing was started or charged."
    assert scenario.why(3)["summary"] == f"The tracker could not send the request yet: {cause}"
    assert (
        scenario.why(3)["heard"][0]["said"] == "not sent yet: account other has no API key; the tracker sends it again"
    )
    scenario.observe(899, Source.SUBMIT, unsent, attempt=2)
    ended = scenario.why(900)
    assert ended["status"] == "FAILED"
    assert ended["summary"].startswith(f"The tracker could not send the request: {cause}")


def test_ambiguous() -> None:
    """It is never sent again; a callback may decide it, else the clock does."""
    cut = Reading(submission=Submission.AMBIGUOUS, detail="the connection was cut")
    account = Scenario().sending().observe(2, Source.SUBMIT, cut, attempt=1).why(3)
    assert "so the job may be running and charged. The tracker does not send it a second time." in account["summary"]
    assert account["next"] == [
        {"at": iso(at(902)), "what": "If the service has reported nothing, the tracker gives the task up."},
        {"at": None, "what": "The service may report the job by a callback."},
    ]
    assert account["ends_by"] == iso(at(902))
    assert account["heard"][0]["source"] == "submit"


def test_accepted() -> None:
    """The first poll, the callback that may come before it, and the deadline."""
    account = accepted().why(2)
    assert account["summary"] == (
        "The service accepted the request with the id x-1. The service has not started the job yet."
    )
    assert [step["what"] for step in account["next"]] == [
        "The tracker asks the service.",
        "If nothing moves until then, the tracker gives the task up.",
        "The service may report first, by a callback.",
    ]
    assert account["ends_by"] == account["next"][1]["at"] == iso(at(86401))
    assert account["heard"] == [
        {"at": iso(at(1)), "source": "submit", "said": "accepted as x-1", "outcome": "applied"},
    ]
    assert "The tracker gives a task up when nothing moves for 1 day." in account["details"]


def test_polled_only() -> None:
    """Without a callback URL the task is only polled, and a note states it."""
    scenario = Scenario(make_task(expects_callback=False)).sending().observe(1, Source.SUBMIT, ACCEPTED, attempt=1)
    account = scenario.why(2)
    assert "The service sends no callbacks for this task, so the tracker asks it." in account["notes"]
    assert [step["at"] is None for step in account["next"]] == [False, False]


def test_running_with_refused_callbacks() -> None:
    """Repeated and late callbacks are listed, each with the reason why it changed nothing."""
    first = Reading(status=Status.RUNNING, stage=Stage.FIRST)
    scenario = accepted()
    scenario.observe(10, Source.CALLBACK, first)
    scenario.observe(11, Source.CALLBACK, first)
    scenario.observe(12, Source.CALLBACK, Reading(status=Status.RUNNING, stage=Stage.TEXT))
    scenario.observe(13, Source.POLL, Reading(status=Status.RUNNING, progress=50))
    account = scenario.why(14)
    assert account["summary"] == "The service is working on the job: stage first, 50 %."
    assert [(entry["source"], entry["outcome"]) for entry in account["heard"]] == [
        ("submit", "applied"),
        ("callback", "applied"),
        ("callback", "duplicate"),
        ("callback", "stale"),
        ("poll", "applied"),
    ]
    assert account["refused"] == [
        {
            "at": iso(at(11)),
            "what": "callback: repeats an earlier report",
            "why": "it was reported before",
        },
        {
            "at": iso(at(12)),
            "what": "callback: reports stage text, but the task is at stage first already",
            "why": "it is older than what is known",
        },
    ]
    assert account["ends_by"] == iso(at(13 + 86400))
    assert account["details"][0] == (
        "1 poll and 3 callbacks so far. The history leaves out polls that brought nothing new."
    )


def test_a_callback_that_must_be_confirmed() -> None:
    """An untrusted callback is not applied until a poll confirms it, and the poll is next."""
    scenario = accepted().observe(20, Source.CALLBACK, Reading(status=Status.SUCCEEDED, outputs=SONG), is_trusted=False)
    account = scenario.why(20)
    assert account["refused"][0]["what"] == "callback: reports SUCCEEDED; a poll must confirm it"
    assert account["next"][0] == {"at": iso(at(20)), "what": "The tracker asks the service."}


def test_missing_output() -> None:
    """A success without an output has a grace of its own."""
    account = accepted().observe(30, Source.CALLBACK, NO_OUTPUT).why(31)
    assert account["status"] == "RUNNING"
    assert account["summary"] == f"The service has reported success since {iso(at(30))}, but has named no output yet."
    assert account["ends_by"] == iso(at(330))
    assert [step["what"] for step in account["next"]] == [
        "The tracker asks the service.",
        "If the service still names no output, the tracker gives the task up.",
        "The service may report first, by a callback.",
    ]


def test_outputs_of_earlier_reports() -> None:
    """A success that names no output has the earlier ones, after its grace."""
    first = Reading(status=Status.RUNNING, stage=Stage.FIRST, outputs=SONG)
    account = accepted().observe(20, Source.CALLBACK, first).observe(30, Source.CALLBACK, NO_OUTPUT).why(31)
    what = "If the service still names no output, the tracker takes the 1 output named before as the result."
    assert {"at": iso(at(330)), "what": what} in account["next"]


def test_not_found_within_its_grace() -> None:
    """An unknown id changes nothing until the grace has passed."""
    gone = Reading(trouble=Trouble.NOT_FOUND, error=UpstreamError(http_status=404))
    account = accepted().observe(10, Source.POLL, gone).why(11)
    assert account["summary"] == (
        "The service named the id x-1 when it accepted the request. "
        "The service has not known it since 2026-11-20T12:00:10.000Z."
    )
    assert account["ends_by"] == iso(at(610))
    gives_up = "If the service still does not know it, the tracker gives the task up."
    assert [step["what"] for step in account["next"] if "gives" in step["what"]] == [gives_up], "one end is enough"
    assert account["refused"] == []
    given = Scenario(make_task(submit_state=SubmitState.ACCEPTED, external_id=ExternalId("mine")))
    assert given.observe(10, Source.POLL, gone).why(11)["summary"] == (
        "You gave the id mine. The service has not known it since 2026-11-20T12:00:10.000Z. "
        "Check the id, the route and the account."
    )


def test_poll_trouble() -> None:
    """Why the last poll failed; the deadline alone does not end a task that cannot be polled."""
    down = Reading(trouble=Trouble.UNAVAILABLE, error=UpstreamError(message="bad gateway", http_status=502))
    scenario = accepted().observe(10, Source.POLL, down)
    account = scenario.why(11)
    assert account["summary"] == (
        "The service accepted the request with the id x-1. The tracker has not learned its status since "
        '2026-11-20T12:00:10.000Z: HTTP 502, "bad gateway".'
    )
    assert account["ends_by"] == iso(at(86401))
    scenario.task = replace(scenario.task, poll_trouble_since=at(86300))
    assert scenario.why(86350)["ends_by"] == iso(at(86900))
    scenario.task = replace(scenario.task, missing_output_since=at(86000))
    assert scenario.why(86350)["ends_by"] == iso(at(86900))


def test_accepted_without_an_id() -> None:
    """A callback came, but never an id: it cannot be polled, and the deadline alone ends it."""
    scenario = Scenario().sending().observe(5, Source.CALLBACK, Reading(status=Status.RUNNING))
    account = scenario.why(6)
    assert scenario.task.external_id is None
    assert account["summary"] == "The service is working on the job."
    assert (
        "The service has not named its id for the job yet, so the tracker cannot ask for the status. "
        "Only a callback can end the task." in account["notes"]
    )
    assert [step["what"] for step in account["next"]] == [
        "If nothing moves until then, the tracker gives the task up.",
        "The service may report first, by a callback.",
    ]


def test_unknown_status() -> None:
    """Named, counted, and treated as still running."""
    odd = Reading(trouble=Trouble.UNKNOWN_STATUS, upstream_status="DREAMING")
    account = accepted().observe(10, Source.POLL, odd).observe(15, Source.POLL, odd).why(16)
    assert (
        "The service reported the status 'DREAMING', which its documents do not name. The tracker counts it as running."
        in account["notes"]
    )
    assert account["status"] == "PENDING"


def test_an_overdue_end_comes_with_the_next_action() -> None:
    """A deadline in the past is not shown as the end."""
    scenario = accepted()
    scenario.task = replace(scenario.task, due_at=at(90_000))
    assert scenario.why(89_000)["ends_by"] == iso(at(90_000))


def test_succeeded() -> None:
    """Nothing is left to do; the source is named; later contradictions are listed."""
    scenario = accepted()
    scenario.observe(20, Source.CALLBACK, Reading(status=Status.SUCCEEDED, outputs=SONG))
    scenario.observe(25, Source.POLL, Reading(status=Status.FAILED, reason=Reason.GENERATION_FAILED))
    account = scenario.why(30)
    assert account["summary"] == "The task succeeded with 1 output. The service reported it by a callback."
    assert (account["next"], account["ends_by"]) == ([], None)
    (refused,) = account["refused"]
    assert refused["what"] == "poll: reports FAILED, but the task is SUCCEEDED already"
    assert refused["why"] == "it contradicts what is final"


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_summary(reason: Reason) -> None:
    """Each reason has a sentence that quotes the upstream's error."""
    error = UpstreamError(code="E42", message="as it was put")
    failed = Reading(status=Status.FAILED, reason=reason, error=error, retryable=False)
    account = accepted().observe(20, Source.POLL, failed).why(21)
    assert account["status"] == "FAILED"
    assert account["summary"].endswith(".")
    assert ('"as it was put" (code E42)' in account["summary"]) is (reason is not Reason.CANCELED)
    assert account["ends_by"] is None


@pytest.mark.parametrize(
    ("scenario", "seconds", "expected"),
    [
        (accepted().observe(5, Source.POLL, Reading(status=Status.RUNNING)).observe(86500, Source.POLL), 86501,
         "did not end in time: nothing has moved for 1 day. The tracker gave it up."),
        (accepted().observe(5, Source.CALLBACK, NO_OUTPUT).observe(400, Source.POLL, NO_OUTPUT), 401,
         "reported success but no output: it named none for 5 min. The tracker gave the task up."),
        (Scenario().sending().observe(2, Source.SUBMIT, Reading(submission=Submission.AMBIGUOUS))
         .observe(902, Source.CLOCK), 903,
         "does not know whether the service accepted it: there was no clear answer and no callback."),
    ],
)  # fmt: skip
def test_given_up(scenario: Scenario, seconds: float, expected: str) -> None:
    """A given-up task names its timeout, and that a success is still accepted."""
    account = scenario.why(seconds)
    assert account["status"] == "FAILED"
    assert expected in account["summary"]
    assert "the tracker accepts it." in account["summary"]


def test_given_up_and_polled_once_more() -> None:
    """A given-up task that is still running upstream is polled again."""
    scenario = accepted().observe(5, Source.CALLBACK, NO_OUTPUT).observe(400, Source.POLL, NO_OUTPUT)
    scenario.observe(410, Source.CALLBACK, Reading(status=Status.RUNNING))
    assert scenario.task.is_given_up
    (step,) = scenario.why(410)["next"]
    assert step == {
        "at": iso(scenario.task.due_at),
        "what": "The tracker asks the service once more. It still accepts a success with outputs.",
    }


def test_refused_but_retryable() -> None:
    """A temporary failure is named as such."""
    refused = Reading(
        status=Status.FAILED,
        submission=Submission.REFUSED,
        reason=Reason.UPSTREAM_UNAVAILABLE,
        error=UpstreamError(message="maintenance"),
    )
    account = Scenario().sending().observe(2, Source.SUBMIT, refused, attempt=1).why(3)
    assert account["summary"] == (
        'The service was not available: "maintenance". The same request may succeed as a new job.'
    )


def test_a_wrong_address() -> None:
    """The base URL is ours: the summary says so, and the account is to be checked first."""
    detail = f"{WRONG_ADDRESS}has no such path (HTTP 404); check base_url of the account"
    lost = Reading(
        status=Status.FAILED,
        submission=Submission.REFUSED,
        reason=Reason.UPSTREAM_UNAVAILABLE,
        error=UpstreamError(message="Not Found", http_status=404),
        detail=detail,
    )
    account = Scenario().sending().observe(2, Source.SUBMIT, lost, attempt=1).why(3)
    assert account["summary"].startswith(f"The tracker asked at a wrong address: {detail}.")
    assert account["actions"][0]["command"] == "tracker doctor"


def test_an_unknown_id_of_the_user() -> None:
    """A task that was created elsewhere: the id may be wrong."""
    given = Scenario(make_task(submit_state=SubmitState.ACCEPTED, external_id=ExternalId("mine")))
    gone = Reading(trouble=Trouble.NOT_FOUND, error=UpstreamError(message="no such task"))
    account = given.observe(10, Source.POLL, gone).observe(700, Source.POLL, gone).why(701)
    assert account["status"] == "FAILED"
    assert account["summary"] == (
        "You gave the id mine, and the service does not know it. The service has not known it for 10 min. "
        "Check the id, the route and the account."
    )


def test_an_acceptance_after_the_first_callback() -> None:
    """It is applied, not refused: the answer only came second."""
    early = Reading(status=Status.RUNNING, external_id=ExternalId("x-1"))
    accepted_late = replace(ACCEPTED, status=Status.PENDING)
    scenario = Scenario().sending().observe(1, Source.CALLBACK, early)
    account = scenario.observe(2, Source.SUBMIT, accepted_late, attempt=1).why(3)
    assert [(entry["said"], entry["outcome"]) for entry in account["heard"][1:]] == [("accepted as x-1", "applied")]
    assert account["refused"] == []


def test_canceled() -> None:
    """The upstream continues, and its later report is a conflict."""
    scenario = accepted()
    scenario.observe(
        5, Source.OPERATOR, Reading(status=Status.FAILED, reason=Reason.CANCELED, detail="canceled by hand")
    )
    scenario.observe(9, Source.CALLBACK, Reading(status=Status.SUCCEEDED, outputs=SONG))
    account = scenario.why(10)
    assert account["summary"].startswith("An operator canceled the task. The service may go on")
    assert "The service does not know that the task was canceled, and may charge for the job." in account["notes"]
    assert account["refused"][0]["why"] == "it contradicts what is final"


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
            (at(50), "It has failed 2 times: exit 1."),
        ),
    ],
)
def test_pending_hooks(delivery: DeliveryRecord, step: tuple[datetime | None, str]) -> None:
    """After the end, hooks are what happens next."""
    scenario = accepted().observe(20, Source.CALLBACK, Reading(status=Status.SUCCEEDED, outputs=SONG))
    account = scenario.why(30, [make_delivery(DeliveryStatus.SUCCEEDED), delivery])
    runs = "runs again for task.succeeded. " if step[1] else "runs for task.succeeded."
    assert account["next"] == [{"at": iso(step[0]), "what": f"The hook publish {runs}{step[1]}"}]


def test_a_running_hook() -> None:
    """It has no time."""
    scenario = accepted().observe(20, Source.CALLBACK, Reading(status=Status.SUCCEEDED, outputs=SONG))
    account = scenario.why(30, [make_delivery(DeliveryStatus.RUNNING, attempts=1)])
    assert account["next"] == [{"at": None, "what": "The hook publish is running now for task.succeeded."}]


def test_hooks_run_in_order() -> None:
    """The deliveries of one hook are one step, with the time of the first."""
    scenario = accepted().observe(20, Source.CALLBACK, Reading(status=Status.SUCCEEDED, outputs=SONG))
    waits = make_delivery(DeliveryStatus.PENDING, next_attempt_at=at(21))
    first = make_delivery(DeliveryStatus.PENDING, next_attempt_at=at(60), event="task.submitted", attempts=1, error="x")
    account = scenario.why(30, [first, waits, replace(waits, hook="other")])
    assert [(step["at"], step["what"]) for step in account["next"]] == [
        (iso(at(21)), "The hook other runs for task.succeeded."),
        (
            iso(at(60)),
            "The hook publish runs again for task.submitted, then for task.succeeded. It has failed 1 time: x.",
        ),
    ]
    (step,) = scenario.why(30, [first, waits, waits, waits])["next"]
    assert "for task.submitted, then for 3 later events." in step["what"]


def test_ended_hooks() -> None:
    """A given-up delivery is listed with the call that retries it."""
    scenario = accepted().observe(20, Source.CALLBACK, Reading(status=Status.SUCCEEDED, outputs=SONG))
    dead = make_delivery(DeliveryStatus.DEAD, attempts=12, error="exit 1", output="looking\nno such user\n \n")
    account = scenario.why(30, [dead, make_delivery(DeliveryStatus.FAILED, id="d-2", attempts=1)])
    assert account["next"] == []
    given_up, failed = account["notes"][-2:]
    assert given_up == 'The hook publish gave up on task.succeeded (tried 12 times): "no such user", exit 1.'
    assert failed == "The hook publish gave up on task.succeeded."
    assert [action["command"] for action in account["actions"]] == [
        "tracker download 01JD0000000000000000000000",
        "tracker deliveries retry d-1",
        "tracker deliveries retry d-2",
    ]


ID = "01JD0000000000000000000000"


@pytest.mark.parametrize(
    ("scenario", "commands"),
    [
        (Scenario(), [f"tracker cancel {ID}"]),
        (Scenario().sending(), []),
        (accepted(), [f"tracker poll {ID}", f"tracker cancel {ID}"]),
        (
            Scenario().sending().observe(2, Source.SUBMIT, Reading(submission=Submission.AMBIGUOUS), attempt=1),
            [f"tracker adopt {ID} THEIR-ID", f"tracker cancel {ID}"],
        ),
        (
            Scenario().sending().observe(2, Source.SUBMIT, Reading(submission=Submission.AMBIGUOUS))
            .observe(902, Source.CLOCK),
            [f"tracker adopt {ID} THEIR-ID", f"tracker resubmit {ID}"],
        ),
        (accepted().observe(9, Source.POLL, DONE), [f"tracker download {ID}"]),
        (
            accepted().observe(5, Source.CALLBACK, NO_OUTPUT).observe(400, Source.POLL, NO_OUTPUT),
            [f"tracker poll {ID}", f"tracker resubmit {ID}"],
        ),
    ],
    ids=["queued", "sending", "accepted", "ambiguous", "unknown", "succeeded", "given up"],
)  # fmt: skip
def test_what_can_be_done(scenario: Scenario, commands: list[str]) -> None:
    """The commands to type, the most useful first."""
    assert [action["command"] for action in scenario.why(1000)["actions"]] == commands


@pytest.mark.parametrize("reason", list(Reason))
def test_what_can_be_done_about_each_reason(reason: Reason) -> None:
    """A failure always leaves something to do; the same request is sent again only where that can help."""
    scenario = accepted().observe(9, Source.POLL, Reading(status=Status.FAILED, reason=reason))
    actions = scenario.why(10)["actions"]
    assert actions
    helps = reason not in {Reason.INVALID_REQUEST, Reason.POLICY_REJECTED}
    assert any(action["command"] == f"tracker resubmit {ID}" for action in actions) is helps
    assert all(action["what"][0].islower() for action in actions), "it follows 'You can'"
    foreign = replace(scenario.task, submit_attempts=0)
    elsewhere = explain(TaskHistory(foreign, scenario.events), POLICY, at(10))["actions"]
    assert not any("resubmit" in action["command"] for action in elsewhere), "created elsewhere: no request"


def test_an_id_that_a_person_named_says_nothing_about_costs() -> None:
    """The service does not know it, so whether it ever accepted a job is not known; its own ids are another matter."""
    scenario = accepted().observe(9, Source.POLL, Reading(status=Status.FAILED, reason=Reason.NOT_FOUND))
    named = replace(scenario.task, submit_attempts=0)
    assert "probably charged" not in str(explain(TaskHistory(named, scenario.events), POLICY, at(10))["notes"])
    assert "probably charged" in str(scenario.why(10)["notes"])


def test_the_next_poll_is_not_before_a_pause_ends() -> None:
    """A due task whose account pauses is asked about when the pause is over."""
    task = replace(accepted().task, due_at=at(10))
    first, *_ = explain(TaskHistory(task), POLICY, at(12), not_before=at(72))["next"]
    assert first == {"at": iso(at(72)), "what": "The tracker asks the service."}
    first, *_ = explain(TaskHistory(task), POLICY, at(5), not_before=at(7))["next"]
    assert first["at"] == iso(at(10))


def test_how_long_it_usually_takes() -> None:
    """A norm beside the time so far; a late task is named so, with its latest end. Too few samples say nothing."""
    task = accepted().task
    history, usual = TaskHistory(task), make_durations([110.0, 119.0, 125.0, 130.0] * 2)

    def notes(seconds: float, durations: Durations) -> list[str]:
        why = explain(history, POLICY, at(seconds), durations=durations)
        return [note for note in [*why["notes"], *why["details"]] if "such" in note.lower()]

    assert notes(73, usual) == ["Such a task usually takes 2:02 to 2:10. This one has taken 1:12 so far."]
    latest = f"It ends by {iso(task.progress_at + timedelta(seconds=POLICY.deadline_s))} at the latest."
    assert notes(541, usual) == [f"This task has taken 9:00 so far. Of such tasks, 95 % took at most 2:10. {latest}"]
    few = "The tracker does not know yet how long such a task usually takes (7 of 8 samples)."
    assert notes(541, make_durations([110.0] * 7)) == [few]


@pytest.mark.parametrize(
    ("line", "limit", "note"),
    [
        (WaitingLine(3, 0), 3, "3 tasks run now. This task is the next one."),
        (WaitingLine(3, 1), 3, "3 tasks run now. 1 task waits before this one."),
        (WaitingLine(3, 46), 3, "3 tasks run now. 46 tasks wait before this one."),
        (WaitingLine(5, 2), 3, "5 tasks run now. 2 tasks wait before this one."),
    ],
)
def test_a_create_that_waits_for_a_slot(line: WaitingLine, limit: int, note: str) -> None:
    """How many are in flight, how many wait before it, and how to have more run; no deadline is named."""
    task = make_task(due_at=None)
    why = explain(TaskHistory(task, line=line), POLICY, at(5000), max_in_flight=limit)
    assert why["notes"] == [f"Account default may run 3 tasks at once, and {note}"]
    assert [(step["at"], step["what"]) for step in why["next"]] == [
        (None, "The tracker sends the request when a slot of its account is free.")
    ]
    assert why["ends_by"] is None
    assert [action["command"] for action in why["actions"]] == [f"tracker cancel {ID}", "tracker config reload"]
    assert "accounts.default.max_in_flight" in why["actions"][1]["what"]
    (note, *_) = explain(TaskHistory(task, line=line), POLICY, at(1))["notes"]
    assert note.startswith("The request waits for a free slot of account default. ")
