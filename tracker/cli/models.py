"""Commands about models: ``models list`` and ``models sync``.

``list`` prints what the daemon last fetched, with its age; ``sync`` fetches it now.
"""

from __future__ import annotations

import click

from tracker.cli.client import Json
from tracker.cli.exits import FAILED
from tracker.cli.render import duration, echo_json, echo_table
from tracker.cli.session import Session, json_option, with_session


@click.group()
def models() -> None:
    """List the models of an account."""


@models.command("list")
@click.option("--account", help="The account; required if there are several.")
@json_option
@with_session
def list_models(session: Session, account: str | None, *, as_json: bool) -> None:
    """List the models of an account as last fetched."""
    _echo(session.client.get("/v1/models", {"account": account} if account else None), as_json=as_json)


@models.command("sync")
@click.option("--account", help="The account; required if there are several.")
@json_option
@with_session
def sync_models(session: Session, account: str | None, *, as_json: bool) -> None:
    """Fetch an account's lists of models now."""
    from urllib.parse import quote

    query = f"?account={quote(account, safe='')}" if account else ""
    found = session.client.post(f"/v1/models/sync{query}", None, answer_s=120.0)
    _echo(found, as_json=as_json)
    if found["problems"]:
        raise click.exceptions.Exit(FAILED)


def _echo(found: Json, *, as_json: bool) -> None:
    if as_json:
        echo_json(found)
        return
    echo_table(
        ("id", "listed by", "name", "created"),
        [
            (item["id"], item["family"], item["display_name"] or "-", item["created_at"] or "-")
            for item in found["items"]
        ],
    )
    age = "never fetched" if found["age_s"] is None else f"fetched {duration(found['age_s'])} ago"
    click.echo(f"{len(found['items'])} models of account {found['account']}, {age}", err=True)
    for problem in found["problems"]:
        click.echo(problem, err=True)
