"""``config reload``: has the daemon read its configuration anew, and waits for what becomes of it.

Owns the waiting, and the comparison of credentials: systemd renews its copies at a reload, and a daemon keeps those
that it was started with. Run by ``ExecReload=`` as root.
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
    """Have the daemon reload its configuration: exit 0 when the new one holds, 78 with what it refused.

    What changed and takes a restart is named on standard error.
    """
    config = read_config(config_path, os.environ, serving=True)
    environ = with_unit(os.environ, config.file)
    outcome = _reload(config, environ)
    mark = severity_mark(WARNING)
    lines = list(_changed_credentials(config, environ, outcome.marks))
    if not mark:  # the daemon itself has told the journal
        lines += [f"{key} has changed: takes a restart" for key in outcome.restart]
    for line in lines:
        click.echo(f"{mark}{line}", err=True)
    if outcome.problems:
        raise Failure([f"reload refused, the old configuration holds: {line}" for line in outcome.problems], BAD_CONFIG)


def _reload(config: Config, environ: Mapping[str, str]) -> Outcome:
    """Signal the daemon and wait for the outcome of a reload that began after that."""
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
            why = f"process {pid} did not write {path} within {WITHIN_S:g} s; its log says what became of the reload"
            raise Failure([why], UNAVAILABLE)
        time.sleep(_LOOK_S)
    return outcome


def _find_daemon(config: Config, environ: Mapping[str, str]) -> int:
    """The daemon's process: the one that systemd names, else the one that has the store.

    Raises:
        Failure: there is none, or it is another user's than the store.
    """
    given = environ.get("MAINPID") or holder_of(config.store_path) or ""
    if not given.isascii() or not given.isdigit():
        raise Failure([f"no daemon has the store {config.store_path}; start one with: tracker serve"], UNAVAILABLE)
    pid = int(given)
    if "MAINPID" not in environ and sys.platform == "linux":
        # the number stands in a file that hook scripts can write: root must not signal whatever it says
        try:
            is_its_own = Path(f"/proc/{pid}").stat().st_uid == config.store_path.stat().st_uid
        except OSError:
            is_its_own = False
        if not is_its_own:
            raise Failure([f"process {pid} is not the daemon of {config.store_path}; look for it by hand"], FAILED)
    return pid


def _changed_credentials(config: Config, environ: Mapping[str, str], marks: Marks) -> Iterator[str]:
    """One line per credential that is not the one any more that the daemon was started with."""
    from tracker.errors import ConfigError
    from tracker.systemd import read_credentials

    unit = unit_of(config.file)
    directory = environ.get("CREDENTIALS_DIRECTORY") or (str(credentials_directory(unit)) if unit else None)
    if directory is None or not os.access(directory, os.R_OK | os.X_OK):
        return  # there are none, or they are not for this user to compare
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
