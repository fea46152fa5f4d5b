"""Responses: JSON or RFC 9457 problem details, with common headers. Must not know tasks or the store.

Source: https://www.rfc-editor.org/rfc/rfc9457 (read 2026-11).
"""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import HttpVersion11, web

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp.abc import AbstractStreamWriter

    from tracker.domain.records import Json
    from tracker.errors import FieldProblem

HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Server": "tracker",
}
"""On every response. ``Server`` names the program instead of its libraries and their versions."""
_JSON_HEADERS: Final = {**HEADERS, "Content-Type": "application/json"}
_PROBLEM_HEADERS: Final = {**HEADERS, "Content-Type": "application/problem+json"}
OPENAPI_PATH: Final = "/openapi.json"
RETRY_AFTER_S: Final = 2
"""``Retry-After`` of a write that the store refuses: short, since most write errors pass quickly."""


class Problem(Exception):
    """An error response, raised where the error is found.

    Args:
        status: HTTP status.
        slug: what kind of problem, the last part of its ``type``.
        detail: what is wrong and how to fix it, one or two sentences.
        errors: wrong fields, for bad input.
        headers: further response headers.
        closes: the connection is closed after the response.
    """

    def __init__(
        self,
        status: HTTPStatus,
        slug: str,
        detail: str,
        *,
        errors: Iterable[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
        closes: bool = False,
        **members: Json,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}
        self._closes = closes
        self.body: dict[str, Any] = {
            "type": f"urn:tracker:problem:{slug}",
            "title": status.phrase,
            "status": status.value,
            "detail": detail,
            **members,
        }
        if listed := list(errors):
            self.body["errors"] = listed

    def response(self) -> web.Response:
        """The response."""
        response = web.Response(
            status=self.status.value,
            body=orjson.dumps(self.body),
            headers={**_PROBLEM_HEADERS, **self.headers},
        )
        if self._closes:
            response.force_close()
        return response


def json_response(
    value: Json, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A JSON response."""
    return web.Response(status=status.value, body=orjson.dumps(value), headers={**_JSON_HEADERS, **(headers or {})})


def raw_response(problem: Problem) -> bytes:
    """The bytes of an error response, for a connection without a request to respond to."""
    body = orjson.dumps(problem.body)
    lines = [
        f"HTTP/1.1 {problem.status.value} {problem.status.phrase}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {text}" for name, text in {**_PROBLEM_HEADERS, **problem.headers}.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class FixedResponse(web.Response):
    """A constant JSON response, encoded once except for its date; one object serves every request.

    A `web.Response` builds and encodes its headers each time. Without the store, a callback takes 92 us of CPU with
    this class and 115 us with that one.
    """

    def __init__(self, status: HTTPStatus, value: Json) -> None:
        body = orjson.dumps(value)
        super().__init__(status=status.value, body=body, headers=_JSON_HEADERS)
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {text}" for name, text in _JSON_HEADERS.items()]
        self._before_date = ("\r\n".join(lines) + "\r\nDate: ").encode()
        self._after_date = b"\r\n\r\n" + body

    def to(self, request: web.Request) -> web.Response:
        """This response, or an ordinary one where HTTP/1.0 or a last request requires other headers."""
        if request.keep_alive and request.version == HttpVersion11:
            return self
        return web.Response(status=self.status, body=self.body, headers=_JSON_HEADERS)

    @property
    def keep_alive(self) -> bool:
        """Always: see `to`."""
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Send everything."""
        writer = request.writer
        await writer.write_eof(self.raw())
        return writer

    def raw(self) -> bytes:
        """Everything that is sent, on a connection that stays open."""
        return self._before_date + _http_date(int(time.time())) + self._after_date

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: `prepare` sends everything."""


@lru_cache(maxsize=1)
def _http_date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


def bad_input(errors: Iterable[FieldProblem], slug: str = "invalid-input") -> Problem:
    """422 with every wrong field."""
    listed = list(errors)
    detail = "; ".join(f"{'.'.join(map(str, error.loc))}: {error.msg}" for error in listed[:3])
    more = f"; and {len(listed) - 3} more" if len(listed) > 3 else ""  # noqa: PLR2004
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, slug, detail + more, errors=listed)


def store_unavailable() -> Problem:
    """503: nothing was written; the request can be repeated."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "store-unavailable",
        "The store is not available. Retry later.",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def write_unknown() -> Problem:
    """500: the commit failed in a way that a restart may undo; repeating it may pay twice."""
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "write-unknown",
        "The disk failed during this write, which may have been recorded. Wait until /readyz answers 200 and check "
        "before you retry. With an Idempotency-Key a retry is safe.",
    )


def unknown_path() -> Problem:
    """404: no operation has this path."""
    return Problem(HTTPStatus.NOT_FOUND, "unknown-path", f"No such path. See {OPENAPI_PATH}.")


def too_slow() -> Problem:
    """408: the body did not arrive in time."""
    return Problem(
        HTTPStatus.REQUEST_TIMEOUT,
        "too-slow",
        "The request body did not arrive in time. Retry.",
        closes=True,
    )


def stopping() -> Problem:
    """503: a stop does not wait for the rest of a body."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "stopping",
        "The tracker is stopping, and the request was incomplete. Retry later.",
        headers={"Retry-After": str(RETRY_AFTER_S)},
        closes=True,
    )


def failed() -> Problem:
    """500: a bug, described only in the log."""
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "Internal error. See the log of the tracker.")
