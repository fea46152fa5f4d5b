"""What commands share: the options ``--config``, ``--url`` and ``--json``, the configuration, and the daemon's client.

Owns the fallback from a stopped daemon to its file. The wrapped commands may raise errors of the configuration and of
the store, see `report_errors`.
"""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from tracker.cli.client import Client, Json
from tracker.cli.exits import FAILED, USAGE, Failure, Unreachable, report_errors
from tracker.cli.systemd_unit import with_unit

if TYPE_CHECKING:
    from tracker.cli.offline import Offline
    from tracker.config import Config, HookSpec
    from tracker.config.client import ClientConfig
    from tracker.tracking.accounts import AccountRules

_FIRST_CHARACTER = "0"
"""Of all task ids until the year 3084; an upstream id of the same form hardly begins with it."""
_LEAST_CHARACTERS = 6
"""Minimum length of an id prefix; the first characters are the same for all tasks of a month."""

config_option = click.option(
    "--config", "config_path", type=click.Path(path_type=Path, readable=False), help="Configuration file."
)
"""`read_config` reports a file that cannot be read, with exit code 78."""
json_option = click.option("--json", "as_json", is_flag=True, help="Print the JSON of the HTTP API.")
url_option = click.option(
    "--url", envvar="TRACKER_URL", metavar="URL", help="URL of the daemon: http://host:port or unix:/path."
)


def read_config(
    path: Path | None, env: Mapping[str, str] = os.environ, *, serving: bool = False, hooks: bool = False
) -> Config:
    """Read the configuration; as root, with the secrets of its service.

    Args:
        path: ``--config``.
        env: the environment.
        serving: check what the daemon needs, with provider files and hooks.
        hooks: read ``[[hooks]]``.

    Raises:
        ConfigError: with one line per error.
    """
    from tracker.config.load import load_config
    from tracker.config.sources import find_file

    env = with_unit(env, path or find_file(env))
    if serving:
        return load_served(path, env)
    return load_config(path, env, hook_table=_hook_table if hooks else None, serving=False)


def load_served(path: Path | None, env: Mapping[str, str]) -> Config:
    """Read the configuration as the daemon needs it.

    Raises:
        ConfigError: with one line per error.
    """
    from tracker.config import load_config
    from tracker.daemon.provider_files import read_registry  # slow to import, and only the daemon needs it
    from tracker.daemon.signature_checks import list_signature_problems
    from tracker.errors import ConfigError
    from tracker.tracking.accounts import list_account_problems

    known = load_config(path, env, serving=False).providers_path
    registry = read_registry(known)
    names = {provider.name for provider in registry.providers()}
    config = load_config(path, env, providers=names, hook_table=_hook_table, serving=True)
    if problems := [
        *list_account_problems(config, registry.routes()),
        *(
            f"{config.file or 'configuration'}: prices.{key}: {message}"
            for key, message in config.prices.list_unknown([route.name for route in registry.routes()])
        ),
        *list_signature_problems(config),
    ]:
        raise ConfigError(problems)
    return config


def _hook_table() -> type[HookSpec]:
    from tracker.hooks.kinds.registry import hook_table

    return hook_table()


def account_rules(config: Config) -> AccountRules:
    """The account rules of a configuration and its provider files.

    Raises:
        ConfigError: a provider file cannot be used.
    """
    from tracker.daemon.provider_files import read_registry
    from tracker.tracking.accounts import AccountRules

    return AccountRules(read_registry(config.providers_path).routes(), config.accounts)


