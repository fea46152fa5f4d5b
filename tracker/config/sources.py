"""Finds and reads the file, and applies overrides from the environment. Checks no values.

Owns the search order, and the names of tables and of overriding variables. Each command uses it; it imports no library.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tracker.domain.text import NotText, name_odd_character, read_text
from tracker.errors import ConfigError
from tracker.filesystem import is_file

SYSTEM_FILE = Path("/etc/tracker/tracker.toml")
RESERVED = frozenset({"TRACKER_CONFIG", "TRACKER_URL", "TRACKER_API_TOKEN", "TRACKER_CALLBACK_SECRET"})
"""Variables that are not overrides."""

DEFAULT_TOKEN_ENV = "TRACKER_API_TOKEN"  # noqa: S105 - the name of a variable
TOP_KEYS = ("environment", "public_url", "hooks_dir", "providers_dir")
"""Keys outside of tables."""
TABLES = (
    *("server", "store", "accounts", "poll", "callbacks", "archive", "retention", "models", "prices"),
    *("budget", "messages", "log", "tracing", "hooks"),
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BY_PROVIDER = {"poll", "callbacks", "accounts"}
_NAME_ANOTHER = "choose another with --config"
_LINE = re.compile(r"line (\d+),")
_POSITION = re.compile(r"(.*) \(at (.*)\)", re.DOTALL)

Overrides = dict[tuple[str, ...], str]
"""Path of a key -> the variable that overrides it."""


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


def read_file(file: Path) -> dict[str, Any]:
    """The tables of a file.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
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


def override(data: dict[str, Any], env: Mapping[str, str], providers: frozenset[str]) -> tuple[Overrides, list[str]]:
    """Put the values of ``TRACKER_…`` variables into ``data``; returns the overridden keys, and errors."""
    overrides: Overrides = {}
    problems: list[str] = []
    for variable, parts in _list_overrides(env):
        if parts[0] not in (*TABLES, *TOP_KEYS):
            import difflib  # noqa: PLC0415  only a mistake needs it

            near = difflib.get_close_matches(parts[0], TABLES, 1)
            hint = f"did you mean TRACKER_{near[0].upper()}__…?" if near else f"sections are {', '.join(TABLES)}"
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


def resolve(path: Path, base: Path, home: Path | None) -> Path:
    """Make a path absolute: ``~`` is the home directory, relative ones start at ``base``."""
    if home is not None and path.parts[:1] == ("~",):
        path = home.joinpath(*path.parts[1:])
    return base / path


def home_of(env: Mapping[str, str]) -> Path | None:
    """The user's home directory; None if it is not known."""
    return Path(env["HOME"]) if env.get("HOME") else None


def base_of(file: Path | None) -> Path:
    """The directory that relative paths start from."""
    return file.absolute().parent if file is not None else Path.cwd()


def state_dir(env: Mapping[str, str]) -> Path:
    """``$STATE_DIRECTORY`` (set by systemd), else the XDG state directory of this user."""
    if given := env.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    if given := env.get("XDG_STATE_HOME"):
        return Path(given) / "tracker"
    home = env.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises without one
    return Path(home) / ".local" / "state" / "tracker"


def store_path(given: Path | None, env: Mapping[str, str]) -> Path:
    """The SQLite file: the configured one, or the usual one."""
    return given or state_dir(env) / "tracker.db"


def is_variable(name: str) -> bool:
    """Whether this can be the name of an environment variable."""
    return _VARIABLE.fullmatch(name) is not None
