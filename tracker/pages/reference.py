"""What can be submitted and called: routes, models, and the API reference. Nothing here can be changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import groupby
from shlex import quote
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from markupsafe import Markup

from tracker.domain.records import to_json
from tracker.domain.route_views import RouteView
from tracker.pages.json_view import write_json
from tracker.pages.texts import HOUR
from tracker.server.openapi import describe
from tracker.server.operations import OPERATIONS
from tracker.server.responses import OPENAPI_PATH
from tracker.server.routes import find_route, route_detail

if TYPE_CHECKING:
    from aiohttp import web

    from tracker.pages.site import Visit

Json = Any

_SCHEMA: Final = "#/components/schemas/"
OLD_LIST_S: Final = 48 * HOUR
_TAGS: Final = {
    "tasks": "Tasks",
    "hooks": "Hooks and deliveries",
    "system": "System",
    "callbacks": "Callbacks of providers",
}


# -- routes ----------------------------------------------------------------------------------------------------


async def show_routes(visit: Visit) -> web.StreamResponse:
    """Show every route, by provider."""
    routes = sorted(visit.services.registry.routes(), key=lambda route: route.name)
    groups = [(name, list(found)) for name, found in groupby(routes, key=lambda route: route.provider)]
    return await visit.render("routes.html", groups=groups, number=len(routes))


async def show_route(visit: Visit) -> web.StreamResponse:
    """Show the fields, the models and an example of a route.

    Raises:
        Problem: 404 with the nearest names.
    """
    services = visit.services
    route = find_route(services, visit.request.match_info["route"])
    account = route.account or ("default" if "default" in services.accounts else next(iter(services.accounts), None))
    listed = await services.store.list_models(account) if account in services.accounts and account else None
    detail = route_detail(route, account, (model.id for model in listed.models) if listed else ())
    example = orjson.dumps(detail["example"], option=orjson.OPT_INDENT_2).decode()
    body = orjson.dumps({"route": route.name, "request": detail["example"]}).decode()
    compact = orjson.dumps(detail["example"]).decode()
    return await visit.render(
        "route.html",
        route=to_json(RouteView, route, route=route.name),
        interval_s=route.poll_interval_s,
        detail=detail,
        example=example,
        command=f"tracker submit {route.name} -d {quote(compact)}",
        call=f"curl --json {quote(body)} {services.public_url() or 'http://127.0.0.1:8780'}/v1/tasks",
    )


# -- models ----------------------------------------------------------------------------------------------------


async def show_models(visit: Visit) -> web.StreamResponse:
    """Show the models of each account, as they were last fetched."""
    accounts = []
    for name in sorted(visit.services.accounts):
        listed = await visit.services.store.list_models(name)
        models = sorted(listed.models, key=lambda model: (model.family, model.id))
        is_old = listed.synced_at is not None and (visit.now - listed.synced_at).total_seconds() > OLD_LIST_S
        groups = [(family, list(found)) for family, found in groupby(models, key=lambda model: model.family)]
        accounts.append({"name": name, "synced_at": listed.synced_at, "is_old": is_old, "groups": groups})
    return await visit.render("models.html", accounts=accounts)


# -- the API ---------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A parameter, or a member of a schema."""

    name: str
    kind: Markup
    is_required: bool
    text: str


class Call(NamedTuple):
    """An operation of the API.

    Attributes:
        access: who may call it.
        body: names of the schemas of the request body.
        example: of the body; None without one.
        responses: status, meaning and content.
    """

    name: str
    method: str
    path: str
    summary: str
    description: str
    access: str
    parameters: Sequence[Row]
    body: Markup
    example: str | None
    responses: Sequence[tuple[str, str, Markup]]


class Schema(NamedTuple):
    """A schema of the API; one of several words has no members."""

    name: str
    text: str
    members: Sequence[Row]
    values: Sequence[str]


class Reference(NamedTuple):
    """The API reference.

    Attributes:
        groups: heading -> calls.
    """

    groups: Sequence[tuple[str, Sequence[Call]]]
    schemas: Sequence[Schema]


async def show_docs(visit: Visit) -> web.StreamResponse:
    """Show the API reference, made from the same table as ``/openapi.json``."""
    return await visit.render("docs.html", reference=read_reference(), openapi=OPENAPI_PATH.lstrip("/"))


@cache
def read_reference() -> Reference:
    """The reference, which depends on the table of operations alone."""
    document = describe(OPERATIONS)
    calls: dict[str, list[Call]] = {tag: [] for tag in _TAGS}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            calls.setdefault(operation["tags"][0], []).append(_call(path, method, operation))
    schemas = [_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    return Reference([(_TAGS.get(tag, tag.capitalize()), found) for tag, found in calls.items() if found], schemas)


def _call(path: str, method: str, operation: Mapping[str, Json]) -> Call:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    example = next(iter(content.get("examples", {}).values()), None)
    scopes = [scope for one in operation["security"] for names in one.values() for scope in names]
    return Call(
        name=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation.get("description", ""),
        access=f"scope {scopes[0]}" if scopes else "no token",
        parameters=[
            Row(one["name"], kind_of(one["schema"]), one.get("required", False), one.get("description", ""))
            for one in operation.get("parameters", ())
        ],
        body=kind_of(content["schema"]) if content.get("schema") else Markup(""),
        example=None if example is None else write_json(example["value"]),
        responses=[
            (status, one["description"], _content(one.get("content", {})))
            for status, one in operation["responses"].items()
        ],
    )


def _content(content: Mapping[str, Json]) -> Markup:
    """The schema of a response, else its media types."""
    pieces = [
        kind_of(form["schema"]) if "schema" in form else Markup("{}").format(name) for name, form in content.items()
    ]
    return Markup(" or ").join(pieces)


def _schema(name: str, schema: Mapping[str, Json]) -> Schema:
    required = schema.get("required", ())
    members = [
        Row(member, kind_of(form), member in required, form.get("description", ""))
        for member, form in schema.get("properties", {}).items()
    ]
    return Schema(name, schema.get("description", ""), members, [str(value) for value in schema.get("enum", ())])


def kind_of(schema: Mapping[str, Json]) -> Markup:
    """The type of a value in words, with links to schemas: ``Task or null``, ``list of string``."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_SCHEMA)
        return Markup('<a href="#schema-{}">{}</a>').format(name, name)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return _any_of(kind_of(one) for one in schema[several])
    if "const" in schema:
        return Markup("{}").format(orjson.dumps(schema["const"]).decode())
    if "enum" in schema:
        return Markup("{}").format(" | ".join("null" if value is None else str(value) for value in schema["enum"]))
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return _any_of(kind_of({**schema, "type": one}) for one in kind)
    if kind == "array":
        return Markup("list of {}").format(kind_of(schema.get("items", {})))
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return Markup("object of {}").format(kind_of(schema["additionalProperties"]))
    return Markup("{}").format({"date-time": "time"}.get(schema.get("format", ""), kind))


def _any_of(kinds: Iterable[Markup]) -> Markup:
    return Markup(" or ").join(dict.fromkeys(kinds))
