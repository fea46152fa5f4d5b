"""The shapes that errors have in replies: their codes, and the messages that explain them.

Owns the shapes of the makers and of web frameworks. Must not know what an error means (see ``error_meanings``), nor
whether a reply is an error: messages are searched for where that is known.

**Source** (read 2026-11): https://anyint.ai/docs/api-reference/errors-and-limits (``error.{message, type, code}``);
https://docs.anthropic.com/en/api/errors; https://cloud.google.com/apis/design/errors (``error.details[]``);
https://fastapi.tiangolo.com/tutorial/handling-errors (``detail``); RFC 9457 (``title``, ``detail``, extensions);
https://docs.nestjs.com/exception-filters (``message[]``); https://laravel.com/docs/validation and
https://www.django-rest-framework.org/api-guide/exceptions (``{field: [message]}``); RFC 6749 section 5.2
(``error_description``); https://spec.graphql.org/October2021 (section 7.1.2, ``errors[]``);
https://www.volcengine.com/docs/6369/80336 (``ResponseMetadata.Error``);
https://platform.minimaxi.com/document/video_generation (``base_resp``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import unescape
from http import HTTPStatus
from typing import TYPE_CHECKING

from tracker.domain.lenient_json.decoder import decode_text
from tracker.domain.task import UpstreamError
from tracker.providers.reading.error_meanings import NestedError
from tracker.providers.reading.fields import find_code, find_object, find_text

if TYPE_CHECKING:
    from tracker.providers.route import Json

SUCCESS_CODES = frozenset({"0", "200", "201", "202", "10000"})
"""Body codes that state no error. **Source**: Kling answers 0, Suno 200, one of its references 0, Volcengine's visual
API 10000 (https://www.volcengine.com/docs/85621); 201 and 202 repeat an HTTP status."""
_SUCCESS_MESSAGES = frozenset({"success", "succeed", "succeeded", "successful", "ok", "true", "none", "null"})
"""The same as texts. **Source**: https://docs.newapi.pro/api/suno-music (``code: "success"``)."""
_TELLING_TYPES = frozenset({"insufficient_quota"})
"""Error types that say more than the HTTP status, beside a null code.

**Source**: https://platform.openai.com/docs/guides/error-codes (read 2026-11): 429 is a rate limit, or used-up credit.
"""
MESSAGE_LIMIT = 500
"""Characters of a message that is joined from several fields, or taken from a web page."""
_DEPTH = 6
_ITEMS = 4
_ERROR = 400

_MESSAGE_FIELDS = (
    "message", "Message", "msg", "error_description", "errorDescription", "detail", "details", "error_message",
    "errorMessage", "error_msg", "errorMsg", "errmsg", "errMsg", "err_msg", "status_msg", "statusMsg", "fail_reason",
    "failReason", "failure_reason", "task_status_msg", "reason", "description", "text",
    "ErrMsg",
)  # fmt: skip
_NESTED_FIELDS = (
    "error", "Error", "errors", "Errors", "err", "base_resp", "ResponseMetadata", "non_field_errors", "invalid-params",
    "invalid_params", "violations", "fieldViolations", "field_violations", "issues", "data",
)  # fmt: skip
_VALIDATIONS = ("errors", "invalid-params", "invalid_params", "violations", "issues", "details")
_CODE_FIELDS = ("error_code", "errorCode", "err_code", "errCode", "errcode", "Code", "ErrCode", "ErrorCode")
_NUMBER_FIELDS = ("status_code", "statusCode")
"""Those of ``base_resp`` and of NestJS; a text there may mean success."""
_LAST_FIELDS = ("title",)
_CODE_LIKE = re.compile(r"[A-Za-z0-9]+(?:[_.-][A-Za-z0-9]+)+|[A-Za-z]+[A-Z][A-Za-z]+|[a-z0-9]+")
_PHRASES = frozenset(status.phrase.lower() for status in HTTPStatus)
_REFUSING_STATUSES = frozenset({"error", "fail", "failed", "failure"})
_TITLE = re.compile(r"<(title|h1)[^>]{0,200}>([^<]{1,400})", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]{0,500}>")


def is_success_code(code: str | None) -> bool:
    """Whether a body's code states no error: it is absent, or a number or text of success."""
    return code is None or code in SUCCESS_CODES or code.lower() in _SUCCESS_MESSAGES


def find_error(body: Mapping[str, Json], http_status: int | None = None) -> UpstreamError | None:
    """The error that a body states in one of the known shapes.

    Args:
        body: the decoded object.
        http_status: of the reply; becomes part of the result.
    """
    return as_upstream_error(find_stated(body, http_status))


def as_upstream_error(stated: UpstreamError | None) -> UpstreamError | None:
    """An error as it is stored: without the field that it comes from."""
    return stated and UpstreamError(stated.code, stated.message, stated.http_status)


def find_stated(body: Mapping[str, Json], http_status: int | None) -> UpstreamError | None:
    """The same for looking up its meaning: from inside ``error`` it is a `NestedError`."""
    inner = body.get("error") or body.get("Error")
    if isinstance(inner, Mapping) and inner:
        # a null code means none; where the field is missing, the type replaces it
        code, kind = find_code(inner.get("code", inner.get("Code"))), find_code(inner.get("type"))
        if code is None and ("code" not in inner or kind in _TELLING_TYPES):
            code = kind
        message = find_message(inner)
        if code or message or http_status is None or http_status >= _ERROR:
            return NestedError(code, message, http_status, kind=kind or find_code(inner.get("status")))
    stated = _flat(body, http_status) or _volcengine(body, http_status) or _unlabelled(body, http_status)
    if stated is not None:
        return stated
    message = _text_of(inner) if inner is not None else None
    return None if message is None else UpstreamError(None, message, http_status)


def find_message(value: Json) -> str | None:
    """The message in an error of any shape, for display; None when it has none."""
    return _message_in(value, _DEPTH)


def message_of_page(text: str) -> str | None:
    """The message in a body that is not JSON: its title or text; None where it repeats the HTTP status."""
    found = _TITLE.search(text)
    if found is None and text.lstrip().startswith("<"):
        text = _TAG.sub(" ", text)
    message = unescape(found[2] if found else text)[:2000]
    message = " ".join("".join(c if c.isprintable() else " " for c in message).split())[:MESSAGE_LIMIT]
    return None if message.lower().strip("0123456789 :-|") in {"", *_PHRASES} else message


def _flat(body: Mapping[str, Json], http_status: int | None) -> UpstreamError | None:
    """``{code, msg}`` (Suno), ``{code, message}`` (Kling, DashScope), and others with their code at the top."""
    code = find_code(body.get("code")) or (find_text(body.get("__type"), 200) or "").rpartition("#")[2] or None
    if code is None or is_success_code(code):
        holders = (body, _base_of(body))
        others = [find_code(holder.get(field)) for holder in holders for field in _CODE_FIELDS]
        numbers = [find_code(holder.get(field)) for holder in holders for field in _NUMBER_FIELDS]
        others += [number for number in numbers if number is not None and number.lstrip("-").isdigit()]
        code = next((other for other in others if not is_success_code(other) and other != str(http_status)), None)
        # a number without a message may count anything
        if code is None or (find_message(body) is None and "error" not in body):
            return None
    return UpstreamError(code, find_message(body), http_status)


def _base_of(body: Mapping[str, Json]) -> Mapping[str, Json]:
    return find_object(body, "base_resp") or find_object(body, "BaseResp") or {}


def _volcengine(body: Mapping[str, Json], http_status: int | None) -> UpstreamError | None:
    error = find_object(find_object(body, "ResponseMetadata") or {}, "Error")
    if error is None:
        return None
    return UpstreamError(find_code(error.get("Code")), find_message(error), http_status)


def _unlabelled(body: Mapping[str, Json], http_status: int | None) -> UpstreamError | None:
    """Errors without a code field: OAuth's, GraphQL's, ``success: false``, ``status: "error"``."""
    error, message = find_text(body.get("error")), find_message(body)
    if error is not None and message is not None and message != error and _CODE_LIKE.fullmatch(error):
        return NestedError(error, message, http_status)
    refused = (
        body.get("success") is False
        or body.get("ok") is False
        or (find_text(body.get("status"), 20) or "").lower() in _REFUSING_STATUSES
        or (isinstance(body.get("errors"), (list, dict)) and bool(body["errors"]))
        or (find_text(body.get("err")) is not None)
        or (isinstance(error, str) and message is not None)
        or (isinstance(body.get("error"), list) and bool(body["error"]))
    )
    return UpstreamError(None, message, http_status) if refused and message is not None else None


def _message_in(value: Json, depth: int) -> str | None:
    if depth == 0:
        return None
    if isinstance(value, str):
        return _text_of(value, depth)
    if isinstance(value, list):
        return _joined(_message_in(item, depth - 1) for item in value[:_ITEMS])
    if not isinstance(value, Mapping):
        return None
    for fields in (_MESSAGE_FIELDS, _NESTED_FIELDS, _LAST_FIELDS):
        for field in fields:
            message = _message_in(value.get(field), depth - 1) if value.get(field) else None
            if message is not None and message.lower() not in _SUCCESS_MESSAGES and message.lower() not in _PHRASES:
                return _located(value, _narrowed(value, message, depth))
    return _of_fields(value, depth) or _phrase(value)


def _narrowed(value: Mapping[str, Json], message: str, depth: int) -> str:
    """A general message ("the given data was invalid") with those of the wrong fields."""
    for field in _VALIDATIONS:
        if isinstance(value.get(field), (list, dict)):
            narrower = _message_in(value[field], depth - 1)
            if narrower is not None and narrower not in message:
                return f"{message} ({narrower})"[:MESSAGE_LIMIT]
    return message


def _text_of(value: Json, depth: int = _DEPTH) -> str | None:
    """A text; where it holds JSON (the body of a gateway's own upstream), the message in that."""
    text = find_text(value)
    if text is None or "{" not in text:
        return text
    inner = decode_text(text[text.index("{") :])
    return (_message_in(inner, depth - 1) if inner else None) or text


def _joined(messages: Iterator[str | None]) -> str | None:
    return "; ".join(dict.fromkeys(filter(None, messages)))[:MESSAGE_LIMIT] or None


def _located(value: Mapping[str, Json], message: str) -> str:
    """A message with the field that it is about, as validators name it."""
    location = value.get("loc") or value.get("field") or value.get("path") or value.get("pointer") or value.get("name")
    if isinstance(location, list) and all(isinstance(part, (str, int)) for part in location):
        location = ".".join(map(str, location))
    named = isinstance(location, str) and "/" not in location and len(location) < 100 and location not in message  # noqa: PLR2004
    return f"{location}: {message}"[:MESSAGE_LIMIT] if named and location else message


def _of_fields(value: Mapping[str, Json], depth: int) -> str | None:
    """``{field: ["message"]}``."""
    lists = [(name, item) for name, item in value.items() if isinstance(item, list) and item]
    return _joined(
        f"{name}: {message}"
        for name, item in lists[:_ITEMS]
        if all(isinstance(part, str) for part in item[:_ITEMS]) and (message := _message_in(item, depth - 1))
    )


def _phrase(value: Mapping[str, Json]) -> str | None:
    """The phrase of an HTTP status, where there is no other message."""
    for field in ("error", "message", "title", "detail"):
        message = find_text(value.get(field))
        if message is not None and message.lower() not in _SUCCESS_MESSAGES:
            return message
    return None