class Session:
    """One run of a command that uses the daemon.

    Args:
        config_path: ``--config``.
        url: ``--url`` or ``TRACKER_URL``.
    """

    def __init__(self, config_path: Path | None, url: str | None) -> None:
        self._config_path = config_path
        self._url = url

    @functools.cached_property
    def config(self) -> Config:
        """The complete configuration without hooks."""
        return read_config(self._config_path)

    @functools.cached_property
    def _address(self) -> ClientConfig | Config:
        """The address, the token and the store of the daemon."""
        from tracker.config.client import read_client_config
        from tracker.config.sources import find_file

        path = self._config_path
        return read_client_config(path, with_unit(os.environ, path or find_file(os.environ))) or self.config

    @functools.cached_property
    def config_with_hooks(self) -> Config:
        """The configuration for commands about hooks."""
        return read_config(self._config_path, hooks=True)

    @functools.cached_property
    def url(self) -> str:
        """The URL of the daemon."""
        return self._url or self._address.listen.url

    @property
    def is_configured_daemon(self) -> bool:
        """Whether the URL is from the configuration; then the configured paths are those of the daemon."""
        return self._url is None

    @functools.cached_property
    def client(self) -> Client:
        """The client of the daemon.

        Raises:
            Unreachable: the daemon at the configured address does not serve the configured store. A daemon that
                ``--url`` or ``TRACKER_URL`` names is not checked.
        """
        token = os.environ.get("TRACKER_API_TOKEN", "").strip() or None
        if self._url is not None and self._config_path is None and token is not None:
            return Client(self._url, token)  # the configuration is not needed
        client = Client(self.url, self._address.client_token())
        if self._url is None:
            from tracker.cli.store_identity import check_store

            check_store(self._address)
        return client

    def full_id(self, text: str) -> str:
        """The full id of a task, from the daemon's list; see `task_id`."""
        return self.task_id(text, lambda query: self.client.get("/v1/tasks", query))

    def task_id(self, text: str, list_tasks: Callable[[dict[str, str]], Json]) -> str:
        """The full id for an id in any case, a unique prefix of one, or an upstream id or a unique prefix of one.

        Args:
            text: what the user wrote.
            list_tasks: returns the page for a query of ``GET /v1/tasks``.

        Raises:
            Failure: the text is empty, several ids match, or none begins with so short a text.
        """
        if not text.strip():
            raise Failure(["ID: is empty; tracker list shows the ids"], USAGE)
        wanted = text.upper()
        from tracker.domain.ids import looks_like_task_id, times_of_ids

        if looks_like_task_id(wanted) and wanted.startswith(_FIRST_CHARACTER):
            return wanted
        ids = []
        is_prefix = len(text) >= _LEAST_CHARACTERS
        if is_prefix and (times := times_of_ids(wanted)) is not None:
            since, until = (time.isoformat() for time in times)
            found = _first_items(list_tasks, {"q": text, "since": since, "until": until})
            ids = [item["id"] for item in found if item["id"].startswith(wanted)]
        if not ids:
            items = [item for item in _first_items(list_tasks, {"q": text}) if item["external_id"]]
            ids = [item["id"] for item in items if item["external_id"] == text]
            if is_prefix and not ids:
                ids = [item["id"] for item in items if item["external_id"].startswith(text)]
            elif not ids:
                why = f"{text}: no task has this id; a shortened id has at least {_LEAST_CHARACTERS} characters"
                raise Failure([why], FAILED)
        if len(ids) > 1:
            some = ", ".join(ids[:5]) + (" …" if len(ids) > 5 else "")  # noqa: PLR2004
            raise Failure([f"{text}: several tasks match; use one of {some}"], USAGE)
        return str(ids[0]) if ids else text

    def describe_absence(self, error: Unreachable) -> str:
        """Short reason why the daemon is not used."""
        return error.brief or f"no daemon answers at {self.url}"

    def read(self, ask: Callable[[Client], Json], look_up: Callable[[Offline], Json]) -> Json:
        """Ask the daemon, or read the file if no daemon of this store answers on this machine.

        Raises:
            Failure: refused, or neither daemon nor file exists.
        """
        try:
            return ask(self.client)
        except Unreachable as error:
            self.fall_back(error, "reading")
        from tracker.cli.offline import Offline

        return look_up(Offline(self.config))

    def fall_back(self, error: Unreachable, action: str) -> None:
        """Print that a command uses the database itself, as the daemon does not answer.

        Raises:
            Unreachable: the daemon is on another machine, or the database does not exist.
            StoreUnusable: that cannot be determined.
        """
        from tracker.config.listen import is_loopback
        from tracker.errors import StoreUnusable
        from tracker.filesystem import is_store

        if not self.url.startswith("unix:") and not is_loopback(urlsplit(self.url).hostname or ""):
            raise error
        try:
            if is_store(self.config.store_path):
                click.echo(f"{self.describe_absence(error)}; {action} {self.config.store_path}", err=True)
                return
        except StoreUnusable:
            if error.brief is None:
                raise
        raise error from None  # the more specific error


def _first_items(list_tasks: Callable[[dict[str, str]], Json], query: dict[str, str]) -> Iterator[Json]:
    """The tasks of the first page; of the next ones too, as long as the search was cut."""
    cursor: dict[str, str] = {}
    while True:
        page = list_tasks({**query, **cursor, "limit": "500"})
        yield from page["items"]
        if "notice" not in page:
            return
        cursor = {"cursor": page["next_cursor"]}


def with_session(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--config`` and ``--url`` to a command, and pass it a `Session` first."""

    @config_option
    @url_option
    @functools.wraps(command)
    def run(*args: object, config_path: Path | None, url: str | None, **options: object) -> object:
        with report_errors():
            return command(Session(config_path, url), *args, **options)

    return run


def with_config(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--config`` to a command, and pass it the configuration first."""

    @config_option
    @functools.wraps(command)
    def run(*args: object, config_path: Path | None, **options: object) -> object:
        with report_errors():
            return command(read_config(config_path), *args, **options)

    return run


def echo_rest(page: Json) -> None:
    """Print on standard error that a page is not the whole list, and the command for the next one."""
    if "notice" in page:
        click.echo(page["notice"], err=True)
    if page["next_cursor"]:
        click.echo(f"more: {_next_page_command(page['next_cursor'])}", err=True)


def _next_page_command(cursor: str) -> str:
    """The command for the next page: this command with all its options and the cursor."""
    context = click.get_current_context()
    parts = [f"--cursor {shlex.quote(cursor)}"]
    for parameter in context.command.params:
        name = parameter.name or ""
        if name == "cursor" or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[name]
        if isinstance(parameter, click.Option) and parameter.is_flag:
            parts.append(parameter.opts[0])
            continue
        values = [f"{key}={text}" for key, text in value.items()] if isinstance(value, dict) else [str(value)]
        parts += [f"{parameter.opts[0]} {shlex.quote(one)}" for one in values]
    return " ".join(["tracker", *context.command_path.split()[1:], *parts])
