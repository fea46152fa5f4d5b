"""Puts the HTTP surface together: a router over the table of operations, and one guard around every handler.

Owns which error becomes which answer. There is no middleware, and around the callback doors stands one `try` and no
more: what every request would pay for is paid by those who need it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVarTuple

import orjson
from aiohttp import HttpVersion11, web
from aiohttp.hdrs import EXPECT
from aiohttp.typedefs import Handler as WebHandler

from tracker.errors import (
    DeliveryNotFound,
    IdempotencyConflict,
    RequestInvalid,
    StoreUnavailable,
    SubmitInFlight,
    TaskNotFound,
    WriteUnknown,
)
from tracker.logs import get_logger
from tracker.server.access import READS, check_access, check_media_type
from tracker.server.bodies import MAX_API_BYTES
from tracker.server.callbacks import CallbackDoors
from tracker.server.openapi import describe
from tracker.server.operations import OPERATIONS, Operation
from tracker.server.queries import parse_query
from tracker.server.responses import (
    HEADERS,
    RETRY_AFTER_S,
    Problem,
    bad_input,
    failed,
    store_unavailable,
    write_unknown,
)
from tracker.server.services import QUERY

if TYPE_CHECKING:
    from tracker.server.services import Services

log = get_logger(__name__)

Ts = TypeVarTuple("Ts")

OPENAPI_PATH = "/openapi.json"

_DOORS = web.AppKey("doors", CallbackDoors)
_PLAIN_CALLBACK = re.compile(r"/callbacks/([A-Za-z0-9-]+)/([A-Za-z0-9._-]+)")


def make_app(services: Services) -> web.Application:
    """The web application.

    Run it on a `tracker.server.connections.Runner`, which answers what goes wrong below the handlers.

    Args:
        services: what the handlers call.
    """
    # bodies are read by `bodies.read_body` with limits of their own; this one only backs them up
    app = web.Application(client_max_size=MAX_API_BYTES)
    doors = app[_DOORS] = CallbackDoors(services)
    door_of = {"receive_callback": _with_token(doors), "receive_hint": _without_token(doors)}
    for operation in OPERATIONS:
        handler = (
            _guarded(services, operation) if operation.handler else _caught(door_of[operation.name], operation.path)
        )
        if operation.method == "GET":
            app.router.add_get(operation.path, handler)
        else:
            app.router.add_route(operation.method, operation.path, handler)
    app.router.add_get(OPENAPI_PATH, _fixed(orjson.dumps(describe(OPERATIONS))))
    app.router.add_route("*", "/{rest:.*}", _caught(_nowhere(services, doors), ""))
    return app


def open_short_way(runner: web.AppRunner) -> None:
    """Lead plain callbacks past the router, straight to their door: routing one costs a tenth of its whole CPU time.

    Whatever is not quite plain (a query, an escaped character, ``Expect``) takes the ordinary way, to the same door.

    Args:
        runner: of an application of `make_app`, set up.
    """
    server = runner.server
    assert server is not None  # noqa: S101  it is set up
    route = next(operation.path for operation in OPERATIONS if operation.name == "receive_callback")
    door = _caught(runner.app[_DOORS].with_token, route)
    ordinary = server.request_handler

    def handle(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        plain = _PLAIN_CALLBACK.fullmatch(request.raw_path)
        if plain is None or request.method != "POST" or EXPECT in request.headers:
            return _routed(ordinary, request)
        assert isinstance(request, web.Request)  # noqa: S101  the application makes no others
        return door(request, *plain.groups())

    server.request_handler = handle


async def _routed(
    ordinary: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], request: web.BaseRequest
) -> web.StreamResponse:
    """The ordinary way; what aiohttp would refuse on it by itself, and with words of the request, is refused here."""
    expected = request.headers.get(EXPECT)
    if expected and request.version == HttpVersion11 and expected.lower() != "100-continue":
        detail = "Of what Expect can ask for, only 100-continue is known."
        return Problem(HTTPStatus.EXPECTATION_FAILED, "unknown-expectation", detail).response()
    try:
        return await ordinary(request)
    except web.HTTPNotFound:  # no pattern takes ``*`` or the address of a CONNECT
        return _unknown_path().response()


def _with_token(doors: CallbackDoors) -> WebHandler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await doors.with_token(request, request.match_info["provider"], request.match_info["token"])

    return handle


def _without_token(doors: CallbackDoors) -> WebHandler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await doors.without_token(request, request.match_info["provider"])

    return handle


def _guarded(services: Services, operation: Operation) -> WebHandler:
    """An API handler: let in, called, its errors told."""
    handler = operation.handler

    async def handle(request: web.Request) -> web.StreamResponse:
        if not operation.is_open:
            check_access(request, services.api_token(), services.public_url())
            if operation.method not in READS:
                check_media_type(request)
            request[QUERY] = parse_query(request.query.items() if request.query_string else (), operation.parameters)
        assert handler is not None  # noqa: S101  callbacks come in by their own doors
        return await handler(services, request)

    return _caught(handle, operation.path)


def _caught(
    handler: Callable[[web.Request, *Ts], Awaitable[web.StreamResponse]], route: str
) -> Callable[[web.Request, *Ts], Awaitable[web.StreamResponse]]:
    """Every error as problem details; the log names the pattern of the path, which itself may hold a callback token."""

    async def handle(request: web.Request, *args: *Ts) -> web.StreamResponse:
        try:
            return await handler(request, *args)
        except Problem as problem:
            return problem.response()
        except Exception as error:
            if isinstance(error, ConnectionError) and _is_gone(request):
                raise  # nobody is there any more to be told anything
            return _problem_of(error, request.method, route).response()

    return handle


def _is_gone(request: web.Request) -> bool:
    transport = request.transport
    return transport is None or transport.is_closing()


def _problem_of(error: Exception, method: str, route: str) -> Problem:
    match error:
        case RequestInvalid():
            return bad_input(error.problems)
        case TaskNotFound():
            return Problem(HTTPStatus.NOT_FOUND, "unknown-task", "No task has this id.")
        case DeliveryNotFound():
            return Problem(HTTPStatus.NOT_FOUND, "unknown-delivery", "No delivery has this id.")
        case IdempotencyConflict():
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency-conflict", f"{error}.")
        case SubmitInFlight():
            headers = {"Retry-After": str(RETRY_AFTER_S)}
            return Problem(HTTPStatus.CONFLICT, "submit-in-flight", f"{error}.", headers=headers)
        case WriteUnknown():
            log.error("request.write_unknown", method=method, route=route, error=str(error))
            return write_unknown()
        case StoreUnavailable():
            log.warning("request.not_taken", method=method, route=route, error=str(error))
            return store_unavailable()
        case _:
            log.error("request.failed", method=method, route=route, exc_info=error)
            return failed()


def _nowhere(services: Services, doors: CallbackDoors) -> WebHandler:
    """What no operation answers: 404, or 405 where another method would be.

    Callbacks whose senders, or proxies, have added slashes to the address are led to the handlers of callbacks.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        parts = [part for part in request.path.split("/") if part]
        is_callback = parts[:1] == ["callbacks"] and len(parts) in {2, 3}
        if is_callback and request.method == "POST":
            return await (doors.with_token if len(parts) > 2 else doors.without_token)(request, *parts[1:])  # noqa: PLR2004
        if is_callback and len(parts) > 2:  # noqa: PLR2004  provider and token
            await doors.wrong_method(*parts[1:])
        if request.path.startswith("/v1/"):
            check_access(request, services.api_token(), services.public_url())
        allowed = {"POST"} if is_callback else set()
        catch_all = request.match_info.route.resource
        for resource in request.app.router.resources():
            if resource is not catch_all:
                allowed |= (await resource.resolve(request))[1]
        if allowed:
            listed = ", ".join(sorted(allowed))
            raise Problem(
                HTTPStatus.METHOD_NOT_ALLOWED,
                "method-not-allowed",
                f"{request.method} is not for this path; it takes {listed}.",
                headers={"Allow": listed},
            )
        raise _unknown_path()

    return handle


def _unknown_path() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "unknown-path", f"There is nothing here; {OPENAPI_PATH} lists what there is.")


def _fixed(body: bytes) -> WebHandler:
    headers = {**HEADERS, "Content-Type": "application/json"}

    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers=headers)

    return handle
