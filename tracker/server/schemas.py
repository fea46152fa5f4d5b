"""The schemas of the API: request bodies with their checks, and those responses that are not records.

The public forms of records are in `tracker.domain.records`. Owns the descriptions in ``/openapi.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from tracker.domain.ai_models import Model
from tracker.domain.alarms import Alarm
from tracker.domain.attempts import DeliveryDetail
from tracker.domain.pruning import Pruned
from tracker.domain.records import (
    ArchiveView,
    CostView,
    EventRecord,
    HookView,
    IgnoredFileView,
    Json,
    TaskView,
)
from tracker.domain.route_views import RouteView
from tracker.domain.scopes import Scope
from tracker.domain.statuses import Reason
from tracker.errors import FieldProblem, RequestInvalid

Reasons = Annotated[list[str], Meta(description="Why it is not ready, one sentence each; if ready, what needs care.")]
InstanceId = Annotated[str, Meta(description="An id of the store; it never changes, and a restored backup has it too.")]
Alarms = Annotated[int, Meta(description="How many alarms are raised.")]

PLAIN = r"^[^\x00-\x1f\x7f]*$"
"""No control characters: these texts are used in environments of hooks, in URLs and on terminals."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=PLAIN)]
LabelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
LabelValue = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[^\x00]*$")]
Labels = Annotated[dict[LabelName, LabelValue], Field(max_length=64)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=PLAIN)]


class Body(BaseModel):
    """A request body: unknown fields are errors, and no value is converted."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


B = TypeVar("B", bound=Body)


class SubmitBody(Body):
    """Creates a new paid job upstream and follows it."""

    route: Name = Field(examples=["suno.generate"])
    request: dict[str, Any] = Field(description="The provider's own body.")
    labels: Labels = Field(default_factory=dict)
    account: Name | None = Field(default=None, description="The configured account; by default that of the provider.")
    idempotency_key: Key | None = Field(default=None, description="May also be the Idempotency-Key header.")
    dry_run: bool = Field(
        default=False, description="Only check: 204, its price in the header Tracker-Price, or 200 for a known key."
    )


class RegisterBody(Body):
    """Follows a job that was created elsewhere."""

    route: Name = Field(examples=["kling.omni-video"])
    external_id: Annotated[str, StringConstraints(min_length=1, pattern=PLAIN)]
    labels: Labels = Field(default_factory=dict)
    account: Name | None = None


class ResubmitBody(Body):
    """Sends the request of a task again, as a new paid job."""

    confirm: bool = Field(default=False, description="Must be true: a resubmit costs money.")


class AdoptBody(Body):
    """Gives a task whose create got no clear answer its upstream id."""

    external_id: Annotated[str, StringConstraints(min_length=1, pattern=PLAIN)]


def _refuse_resubmit(action: object) -> object:
    if action == "resubmit":
        raise ValueError("cannot be resubmit: each task would be paid again; resubmit them one by one")
    return action


class ActionBody(Body):
    """Acts on all tasks that match a filter."""

    action: Annotated[Literal["poll", "cancel", "retry-deliveries"], BeforeValidator(_refuse_resubmit)] = Field(
        description="poll and cancel: the unfinished tasks, poll also those given up if FAILED ones are asked for; "
        "retry-deliveries: their failed and dead deliveries."
    )
    filter: dict[str, str] = Field(
        description="The filters of the list of tasks by name, for example route or label.NAME; at least one.",
        examples=[{"route": "suno.generate", "label.user": "42"}],
    )
    dry_run: bool = Field(default=False, description="Only count.")


class PruneBody(Body):
    """Deletes the data that retention allows to delete."""

    dry_run: bool = Field(default=False, description="Only count.")


class ModelCatalogue(Struct):
    """The models of an account, and how old the list is."""

    account: str
    synced_at: datetime | None
    age_s: float | None
    items: list[Model]
    problems: list[str]


@dataclass(frozen=True, slots=True)
class PrunedView(Pruned):
    """What was dropped, or would be."""

    dry_run: bool = False


class HookList(Struct):
    """Every hook: configured, dropped in, or named by deliveries alone; and the files that are not run."""

    items: list[HookView]
    ignored: list[IgnoredFileView]


class ActedView(Struct):
    """What an action on many tasks did."""

    matched: Annotated[int, Meta(description="How many tasks or deliveries match.")]
    done: Annotated[int, Meta(description="How many were polled, canceled or retried; 0 in a dry run.")]


class ExportedEventView(EventRecord, frozen=True, kw_only=True, rename={"from_status": "from", "to_status": "to"}):
    """An event, and what a replay needs of it."""

    reading: Annotated[dict[str, Any], Meta(description="What was understood of it.")]
    is_judged: Annotated[bool, Meta(description="False for a repetition and for a note about files.")]
    is_trusted: Annotated[bool, Meta(description="False for a callback that could not end the task.")]


class ExportView(Struct):
    """All that is stored of a task, without secrets: for tracker replay."""

    format: Annotated[str, Meta(description="The format of this document.")]
    tracker: Annotated[str, Meta(description="The version of the program.")]
    schema: Annotated[int, Meta(description="The version of the store's schema.")]
    exported_at: Annotated[datetime, Meta(description="When.")]
    route: Annotated[RouteView | None, Meta(description="Its route; null if it is no longer known.")]
    task: Annotated[TaskView, Meta(description="The task.")]
    events: Annotated[list[ExportedEventView], Meta(description="Its history, oldest first.")]
    deliveries: Annotated[list[DeliveryDetail], Meta(description="Its hook runs, oldest first.")]
    archives: Annotated[list[ArchiveView], Meta(description="The copies of its outputs.")]
    state: Annotated[dict[str, Any], Meta(description="The task as the state machine sees it.")]


class RetriedView(Struct):
    """How many deliveries became pending."""

    retried: int


class StatsView(Struct):
    """Counts by status, provider and reason; queue depths; the oldest due poll."""


class ReportItem(Struct, kw_only=True):
    """The tasks with the same properties; labels are members too, named ``label.NAME``."""

    route: str | UnsetType = UNSET
    account: str | UnsetType = UNSET
    model: str | UnsetType | None = UNSET
    day: Annotated[str | UnsetType, Meta(description="The day of their creation, in UTC.")] = UNSET
    reason: Reason | UnsetType | None = UNSET
    succeeded: Annotated[int, Meta(description="How many SUCCEEDED.")]
    failed: Annotated[int, Meta(description="How many FAILED.")]
    active: Annotated[int, Meta(description="How many have not ended.")]
    p50_s: Annotated[float | None, Meta(description="Half of the successes took so long at most, in seconds.")]
    p95_s: Annotated[float | None, Meta(description="95 % of the successes took so long at most, in seconds.")]
    cost: Annotated[CostView | None, Meta(description="What they cost; an estimate if one of them is.")]
    other_costs: Annotated[list[CostView], Meta(description="The same in other currencies, if there are several.")]


class ReportView(Struct):
    """Sums of tasks, the largest groups first; by days in their order."""

    items: list[ReportItem]
    notice: Annotated[str, Meta(description="Only if something is missing: what, and how to see it.")] | UnsetType = (
        UNSET
    )


class AppliedView(Struct):
    """The outcome of a callback that is stored."""

    outcome: Literal["applied", "duplicate", "stale", "conflict"]


class QueuedView(Struct):
    """The outcome of a callback that only makes the tracker poll: now, or once its task appears."""

    outcome: Literal["parked", "polling"]


class AliveView(Struct):
    """The process responds."""

    status: Annotated[str, Meta(extra_json_schema={"const": "alive"})]


class ReadyView(Struct):
    """Whether the daemon takes callbacks and polls, and for which store."""

    ready: bool
    reasons: Reasons
    instance: InstanceId
    alarms: Alarms


class AccountView(Struct):
    """An account, for `tracker doctor` and `tracker status`."""

    name: str
    base_url: str
    has_key: Annotated[bool, Meta(description="Whether the daemon has its API key.")]
    alarm: Annotated[str | None, Meta(description="Why the upstream refuses it, one sentence.")]


class DoctorView(Struct):
    """The state of the daemon's process, for `tracker doctor` and `tracker status`."""

    version: str
    pid: int
    started_at: datetime
    store: Annotated[str, Meta(description="The path of the database, as the daemon sees it.")]
    instance: Annotated[str, Meta(description="The id of the store, as in /readyz.")]
    alarms: Annotated[list[Alarm], Meta(description="As in /v1/alarms.")]
    disk_free_bytes: Annotated[int | None, Meta(description="Free space of the file system of the store.")]
    accounts: list[AccountView]
    tokens: Annotated[list[TokenView], Meta(description="Those with a name.")]


