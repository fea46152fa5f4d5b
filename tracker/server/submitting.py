"""``POST /v1/tasks``: create a paid job, or follow one that was created elsewhere.

Owns the request's headers and form. Must not decide whether anything is sent: the submitter does.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from tracker.domain.records import task_json
from tracker.errors import FieldProblem
from tracker.server.bodies import read_json
from tracker.server.queries import parse_query
from tracker.server.responses import bad_input, json_answer
from tracker.server.schemas import Key, RegisterBody, SubmitBody, parse_new_task
from tracker.tracking.intake import SubmitRequest

if TYPE_CHECKING:
    from aiohttp import web

    from tracker.server.services import Services
    from tracker.tracking.submitter import Submitted

_KEY: TypeAdapter[str] = TypeAdapter(Key)


async def create_task(services: Services, request: web.Request) -> web.Response:
    """Submit or register.

    Raises:
        Problem: 400, 413 or 422 for a bad body.
        RequestInvalid, IdempotencyConflict, SubmitInFlight, StoreUnavailable: see the submitter.
    """
    parse_query(request, {})
    body = parse_new_task(await read_json(request))
    match body:
        case RegisterBody():
            submitted = await services.submitter.register(body.route, body.external_id, body.labels, body.account)
            return _answer(submitted, HTTPStatus.CREATED, {})
        case SubmitBody():
            respond_async = _prefers_async(request)
            submitted = await services.submitter.submit(
                SubmitRequest(
                    route=body.route,
                    request=body.request,
                    labels=body.labels,
                    account=body.account,
                    idempotency_key=_idempotency_key(request, body),
                    respond_async=respond_async,
                )
            )
            if respond_async:
                return _answer(submitted, HTTPStatus.ACCEPTED, {"Preference-Applied": "respond-async"})
            # not decided yet: it is on its way, as with respond-async, but nobody asked for that
            return _answer(submitted, HTTPStatus.CREATED if submitted.is_decided else HTTPStatus.ACCEPTED, {})


def _answer(submitted: Submitted, when_new: HTTPStatus, headers: dict[str, str]) -> web.Response:
    """A task that was there already is 200, whatever was preferred: there is nothing to wait for."""
    record = submitted.record
    location = {"Location": f"/v1/tasks/{record.task.id}"}
    if not submitted.is_new:
        return json_answer(task_json(record), HTTPStatus.OK, location)
    return json_answer(task_json(record), when_new, location | headers)


def _prefers_async(request: web.Request) -> bool:
    """Source: https://www.rfc-editor.org/rfc/rfc7240 (read 2026-11)."""
    preferences = ",".join(request.headers.getall("Prefer", [])).split(",")
    return any(preference.partition(";")[0].strip().lower() == "respond-async" for preference in preferences)


def _idempotency_key(request: web.Request, body: SubmitBody) -> str | None:
    """The key from the header or the body; both must agree."""
    keys = {key.strip() for key in request.headers.getall("Idempotency-Key", [])}
    try:
        keys = {_KEY.validate_python(key) for key in keys}
    except ValidationError:
        raise bad_input(
            [FieldProblem(("header", "Idempotency-Key"), "is 1 to 255 characters without control characters")]
        ) from None
    if body.idempotency_key is not None:
        keys.add(body.idempotency_key)
    if len(keys) > 1:
        raise bad_input(
            [FieldProblem(("idempotency_key",), "is given more than once with different values (header and body)")]
        )
    return next(iter(keys), None)
