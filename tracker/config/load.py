"""Finds and reads the configuration, applies overrides from the environment, and checks all of it.

Owns the search order and the names of overriding variables. All errors are reported at once.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tracker.config.fields import Context
from tracker.config.hooks import HookSpec
from tracker.config.problems import list_problems, problem_line
from tracker.config.sections import Server
from tracker.config.settings import Config, check_secrets, check_tables, is_exposed
from tracker.domain.text import NotText, name_odd_character, read_text
from tracker.errors import ConfigError
from tracker.filesystem import is_file

SYSTEM_FILE = Path("/etc/tracker/tracker.toml")
RESERVED = frozenset({"TRACKER_CONFIG", "TRACKER_URL", "TRACKER_API_TOKEN", "TRACKER_CALLBACK_SECRET"})
"""Variables that are not overrides."""

_TABLES = tuple(
    name for name in Config.model_fields if name not in {"environment", "public_url", "hooks_dir", "providers_dir"}
)
TOP_KEYS = tuple(name for name in Config.model_fields if name not in _TABLES)
"""Keys outside of tables."""
_BY_PROVIDER = {"poll", "callbacks", "accounts"}
_NAME_ANOTHER = "choose another with --config"
_LINE = re.compile(r"line (\d+),")
_POSITION = re.compile(r"(.*) \(at (.*)\)", re.DOTALL)

_Overrides = dict[tuple[str, ...], str]


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
    data = {} if file is None else _read(file)
    if hook_table is None:
        data.pop("hooks", None)
    names = frozenset(providers) if providers is not None else None
    overrides, problems = _override(data, env, names or frozenset())
    context = Context(
        base=file.absolute().parent if file is not None else Path.cwd(),
        home=Path(env["HOME"]) if env.get("HOME") else None,
        providers=names,
        hook_table=hook_table,
    )
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


def find_file(env: Mapping[str, str]) -> Path | None:
    """The file to read without ``--config``; None if there is none.

    Raises:
        ConfigError: that cannot be determined.
    """
    if named := env.get("TRACKER_CONFIG"):
        return Path(named)
    for directory in filter(None, env.get("CONFIGURATION_DIRECTORY", "").split(":")):
        if is_file(file := Path(directory) / "tracker.toml", _NAME_ANOTHER):
            return file
    return SYSTEM_FILE if is_file(SYSTEM_FILE, _NAME_ANOTHER) else None


def _read(file: Path) -> dict[str, Any]:
    text = ""
    try:
        text = read_text(file)
        return tomllib.loads(text)
    except OSError as error:
        raise ConfigError(
            [f"{file}: file: cannot be read ({error.strerror or type(error).__name__}); {_NAME_ANOTHER}"]
        ) from error
    except NotText as error:
        raise ConfigError([f"{file}: {error}"]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = _POSITION.fullmatch(str(error))
        what, where = found.groups() if found else (str(error), "file")
        what = what[:1].lower() + what[1:]
        number, lines = _LINE.match(where), [*text.split("\n"), ""]
        # an invisible or confusable character may be the cause
        cause = name_odd_character(lines[min(int(number[1]), len(lines)) - 1]) if number else None
        note = f" (the line has {cause})" if cause else ""
        raise ConfigError([f"{file}: {where}: is not TOML: {what}{note}; correct that line"]) from None


def _override(data: dict[str, Any], env: Mapping[str, str], providers: frozenset[str]) -> tuple[_Overrides, list[str]]:
    """Put the values of ``TRACKER_…`` variables into ``data``; returns the overridden keys, and errors."""
    overrides: _Overrides = {}
    problems: list[str] = []
    for variable, parts in _list_overrides(env):
        if parts[0] not in (*_TABLES, *TOP_KEYS):
            near = difflib.get_close_matches(parts[0], _TABLES, 1)
            hint = f"did you mean TRACKER_{near[0].upper()}__…?" if near else f"sections are {', '.join(_TABLES)}"
            problems.append(f"{variable}: {'.'.join(parts)}: unknown section; {hint}")
            continue
        if parts[0] == "hooks":
            problems.append(f"{variable}: hooks: hooks can be set in the file only; write [[hooks]] there")
            continue
        table = data
        path: list[str] = []
        for depth, part in enumerate(parts):
            by_provider = depth == 1 and path[0] in _BY_PROVIDER and depth < len(parts) - 1
            key = _known_spelling(part, [*table, *(providers if by_provider else ())])
            path.append(key)
            if depth == len(parts) - 1:
                table[key] = _value(env[variable])
                overrides[tuple(path)] = variable
            elif not isinstance(table.setdefault(key, {}), dict):
                problems.append(f"{variable}: {'.'.join(path)}: is a value, not a table; remove the variable")
                break
            else:
                table = table[key]
    return overrides, problems


def _list_overrides(env: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    for variable in sorted(env):
        name = variable.removeprefix("TRACKER_")
        # hook programs have TRACKER_LABEL_<NAME> and others, and may run tracker commands
        if name == variable or variable in RESERVED or name.startswith("LABEL_"):
            continue
        parts = name.lower().split("__")
        if (len(parts) > 1 and all(parts)) or parts[0] in TOP_KEYS:
            yield variable, parts


def _known_spelling(part: str, known: Iterable[str]) -> str:
    """The key that a variable means; variables are upper case and have no hyphens."""
    for key in known:
        if key.lower().replace("-", "_").replace(".", "_") == part:
            return key
    return part


def _value(text: str) -> object:
    """Parse lists and tables as TOML; other values stay text."""
    if text[:1] in {"[", "{"}:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text
    return text


def _exposure(config: Config, name: str, overrides: _Overrides) -> list[str]:
    if not is_exposed(config):
        return []
    message = (
        f"{config.listen} can be reached from other machines and no API token is set; "
        f"set {config.server.api_token_env}, name an api_token_file, or listen on 127.0.0.1"
    )
    return [problem_line(("server", "listen"), message, name, overrides)]


def _exposure_of_part(
    data: Mapping[str, Any], context: Context, env: Mapping[str, str], name: str, overrides: _Overrides
) -> list[str]:
    """The same check if other tables are wrong, so that all errors are reported at once."""
    try:
        server = Server.model_validate(data.get("server", {}), context=context)
    except ValidationError:
        return []
    return _exposure(Config(server=server).bind(None, env), name, overrides)
