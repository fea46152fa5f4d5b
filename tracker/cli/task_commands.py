"""Commands that act on a task through the daemon: create one, wait, send again, name its upstream id."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from tracker.cli.batch import EPILOG, submit_batch
from tracker.cli.client import Json, task_path
from tracker.cli.exits import (
    FAILED,
    INTERRUPTED,
    USAGE,
    WARNING,
    Failure,
    Refused,
    Unreachable,
    severity_mark,
)
from tracker.cli.query_commands import parse_labels
from tracker.cli.render import clean, clean_text, describe_amount, describe_state, echo_json, echo_result, localize
from tracker.cli.session import Session, json_option, with_session
from tracker.cli.waiting import describe_failure, exit_code_of, follow, has_ended
from tracker.client import calls
from tracker.client.calls import Call
from tracker.client.downloads import ENDS, archive_items
from tracker.domain.text import NotText, about, decode_text

F = TypeVar("F", bound=Callable[..., Any])

_ARCHIVE_S = 20.0
"""How long ``--wait`` waits for the archive after the end."""

_label_option = click.option(
    "--label", "labels", multiple=True, metavar="K=V", callback=parse_labels, help="A label; repeatable."
)
_account_option = click.option("--account", help="The account to use. Default: the account of the provider.")
_timeout_option = click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), metavar="SECONDS", help="Stop waiting after this time."
)


def _check_key(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse an empty key: a request that is meant to have one must not go out without."""
    if value is not None and not value.strip():
        raise click.BadParameter("is empty; is the variable in it set? Without the option, the command makes a key")
    return value


def _key_option(text: str) -> Callable[[F], F]:
    return click.option("--idempotency-key", metavar="KEY", callback=_check_key, help=text)


@click.command(epilog=EPILOG)
@click.argument("route", required=False)
@click.option("-d", "--data", default="{}", metavar="JSON|@FILE|-", help="The request: JSON, a file, or stdin.")
@click.option("--batch", metavar="FILE|-", help="Submit many requests: a file with one JSON object per line.")
@_label_option
@_account_option
@_key_option("Submitting the same key again returns the same task.")
@click.option("--wait", is_flag=True, help="Wait for the end and print the outputs; of a batch, the counts.")
@_timeout_option
@click.option("--strict", is_flag=True, help="Refuse a field that no document of the route names.")
@click.option("--dry-run", is_flag=True, help="Only check; nothing is sent.")
@json_option
@with_session
def submit(
    session: Session,
    *,
    route: str | None,
    data: str,
    batch: str | None,
    labels: dict[str, str],
    account: str | None,
    idempotency_key: str | None,
    strict: bool,
    dry_run: bool,
    **output: Any,  # noqa: ANN401 - see _finish
) -> None:
    """Create a paid task on ROUTE and print its id, or with --wait its outputs.

    `tracker routes ROUTE` shows the fields of a request, and an example.
    """
    if batch is not None:
        if click.get_current_context().get_parameter_source("data") is ParameterSource.COMMANDLINE or idempotency_key:
            raise click.UsageError("a batch has requests and keys in its file; leave out --data and --idempotency-key")
        given = {"route": route, "labels": labels, "account": account}
        defaults = {name: value for name, value in given.items() if value is not None}
        submit_batch(session, batch, defaults, strict=strict, dry_run=dry_run, **output)
        return
    if route is None:
        raise click.UsageError("Missing argument 'ROUTE'.")
    # a generated key makes a repetition safe when the response is lost
    key = f"cli-{uuid.uuid4()}" if idempotency_key is None else idempotency_key
    request = read_data(data)
    if dry_run:
        price = _check(session, calls.make_body(route, request, labels=labels, account=account), strict=strict)
        if as_json := output["as_json"]:
            echo_json({"price": price})
        shown = f" it would cost about {describe_amount(price)};" if price and not as_json else ""
        click.echo(f"the request is valid;{shown} nothing was sent", err=True)
        return
    try:
        create = partial(calls.submit, route, request, labels=labels, account=account, idempotency_key=key)
        task = _create(session, create, strict=strict)
    except Unreachable as error:
        hint = f"to see the result, run the same command again with --idempotency-key {key}"
        raise Failure([*error.lines, *([hint] if error.is_sent else [])], error.exit_code) from error
    _finish(session, task, **output)


def _create(session: Session, create: Callable[..., Call], *, strict: bool) -> Json:
    """Create a task. Fields that no document names are warned about before anything is sent.

    Raises:
        Failure: with ``strict``, or because of the answer on a terminal.
    """
    try:
        return session.client.read(create(strict=True))
    except Refused as refusal:
        _warn_of_fields(refusal, strict=strict)
    call = create()
    if sys.stdin.isatty() and not click.confirm("Send it all the same? It may be charged.", err=True):
        raise Failure([f"nothing was sent; the fields: tracker routes {call.body['route']}"], FAILED)
    return session.client.read(call)


