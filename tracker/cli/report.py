"""``report``: how many tasks succeeded and failed, how long they took, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping

import click

from tracker.cli.client import Json
from tracker.cli.query_commands import parse_time_option
from tracker.cli.render import echo_json, echo_table
from tracker.cli.session import Session, json_option, with_session
from tracker.domain.costs import cost_from
from tracker.domain.report_divisions import parse_by
from tracker.domain.text import about

_WHEN = "(2h, today, yesterday, or ISO 8601)"
_NONE = "-"


def _parse_by(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return ",".join(parse_by(value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command(epilog="Today's failures, their reasons and what they cost: tracker report --by reason")
@click.option(
    "--since",
    metavar="TIME",
    callback=parse_time_option,
    default="today",
    show_default=True,
    help=f"Created at or after this time {_WHEN}.",
)
@click.option("--until", metavar="TIME", callback=parse_time_option, help=f"Created before this time {_WHEN}.")
@click.option(
    "--by",
    metavar="NAMES",
    callback=_parse_by,
    default="route",
    show_default=True,
    help="What to divide by: route, account, model, day, reason, label.NAME; several with commas; '' for one sum.",
)
@json_option
@with_session
def report(session: Session, *, since: str, until: str | None, by: str, as_json: bool) -> None:
    """Add up the tasks of a time: how many succeeded and failed, how long they took, and what they cost.

    p50 and p95 are the durations that half, and 95 %, of the successes did not exceed. Costs with "about" contain
    estimates by the price list.
    """
    query = {"since": since, "by": by, **({"until": until} if until is not None else {})}
    found = session.read(lambda client: client.get("/v1/report", query), lambda file: file.report(query))
    if as_json:
        echo_json(found)
        return
    names = by.split(",") if by else []
    if found["items"]:
        columns = [*names, "succeeded", "failed", "active", "p50", "p95", "cost"]
        echo_table(columns, [_row(item, names) for item in found["items"]])
    else:
        click.echo("no tasks", err=True)
    if notice := found.get("notice"):
        click.echo(notice, err=True)


def _row(item: Mapping[str, Json], names: list[str]) -> list[object]:
    costs = map(cost_from, (item["cost"], *item["other_costs"]))
    return [
        *(_NONE if item[name] is None else item[name] for name in names),
        *(item[name] for name in ("succeeded", "failed", "active")),
        *(_NONE if item[name] is None else about(item[name]) for name in ("p50_s", "p95_s")),
        ", ".join(cost.described() for cost in costs if cost is not None) or _NONE,
    ]
