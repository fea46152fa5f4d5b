"""The tables of a provider file, and the form of each value.

Owns the names of the keys. Must not read replies or know line numbers. Messages are ``what is wrong; how to fix it``.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from tracker.domain.task import Reason
from tracker.domain.upstream_http import KEY, AuthStyle
from tracker.providers.declared.expressions import check_expression
from tracker.providers.reading.requests import TASK_ID
from tracker.providers.signatures import SCHEMES

OK_CODES = ("0", "200", "success", "ok")
"""Codes of success unless a file has its own; so are a null and an empty one."""
NAME = re.compile(r"[a-z][a-z0-9-]*")
_CREATE = re.compile(r"POST /\S*")
_QUERY = re.compile(r"(GET|POST) /\S*")
_FIELD = re.compile(r"[^\s.]+(\.[^\s.]+)*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_AUTH = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+): *(\S.*)")
_PARAMETER = re.compile(r"[A-Za-z0-9._~-]+")
_CURRENCY = re.compile(r"[A-Z]{3}|[a-z]+")
_MIME = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(; ?[^\s{}]+)?")
_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""As in `tracker.config.fields`."""
_OWN_REASONS = frozenset({Reason.SUBMIT_UNKNOWN, Reason.MISSING_OUTPUT})
"""Reasons of the tracker itself, which an error code of an upstream cannot mean."""
_FRAMING = frozenset({"host", "content-length", "transfer-encoding", "connection"})
"""Headers that the client sets; another value breaks the request."""
_VALUE_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TAKEN = frozenset({"task_id", "model", "request", "answer", "key"})
_KEY_HEADERS = frozenset({"authorization", "proxy-authorization", "x-api-key", "cookie"})


def _check_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError("a name is lower-case letters, digits and hyphens, a letter first; write for example my-api-2")
    return text


def _check_field(text: str) -> str:
    if not _FIELD.fullmatch(text):
        raise ValueError("this is not a field; write keys with dots between them, as input.prompt")
    return text


def _check_mime(text: str) -> str:
    if not _MIME.fullmatch(text):
        raise ValueError("this is not a media type; write for example video/mp4")
    return text


def _check_auth(text: str) -> str:
    if text in set(AuthStyle):
        return text
    styles = f'"bearer", "x-api-key", or a header with {KEY} in it, as in "Authorization: Key {KEY}"'
    found = _AUTH.fullmatch(text)
    if found is None or not text.isascii() or not text.isprintable():
        raise ValueError(f"is not a known form of authentication; write {styles}")
    if found[1].lower() in _FRAMING | {"content-type"}:
        raise ValueError(f"{found[1]} cannot hold a key; write another header")
    if found[2].count(KEY) != 1 or any(brace in found[2].replace(KEY, "") for brace in "{}"):
        raise ValueError(f"the header has {KEY} exactly once, and no other placeholder; write {styles}")
    return text


def _check_parameter(text: str) -> str:
    if not _PARAMETER.fullmatch(text):
        raise ValueError("this is not the name of a parameter; write letters, digits, hyphens and underscores")
    return text


def _check_currency(text: str) -> str:
    if not _CURRENCY.fullmatch(text):
        raise ValueError('this is not a currency or unit; write for example "USD" or "credits"')
    return text


def _check_value_name(text: str) -> str:
    if not _VALUE_NAME.fullmatch(text) or text in _TAKEN:
        raise ValueError(
            f"a value is named with lower-case letters, digits and underscores, but not {', '.join(sorted(_TAKEN))}"
            "; write for example app_id"
        )
    return text


def _check_account(text: str) -> str:
    if not _ACCOUNT.fullmatch(text):
        raise ValueError("this is not the name of an account; write the NAME of [accounts.NAME]")
    return text


def fold(text: str) -> str:
    """A status or code for comparison, without its case."""
    return text.casefold()


Expression = Annotated[str, AfterValidator(check_expression)]
FieldPath = Annotated[str, AfterValidator(_check_field)]
Name = Annotated[str, AfterValidator(_check_name)]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]


StatusName = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED"]


