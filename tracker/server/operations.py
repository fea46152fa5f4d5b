"""Every route of the API: the router and ``/openapi.json`` are both made from this table.

Owns methods, paths, parameters and possible responses. Must not handle anything.
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
    text_parameter("Idempotency-Key", "A repeated key never creates a second upstream job.", location="header"),
    text_parameter("Prefer", "respond-async: 202 as soon as the task is stored.", location="header"),
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
        "Get a task, at once or when it has ended",
        tasks.get_task,
        {_OK: TaskView},
        (_MISSING, _WRONG, _UNAVAILABLE),
        queries.TASK,
    ),
    Operation(
        "GET",
        "/v1/tasks/{id}/events",
        "list_events",
        "List the history of a task, oldest first",
        tasks.list_events,
        {_OK: Items[EventRecord]},
        (_MISSING, _WRONG, _UNAVAILABLE),
    ),
    Operation(
        "GET",
        "/v1/tasks/{id}/deliveries",
        "list_deliveries",
        "List the deliveries of a task, oldest first",
        tasks.list_deliveries,
        {_OK: Items[DeliveryRecord]},
        (_MISSING, _WRONG, _UNAVAILABLE),
        tag="hooks",
    ),
    Operation(
        "GET",
        "/v1/tasks/{id}/why",
        "explain_task",
        "Explain the status of a task and what happens next",
        tasks.explain_task,
        {_OK: schemas.WhyView},
        (_MISSING, _WRONG, _UNAVAILABLE),
    ),
    Operation(
        "GET",
        "/v1/tasks/{id}/outputs/{n}",
        "get_output",
        "Get an archived file, or a redirect to the upstream until it is archived",
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
        "List the archive state of a task's files",
        outputs.list_archive,
        {_OK: Items[ArchiveView]},
        (_MISSING, _WRONG, _UNAVAILABLE),
    ),
    Operation(
        "POST",
        "/v1/tasks/{id}/archive",
        "redrive_archive",
        "Archive now every file that is not stored: given up, waiting, or lost by the archive",
        outputs.redrive_archive,
        {_OK: Items[ArchiveView]},
        (_MISSING, _WRONG, _UNAVAILABLE),
    ),
    Operation(
        "POST",
        "/v1/tasks/{id}/poll",
        "poll_task",
        "Poll the upstream now",
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
        "List hooks with their health and deliveries by status",
        hooks.list_hooks,
        {_OK: schemas.HookList},
        (_WRONG, _UNAVAILABLE),
        tag="hooks",
    ),
    Operation(
        "GET",
        "/v1/deliveries",
        "list_all_deliveries",
        "List the deliveries of all tasks, newest first",
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
        "Retry all failed and dead deliveries that match; at least one filter is required",
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
        "Retry a failed or dead delivery",
        hooks.retry_delivery,
        {_OK: DeliveryRecord},
        (_MISSING, _WRONG, _UNAVAILABLE),
        tag="hooks",
    ),
    Operation(
        "GET",
        "/v1/stats",
        "get_stats",
        "Get counts by status, provider and reason, and queue depths",
        system.get_stats,
        {_OK: schemas.StatsView},
        (_WRONG, _UNAVAILABLE),
        tag="system",
    ),
    Operation(
        "GET",
        "/v1/doctor",
        "get_doctor",
        "Get the store of the daemon, and which accounts have a key",
        system.get_doctor,
        {_OK: schemas.DoctorView},
        (_WRONG,),
        tag="system",
    ),
    Operation(
        "GET",
        "/v1/routes",
        "list_routes",
        "List the known routes",
        system.list_routes,
        {_OK: Items[schemas.RouteView]},
        (_WRONG,),
        tag="system",
    ),
    Operation(
        "GET",
        "/v1/models",
        "list_models",
        "List the models of an account, as last fetched",
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
        "Fetch the model lists of an account now",
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
        "Delete the data that retention allows to delete, or count it",
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
        "Receive a callback of one task, at the address that its provider got with the request",
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
        "Receive a callback without a token: it is not trusted and only makes the tracker poll",
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
        "Check that the process responds",
        system.get_alive,
        {_OK: schemas.AliveView},
        is_open=True,
        tag="system",
    ),
    Operation(
        "GET",
        "/readyz",
        "get_ready",
        "Check that the store is writable and the scheduler runs",
        system.get_ready,
        {_OK: schemas.ReadyView, _UNAVAILABLE: schemas.NotReadyView},
        is_open=True,
        tag="system",
    ),
)
