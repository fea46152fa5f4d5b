"""``hooks list`` and ``test``, ``deliveries list`` and ``retry``.

A test runs in this process with this environment, with or without a daemon; nothing is recorded.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import click

from tracker.cli.action_commands import act_on_many, dry_run_option, echo_acted
from tracker.cli.client import Json
from tracker.cli.exits import FAILED, USAGE, Failure
from tracker.cli.query_commands import filter_query, limit_option, parse_labels, parse_time_option
from tracker.cli.render import (
    clean,
    clock_time,
    due,
    echo_fields,
    echo_heading,
    echo_json,
    echo_result,
    echo_table,
    when,
)
from tracker.cli.session import Session, echo_rest, json_option, with_session
from tracker.server.queries import DELIVERY_STATUS, POSITION_DIGITS, RETRIED_STATUS

if TYPE_CHECKING:
    from tracker.config import Config
    from tracker.config.hooks import HookSpec
    from tracker.hooks.trial import Trial
    from tracker.hooks.trust import Objection

_OUTCOMES = {
    "succeeded": "succeeded",
    "retry": "would be retried",
    "failed_for_good": "failed",
    "gone": "failed, and disables the hook",
}
"""The outcome of a run, as text."""


@click.group()
def hooks() -> None:
    """List hooks and their health; test a hook."""


@hooks.command("list")
@json_option
@with_session
def list_hooks(session: Session, *, as_json: bool) -> None:
    """List hooks with their health and deliveries."""
    found = session.read(
        lambda client: client.get("/v1/hooks"),
        lambda file: _list_offline(session.config_with_hooks, file.count_deliveries()),
    )
    echo_result(found, _echo_hooks, as_json=as_json)


def _echo_hooks(found: Json) -> None:
    for item in found.get("ignored", ()):  # absent in older versions
        fix = f"; {clean(item['fix'])}" if item["fix"] else ""
        click.echo(f"ignored: {clean(item['file'])}: {clean(item['reason'])}{fix}", err=True)
    if not found["items"]:
        click.echo("no hooks", err=True)
        return
    now = datetime.now(UTC)
    echo_table(
        ("name", "kind", "on", "state", "running", "pending", "failed", "dead", "last success", "detail"),
        [
            (
                item["name"],
                item["kind"] or "-",
                ",".join(item["on"]) or "-",
                item["state"],
                item["running"],
                *(item["deliveries"][status] for status in ("pending", "failed", "dead")),
                when(item["last_success_at"], now) or "-",
                _detail(item, now),
            )
            for item in found["items"]
        ],
    )


@hooks.command("test")
@click.argument("name", metavar="NAME")
@click.option("--event", metavar="EVENT", help="Default: the first event the hook subscribes to.")
@json_option
@with_session
def test_hook(session: Session, name: str, *, event: str | None, as_json: bool) -> None:
    """Run the hook NAME twice with one synthetic event: exit 0 if both runs succeed.

    Hooks must be idempotent, because deliveries are at least once: the two results are compared.
    """
    from tracker.errors import ConfigError
    from tracker.hooks.runner import RunOutcome
    from tracker.hooks.trial import choose_event, is_same_answer
    from tracker.systemd import protect_memory

    specs = {spec.name: spec for spec in _read_all(session.config_with_hooks)[0]}
    if name not in specs:
        raise _no_such_hook(name, specs)
    spec = specs[name]
    try:
        event = choose_event(spec, event)
    except ConfigError as error:
        raise Failure(error.problems, USAGE) from error
    protect_memory()  # the hook must not read the keys of the environment
    first, second = asyncio.run(_try(spec, event))
    same = is_same_answer(first, second)
    if as_json:
        runs = [first.as_json(), second.as_json()]
        echo_json({"hook": name, "kind": spec.action.kind, "event": event, "runs": runs, "same_answer": same})
    else:
        for n, trial in enumerate((first, second), 1):
            _echo_trial(n, event, trial)
        click.echo("The second run gave the same result." if same else "The second run CHANGED the result.")
    if any(trial.result.outcome is not RunOutcome.SUCCEEDED for trial in (first, second)):
        raise click.exceptions.Exit(FAILED)


async def _try(spec: HookSpec, event: str) -> tuple[Trial, Trial]:
    from tracker.clock import SystemClock
    from tracker.hooks.kinds.registry import make_runners
    from tracker.hooks.runner import Closes, Tools
    from tracker.hooks.trial import try_twice

    clock = SystemClock()
    runner = make_runners(Tools(environ=os.environ, clock=clock))[spec.action.kind]
    try:
        return await try_twice(spec, runner, event, clock)
    finally:
        if isinstance(runner, Closes):
            await runner.close()


def _read_all(config: Config) -> tuple[list[HookSpec], Mapping[str, Objection]]:
    """The configured hooks and the drop-ins; and the ignored files."""
    from tracker.hooks.dropins import DropIns
    from tracker.hooks.kinds.registry import read_hooks

    specs = read_hooks(config)
    if config.hooks_path is None:
        return specs, {}
    dropins = DropIns(config.hooks_path)
    specs += dropins.scan({spec.name for spec in specs}).values()
    return specs, dropins.ignored


def _no_such_hook(name: str, known: Collection[str]) -> Failure:
    """The error for an unknown name."""
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'none'}"
    return Failure([f"no hook is named {name!r}; {hint}"], USAGE)


def _list_offline(config: Config, counts: dict[str, dict[str, int]]) -> Json:
    from tracker.hooks.health import describe_hook, describe_ignored
    from tracker.server.hooks import merge_counts

    specs, ignored = _read_all(config)
    items = merge_counts([describe_hook(spec, None, 0) for spec in specs], counts)
    return {"items": items, "ignored": describe_ignored(ignored)}


def _detail(item: Json, now: datetime) -> str:
    since = f"since {when(item['failing_since'], now)}: " if item.get("failing_since") else ""
    wait = f"retry in {item['retry_in_s']:.0f} s: " if item["retry_in_s"] is not None else ""
    return f"{since}{wait}{item['last_error'] or ''}"


def _echo_trial(number: int, event: str, trial: Trial) -> None:
    result = trial.result
    error = f": {clean(result.error)}" if result.error else ""
    click.echo(f"run {number} with {event}: {_OUTCOMES[result.outcome.value]} (took {trial.took_s:.2f} s){error}")
    for line in (result.output or "").splitlines():
        click.echo(f"  {clean(line)}")


_hook_option = click.option("--hook", metavar="NAME", help="Only of this hook.")
_since_option = click.option(
    "--since",
    metavar="TIME",
    callback=parse_time_option,
    help="Only created at or after this time (2h, today, yesterday, or ISO 8601).",
)


_OF_DELIVERIES = ("hook", "status", "since")


@click.group()
def deliveries() -> None:
    """List deliveries; retry failed ones."""


@deliveries.command("list")
@_hook_option
@click.option("--status", type=click.Choice(DELIVERY_STATUS.choices), help="Only deliveries with this status.")
@_since_option
@limit_option
@click.option(
    "--cursor",
    metavar="CURSOR",
    type=click.IntRange(0, 10**POSITION_DIGITS - 1),
    help="next_cursor of the previous page.",
)
@json_option
@with_session
def list_deliveries(session: Session, *, as_json: bool, **options: object) -> None:
    """List deliveries of all tasks, newest first."""
    query = {name: str(value) for name, value in options.items() if value is not None}
    page = session.read(lambda client: client.get("/v1/deliveries", query), lambda file: file.deliveries(query))
    echo_result(page, _echo_deliveries, as_json=as_json)


def _echo_deliveries(page: Json) -> None:
    if not page["items"]:
        click.echo("no deliveries", err=True)
        echo_rest(page)
        return
    now = datetime.now(UTC)
    echo_table(
        ("id", "status", "event", "task", "attempts", "age", "next", "detail"),
        [
            (
                *(item[name] for name in ("id", "status", "event")),
                item["task_id"] or f"{item.get('alarm_kind')} {item.get('alarm_subject')}",
                item["attempts"],
                when(item["created_at"], now).removesuffix(" ago"),
                due(item["next_attempt_at"], now) or "-",
                item["error"] or "",
            )
            for item in page["items"]
        ],
    )
    echo_rest(page)


@deliveries.command("show")
@click.argument("delivery_id", metavar="ID")
@json_option
@with_session
def show_delivery(session: Session, delivery_id: str, *, as_json: bool) -> None:
    """Show a delivery, with its attempts and what its hook printed."""
    path = f"/v1/deliveries/{quote(delivery_id, safe='')}"
    found = session.read(lambda client: client.get(path), lambda file: file.delivery(delivery_id))
    echo_result(found, _echo_delivery, as_json=as_json)


def _echo_delivery(item: Json) -> None:
    attempts = item.get("attempt_history", ())  # absent in older versions
    echo_fields([(name, value) for name, value in item.items() if name not in {"output", "attempt_history"}])
    if attempts:
        echo_heading("Attempts")
        now = datetime.now(UTC)
        echo_table(
            ("attempt", "outcome", "started", "took", "error", "printed last"),
            [
                (
                    one["attempt"],
                    one["outcome"],
                    clock_time(one["started_at"], now) if one["started_at"] else "-",
                    "-" if one["took_s"] is None else f"{one['took_s']:.3g} s",
                    one["error"] or "",
                    ((one["output"] or "").splitlines() or [""])[-1],
                )
                for one in attempts
            ],
        )
    if item["output"]:
        echo_heading("Output")
        for line in item["output"].splitlines():
            click.echo(f"  {clean(line)}")


@deliveries.command("retry")
@click.argument("delivery_ids", metavar="[ID...]", nargs=-1)
@click.option("--again", is_flag=True, help="Also run those IDs again that succeeded.")
@_hook_option
@click.option("--status", type=click.Choice(RETRIED_STATUS.choices), help="Only deliveries with this status.")
@_since_option
@click.option("--provider", help="Only of tasks of this provider.")
@click.option("--route", help="Only of tasks of this route.")
@click.option("--account", help="Only of tasks of this account.")
@click.option("--label", "labels", multiple=True, metavar="K=V", callback=parse_labels, help="Only of tasks with it.")
@dry_run_option
@json_option
@with_session
def retry_deliveries(
    session: Session,
    delivery_ids: tuple[str, ...],
    *,
    again: bool,
    labels: dict[str, str],
    dry_run: bool,
    as_json: bool,
    **options: str | None,
) -> None:
    """Retry failed and dead deliveries: by ID, or all that match the options.

    Options that select deliveries (--hook, --status, --since) and options that select tasks do not go together.
    """
    query = {name: value for name in _OF_DELIVERIES if (value := options.pop(name)) is not None}
    filters = filter_query(labels, options)
    if sum(map(bool, (delivery_ids, query, filters))) != 1:
        ways = "--hook, --status or --since, or by their tasks with --provider, --route, --account or --label"
        raise Failure([f"name deliveries by id, or select them with {ways}"], USAGE)
    if again and not delivery_ids:
        raise Failure(["--again runs single deliveries again: name them by id"], USAGE)
    if dry_run and not filters:
        raise Failure(["--dry-run counts the deliveries of tasks: select these with --route, --label or others"], USAGE)
    if filters:
        answer = act_on_many(session, "retry-deliveries", filters, dry_run=dry_run)
        echo_acted(answer, "retry-deliveries", as_json=as_json, is_dry=dry_run)
        return
    if delivery_ids:
        more = "?again=true" if again else ""
        items = [session.client.post(f"/v1/deliveries/{quote(one, safe='')}/retry{more}") for one in delivery_ids]
        echo_result({"items": items}, _echo_retried, as_json=as_json)
        return
    answer = session.client.post(f"/v1/deliveries/retry?{urlencode(query)}")
    if (hook := query.get("hook")) is not None and not answer["retried"]:
        # a hook that was removed from the configuration is still listed
        names = [item["name"] for item in session.client.get("/v1/hooks")["items"]]
        if hook not in names:
            raise _no_such_hook(hook, names)
    count = answer["retried"]
    text = f"{count} {'delivery' if count == 1 else 'deliveries'} retried"
    echo_result(answer, lambda _answer: click.echo(text), as_json=as_json)


def _echo_retried(page: Json) -> None:
    for item in page["items"]:
        if item["status"] == "succeeded":  # the daemon retries only failed and dead ones
            when_done = clock_time(item["finished_at"], datetime.now(UTC))
            click.echo(f"{item['id']} succeeded at {when_done}; --again runs it once more", err=True)
        else:
            click.echo(f"{item['id']} {item['status']}")
