"""Every route of the API: the router and ``/openapi.json`` are both made from this table.

Owns methods, paths, parameters and possible responses. Must not handle anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from tracker.domain.alarms import Alarm
from tracker.domain.attempts import DeliveryDetail
from tracker.domain.lists import Feed, Items, Page
from tracker.domain.records import ArchiveView, DeliveryRecord, EventRecord, TaskView
from tracker.domain.route_views import RouteDetail, RouteView
from tracker.domain.scopes import Scope
from tracker.domain.why import WhyView
from tracker.providers.registry import PROVIDERS
from tracker.server import actions, ai_models, hooks, outputs, queries, report, routes, schemas, streams, system, tasks
from tracker.server.access import READS
from tracker.server.callbacks import CallbackHandlers
from tracker.server.queries import Parameter

_FILE: Final = "application/octet-stream"
READ, SUBMIT, ADMIN, OPEN = Scope.READ, Scope.SUBMIT, Scope.ADMIN, None
"""What a token must allow. Bulk actions, hooks, retention and lists of models are for administrators."""
_METRICS: Final = "text/plain, application/openmetrics-text"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        scope: what a token must allow, where tokens are configured; None: no token is required.
        handler: its name is the operation's id, and the first line of its docstring the summary.
        responses: status -> schema of the response.
        problems: statuses with problem details, besides those that follow from the rest, see `list_problems`.
        bodies: the schemas of the request body, one for each kind.
        examples: request bodies by name.
        plain: statuses with a response that is not JSON -> its media types with commas between, "" for no body.
        description: what a schema cannot say.
    """

    method: str
    path: str
    scope: Scope | None
    handler: Callable[..., Awaitable[web.StreamResponse]]
    responses: Mapping[int, type]
    problems: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    bodies: tuple[type, ...] = ()
    examples: Mapping[str, Any] = field(default_factory=dict)
    plain: Mapping[int, str] = field(default_factory=dict)
    tag: str = "tasks"
    description: str = ""

    @property
    def name(self) -> str:
        """The id of the operation."""
        return self.handler.__name__

    @property
    def summary(self) -> str:
        """What it does, one line."""
        return (self.handler.__doc__ or "").partition("\n")[0].removesuffix(".")

    @property
    def is_callback(self) -> bool:
        """Whether a provider calls it; it takes any JSON."""
        return self.tag == "callbacks"

    def list_problems(self) -> list[HTTPStatus]:
        """The statuses with problem details, without those that have a schema of their own."""
        found = {500, *self.problems}
        if self.scope is not None:
            found |= {401, 403, 422} | (set() if self.method in READS else {415})
        if "{id}" in self.path:
            found.add(404)
        if self.bodies or self.is_callback:
            found |= {400, 408, 413}
        return [HTTPStatus(status) for status in sorted(found - set(self.responses))]


