"""Every error of the client, arranged by what its catcher does.

::

    ClientError
      Unreachable          no daemon answers, or not in time; `is_sent` tells whether it may have the request
      AnswerInvalid        another program answers there, or a daemon of another version
      DownloadFailed       files are missing, or cannot be written
      ApiError             the daemon refuses the call: RFC 9457 problem details
        InvalidRequest     400, 413, 415, 422: change the request; `errors` names each wrong field
        Unauthorized       401, 403: the token is missing, wrong, or not allowed to do this
        OverBudget         402: it does not fit into the budget; nothing was recorded or sent
        NotFound           404, 410: no such task, route or file
        Conflict           409: the state of the task does not allow it
        Unavailable        429, 503: repeat it later
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tracker.errors import FieldProblem, TrackerError

if TYPE_CHECKING:
    from pathlib import Path


class ClientError(TrackerError):
    """Base of the client's errors; the text is one line."""


class Unreachable(ClientError):
    """No daemon answers, or the connection ended before the answer was complete.

    Attributes:
        why: the cause, such as ``connection refused``.
        is_sent: the request may have arrived.
    """

    def __init__(self, url: str, why: str, *, is_sent: bool) -> None:
        super().__init__(f"the daemon at {url} gave no answer ({why})" if is_sent else f"no daemon at {url} ({why})")
        self.why = why
        self.is_sent = is_sent


class AnswerInvalid(ClientError):
    """An answer cannot be read.

    Attributes:
        status: its HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class DownloadFailed(ClientError):
    """Files are missing, or cannot be written.

    Attributes:
        problems: one line for each.
        files: those that were copied.
        is_final: trying again does not help, unless something is changed.
    """

    def __init__(self, problems: list[str], files: list[Path], *, is_final: bool = True) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
        self.files = files
        self.is_final = is_final


class ApiError(ClientError):
    """The daemon refuses a call.

    Args:
        status: the HTTP status.
        problem: the JSON of the answer.
        retry_after_s: what ``Retry-After`` asks for, in seconds; None without it.

    Attributes:
        kind: the last part of the problem's ``type``, such as ``unknown-fields``; stable.
        title: the phrase of the status.
        detail: what is wrong, and how to fix it.
        errors: the wrong fields.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after_s: float | None = None) -> None:
        self.title = str(problem.get("title", ""))
        self.detail = str(problem.get("detail") or self.title)
        super().__init__(self.detail)
        self.status = status
        self.problem = problem
        self.retry_after_s = retry_after_s
        self.kind = str(problem.get("type", "")).rpartition(":")[2]
        found = [error for error in problem.get("errors") or () if isinstance(error, dict)]
        self.errors = [FieldProblem(tuple(error.get("loc") or ()), str(error.get("msg", ""))) for error in found]


class InvalidRequest(ApiError):
    """The request is wrong."""


class Unauthorized(ApiError):
    """The token is missing, wrong, or not allowed to do this."""


class OverBudget(ApiError):
    """The submit does not fit into the budget of its account; nothing was recorded or sent."""


class NotFound(ApiError):
    """The task, route or file does not exist."""


class Conflict(ApiError):
    """The state of the task, or a request with the same key, does not allow it."""


class Unavailable(ApiError):
    """The daemon cannot do it now."""


_KINDS: Mapping[int, type[ApiError]] = {
    HTTPStatus.BAD_REQUEST: InvalidRequest,
    HTTPStatus.UNAUTHORIZED: Unauthorized,
    HTTPStatus.PAYMENT_REQUIRED: OverBudget,
    HTTPStatus.FORBIDDEN: Unauthorized,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: NotFound,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: InvalidRequest,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: InvalidRequest,
    HTTPStatus.UNPROCESSABLE_ENTITY: InvalidRequest,
    HTTPStatus.TOO_MANY_REQUESTS: Unavailable,
    HTTPStatus.SERVICE_UNAVAILABLE: Unavailable,
}


def api_error(status: int, problem: Mapping[str, Any], retry_after_s: float | None = None) -> ApiError:
    """The error of a refused call."""
    return _KINDS.get(status, ApiError)(status, problem, retry_after_s)
