"""``poll`` and ``cancel``: of one task, or of all that match a filter."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from tracker.cli.client import Json
from tracker.cli.exits import FAILED, USAGE, Failure
from tracker.cli.query_commands import filter_options, filter_query
from tracker.cli.render import describe_state, echo_result
from tracker.cli.session import Session, json_option, with_session
from tracker.client import calls
from tracker.client.calls import Call
from tracker.domain.text import count

_MANY_ANSWER_S = 3600.0
"""An action on a million tasks takes minutes."""
_WORDS = {
    "poll": ("task", "tasks", "polled"),
    "cancel": ("task", "tasks", "canceled"),
    "retry-deliveries": ("delivery", "deliveries", "retried"),
}
"""Action -> what it is for, the same of many, and what was done."""

dry_run_option = click.option("--dry-run", is_flag=True, help="Only count what matches; nothing is done.")


@click.command()
@click.argument("task_id", metavar="[ID]", required=False)
@filter_options
@dry_run_option
@json_option
@with_session
def poll(
    session: Session,
    task_id: str | None,
    *,
    labels: dict[str, str],
    dry_run: bool,
    as_json: bool,
    **options: str | None,
) -> None:
    """Poll a task now, or all unfinished ones that match the options.

    Those that were given up are polled with --status FAILED or --reason. Many are polled at the rate of their account.
    """
    if (filters := _choose(task_id, filter_query(labels, options), is_dry=dry_run)) is not None:
        echo_acted(act_on_many(session, "poll", filters, dry_run=dry_run), "poll", as_json=as_json, is_dry=dry_run)
        return
    task = _act(session, str(task_id), calls.poll, as_json=as_json)
    if task["external_id"] is None:
        click.echo("the service has named no id for this task, so the tracker could not ask", err=True)


@click.command()
@click.argument("task_id", metavar="[ID]", required=False)
@filter_options
@dry_run_option
@click.option("--yes", is_flag=True, help="Do not ask before many are canceled.")
@json_option
@with_session
def cancel(
    session: Session,
    task_id: str | None,
    *,
    labels: dict[str, str],
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **options: str | None,
) -> None:
    """Stop following a task, or all unfinished ones that match the options.

    The service does not learn of it, and may charge for the jobs.
    """
    filters = _choose(task_id, filter_query(labels, options), is_dry=dry_run)
    if filters is None:
        _act(session, str(task_id), calls.cancel, as_json=as_json)
        return
    if not (dry_run or yes):
        matched = act_on_many(session, "cancel", filters, dry_run=True)["matched"]
        if matched and not sys.stdin.isatty():
            raise Failure([f"{count(matched, 'task')} would be canceled; to cancel, add --yes"], USAGE)
        if matched and not click.confirm(
            f"Cancel {count(matched, 'task')}? The service may charge for them.", err=True
        ):
            raise Failure(["nothing was canceled"], FAILED)
    echo_acted(act_on_many(session, "cancel", filters, dry_run=dry_run), "cancel", as_json=as_json, is_dry=dry_run)


def act_on_many(session: Session, action: str, filters: dict[str, str], *, dry_run: bool) -> Json:
    """Have the daemon act on all tasks that match; the counts."""
    body = {"action": action, "filter": filters, "dry_run": dry_run}
    return session.client.post("/v1/tasks/actions", body, answer_s=_MANY_ANSWER_S)


def _choose(task_id: str | None, filters: dict[str, str], *, is_dry: bool) -> dict[str, str] | None:
    """The filters of an action on many tasks; None: it is for one.

    Raises:
        Failure: neither is named, or both are.
    """
    if (task_id is None) == (not filters):
        raise Failure(["name one task by its ID, or select many by options such as --route or --label"], USAGE)
    if task_id is not None and is_dry:
        raise Failure(["--dry-run counts what options select; leave out the ID"], USAGE)
    return filters or None


def echo_acted(answer: Json, action: str, *, as_json: bool, is_dry: bool) -> None:
    """Print the counts."""
    one, many, done = _WORDS[action]
    matched = answer["matched"]
    named = f"{matched} {one} matches" if matched == 1 else f"{matched} {many} match"
    rest = "nothing was done" if is_dry else f"{answer['done']} {done}"
    echo_result(answer, lambda _answer: click.echo(f"{named}; {rest}"), as_json=as_json)


def _act(session: Session, task_id: str, action: Callable[[str], Call], *, as_json: bool) -> Json:
    task = session.client.read(action(session.full_id(task_id)))
    echo_result(task, lambda task: click.echo(describe_state(task)), as_json=as_json)
    return task
