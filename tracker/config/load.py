"""Reads the configuration and checks all of it. All errors are reported at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tracker.config.fields import Context
from tracker.config.hooks import HookSpec
from tracker.config.problems import list_problems, problem_line
from tracker.config.sections import Server
from tracker.config.settings import Config, check_secrets, check_tables, is_exposed
from tracker.config.sources import Overrides, base_of, find_file, home_of, override, read_file
from tracker.errors import ConfigError


def load_config(
    path: Path | None,
    env: Mapping[str, str],
    *,
    providers: Iterable[str] | None = None,
    hook_table: Callable[[], type[HookSpec]] | None = None,
    serving: bool = True,
) -> Config:
    """Read and check the configuration.

    Args:
        path: the file of ``--config``; None: search for one.
        env: the environment, with overrides, secrets and search paths.
        providers: names of all providers, to find misspelt tables; None if unknown.
        hook_table: makes the model of ``[[hooks]]``, see `tracker.hooks.kinds.registry.hook_table`; called only if
            there are hooks. None: leave the hooks out, as their kinds are slow to import.
        serving: also check what the daemon needs: readable secrets, and no open API without a token.

    Returns:
        The configuration; the defaults without a file.

    Raises:
        ConfigError: with one line per error.
    """
    file = path or find_file(env)
    name = str(file) if file is not None else "configuration"
    data = {} if file is None else read_file(file)
    if hook_table is None:
        data.pop("hooks", None)
    names = frozenset(providers) if providers is not None else None
    overrides, problems = override(data, env, names or frozenset())
    context = Context(base_of(file), home_of(env), names, hook_table)
    try:
        config = Config.model_validate(data, context=context).bind(file, env)
    except ValidationError as error:
        problems += list_problems(error, data, name, overrides, hook_table)
        if serving:
            problems += _exposure_of_part(data, context, env, name, overrides)
        raise ConfigError(problems) from None
    problems += [problem_line(where, message, name, overrides) for where, message in check_tables(config)]
    if serving:
        problems += check_secrets(config)
        problems += _exposure(config, name, overrides)
    if problems:
        raise ConfigError(problems)
    return config


def _exposure(config: Config, name: str, overrides: Overrides) -> list[str]:
    if not is_exposed(config):
        return []
    message = (
        f"{config.listen} can be reached from other machines and no API token is set; "
        f"set {config.server.api_token_env}, name an api_token_file, add [[server.tokens]], or listen on 127.0.0.1"
    )
    return [problem_line(("server", "listen"), message, name, overrides)]


def _exposure_of_part(
    data: Mapping[str, Any], context: Context, env: Mapping[str, str], name: str, overrides: Overrides
) -> list[str]:
    """The same check if other tables are wrong, so that all errors are reported at once."""
    try:
        server = Server.model_validate(data.get("server", {}), context=context)
    except ValidationError:
        return []
    return _exposure(Config(server=server).bind(None, env), name, overrides)
