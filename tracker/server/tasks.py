"""``/v1/tasks`` and below: create or register a task, read it, poll it, cancel it.

Must not decide whether anything is sent (the submitter does), nor change a task except through the reconciler.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson
from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from tracker import __version__
from tracker.domain.alarms import is_about
from tracker.domain.archives import ArchiveState
from tracker.domain.exports import export_json
from tracker.domain.lenient_json.large import LARGE_BYTES, encode_large
from tracker.domain.records import cost_json, delivery_json, event_json, page_json, to_json
from tracker.domain.route_views import RouteView
from tracker.domain.task import ExternalId, TaskId
from tracker.domain.transitions import Outcome
from tracker.domain.why import explain
from tracker.errors import FieldProblem, NotAdoptable, NotAttempted, NotRepeatable, RequestInvalid
from tracker.logs import get_logger
from tracker.server.bodies import read_json
from tracker.server.hooks import trouble_notes
from tracker.server.queries import refuse_unknown_names
from tracker.server.responses import Problem, json_response
from tracker.server.schemas import (
    AdoptBody,
    Key,
    RegisterBody,
    ResubmitBody,
    SubmitBody,
    parse_body,
    parse_new_task,
)
from tracker.server.searches import search
from tracker.server.services import QUERY, TOKEN_NAME
from tracker.store.values import TaskFilter
from tracker.tracking.intake import SubmitRequest
from tracker.tracking.recovery import adopt, cancel, resubmit

if TYPE_CHECKING:
    from tracker.domain.history import TaskHistory
    from tracker.domain.records import Json, TaskRecord
    from tracker.domain.task import Task
    from tracker.server.services import Services
    from tracker.tracking.submitter import Submitted

log = get_logger(__name__)

_ASYNC, _STRICT = "respond-async", "handling=strict"
WARNINGS = "Tracker-Warnings"
"""A header of the response: a JSON list like ``errors`` of problem details."""
PRICE = "Tracker-Price"
"""A header of the response to a dry run: what the task would cost, as its ``cost``."""
_KEY: TypeAdapter[str] = TypeAdapter(Key)


async def create_task(services: Services, request: web.Request) -> web.Response:
    """Create a job upstream and follow it, or follow one that was created elsewhere.

    Raises:
        Problem: 400 or 413 for a bad body.
        RequestInvalid, IdempotencyConflict, SubmitInFlight, BudgetExceeded, StoreUnavailable: see the submitter.
    """
    began = services.clock.now()
    body = parse_new_task(await read_json(request))
    match body:
        case RegisterBody():
            submitted = await services.submitter.register(body.route, body.external_id, body.labels, body.account)
            return _created_response(services, submitted, HTTPStatus.CREATED, {})
        case SubmitBody():
            preferences = _preferences(request)
            respond_async, is_strict = _ASYNC in preferences, _STRICT in preferences
            wanted = SubmitRequest(
                route=body.route,
                request=body.request,
                labels=body.labels,
                account=body.account,
                idempotency_key=_idempotency_key(request, body.idempotency_key),
                respond_async=respond_async,
                is_strict=is_strict,
            )
            if body.dry_run:
                known, price = await services.submitter.check(wanted)
                if known is not None:
                    return json_response(services.task_json(known))
                priced = {} if price is None else {PRICE: json.dumps(cost_json(price))}
                return web.Response(status=HTTPStatus.NO_CONTENT, headers=priced)
            submitted = await services.submitter.submit(wanted)
            headers = {} if is_strict else _warn(services, submitted, body)
            applied = [name for name in (_ASYNC, _STRICT) if name in preferences]
            if applied:
                headers["Preference-Applied"] = ", ".join(applied)
            # not sent or not decided yet: 202 as with respond-async, which the client did not ask for
            is_done = submitted.is_decided and not respond_async
            status = HTTPStatus.CREATED if is_done else HTTPStatus.ACCEPTED
            if submitted.is_new and services.on_submit is not None:
                services.on_submit(submitted.record.task, request.headers.get("traceparent"), began, status)
            return _created_response(services, submitted, status, headers)


def _warn(services: Services, submitted: Submitted, body: SubmitBody) -> dict[str, str]:
    """The header about fields of a new task that no document of its route names."""
    route = services.registry.find_route(body.route) if submitted.is_new else None
    unknown = route.fields.find_unknown(body.request) if route is not None else []
    if not unknown:
        return {}
    fields = [_shown(problem) for problem in unknown]
    log.warning("submit.fields_unknown", task=submitted.record.task.id, route=body.route, fields=fields)
    return {WARNINGS: json.dumps([asdict(problem) for problem in unknown])}  # escaped, as ASCII


def _shown(problem: FieldProblem) -> str:
    return ".".join(map(str, problem.loc[1:]))


def _created_response(
    services: Services, submitted: Submitted, when_new: HTTPStatus, headers: dict[str, str]
) -> web.Response:
    """200 for a task that existed before, with any preference: there is nothing to wait for."""
    record = submitted.record
    location = {"Location": f"/v1/tasks/{record.task.id}"}
    if not submitted.is_new:
        return json_response(services.task_json(record), HTTPStatus.OK, location)
    return json_response(services.task_json(record), when_new, location | headers)


def _preferences(request: web.Request) -> set[str]:
    """Source: https://www.rfc-editor.org/rfc/rfc7240 (read 2026-11)."""
    preferences = ",".join(request.headers.getall("Prefer", [])).split(",")
    return {re.sub(r"[\s\"]", "", preference.partition(";")[0]).lower() for preference in preferences}


