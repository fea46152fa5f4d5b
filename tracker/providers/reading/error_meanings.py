"""What errors mean: for a create, for a poll, and for a task that failed with them.

Owns the meanings, and those of HTTP statuses and of the gateway's own codes. A provider's codes are in its own module,
which passes its lookup in; that comes first, because an upstream's code is more specific than the HTTP status (Kling's
1102 is an exhausted account although it comes with 429).

**Source**: https://anyint.ai/docs/api-reference/errors-and-limits (read 2026-11) for 400, 401, 403, 429 and 503.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from msgspec.structs import replace

from tracker.domain.observation import Reading, Submission, Trouble
from tracker.domain.task import Reason, Status, UpstreamError


class NestedError(UpstreamError, frozen=True, gc=False, omit_defaults=True):
    """An error from inside ``error``, for looking up its meaning only; an `UpstreamError` is stored.

    Its code may be the gateway's, the upstream's, or the HTTP status once more: a provider whose own numbers mean
    something else must not look it up among them.

    Attributes:
        kind: the ``type`` beside the code, with Gemini the ``status``.
    """

    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Meaning:
    """One kind of error.

    Attributes:
        reason: of a create that is refused or deferred with it.
        task_reason: of a task that ends with it.
        retryable: whether the same request may succeed later.
        on_create: the outcome of a create with this error.
        on_poll: the trouble of a poll with this error.
    """

    reason: Reason
    task_reason: Reason
    retryable: bool
    on_create: Submission
    on_poll: Trouble


def _refusal(reason: Reason, on_poll: Trouble = Trouble.REJECTED) -> Meaning:
    return Meaning(reason, reason, retryable=False, on_create=Submission.REFUSED, on_poll=on_poll)


def _failure(on_create: Submission) -> Meaning:
    return Meaning(
        Reason.UPSTREAM_UNAVAILABLE,
        Reason.GENERATION_FAILED,
        retryable=True,
        on_create=on_create,
        on_poll=Trouble.UNAVAILABLE,
    )


INVALID = _refusal(Reason.INVALID_REQUEST)
NOT_FOUND = _refusal(Reason.INVALID_REQUEST, Trouble.NOT_FOUND)
"""A create that names something unknown; a poll for a task that is unknown on this route."""
AUTH = _refusal(Reason.AUTH_FAILED, Trouble.UNAUTHORIZED)
ENTITLEMENT = _refusal(Reason.ENTITLEMENT, Trouble.UNAUTHORIZED)
QUOTA = _refusal(Reason.QUOTA_EXHAUSTED)
POLICY = _refusal(Reason.POLICY_REJECTED)
RATE = Meaning(
    Reason.RATE_LIMITED,
    Reason.RATE_LIMITED,
    retryable=True,
    on_create=Submission.DEFERRED,
    on_poll=Trouble.THROTTLED,
)
MAINTENANCE = Meaning(
    Reason.UPSTREAM_UNAVAILABLE,
    Reason.UPSTREAM_UNAVAILABLE,
    retryable=True,
    on_create=Submission.DEFERRED,
    on_poll=Trouble.UNAVAILABLE,
)
BROKEN = _failure(Submission.REFUSED)
"""An internal error in the upstream's own format: it did not accept the job."""
TIMEOUT = _failure(Submission.AMBIGUOUS)
"""A server in between stopped waiting: the job may still have been accepted."""
UNCLEAR = _failure(Submission.AMBIGUOUS)
"""A server error that any server in between may have written. Refused would invite a second payment and lose the first
result; ambiguous only waits."""
NOT_MADE = Meaning(
    Reason.GENERATION_FAILED,
    Reason.GENERATION_FAILED,
    retryable=True,
    on_create=Submission.REFUSED,
    on_poll=Trouble.REJECTED,
)

_FAILURES = frozenset({BROKEN, TIMEOUT, UNCLEAR, NOT_MADE})
"""Errors that may follow the acceptance of the job."""

FindMeaning = Callable[[UpstreamError], Meaning | None]
"""A provider's lookup of one of its errors; None for those it does not know."""

