"""``models list`` and ``models sync``."""

from __future__ import annotations

from urllib.parse import quote

import click

from tracker.cli.client import Json
from tracker.cli.exits import FAILED
from tracker.cli.render import duration, echo_result, echo_table
from tracker.cli.session import Session, json_option, with_session

_account_option = click.option("--account", help="The account; required if there are several.")


@click.group()
def models() -> None:
    """List the models of an account."""


@models.command("list")
@_account_option
@json_option
@with_session
def list_models(session: Session, account: str | None, *, as_json: bool) -> None:
    """List the models of an account as last fetched."""
    found = session.client.get("/v1/models", {"account": account} if account else None)
    echo_result(found, _echo_models, as_json=as_json)


@models.command("sync")
@_account_option
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
    rows = [
        (item["id"], item["family"], item["display_name"] or "-", item["created_at"] or "-") for item in found["items"]
    ]
    echo_table(("id", "listed by", "name", "created"), rows)
    age = "never fetched" if found["age_s"] is None else f"fetched {duration(found['age_s'])} ago"
    click.echo(f"{len(found['items'])} models of account {found['account']}, {age}", err=True)
    for problem in found["problems"]:
        click.echo(problem, err=True)
