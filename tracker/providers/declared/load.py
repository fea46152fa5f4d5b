"""From the texts of provider files to providers, or to one line per mistake.

Owns the form ``FILE:LINE: key: what is wrong; how to fix it``. Must not open files, nor repeat a value, which may be a
misplaced secret. Line numbers come from a scan of the text, because the parser does not report positions.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from tracker.domain.text import name_odd_character
from tracker.errors import ConfigError
from tracker.providers.declared.reader import make_provider
from tracker.providers.declared.rules import list_mistakes
from tracker.providers.declared.tables import (
    CallbackTable,
    OutputTable,
    ProviderTable,
    ResultTable,
    RouteTable,
    Table,
    TaskTable,
)
from tracker.providers.provider import Provider

Path = tuple[str | int, ...]

_PART = r"""(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_TABLE = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]\]?")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")
_PARTS = re.compile(_PART)
_TRIPLES = re.compile(r'"""|' + "'''")
_POSITION = re.compile(r"\(at line (\d+), column \d+\)")
SUFFIX = ".toml"
"""Only files with this suffix are read; renaming an example enables it."""
_EXAMPLES = "see `tracker providers init fal -` for an example"
_NAME_LENGTH = 2
_TOP_KEYS = frozenset({"name", "source", "auth", "account"})


def load_declared(files: Mapping[str, str], builtin: Iterable[str] = ()) -> tuple[Provider, ...]:
    """Make the providers that TOML files define.

    Args:
        files: text by file name, as shown in messages; names without ``.toml`` are skipped.
        builtin: names of the built-in providers, which are reserved.

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
            message = str(error)
            line = line_of_fault(message, text)
            lines_of_text = text.split("\n")
            odd = name_odd_character(lines_of_text[min(line, len(lines_of_text)) - 1])
            message += f" (the line has {odd})" if odd else ""
            problems.append(f"{file}:{line}: this is not TOML: {message}; fix the line")
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
            problems += [_line(file, lines, path, message) for path, message in wrong]
            continue
        providers.append(make_provider(table))
    if problems:
        raise ConfigError(problems)
    return tuple(providers)


def _list_problems(error: ValidationError, file: str, lines: dict[Path, int]) -> list[str]:
    found = []
    for each in error.errors(include_url=False, include_input=False):
        path = tuple(part for part in each["loc"] if part != "[key]")
        message = _shape_message(path, lines) or _message(each["type"], each["msg"], path)
        found.append(_line(file, lines, path, message))
    return list(dict.fromkeys(found))


def _line(file: str, lines: dict[Path, int], path: Path, message: str) -> str:
    shown = ".".join(f"[{part + 1}]" if isinstance(part, int) else part for part in path).replace(".[", "[")
    return f"{file}:{line_of(path, lines)}: {shown}: {message}"


def _shape_message(path: Path, lines: dict[Path, int]) -> str | None:
    """The mistake of a line that TOML reads as a table of another shape than was meant."""
    if path == ("outputs",) and path in lines:
        return "is one table, not a list of them; write [[outputs]]"
    inner = next((found[-1] for found in lines if found[:-1] == path), None)
    if path[:1] in {("statuses",), ("reasons",)} and len(path) == _NAME_LENGTH and inner is not None:
        return 'a dot splits a name in two; write the complete name in quotes, as in "a.b"'
    return None


def _message(kind: str, message: str, path: Path) -> str:
    match kind:
        case "extra_forbidden":
            return _unknown_key(path)
        case "missing":
            return f"is missing; add it, {_EXAMPLES}"
        case "too_short" | "string_too_short":
            return "is empty; give at least one entry"
        case "string_pattern_mismatch":
            return "is not a URL; write https://…"
        case "model_type" | "dict_type":
            return f"should be a table; {_EXAMPLES}"
        case "list_type":
            return 'should be a list; write ["…"]'
        case "string_type":
            return 'should be text; write it as "…"'
        case _:
            pass
    text = message.removeprefix("Value error, ").replace("Input should", "should")
    return text if ";" in text else f"{text[:1].lower()}{text[1:]}; {_EXAMPLES}"


def _unknown_key(path: Path) -> str:
    known = list(_table_at(path[:-1]).model_fields)
    if len(path) > 1 and path[-1] in _TOP_KEYS:
        return "belongs to the file, not to a table; move it above the first [table]"
    near = difflib.get_close_matches(str(path[-1]), known, 1, 0.65)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    return f"unknown key; remove it, known here are {', '.join(known)}"


def _table_at(path: Path) -> type[Table]:
    tables: dict[str | int, Any] = {
        "task": TaskTable,
        "callback": CallbackTable,
        "outputs": OutputTable,
        "result": ResultTable,
    }
    if path[:1] == ("routes",) and len(path) == _NAME_LENGTH:
        return RouteTable
    table: type[Table] = tables.get(path[0], ProviderTable) if path else ProviderTable
    return table


def find_lines(text: str) -> dict[Path, int]:
    """The line, from 1, of each table and key in a TOML text, by its path; indexes of lists of tables start at 0.

    Keys inside inline tables are left out.
    """
    lines: dict[Path, int] = {}
    tables: Counter[tuple[str, ...]] = Counter()
    here: Path = ()
    inside: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        starts_outside = inside is None
        for quote in _TRIPLES.findall(line):
            if inside is None:
                inside = quote
            elif quote == inside:
                inside = None
        if not starts_outside:
            continue
        table = _TABLE.match(line)
        if table is not None:
            name = _split(table[2])
            here = name
            if table[1] == "[[":
                here = (*name, tables[name])
                tables[name] += 1
                lines.setdefault(name, number)
            lines.setdefault(here, number)
            continue
        key = _KEY.match(line)
        if key is not None:
            lines.setdefault((*here, *_split(key[1])), number)
    return lines


def line_of(path: Path, lines: dict[Path, int]) -> int:
    """The line of a key, otherwise of the table around it, otherwise 1."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return 1


def line_of_fault(message: str, text: str) -> int:
    """The line in a message of the TOML parser; the last one if it names the end of the text."""
    found = _POSITION.search(message)
    return int(found[1]) if found else max(len(text.splitlines()), 1)


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PARTS.findall(dotted))