def _idempotency_key(request: web.Request, in_body: str | None) -> str | None:
    """The key from the header or the body; both must agree."""
    keys = {key.strip() for key in request.headers.getall("Idempotency-Key", [])}
    try:
        keys = {_KEY.validate_python(key) for key in keys}
    except ValidationError:
        raise RequestInvalid(
            [FieldProblem(("header", "Idempotency-Key"), "must have 1 to 255 characters, without control characters")]
        ) from None
    if in_body is not None:
        keys.add(in_body)
    if len(keys) > 1:
        raise RequestInvalid(
            [FieldProblem(("idempotency_key",), "must have the same value in the header and in the body")]
        )
    return next(iter(keys), None)


async def list_tasks(services: Services, request: web.Request) -> web.Response:
    """List tasks, newest first.

    Raises:
        RequestInvalid: there are none, and a filter names no known route, provider or account.
    """
    wanted = request[QUERY]
    page = await search(request, services.store.list_tasks(TaskFilter(**wanted)))
    if not page.items:
        refuse_unknown_names(wanted, {**services.registry.names(), "account": services.accounts})
    return json_response(page_json(map(services.task_json, page.items), page.next_cursor, is_cut=page.is_cut))


async def get_task(services: Services, request: web.Request) -> web.Response:
    """Get a task, at once or when it has ended.

    With ``wait`` the response comes at its end, after that time, or when the daemon stops.
    """
    wait_s: float | None = request[QUERY].get("wait")
    task_id = _task_id(request)
    record = await services.store.get_task(task_id)
    if wait_s and not record.task.status.is_terminal:
        record = await _wait_for_end(services, task_id, wait_s)
    return json_response(services.task_json(record))


