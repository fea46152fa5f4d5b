"""Which credentials of a service have changed on disk since its daemon started, and which it never gets.

systemd renews the credentials of a service at a reload, but a daemon keeps those of its start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tracker.cli.systemd_unit import Unit, credentials_directory, is_loaded, is_stored, unit_of

if TYPE_CHECKING:
    from tracker.config import Config
    from tracker.daemon.reload_results import Marks


def changed_credentials(found: Config, environ: Mapping[str, str], marks: Marks) -> Iterator[tuple[str, str]]:
    """What each changed credential is for, and its name; nothing for users who cannot read credentials.

    Args:
        found: the configuration.
        environ: of the command, see `tracker.cli.systemd_unit.with_unit`.
        marks: of the credentials that the daemon was started with.
    """
    from tracker.errors import ConfigError
    from tracker.systemd import read_credentials

    unit = unit_of(found.file)
    directory = environ.get("CREDENTIALS_DIRECTORY") or (str(credentials_directory(unit)) if unit else None)
    if directory is None or not os.access(directory, os.R_OK | os.X_OK):
        return
    try:
        names = marks.changed(read_credentials({"CREDENTIALS_DIRECTORY": directory}))
    except ConfigError:
        return
    for name in names:
        yield _use_of(found, name), name


def unloaded_credentials(found: Config) -> Iterator[tuple[str, Unit, str]]:
    """Secrets in a credential store that the unit does not pass to the daemon: what for, the unit, and the name."""
    unit = unit_of(found.file)
    if unit is None:
        return
    for name, use in _uses(found).items():
        if name is not None and is_stored(unit, name) and not is_loaded(unit, name):
            yield use, unit, name


def _use_of(found: Config, name: str) -> str:
    return _uses(found).get(name, f"credential {name}")


def _uses(found: Config) -> dict[str | None, str]:
    uses: dict[str | None, str] = {}
    uses |= {account.api_key_env: f"key of account {each}" for each, account in found.accounts.items()}
    uses |= {rules.secret_env: f"callback secret of {each}" for each, rules in found.callbacks.providers.items()}
    uses |= {hook.secret_env: f"secret of hook {hook.name}" for hook in found.hooks}
    uses |= {found.tracing.headers_env: "headers of traces"} if found.tracing.headers_env else {}
    uses |= {table.token_env: f"API token {table.name}" for table in found.server.tokens}
    uses |= {found.server.api_token_env: "API token", found.callbacks.secret_env: "callback secret"}
    return uses
