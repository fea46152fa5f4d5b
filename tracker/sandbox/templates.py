"""JSON templates: how the data files of the families write an answer.

Owns the placeholders, the merging of templates and the conditions of variants. Must not know what a value means.

- ``"$name"`` is the value, of any type; null without one. ``"$?name"`` leaves its key out instead.
- ``"…${name}…"`` inserts the value into a text; nothing without one.
- ``{"$each": "name", …}`` in a list is repeated for every item of a list of values; with ``"$item"`` it is that alone.
- ``{"$json": …}`` is the JSON text of what it holds.
- A dotted name follows objects: ``$request.external_task_id``. A function gets the rest: ``$url.video``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import orjson

Value = Any
"""JSON of any shape."""
Scope = Mapping[str, Any]

_WHOLE = re.compile(r"\$(\?)?([A-Za-z_][\w.-]*)")
_PART = re.compile(r"\$\{([\w.-]+)\}")
_LEFT_OUT = object()


def dig(value: Value, path: str) -> Value:
    """Follow a dotted path into a value; None where it ends early."""
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def look_up(scope: Scope, name: str) -> Value:
    """Return the value of a placeholder, None without one."""
    root, _, rest = name.partition(".")
    value = scope.get(root)
    if callable(value):
        return value(rest)
    return dig(value, rest) if rest else value


def fill(template: Value, scope: Scope) -> Value:
    """Return a template with its placeholders replaced."""
    match template:
        case str():
            if found := _WHOLE.fullmatch(template):
                value = look_up(scope, found[2])
                return _LEFT_OUT if found[1] and value is None else value
            return _PART.sub(lambda part: _text_of(look_up(scope, part[1])), template)
        case {"$json": inner}:
            return orjson.dumps(fill(inner, scope)).decode()
        case dict():
            filled = {key: fill(value, scope) for key, value in template.items()}
            return {key: value for key, value in filled.items() if value is not _LEFT_OUT}
        case list():
            return [value for item in template for value in _fill_items(item, scope) if value is not _LEFT_OUT]
        case _:
            return template


def _text_of(value: object) -> str:
    return "" if value is None else str(value)


def _fill_items(item: Value, scope: Scope) -> Iterable[Value]:
    if not (isinstance(item, dict) and "$each" in item):
        return [fill(item, scope)]
    rest = {key: value for key, value in item.items() if key != "$each"}
    return [fill(rest.get("$item", rest), {**scope, **each}) for each in look_up(scope, item["$each"]) or ()]


def merge(*layers: Value) -> Value:
    """Lay values over each other: objects are joined key by key, anything else is replaced."""
    merged = layers[0]
    for layer in layers[1:]:
        if isinstance(merged, dict) and isinstance(layer, dict):
            merged = merged | {k: merge(merged[k], v) if k in merged else v for k, v in layer.items()}
        else:
            merged = layer
    return merged


def matches(when: Mapping[str, Any], scope: Scope) -> bool:
    """Return whether every named value is one of the wanted ones; a wanted text may be a pattern with ``*``."""
    return all(
        any(_equals(look_up(scope, name), one) for one in (wanted if isinstance(wanted, list) else [wanted]))
        for name, wanted in when.items()
    )


def _equals(value: object, wanted: object) -> bool:
    if isinstance(value, str) and isinstance(wanted, str):
        return fnmatchcase(value, wanted)
    return type(value) is type(wanted) and value == wanted
