"""The part of the configuration that a command needs to ask the daemon: its address, its token and its store.

Building the models of all tables takes longer than the rest of such a command. So `read_client_config` reads these few
keys alone, and leaves whatever is not plainly valid to `tracker.config.load_config`, which explains it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracker.config.credentials import find_secret
from tracker.config.listen import DEFAULT_LISTEN, Listen, parse_listen
from tracker.config.sources import (
    DEFAULT_TOKEN_ENV,
    TABLES,
    TOP_KEYS,
    base_of,
    find_file,
    home_of,
    is_variable,
    override,
    read_file,
    resolve,
    store_path,
)

# types of the keys; max_callback_bytes is not used here
_SERVER = {"listen": str, "api_token_env": str, "api_token_file": str, "max_callback_bytes": int, "tokens": list}
_STORE = {"path": str}


class ClientConfig:
    """What a command needs to ask the daemon. The names are those of `Config`.

    Args:
        listen: the address of the daemon.
        store_path: the SQLite file.
        token: variable and file of the API token.
        env: the environment with the secrets.
    """

    def __init__(
        self, listen: Listen, store_path: Path, token: tuple[str, Path | None], env: Mapping[str, str]
    ) -> None:
        self.listen = listen
        self.store_path = store_path
        self._token = token
        self._env = env

    def client_token(self) -> str | None:
        """The token for commands, see `tracker.config.settings.Config.client_token`."""
        name, file = self._token
        return find_secret("server.api_token_file", name, file, self._env)


def read_client_config(path: Path | None, env: Mapping[str, str]) -> ClientConfig | None:
    """Read the address, the token and the store's path. Other tables are not checked.

    Args:
        path: the file of ``--config``; None: search for one.
        env: the environment, with overrides, secrets and search paths.

    Returns:
        None if these keys need the checks of `tracker.config.load_config`.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """
    file = path or find_file(env)
    data = {} if file is None else read_file(file)
    _overrides, problems = override(data, env, frozenset())
    server, store = (data.get(name, {}) for name in ("server", "store"))
    if problems or not data.keys() <= {*TABLES, *TOP_KEYS} or not _fits(server, _SERVER) or not _fits(store, _STORE):
        return None
    try:
        listen = parse_listen(server.get("listen", DEFAULT_LISTEN))
    except ValueError:
        return None
    token_env = server.get("api_token_env", DEFAULT_TOKEN_ENV)
    if not is_variable(token_env):
        return None
    base, home = base_of(file), home_of(env)
    token_file, store_file = (
        resolve(Path(given), base, home) if given is not None else None
        for given in (server.get("api_token_file"), store.get("path"))
    )
    config = ClientConfig(listen, store_path(store_file, env), (token_env, token_file), env)
    if server.get("tokens") and config.client_token() is None:
        return None  # one of these may be there
    return config


def _fits(table: Any, known: Mapping[str, type]) -> bool:  # noqa: ANN401 - not checked yet
    """Whether a table has known keys only, with values of their types; a bool is not an int here."""
    return isinstance(table, dict) and all(type(value) is known.get(key) for key, value in table.items())
