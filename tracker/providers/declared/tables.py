"""What a provider file may hold, table by table, and what each value must be like.

Owns the names of the keys and the rules between them. It must not read answers or know line numbers. Messages of
rules are written ``what is wrong; how to mend it``.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import jmespath
from jmespath.exceptions import EmptyExpressionError, JMESPathError, ParseError
from jmespath.functions import Functions
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from tracker.domain.task import Reason
from tracker.providers.signatures import SCHEMES

TASK_ID = "{task_id}"
NAME = re.compile(r"[a-z][a-z0-9-]*")
_CREATE = re.compile(r"POST /\S*")
_QUERY = re.compile(r"(GET|POST) /\S*")
_FIELD = re.compile(r"[^\s.]+(\.[^\s.]+)*")
_HEADER = re.compile(r"[A-Za-z0-9-]+")
_KEY_HEADERS = frozenset({"authorization", "proxy-authorization", "x-api-key", "cookie"})


def _check_expression(text: str) -> str:
    """Compile a JMESPath; a function that does not exist, or takes another number of arguments, shows here."""
    try:
        parsed = jmespath.compile(text).parsed
    except EmptyExpressionError:
        raise ValueError("the JMESPath is empty; write where the value stands") from None
    except ParseError as error:
        words = getattr(error, "message", None) or error.msg
        raise ValueError(
            f"this is no JMESPath (at character {error.lex_position + 1}: {words}); see https://jmespath.org"
        ) from None
    except JMESPathError as error:
        raise ValueError(f"this is no JMESPath ({error}); see https://jmespath.org") from None
    for name, given in _calls(parsed):
        known = Functions.FUNCTION_TABLE.get(name)
        if known is None:
            raise ValueError(f"JMESPath has no function {name}(); known are {', '.join(Functions.FUNCTION_TABLE)}")
        signature = known["signature"]
        variadic = any(argument.get("variadic") for argument in signature)
        if given < len(signature) or (given > len(signature) and not variadic):
            raise ValueError(f"{name}() takes {len(signature)} arguments, not {given}; see https://jmespath.org")
    return text


def _calls(node: Any) -> list[tuple[str, int]]:  # noqa: ANN401 - a node of JMESPath's own syntax tree
    found = [(node["value"], len(node["children"]))] if node.get("type") == "function_expression" else []
    return found + [call for child in node["children"] if isinstance(child, dict) for call in _calls(child)]


def _check_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError("a name is lower-case letters, digits and hyphens; write for example my-provider")
    return text


def _check_field(text: str) -> str:
    if not _FIELD.fullmatch(text):
        raise ValueError("this names no field; write keys with dots between them, as input.prompt")
    return text


Expression = Annotated[str, AfterValidator(_check_expression)]
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


class OutputTable(Table):
    """``[[outputs]]``: where results stand, and what they are."""

    url: Expression | None = None
    text: Expression | None = None
    kind: Literal["video", "image", "audio", "text", "file"]
    mime: Words | None = None


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
    routes: Annotated[dict[Name, RouteTable], Field(min_length=1)]
    task: TaskTable
    statuses: dict[str, Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED"]]
    reasons: dict[str, Literal[tuple(reason.value for reason in Reason)]] = {}  # type: ignore[valid-type]  # an enumeration's values, as TOML writes them
    outputs: Annotated[list[OutputTable], Field(min_length=1)]
    callback: CallbackTable | None = None

    @field_validator("statuses")
    @classmethod
    def _can_end(cls, statuses: dict[str, str]) -> dict[str, str]:
        for end in ("SUCCEEDED", "FAILED"):
            if end not in statuses.values():
                raise ValueError(f"no status means {end}, so no task could end so; name the one that does")
        return statuses
