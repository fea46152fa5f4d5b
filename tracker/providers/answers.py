"""How the answer to a create or a poll is read, the same for every family.

Owns the decoding of bodies, the shapes that errors come in, ``Retry-After``, and what follows when an answer
is no success. It must not know what a success looks like: the family hands that reader in. Nothing here
raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import orjson
from msgspec.structs import replace

from tracker.domain.observation import Reading, Submission, Trouble
from tracker.domain.task import ExternalId, Reason, Status, UpstreamError
from tracker.domain.wire import whole_characters
from tracker.errors import PayloadInvalid
from tracker.providers.fields import find_code, find_text, kind_of
from tracker.providers.meanings import FindMeaning, NestedError, meaning_of

if TYPE_CHECKING:
    from tracker.domain.wire import WireReply
    from tracker.providers.base import Json

ReadBody = Callable[[Mapping[str, "Json"]], Reading | None]
"""A family's reader of a success: None when the body is not one. May raise `PayloadInvalid`."""
FindId = Callable[[Mapping[str, "Json"]], ExternalId | None]
"""Finds the task id in a family's acceptance, whatever else is in it. May raise `PayloadInvalid`."""

SUCCESS_CODES = frozenset({"0", "200"})
"""Body codes that state no error. **Source**: Kling answers 0, Suno 200, one of its references 0."""
_TELLING_TYPES = frozenset({"insufficient_quota"})
"""Error types that say more than the HTTP status does, beside a code that is null.

**Source**: https://platform.openai.com/docs/guides/error-codes (read 2026-11): 429 is a rate limit, or used-up credit.
"""
LONGEST_WAIT_S = 30 * 86400.0
"""A longer ``Retry-After`` means no more than this one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, decoded.

    Attributes:
        http_status: its HTTP status.
        body: the JSON object in it, None when it is anything else.
        fault: why ``body`` is None, in words.
        stated: the error that it states in a known shape, None when it states none; to look up what it means.
        message: the upstream's words where no known shape holds them, for display only.
        retry_after_s: how long it asks to wait.
    """

    http_status: int
    body: Mapping[str, Json] | None
    fault: str | None
    stated: UpstreamError | None
    message: str | None
    retry_after_s: float | None

    @property
    def is_success(self) -> bool:
        """Whether the HTTP status is one of success."""
        return 200 <= self.http_status < 300  # noqa: PLR2004 - HTTP's own numbers

    @property
    def is_redirect(self) -> bool:
        """Whether it points elsewhere; the client follows no redirects, they would carry the key along."""
        return 300 <= self.http_status < 400  # noqa: PLR2004 - HTTP's own numbers

    @property
    def error(self) -> UpstreamError | None:
        """The error that it states, to be kept."""
        return _kept(self.stated)

    @property
    def words(self) -> UpstreamError:
        """The upstream's word on what went wrong, as far as it gave one."""
        return self.error or UpstreamError(message=self.message, http_status=self.http_status)


def read_creation(reply: WireReply, read_accepted: ReadBody, find: FindMeaning, find_id: FindId) -> Reading:
    """Read the answer to a create.

    Args:
        reply: the answer.
        read_accepted: reads an acceptance; None or a reading without an id when the body is none.
        find: the family's meaning of its error codes.
        find_id: finds the id where ``read_accepted`` stumbles over something else.

    Returns:
        A reading whose ``submission`` is set; ambiguous for whatever cannot be understood.
    """
    answer = decode_answer(reply)
    if answer.is_success and answer.body is not None:
        try:
            accepted = read_accepted(answer.body)
        except PayloadInvalid as invalid:
            odd = f"HTTP {answer.http_status} with an unexpected answer: {invalid}"
            # the first success is an acceptance: a paid job that can be asked about is not given up for an odd field
            accepted = Reading(external_id=_find_despite(answer, find_id), detail=odd)
            if accepted.external_id is None:
                return _ambiguous(answer, odd)
        if accepted is not None and accepted.external_id is not None:
            status = accepted.status or Status.PENDING
            return _with_http_status(
                replace(accepted, status=status, trouble=None, submission=Submission.ACCEPTED), answer
            )
    return _not_accepted(answer, find, "no task id in it")


