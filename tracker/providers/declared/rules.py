"""The rules between several keys of a provider file, about values that would never be filled or read.

Must not know line numbers. Messages are ``what is wrong; how to fix it``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tracker.providers.declared.tables import (
    OK_CODES,
    CallbackTable,
    OutputTable,
    ProviderTable,
    RouteTable,
    fold,
)
from tracker.providers.reading.requests import MODEL, RESERVED_MODEL, RESERVED_TASK_ID, TASK_ID

Path = tuple[str | int, ...]
Mistake = tuple[Path, str]

_PLACEHOLDER = re.compile(r"\$?\{\+?[A-Za-z_][\w.:-]*\}")
_ANY_BRACE = re.compile(r"\$?\{[^{}]*\}|[{}]")
_PLAIN_NAME = re.compile(r"\{\+?[a-z_.]{1,40}\}")
"""What messages may repeat: it looks like a placeholder, and not like a secret."""
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/?\[\]-]*")
_DOT_SEGMENT = re.compile(r"/\.\.?(?=[/?]|$)")
_LONGEST_CODE = 200
"""Characters; longer statuses and codes are cut before the lookup."""
_RESERVED_NAMES = frozenset({"default"})


def list_mistakes(table: ProviderTable) -> Iterable[Mistake]:
    """The path of each key that does not fit another, and what is wrong, in a file whose single values are valid."""
    if table.name in _RESERVED_NAMES:
        yield ("name",), "the account with this name is for the built-in routes; choose another name"
    for name, route in table.routes.items():
        for path, message in _check_route(route, table.callback):
            yield ("routes", name, *path), message
    yield from _check_statuses(table.statuses)
    yield from _check_codes(table)
    yield from _check_outputs(table.outputs)
    if table.callback is not None:
        yield from _check_callback(table.callback)


def _check_route(route: RouteTable, callback: CallbackTable | None) -> Iterable[Mistake]:
    yield from _check_path("create", route.create, (MODEL, RESERVED_MODEL))
    yield from _check_path("query", route.query, (TASK_ID, RESERVED_TASK_ID, MODEL, RESERVED_MODEL))
    values = [("query_parameters", route.query_parameters), ("query_body", route.query_body)]
    for key, value in values:
        yield from (((key, *path), message) for path, message in _list_unfilled(value, (TASK_ID,)))
    yield from ((("headers", *path), message) for path, message in _list_unfilled(route.headers, ()))
    yield from ((("asset",), message) for _, message in _list_unfilled(route.asset, ()))
    for index, field in enumerate(route.required):
        yield from ((("required", index), message) for _, message in _list_unfilled(field, ()))
        if callback is not None and field == callback.field:
            yield ("required", index), "the tracker fills this field with its callback URL; remove it here"
    holders = [text for _, value in values for text in _texts(value)]
    if not any(TASK_ID in text for text in holders) and not {TASK_ID, RESERVED_TASK_ID} & set(
        _PLACEHOLDER.findall(route.query)
    ):
        yield (
            ("query",),
            f"the query has no task id; write {TASK_ID} into it, or into query_parameters",
        )
    if "?" in route.query and route.query_parameters:
        yield ("query",), "has parameters beside query_parameters; move them there"


def _check_path(key: str, value: str, allowed: tuple[str, ...]) -> Iterable[Mistake]:
    unfilled = [found for found in _ANY_BRACE.findall(value) if found not in allowed]
    yield from (((key,), _unfilled_message(found, allowed)) for found in unfilled)
    path = _ANY_BRACE.sub("", value.partition(" ")[2])
    if not _PATH.fullmatch(path):
        yield (key,), "has a character that is not allowed in a path; percent-encode it"
    if _DOT_SEGMENT.search(path):
        yield (key,), "has a segment . or ..; write the final path"


def _list_unfilled(value: Any, allowed: tuple[str, ...]) -> Iterable[Mistake]:  # noqa: ANN401 - any TOML value
    """Placeholders that are never filled and would be sent as text."""
    match value:
        case str():
            for found in _PLACEHOLDER.findall(value):
                if found not in allowed:
                    yield (), _unfilled_message(found, allowed)
        case Mapping():
            for key, inner in value.items():
                yield from (((key,), message) for _, message in _list_unfilled(key, ()))
                yield from (((key, *path), message) for path, message in _list_unfilled(inner, allowed))
        case list():
            for index, inner in enumerate(value):
                yield from (((index, *path), message) for path, message in _list_unfilled(inner, allowed))
        case _:
            pass


def _texts(value: Any) -> Iterable[str]:  # noqa: ANN401 - any TOML value
    match value:
        case str():
            yield value
        case Mapping():
            for inner in value.values():
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)
        case _:
            pass


def _unfilled_message(found: str, allowed: tuple[str, ...]) -> str:
    shown = found if _PLAIN_NAME.fullmatch(found) else "a brace or placeholder"
    if found.strip("{+}") in {"callback_url", "webhook_url", "callback", "webhook"}:
        return f"{shown} is not filled here; set callback.field to the request field for the callback URL"
    if allowed:
        return f"{shown} is not filled here and would be sent as text; allowed here: {', '.join(allowed)}"
    return f"{shown} is not filled here and would be sent as text; remove it, no placeholder is allowed here"


def _check_statuses(statuses: Mapping[str, str]) -> Iterable[Mistake]:
    seen: set[str] = set()
    for status in statuses:
        if fold(status) in seen:
            yield ("statuses", status), "is listed twice, and case makes no difference; remove one"
        seen.add(fold(status))
        if (message := _never_matches(status)) is not None:
            yield ("statuses", status), message


def _check_codes(table: ProviderTable) -> Iterable[Mistake]:
    task = table.task
    if task.progress is None and "progress_full" in task.model_fields_set:
        yield ("task", "progress_full"), "is not used without progress; set progress, or remove it"
    if task.error_code is None and task.ok_codes is not None:  # [reasons] still apply to codes in the usual shapes
        yield ("task", "ok_codes"), "is not used without error_code; set error_code, or remove it"
    successes = {fold(str(code)) for code in (task.ok_codes or OK_CODES)}
    seen: set[str] = set()
    for code in table.reasons:
        where = ("reasons", code)
        if fold(code) in seen:
            yield where, "is listed twice, and case makes no difference; remove one"
        seen.add(fold(code))
        if fold(code) in successes:
            yield where, "this code means success, see task.ok_codes; remove it here, or set ok_codes"
        elif "*" in code.removesuffix("*"):
            yield where, "a * is allowed only at the end; write the beginning of the code and one *"
        elif (message := _never_matches(code)) is not None:
            yield where, message


def _never_matches(text: str) -> str | None:
    """Why a listed status or code never matches: those of replies are trimmed and cut."""
    if text.strip() != text or not text:
        return "is empty or has blanks around it, and never matches; remove the blanks"
    return "is too long and never matches; shorten it" if len(text) > _LONGEST_CODE else None


def _check_outputs(outputs: list[OutputTable]) -> Iterable[Mistake]:
    seen: set[tuple[str | None, str | None]] = set()
    for index, output in enumerate(outputs):
        where = ("outputs", index)
        if (output.url is None) == (output.text is None):
            yield where, "an output needs url or text; set one of the two"
        if (output.url, output.text) in seen:
            yield where, "finds the same as an output above; remove one"
        seen.add((output.url, output.text))
        if output.text is not None and output.kind not in {"text", "file"}:
            yield (*where, "kind"), 'a text is not a media file; write kind = "text", or set url to its URL'


def _check_callback(callback: CallbackTable) -> Iterable[Mistake]:
    if callback.field is None and callback.task is not None:
        message = "is not read, because no request has the callback URL and other callbacks only cause a poll"
        yield ("callback", "task"), f"{message}; set field, or remove task"
    yield from ((("callback", "field"), message) for _, message in _list_unfilled(callback.field, ()))
