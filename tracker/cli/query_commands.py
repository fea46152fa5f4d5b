"""Commands that read: ``list``, ``show``, ``events``, ``why``, ``routes``, ``models``.

Those about tasks read the file when no daemon answers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import click

from tracker.cli.client import Json, task_path
from tracker.cli.exits import FAILED
from tracker.cli.expectation import is_late
from tracker.cli.render import (
    echo_event,
    echo_events,
    echo_json,
    echo_json_line,
    echo_result,
    echo_table,
    echo_task,
    echo_tasks,
    echo_why,
)
from tracker.cli.session import Session, echo_rest, json_option, with_session
from tracker.domain.text import about, count
from tracker.server.queries import DEFAULT_LIMIT, MAX_LIMIT, REASON, STATUS, parse_time

if TYPE_CHECKING:
    from tracker.cli.offline import Offline

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(rf"(\d{{1,6}}) ?({'|'.join(_UNITS)})")
_DAYS = {"today": 0, "yesterday": 1}
_WHEN = "(2h, today, yesterday, or ISO 8601)"
CURSOR_HELP = "next_cursor of the previous page."
limit_option = click.option(
    "--limit", type=click.IntRange(1, MAX_LIMIT), default=DEFAULT_LIMIT, show_default=True, help="Maximum number."
)


def parse_labels(context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Read ``k=v`` options."""
    labels: dict[str, str] = {}
    for value in map(_as_text, values):
        name, equals, text = value.partition("=")
        if not equals or not name:
            hint = f" (--q {value} searches all labels)" if context.command.name == "list" else ""
            raise click.BadParameter(f"{value!r} is not a label; write name=value{hint}")
        labels[name] = text
    return labels


def _as_text(argument: str) -> str:
    """Decode an argument as UTF-8 in any locale."""
    try:
        return os.fsencode(argument).decode()
    except UnicodeError as error:
        raise click.BadParameter("is not UTF-8 text") from error


