"""The web application: a router over the table of operations, and one guard around every handler.

Owns which error becomes which response. There is no middleware: a request pays only for the checks that it needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, TypeVarTuple

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler as WebHandler

from tracker.domain.scopes import Scope
from tracker.domain.statuses import Reason
from tracker.domain.text import sentence
from tracker.errors import (
    BudgetExceeded,
    DeliveryNotFound,
    FieldsUnknown,
    IdempotencyConflict,
    RequestInvalid,
    SearchRefused,
    StoreUnavailable,
    SubmitInFlight,
    TaskNotFound,
    WriteUnknown,
)
from tracker.logs import get_logger
from tracker.server.access import READS, check_access, check_media_type
from tracker.server.bodies import MAX_API_BYTES
from tracker.server.callbacks import CallbackHandlers
from tracker.server.connections import FAST_PATH
from tracker.server.fast_callbacks import FastCallbacks
from tracker.server.openapi import describe
from tracker.server.operations import OPERATIONS, Operation
from tracker.server.queries import parse_query
from tracker.server.responses import (
    HEADERS,
    OPENAPI_PATH,
    RETRY_AFTER_S,
    Problem,
    bad_input,
    failed,
    store_unavailable,
    unknown_path,
    write_unknown,
)
from tracker.server.searches import is_gone
from tracker.server.services import QUERY, TOKEN_NAME
from tracker.server.tallies import OTHER

if TYPE_CHECKING:
    from tracker.server.services import Services

log = get_logger(__name__)

Ts = TypeVarTuple("Ts")

CallbackHandler = Callable[..., Awaitable[web.StreamResponse]]
"""(request, provider, token): the last two are the variables of the path."""


class Pages(Protocol):
    """Web pages, in addition to the API."""

    def add_to(self, app: web.Application) -> None:
        """Add their routes."""

    async def show_problem(self, request: web.Request, problem: Problem) -> web.StreamResponse | None:
        """An error as a page; None for a client that is not a browser."""


def make_app(services: Services, pages: Pages | None = None) -> web.Application:
    """The web application.

    Run it on a `tracker.server.connections.Runner`, which handles the errors below the handlers.

    Args:
        services: what the handlers call.
        pages: what browsers see.
    """
    # `bodies.read_body` has its own limits; this one only backs them up
    app = web.Application(client_max_size=MAX_API_BYTES)
    callbacks = CallbackHandlers(services)
    app[FAST_PATH] = FastCallbacks(services)
    for operation in OPERATIONS:
        if operation.is_callback:
            receive = _with_problems(getattr(callbacks, operation.name), operation.path)
            handler = _from_path(_counted_callback(services, receive))
        else:
            handler = counted(services, _guarded(services, operation), operation.path)
        if operation.method == "GET":
            app.router.add_get(operation.path, handler)
        else:
            app.router.add_route(operation.method, operation.path, handler)
    app.on_shutdown.append(lambda _: services.feed.close())
    app.router.add_get(OPENAPI_PATH, counted(services, _fixed(_openapi()), OPENAPI_PATH))
    if pages is not None:
        pages.add_to(app)
    app.router.add_route("*", "/{rest:.*}", _not_found(services, callbacks, pages))
    return app


@cache
def _openapi() -> bytes:
    """The OpenAPI document, which depends on the table of operations alone."""
    return orjson.dumps(describe(OPERATIONS))


def _from_path(receive: CallbackHandler) -> WebHandler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await receive(request, *request.match_info.values())

    return handle


def _guarded(services: Services, operation: Operation) -> WebHandler:
    """A handler of the API behind its checks: access, media type and query parameters."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if operation.scope is None:
            return await operation.handler(services, request)
        check_access(request, services.api_tokens(), operation.scope, services.public_url())
        if operation.method in READS:
            return await checked(request)
        check_media_type(request)
        response = await checked(request)
        if (by := request.get(TOKEN_NAME)) is not None:
            about = request.match_info.get("id") or response.headers.get("Location", "").rpartition("/")[2] or None
            log.info("api.acted", action=operation.name, by=by, about=about, status=response.status)
        return response

    async def checked(request: web.Request) -> web.StreamResponse:
        request[QUERY] = parse_query(request.query.items() if request.query_string else (), operation.parameters)
        return await operation.handler(services, request)

    return _with_problems(handle, operation.path)


def counted(services: Services, handler: WebHandler, route: str) -> WebHandler:
    """The handler, with each request counted under its route."""
    tallies, clock = services.tallies, services.clock

    async def handle(request: web.Request) -> web.StreamResponse:
        began = clock.monotonic()
        response = await handler(request)
        is_stream = response.content_type == "text/event-stream"
        seconds = None if is_stream else clock.monotonic() - began
        tallies.note_request(route, request.method, response.status, seconds)
        return response

    return handle