_TIMEOUTS = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT, 524})
"""Some gateways reply 408 when their upstream is slow; 524 is Cloudflare's 504."""
_PROXYS_OWN = frozenset({520, 521, 522, 523})
"""Cloudflare's replies for a server that it cannot reach or understand; the body is its own."""
_OVERLOADED = 529
"""**Source**: https://docs.anthropic.com/en/api/errors (``overloaded_error``)."""
_BY_HTTP: dict[int, Meaning] = {
    401: AUTH,
    402: QUOTA,
    403: ENTITLEMENT,
    404: NOT_FOUND,
    410: NOT_FOUND,
    429: RATE,
    503: MAINTENANCE,
    _OVERLOADED: MAINTENANCE,
}
_BY_GATEWAY_CODE: dict[str, Meaning] = {
    "invalid_api_key": AUTH,
    "authentication_error": AUTH,
    "permission_error": ENTITLEMENT,
    "model_not_found": NOT_FOUND,
    "rate_limit_exceeded": RATE,
    "rate_limit_error": RATE,
    "overloaded_error": MAINTENANCE,
    "server_is_overloaded": MAINTENANCE,
    "server_error": UNCLEAR,  # not documented by the gateway; OpenAI's code on its own routes
    "insufficient_quota": QUOTA,  # HTTP 429, and no rate limit
    "moderation_blocked": POLICY,
    "content_policy_violation": POLICY,
}
_POLICY_WORDS = re.compile(
    r"copyright|sensitive|polic(y|ies)|moderat|inappropriate|risk control|safety|prohibited|nsfw|infring"
    r"|(matches|matching) existing",
    re.IGNORECASE,
)
_TIMEOUT_WORDS = re.compile(r"time[ds]?[\s_-]?out(?![\s_-]?of)|deadline[\s_-]?exceeded", re.IGNORECASE)
_POLICY_ALSO = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})
"""Statuses that also report violations of content rules."""
_POLICY_ALSO_CODES = frozenset(str(status.value) for status in _POLICY_ALSO)
_ERROR, _SERVER_ERROR = 400, 500


def meaning_of(http_status: int, error: UpstreamError | None, find: FindMeaning) -> Meaning | None:
    """What a reply that is not a success means.

    Args:
        http_status: 200 or more.
        error: the error that it states in a known shape; None when it states none.
        find: the provider's own lookup, asked first.

    Returns:
        The meaning; None when the reply leaves open what happened: a success status or a server error without an error
        of the upstream's own.
    """
    if http_status in _TIMEOUTS:
        return TIMEOUT
    if error is None:
        return _by_http(http_status) if http_status >= _ERROR else None
    if http_status in _PROXYS_OWN:
        return UNCLEAR
    meaning = _known(error, find)
    if http_status == HTTPStatus.BAD_GATEWAY and (meaning is None or meaning in _FAILURES):
        # only a documented code that refuses or defers comes from behind the gateway that failed
        return UNCLEAR
    meaning = meaning or _by_status(http_status, error)
    if (meaning is BROKEN or meaning is UNCLEAR) and _BY_HTTP.get(http_status) is MAINTENANCE:
        return MAINTENANCE
    if meaning is BROKEN and _TIMEOUT_WORDS.search(f"{error.code} {error.message}"):
        return TIMEOUT
    return meaning


def _known(error: UpstreamError, find: FindMeaning) -> Meaning | None:
    """What a code means to the provider or the gateway, otherwise what the type beside it means."""
    meaning = find(error) or _BY_GATEWAY_CODE.get(error.code or "")
    if meaning is None and isinstance(error, NestedError) and error.kind is not None:
        typed = replace(error, code=error.kind)
        return find(typed) or _BY_GATEWAY_CODE.get(error.kind)
    return meaning


def _by_status(http_status: int, error: UpstreamError) -> Meaning:
    """What an error with an unknown code means: by the HTTP status.

    Inside a success the number in the error counts instead, if it is an HTTP status.
    """
    by_http = by_number(str(http_status))
    number = str(http_status) if by_http is not None or http_status >= _ERROR else error.code
    if number in _POLICY_ALSO_CODES and reads_like_policy(error.message):
        return POLICY
    is_timeout = error.code is not None and _TIMEOUT_WORDS.search(error.code) is not None
    return by_http or by_number(error.code) or (TIMEOUT if is_timeout else INVALID)


def by_number(code: str | None) -> Meaning | None:
    """The meaning of a code that is an HTTP status of an error, `UNCLEAR` for other server errors; otherwise None."""
    if code is None or len(code) != len("404") or not code.isascii() or not code.isdigit():
        return None
    number = int(code)
    if number in _TIMEOUTS:
        return TIMEOUT
    return (_by_http(number) or UNCLEAR) if number >= _ERROR else None


def _by_http(http_status: int) -> Meaning | None:
    return _BY_HTTP.get(http_status, INVALID if http_status < _SERVER_ERROR else None)


def reads_like_policy(message: str | None) -> bool:
    """Whether a message is about content rules; only used without a more specific code."""
    return message is not None and _POLICY_WORDS.search(message) is not None


def failed(reading: Reading, error: UpstreamError | None, find: FindMeaning) -> Reading:
    """Complete the reading of a task that failed.

    Args:
        reading: what else is known of the task.
        error: the upstream's error; None when it states none.
        find: the provider's lookup for the codes of failed tasks.

    Returns:
        The reading with status FAILED and its reason; ``generation_failed`` without a more specific one.
    """
    error = error if error is not None and (error.code or error.message) else None
    meaning = None
    if error is not None:
        meaning = find(error) or _BY_GATEWAY_CODE.get(error.code or "")
        if meaning is None and reads_like_policy(error.message):
            meaning = POLICY
    return replace(
        reading,
        status=Status.FAILED,
        error=error,
        reason=meaning.task_reason if meaning else Reason.GENERATION_FAILED,
        retryable=meaning.retryable if meaning else None,
        detail=reading.detail or (None if error else f"status {reading.upstream_status}, without a reason"),
    )
