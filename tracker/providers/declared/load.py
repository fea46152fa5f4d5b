"""From the texts of provider files to providers, or to one line per mistake.

Owns the wording ``FILE:LINE: key: what is wrong; how to mend it``. Must not open files, nor repeat a value: one
may be a secret in the wrong place.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from tracker.domain.text import name_odd_character
from tracker.errors import ConfigError
from tracker.providers.declared.lines import Path, find_lines, line_of, line_of_fault
from tracker.providers.declared.reader import make_provider
from tracker.providers.declared.rules import list_mistakes
from tracker.providers.declared.tables import (
    CallbackTable,
    OutputTable,
    ProviderTable,
    RouteTable,
    Table,
    TaskTable,
)
from tracker.providers.provider import Provider

SUFFIX = ".toml"
"""Only files with this ending are read; an example is switched on by renaming it."""
_EXAMPLES = "see the examples in config/providers.d"
_NAME_LENGTH = 2
_TOP_KEYS = frozenset({"name", "source", "auth", "account"})


def load_declared(files: Mapping[str, str], builtin: Iterable[str] = ()) -> tuple[Provider, ...]:
    """Make the providers that TOML files define.

    Args:
        files: name of each file, as it is shown in messages, and its text. Names that do not end in ``.toml`` are
            passed over.
        builtin: names of the built-in providers, which are taken.

    Returns:
        One provider per file, in the order of their names.

    Raises:
        ConfigError: one line per mistake of all files.
    """
    problems: list[str] = []
    providers: list[Provider] = []
    named = dict.fromkeys(builtin, "a built-in provider")
    for file in sorted(name for name in files if name.endswith(SUFFIX)):
        text = files[file]
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            words = str(error)
            line = line_of_fault(words, text)
            lines_of_text = text.split("\n")
            odd = name_odd_character(lines_of_text[min(line, len(lines_of_text)) - 1])
            words += f" (the line holds {odd})" if odd else ""
            problems.append(f"{file}:{line}: this is not TOML: {words}; correct the line")
            continue
        lines = find_lines(text)
        try:
            table = ProviderTable.model_validate(data)
        except ValidationError as error:
            problems += _list_problems(error, file, lines)
            continue
        wrong = [*list_mistakes(table)]
        if table.name in named:
            wrong.append((("name",), f"the name is taken by {named[table.name]}; choose another"))
        named.setdefault(table.name, file)
        if wrong:
            problems += [_line(file, lines, path, words) for path, words in wrong]
            continue
        providers.append(make_provider(table))
    if problems:
        raise ConfigError(problems)
    return tuple(providers)


def _list_problems(error: ValidationError, file: str, lines: dict[Path, int]) -> list[str]:
    found = []
    for each in error.errors(include_url=False, include_input=False):
        path = tuple(part for part in each["loc"] if part != "[key]")
        words = _words_of_shape(path, lines) or _words(each["type"], each["msg"], path)
        found.append(_line(file, lines, path, words))
    return list(dict.fromkeys(found))


def _line(file: str, lines: dict[Path, int], path: Path, words: str) -> str:
    shown = ".".join(f"[{part + 1}]" if isinstance(part, int) else part for part in path).replace(".[", "[")
    return f"{file}:{line_of(path, lines)}: {shown}: {words}"


def _words_of_shape(path: Path, lines: dict[Path, int]) -> str | None:
    """What is wrong where TOML took a line for a table of another shape than its writer meant."""
    if path == ("outputs",) and path in lines:
        return "is one table, not a list of them; write [[outputs]]"
    inner = next((found[-1] for found in lines if found[:-1] == path), None)
    if path[:1] in {("statuses",), ("reasons",)} and len(path) == _NAME_LENGTH and inner is not None:
        return 'a dot splits a name in two; write the whole name in quotes, as in "a.b"'
    return None


def _words(kind: str, message: str, path: Path) -> str:
    match kind:
        case "extra_forbidden":
            return _unknown_key(path)
        case "missing":
            return f"is missing; add it, {_EXAMPLES}"
        case "too_short" | "string_too_short":
            return "is empty; give at least one entry"
        case "string_pattern_mismatch":
            return "is no address; write https://…"
        case "model_type" | "dict_type":
            return f"should be a table; {_EXAMPLES}"
        case "list_type":
            return 'should be a list; write ["…"]'
        case "string_type":
            return 'should be text; write it as "…"'
        case _:
            pass
    words = message.removeprefix("Value error, ").replace("Input should", "should")
    return words if ";" in words else f"{words[:1].lower()}{words[1:]}; {_EXAMPLES}"


def _unknown_key(path: Path) -> str:
    known = list(_table_at(path[:-1]).model_fields)
    if len(path) > 1 and path[-1] in _TOP_KEYS:
        return "belongs to the whole file, not to a table; move it above the first [table]"
    near = difflib.get_close_matches(str(path[-1]), known, 1, 0.65)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    return f"unknown key; remove it, known here are {', '.join(known)}"


def _table_at(path: Path) -> type[Table]:
    tables: dict[str | int, Any] = {"task": TaskTable, "callback": CallbackTable, "outputs": OutputTable}
    if path[:1] == ("routes",) and len(path) == _NAME_LENGTH:
        return RouteTable
    table: type[Table] = tables.get(path[0], ProviderTable) if path else ProviderTable
    return table
