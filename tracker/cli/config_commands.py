"""``config check``, ``show``, ``init`` and ``reload``. Secrets are never printed, only whether they are set."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracker.cli.credential_changes import changed_credentials
from tracker.cli.exits import BAD_CONFIG, FAILED, UNAVAILABLE, WARNING, Failure, report_errors, severity_mark
from tracker.cli.files import write_new
from tracker.cli.render import echo_json
from tracker.cli.session import account_rules, config_option, json_option, read_config
from tracker.cli.store_identity import find_lock_holder
from tracker.cli.systemd_unit import with_unit
from tracker.config.shown import config_values, list_secrets, toml_lines

if TYPE_CHECKING:
    from tracker.config import Config
    from tracker.daemon.reload_results import Outcome

WITHIN_S = 45.0
"""Less than the unit's TimeoutStartSec, which limits a reload as well."""
_STEP_S = 0.05


@click.group()
def config() -> None:
    """Check, show, create or reload the configuration."""


@config.command()
@config_option
@json_option
def check(config_path: Path | None, *, as_json: bool) -> None:
    """Check the configuration: exit 0, or 78 with one line per error."""
    from tracker.config.likely_mistakes import list_warnings

    try:
        with report_errors():
            found = read_config(config_path, serving=True)
            warnings = [f"{key}: has no effect in this release" for key in found.not_acted_on()]
            warnings += found.missing_secrets() + account_rules(found).list_missing() + _hook_problems(found)
            warnings += list_warnings(found, os.environ) + _script_problems(found)
    except Failure as failure:
        if as_json:
            echo_json({"ok": False, "problems": failure.lines})
            raise click.exceptions.Exit(BAD_CONFIG) from None
        raise
    if as_json:
        echo_json({"ok": True, "file": found.file and str(found.file), "warnings": warnings})
        return
    for warning in warnings:
        click.echo(f"{severity_mark(WARNING)}warning: {warning}", err=True)
    click.echo(f"{found.file or 'defaults'}: ok")


@config.command()
@config_option
@json_option
def show(config_path: Path | None, *, as_json: bool) -> None:
    """Show the configuration in force, defaults and overrides included, and which secrets are set."""
    with report_errors():
        found = read_config(config_path, hooks=True)
        secrets = list_secrets(found)
    values = config_values(found)
    if as_json:
        echo_json({"file": found.file and str(found.file), "config": values, "secrets": secrets})
        return
    click.echo(f"# {found.file or 'no file: the defaults and the environment'}")
    click.echo("\n".join([*toml_lines(values), ""]))
    for name, is_set in secrets.items():
        click.echo(f"# secret {name}: {'set' if is_set else 'not set'}")


@config.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("tracker.toml"))
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def init(path: Path, *, force: bool) -> None:
    """Write a configuration file that documents every key to PATH (tracker.toml), or to - for stdout."""
    text = resources.files("tracker.config").joinpath("tracker.toml").read_text(encoding="utf-8")
    if str(path) == "-":
        click.echo(text, nl=False)
        return
    write_new(path, text, force=force)
    click.echo(f"{path}: written; check it with: tracker config check --config {path}", err=True)


@config.command("reload")
@config_option
def reload_config(config_path: Path | None) -> None:
    """Reload the daemon's configuration: exit 0 if the new one is in force, 78 with the errors.

    Changes that need a restart are printed to standard error.
    """
    # systemd renews its credentials at a reload, but a daemon has those of its start: compare them
    with report_errors():
        found = read_config(config_path, serving=True)
    environ = with_unit(os.environ, found.file)
    outcome = _reload(found, environ)
    mark = severity_mark(WARNING)
    lines = [
        f"{use} has changed on disk (credential {name}): needs a restart"
        for use, name in changed_credentials(found, environ, outcome.marks)
    ]
    if not mark:  # in the journal, the daemon has logged it
        lines += [f"{key} has changed: needs a restart" for key in outcome.restart]
    for line in lines:
        click.echo(f"{mark}{line}", err=True)
    if outcome.problems:
        lines = [f"reload refused, the old configuration stays in force: {line}" for line in outcome.problems]
        raise Failure(lines, BAD_CONFIG)


def _reload(found: Config, environ: Mapping[str, str]) -> Outcome:
    """Signal the daemon and wait for the result of the reload that follows."""
    from tracker.daemon.reload_results import outcome_path, read_outcome

    path = outcome_path(environ, found.store_path)
    pid = _find_daemon(found, environ)
    sent_s = time.monotonic()
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        why = f"process {pid}: cannot be signalled ({error.strerror}); run as its user or as root"
        raise Failure([why], FAILED) from error
    while (outcome := read_outcome(path)) is None or outcome.began_s < sent_s:
        if time.monotonic() - sent_s > WITHIN_S:
            why = f"process {pid} did not write {path} within {WITHIN_S:g} s; see its log"
            raise Failure([why], UNAVAILABLE)
        time.sleep(_STEP_S)
    return outcome


def _find_daemon(found: Config, environ: Mapping[str, str]) -> int:
    """The daemon's process: the one that systemd names, else the holder of the store.

    Raises:
        Failure: there is none, or it belongs to a different user than the store.
    """
    given = environ.get("MAINPID") or find_lock_holder(found.store_path) or ""
    if not given.isascii() or not given.isdigit():
        raise Failure([f"no daemon uses the store {found.store_path}; start one with: tracker serve"], UNAVAILABLE)
    pid = int(given)
    if "MAINPID" not in environ and sys.platform == "linux":
        # hook scripts can write the file with the number: root must not signal an arbitrary process
        try:
            is_its_own = Path(f"/proc/{pid}").stat().st_uid == found.store_path.stat().st_uid
        except OSError:
            is_its_own = False
        if not is_its_own:
            why = f"process {pid} is not the daemon of {found.store_path}; find the daemon and send it SIGHUP"
            raise Failure([why], FAILED)
    return pid


def _hook_problems(found: Config) -> list[str]:
    """Errors that stop the daemon here; secrets and plug-ins may exist where it runs."""
    from tracker.errors import ConfigError
    from tracker.hooks.kinds.registry import read_hooks

    try:
        read_hooks(found)
    except ConfigError as error:
        return error.problems
    return []


def _script_problems(found: Config) -> list[str]:
    """Errors that stop a hook here."""
    from tracker.cli.local_checks import check_hooks

    return [f"{line.check}: {line.detail}; {line.fix}" for line in check_hooks(found) if line.state == "failed"]
