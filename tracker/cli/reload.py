"""``config reload``: tells the daemon to reload its configuration, and waits for the result.

It also compares credentials: systemd renews its copies at a reload, and a daemon keeps those of its start. Run by
``ExecReload=`` as root.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracker.cli.checkup import holder_of
from tracker.cli.exits import BAD_CONFIG, FAILED, UNAVAILABLE, WARNING, Failure, severity_mark
from tracker.cli.session import config_option, read_config
from tracker.cli.unit import credentials_directory, unit_of, with_unit

if TYPE_CHECKING:
    from tracker.config import Config
    from tracker.daemon.reload_results import Marks, Outcome

WITHIN_S = 45.0
"""Less than the unit's TimeoutStartSec, which limits a reload as well."""
_LOOK_S = 0.05


@click.command("reload")
@config_option
def reload_config(config_path: Path | None) -> None:
    """Reload the daemon's configuration: exit 0 if the new one is in force, 78 with the errors.

    Changes that take a restart are printed to standard error.
    """
    config = read_config(config_path, os.environ, serving=True)
    environ = with_unit(os.environ, config.file)
    outcome = _reload(config, environ)
    mark = severity_mark(WARNING)
    lines = list(_changed_credentials(config, environ, outcome.marks))
    if not mark:  # in the journal, the daemon has logged it
        lines += [f"{key} has changed: takes a restart" for key in outcome.restart]
    for line in lines:
        click.echo(f"{mark}{line}", err=True)
    if outcome.problems:
        raise Failure(
            [f"reload refused, the old configuration stays in force: {line}" for line in outcome.problems], BAD_CONFIG
        )


def _reload(config: Config, environ: Mapping[str, str]) -> Outcome:
    """Signal the daemon and wait for the result of the reload that follows."""
    from tracker.daemon.reload_results import outcome_path, read_outcome

    path = outcome_path(environ, config.store_path)
    pid = _find_daemon(config, environ)
    asked_s = time.monotonic()
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        why = f"process {pid}: cannot be signalled ({error.strerror}); run as its user or as root"
        raise Failure([why], FAILED) from error
    while (outcome := read_outcome(path)) is None or outcome.began_s < asked_s:
        if time.monotonic() - asked_s > WITHIN_S:
            why = f"process {pid} did not write {path} within {WITHIN_S:g} s; see its log"
            raise Failure([why], UNAVAILABLE)
        time.sleep(_LOOK_S)
    return outcome


def _find_daemon(config: Config, environ: Mapping[str, str]) -> int:
    """The daemon's process: the one that systemd names, else the holder of the store.

    Raises:
        Failure: there is none, or it belongs to a different user than the store.
    """
    given = environ.get("MAINPID") or holder_of(config.store_path) or ""
    if not given.isascii() or not given.isdigit():
        raise Failure([f"no daemon uses the store {config.store_path}; start one with: tracker serve"], UNAVAILABLE)
    pid = int(given)
    if "MAINPID" not in environ and sys.platform == "linux":
        # hook scripts can write the file with the number: root must not signal an arbitrary process
        try:
            is_its_own = Path(f"/proc/{pid}").stat().st_uid == config.store_path.stat().st_uid
        except OSError:
            is_its_own = False
        if not is_its_own:
            raise Failure(
                [f"process {pid} is not the daemon of {config.store_path}; find the daemon and send it SIGHUP"], FAILED
            )
    return pid


def _changed_credentials(config: Config, environ: Mapping[str, str], marks: Marks) -> Iterator[str]:
    """One line per credential that changed since the daemon started."""
    from tracker.errors import ConfigError
    from tracker.systemd import read_credentials

    unit = unit_of(config.file)
    directory = environ.get("CREDENTIALS_DIRECTORY") or (str(credentials_directory(unit)) if unit else None)
    if directory is None or not os.access(directory, os.R_OK | os.X_OK):
        return  # none, or not readable by this user
    try:
        names = marks.changed(read_credentials({"CREDENTIALS_DIRECTORY": directory}))
    except ConfigError:
        return
    for name in names:
        yield f"{_label(config, name)} has changed on disk (credential {name}): takes a restart"


def _label(config: Config, name: str) -> str:
    """What a credential is for."""
    uses = {account.api_key_env: f"key of account {each}" for each, account in config.accounts.items()}
    uses |= {rules.secret_env: f"callback secret of {each}" for each, rules in config.callbacks.providers.items()}
    uses |= {hook.secret_env: f"secret of hook {hook.name}" for hook in config.hooks}
    uses |= {config.server.api_token_env: "API token", config.callbacks.secret_env: "callback secret"}
    return uses.get(name, f"credential {name}")
