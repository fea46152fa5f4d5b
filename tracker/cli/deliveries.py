"""Commands about deliveries: ``deliveries list`` and ``deliveries retry``."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote, urlencode

import click

from tracker.cli.exits import USAGE, Failure
from tracker.cli.hooks import no_such_hook
from tracker.cli.look import limit_option, parse_time_option
from tracker.cli.render import due, echo_json, echo_table, when
from tracker.cli.session import Session, json_option, next_page_command, with_session
from tracker.server.queries import DELIVERY_STATUS, POSITION_DIGITS, RETRIED_STATUS

_hook_option = click.option("--hook", metavar="NAME", help="Only of this hook.")
_since_option = click.option(
    "--since", metavar="TIME", callback=parse_time_option, help="Only created at or after this time (ISO 8601)."
)


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
    if as_json:
        echo_json(page)
        return
    if not page["items"]:
        click.echo("no deliveries", err=True)
        return
    now = datetime.now(UTC)
    echo_table(
        ("id", "status", "event", "task", "attempts", "age", "next", "detail"),
        [
            (
                item["id"],
                item["status"],
                item["event"],
                item["task_id"],
                item["attempts"],
                when(item["created_at"], now).removesuffix(" ago"),
                due(item["next_attempt_at"], now) or "-",
                item["error"] or "",
            )
            for item in page["items"]
        ],
    )
    if page["next_cursor"]:
        click.echo(f"more: {next_page_command(page['next_cursor'])}", err=True)


@deliveries.command("retry")
@click.argument("delivery_ids", metavar="[ID...]", nargs=-1)
@_hook_option
@click.option("--status", type=click.Choice(RETRIED_STATUS.choices), help="Only deliveries with this status.")
@_since_option
@json_option
@with_session
def retry_deliveries(
    session: Session,
    delivery_ids: tuple[str, ...],
    *,
    hook: str | None,
    status: str | None,
    since: str | None,
    as_json: bool,
) -> None:
    """Retry failed and dead deliveries: by ID, or all that match the options."""
    given = {"hook": hook, "status": status, "since": since}
    query = {name: value for name, value in given.items() if value is not None}
    if bool(delivery_ids) == bool(query):
        raise Failure(["name deliveries by id, or select them with --hook, --status or --since"], USAGE)
    if delivery_ids:
        items = [session.client.post(f"/v1/deliveries/{quote(one, safe='')}/retry") for one in delivery_ids]
        if as_json:
            echo_json({"items": items})
            return
        for item in items:
            if item["status"] == "succeeded":  # the daemon runs failed and dead ones alone
                click.echo(f"{item['id']} has already succeeded; it was not retried", err=True)
            else:
                click.echo(f"{item['id']} {item['status']}")
        return
    answer = session.client.post(f"/v1/deliveries/retry?{urlencode(query)}")
    if hook is not None and not answer["retried"]:
        # a hook that was removed from the configuration is still listed
        names = [item["name"] for item in session.client.get("/v1/hooks")["items"]]
        if hook not in names:
            raise no_such_hook(hook, names)
    if as_json:
        echo_json(answer)
    else:
        count = answer["retried"]
        click.echo(f"{count} {'delivery' if count == 1 else 'deliveries'} retried")
