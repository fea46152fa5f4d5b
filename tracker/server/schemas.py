"""The shapes of the API: what request bodies must be, and what answers are.

Owns the schemas behind ``/openapi.json`` and the checks of request bodies. The answers themselves are built by
`tracker.domain.records`; tests hold them against these models.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from tracker.domain.archives import ArchiveState
from tracker.domain.observation import Source
from tracker.domain.records import DeliveryStatus, Json
from tracker.domain.task import Reason, Stage, Status
from tracker.domain.transitions import Outcome
from tracker.errors import FieldProblem
from tracker.server.responses import bad_input

PLAIN = r"^[^\x00-\x1f\x7f]*$"
"""No control characters: such texts end up in environments of hooks, in URLs and on terminals."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=PLAIN)]
LabelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
LabelValue = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[^\x00]*$")]
Labels = Annotated[dict[LabelName, LabelValue], Field(max_length=64)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=PLAIN)]


class Body(BaseModel):
    """A request body: every field counts, and none is converted."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class SubmitBody(Body):
    """Creates a new paid job upstream and follows it."""

    route: Name = Field(examples=["suno.generate"])
    request: dict[str, Any] = Field(description="The provider's own body.")
    labels: Labels = Field(default_factory=dict)
    account: Name | None = Field(default=None, description="The configured account; the provider's if absent.")
    idempotency_key: Key | None = Field(default=None, description="May also be the Idempotency-Key header.")


class RegisterBody(Body):
    """Follows a job that was created elsewhere."""

    route: Name = Field(examples=["kling.omni-video"])
    external_id: Annotated[str, StringConstraints(min_length=1, pattern=PLAIN)]
    labels: Labels = Field(default_factory=dict)
    account: Name | None = None


class PruneBody(Body):
    """Drops what retention no longer keeps."""

    dry_run: bool = Field(default=False, description="Only count.")


class Answer(BaseModel):
    """An answer: exactly these members, always all of them unless they say otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class UpstreamErrorView(Answer):
    """The upstream's own word on a failure."""

    code: str | None
    message: str | None
    http_status: int | None


class OutputView(Answer):
    """A file or a text that a task produced."""

    n: int
    kind: str
    url: str | None
    mime: str | None
    title: str | None
    duration_s: float | None
    archived: bool
    path: str | None
    bytes: int | None
    sha256: str | None
    text: str = Field(default="", description="Only for kind text.")


class TaskView(Answer):
    """A task as it stands."""

    id: str
    route: str
    provider: str
    account: str
    external_id: str | None
    status: Status
    stage: Stage | None
    progress: int | None
    reason: Reason | None
    error: UpstreamErrorView | None
    retryable: bool | None
    user_message: str
    outputs: list[OutputView]
    request: Any
    result: Any
    labels: dict[str, str]
    model: str | None
    created_at: str
    submitted_at: str | None
    started_at: str | None
    finished_at: str | None
    next_poll_at: str | None
    polls: int
    callbacks: int
    version: int


class TaskPage(Answer):
    """Tasks, newest first."""

    items: list[TaskView]
    next_cursor: str | None


class EventView(Answer):
    """One entry of a task's history."""

    seq: int
    task_id: str
    at: str
    source: Source
    stage: Stage | None
    outcome: Outcome
    from_: Status = Field(alias="from")
    to: Status
    detail: str
    payload: Any


class EventList(Answer):
    """The history of a task, oldest first."""

    items: list[EventView]


class DeliveryView(Answer):
    """One run of a hook for one event."""

    id: str
    task_id: str
    seq: int
    hook: str
    event: str
    status: DeliveryStatus
    attempts: int
    next_attempt_at: str | None
    error: str | None
    output: str | None
    created_at: str
    finished_at: str | None


class DeliveryList(Answer):
    """The hook runs of a task, oldest first."""

    items: list[DeliveryView]


class RouteView(Answer):
    """One creation route of an upstream."""

    route: str
    provider: str
    create: str
    query: str | None
    mode: Literal["task", "sync"]
    callback: bool
    signature: str | None
    source: str


class RouteList(Answer):
    """Every known route."""

    items: list[RouteView]


class ModelView(Answer):
    """One model."""

    id: str
    family: str
    display_name: str | None
    type: str | None
    created_at: str | None


class ModelCatalogue(Answer):
    """The models of an account, and how old the list is."""

    account: str
    synced_at: str | None
    age_s: float | None
    items: list[ModelView]
    problems: list[str]


class PrunedView(Answer):
    """What was dropped, or would be; the rows of tasks stay."""

    dry_run: bool
    tasks: int = Field(description="Whose history or bodies it was.")
    events: int
    deliveries: int
    payloads: int = Field(description="Upstream bodies of events that stay.")
    requests: int
    files: int
    file_bytes: int
    freed_bytes: int = Field(description="What the database file gave back.")


