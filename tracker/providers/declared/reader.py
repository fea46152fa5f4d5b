"""Reads replies and callbacks with the paths that a provider file declares.

Owns what follows from the tables of one file. Must not know a real provider.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace as with_changes
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson
from msgspec.structs import replace

from tracker.domain.observation import Reading, Submission, Trouble
from tracker.domain.task import ExternalId, Output, Reason, Status, UpstreamError
from tracker.domain.upstream_http import AuthStyle, WireReply, WireRequest
from tracker.errors import FieldProblem, PayloadInvalid
from tracker.providers.declared.expressions import search
from tracker.providers.declared.tables import OK_CODES, OutputTable, ProviderTable, RouteTable, fold
from tracker.providers.provider import Entry, Provider
from tracker.providers.reading import error_meanings as meanings
from tracker.providers.reading.decoded_reply import DecodedReply, decode_reply
from tracker.providers.reading.error_meanings import Meaning, failed, meaning_of
from tracker.providers.reading.error_shapes import find_error
from tracker.providers.reading.fields import (
    distinct,
    find_code,
    find_seconds,
    find_text,
    find_url,
    flat,
    kind_of,
    mime_of,
    parse_id,
    require_object,
    urls_apart,
)
from tracker.providers.reading.outputs import find_data_url_output, find_text_output
from tracker.providers.reading.replies import read_creation, read_status
from tracker.providers.reading.requests import (
    POLL_WITHIN_S,
    RESERVED_TASK_ID,
    TASK_ID,
    create_call,
    find_field,
    has_model,
    optional_text_problem,
    path_segment,
    quote_reserved,
    text_problem,
    with_field,
)
from tracker.providers.reading.statuses import read_by_status
from tracker.providers.route import SAMPLE_PROMPT, Route

if TYPE_CHECKING:
    from tracker.providers.route import Json

_MEANINGS = {
    Reason.INVALID_REQUEST: meanings.INVALID,
    Reason.AUTH_FAILED: meanings.AUTH,
    Reason.ENTITLEMENT: meanings.ENTITLEMENT,
    Reason.QUOTA_EXHAUSTED: meanings.QUOTA,
    Reason.RATE_LIMITED: meanings.RATE,
    Reason.POLICY_REJECTED: meanings.POLICY,
    Reason.UPSTREAM_UNAVAILABLE: meanings.MAINTENANCE,
    Reason.NOT_FOUND: meanings.NOT_FOUND,
}
_KNOWN_KINDS = frozenset({"image", "audio", "video"})
"""Kinds that a URL's suffix shows where the declared one is ``file``."""
_FULL = 100
_REDIRECTS = 300
_NULL = "null"
"""The result of ``to_string`` for a missing field."""


def make_provider(table: ProviderTable) -> Provider:
    """The provider that a valid file defines."""
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
                    create=route.create,
                    query=route.query,
                    asset=route.asset,
                    source=table.source,
                    sample=_sample_of(route),
                    callback=callback is not None,
                    callback_field=callback.field if callback else None,
                    callback_required=callback.required if callback else False,
                    poll_interval_s=route.poll_interval_s,
                    signature=callback.signature if callback else None,
                    account=table.account or table.name,
                ),
                check=partial(_check, route=route, callback_field=callback.field if callback else None),
                read_create=reader.read_create,
                read_poll=reader.read_poll,
                read_callback=reader.read_callback,
                create_request=partial(create_call, headers=headers, auth=auth),
                poll_request=partial(_poll_request, table=route, auth=auth),
            )
        )
    return Provider(table.name, tuple(entries), reader.callback_ids)


def _sample_of(route: RouteTable) -> dict[str, Json]:
    """The fields that the file requires, each as a text, since it does not declare types."""
    sample: dict[str, Json] = {"model": "model"} if has_model(route.create) or has_model(route.query) else {}
    for path in (dotted.split(".") for dotted in route.required):
        if find_field(sample, tuple(path)) is None:
            sample = with_field(sample, path, SAMPLE_PROMPT)
    return sample


def _check(request: Mapping[str, Json], *, route: RouteTable, callback_field: str | None) -> list[FieldProblem]:
    problems = text_problem(request, "model") if has_model(route.create) or has_model(route.query) else []
    for dotted in route.required:
        path = tuple(dotted.split("."))
        if find_field(request, path) in (None, "", [], {}):
            problems.append(FieldProblem(("request", *path), "required"))
    return problems + (optional_text_problem(request, *callback_field.split(".")) if callback_field else [])


def _poll_request(route: Route, external_id: ExternalId, *, table: RouteTable, auth: AuthStyle) -> WireRequest:
    method, path = (route.query or table.query).split(" ", 1)  # of the route: its model is filled in
    path = path.replace(TASK_ID, path_segment(external_id)).replace(RESERVED_TASK_ID, quote_reserved(external_id))
    return WireRequest(
        method=method,
        path=path,
        query=tuple((key, value.replace(TASK_ID, external_id)) for key, value in table.query_parameters.items()),
        headers=tuple(table.headers.items()),
        body=None if table.query_body is None else orjson.dumps(_filled(table.query_body, external_id)),
        auth=auth,
        answer_within_s=POLL_WITHIN_S,
    )


