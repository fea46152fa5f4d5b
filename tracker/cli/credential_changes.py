"""Which credentials of a service have changed on disk since its daemon started.

systemd renews the credentials of a service at a reload, but a daemon keeps those of its start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tracker.cli.systemd_unit import credentials_directory, unit_of

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


def _use_of(found: Config, name: str) -> str:
    uses = {account.api_key_env: f"key of account {each}" for each, account in found.accounts.items()}
    uses |= {rules.secret_env: f"callback secret of {each}" for each, rules in found.callbacks.providers.items()}
    uses |= {hook.secret_env: f"secret of hook {hook.name}" for hook in found.hooks}
    uses |= {found.tracing.headers_env: "headers of traces"} if found.tracing.headers_env else {}
    uses |= {table.token_env: f"API token {table.name}" for table in found.server.tokens}
    uses |= {found.server.api_token_env: "API token", found.callbacks.secret_env: "callback secret"}
    return uses.get(name, f"credential {name}")