OPERATIONS: Final = (
    Operation(
        "POST",
        "/v1/tasks",
        SUBMIT,
        tasks.create_task,
        {201: TaskView, 202: TaskView, 200: TaskView, 402: schemas.OverBudgetView},
        (409, 503),
        queries.SUBMIT_HEADERS,
        (schemas.SubmitBody, schemas.RegisterBody),
        {
            route.name: {"route": route.name, "request": route.sample}
            for provider in PROVIDERS
            for route in provider.routes
        },
        plain={204: ""},
    ),
    Operation("GET", "/v1/tasks", READ, tasks.list_tasks, {200: Page[TaskView]}, (503,), queries.TASK_LIST),
    Operation("GET", "/v1/tasks/{id}", READ, tasks.get_task, {200: TaskView}, (503,), queries.TASK),
    Operation("GET", "/v1/tasks/{id}/events", READ, tasks.list_events, {200: Items[EventRecord]}, (503,)),
    Operation(
        "GET",
        "/v1/tasks/{id}/deliveries",
        READ,
        tasks.list_deliveries,
        {200: Items[DeliveryRecord]},
        (503,),
        tag="hooks",
    ),
    Operation("GET", "/v1/tasks/{id}/why", READ, tasks.explain_task, {200: WhyView}, (503,)),
    Operation(
        "GET",
        "/v1/tasks/{id}/outputs/{n}",
        READ,
        outputs.get_output,
        {},
        (409, 410, 503),
        queries.FILE_HEADERS,
        plain={200: _FILE, 206: _FILE, 302: "", 304: "", 416: ""},
    ),
    Operation("GET", "/v1/tasks/{id}/export", READ, tasks.export_task, {200: schemas.ExportView}, (503,)),
    Operation("GET", "/v1/tasks/{id}/archive", READ, outputs.list_archive, {200: Items[ArchiveView]}, (503,)),
    Operation("POST", "/v1/tasks/{id}/archive", SUBMIT, outputs.redrive_archive, {200: Items[ArchiveView]}, (503,)),
    Operation("POST", "/v1/tasks/{id}/poll", SUBMIT, tasks.poll_task, {200: TaskView}, (503,)),
    Operation("POST", "/v1/tasks/{id}/cancel", SUBMIT, tasks.cancel_task, {200: TaskView}, (409, 503)),
    Operation(
        "POST",
        "/v1/tasks/{id}/resubmit",
        SUBMIT,
        tasks.resubmit_task,
        {201: TaskView, 202: TaskView, 200: TaskView, 402: schemas.OverBudgetView},
        (409, 503),
        queries.RESUBMIT_HEADERS,
        (schemas.ResubmitBody,),
    ),
    Operation(
        "POST",
        "/v1/tasks/{id}/adopt",
        SUBMIT,
        tasks.adopt_task,
        {200: TaskView},
        (409, 503),
        bodies=(schemas.AdoptBody,),
    ),
    Operation(
        "POST",
        "/v1/tasks/actions",
        ADMIN,
        actions.act_on_tasks,
        {200: schemas.ActedView},
        (503,),
        bodies=(schemas.ActionBody,),
    ),
    Operation("GET", "/v1/events", READ, streams.list_feed, {200: Feed}, (503,), queries.FEED),
    Operation(
        "GET",
        "/v1/stream",
        READ,
        streams.stream_events,
        {},
        (503,),
        queries.STREAM,
        plain={200: "text/event-stream"},
        description=(
            "Messages in the order of commits. event: task has the seq as id, and an item of /v1/events as data. "
            "event: gap has data {from, to}: retention or a restore has removed events at these positions, both "
            "inclusive. A message without data only has an id, to resume from; something comes every 15 seconds."
        ),
    ),
    Operation("GET", "/v1/hooks", READ, hooks.list_hooks, {200: schemas.HookList}, (503,), tag="hooks"),
    Operation(
        "GET",
        "/v1/deliveries",
        READ,
        hooks.list_all_deliveries,
        {200: Page[DeliveryRecord]},
        (503,),
        queries.DELIVERY_LIST,
        tag="hooks",
    ),
    Operation(
        "POST",
        "/v1/deliveries/retry",
        ADMIN,
        hooks.retry_deliveries,
        {200: schemas.RetriedView},
        (503,),
        queries.DELIVERY_RETRY,
        tag="hooks",
    ),
    Operation("GET", "/v1/deliveries/{id}", READ, hooks.get_delivery, {200: DeliveryDetail}, (503,), tag="hooks"),
    Operation(
        "POST",
        "/v1/deliveries/{id}/retry",
        ADMIN,
        hooks.retry_delivery,
        {200: DeliveryRecord},
        (503,),
        queries.DELIVERY_AGAIN,
        tag="hooks",
    ),
    Operation(
        "GET", "/v1/report", READ, report.get_report, {200: schemas.ReportView}, (503,), queries.REPORT, tag="system"
    ),
    Operation("GET", "/v1/stats", READ, system.get_stats, {200: schemas.StatsView}, (503,), tag="system"),
    Operation("GET", "/v1/alarms", READ, system.list_alarms, {200: Items[Alarm]}, tag="system"),
    Operation("GET", "/v1/doctor", READ, system.get_doctor, {200: schemas.DoctorView}, tag="system"),
    Operation("GET", "/v1/routes", READ, routes.list_routes, {200: Items[RouteView]}, tag="system"),
    Operation(
        "GET",
        "/v1/routes/{route}",
        READ,
        routes.get_route,
        {200: RouteDetail},
        (404,),
        queries.ROUTE_ACCOUNT,
        tag="system",
    ),
    Operation(
        "GET",
        "/v1/models",
        READ,
        ai_models.list_models,
        {200: schemas.ModelCatalogue},
        parameters=queries.ACCOUNT,
        tag="system",
    ),
    Operation(
        "POST",
        "/v1/models/sync",
        ADMIN,
        ai_models.sync_models,
        {200: schemas.ModelCatalogue},
        (503,),
        queries.ACCOUNT,
        tag="system",
    ),
    Operation(
        "POST",
        "/v1/prune",
        ADMIN,
        system.prune,
        {200: schemas.PrunedView},
        (503,),
        bodies=(schemas.PruneBody,),
        tag="system",
    ),
    Operation(
        "POST",
        "/callbacks/{provider}/{token}",
        OPEN,
        CallbackHandlers.receive_callback,
        {200: schemas.AppliedView, 202: schemas.QueuedView},
        (401, 404, 503),
        tag="callbacks",
    ),
    Operation(
        "POST",
        "/callbacks/{provider}",
        OPEN,
        CallbackHandlers.receive_hint,
        {202: schemas.QueuedView},
        (401, 404, 429, 503),
        tag="callbacks",
    ),
    Operation("GET", "/metrics", READ, system.get_metrics, {}, plain={200: _METRICS}, tag="system"),
    Operation("GET", "/healthz", OPEN, system.get_alive, {200: schemas.AliveView}, tag="system"),
    Operation(
        "GET",
        "/readyz",
        OPEN,
        system.get_ready,
        {200: schemas.ReadyView, 503: schemas.NotReadyView},
        tag="system",
    ),
)
