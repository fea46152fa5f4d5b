"""``db``: commands about the database file, with or without a running daemon."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tracker.cli.render import echo_json
from tracker.cli.restore import backup, restore
from tracker.cli.session import config_option, json_option, read_config
from tracker.cli.upkeep import check, export, prune, shell


@click.group()
def db() -> None:
    """Check, back up, restore and prune the database."""


@db.command()
@config_option
@json_option
def path(config_path: Path | None, *, as_json: bool) -> None:
    """Print the path of the database."""
    found = read_config(config_path, os.environ, serving=False).store_path
    if as_json:
        echo_json({"path": str(found)})
    else:
        click.echo(found)


for command in (backup, check, export, prune, restore, shell):
    db.add_command(command)
