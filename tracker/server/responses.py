"""What every answer looks like: JSON, or RFC 9457 problem details, with the same few headers.

Owns response construction. Must not know tasks or the store.

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
"""On every answer. ``Server`` names the program instead of its libraries and their versions."""
_JSON_HEADERS: Final = {**HEADERS, "Content-Type": "application/json"}
_PROBLEM_HEADERS: Final = {**HEADERS, "Content-Type": "application/problem+json"}
RETRY_AFTER_S: Final = 2
"""What a sender is told when the store cannot take a write: short, since writes mostly fail for a moment."""


class Problem(Exception):
    """An error answer, raised by whoever finds it.

    Args:
        status: HTTP status.
        slug: what kind of problem, the last part of its ``type``.
        detail: what is wrong and how to mend it, one or two sentences.
        errors: wrong fields, for bad input.
        headers: further response headers.
        closes: the connection takes no further request.
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
        listed = [{"loc": list(error.loc), "msg": error.msg} for error in errors]
        if listed:
            self.body["errors"] = listed

    def response(self) -> web.Response:
        """The answer."""
        response = web.Response(
            status=self.status.value,
            body=orjson.dumps(self.body),
            headers={**_PROBLEM_HEADERS, **self.headers},
        )
        if self._closes:
            response.force_close()
        return response


def json_answer(
    value: Json, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A JSON answer."""
    return web.Response(status=status.value, body=orjson.dumps(value), headers={**_JSON_HEADERS, **(headers or {})})


def raw_answer(problem: Problem) -> bytes:
    """An error answer as it is sent, for a connection on which no request can be answered any more."""
    body = orjson.dumps(problem.body)
    lines = [
        f"HTTP/1.1 {problem.status.value} {problem.status.phrase}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {text}" for name, text in {**_PROBLEM_HEADERS, **problem.headers}.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class FixedAnswer(web.Response):
    """A small JSON answer that is always the same, laid out beforehand: only the date is filled in.

    It has no state of its own, so that one object answers every request. An ordinary `web.Response` builds and
    writes its headers anew each time: without the store, a callback costs 92 us of CPU this way and 115 us that way.
    """

    def __init__(self, status: HTTPStatus, value: Json) -> None:
        body = orjson.dumps(value)
        super().__init__(status=status.value, body=body, headers=_JSON_HEADERS)
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {text}" for name, text in _JSON_HEADERS.items()]
        self._before_date = ("\r\n".join(lines) + "\r\nDate: ").encode()
        self._after_date = b"\r\n\r\n" + body

    def to(self, request: web.Request) -> web.Response:
        """The answer to a request: itself, or an ordinary one where HTTP/1.0 or a last request wants other headers."""
        if request.keep_alive and request.version == HttpVersion11:
            return self
        return web.Response(status=self.status, body=self.body, headers=_JSON_HEADERS)

    @property
    def keep_alive(self) -> bool:
        """Always: see `to`."""
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Send all of it."""
        writer = request.writer
        await writer.write_eof(self._before_date + _http_date(int(time.time())) + self._after_date)
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""


@lru_cache(maxsize=1)
def _http_date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


def bad_input(errors: Iterable[FieldProblem]) -> Problem:
    """422: understood, but wrong; every wrong field at once."""
    listed = list(errors)
    detail = "; ".join(f"{'.'.join(map(str, error.loc))}: {error.msg}" for error in listed[:3])
    more = f"; and {len(listed) - 3} more" if len(listed) > 3 else ""  # noqa: PLR2004
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-input", detail + more, errors=listed)


def store_unavailable() -> Problem:
    """503: nothing was written; the same request may simply come again."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "store-unavailable",
        "The store cannot take this now. Send it again a little later.",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def write_unknown() -> Problem:
    """500: the commit failed in a way that a restart may undo; who repeats it blindly may pay twice."""
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "write-unknown",
        "The disk failed during this write, and it may have been recorded. Wait until /readyz answers 200, then look "
        "for it before you send it again. An Idempotency-Key makes a repetition safe.",
    )


def too_slow() -> Problem:
    """408: the body did not come; who sends it anew needs a connection of its own."""
    return Problem(
        HTTPStatus.REQUEST_TIMEOUT,
        "too-slow",
        "The body of this request did not arrive in time. Send it again, without a pause.",
        closes=True,
    )


def stopping() -> Problem:
    """503: a stop does not wait for the rest of the body."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "stopping",
        "The tracker is stopping, and this request had not arrived whole. Send it again a little later.",
        headers={"Retry-After": str(RETRY_AFTER_S)},
        closes=True,
    )


def failed() -> Problem:
    """500: a mistake of ours, of which a sender is told nothing."""
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The tracker failed; its log says why.")
