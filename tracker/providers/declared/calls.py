"""The requests that a provider file declares: of creates, status calls, and calls for results.

Must not read replies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import orjson
from msgspec.structs import replace as with_changes

from tracker.domain.request_fields import Field, RequestFields
from tracker.domain.upstream_http import AuthHeader, AuthStyle, WireRequest
from tracker.errors import FieldProblem, PayloadInvalid
from tracker.providers.declared.placeholders import Values, list_names, parts_of
from tracker.providers.declared.tables import CallbackTable, ProviderTable, ResultTable, RouteTable
from tracker.providers.reading.requests import (
    POLL_WITHIN_S,
    create_call,
    find_field,
    optional_text_problem,
    text_problem,
    with_field,
)
from tracker.providers.route import SAMPLE_PROMPT

if TYPE_CHECKING:
    from tracker.domain.task import ExternalId
    from tracker.providers.route import Created, Json, Route

Body = Mapping[str, "Json"]
_MODEL = "model"


def auth_of(table: ProviderTable) -> AuthStyle | AuthHeader:
    """How the account's key is sent."""
    return AuthHeader.parse(table.auth) if ":" in table.auth else AuthStyle(table.auth)


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of one route."""

    table: RouteTable
    result: ResultTable | None
    callback: CallbackTable | None
    expressions: Mapping[str, str]
    auth: AuthStyle | AuthHeader

    @property
    def needs(self) -> frozenset[str]:
        """The parts of the create that status calls repeat, see `Route.needs`."""
        query = [self.table.query, self.table.query_parameters, self.table.query_body]
        found = parts_of(list_names(query), self.expressions)
        if self.result is None:
            return found
        second = parts_of(list_names([self.result.query, self.result.query_parameters]), self.expressions)
        return found | (second - {"answer"})  # there it is the reply to the status call

    def sample(self) -> dict[str, Json]:
        """The fields that the file requires, each as a text, since it does not declare types."""
        sample: dict[str, Json] = {_MODEL: _MODEL} if self._has_model() else {}
        fields = [name.removeprefix("request.") for name in self._names() if name.startswith("request.")]
        for path in (dotted.split(".") for dotted in [*fields, *self.table.required]):
            if find_field(sample, tuple(path)) is None:
                sample = with_field(sample, path, _MODEL if path == [_MODEL] else SAMPLE_PROMPT)
        return sample

    def fields(self, source: str) -> RequestFields:
        """The fields that the file names; the list is complete if the file has one."""
        required = [*([_MODEL] if self._has_model() else []), *self.table.required]
        filled = [name.removeprefix("request.") for name in self._names() if name.startswith("request.")]
        own = [self.callback.field, *self.callback.extra] if self.callback is not None else []
        named = dict.fromkeys(filter(None, [*required, *filled, *(self.table.fields or []), *own]))
        return RequestFields(
            tuple(Field(name, "any", "", required=name in {*required, *filled}) for name in named),
            source,
            is_open=self.table.fields is None,
        )

    def check(self, request: Body) -> list[FieldProblem]:
        """Find the fields that the calls cannot do without."""
        problems = text_problem(request, _MODEL) if self._has_model() else []
        for dotted in self.table.required:
            path = tuple(dotted.split("."))
            if find_field(request, path) in (None, "", [], {}):
                problems.append(FieldProblem(("request", *path), "required"))
        problems += self._missing(request, {problem.loc for problem in problems})
        if self.callback is not None and self.callback.field is not None:
            problems += optional_text_problem(request, *self.callback.field.split("."))
        return problems

    def _missing(self, request: Body, known: set[tuple[str | int, ...]]) -> list[FieldProblem]:
        """The fields that the placeholders of paths lack, besides those already ``known`` as missing."""
        problems = []
        values = Values(self.expressions, model=_model_of(request), request=request)
        for name in self._names():
            parts = parts_of([name], self.expressions)
            is_field = name == _MODEL or name.startswith("request.")
            path = name.removeprefix("request.").split(".") if is_field else []
            loc: tuple[str | int, ...] = ("request", *path)
            if not parts or "answer" in parts or loc in known or (known and not is_field):
                continue
            try:
                values.in_path(f"{{{name}}}")
            except PayloadInvalid:
                lacks = "required: a text or a whole number that can be a part of a path"
                problems.append(FieldProblem(loc, lacks if is_field else f"gives no {{{name}}} for the path"))
                known = {*known, loc}
        return problems

    def create(self, route: Route, request: Body, callback_url: str | None) -> WireRequest:
        """Build the create call."""
        values = Values(self.expressions, model=_model_of(request), request=request)
        method, path = route.create.split(" ", 1)
        filled = f"{method} {values.in_path(path)}"
        body = {key: value for key, value in request.items() if key != _MODEL or not self._model_in_create()}
        if callback_url is not None and self.callback is not None:
            for dotted, value in self.callback.extra.items():
                if find_field(body, tuple(dotted.split("."))) is None:
                    body = with_field(body, dotted.split("."), value)
        headers = tuple(self.table.headers.items())
        call = create_call(replace(route, create=filled), body, callback_url, headers=headers, auth=self.auth)
        if callback_url is None or route.callback_parameter is None:
            return call
        return with_changes(call, query=((route.callback_parameter, callback_url),))

    def poll(self, route: Route, external_id: ExternalId, created: Created) -> WireRequest:
        """Build the status call.

        Raises:
            PayloadInvalid: a part of the create that it repeats is not known.
        """
        values = Values(self.expressions, external_id, created.model, created.request, created.answer)
        method, path = (route.query or self.table.query).split(" ", 1)
        try:
            return self._get(method, path, values, self.table.query_parameters, self.table.query_body)
        except PayloadInvalid as missing:
            what = f"the status call of route {route.name} needs a part of the create that is not known"
            raise PayloadInvalid(f"{what}: {missing}") from None

    def fetch_result(self, external_id: ExternalId, created: Created, answer: Json) -> WireRequest | None:
        """Build the call for the result; None where there is none, or the reply does not say what to ask for."""
        if self.result is None:
            return None
        values = Values(self.expressions, external_id, created.model, created.request, answer)
        method, path = self.result.query.split(" ", 1)
        try:
            return self._get(method, path, values, self.result.query_parameters)
        except PayloadInvalid:
            return None  # a success without a result, which is waited for

    def _get(
        self, method: str, path: str, values: Values, parameters: Mapping[str, str], body: Json = None
    ) -> WireRequest:
        return WireRequest(
            method=method,
            path=values.in_path(path),
            query=tuple((key, values.in_value(value)) for key, value in parameters.items()),
            headers=tuple(self.table.headers.items()),
            body=None if body is None else orjson.dumps(values.in_value(body)),
            auth=self.auth,
            answer_within_s=POLL_WITHIN_S,
        )

    def _names(self) -> list[str]:
        """The names of all placeholders."""
        result = [] if self.result is None else [self.result.query, self.result.query_parameters]
        table = self.table
        return list(
            dict.fromkeys(list_names([table.create, table.query, table.query_parameters, table.query_body, *result]))
        )

    def _has_model(self) -> bool:
        return _MODEL in self._names()

    def _model_in_create(self) -> bool:
        return _MODEL in list_names(self.table.create)


def _model_of(request: Body) -> str | None:
    model = request.get(_MODEL)
    return model if isinstance(model, str) else None