class Table(BaseModel):
    """A table with known keys only, and no conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RouteTable(Table):
    """``[routes.NAME]``: the create and status calls of one route."""

    create: str
    query: str
    query_parameters: dict[str, str] = {}
    query_body: dict[str, Any] | None = None
    asset: ShortText = "file"
    required: list[FieldPath] = []
    fields: list[FieldPath] | None = None
    poll_interval_s: Annotated[float, Field(ge=1, le=3600)] = 10.0
    headers: dict[str, str] = {}

    @field_validator("create")
    @classmethod
    def _is_post(cls, create: str) -> str:
        if not _CREATE.fullmatch(create):
            raise ValueError('a create is a method and a path; write "POST /path"')
        return create

    @field_validator("query")
    @classmethod
    def _is_method_and_path(cls, query: str) -> str:
        if not _QUERY.fullmatch(query):
            raise ValueError(f'a query is a method and a path; write "GET /path/{TASK_ID}" (or POST)')
        return query

    @field_validator("headers")
    @classmethod
    def _holds_no_key(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if name.lower() in _KEY_HEADERS:
                raise ValueError(f"{name} is not allowed; the account's key is added automatically, see auth")
            if name.lower() in _FRAMING:
                raise ValueError(f"{name} is not allowed; it is added automatically, remove it")
            if name.lower() == "content-type" and "json" not in value.lower():
                raise ValueError("Content-Type is not JSON, but the body is; remove it")
            if not (_HEADER.fullmatch(name) and value.isascii() and value.isprintable()):
                raise ValueError(f"{name!r} is not a header with a plain value; write letters, digits and hyphens")
        return headers

    @field_validator("query_body")
    @classmethod
    def _belongs_to_post(cls, body: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        if body is not None and str(info.data.get("query", "POST")).startswith("GET"):
            raise ValueError("a GET has no body; write query as POST, or use query_parameters")
        return body


class ResultTable(Table):
    """``[result]``: the call for the result of a task whose status call reports success."""

    query: str
    query_parameters: dict[str, str] = {}
    failed_http: list[Annotated[int, Field(ge=400, le=599)]] = []

    @field_validator("query")
    @classmethod
    def _is_get(cls, query: str) -> str:
        if not _QUERY.fullmatch(query) or not query.startswith("GET "):
            raise ValueError(f'the call for a result is a GET; write "GET /path/{TASK_ID}"')
        return query


class TaskTable(Table):
    """``[task]``: the paths of id, status, progress, error, end and cost in a reply."""

    id: Expression
    status: Expression
    progress: Expression | None = None
    progress_full: Annotated[float, Field(gt=0)] = 100.0
    error_code: Expression | None = None
    error_message: Expression | None = None
    ok_codes: Annotated[list[str | int], Field(min_length=1)] | None = None
    finished_at: Expression | None = None
    usage: Expression | None = None
    cost: Expression | None = None
    currency: Annotated[str, AfterValidator(_check_currency)] = "USD"


class OutputTable(Table):
    """``[[outputs]]``: the path and kind of a result."""

    url: Expression | None = None
    text: Expression | None = None
    kind: Literal["video", "image", "audio", "text", "file"]
    mime: Annotated[str, AfterValidator(_check_mime)] | None = None
    duration: Expression | None = None
    authenticated: bool = False


class CallbackTable(Table):
    """``[callback]``: where a request has the callback URL, and where a callback has the task."""

    ids: Annotated[list[Expression], Field(min_length=1)]
    field: FieldPath | None = None
    parameter: Annotated[str, AfterValidator(_check_parameter)] | None = None
    extra: dict[FieldPath, Any] = {}
    statuses: dict[str, StatusName] = {}
    required: bool = False
    task: Expression | None = None
    challenge: Annotated[str, AfterValidator(_check_parameter)] | None = None
    signature: str | None = None

    @field_validator("required")
    @classmethod
    def _has_a_field(cls, required: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic calls it
        if required and info.data.get("field") is None and info.data.get("parameter") is None:
            raise ValueError("required needs a field; set field")
        return required

    @field_validator("signature")
    @classmethod
    def _is_a_scheme(cls, signature: str | None) -> str | None:
        if signature is not None and signature not in SCHEMES:
            raise ValueError(f"unknown scheme; known are {', '.join(SCHEMES)}")
        return signature


class ProviderTable(Table):
    """A file."""

    name: Name
    source: Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]
    auth: Annotated[str, AfterValidator(_check_auth)] = "bearer"
    account: Annotated[str, AfterValidator(_check_account)] | None = None
    routes: Annotated[dict[Name, RouteTable], Field(min_length=1)]
    values: dict[Annotated[str, AfterValidator(_check_value_name)], Expression] = {}
    result: ResultTable | None = None
    task: TaskTable
    statuses: dict[str, StatusName]
    reasons: dict[str, Literal[tuple(reason.value for reason in Reason if reason not in _OWN_REASONS)]] = {}  # type: ignore[valid-type]  # the values of an enumeration
    outputs: Annotated[list[OutputTable], Field(min_length=1)]
    callback: CallbackTable | None = None