def _check(session: Session, body: Json, *, strict: bool) -> Json:
    """Have a submit checked; returns its price. Fields that no document names are warned about.

    Raises:
        Refused: the request is invalid; with ``strict`` also because of such a field.
    """
    try:
        return session.client.check(body, strict=True)[1]
    except Refused as refusal:
        _warn_of_fields(refusal, strict=strict)
    return session.client.check(body, strict=False)[1]


def _warn_of_fields(refusal: Refused, *, strict: bool) -> None:
    """Print a warning for each field that no document names.

    Raises:
        Refused: the reason is another one, or ``strict`` is set.
    """
    if strict or refusal.kind != "unknown-fields":
        raise refusal
    for error in refusal.errors:
        name = ".".join(map(str, error["loc"][1:]))
        click.echo(clean(f"{severity_mark(WARNING)}warning: {name}: {error['msg']}"), err=True)


@click.command()
@click.argument("route")
@click.argument("external_id")
@_label_option
@_account_option
@click.option("--wait", is_flag=True, help="Wait for the end and print the outputs.")
@_timeout_option
@json_option
@with_session
def track(
    session: Session,
    *,
    route: str,
    external_id: str,
    labels: dict[str, str],
    account: str | None,
    **output: Any,  # noqa: ANN401 - see _finish
) -> None:
    """Follow a task that was created elsewhere and has the id EXTERNAL_ID at the service; print its id."""
    _finish(session, session.client.read(calls.track(route, external_id, labels=labels, account=account)), **output)


@click.command("wait")
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@_timeout_option
@json_option
@with_session
def wait_for(session: Session, task_ids: tuple[str, ...], *, timeout_s: float | None, as_json: bool) -> None:
    """Wait until tasks end: exit 0 if all succeeded, 1 if one failed, 124 on timeout."""
    tasks = list(follow(session.client, [session.full_id(text) for text in task_ids], timeout_s).values())
    if as_json:
        echo_json(tasks[0] if len(tasks) == 1 else {"items": tasks})
    else:
        for task in tasks:
            if has_ended(task) or sys.stderr.isatty():  # elsewhere the progress has shown it
                click.echo(describe_state(task))
    if unfinished := [str(task["id"]) for task in tasks if not has_ended(task)]:
        after = f" after {about(timeout_s)}" if timeout_s is not None else ""
        goes_on = "the task continues" if len(unfinished) == 1 else "the tasks continue"
        click.echo(f"not finished{after}; {goes_on}: tracker wait {' '.join(unfinished)}", err=True)
    raise click.exceptions.Exit(exit_code_of(tasks))


@click.command()
@click.argument("task_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask, although the first job may have been charged.")
@_key_option("A key of your own, to send the request more than once.")
@click.option("--wait", is_flag=True, help="Wait for the end and print the outputs.")
@_timeout_option
@json_option
@with_session
def resubmit(
    session: Session,
    task_id: str,
    *,
    yes: bool,
    idempotency_key: str | None,
    **output: Any,  # noqa: ANN401 - see _finish
) -> None:
    """Send the request of a task again, as a new paid task with its labels and account; print the new id.

    The same task is sent again once: repeating the command prints the same new id.
    """
    first = session.client.get(task_path(session.full_id(task_id)))
    if not yes and (charge := _possible_charge(first)):
        _confirm_charge(charge)
    _finish(session, session.client.read(calls.resubmit(str(first["id"]), idempotency_key)), **output)


def _possible_charge(task: Json) -> str | None:
    """Why the first job of a task may cost money beside a second one; None if it was certainly not accepted."""
    if task["status"] == "SUCCEEDED":
        return "the first job succeeded"
    if task["status"] != "FAILED":
        return "the first job has not ended"
    if task["external_id"] is None and task["reason"] != "submit_unknown":
        return None
    return f"the first job failed ({task['reason']}) after the service may have accepted it"


