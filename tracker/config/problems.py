"""Turns pydantic's errors into lines: ``FILE: key.path: what is wrong; how to fix it``.

Lines never contain values of the file: one may be a misplaced secret.
"""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Callable, Mapping, Sequence
from operator import eq
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from tracker.config.hooks import HookSpec
from tracker.config.sections import Mistake
from tracker.config.settings import Config

Loc = tuple[str | int, ...]

_GATHERED = {
    ("poll", "providers"),
    ("callbacks", "providers"),
    ("models", "names"),
    ("models", "environments"),
    ("prices", "rates"),
}
"""Fields that are not in the file: their entries are directly in the table."""
_EXAMPLES = {
    "path": '"/var/lib/tracker/tracker.db"',
    "dir": '"/var/lib/tracker/outputs"',
    "hooks_dir": '"/etc/tracker/hooks.d"',
    "providers_dir": '"/etc/tracker/providers.d"',
    "public_url": '"https://tracker.example.com"',
    "on": '"task.finished"',
    "run": '["/usr/local/bin/publish.sh"]',
    "fallback": '["kling-v3-omni"]',
}
"""For keys whose default is not an example."""
_SECRET_KEYS = re.compile(r"(?i)(?:.*_)?(?:key|token|secret|password|passwd)")


def list_problems(
    error: ValidationError,
    data: Mapping[str, Any],
    file: str,
    overrides: Mapping[tuple[str, ...], str],
    hook_table: Callable[[], type[BaseModel]] | None = None,
) -> list[str]:
    """One line per error.

    Args:
        error: from validating ``data``.
        data: the merged configuration, for names of hooks.
        file: the file's name for messages.
        overrides: key path -> environment variable, for overridden values.
        hook_table: makes the model of ``[[hooks]]``.
    """
    lines = []
    for found in error.errors(include_url=False, include_input=False):
        cause = found.get("ctx", {}).get("error")
        loc: Loc = (*found["loc"], *(cause.key if isinstance(cause, Mistake) else ()))
        shown = _shown(loc, data)
        table = _model_at(loc[:-1])
        if table is HookSpec and hook_table is not None:
            table = hook_table()
        lines.append(problem_line(shown, _message(found, loc, shown, table), file, overrides))
    return list(dict.fromkeys(lines))


def problem_line(path: Sequence[str], message: str, file: str, overrides: Mapping[tuple[str, ...], str]) -> str:
    """One line; it names the variable instead of the file for an overridden value."""
    shown = tuple(path)
    source = next((variable for key, variable in overrides.items() if all(map(eq, key, shown))), file)
    return f"{source}: {dotted(shown)}: {message}"


def dotted(path: Sequence[str]) -> str:
    """A key path for messages: ``hooks[publish].on``."""
    return ".".join(path).replace(".[", "[")


def _shown(loc: Loc, data: Mapping[str, Any]) -> list[str]:
    path: list[str] = []
    value: Any = data
    for n, part in enumerate(loc):
        if tuple(loc[:2]) in _GATHERED and n == 1:
            continue
        if isinstance(part, int):
            value = value[part] if isinstance(value, Sequence) and part < len(value) else None
            name = value.get("name") if isinstance(value, Mapping) and _is_list_of_tables(loc[:n]) else None
            path.append(f"[{name if isinstance(name, str) else part + 1}]")
        elif part != "[key]":
            value = value.get(part) if isinstance(value, Mapping) else None
            path.append(part)
    return path


def _is_list_of_tables(path: Sequence[str | int]) -> bool:
    """Whether the file has several tables at a path: ``[[hooks]]``."""
    return tuple(path) in {("hooks",), ("server", "tokens")}


_PLAIN = {
    ("bool_parsing", "bool_type"): "must be true or false",
    ("float_parsing", "float_type", "decimal_parsing", "decimal_type"): "must be a number",
    ("int_from_float", "int_parsing", "int_type"): "must be an integer",
    ("path_type",): "must be a path in quotes",
    ("string_type",): "must be a string in quotes",
    ("tuple_type",): "must be a list in [ ]",
}
"""Messages by pydantic's error types."""


def _message(found: Any, loc: Loc, shown: Sequence[str], table: type[BaseModel] | None) -> str:  # noqa: ANN401 - pydantic's error record, a TypedDict of its core
    last = str(loc[-1]) if loc else ""
    match found["type"]:
        case "extra_forbidden":
            return _unknown_key(last, _keys_of(table, loc[:-1]))
        case "missing":
            return "is missing; add it"
        case "too_short" | "string_too_short":
            return "is empty; give at least one entry"
        case "model_type" | "model_attributes_type" | "dict_type" | "mapping_type":
            return _table_message(shown)
        case "tuple_type" if _is_list_of_tables(loc):
            return f"must be a list of tables; write [[{dotted(shown)}]] and the keys below, once for each"
        case kind:
            plain = next((message for kinds, message in _PLAIN.items() if kind in kinds), None)
    message = plain or str(found["msg"]).removeprefix("Value error, ").replace("Input should", "must")
    message = message[:1].lower() + message[1:]
    return message if ";" in message else f"{message}; {_example(last, table)}"


def _table_message(shown: Sequence[str]) -> str:
    named = [part for part in shown if not part.startswith("[")]
    if shown[:1] == ["models"] and len(named) > 1:
        key = named[-1]
        return f'must be the id of a model, or a table; write for example {key} = "kling-v3-omni"'
    header = f"[[{dotted(named)}]]" if _is_list_of_tables(named) else f"[{dotted(named)}]"
    return f"must be a table; write {header} and its keys below"


def _unknown_key(key: str, known: Sequence[str]) -> str:
    if _SECRET_KEYS.fullmatch(key):
        named = next((name for name in known if name in {f"{key}_env", "api_key_env", "secret_env"}), None)
        if named is not None:
            return f'secrets are not allowed here; put it into the environment and set {named} = "NAME"'
    near = difflib.get_close_matches(key, known, 1, 0.5)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    return f"unknown key; remove it (known keys: {', '.join(known)})"


def _example(key: str, table: type[BaseModel] | None) -> str:
    field = table.model_fields.get(key) if table is not None else None
    default = None if field is None else field.get_default()
    if isinstance(default, float):
        example: str | None = f"{default:g}"
    elif isinstance(default, bool | str | int):
        example = json.dumps(default)
    else:
        example = _EXAMPLES.get(key)
    return f"write for example {key} = {example}" if example else "see config/tracker.toml for an example"


def known_keys(loc: Loc) -> list[str]:
    """The keys of the table at ``loc``, in the order of the documentation."""
    return _keys_of(_model_at(loc), loc)


def _keys_of(table: type[BaseModel] | None, loc: Loc) -> list[str]:
    return [] if table is None else [key for key in table.model_fields if (*loc, key) not in _GATHERED]


def _model_at(loc: Loc) -> type[BaseModel] | None:
    kind: Any = Config
    for part in loc:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            if field is None:
                return None
            kind = field.annotation
        else:  # a mapping or a list
            arguments = [each for each in get_args(kind) if each is not Ellipsis]
            kind = arguments[-1] if arguments else None
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        if get_origin(kind) in {Union, types.UnionType}:
            kind = next(each for each in get_args(kind) if each is not type(None))
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
