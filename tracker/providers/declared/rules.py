"""The rules between several keys of a provider file, about values that would never be filled or read.

Must not know line numbers. Messages are ``what is wrong; how to fix it``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tracker.providers.declared.expressions import list_fields
from tracker.providers.declared.placeholders import CREATE_PARTS, list_names
from tracker.providers.declared.tables import (
    OK_CODES,
    CallbackTable,
    OutputTable,
    ProviderTable,
    ResultTable,
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
_PART = re.compile(r"\{\+?(request|answer)\.[\w-]+(\.[\w-]+)*\}")
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/?\[\]-]*")
_DOT_SEGMENT = re.compile(r"/\.\.?(?=[/?]|$)")
_LONGEST_CODE = 200
"""Characters; longer statuses and codes are cut before the lookup."""
_RESERVED_NAMES = frozenset({"default"})
_ADDRESSES = frozenset({"callback_url", "webhook_url", "callback", "webhook", "callback_address"})
_PLACES = {
    "key": "auth only",
    "task_id": "query, query_parameters and query_body, and in those of [result]",
    "model": "create, query and [result]",
    "request": "create, query and [result]",
    "answer": "query (the reply to the create) and [result] (the reply to the query)",
}
"""Where known placeholders are filled, for messages about the other places."""


class _Allowed:
    """The placeholders of one place.

    Args:
        names: the complete placeholders.
        parts: ``request`` and ``answer``, for their fields.
        values: the expressions of ``[values]``.
        in_path: whether the forms with a plus are filled too.
    """

    def __init__(
        self, names: tuple[str, ...] = (), parts: tuple[str, ...] = (), values: Mapping[str, str] | None = None
    ) -> None:
        self._names, self._parts, self._values = names, parts, values or {}
        self._hidden = CREATE_PARTS - {name.strip("{+}") for name in names} - set(parts)

    def __contains__(self, found: str) -> bool:
        name = found.strip("{+}")
        if found in self._names or (_PART.fullmatch(found) is not None and name.partition(".")[0] in self._parts):
            return True
        return found in {f"{{{name}}}", f"{{+{name}}}"} and name in self._usable()

    def without_plus(self) -> _Allowed:
        """Those for a value that is not a path."""
        return _Allowed(tuple(name for name in self._names if "+" not in name), self._parts, self._values)

    def listed(self) -> str:
        """For messages."""
        fields = [f"{{{part}.FIELD}}" for part in self._parts]
        return ", ".join([*self._names, *fields, *(f"{{{name}}}" for name in self._usable())])

    def _usable(self) -> list[str]:
        """The values whose expressions use nothing that is not known in this place."""
        return [name for name, text in self._values.items() if not list_fields(text) & self._hidden]


_NOTHING = _Allowed()


def list_mistakes(table: ProviderTable) -> Iterable[Mistake]:
    """The path of each key that does not fit another, and what is wrong, in a file whose single values are valid."""
    if table.name in _RESERVED_NAMES:
        yield ("name",), "the account with this name is for the built-in routes; choose another name"
    for name, route in table.routes.items():
        for path, message in _check_route(route, table):
            yield ("routes", name, *path), message
    if table.result is not None:
        yield from _check_result(table.result, table.values)
    yield from _check_values(table)
    yield from _check_statuses(table.statuses, ("statuses",))
    yield from _check_ends(table)
    yield from _check_codes(table)
    yield from _check_outputs(table.outputs)
    if table.callback is not None:
        yield from _check_callback(table.callback)


def _check_ends(table: ProviderTable) -> Iterable[Mistake]:
    fails_elsewhere = table.result is not None and table.result.failed_http
    for end in ("SUCCEEDED",) if fails_elsewhere else ("SUCCEEDED", "FAILED"):
        if end not in table.statuses.values():
            yield ("statuses",), f"no status means {end}, so no task could end with it; add the one that does"


def _check_route(route: RouteTable, table: ProviderTable) -> Iterable[Mistake]:
    callback, values = table.callback, table.values
    models = (MODEL, RESERVED_MODEL)
    yield from _check_path("create", route.create, _Allowed(models, ("request",), values))
    ids = _Allowed((TASK_ID, RESERVED_TASK_ID, *models), ("request", "answer"), values)
    yield from _check_path("query", route.query, ids)
    holders = [("query_parameters", route.query_parameters), ("query_body", route.query_body)]
    for key, value in holders:
        yield from (((key, *path), message) for path, message in _list_unfilled(value, ids.without_plus()))
    yield from ((("headers", *path), message) for path, message in _list_unfilled(route.headers, _NOTHING))
    key_header, colon, _ = table.auth.partition(":")
    for name in route.headers:
        if colon and name.lower() == key_header.lower():
            yield ("headers", name), "is the header of the account's key, see auth; remove it here"
    yield from ((("asset",), message) for _, message in _list_unfilled(route.asset, _NOTHING))
    for index, field in enumerate(route.required):
        yield from ((("required", index), message) for _, message in _list_unfilled(field, _NOTHING))
        if callback is not None and field == callback.field:
            yield ("required", index), "the tracker fills this field with its callback URL; remove it here"
    named = set(list_names([route.query, route.query_parameters, route.query_body]))
    if "task_id" not in named and not any(
        name.startswith("answer.") or "answer" in list_fields(values.get(name, "@")) for name in named
    ):
        yield (
            ("query",),
            f"the query has no task id; write {TASK_ID} into it, or into query_parameters",
        )
    if "?" in route.query and route.query_parameters:
        yield ("query",), "has parameters beside query_parameters; move them there"
    if "?" in route.create and callback is not None and callback.parameter is not None:
        yield ("create",), "has parameters beside callback.parameter; remove them"


def _check_result(result: ResultTable, values: Mapping[str, str]) -> Iterable[Mistake]:
    allowed = _Allowed(
        (TASK_ID, RESERVED_TASK_ID, MODEL, RESERVED_MODEL),
        ("request", "answer"),
        values,
    )
    yield from ((("result", *path), message) for path, message in _check_path("query", result.query, allowed))
    for path, message in _list_unfilled(result.query_parameters, allowed.without_plus()):
        yield ("result", "query_parameters", *path), message
    if not any(True for _ in list_names([result.query, result.query_parameters])):
        message = f"names no task; write {TASK_ID} or {{answer.FIELD}} into it, or into query_parameters"
        yield ("result", "query"), message
    if "?" in result.query and result.query_parameters:
        yield ("result", "query"), "has parameters beside query_parameters; move them there"


def _check_values(table: ProviderTable) -> Iterable[Mistake]:
    """Values that no call uses, or that use nothing of a call."""
    routes = table.routes.values()
    texts: list[Any] = [[one.create, one.query, one.query_parameters, one.query_body] for one in routes]
    texts += [table.result.query, table.result.query_parameters] if table.result else []
    used = set(list_names(texts))
    for name, expression in table.values.items():
        if name not in used:
            yield ("values", name), f"is not used; write {{{name}}} into create, query or [result], or remove it"
        elif not list_fields(expression) & {"task_id", *CREATE_PARTS}:
            yield ("values", name), "uses nothing of a call; write for example request.model, answer.id or task_id"


def _check_path(key: str, value: str, allowed: _Allowed) -> Iterable[Mistake]:
    unfilled = [found for found in _ANY_BRACE.findall(value) if found not in allowed]
    yield from (((key,), _unfilled_message(found, allowed)) for found in unfilled)
    path = _ANY_BRACE.sub("", value.partition(" ")[2])
    if not _PATH.fullmatch(path):
        yield (key,), "has a character that is not allowed in a path; percent-encode it"
    if _DOT_SEGMENT.search(path):
        yield (key,), "has a segment . or ..; write the final path"


def _list_unfilled(value: Any, allowed: _Allowed) -> Iterable[Mistake]:  # noqa: ANN401 - any TOML value
    """Placeholders that are never filled and would be sent as text."""
    match value:
        case str():
            for found in _PLACEHOLDER.findall(value):
                if found not in allowed:
                    yield (), _unfilled_message(found, allowed)
        case Mapping():
            for key, inner in value.items():
                yield from (((key,), message) for _, message in _list_unfilled(key, _NOTHING))
                yield from (((key, *path), message) for path, message in _list_unfilled(inner, allowed))
        case list():
            for index, inner in enumerate(value):
                yield from (((index, *path), message) for path, message in _list_unfilled(inner, allowed))
        case _:
            pass


def _unfilled_message(found: str, allowed: _Allowed) -> str:
    shown = found if _PLAIN_NAME.fullmatch(found) else "a brace or placeholder"
    name = found.strip("{+}")
    if name in _ADDRESSES:
        fix = "set callback.field to the request field for the callback URL, or callback.parameter to its parameter"
        return f"{shown} is not filled here; {fix}"
    what = f"{shown} is not filled here and would be sent as text"
    place = _PLACES.get(name.partition(".")[0])
    if place is not None:
        what += f" (it is filled in {place})"
    listed = allowed.listed()
    return f"{what}; allowed here: {listed}" if listed else f"{what}; remove it, no placeholder is allowed here"


def _check_statuses(statuses: Mapping[str, str], where: Path) -> Iterable[Mistake]:
    seen: set[str] = set()
    for status in statuses:
        if fold(status) in seen:
            yield (*where, status), "is listed twice, and case makes no difference; remove one"
        seen.add(fold(status))
        if (message := _never_matches(status)) is not None:
            yield (*where, status), message


def _check_codes(table: ProviderTable) -> Iterable[Mistake]:
    task = table.task
    if task.progress is None and "progress_full" in task.model_fields_set:
        yield ("task", "progress_full"), "is not used without progress; set progress, or remove it"
    if task.cost is None and "currency" in task.model_fields_set:
        yield ("task", "currency"), "is not used without cost; set cost, or remove it"
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
        if output.text is not None and (output.authenticated or output.duration is not None):
            yield where, "authenticated and duration are for outputs with a url; remove them"
        if output.text is not None and output.kind not in {"text", "file"}:
            yield (*where, "kind"), 'a text is not a media file; write kind = "text", or set url to its URL'


def _check_callback(callback: CallbackTable) -> Iterable[Mistake]:
    is_sent = callback.field is not None or callback.parameter is not None
    if not is_sent and callback.task is not None:
        message = "is not read, because no request has the callback URL and other callbacks only cause a poll"
        yield ("callback", "task"), f"{message}; set field, or remove task"
    if callback.field is not None and callback.parameter is not None:
        yield ("callback", "parameter"), "the callback URL is sent in field already; remove one of the two"
    if not is_sent and callback.extra:
        yield ("callback", "extra"), "is sent with the callback URL only; set field or parameter, or remove extra"
    if not is_sent and callback.challenge is not None:
        yield ("callback", "challenge"), "no request has the callback URL; set field or parameter, or remove challenge"
    if callback.task is None and callback.statuses:
        yield ("callback", "statuses"), "is not read without task; set task, or remove statuses"
    yield from _check_statuses(callback.statuses, ("callback", "statuses"))
    yield from ((("callback", "field"), message) for _, message in _list_unfilled(callback.field, _NOTHING))
    for path, message in _list_unfilled(callback.extra, _NOTHING):
        yield ("callback", "extra", *path), message
