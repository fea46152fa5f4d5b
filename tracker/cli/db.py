"""``db``: looks after the SQLite file, with or without a daemon that serves it."""

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
    """Look after the SQLite file."""


@db.command()
@config_option
@json_option
def path(config_path: Path | None, *, as_json: bool) -> None:
    """Print where the file is."""
    found = read_config(config_path, os.environ, serving=False).store_path
    if as_json:
        echo_json({"path": str(found)})
    else:
        click.echo(found)


for command in (backup, check, export, prune, restore, shell):
    db.add_command(command)
