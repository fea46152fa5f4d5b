"""Reads replies and callbacks with the paths that a provider file declares.

Owns what follows from the tables of one file. Must not know a real provider.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace as with_changes
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.costs import Cost, exact
from tracker.domain.lenient_json.decoder import Form
from tracker.domain.observation import Reading, Submission, Trouble
from tracker.domain.task import ExternalId, Output, Reason, Status, UpstreamError
from tracker.domain.upstream_http import AuthHeader, AuthStyle, WireReply, WireRequest
from tracker.errors import PayloadInvalid
from tracker.providers.declared.calls import Calls, auth_of
from tracker.providers.declared.expressions import search
from tracker.providers.declared.outputs import outputs_of, why_no_output
from tracker.providers.declared.tables import OK_CODES, ProviderTable, fold
from tracker.providers.provider import Entry, Provider
from tracker.providers.reading import error_meanings as meanings
from tracker.providers.reading.decoded_reply import DecodedReply, decode_reply
from tracker.providers.reading.error_meanings import Meaning, failed, meaning_of
from tracker.providers.reading.error_shapes import find_error
from tracker.providers.reading.fields import distinct, find_code, find_seconds, find_text, parse_id, require_object
from tracker.providers.reading.figures import find_time, usage_text
from tracker.providers.reading.replies import read_creation, read_status
from tracker.providers.reading.statuses import read_by_status
from tracker.providers.route import Created, Route

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
_FULL = 100
_REDIRECTS = 300
RESULT, RESULT_HTTP = "result", "result_http"
"""Where the reply to the call for a result is in the reply to the status call, and the HTTP status of that reply."""
_X_API_KEY = AuthHeader("x-api-key", "{key}")
_NULL = "null"
"""The result of ``to_string`` for a missing field."""


def make_provider(table: ProviderTable) -> Provider:
    """The provider that a valid file defines."""
    reader = _Reader(table)
    callback = table.callback
    entries = []
    for name, route in table.routes.items():
        calls = Calls(route, table.result, callback, table.values, auth_of(table))
        entries.append(
            Entry(
                route=Route(
                    name=f"{table.name}.{name}",
                    create=route.create,
                    query=route.query,
                    asset=route.asset,
                    source=table.source,
                    sample=calls.sample(),
                    callback=callback is not None,
                    callback_field=callback.field if callback else None,
                    callback_parameter=callback.parameter if callback else None,
                    callback_required=callback.required if callback else False,
                    poll_interval_s=route.poll_interval_s,
                    signature=callback.signature if callback else None,
                    account=table.account or table.name,
                    needs=calls.needs,
                    fields=calls.fields(table.source),
                ),
                check=calls.check,
                read_create=reader.read_create,
                read_poll=reader.read_poll,
                read_callback=reader.read_callback,
                create_request=calls.create,
                poll_request=calls.poll,
                result_request=partial(reader.result_request, calls),
                join_result=reader.join_result,
            )
        )
    return Provider(table.name, tuple(entries), reader.callback_ids, callback.challenge if callback else None)


class _Reader:
    """The readers of one file."""

    def __init__(self, table: ProviderTable) -> None:
        self._task = table.task
        self._outputs = table.outputs
        self._callback = table.callback
        self._statuses = _by_fold(table.statuses)
        self._callback_statuses = self._statuses | _by_fold(table.callback.statuses if table.callback else {})
        self._failed_http = frozenset(table.result.failed_http if table.result else ())
        self._reasons = {fold(code): Reason(meant) for code, meant in table.reasons.items()}
        auth = auth_of(table)
        is_bearer = auth is AuthStyle.BEARER
        self._key_header = None if is_bearer else str(auth if isinstance(auth, AuthHeader) else _X_API_KEY)
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

    def result_request(
        self, calls: Calls, _route: Route, external_id: ExternalId, created: Created, reply: WireReply
    ) -> WireRequest | None:
        """Build the call for the result where the reply to a status call reports success."""
        if calls.result is None:
            return None
        reading = self.read_poll(reply)
        if reading.status is not Status.SUCCEEDED or reading.outputs:
            return None
        return calls.fetch_result(external_id, created, decode_reply(reply).body)

    def join_result(self, reply: WireReply, result: WireReply) -> WireReply:
        """Put the result into the reply to the status call; a result that failed otherwise replaces that reply."""
        decoded = result.decoded
        is_success = HTTPStatus.OK <= result.status < _REDIRECTS
        if (is_success and decoded.form in {Form.NONE, Form.TRUNCATED}) or not (
            is_success or result.status in self._failed_http
        ):
            return result
        joined = {**(decode_reply(reply).body or {}), RESULT: decoded.value, RESULT_HTTP: result.status}
        # in ASCII: replies with lone surrogates and large numbers are read too
        body = json.dumps(joined).encode()
        return WireReply(HTTPStatus.OK, {"content-type": "application/json"}, body, result.received_at)

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
        reading = self._read_task(task, self._callback_statuses)
        if reading is None and self._callback.challenge in callback:
            raise PayloadInvalid("no task in the callback")  # the address is tested: the caller answers the challenge
        return reading or Reading(trouble=Trouble.UNREADABLE, detail="no task in the callback")

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

    def _read_task(self, body: Mapping[str, Json], statuses: Mapping[str, Status] | None = None) -> Reading | None:
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

        reading = Reading(external_id=external_id, upstream_status=said)
        http_status = body.get(RESULT_HTTP)
        if isinstance(http_status, int) and http_status in self._failed_http:
            return self._with_figures(with_error(reading), body)
        known = self._statuses if statuses is None else statuses
        read = read_by_status(
            reading,
            lambda status: known.get(fold(status)),
            succeeded=with_outputs,
            failed=with_error,
            unfinished=lambda reading: replace(reading, progress=self._find_progress(body)),
            missing=f"nothing at task.status ({task.status})",
        )
        return self._with_figures(read, body) if read.status is not None and read.status.is_terminal else read

    def _with_figures(self, reading: Reading, body: Mapping[str, Json]) -> Reading:
        """The further fields of a reply about an ended job; a path that does not match is ignored."""
        task = self._task
        ended, used, paid = (
            _search_figure(path, body, key)
            for key, path in (
                ("task.finished_at", task.finished_at),
                ("task.usage", task.usage),
                ("task.cost", task.cost),
            )
        )
        amount = exact(paid)
        return replace(
            reading,
            finished_at=find_time(ended),
            usage=usage_text(used),
            cost=None if amount is None else Cost(amount, task.currency),
        )

    def _find_id(self, body: Mapping[str, Json]) -> ExternalId | None:
        return parse_id(search(self._task.id, body, "task.id"), self._task.id)

    def _find_progress(self, body: Mapping[str, Json]) -> int | None:
        done = find_seconds(search(self._task.progress, body, "task.progress"))
        return None if not done else min(int(done * _FULL / self._task.progress_full), _FULL)

    def _find_outputs(self, body: Mapping[str, Json]) -> tuple[tuple[Output, ...], str | None]:
        """The outputs; without any, what the expressions found instead."""
        found = distinct(output for rule in self._outputs for output in outputs_of(rule, body, self._key_header))
        return found, None if found else "; ".join(why_no_output(rule, body) for rule in self._outputs)

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


def _search_figure(expression: str | None, body: Mapping[str, Json], key: str) -> Json:
    """The value at a path; None also where the path does not fit: a figure is never worth a result."""
    try:
        return search(expression, body, key)
    except PayloadInvalid:
        return None


def _by_fold(statuses: Mapping[str, str]) -> dict[str, Status]:
    return {fold(said): Status(meant) for said, meant in statuses.items()}
