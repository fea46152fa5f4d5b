"""Tasks, observations and their neighbours with defaults, so that a test names only what matters to it."""

# ruff: noqa: ANN401 - a factory takes whatever fields its record has

from collections.abc import Iterable
from typing import Any

from tests.kits.clock import START, after
from tracker.domain.alarms import Alarm, AlarmKind
from tracker.domain.durations import Durations
from tracker.domain.observation import Observation, Reading, Source, Submission
from tracker.domain.schedule import PollPolicy, PollTiming
from tracker.domain.task import ExternalId, Output, Reason, Status, SubmitState, Task, TaskId
from tracker.store.values import NewTask

TASK_ID = TaskId("01KAHTC1R00000000000000001")
EXTERNAL_ID = ExternalId("up-1")

POLICY = PollPolicy()
TIMING = PollTiming(policy=POLICY, suggested_interval_s=5.0)


def make_task_name(n: int) -> TaskId:
    """The n-th of a row of well-formed task ids that sort by n."""
    return TaskId(f"01KAHTC1R0{n:016d}")


def make_output(n: int = 0, **fields: Any) -> Output:
    """A song; ``n`` makes its URL."""
    return Output(**{"kind": "audio", "url": f"https://cdn.example/song-{n}.mp3", "mime": "audio/mpeg", **fields})


def make_task(**fields: Any) -> Task:
    """An accepted song without a reported status; a given status sets the fields that belong to it."""
    status = fields.get("status", Status.PENDING)
    defaults: dict[str, Any] = {
        "id": TASK_ID,
        "route": "suno.generate",
        "provider": "suno",
        "account": "default",
        "asset": "song",
        "created_at": START,
        "progress_at": START,
        "external_id": EXTERNAL_ID,
        "submit_state": SubmitState.ACCEPTED,
        "submitted_at": START,
        "due_at": after(5) if not status.is_terminal else None,
    }
    if status is not Status.PENDING:
        defaults["started_at"] = START
    if status.is_terminal:
        defaults["finished_at"] = START
    if status is Status.FAILED:
        defaults |= {"reason": Reason.GENERATION_FAILED, "retryable": True}
    if status is Status.SUCCEEDED:
        defaults |= {"outputs": (make_output(),), "progress": 100}
    return Task(**{**defaults, **fields})


def make_sent_task(**fields: Any) -> Task:
    """A song whose create is on the wire, its callback address with it."""
    defaults: dict[str, Any] = {
        "external_id": None,
        "submitted_at": None,
        "submit_state": SubmitState.SENDING,
        "submit_attempts": 1,
        "expects_callback": True,
    }
    return make_task(**{**defaults, **fields})


def make_durations(times_s: Iterable[float], **fields: Any) -> Durations:
    """What is learned from songs that took so long each, from their acceptance to the callback that ended them."""
    of_each = {"status": Status.SUCCEEDED, "submit_attempts": 1, "ended_by": Source.CALLBACK, **fields}
    return Durations().learn(make_task(**{**of_each, "finished_at": after(time_s)}) for time_s in times_s)[0]


def make_reading(status: Status | None = None, **fields: Any) -> Reading:
    """What a provider reports; a success has an output by default."""
    if status is Status.SUCCEEDED:
        fields.setdefault("outputs", (make_output(),))
    if status is Status.FAILED:
        fields.setdefault("reason", Reason.GENERATION_FAILED)
    return Reading(status=status, **fields)


_OF_OBSERVATION = frozenset({"task_id", "payload", "is_trusted", "attempt"})


def make_observation(
    status: Status | None = None, *, source: Source = Source.POLL, at: float = 10.0, **fields: Any
) -> Observation:
    """An observation ``at`` seconds after `START`; further fields are those of the reading or the observation."""
    own = {name: fields.pop(name) for name in _OF_OBSERVATION & fields.keys()}
    own.setdefault("task_id", TASK_ID)
    return Observation(source=source, observed_at=after(at), reading=make_reading(status, **fields), **own)


def make_answer(submission: Submission, *, at: float = 1.0, attempt: int = 1, **fields: Any) -> Observation:
    """The answer to a create; an accepted one names an upstream id by default."""
    if submission is Submission.ACCEPTED:
        fields.setdefault("external_id", EXTERNAL_ID)
    return make_observation(
        fields.pop("status", None), source=Source.SUBMIT, at=at, attempt=attempt, submission=submission, **fields
    )


def make_cancel(at: float = 10.0, task_id: TaskId = TASK_ID) -> Observation:
    """An operator's cancellation."""
    return make_observation(
        Status.FAILED, source=Source.OPERATOR, at=at, task_id=task_id, reason=Reason.CANCELED, retryable=False
    )


def make_new_task(n: int = 1, **fields: Any) -> NewTask:
    """A song about to be recorded and sent; ``n`` makes its id."""
    defaults: dict[str, Any] = {
        "id": make_task_name(n),
        "route": "suno.generate",
        "provider": "suno",
        "account": "default",
        "asset": "song",
        "created_at": START,
        "due_at": after(60),
        "submit_state": SubmitState.QUEUED,
        "request": '{"prompt":"a song about rain"}',
        "model": "V5",
        "expects_callback": True,
    }
    return NewTask(**{**defaults, **fields})


def make_registration(n: int = 1, external_id: str = EXTERNAL_ID, **fields: Any) -> NewTask:
    """A song that was created elsewhere, about to be followed."""
    defaults: dict[str, Any] = {
        "external_id": ExternalId(external_id),
        "submit_state": SubmitState.ACCEPTED,
        "request": None,
        "model": None,
        "expects_callback": False,
        "due_at": START,
    }
    return make_new_task(n, **{**defaults, **fields})


def make_alarm(kind: AlarmKind = AlarmKind.DISK_LOW, subject: str = "/srv", **changes: Any) -> Alarm:
    """An alarm that was raised at `START`."""
    fields = {"since": START, "message": "The disk is nearly full.", "fix": "Free some space."}
    return Alarm(kind=kind, subject=subject, **{**fields, **changes})