def _confirm_charge(charge: str) -> None:
    """Ask on a terminal.

    Raises:
        Failure: the answer is no, or there is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        raise Failure([f"{charge}, so both may be charged; to send the request all the same, add --yes"], USAGE)
    if not click.confirm(f"{charge}, so both may be charged. Send the request again?", err=True):
        raise Failure(["nothing was sent"], FAILED)


@click.command()
@click.argument("task_id", metavar="ID")
@click.argument("external_id", metavar="EXTERNAL_ID")
@json_option
@with_session
def adopt(session: Session, task_id: str, external_id: str, *, as_json: bool) -> None:
    """Give a task whose create got no clear answer the service's id, and follow it.

    The id is in the console of the service. A task that was given up stays FAILED until its success is reported.
    """
    task = session.client.read(calls.adopt(session.full_id(task_id), external_id))
    echo_result(task, lambda task: click.echo(describe_state(task)), as_json=as_json)


def read_data(data: str) -> Json:
    """Read the request of ``submit``.

    Args:
        data: JSON, ``@`` and a file's name, or ``-`` for standard input.

    Raises:
        Failure: it cannot be read, or is not a JSON object.
    """
    data = "-" if data == "@-" else data  # like curl
    where = "standard input" if data == "-" else data[1:] if data.startswith("@") else "--data"
    try:
        if data == "-":
            text = sys.stdin.buffer.read()
        else:
            text = Path(where).read_bytes() if data.startswith("@") else os.fsencode(data)
    except OSError as error:
        raise Failure([f"{where}: cannot be read ({error.strerror})"], USAGE) from error
    try:
        value = json.loads(decode_text(text))  # UTF-8 in any locale, with or without a byte order mark
    except NotText as error:
        raise Failure([f"{where}: {error}"], USAGE) from None
    except ValueError as error:
        raise Failure([f"{where}: is not JSON: {error}"], USAGE) from error
    if not isinstance(value, dict):
        raise Failure([f'{where}: must be a JSON object, for example {{"prompt": "…"}}'], USAGE)
    return value


def _finish(session: Session, task: Json, *, wait: bool, timeout_s: float | None, as_json: bool) -> None:
    """Print the result of ``submit`` and ``track``, and exit by the status of the task."""
    task_id = str(task["id"])
    if not wait:
        echo_result(task, lambda _task: click.echo(task_id), as_json=as_json)
        if task["status"] == "FAILED":
            raise Failure([describe_failure(task)], FAILED)
        if not as_json:
            _echo_why_not_accepted(session, task)
        return
    if not as_json:
        _echo_why_not_accepted(session, task)
    try:
        task = follow(session.client, [task_id], timeout_s)[task_id]
    except KeyboardInterrupt:
        click.echo(f"\nstopped waiting; the task continues: tracker wait {task_id}", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    if as_json:
        echo_json(task)
    elif task["status"] == "SUCCEEDED":
        _echo_outputs(session, task)
    if task["status"] == "FAILED":
        raise Failure([describe_failure(task)], FAILED)
    if not has_ended(task):
        click.echo(f"not finished; the task continues: tracker wait {task_id}", err=True)
    raise click.exceptions.Exit(exit_code_of([task]))


def _echo_why_not_accepted(session: Session, task: Json) -> None:
    """Tell on standard error why the first attempt gave a task no upstream id, as with an account that is held."""
    if task["status"] != "PENDING" or task["external_id"] is not None:
        return
    try:
        why = session.client.get(task_path(str(task["id"]), "why"))
    except Failure:
        return  # the task is stored, whatever happened to the daemon since
    click.echo(clean(localize(why["summary"], datetime.now(UTC))), err=True)


def _echo_outputs(session: Session, task: Json) -> None:
    """Print each output: its archived file or its address at the daemon, else the upstream URL, which expires."""
    task_id = str(task["id"])
    unsaved: list[Json] = []
    if any(output.get("text") is None for output in task["outputs"]):  # also a file that came inline, without a URL
        task, unsaved = _archived(session, task)
    for output in task["outputs"]:
        if output.get("archived"):
            click.echo(clean(_archived_location(session, task_id, output)))
        elif shown := output.get("url") or output.get("path"):
            click.echo(clean(shown))
        elif text := output.get("text"):
            click.echo(clean_text(text))
        else:
            click.echo(f"output {output['n']} has no public URL: tracker show {task_id}", err=True)
    for item in unsaved:
        why = f" ({item['error']})" if item["error"] else ""
        fix = "its URL expires; to save it: tracker download"
        click.echo(clean(f"output {item['n']} is not saved yet{why}; {fix} {task_id}"), err=True)


def _archived(session: Session, task: Json) -> tuple[Json, list[Json]]:
    """The task when its files are archived or dead, at most after `_ARCHIVE_S`; and the files that are not archived."""
    task_id = str(task["id"])
    items: list[Json] = []
    try:
        with session.client.failures():
            for items in archive_items(session.client.transport, task_id, time.monotonic() + _ARCHIVE_S):
                if all(item["state"] in ENDS or item["error"] for item in items):
                    break
        return session.client.get(task_path(task_id)), [item for item in items if item["state"] != "stored"]
    except Failure:
        return task, []  # an older daemon, or a stopped one: the task has succeeded anyway


def _archived_location(session: Session, task_id: str, output: Mapping[str, Json]) -> str:
    """The path of the archived file if it is on this machine, else its address at the daemon."""
    if session.is_configured_daemon:
        file = session.config.archive_path / str(output["path"])
        with contextlib.suppress(OSError):
            if file.is_file():
                return str(file)
    return session.client.url + task_path(task_id, "outputs", str(output["n"]))