def parse_time_option(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Read a time: ``2h`` ago, ``today`` and ``yesterday`` from midnight here, or ISO 8601, UTC without an offset."""
    if value is None:
        return None
    now = datetime.now().astimezone()
    if (ago := _AGO.fullmatch(value.lower())) is not None:
        return (now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).isoformat(timespec="milliseconds")
    if value.lower() in _DAYS:
        day = now.date() - timedelta(days=_DAYS[value.lower()])
        return datetime.combine(day, time()).astimezone().isoformat()
    try:
        return parse_time(value).isoformat()
    except ValueError:
        message = f"{value!r} must be 30min, 2h or 7d (ago), today, yesterday, or a time like 2026-11-20T20:42:00Z"
        raise click.BadParameter(message) from None


def _parse_text(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    return None if value is None else _as_text(value)


_FILTERS = (
    click.option(
        "--status", type=click.Choice(STATUS.choices, case_sensitive=False), help="Only tasks with this status."
    ),
    click.option("--provider", help="Only tasks of this provider."),
    click.option("--route", help="Only tasks of this route."),
    click.option("--account", help="Only tasks of this account."),
    click.option("--reason", type=click.Choice(REASON.choices), help="Only tasks that failed for this reason."),
    click.option(
        "--label", "labels", multiple=True, metavar="K=V", callback=parse_labels, help="Only with this label."
    ),
    click.option(
        "--q", metavar="TEXT", callback=_parse_text, help="Text in ids, model, error, request or labels (K=V)."
    ),
    click.option("--since", metavar="TIME", callback=parse_time_option, help=f"Created at or after this time {_WHEN}."),
    click.option("--until", metavar="TIME", callback=parse_time_option, help=f"Created before this time {_WHEN}."),
)


def filter_options(command: F) -> F:
    """Add the options that select tasks; `filter_query` makes a query of them."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def filter_query(labels: Mapping[str, str], options: Mapping[str, object]) -> dict[str, str]:
    """The query, or the filter in a body, that options mean."""
    query = {name: str(value) for name, value in options.items() if value is not None}
    return query | {f"label.{name}": value for name, value in labels.items()}


@click.command("list")
@filter_options
@limit_option
@click.option("--cursor", metavar="CURSOR", help=CURSOR_HELP)
@click.option("--ids", is_flag=True, help="Print only the ids, one per line.")
@json_option
@with_session
def list_tasks(session: Session, labels: dict[str, str], *, ids: bool, as_json: bool, **options: object) -> None:
    """List tasks, newest first."""
    if ids and as_json:
        raise click.UsageError("--ids and --json exclude each other")
    query = filter_query(labels, options)
    page = session.read(lambda client: client.get("/v1/tasks", query), lambda file: file.tasks(query))
    if as_json:
        echo_json(page)
        return
    if ids:
        for task in page["items"]:
            click.echo(task["id"])
    elif page["items"]:
        echo_tasks(page["items"], datetime.now(UTC))
    else:
        click.echo("no tasks", err=True)
        for name, value in labels.items():
            if "*" in value:
                click.echo(f"--label matches whole values; for a part: --q {name}={value.partition('*')[0]}", err=True)
    echo_rest(page)


@click.command()
@click.argument("task_id", metavar="ID")
@json_option
@with_session
def show(session: Session, task_id: str, *, as_json: bool) -> None:
    """Show everything about a task."""
    task, now = _look_up(session, task_id, (), lambda file, full: file.task(full)), datetime.now(UTC)
    ends_by = None
    if not as_json and is_late(task, now):
        ends_by = _look_up(session, task["id"], ("why",), lambda file, full: file.why(full))["ends_by"]
    echo_result(task, partial(echo_task, now=now, ends_by=ends_by), as_json=as_json)


@click.command()
@click.argument("task_id", metavar="ID", required=False)
@click.option(
    "-f", "--follow", is_flag=True, help="Show what comes from now on, until Ctrl-C; of all tasks without ID."
)
@json_option
@with_session
def events(session: Session, task_id: str | None, *, follow: bool, as_json: bool) -> None:
    """Show the history of a task, oldest first."""
    if follow:
        _follow_events(session, task_id, as_json=as_json)
        return
    if task_id is None:
        raise click.UsageError("name a task, or follow all of them: tracker events --follow")
    found = _look_up(session, task_id, ("events",), lambda file, full: file.events(full))
    echo_result(found, lambda page: echo_events(page["items"]), as_json=as_json)


def _follow_events(session: Session, task_id: str | None, *, as_json: bool) -> None:
    from tracker.cli.waiting import RESTART_S

    client = session.client
    query = {} if task_id is None else {"task": session.task_id(task_id, lambda q: client.get("/v1/tasks", q))}
    for message in client.follow(query, patience_s=RESTART_S):
        match message.kind:
            case "task" if as_json:
                echo_json_line(message.json)
            case "task":
                echo_event(message.json)
            case "gap":
                gap = message.json
                click.echo(f"retention has removed events {gap['from']} to {gap['to']}", err=True)
            case "lost":
                click.echo(f"{message.why}; waiting for it", err=True)
            case _:
                pass


@click.command()
@click.argument("task_id", metavar="ID")
@click.option("-v", "--verbose", is_flag=True, help="Show counts and rules too.")
@json_option
@with_session
def why(session: Session, task_id: str, *, verbose: bool, as_json: bool) -> None:
    """Explain the state of a task: what happened, what happens next, and what you can do."""
    explanation = _look_up(session, task_id, ("why",), lambda file, full: file.why(full))
    echo_result(explanation, partial(echo_why, verbose=verbose), as_json=as_json)


def _look_up(session: Session, text: str, rest: tuple[str, ...], look: Callable[[Offline, str], Json]) -> Json:
    """Ask the daemon for a task or for what is below it (``rest``), or read the file with ``look``."""
    return session.read(
        lambda client: client.get(task_path(session.task_id(text, lambda q: client.get("/v1/tasks", q)), *rest)),
        lambda file: look(file, session.task_id(text, file.tasks)),
    )


_models_account_option = click.option("--account", help="The account; required if there are several.")


@click.group()
def models() -> None:
    """List the models of an account."""


@models.command("list")
@_models_account_option
@json_option
@with_session
def list_models(session: Session, account: str | None, *, as_json: bool) -> None:
    """List the models of an account as last fetched."""
    found = session.client.get("/v1/models", {"account": account} if account else None)
    echo_result(found, _echo_models, as_json=as_json)


@models.command("sync")
@_models_account_option
@json_option
@with_session
def sync_models(session: Session, account: str | None, *, as_json: bool) -> None:
    """Fetch an account's lists of models now."""
    query = f"?account={quote(account, safe='')}" if account else ""
    found = session.client.post(f"/v1/models/sync{query}", None, answer_s=120.0)
    echo_result(found, _echo_models, as_json=as_json)
    if found["problems"]:
        raise click.exceptions.Exit(FAILED)


def _echo_models(found: Json) -> None:
    lists: dict[tuple[str, str, str], list[str]] = {}
    for item in found["items"]:
        model = item["id"], item["display_name"] or "-", (item["created_at"] or "-").partition("T")[0]
        lists.setdefault(model, []).append(item["family"])
    rows = [(name, ", ".join(sorted(by)), title, day) for (name, title, day), by in lists.items()]
    echo_table(("id", "listed by", "name", "created"), rows)
    age = "never fetched" if found["age_s"] is None else f"fetched {about(found['age_s'])} ago"
    click.echo(f"{count(len(lists), 'model')} of account {found['account']}, {age}", err=True)
    for problem in found["problems"]:
        click.echo(problem, err=True)
