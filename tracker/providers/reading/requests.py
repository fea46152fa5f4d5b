"""How requests to an upstream are built and checked, the same for all providers.

Owns paths, bodies, the callback field of a create, and the checks of single fields. Must not know a provider's field
names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

import orjson

from tracker.domain.task import ExternalId
from tracker.domain.upstream_http import AuthHeader, AuthStyle, WireRequest
from tracker.errors import FieldProblem
from tracker.providers.reading.fields import NUL_SIGN, kind_of

if TYPE_CHECKING:
    from tracker.providers.route import Created, Json, Route

CREATE_WITHIN_S = 60.0
"""A create may upload references and wait for moderation; a timeout makes it ambiguous."""
RESULT_WITHIN_S = 300.0
"""A synchronous create returns the result itself, which may take minutes."""
POLL_WITHIN_S = 20.0
TASK_ID, RESERVED_TASK_ID = "{task_id}", "{+task_id}"
MODEL, RESERVED_MODEL = "{model}", "{+model}"
"""Placeholders of paths. With a plus, slashes are not escaped (RFC 6570, reserved expansion)."""


def create_call(
    route: Route,
    request: Mapping[str, Json],
    callback_url: str | None,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    auth: AuthStyle | AuthHeader = AuthStyle.BEARER,
    within_s: float = CREATE_WITHIN_S,
) -> WireRequest:
    """Build a create call from the user's body.

    Where the path has a ``{model}`` or ``{+model}``, ``request.model`` fills it and is not sent in the body.

    Args:
        route: where it goes; its ``callback_field`` takes the callback URL.
        request: the user's body, not changed.
        callback_url: None leaves the field as the user gave it.
        headers: further ones of the provider.
        auth: how the account's key is sent.
        within_s: the timeout of the complete reply, seconds.

    Returns:
        The request; its body is canonical JSON (sorted keys), so that the same request is the same bytes.
    """
    method, path = route.create.split(" ", 1)
    body: Mapping[str, Json] = request
    if has_model(path):
        path = fill_model(path, str(request.get("model", "")))
        body = {key: value for key, value in request.items() if key != "model"}
    if callback_url is not None and route.callback_field is not None:
        body = with_field(body, route.callback_field.split("."), callback_url)
    return WireRequest(
        method=method,
        path=path,
        headers=headers,
        body=orjson.dumps(body, option=orjson.OPT_SORT_KEYS),
        auth=auth,
        answer_within_s=within_s,
    )


def has_model(path: str) -> bool:
    """Whether a path has a placeholder for the model."""
    return MODEL in path or RESERVED_MODEL in path


def fill_model(path: str, model: str) -> str:
    """Fill a model into a path."""
    path = path.replace(MODEL, quote(model.removeprefix("models/"), safe=""))
    return path.replace(RESERVED_MODEL, quote_reserved(model))


def quote_reserved(text: str) -> str:
    """Escape an id or model for a path, without its slashes: such names are paths themselves.

    Slashes are escaped where the name would lead to another path (``.`` or ``..`` between slashes).

    **Source**: https://google.aip.dev/122 (resource names); RFC 6570, section 3.2.3.
    """
    name = text.lstrip("/")
    leads_elsewhere = not name or any(part in {".", ".."} for part in name.split("/"))
    return path_segment(ExternalId(text)) if leads_elsewhere else quote(name, safe="/:@")


def poll_by_path(route: Route, external_id: ExternalId, _created: Created | None = None) -> WireRequest:
    """Build a status call that carries the id in its path."""
    method, path = _query_of(route)
    return WireRequest(
        method=method,
        path=path.replace(TASK_ID, path_segment(external_id)),
        answer_within_s=POLL_WITHIN_S,
    )


def poll_by_parameter(
    route: Route, external_id: ExternalId, _created: Created | None = None, *, parameter: str
) -> WireRequest:
    """Build a status call that carries the id as a query parameter."""
    method, path = _query_of(route)
    query = ((parameter, written_id(external_id)),)
    return WireRequest(method=method, path=path, query=query, answer_within_s=POLL_WITHIN_S)


def path_segment(external_id: ExternalId) -> str:
    """An id as one segment of a path, percent-encoded with its slashes, also in resource names (``operations/abc``)."""
    written = quote(written_id(external_id), safe="")
    return written.replace(".", "%2E") if written in {".", ".."} else written


def written_id(external_id: ExternalId) -> str:
    """A stored id as the upstream wrote it."""
    return external_id.replace(NUL_SIGN, "\0")


def text_problem(request: Mapping[str, Json], *path: str) -> list[FieldProblem]:
    """A problem unless the field under the path is a text that is not blank."""
    problems = _type_problem(request, path, "a text", str)
    return problems or _empty_problem(path, is_empty=not find_field(request, path).strip())


def optional_text_problem(request: Mapping[str, Json], *path: str) -> list[FieldProblem]:
    """A problem when the field is there and is not a text."""
    return [] if find_field(request, path) is None else _type_problem(request, path, "a text", str)


def flag_problem(request: Mapping[str, Json], *path: str) -> list[FieldProblem]:
    """A problem unless the field is true or false."""
    return _type_problem(request, path, "true or false", bool)


def optional_flag_problem(request: Mapping[str, Json], *path: str) -> list[FieldProblem]:
    """A problem when the field is there and is neither true nor false."""
    return [] if find_field(request, path) is None else flag_problem(request, *path)


def number_problem(request: Mapping[str, Json], *path: str) -> list[FieldProblem]:
    """A problem unless the field is a number."""
    return _type_problem(request, path, "a number", (int, float))


def object_problem(request: Mapping[str, Json], *path: str) -> list[FieldProblem]:
    """A problem unless the field is an object."""
    return _type_problem(request, path, "an object", Mapping)


def list_problem(request: Mapping[str, Json], *path: str) -> list[FieldProblem]:
    """A problem unless the field is a list that is not empty."""
    problems = _type_problem(request, path, "a list", list)
    return problems or _empty_problem(path, is_empty=not find_field(request, path))


def _type_problem(
    request: Mapping[str, Json], path: tuple[str, ...], expected: str, kind: type | tuple[type, ...]
) -> list[FieldProblem]:
    value = find_field(request, path)
    if value is None:
        return [FieldProblem(("request", *path), f"required: {expected}")]
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return []
    return [FieldProblem(("request", *path), f"{expected} is expected, not {kind_of(value)}")]


def _empty_problem(path: tuple[str, ...], *, is_empty: bool) -> list[FieldProblem]:
    return [FieldProblem(("request", *path), "must not be empty")] if is_empty else []


def stream_problem(request: Mapping[str, Json], *path: str) -> list[FieldProblem]:
    """A problem when a stream is requested: there is one result to store, and a stream has no reliable end."""
    path = path or ("stream",)
    if not find_field(request, path):
        return []
    return [FieldProblem(("request", *path), "streams are not supported, one final result is stored; remove it")]


def find_field(request: Mapping[str, Json], path: tuple[str, ...]) -> Json:
    """The value under a path of keys; None when there is none."""
    value: Json = request
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _query_of(route: Route) -> tuple[str, str]:
    if route.query is None:
        raise ValueError(f"{route.name} has no status call")
    method, path = route.query.split(" ", 1)
    return method, path


def with_field(holder: Mapping[str, Json], path: list[str], value: str) -> dict[str, Json]:
    """A copy of an object with one field set; only what lies on the path is copied."""
    copy = dict(holder)
    key, *rest = path
    inner = copy.get(key)
    copy[key] = with_field(inner if isinstance(inner, Mapping) else {}, rest, value) if rest else value
    return copy
