"""The command ``routes``: all routes, or what a request of one needs."""

from __future__ import annotations

import json
import shlex
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from tracker.cli.client import Json
from tracker.cli.exits import FAILED, Failure, Unreachable
from tracker.cli.render import clean, echo_result, echo_table
from tracker.cli.session import Session, json_option, with_session

if TYPE_CHECKING:
    from tracker.providers.registry import Registry


@click.command()
@click.argument("route", required=False)
@click.option("--account", help="The account whose models are listed. Default: that of the route.")
@json_option
@with_session
def routes(session: Session, route: str | None, *, account: str | None, as_json: bool) -> None:
    """List the routes for tasks, or show the fields, models and an example of ROUTE."""
    if route is None and account is not None:
        raise click.UsageError("--account needs a ROUTE")
    query = {"account": account} if account else None
    try:
        found = session.client.get(f"/v1/routes/{quote(route, safe='')}" if route else "/v1/routes", query)
    except Unreachable as error:
        click.echo(f"{session.describe_absence(error)}; listing the routes of this installation", err=True)
        found = _own_route(session, route) if route else {"items": _own_routes(session)}
    echo_result(found, _echo_route if route else _echo_routes, as_json=as_json)


def _echo_routes(page: Json) -> None:
    rows = [
        (item["route"], item["mode"], "yes" if item["callback"] else "no", item["create"], item["query"] or "-")
        for item in page["items"]
    ]
    echo_table(("route", "mode", "callback", "create", "query"), rows)
    click.echo("the fields of one, with an example: tracker routes ROUTE", err=True)


def _echo_route(route: Json) -> None:
    """The paths, the fields, the models, and the command of an example."""
    show = partial(_echo_line, width=max(map(len, ("create", "query", "models", "source"))))
    click.echo(clean(f"{route['route']}: {route['asset']}"))
    show("create", route["create"])
    show("query", route["query"] or "none: the answer to the create is the result")
    if route["models"]:
        origin = "of the documents" if route["models_source"] == "documents" else f"of account {route['account']}"
        show("models", f"{', '.join(route['models'])} ({origin})")
    show("source", route["fields_source"] or route["source"])
    click.echo()
    rows = [(field["name"], _required(field), field["type"], _meaning(field)) for field in route["fields"]]
    if rows:
        echo_table(("field", "required", "type", "meaning"), rows)
        click.echo()
    if route["fields_complete"]:
        click.echo("A field that is not listed is warned about; --strict refuses it.")
    else:
        click.echo("The list is not complete: other fields are sent unchecked.")
    example = json.dumps(route["example"], ensure_ascii=False)
    click.echo()
    click.echo(clean(f"tracker submit {route['route']} -d {shlex.quote(example)}"))


def _echo_line(name: str, text: str, width: int) -> None:
    click.echo(clean(f"{name:<{width}}  {text}"))


def _required(field: Json) -> str:
    if not field["required"]:
        return "-"
    return "depends" if field["condition"] else "yes"


def _meaning(field: Json) -> str:
    """The meaning, with values and condition."""
    text = str(field["meaning"]).removesuffix(".")
    if field["values"]:
        text += f": {', '.join(map(_shown, field['values']))}"
    if field["condition"]:
        text += f" ({'required ' if field['required'] else ''}{field['condition']})"
    return text.removeprefix(": ")


def _shown(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _own_route(session: Session, name: str) -> Json:
    """A route of this installation, without the models of an account.

    Raises:
        Failure: it is unknown.
    """
    from tracker.domain.nearest import did_you_mean
    from tracker.server.routes import route_detail

    registry = _registry(session)
    route = registry.find_route(name)
    if route is None:
        hint = did_you_mean(name, registry.names()["route"]) or "tracker routes lists all"
        raise Failure([f"no route is named {name!r}; {hint}"], FAILED)
    return route_detail(route, route.account)


def _own_routes(session: Session) -> list[Json]:
    names = ("provider", "create", "query", "mode", "callback", "signature", "source")
    return [
        {"route": route.name} | {name: getattr(route, name) for name in names} for route in _registry(session).routes()
    ]


def _registry(session: Session) -> Registry:
    from tracker.daemon.provider_files import read_registry

    return read_registry(session.config.providers_path)