def read_result(reply: WireReply, read_answer: ReadBody, find: FindMeaning) -> Reading:
    """Read the answer to a synchronous create: the result itself.

    Nothing can be asked later, so there are only three ways: the job has ended here (a success with outputs, or a
    failure that the content states), it was refused or put off, or nobody knows what became of it.

    Args:
        reply: the answer.
        read_answer: reads a result; None when the body is none.
        find: the family's meaning of its error codes.

    Returns:
        A reading whose ``submission`` is set; accepted only together with the end of the task.
    """
    answer = decode_answer(reply)
    if answer.is_success and answer.body is not None:
        try:
            result = read_answer(answer.body)
        except PayloadInvalid as invalid:
            return _ambiguous(answer, f"HTTP {answer.http_status} with an unexpected answer: {invalid}")
        if result is not None:
            has_ended = result.status is Status.FAILED or (result.status is Status.SUCCEEDED and result.outputs)
            if has_ended:
                return _with_http_status(replace(result, trouble=None, submission=Submission.ACCEPTED), answer)
            return _ambiguous(answer, f"HTTP {answer.http_status} with {result.detail or 'no result in it'}")
    return _not_accepted(answer, find, "no result in it")


def read_status(reply: WireReply, read_task: ReadBody, find: FindMeaning) -> Reading:
    """Read the answer to a poll.

    Args:
        reply: the answer.
        read_task: reads what the body says of the task; None when it says an error instead.
        find: the family's meaning of its error codes.

    Returns:
        A reading; whatever cannot be understood is trouble.
    """
    answer = decode_answer(reply)
    detail = f"{answer.fault} in the answer" if answer.fault else None
    if answer.is_success and answer.body is not None:
        try:
            reading = read_task(answer.body)
        except PayloadInvalid as invalid:
            return _trouble(answer, Trouble.UNREADABLE, detail=str(invalid))
        if reading is not None:
            return _with_http_status(reading, answer)
        detail = "no task and no error in the answer"
    if answer.is_redirect:
        return _trouble(answer, Trouble.UNREADABLE, detail="the base URL answers with a redirect")
    meaning = meaning_of(answer.http_status, answer.stated, find)
    if meaning is not None:
        return _trouble(answer, meaning.on_poll, retryable=meaning.retryable)
    return _trouble(answer, Trouble.UNREADABLE if answer.is_success else Trouble.UNAVAILABLE, detail=detail)


def decode_answer(reply: WireReply) -> Answer:
    """Decode an HTTP answer; never raises."""
    body: Json = None
    fault: str | None = None
    try:
        body = orjson.loads(whole_characters(reply.body))
    except orjson.JSONDecodeError:
        fault = "a body that is no JSON" if reply.body.strip() else "an empty body"
    else:
        if not isinstance(body, Mapping):
            fault = f"{kind_of(body)} instead of an object"
    found = body if isinstance(body, Mapping) else None
    return Answer(
        http_status=reply.status,
        body=found,
        fault=fault,
        stated=_find_stated(found, reply.status) if found is not None else None,
        message=_loose_message(found) if found is not None and reply.status >= 400 else None,  # noqa: PLR2004
        retry_after_s=find_retry_after_s(reply),
    )


def find_error(body: Mapping[str, Json], http_status: int | None = None) -> UpstreamError | None:
    """The error that a body states in one of the known shapes.

    The shapes: ``{"error": {message, type, code}}``, ``{"error": {code, message, status}}`` (Gemini),
    ``{"type": "error", "error": {type, message}}`` (Anthropic: the type is the code), ``{"error": "words"}``,
    ``{code, msg}`` (Suno) and ``{code, message}`` (Kling, DashScope).

    **Source**: https://anyint.ai/docs/api-reference/errors-and-limits (read 2026-11) for the first.

    Args:
        body: the decoded object.
        http_status: what it came with, kept in the result.
    """
    return _kept(_find_stated(body, http_status))