class OpenAnswer(BaseModel):
    """An answer that may gain members."""

    model_config = ConfigDict(extra="allow", frozen=True)


class HeardView(Answer):
    """What one source said, and what became of it."""

    at: str
    source: Source
    said: str
    outcome: Outcome


class RefusedView(Answer):
    """What was heard and changed nothing."""

    at: str
    what: str
    why: str


class NextView(Answer):
    """What happens next, and when."""

    at: str | None
    what: str


class WhyView(Answer):
    """Why a task is where it is."""

    id: str
    status: Status
    summary: str
    heard: list[HeardView]
    refused: list[RefusedView]
    next: list[NextView]
    ends_by: str | None
    notes: list[str]


class ArchiveView(Answer):
    """An output on its way into the archive."""

    n: int
    state: ArchiveState
    attempts: int
    next_attempt_at: str | None
    expires_at: str | None
    error: str | None
    path: str | None
    bytes: int | None
    sha256: str | None


class ArchiveList(Answer):
    """The files of a task, in the order of its outputs."""

    items: list[ArchiveView]


class StatsView(OpenAnswer):
    """Counts by status, provider and reason; queue depths; the oldest due poll."""


class Applied(Answer):
    """What became of a callback that is on disk now."""

    outcome: Literal["applied", "duplicate", "stale", "conflict"]


class Heard(Answer):
    """A callback that only makes the tracker ask: now, or once its task appears."""

    outcome: Literal["parked", "polling"]


class AliveView(Answer):
    """The process answers."""

    status: Literal["alive"]


class ReadyView(Answer):
    """Whether the daemon takes callbacks and polls, and for which store."""

    ready: bool
    reasons: list[str] = Field(description="Why it is not ready, one sentence each; when ready, what to look after.")
    instance: str = Field(description="An id of the store; it never changes, and a restored backup keeps it.")
    alarms: int = Field(description="How many alarms are raised.")


class AccountKeyView(Answer):
    """An account, as far as a checklist asks."""

    name: str
    has_key: bool = Field(description="Whether the daemon has its API key.")


class DoctorView(Answer):
    """What only the daemon knows of itself; `tracker doctor` asks for it."""

    version: str
    pid: int
    store: str = Field(description="The path of the database, as the daemon sees it.")
    instance: str = Field(description="The id of the store, as in /readyz.")
    accounts: list[AccountKeyView]


class FieldProblemView(Answer):
    """One wrong field."""

    loc: list[str | int]
    msg: str


class ProblemView(OpenAnswer):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblemView] = Field(default_factory=list, description="Wrong fields, for bad input.")


class NotReadyView(ProblemView):
    """Why the daemon takes no callbacks and polls now, and for which store."""

    ready: bool
    reasons: list[str] = Field(description="Why it is not ready, one sentence each.")
    instance: str = Field(description="An id of the store; it never changes, and a restored backup keeps it.")
    alarms: int = Field(description="How many alarms are raised.")


def parse_new_task(value: Json) -> SubmitBody | RegisterBody:
    """The body of ``POST /v1/tasks`` in one of its two forms; ``external_id`` makes it a registration.

    Raises:
        Problem: 422 with every wrong field.
    """
    if not isinstance(value, dict):
        raise bad_input([FieldProblem(("body",), "is a JSON object")])
    if "external_id" in value and "request" in value:
        raise bad_input(
            [FieldProblem(("external_id",), "either request (create a job) or external_id (follow one), not both")]
        )
    form = RegisterBody if "external_id" in value else SubmitBody
    try:
        return form.model_validate(value)
    except ValidationError as error:
        raise bad_input(_field_problems(error, form)) from None


def parse_prune(value: Json) -> PruneBody:
    """The body of ``POST /v1/prune``.

    Raises:
        Problem: 422 with every wrong field.
    """
    if not isinstance(value, dict):
        raise bad_input([FieldProblem(("body",), "is a JSON object")])
    try:
        return PruneBody.model_validate(value)
    except ValidationError as error:
        raise bad_input(_field_problems(error, PruneBody)) from None


def _field_problems(error: ValidationError, form: type[Body]) -> list[FieldProblem]:
    """Pydantic's findings in our words, without the values: they may be secret, and they may be huge."""
    problems = []
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        loc = tuple(part for part in found["loc"] if part != "[key]")
        match found["type"]:
            case "missing" if loc == ("request",):
                words = "is required (or external_id, to follow a job that was created elsewhere)"
            case "missing":
                words = "is required"
            case "extra_forbidden":
                words = f"is unknown; known are {', '.join(form.model_fields)}"
            case _:
                message = found["msg"]
                words = message[:1].lower() + message[1:]
        problems.append(FieldProblem(loc, words))
    return problems
