"""``/v1/routes``: the routes for tasks, and what a request of each needs. Must not read or send a request."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from tracker.domain.nearest import did_you_mean
from tracker.domain.records import to_json
from tracker.domain.route_views import RouteDetail, RouteView
from tracker.errors import FieldProblem, RequestInvalid
from tracker.server.responses import Problem, json_response
from tracker.server.services import QUERY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web

    from tracker.domain.records import Json
    from tracker.providers.route import Route
    from tracker.server.services import Services


async def list_routes(services: Services, _request: web.Request) -> web.Response:
    """List the known routes."""
    items = [to_json(RouteView, route, route=route.name) for route in services.registry.routes()]
    return json_response({"items": items})


async def get_route(services: Services, request: web.Request) -> web.Response:
    """Get a route with the documented fields of its requests, its models and an example.

    Raises:
        Problem: 404 with the nearest names.
        RequestInvalid: the account is unknown.
    """
    route, named = find_route(services, request.match_info["route"]), request[QUERY].get("account")
    if named is not None and named not in services.accounts:
        known = ", ".join(sorted(services.accounts))
        raise RequestInvalid(
            [FieldProblem(("query", "account"), f"is unknown: {named!r}; configured accounts: {known}")]
        )
    account = named or route.account or ("default" if "default" in services.accounts else None)
    if account is None and len(services.accounts) == 1:
        account = next(iter(services.accounts))
    listed = await services.store.list_models(account) if account in services.accounts and account else None
    return json_response(route_detail(route, account, (model.id for model in listed.models) if listed else ()))


def find_route(services: Services, name: str) -> Route:
    """The route of a name.

    Raises:
        Problem: 404 with the nearest names.
    """
    route = services.registry.find_route(name)
    if route is None:
        hint = did_you_mean(name, (known.name for known in services.registry.routes()))
        detail = f"No route has this name; {hint or 'tracker routes, or GET /v1/routes, lists all.'}"
        raise Problem(HTTPStatus.NOT_FOUND, "unknown-route", detail)
    return route


def route_detail(route: Route, account: str | None, models: Iterable[str] = ()) -> Json:
    """The public form of a route.

    Args:
        route: the route.
        account: the account that its tasks use, if any.
        models: those of the account; if none fits the route, those that the documents name are shown.
    """
    fields = route.fields
    fitting = fields.fitting(models)
    return to_json(
        RouteDetail,
        route,
        route=route.name,
        fields=[to_json(type(field), field) for field in fields.fields],
        fields_complete=not fields.is_open,
        fields_source=fields.source,
        models=fitting or list(fields.models),
        models_source="account" if fitting else "documents" if fields.models else None,
        account=account,
        example=dict(route.sample),
    )
