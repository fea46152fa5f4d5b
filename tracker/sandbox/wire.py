"""HTTP requests and answers as plain values.

Owns ``Call``, ``Answer`` and the gateway's own error shape, which all families share. Must not know any
family's fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import orjson

Json = dict[str, Any]

BAD_GATEWAY_PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
LOGIN_PAGE = b"<!doctype html><title>AnyInt</title>"


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        method: ``GET``, ``POST`` or ``DELETE``.
        path: The path, without the query.
        params: The variable parts of the path.
        query: The query parameters.
        headers: The headers, names in lower case.
        body: The JSON object of a POST, or the fields of its form; empty otherwise.
        request_id: What this request is called in answers, a UUID.
    """

    method: str
    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Json
    request_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, before it becomes an aiohttp response.

    Attributes:
        status: The HTTP status.
        body: The bytes.
        content_type: The media type.
        headers: Further headers.
        broken: Whether the connection is cut when half of the body is sent.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    broken: bool = False


def json_answer(payload: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Build a JSON answer."""
    return Answer(status, orjson.dumps(payload), headers=headers or {})


def gateway_error(status: int, message: str, kind: str, code: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Build an error of the gateway itself.

    Source: https://anyint.ai/docs/api-reference/errors-and-limits documents the shape for 401 and 429;
    400, 403 and 503 are inferred to share it.
    """
    return json_answer({"error": {"message": message, "type": kind, "code": code}}, status, headers)


def bad_request(message: str, code: str = "invalid_request") -> Answer:
    """HTTP 400 for a body that the gateway cannot read."""
    return gateway_error(400, message, "invalid_request_error", code)


def unauthorised() -> Answer:
    """HTTP 401 for a missing or wrong key."""
    return gateway_error(401, "Invalid or missing API key", "authentication_error", "invalid_api_key")


def rate_limited(retry_after: str) -> Answer:
    """HTTP 429 of the gateway, with a Retry-After header."""
    return gateway_error(
        429, "Rate limit exceeded", "rate_limit_error", "rate_limit_exceeded", {"Retry-After": retry_after}
    )


def unavailable(retry_after: str) -> Answer:
    """HTTP 503 of the gateway, with a Retry-After header."""
    message = "Upstream temporarily unavailable"
    return gateway_error(503, message, "service_unavailable", "upstream_unavailable", {"Retry-After": retry_after})


def page(body: bytes, status: int = 200) -> Answer:
    """Build an HTML answer, where JSON was expected."""
    return Answer(status, body, "text/html")


def http_date(epoch_s: float) -> str:
    """Return a time as HTTP-date, rounded up to full seconds."""
    return formatdate(-int(-epoch_s // 1), usegmt=True)