class TokenView(Struct):
    """A token of the configuration."""

    name: str
    scope: Annotated[Scope, Meta(description="What it allows: admin includes submit, and submit includes read.")]
    is_set: Annotated[bool, Meta(description="Whether the daemon has its value.")]


class ProblemView(Struct, kw_only=True):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    errors: Annotated[list[FieldProblem] | UnsetType, Meta(description="Wrong fields, for bad input.")] = UNSET


class NotReadyView(ProblemView, kw_only=True):
    """Why the daemon takes no callbacks and polls now, and for which store."""

    ready: bool
    reasons: Reasons
    instance: InstanceId
    alarms: Alarms


class OverBudgetView(ProblemView, kw_only=True):
    """The submit does not fit into the budget of its account; nothing was recorded or sent."""

    reason: Annotated[Reason, Meta(description="Always quota_exhausted.")]


PROBLEMS = (ProblemView, NotReadyView, OverBudgetView)
OPEN = (StatsView, ReportItem, *PROBLEMS)
"""Answers that may gain members; all others have exactly these, always all of them unless they can be UNSET."""


def parse_new_task(value: Json) -> SubmitBody | RegisterBody:
    """The body of ``POST /v1/tasks`` in one of its two forms; ``external_id`` makes it a registration.

    Raises:
        RequestInvalid: with every wrong field.
    """
    is_registration = isinstance(value, dict) and "external_id" in value
    if is_registration and "request" in value:
        message = "either request (create a job) or external_id (follow one), not both"
        raise RequestInvalid([FieldProblem(("external_id",), message)])
    return parse_body(RegisterBody, value) if is_registration else parse_body(SubmitBody, value)


def parse_body(form: type[B], value: Json) -> B:
    """A request body.

    Raises:
        RequestInvalid: with every wrong field.
    """
    if not isinstance(value, dict):
        raise RequestInvalid([FieldProblem(("body",), "must be a JSON object")])
    try:
        return form.model_validate(value)
    except ValidationError as error:
        raise RequestInvalid(_field_problems(error, form)) from None


def _field_problems(error: ValidationError, form: type[Body]) -> list[FieldProblem]:
    """The errors of pydantic without the values, which may be secret or huge."""
    problems = []
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        loc = tuple(part for part in found["loc"] if part != "[key]")
        match found["type"]:
            case "missing" if loc == ("request",):
                message = "is required (or external_id, to follow a job that was created elsewhere)"
            case "missing":
                message = "is required"
            case "extra_forbidden":
                message = f"is unknown; known are {', '.join(form.model_fields)}"
            case _:
                message = found["msg"].removeprefix("Value error, ")
                message = message[:1].lower() + message[1:]
        problems.append(FieldProblem(loc, message))
    return problems