def _find_stated(body: Mapping[str, Json], http_status: int | None) -> UpstreamError | None:
    """The same, where the place of the code still matters: inside ``error`` it is a `NestedError`."""
    inner = body.get("error")
    if isinstance(inner, Mapping):
        # a null code says that there is none; where the field is missing the type stands in
        code, kind = find_code(inner.get("code")), find_code(inner.get("type"))
        if code is None and ("code" not in inner or kind in _TELLING_TYPES):
            code = kind
        message = find_text(inner.get("message"))
        if code or message or http_status is None or http_status >= 400:  # noqa: PLR2004 - HTTP's own number
            return NestedError(code, message, http_status, kind=kind or find_code(inner.get("status")))
    code = find_code(body.get("code"))
    message = find_text(body.get("msg")) or find_text(body.get("message"))
    if code is not None and code not in SUCCESS_CODES:
        return UpstreamError(code, message or find_text(inner), http_status)
    words = find_text(inner)
    return None if words is None else UpstreamError(None, words, http_status)


def _kept(stated: UpstreamError | None) -> UpstreamError | None:
    """An error as it is kept: the upstream's words, whatever place they stood in."""
    return stated and UpstreamError(stated.code, stated.message, stated.http_status)


def find_retry_after_s(reply: WireReply) -> float | None:
    """Seconds that ``Retry-After`` asks to wait, from either of its forms; None without a usable one.

    A date counts from the answer's own ``Date``, which has the same clock, else from when it was received.

    **Source**: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after.
    """
    value = reply.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:12]), LONGEST_WAIT_S)
    until = _parse_http_date(value)
    since = _parse_http_date(reply.headers.get("date", "")) or reply.received_at
    if until is None or since is None:
        return None
    return min(max((until - since).total_seconds(), 0.0), LONGEST_WAIT_S)


def _parse_http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _loose_message(body: Mapping[str, Json]) -> str | None:
    """Words of an answer that has no error in a known shape, as web servers in between give them."""
    return find_text(body.get("message")) or find_text(body.get("msg")) or find_text(body.get("detail"))


def _find_despite(answer: Answer, find_id: FindId) -> ExternalId | None:
    """The id in an acceptance that is odd elsewhere; None where it states an error too, or the id itself is odd."""
    if answer.body is None or answer.stated is not None:
        return None
    try:
        return find_id(answer.body)
    except PayloadInvalid:
        return None


def _ambiguous(answer: Answer, detail: str) -> Reading:
    return Reading(submission=Submission.AMBIGUOUS, error=answer.words, detail=detail)


def _not_accepted(answer: Answer, find: FindMeaning, lack: str) -> Reading:
    """A create that was answered without what its route answers: refused, put off, or nobody knows."""
    if answer.is_redirect:
        words = f"the base URL answers with a redirect (HTTP {answer.http_status})"
        return Reading(
            submission=Submission.REFUSED,
            reason=Reason.INVALID_REQUEST,
            retryable=False,
            error=UpstreamError(message=words, http_status=answer.http_status),
            detail=words,
        )
    meaning = meaning_of(answer.http_status, answer.stated, find)
    if meaning is None or meaning.on_create is Submission.AMBIGUOUS:
        if answer.is_success and meaning is None:
            return _ambiguous(answer, f"HTTP {answer.http_status} with {answer.fault or lack}")
        words = " ".join(filter(None, (answer.words.code, answer.words.message)))[:300] or "no error of its own"
        return _ambiguous(answer, f"HTTP {answer.http_status} with {words}: it leaves open whether the job was taken")
    return Reading(
        submission=meaning.on_create,
        reason=meaning.reason,
        retryable=meaning.retryable,
        error=answer.words,
        retry_after_s=answer.retry_after_s,
    )


def _trouble(answer: Answer, trouble: Trouble, *, retryable: bool = True, detail: str | None = None) -> Reading:
    return Reading(
        trouble=trouble,
        error=answer.words,
        retryable=retryable,
        retry_after_s=answer.retry_after_s,
        detail=detail,
    )


def _with_http_status(reading: Reading, answer: Answer) -> Reading:
    if reading.error is None or reading.error.http_status is not None:
        return reading
    return replace(reading, error=replace(reading.error, http_status=answer.http_status))