async def _wait_for_end(services: Services, task_id: TaskId, wait_s: float) -> TaskRecord:
    """Watch before reading: a change between the two is not missed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    stopping = asyncio.ensure_future(services.stopping.wait())
    try:
        async with services.feed.changes.watch(task_id) as changed:
            while True:
                changed.clear()
                record = await services.store.get_task(task_id)
                left_s = deadline - loop.time()
                if record.task.status.is_terminal or left_s <= 0 or stopping.done():
                    return record
                change = asyncio.ensure_future(changed.wait())
                try:
                    await asyncio.wait({change, stopping}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    change.cancel()
    finally:
        stopping.cancel()


async def list_events(services: Services, request: web.Request) -> web.Response:
    """List the history of a task, oldest first."""
    events = await services.store.list_events(_task_id(request))
    return json_response({"items": [event_json(event) for event in events]})


async def list_deliveries(services: Services, request: web.Request) -> web.Response:
    """List the deliveries of a task, oldest first."""
    deliveries = await services.store.list_deliveries(_task_id(request))
    return json_response({"items": [delivery_json(delivery) for delivery in deliveries]})


async def explain_task(services: Services, request: web.Request) -> web.Response:
    """Explain the status of a task and what happens next."""
    return json_response(await explanation(services, _task_id(request)))


async def explanation(services: Services, task_id: TaskId) -> Json:
    """Why a task has its status, see `tracker.domain.why.WhyView`."""
    history = await services.store.read_history(task_id)
    notes = [*services.poller.notes(history.task), *trouble_notes(services.hooks.describe(), history.deliveries)]
    notes += _alarm_notes(services, history)
    notes += await _field_notes(services, history.task)
    return explain(
        history,
        services.reconciler.policy_of(history.task.provider),
        services.clock.now(),
        notes,
        max_in_flight=services.max_in_flight(history.task.account),
        durations=services.reconciler.durations,
        not_before=services.poller.blocked_until(history.task),
    )


def _alarm_notes(services: Services, history: TaskHistory) -> list[str]:
    """The alarms that concern a task, with what to do about them."""
    waits = any(item.state in {ArchiveState.PENDING, ArchiveState.RUNNING} for item in history.archives)
    alarms = services.list_alarms()
    return [f"{one.message} {one.fix}" for one in alarms if is_about(one, history.task, waits_for_files=waits)]


async def _field_notes(services: Services, task: Task) -> list[str]:
    """The notes about fields of the request that no document of the route names."""
    route = services.registry.find_route(task.route)
    if route is None or route.fields.is_open:
        return []
    request = (await services.store.get_task(task.id)).request
    unknown = route.fields.find_unknown(request) if isinstance(request, Mapping) else []
    notes = (f"Field {_shown(problem)} of the request: {problem.msg}" for problem in unknown)
    return [note if note.endswith("?") else f"{note}." for note in notes]


async def export_task(services: Services, request: web.Request) -> web.Response:
    """Get all that is stored of a task as one document without secrets, for tracker replay."""
    export = await services.store.read_export(_task_id(request))
    route = services.registry.find_route(export.record.task.route)
    shown = None if route is None else to_json(RouteView, route, route=route.name)
    now, redact = services.clock.now(), services.payloads.redacted

    def encode() -> orjson.Fragment:
        document = export_json(export, route=shown, tracker=__version__, at=now, redact=redact)
        return orjson.Fragment(encode_large(document))

    return json_response(await services.payloads.run(LARGE_BYTES + 1, encode))  # its payloads may be large


async def poll_task(services: Services, request: web.Request) -> web.Response:
    """Poll the upstream now.

    Raises:
        Problem: 503, the upstream was not polled.
    """
    task_id = _task_id(request)
    try:
        await services.poller.poll(task_id)
    except NotAttempted as refusal:
        headers = {"Retry-After": str(math.ceil(refusal.retry_in_s))}
        detail = f"The tracker did not ask the service: {refusal}."
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "not-asked", detail, headers=headers) from None
    return json_response(services.task_json(await services.store.get_task(task_id)))


async def cancel_task(services: Services, request: web.Request) -> web.Response:
    """Stop following a task: it becomes FAILED with reason canceled.

    Raises:
        Problem: 409, it has ended already.
    """
    task_id = _task_id(request)
    applied = await cancel(services.reconciler, task_id, services.clock.now(), operator_of(request))
    if applied.outcome is not Outcome.APPLIED:
        raise Problem(
            HTTPStatus.CONFLICT,
            "task-ended",
            f"The task has ended already: it is {applied.task.status}"
            + (f" ({applied.task.reason})." if applied.task.reason else "."),
        )
    return json_response(services.task_json(await services.store.get_task(task_id)))


async def resubmit_task(services: Services, request: web.Request) -> web.Response:
    """Send the request of a task again, as a new paid job under a new task.

    Without an Idempotency-Key, a second resubmit of the same task returns the new task of the first.

    Raises:
        Problem: 409, there is no request to send again.
        RequestInvalid: ``confirm`` is missing, or the upstream would certainly refuse the request.
    """
    body = parse_body(ResubmitBody, await read_json(request))
    if not body.confirm:
        raise RequestInvalid([FieldProblem(("confirm",), "must be true: a resubmit is a new paid job")])
    try:
        key = _idempotency_key(request, None)
        submitted = await resubmit(services.store, services.submitter, _task_id(request), key)
    except NotRepeatable as error:
        raise Problem(HTTPStatus.CONFLICT, "not-repeatable", f"The task cannot be sent again: {error}.") from None
    return _created_response(
        services, submitted, HTTPStatus.CREATED if submitted.is_decided else HTTPStatus.ACCEPTED, {}
    )


async def adopt_task(services: Services, request: web.Request) -> web.Response:
    """Give a task whose create got no clear answer its upstream id, found elsewhere, and follow it.

    Raises:
        Problem: 409, the create is decided, or another task has that id.
    """
    body = parse_body(AdoptBody, await read_json(request))
    try:
        external_id, now = ExternalId(body.external_id), services.clock.now()
        record = await adopt(
            services.store, services.reconciler, _task_id(request), external_id, now, by=operator_of(request)
        )
    except NotAdoptable as error:
        raise Problem(HTTPStatus.CONFLICT, "not-adoptable", f"The task cannot take this id: {error}.") from None
    return json_response(services.task_json(record))


def operator_of(request: web.Request) -> str:
    """Who acts, for the history of a task."""
    name = request.get(TOKEN_NAME)
    return "an operator" if name is None else f"an operator (token {name})"


def _task_id(request: web.Request) -> TaskId:
    return TaskId(request.match_info["id"])
