"""``serve`` and ``demo``."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path

import click

from tracker.cli.exits import BAD_CONFIG, FAILED, Failure, report_errors
from tracker.cli.session import config_option, load_served, read_config
from tracker.errors import ConfigError, StoreUnusable


@click.command()
@config_option
@click.option("--listen", metavar="ADDRESS", help="host:port, [::1]:port or unix:/path; overrides the configuration.")
def serve(config_path: Path | None, listen: str | None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    from tracker.systemd import with_credentials

    with report_errors():
        env = with_credentials(os.environ)
    if listen is not None:
        env["TRACKER_SERVER__LISTEN"] = listen
    try:
        config = read_config(config_path, env, serving=True)
        from tracker.daemon.process import serve as run  # slow to import

        code = run(config, os.environ, lambda: load_served(config_path or config.file, env))
    except ConfigError as error:
        if listen is None:
            raise Failure(error.problems, BAD_CONFIG) from error
        lines = [re.sub(r"^(?:TRACKER_SERVER__LISTEN|server\.listen):", "--listen:", line) for line in error.problems]
        raise Failure(lines, BAD_CONFIG) from error
    except StoreUnusable as error:
        raise Failure([f"store.path: {error}"], BAD_CONFIG) from error
    raise click.exceptions.Exit(code)


@click.command()
@click.option("--once", is_flag=True, help="Exit when every task is finished.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False, readable=False),
    help="Keep the files in this directory.",
)
def demo(directory: Path | None, *, once: bool) -> None:
    """Run a demonstration: a sandbox gateway, a daemon and a handful of tasks. No key, no network."""
    run = importlib.import_module("tracker.demo").run
    try:
        code = run(once=once, directory=directory)
    except ConfigError as error:
        raise Failure(error.problems, BAD_CONFIG) from error
    except StoreUnusable as error:
        raise Failure([f"--dir: {error}"], BAD_CONFIG) from error
    except OSError as error:
        if directory is None or error.filename is None:
            raise
        why = f"{error.filename}: {error.strerror}"
        raise Failure([f"--dir: cannot write the files there ({why}); choose another directory"], FAILED) from error
    raise click.exceptions.Exit(code)
