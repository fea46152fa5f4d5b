"""What a provider file may hold, table by table, and what each value must be like.

Owns the names of the keys and the rules between them. Must not read answers or know line numbers. Messages of
rules are written ``what is wrong; how to mend it``.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from tracker.domain.task import Reason
from tracker.providers.declared.expressions import check_expression
from tracker.providers.reading.requests import TASK_ID
from tracker.providers.signatures import SCHEMES

OK_CODES = ("0", "200", "success", "ok")
"""Codes that state no error unless a file says otherwise; neither does a null or an empty one."""
NAME = re.compile(r"[a-z][a-z0-9-]*")
_CREATE = re.compile(r"POST /\S*")
_QUERY = re.compile(r"(GET|POST) /\S*")
_FIELD = re.compile(r"[^\s.]+(\.[^\s.]+)*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_MIME = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(; ?[^\s{}]+)?")
_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""As `tracker.config.fields` has it."""
_OURS = frozenset({Reason.SUBMIT_UNKNOWN, Reason.MISSING_OUTPUT})
"""What no error code of an upstream can mean: that the tracker itself did not learn something."""
_FRAMING = frozenset({"host", "content-length", "transfer-encoding", "connection"})
"""Headers that follow from the request itself: another value breaks it."""
_KEY_HEADERS = frozenset({"authorization", "proxy-authorization", "x-api-key", "cookie"})


def _check_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError("a name is lower-case letters, digits and hyphens, a letter first; write for example my-api-2")
    return text


def _check_field(text: str) -> str:
    if not _FIELD.fullmatch(text):
        raise ValueError("this names no field; write keys with dots between them, as input.prompt")
    return text


def _check_mime(text: str) -> str:
    if not _MIME.fullmatch(text):
        raise ValueError("this is not a media type; write for example video/mp4")
    return text


def _check_account(text: str) -> str:
    if not _ACCOUNT.fullmatch(text):
        raise ValueError("this is not the name of an account; write the NAME of [accounts.NAME]")
    return text


def fold(text: str) -> str:
    """A status or code as it is compared: case makes no difference."""
    return text.casefold()


Expression = Annotated[str, AfterValidator(check_expression)]
FieldPath = Annotated[str, AfterValidator(_check_field)]
Name = Annotated[str, AfterValidator(_check_name)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]


class Table(BaseModel):
    """A table: every key is known, and every value has its type as written."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RouteTable(Table):
    """``[routes.NAME]``: one creation route, and how its tasks are asked about."""

    create: str
    query: str
    query_parameters: dict[str, str] = {}
    query_body: dict[str, Any] | None = None
    asset: Words = "file"
    required: list[FieldPath] = []
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
                raise ValueError(f"{name} never stands here; the account's key is added by itself, see auth")
            if name.lower() in _FRAMING:
                raise ValueError(f"{name} never stands here; it is added by itself, remove it")
            if name.lower() == "content-type" and "json" not in value.lower():
                raise ValueError("Content-Type is of another body than the JSON that is sent; remove it")
            if not (_HEADER.fullmatch(name) and value.isascii() and value.isprintable()):
                raise ValueError(f"{name!r} is no header with a plain value; write letters, digits and hyphens")
        return headers

    @field_validator("query_body")
    @classmethod
    def _belongs_to_post(cls, body: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        if body is not None and str(info.data.get("query", "POST")).startswith("GET"):
            raise ValueError("a GET has no body; write query as POST, or use query_parameters")
        return body


class TaskTable(Table):
    """``[task]``: where id, status, progress and error stand in an answer."""

    id: Expression
    status: Expression
    progress: Expression | None = None
    progress_full: Annotated[float, Field(gt=0)] = 100.0
    error_code: Expression | None = None
    error_message: Expression | None = None
    ok_codes: Annotated[list[str | int], Field(min_length=1)] | None = None


class OutputTable(Table):
    """``[[outputs]]``: where results stand, and what they are."""

    url: Expression | None = None
    text: Expression | None = None
    kind: Literal["video", "image", "audio", "text", "file"]
    mime: Annotated[str, AfterValidator(_check_mime)] | None = None


class CallbackTable(Table):
    """``[callback]``: how our URL goes out, and where a callback names its task."""

    ids: Annotated[list[Expression], Field(min_length=1)]
    field: FieldPath | None = None
    required: bool = False
    task: Expression | None = None
    signature: str | None = None

    @field_validator("required")
    @classmethod
    def _has_a_field(cls, required: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic calls it
        if required and info.data.get("field") is None:
            raise ValueError("nothing is named that could be required; set field")
        return required

    @field_validator("signature")
    @classmethod
    def _is_a_scheme(cls, signature: str | None) -> str | None:
        if signature is not None and signature not in SCHEMES:
            raise ValueError(f"no such scheme; known are {', '.join(SCHEMES)}")
        return signature


class ProviderTable(Table):
    """A whole file."""

    name: Name
    source: Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]
    auth: Literal["bearer", "x-api-key"] = "bearer"
    account: Annotated[str, AfterValidator(_check_account)] | None = None
    routes: Annotated[dict[Name, RouteTable], Field(min_length=1)]
    task: TaskTable
    statuses: dict[str, Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED"]]
    reasons: dict[str, Literal[tuple(reason.value for reason in Reason if reason not in _OURS)]] = {}  # type: ignore[valid-type]  # an enumeration's values, as TOML writes them
    outputs: Annotated[list[OutputTable], Field(min_length=1)]
    callback: CallbackTable | None = None

    @field_validator("statuses")
    @classmethod
    def _can_end(cls, statuses: dict[str, str]) -> dict[str, str]:
        for end in ("SUCCEEDED", "FAILED"):
            if end not in statuses.values():
                raise ValueError(f"no status means {end}, so no task could end so; name the one that does")
        return statuses