def _counted_callback(services: Services, receive: CallbackHandler) -> CallbackHandler:
    """The receiver of callbacks, with each one counted under its provider."""

    async def handle(request: web.Request, provider: str, *token: str) -> web.StreamResponse:
        response = await receive(request, provider, *token)
        named = services.registry.provider_named
        known = named(provider) or named(provider.lower())
        services.tallies.callbacks[OTHER if known is None else known.name, response.status] += 1
        return response

    return handle


def _with_problems(
    handler: Callable[[web.Request, *Ts], Awaitable[web.StreamResponse]], route: str
) -> Callable[[web.Request, *Ts], Awaitable[web.StreamResponse]]:
    """The handler with every error as problem details. The log gets the pattern: the path may hold a callback token."""

    async def handle(request: web.Request, *args: *Ts) -> web.StreamResponse:
        try:
            return await handler(request, *args)
        except Problem as problem:
            return problem.response()
        except Exception as error:
            if isinstance(error, ConnectionError) and is_gone(request):
                raise  # the client has disconnected
            return problem_of(error, request.method, route).response()

    return handle


def problem_of(error: Exception, method: str, route: str) -> Problem:
    """The response to an error of a handler; the log gets those that are not the caller's."""
    match error:
        case FieldsUnknown():
            return bad_input(error.problems, "unknown-fields")
        case RequestInvalid():
            return bad_input(error.problems)
        case TaskNotFound():
            return Problem(HTTPStatus.NOT_FOUND, "unknown-task", sentence(error))
        case DeliveryNotFound():
            return Problem(HTTPStatus.NOT_FOUND, "unknown-delivery", sentence(error))
        case IdempotencyConflict():
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency-conflict", f"{error}.")
        case BudgetExceeded():
            detail = sentence(error)
            return Problem(HTTPStatus.PAYMENT_REQUIRED, "over-budget", detail, reason=Reason.QUOTA_EXHAUSTED)
        case SubmitInFlight():
            headers = {"Retry-After": str(RETRY_AFTER_S)}
            return Problem(HTTPStatus.CONFLICT, "submit-in-flight", f"{error}.", headers=headers)
        case WriteUnknown():
            log.error("request.write_unknown", method=method, route=route, error=str(error))
            return write_unknown()
        case SearchRefused():
            headers = {"Retry-After": str(RETRY_AFTER_S)}
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "search-refused", f"{error}.", headers=headers)
        case StoreUnavailable():
            log.warning("request.store_unavailable", method=method, route=route, error=str(error))
            return store_unavailable()
        case _:
            log.error("request.failed", method=method, route=route, exc_info=error)
            return failed()


def _not_found(services: Services, callbacks: CallbackHandlers, pages: Pages | None) -> WebHandler:
    """404 for an unknown path, 405 for a known one with another method.

    Callbacks to an address with additional slashes, which senders and proxies add, go to the handlers of callbacks.
    """

    async def receive(request: web.Request, *parts: str) -> web.StreamResponse:
        if request.method == "POST":
            return await (callbacks.receive_callback if parts[1:] else callbacks.receive_hint)(request, *parts)
        if parts[1:]:  # a token
            await callbacks.wrong_method(*parts)
        raise await not_allowed(request, {"POST"})

    async def refuse(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/v1/"):
            check_access(request, services.api_tokens(), Scope.READ, services.public_url())
        problem = await not_allowed(request, set())
        page = None if pages is None else await pages.show_problem(request, problem)
        if page is None:
            raise problem
        return page

    async def not_allowed(request: web.Request, allowed: set[str]) -> Problem:
        allowed = set(allowed)
        catch_all = request.match_info.route.resource
        for resource in request.app.router.resources():
            if resource is not catch_all:
                allowed |= (await resource.resolve(request))[1]
        if not allowed:
            return unknown_path()
        listed = ", ".join(sorted(allowed))
        return Problem(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "method-not-allowed",
            f"{request.method} is not allowed on this path; allowed: {listed}.",
            headers={"Allow": listed},
        )

    as_callback = _counted_callback(services, _with_problems(receive, ""))
    as_other = counted(services, _with_problems(refuse, ""), OTHER)

    async def handle(request: web.Request) -> web.StreamResponse:
        parts = [part for part in request.path.split("/") if part]
        if parts[:1] == ["callbacks"] and len(parts) in {2, 3}:
            return await as_callback(request, *parts[1:])
        return await as_other(request)

    return handle


def _fixed(body: bytes) -> WebHandler:
    headers = {**HEADERS, "Content-Type": "application/json"}

    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers=headers)

    return handle
