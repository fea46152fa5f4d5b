"""What an answer of the daemon is: the JSON of a success, or an error. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from tracker.client.errors import AnswerInvalid, api_error
from tracker.domain.retry import parse_retry_after


class Answer(NamedTuple):
    """A successful answer; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON of any shape
        """The decoded body; None without one."""
        return json.loads(self.body) if self.body else None


def check_answer(url: str, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """A complete response to a call that expects JSON.

    Raises:
        ApiError: the daemon refuses the call.
        AnswerInvalid: it is not an answer of a tracker.
    """
    named = {name.lower(): value for name, value in headers.items()}
    value = _decode(body)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        if value is not None or status == HTTPStatus.NO_CONTENT:
            return Answer(status, named, body)
    elif isinstance(value, dict) and "title" in value:
        raise api_error(status, value, parse_retry_after(named, None))
    if status in {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}:
        detail = f"{url} answered {status}: a proxy before the tracker does not reach it"
        raise api_error(status, {"title": HTTPStatus(status).phrase, "detail": detail}, parse_retry_after(named, None))
    raise AnswerInvalid(f"{url} answered {status}, which is not an answer of a tracker; check the address", status)


def _decode(body: bytes) -> Any:  # noqa: ANN401 - JSON of any shape
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return None
