"""Reads answers and callbacks with the paths that a provider file declares.

Owns what follows from the tables of one file. It must not know any real provider.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace as with_changes
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import jmespath
import orjson
from jmespath.exceptions import JMESPathError
from msgspec.structs import replace

from tracker.domain.observation import Reading, Trouble
from tracker.domain.task import ExternalId, Output, Reason, Status, UpstreamError
from tracker.domain.wire import AuthStyle, WireReply, WireRequest
from tracker.errors import FieldProblem, PayloadInvalid
from tracker.providers.answers import find_error, read_creation, read_status
from tracker.providers.base import Provider, Route
from tracker.providers.declared.tables import TASK_ID, OutputTable, ProviderTable, RouteTable
from tracker.providers.family import Entry, Family
from tracker.providers.fields import (
    distinct,
    find_code,
    find_seconds,
    find_text,
    find_url,
    mime_of,
    parse_id,
    require_object,
)
from tracker.providers.meanings import (
    AUTH,
    ENTITLEMENT,
    INVALID,
    MAINTENANCE,
    NOT_FOUND,
    NOT_MADE,
    POLICY,
    QUOTA,
    RATE,
    Meaning,
    failed,
)
from tracker.providers.requests import POLL_WITHIN_S, create_call, find_field, optional_text_problem, text_problem
from tracker.providers.results import find_data_url_output, find_text_output

if TYPE_CHECKING:
    from tracker.providers.base import Json

_MEANINGS = {
    Reason.INVALID_REQUEST: INVALID,
    Reason.AUTH_FAILED: AUTH,
    Reason.ENTITLEMENT: ENTITLEMENT,
    Reason.QUOTA_EXHAUSTED: QUOTA,
    Reason.RATE_LIMITED: RATE,
    Reason.POLICY_REJECTED: POLICY,
    Reason.UPSTREAM_UNAVAILABLE: MAINTENANCE,
    Reason.NOT_FOUND: NOT_FOUND,
}
_MODEL = "{model}"
_TOLD = frozenset({"image", "audio", "video"})
"""What a URL's suffix can tell where a file declares no more than ``file``."""
_DEPTH = 3
_FULL = 100


def make_provider(table: ProviderTable) -> Provider:
    """The provider that a file defines.

    Args:
        table: the file, with every rule checked.
    """
    reader = _Reader(table)
    auth = AuthStyle(table.auth)
    callback = table.callback
    entries = []
    for name, route in table.routes.items():
        headers = tuple(route.headers.items())
        entries.append(
            Entry(
                route=Route(
                    name=f"{table.name}.{name}",
                    provider=table.name,
                    create=route.create,
                    query=route.query,
                    asset=route.asset,
                    source=table.source,
                    callback=callback is not None,
                    callback_field=callback.field if callback else None,
                    callback_required=callback.required if callback else False,
                    poll_interval_s=route.poll_interval_s,
                    signature=callback.signature if callback else None,
                ),
                check=partial(_check, route=route, callback_field=callback.field if callback else None),
                read_create=reader.read_create,
                read_poll=reader.read_poll,
                read_callback=reader.read_callback,
                create_request=partial(create_call, headers=headers, auth=auth),
                poll_request=partial(_poll_request, table=route, auth=auth),
            )
        )
    return Family(table.name, tuple(entries), reader.callback_ids)


def _check(request: Mapping[str, Json], *, route: RouteTable, callback_field: str | None) -> list[FieldProblem]:
    problems = text_problem(request, "model") if _MODEL in route.create else []
    for dotted in route.required:
        path = tuple(dotted.split("."))
        if find_field(request, path) in (None, "", [], {}):
            problems.append(FieldProblem(("request", *path), "required"))
    return problems + (optional_text_problem(request, *callback_field.split(".")) if callback_field else [])


def _poll_request(route: Route, external_id: ExternalId, *, table: RouteTable, auth: AuthStyle) -> WireRequest:
    del route
    method, path = table.query.split(" ", 1)
    return WireRequest(
        method=method,
        path=path.replace(TASK_ID, quote(external_id, safe="")),
        query=tuple((key, value.replace(TASK_ID, external_id)) for key, value in table.query_parameters.items()),
        headers=tuple(table.headers.items()),
        body=None if table.query_body is None else orjson.dumps(_filled(table.query_body, external_id)),
        auth=auth,
        answer_within_s=POLL_WITHIN_S,
    )


def _filled(value: Json, external_id: str) -> Json:
    """A copy of a TOML value with the task's id in its place."""
    match value:
        case str():
            return value.replace(TASK_ID, external_id)
        case Mapping():
            return {key: _filled(inner, external_id) for key, inner in value.items()}
        case list():
            return [_filled(inner, external_id) for inner in value]
        case _:
            return value