def _filled(value: Json, external_id: str) -> Json:
    """A copy of a TOML value with the task's id filled in."""
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
    """The readers of one file."""

    def __init__(self, table: ProviderTable) -> None:
        self._task = table.task
        self._outputs = table.outputs
        self._callback = table.callback
        self._statuses = {fold(said): Status(meant) for said, meant in table.statuses.items()}
        self._reasons = {fold(code): Reason(meant) for code, meant in table.reasons.items()}
        self._ok_codes = {fold(str(code)) for code in table.task.ok_codes or OK_CODES}

    def read_create(self, reply: WireReply) -> Reading:
        """Read the reply to a create: an id is an acceptance, an error code without one a refusal."""
        reading = read_creation(reply, self._read_accepted, self._find_meaning, self._find_id)
        if reading.submission is Submission.ACCEPTED:
            return reading
        decoded = decode_reply(reply)
        found = self._find_stated(decoded)
        if found is None:
            return reading
        meaning, error = found
        if error.code is None and reading.error is not None and reading.error.code is not None:
            return reading  # a code in a usual shape is more specific than a status
        if error.message is None and reading.error is not None:
            error = UpstreamError(error.code, reading.error.message, error.http_status)
        if meaning.on_create is Submission.AMBIGUOUS:
            return replace(reading, error=error)
        return Reading(
            submission=meaning.on_create,
            reason=meaning.reason,
            retryable=meaning.retryable,
            error=error,
            retry_after_s=decoded.retry_after_s,
        )

    def read_poll(self, reply: WireReply) -> Reading:
        """Read the reply to a poll."""
        reading = read_status(reply, self._read_task, self._find_meaning)
        if reading.status is not None or reading.upstream_status is not None:
            return reading
        decoded = decode_reply(reply)
        found = self._find_stated(decoded)
        if found is None:
            return reading
        meaning, error = found
        return Reading(
            trouble=meaning.on_poll, error=error, retryable=meaning.retryable, retry_after_s=decoded.retry_after_s
        )

    def read_callback(self, body: Json) -> Reading:
        """Read a callback: the task in it, or only its id.

        Raises:
            PayloadInvalid: it is not what the file declares.
        """
        if self._callback is None:
            raise PayloadInvalid("this provider has no callbacks")
        callback = require_object(body, "body")
        if self._callback.task is None:
            return Reading(external_id=self.callback_ids(body)[0], detail="a callback; a poll fetches the result")
        task = require_object(search(self._callback.task, callback, "callback.task"), self._callback.task)
        return self._read_task(task) or Reading(trouble=Trouble.UNREADABLE, detail="no task in the callback")

    def callback_ids(self, body: Json) -> tuple[ExternalId, ...]:
        """The id of the task in a callback.

        Raises:
            PayloadInvalid: it names none.
        """
        callback = require_object(body, "body")
        for path in self._callback.ids if self._callback else ():
            found = parse_id(search(path, callback, "callback.ids"), path)
            if found is not None:
                return (found,)
        raise PayloadInvalid(f"{self._callback.ids[0] if self._callback else 'body'}: no task id")

    def _read_accepted(self, body: Mapping[str, Json]) -> Reading | None:
        """Read an acceptance: the id decides, regardless of other fields."""
        try:
            reading = self._read_task(body)
        except PayloadInvalid:
            reading = None
        if reading is not None and reading.external_id is not None:
            return reading
        external_id = self._find_id(body)
        return None if external_id is None else Reading(external_id=external_id)

    def _find_stated(self, decoded: DecodedReply) -> tuple[Meaning, UpstreamError] | None:
        """The declared error of a reply without a task, and its meaning."""
        if decoded.body is None or decoded.is_redirect:
            return None
        try:
            error = self._find_error(decoded.body)
            found = search(self._task.status, decoded.body, "task.status")
        except PayloadInvalid:
            return None
        error = UpstreamError(error.code, error.message, decoded.http_status)
        if self._task.ok_codes is None and _is_http_success(error.code) and self._find_meaning(error) is None:
            return None  # "201 Created" without an id leaves open what happened
        if error.code is None:
            said = find_code(found)
            if not decoded.is_success or said is None or self._statuses.get(fold(said)) is not Status.FAILED:
                return None
            message = error.message or decoded.error.message or f"upstream status {said}, without a task id"
            stated = UpstreamError(None, message, decoded.http_status)
            return self._find_meaning(UpstreamError(said)) or meanings.NOT_MADE, stated
        meaning = meaning_of(decoded.http_status, error, self._find_meaning)
        if meaning is None:
            return None
        if meaning is meanings.UNCLEAR and decoded.is_success:
            meaning = meanings.BROKEN  # the upstream's own code in its own reply: it did not accept the job
        return meaning, error

    def _find_error(self, body: Mapping[str, Json]) -> UpstreamError:
        """The declared error code, unless it means success, and the message."""
        code = find_code(search(self._task.error_code, body, "task.error_code"))
        message = find_text(search(self._task.error_message, body, "task.error_message"))
        is_none = code is None or fold(code) in self._ok_codes or code == _NULL
        return UpstreamError(None if is_none else code, message)

    def _read_task(self, body: Mapping[str, Json]) -> Reading | None:
        """Read a reply; None when it states an error instead of a task, or nothing."""
        task = self._task
        found = search(task.status, body, "task.status")
        said = str(found).lower() if isinstance(found, bool) else find_code(found)
        external_id = self._find_id(body)
        if said is None and (external_id is None or find_error(body) is not None):
            return None

        def with_outputs(reading: Reading) -> Reading:
            outputs, detail = self._find_outputs(body)
            return replace(reading, outputs=outputs, detail=detail)

        def with_error(reading: Reading) -> Reading:
            error = self._find_error(body)
            known = error if error.code or error.message else find_error(body)
            if (known is None or known.code is None) and self._find_meaning(UpstreamError(said)) is not None:
                known = UpstreamError(said, None if known is None else known.message)
            return failed(reading, known, self._find_meaning)

        return read_by_status(
            Reading(external_id=external_id, upstream_status=said),
            lambda status: self._statuses.get(fold(status)),
            succeeded=with_outputs,
            failed=with_error,
            unfinished=lambda reading: replace(reading, progress=self._find_progress(body)),
            missing=f"nothing at task.status ({task.status})",
        )

    def _find_id(self, body: Mapping[str, Json]) -> ExternalId | None:
        return parse_id(search(self._task.id, body, "task.id"), self._task.id)

    def _find_progress(self, body: Mapping[str, Json]) -> int | None:
        done = find_seconds(search(self._task.progress, body, "task.progress"))
        return None if not done else min(int(done * _FULL / self._task.progress_full), _FULL)

    def _find_outputs(self, body: Mapping[str, Json]) -> tuple[tuple[Output, ...], str | None]:
        """The outputs; without any, what the expressions found instead."""
        found = distinct(output for rule in self._outputs for output in _outputs_of(rule, body))
        return found, None if found else "; ".join(_why_no_output(rule, body) for rule in self._outputs)

    def _find_meaning(self, error: UpstreamError) -> Meaning | None:
        """The meaning of a code in ``[reasons]``, complete or by its beginning; the longest match counts."""
        code = fold(error.code or "")
        fitting = [
            rule
            for rule in self._reasons
            if rule == code or (rule.endswith("*") and code.startswith(rule.removesuffix("*")))
        ]
        if not code or not fitting:
            return None
        reason = self._reasons[max(fitting, key=len)]
        meaning = _MEANINGS.get(reason)
        return meaning or with_changes(meanings.NOT_MADE, reason=reason, task_reason=reason)


