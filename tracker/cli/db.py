"""``db``: looks after the SQLite file, with or without a daemon that serves it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tracker.cli.exits import BAD_CONFIG, FAILED, Failure
from tracker.cli.render import echo_json
from tracker.cli.session import config_option, json_option, read_config
from tracker.cli.upkeep import check, export, prune, shell
from tracker.errors import StoreUnavailable, StoreUnusable


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


@db.command()
@config_option
@json_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, readable=False))
def backup(config_path: Path | None, file: Path, *, as_json: bool) -> None:
    """Copy the database to FILE while the daemon works on, check the copy, and only then give it that name.

    To restore: stop the daemon, put the copy in the place of the database, remove its -wal and -shm, start again.
    """
    from tracker.store.sqlite import copy_database

    source = read_config(config_path, os.environ, serving=False).store_path
    try:
        size = copy_database(source, file)
    except StoreUnusable as error:
        raise Failure([str(error)], BAD_CONFIG) from error
    except StoreUnavailable as error:
        raise Failure([str(error)], FAILED) from error
    if as_json:
        echo_json({"source": str(source), "file": str(file), "bytes": size})
    else:
        click.echo(f"{file}: {size} bytes, checked")


for command in (check, export, prune, shell):
    db.add_command(command)
