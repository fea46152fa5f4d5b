"""Every route of the API, once: the router and ``/openapi.json`` are both made from this table.

Owns what is called by which method and path, and what it may answer. Must not handle anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from tracker.domain.records import ArchiveView, DeliveryRecord, EventRecord, TaskView
from tracker.server import ai_models, hooks, outputs, queries, schemas, system, tasks
from tracker.server.queries import Parameter, text_parameter
from tracker.server.schemas import Items, Page

if TYPE_CHECKING:
    from tracker.server.services import Services

Handler = Callable[["Services", web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        handler: None for callbacks, see `tracker.server.callbacks`.
        answers: status -> schema of the response.
        problems: statuses with problem details, besides those that every operation can have.
        bodies: the schemas of the request body, one for each kind.
        is_open: no token is required.
        plain: statuses with a response that is not JSON -> its media type, "" for no body.
    """

    method: str
    path: str
    name: str
    summary: str
    handler: Handler | None
    answers: Mapping[HTTPStatus, type]
    problems: tuple[HTTPStatus, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    bodies: tuple[type, ...] = ()
    any_body: bool = False
    is_open: bool = False
    plain: Mapping[HTTPStatus, str] = field(default_factory=dict)
    tag: str = field(default="tasks")


_OK = HTTPStatus.OK
_CREATED = HTTPStatus.CREATED
_ACCEPTED = HTTPStatus.ACCEPTED
_MALFORMED = HTTPStatus.BAD_REQUEST
_UNAUTHORIZED = HTTPStatus.UNAUTHORIZED
_MISSING = HTTPStatus.NOT_FOUND
_TOO_SLOW = HTTPStatus.REQUEST_TIMEOUT
_CONFLICT = HTTPStatus.CONFLICT
_GONE = HTTPStatus.GONE
_TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
_WRONG = HTTPStatus.UNPROCESSABLE_ENTITY
_TOO_MANY = HTTPStatus.TOO_MANY_REQUESTS
_UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE

_SUBMIT_HEADERS: Final = (
    text_parameter("Idempotency-Key", "The same key never makes a second upstream job.", location="header"),
    text_parameter("Prefer", "respond-async: 202 as soon as the intent is on disk.", location="header"),
)
_FILE_HEADERS: Final = (
    text_parameter("Range", "bytes=FIRST-LAST, one range.", location="header"),
    text_parameter("If-None-Match", "304 when the file has this entity tag.", location="header"),
)

OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(
        "POST",
        "/v1/tasks",
        "create_task",
        "Create a job upstream and follow it, or follow one that was created elsewhere",
        tasks.create_task,
        {_CREATED: TaskView, _ACCEPTED: TaskView, _OK: TaskView},
        (_MALFORMED, _TOO_SLOW, _CONFLICT, _TOO_LARGE, _WRONG, _UNAVAILABLE),
        _SUBMIT_HEADERS,
        (schemas.SubmitBody, schemas.RegisterBody),
    ),
    Operation(
        "GET",
        "/v1/tasks",
        "list_tasks",
        "List tasks, newest first",
        tasks.list_tasks,
        {_OK: Page[TaskView]},
        (_WRONG, _UNAVAILABLE),
        queries.TASK_LIST,
    ),
    Operation(
        "GET",
        "/v1/tasks/{id}",
        "get_task",
        "One task, at once or when it has ended",
        tasks.get_task,
        {_OK: TaskView},
        (_MISSING, _WRONG, _UNAVAILABLE),
        queries.TASK,
    ),
    Operation(
        "GET",
        "/v1/tasks/{id}/events",
        "list_events",
        "The history of a task, oldest first",
        tasks.list_events,
        {_OK: Items[EventRecord]},
        (_MISSING, _WRONG, _UNAVAILABLE),
    ),
    Operation(
        "GET",
        "/v1/tasks/{id}/deliveries",
        "list_deliveries",
        "The hook runs of a task, oldest first",
        tasks.list_deliveries,
        {_OK: Items[DeliveryRecord]},
        (_MISSING, _WRONG, _UNAVAILABLE),
        tag="hooks",
    ),
    Operation(
        "GET",
        "/v1/tasks/{id}/why",
        "explain_task",
        "Why a task is where it is, and what happens next",
        tasks.explain_task,
        {_OK: schemas.WhyView},
        (_MISSING, _WRONG, _UNAVAILABLE),
    ),
    Operation(
        "GET",
        "/v1/tasks/{id}/outputs/{n}",
        "get_output",
        "The archived file, or the way to the upstream's while it is not archived",
        outputs.get_output,
        {},
        (_MISSING, _CONFLICT, _GONE, _WRONG, _UNAVAILABLE),
        _FILE_HEADERS,
        plain={
            _OK: "application/octet-stream",
            HTTPStatus.PARTIAL_CONTENT: "application/octet-stream",
            HTTPStatus.FOUND: "",
            HTTPStatus.NOT_MODIFIED: "",
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "",
        },
    ),
    Operation(
        "GET",
        "/v1/tasks/{id}/archive",
        "list_archive",
        "How far the archive has come with a task's files",
        outputs.list_archive,
        {_OK: Items[ArchiveView]},
        (_MISSING, _WRONG, _UNAVAILABLE),
    ),
    Operation(
        "POST",
        "/v1/tasks/{id}/archive",
        "redrive_archive",
        "Archive now what is not safe: what was given up, what waits, what the archive has lost",
        outputs.redrive_archive,
        {_OK: Items[ArchiveView]},
        (_MISSING, _WRONG, _UNAVAILABLE),
    ),
    Operation(
        "POST",
        "/v1/tasks/{id}/poll",
        "poll_task",
        "Ask the upstream now",
        tasks.poll_task,
        {_OK: TaskView},
        (_MISSING, _WRONG, _UNAVAILABLE),
    ),
    Operation(
        "POST",
        "/v1/tasks/{id}/cancel",
        "cancel_task",
        "Stop following a task: it becomes FAILED with reason canceled",
        tasks.cancel_task,
        {_OK: TaskView},
        (_MISSING, _CONFLICT, _WRONG, _UNAVAILABLE),
    ),
    Operation(
        "GET",
        "/v1/hooks",
        "list_hooks",
        "Every hook with its health and its deliveries by status",
        hooks.list_hooks,
        {_OK: schemas.HookList},
        (_WRONG, _UNAVAILABLE),
        tag="hooks",
    ),
    Operation(
        "GET",
        "/v1/deliveries",
        "list_all_deliveries",
        "The hook runs of all tasks, newest first",
        hooks.list_all_deliveries,
        {_OK: Page[DeliveryRecord]},
        (_WRONG, _UNAVAILABLE),
        queries.DELIVERY_LIST,
        tag="hooks",
    ),
    Operation(
        "POST",
        "/v1/deliveries/retry",
        "retry_deliveries",
        "Run all failed and dead deliveries that match again; wants at least one filter",
        hooks.retry_deliveries,
        {_OK: schemas.RetriedView},
        (_WRONG, _UNAVAILABLE),
        queries.DELIVERY_RETRY,
        tag="hooks",
    ),
    Operation(
        "POST",
        "/v1/deliveries/{id}/retry",
        "retry_delivery",
        "Run a failed or dead delivery again",
        hooks.retry_delivery,
        {_OK: DeliveryRecord},
        (_MISSING, _WRONG, _UNAVAILABLE),
        tag="hooks",
    ),
    Operation(
        "GET",
        "/v1/stats",
        "get_stats",
        "Counts by status, provider and reason; queue depths",
        system.get_stats,
        {_OK: schemas.StatsView},
        (_WRONG, _UNAVAILABLE),
        tag="system",
    ),
    Operation(
        "GET",
        "/v1/doctor",
        "get_doctor",
        "Which store the daemon serves, and which accounts have a key",
        system.get_doctor,
        {_OK: schemas.DoctorView},
        (_WRONG,),
        tag="system",
    ),
    Operation(
        "GET",
        "/v1/routes",
        "list_routes",
        "Every known route",
        system.list_routes,
        {_OK: Items[schemas.RouteView]},
        (_WRONG,),
        tag="system",
    ),
    Operation(
        "GET",
        "/v1/models",
        "list_models",
        "The models that an account can use, as they were last fetched",
        ai_models.list_models,
        {_OK: schemas.ModelCatalogue},
        (_WRONG,),
        parameters=queries.ACCOUNT,
        tag="system",
    ),
    Operation(
        "POST",
        "/v1/models/sync",
        "sync_models",
        "Fetch an account's lists of models now",
        ai_models.sync_models,
        {_OK: schemas.ModelCatalogue},
        (_WRONG, _UNAVAILABLE),
        parameters=queries.ACCOUNT,
        tag="system",
    ),
    Operation(
        "POST",
        "/v1/prune",
        "prune",
        "Drop what retention no longer keeps, or count it",
        system.prune,
        {_OK: schemas.PrunedView},
        (_MALFORMED, _TOO_SLOW, _TOO_LARGE, _WRONG, _UNAVAILABLE),
        bodies=(schemas.PruneBody,),
        tag="system",
    ),
    Operation(
        "POST",
        "/callbacks/{provider}/{token}",
        "receive_callback",
        "The callback target of one task, handed to its provider at submit",
        None,
        {_OK: schemas.AppliedView, _ACCEPTED: schemas.QueuedView},
        (_MALFORMED, _UNAUTHORIZED, _MISSING, _TOO_SLOW, _TOO_LARGE, _UNAVAILABLE),
        any_body=True,
        is_open=True,
        tag="callbacks",
    ),
    Operation(
        "POST",
        "/callbacks/{provider}",
        "receive_hint",
        "A callback without a token: never believed, it only makes the tracker poll",
        None,
        {_ACCEPTED: schemas.QueuedView},
        (_MALFORMED, _UNAUTHORIZED, _MISSING, _TOO_SLOW, _TOO_LARGE, _TOO_MANY, _UNAVAILABLE),
        any_body=True,
        is_open=True,
        tag="callbacks",
    ),
    Operation(
        "GET",
        "/healthz",
        "get_alive",
        "The process answers",
        system.get_alive,
        {_OK: schemas.AliveView},
        is_open=True,
        tag="system",
    ),
    Operation(
        "GET",
        "/readyz",
        "get_ready",
        "The store is writable and the scheduler runs",
        system.get_ready,
        {_OK: schemas.ReadyView, _UNAVAILABLE: schemas.NotReadyView},
        is_open=True,
        tag="system",
    ),
)