def _is_http_success(code: str | None) -> bool:
    return code is not None and code.isascii() and code.isdigit() and HTTPStatus.OK <= int(code) < _REDIRECTS


def _outputs_of(rule: OutputTable, body: Mapping[str, Json]) -> Iterable[Output]:
    """The outputs that one rule finds: each URL separately, the pieces of a text joined."""
    if rule.text is not None:
        pieces = [piece for piece in flat(search(rule.text, body, "outputs.text")) if isinstance(piece, str)]
        text = find_text_output("".join(pieces))
        return () if text is None else (replace(text, kind=rule.kind, mime=rule.mime or text.mime),)
    found = flat(search(rule.url, body, "outputs.url"))
    return [output for value in found for one in urls_apart(value) if (output := _file_of(rule, one))]


def _why_no_output(rule: OutputTable, body: Mapping[str, Json]) -> str:
    """Why a rule found no output, for its author; never the value itself."""
    key, path = ("outputs.text", rule.text) if rule.url is None else ("outputs.url", rule.url)
    where = f"{key} ({(path or '')[:200]})"
    values = [value for value in flat(search(path, body, key)) if value not in (None, "")]
    if not values:
        return f"{where} found nothing"
    value = values[0]
    if rule.url is None or not isinstance(value, str):
        return f"{where} found {kind_of(value)}, not {'a text' if rule.url is None else 'a URL'}"
    text = value.strip()
    if text[:1] in {"{", "["}:
        return f"{where} found JSON in a text, not a URL; read it with from_json(…)"
    if text.startswith("/"):
        return f"{where} found a path, not a URL; join it with the host: join('', ['https://…', …])"
    return f"{where} found a text that is not a URL"


def _file_of(rule: OutputTable, value: Json) -> Output | None:
    url = find_url(value)
    if url is not None:
        mime = mime_of(url, rule.mime)
        known = (mime or "").partition("/")[0]
        return Output(kind=known if rule.kind == "file" and known in _KNOWN_KINDS else rule.kind, url=url, mime=mime)
    return find_data_url_output(value, kind=rule.kind)