class _Reader:
    """The readers of one file.

    Args:
        table: the file.
    """

    def __init__(self, table: ProviderTable) -> None:
        self._task = table.task
        self._outputs = table.outputs
        self._callback = table.callback
        self._statuses = {said.lower(): Status(meant) for said, meant in table.statuses.items()}
        self._reasons = {code.lower(): Reason(meant) for code, meant in table.reasons.items()}

    def read_create(self, reply: WireReply) -> Reading:
        """Read the answer to a create."""
        return read_creation(reply, self._read_task, self._find_meaning, self._find_id)

    def read_poll(self, reply: WireReply) -> Reading:
        """Read the answer to a poll."""
        return read_status(reply, self._read_task, self._find_meaning)

    def read_callback(self, body: Json) -> Reading:
        """Read a callback: the task in it, or only which task it is about.

        Raises:
            PayloadInvalid: it is not what the file declares.
        """
        if self._callback is None:
            raise PayloadInvalid("this provider has no callbacks")
        callback = require_object(body, "body")
        if self._callback.task is None:
            return Reading(external_id=self.callback_ids(body)[0], detail="news of the task; a poll will tell")
        task = require_object(_search(self._callback.task, callback, "callback.task"), self._callback.task)
        return self._read_task(task) or Reading(trouble=Trouble.UNREADABLE, detail="no task in the callback")

    def callback_ids(self, body: Json) -> tuple[ExternalId, ...]:
        """The task that a callback names.

        Raises:
            PayloadInvalid: it names none.
        """
        callback = require_object(body, "body")
        for path in self._callback.ids if self._callback else ():
            found = parse_id(_search(path, callback, "callback.ids"), path)
            if found is not None:
                return (found,)
        raise PayloadInvalid(f"{self._callback.ids[0] if self._callback else 'body'}: no task id")

    def _read_task(self, body: Mapping[str, Json]) -> Reading | None:
        """Read an answer; None when it states an error instead of a task, or nothing at all."""
        task = self._task
        found = _search(task.status, body, "task.status")
        said = str(found).lower() if isinstance(found, bool) else find_code(found)
        external_id = self._find_id(body)
        if said is None and (external_id is None or find_error(body) is not None):
            return None
        reading = Reading(external_id=external_id, upstream_status=said)
        if said is None:
            return replace(reading, trouble=Trouble.UNREADABLE, detail=f"nothing at task.status ({task.status})")
        status = self._statuses.get(said.lower())
        match status:
            case None:
                return replace(reading, trouble=Trouble.UNKNOWN_STATUS)
            case Status.SUCCEEDED:
                return replace(reading, status=status, outputs=self._find_outputs(body))
            case Status.FAILED:
                code = find_code(_search(task.error_code, body, "task.error_code"))
                message = find_text(_search(task.error_message, body, "task.error_message"))
                return failed(reading, UpstreamError(code, message), self._find_meaning)
            case _:
                return replace(reading, status=status, progress=self._find_progress(body))

    def _find_id(self, body: Mapping[str, Json]) -> ExternalId | None:
        return parse_id(_search(self._task.id, body, "task.id"), self._task.id)

    def _find_progress(self, body: Mapping[str, Json]) -> int | None:
        done = find_seconds(_search(self._task.progress, body, "task.progress"))
        return None if not done else min(int(done * _FULL / self._task.progress_full), _FULL)

    def _find_outputs(self, body: Mapping[str, Json]) -> tuple[Output, ...]:
        return distinct(output for rule in self._outputs for output in _outputs_of(rule, body))

    def _find_meaning(self, error: UpstreamError) -> Meaning | None:
        """The meaning of a code that ``[reasons]`` names, whole or by its beginning; the longest one counts."""
        code = (error.code or "").lower()
        fitting = [
            rule
            for rule in self._reasons
            if rule == code or (rule.endswith("*") and code.startswith(rule.removesuffix("*")))
        ]
        if not code or not fitting:
            return None
        reason = self._reasons[max(fitting, key=len)]
        meaning = _MEANINGS.get(reason)
        return meaning or with_changes(NOT_MADE, reason=reason, task_reason=reason)


def _outputs_of(rule: OutputTable, body: Mapping[str, Json]) -> Iterable[Output]:
    """The outputs that one rule finds: each URL by itself, the pieces of a text joined."""
    if rule.text is not None:
        pieces = [piece for piece in _flat(_search(rule.text, body, "outputs.text")) if isinstance(piece, str)]
        text = find_text_output("".join(pieces))
        return () if text is None else (replace(text, kind=rule.kind, mime=rule.mime or text.mime),)
    return [output for value in _flat(_search(rule.url, body, "outputs.url")) if (output := _file_of(rule, value))]


def _file_of(rule: OutputTable, value: Json) -> Output | None:
    url = find_url(value)
    if url is not None:
        mime = mime_of(url, rule.mime)
        told = (mime or "").partition("/")[0]
        return Output(kind=told if rule.kind == "file" and told in _TOLD else rule.kind, url=url, mime=mime)
    return find_data_url_output(value, kind=rule.kind)


def _flat(value: Json, depth: int = _DEPTH) -> Iterable[Json]:
    if not isinstance(value, list):
        return (value,)
    return [inner for item in value for inner in _flat(item, depth - 1)] if depth else ()


def _search(path: str | None, value: Json, key: str) -> Json:
    """What stands at a path; None when nothing does, or when there is no path.

    Raises:
        PayloadInvalid: the path works on other types than came.
    """
    if path is None:
        return None
    try:
        return jmespath.search(path, value)
    except (JMESPathError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise PayloadInvalid(f"{key}: the JMESPath does not fit this answer ({type(error).__name__})") from error
