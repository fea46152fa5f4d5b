"""How the answer to a create or a poll is read, the same for every family.

Owns ``Retry-After``, and what follows when an answer
is no success. It must not know what a success looks like: the family hands that reader in. Nothing here
raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.lenient_json import Form
from tracker.domain.observation import Reading, Submission, Trouble
from tracker.domain.task import ExternalId, Reason, Status, UpstreamError
from tracker.errors import PayloadInvalid
from tracker.providers.fields import kind_of
from tracker.providers.layers import layers
from tracker.providers.meanings import FindMeaning, meaning_of
from tracker.providers.refusals import find_stated, find_words, kept, words_of_page

if TYPE_CHECKING:
    from tracker.domain.wire import WireReply
    from tracker.providers.base import Json

ReadBody = Callable[[Mapping[str, "Json"]], Reading | None]
"""A family's reader of a success: None when the body is not one. May raise `PayloadInvalid`."""
FindId = Callable[[Mapping[str, "Json"]], ExternalId | None]
"""Finds the task id in a family's acceptance, whatever else is in it. May raise `PayloadInvalid`."""

_ALIVE = frozenset({Status.PENDING, Status.RUNNING, Status.SUCCEEDED})
LONGEST_WAIT_S = 30 * 86400.0
"""A longer ``Retry-After`` means no more than this one."""


_NO_SUCH_PATH = frozenset({404, 405})
_PATH_UNKNOWN = re.compile(
    r"^\W*(http\W*)?(404\W*)?((the )?(requested )?(page|route|path|url|resource|endpoint) )?(was )?not found\W*$"
    r"|^method not allowed\W*$|invalid url|cannot (post|put)|no (such |matching )?(route|path|page|endpoint|url)\b"
    r"|(route|path|url|endpoint)\b[^.]*\b(not found|not exist|unknown)|unknown (route|path|endpoint|url)",
    re.IGNORECASE,
)
"""How web frameworks and gateways say that they have no such path. **Source**: the default answers of FastAPI, Flask,
Express, Fastify, Spring Boot, nginx, Kong and OpenAI's API (``Invalid URL (POST /v1/…)``), read 2026-11."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, decoded.

    Attributes:
        reply: the answer itself.
        body: the JSON object in it, None when it is anything else, or not whole.
        salvaged: what can be read of an object that is cut off.
        fault: why ``body`` is None, in words.
    """

    reply: WireReply
    body: Mapping[str, Json] | None
    salvaged: Mapping[str, Json] | None
    fault: str | None

    @property
    def http_status(self) -> int:
        """Its HTTP status."""
        return self.reply.status

    @property
    def is_success(self) -> bool:
        """Whether the HTTP status is one of success."""
        return 200 <= self.http_status < 300  # noqa: PLR2004 - HTTP's own numbers

    @property
    def is_redirect(self) -> bool:
        """Whether it points elsewhere; the client follows no redirects, they would carry the key along."""
        return 300 <= self.http_status < 400  # noqa: PLR2004 - HTTP's own numbers

    @cached_property
    def stated(self) -> UpstreamError | None:
        """The error that it states in a known shape, None when it states none; to look up what it means."""
        known = self.body or {}
        return next((error for layer in layers(known) if (error := find_stated(layer, self.http_status))), None)

    @cached_property
    def words(self) -> UpstreamError:
        """The upstream's word on what went wrong, as far as it gave one."""
        message = None
        if self.http_status >= 400:  # noqa: PLR2004 - HTTP's own number
            decoded = self.reply.decoded
            message = find_words(decoded.value) if decoded.value is not None else words_of_page(decoded.plain)
        return kept(self.stated) or UpstreamError(message=message, http_status=self.http_status)

    @cached_property
    def retry_after_s(self) -> float | None:
        """How long it asks to wait, seconds."""
        return find_retry_after_s(self.reply)


def read_creation(
    reply: WireReply,
    read_accepted: ReadBody,
    find: FindMeaning,
    find_id: FindId,
    *,
    is_wrapped: bool = False,
) -> Reading:
    """Read the answer to a create.

    An id is proof that the job was taken, whatever comes with it: an odd field, an error, the end missing, an envelope
    of another gateway. With an HTTP status of failure it takes a whole task, id and status, to prove the same.

    Args:
        reply: the answer.
        read_accepted: reads an acceptance; None or a reading without an id when the body is none.
        find: the family's meaning of its error codes.
        find_id: finds the id where ``read_accepted`` stumbles over something else, or refuses; None also where the
            family documents that an error names another job.
        is_wrapped: envelopes of other gateways are looked through.

    Returns:
        A reading whose ``submission`` is set; ambiguous for whatever cannot be understood.
    """
    answer = decode_answer(reply)
    body = answer.body if answer.body is not None else answer.salvaged
    if body is None:
        return _not_accepted(answer, find, "no task id in it")
    fault: str | None = None
    bodies = list(_bodies(body, find, is_wrapped=is_wrapped))
    for layer in bodies:
        try:
            accepted = read_accepted(layer)
        except PayloadInvalid as invalid:
            fault = fault or f"HTTP {answer.http_status} with an unexpected answer: {invalid}"
            # the outermost id is the one to ask for, however odd the rest is
            accepted = Reading(external_id=_find_despite(layer, find_id))
        if accepted is None or accepted.external_id is None:
            continue
        if answer.is_success or accepted.status in _ALIVE:
            if answer.body is None:  # what else it says may be missing its other half
                accepted = Reading(external_id=accepted.external_id)
            return _accepted(replace(accepted, detail=accepted.detail or fault or answer.fault), answer)
    if answer.is_success:
        for layer in bodies:
            external_id = _find_despite(layer, find_id)
            if external_id is not None:
                beside = answer.words if answer.stated is not None else None
                detail = fault or (f"an id beside an error: {_said(beside)}" if beside else answer.fault)
                return _accepted(Reading(external_id=external_id, detail=detail), answer)
        if fault is not None and answer.stated is None:
            return _ambiguous(answer, fault)
    return _not_accepted(answer, find, "no task id in it")


def read_result(reply: WireReply, read_answer: ReadBody, find: FindMeaning, *, is_wrapped: bool = False) -> Reading:
    """Read the answer to a synchronous create: the result itself.

    Nothing can be asked later, so there are only three ways: the job has ended here (a success with outputs, or a
    failure that the content states), it was refused or put off, or nobody knows what became of it.

    Args:
        reply: the answer.
        read_answer: reads a result; None when the body is none.
        find: the family's meaning of its error codes.
        is_wrapped: envelopes of other gateways are looked through.

    Returns:
        A reading whose ``submission`` is set; accepted only together with the end of the task.
    """
    answer = decode_answer(reply)
    lack: str | None = None
    if answer.is_success and answer.body is not None and reply.decoded.form is Form.WHOLE:
        ended: Reading | None = None
        for layer in _bodies(answer.body, find, is_wrapped=is_wrapped):
            try:
                result = read_answer(layer)
            except PayloadInvalid as invalid:
                lack = lack or f"an unexpected answer: {invalid}"
                continue
            if result is not None and result.status is Status.SUCCEEDED and result.outputs:
                ended = result
                break
            if result is not None and result.status is Status.FAILED:
                ended = ended or result
            elif result is not None:
                lack = lack or result.detail or "no result in it"
        if ended is not None:
            return _with_http_status(replace(ended, trouble=None, submission=Submission.ACCEPTED), answer)
    if lack is not None and answer.stated is None:
        return _ambiguous(answer, f"HTTP {answer.http_status} with {lack}")
    return _not_accepted(answer, find, "no result in it")


def read_status(reply: WireReply, read_task: ReadBody, find: FindMeaning, *, is_wrapped: bool = False) -> Reading:
    """Read the answer to a poll.

    Args:
        reply: the answer.
        read_task: reads what the body says of the task; None when it says an error instead.
        find: the family's meaning of its error codes.
        is_wrapped: envelopes of other gateways are looked through.

    Returns:
        A reading; whatever cannot be understood is trouble.
    """
    answer = decode_answer(reply)
    detail = f"{answer.fault} in the answer" if answer.fault else None
    if answer.is_success and answer.body is not None:
        vague: Reading | None = None
        for layer in _bodies(answer.body, find, is_wrapped=is_wrapped):
            try:
                reading = read_task(layer)
            except PayloadInvalid as invalid:
                reading = Reading(trouble=Trouble.UNREADABLE, detail=str(invalid))
            if reading is not None and says_something(reading):
                return _with_http_status(reading, answer)
            if vague is None or (reading is not None and reading.trouble is Trouble.NOT_VISIBLE):
                vague = reading or vague
        if vague is not None and (answer.stated is None or vague.trouble is Trouble.UNKNOWN_STATUS):
            if vague.trouble is Trouble.UNREADABLE:
                return _trouble(answer, Trouble.UNREADABLE, detail=vague.detail, external_id=vague.external_id)
            return vague
        detail = "no task and no error in the answer"
    if answer.is_redirect:
        return _trouble(answer, Trouble.UNREADABLE, detail="the base URL answers with a redirect")
    meaning = meaning_of(answer.http_status, answer.stated, find)
    if meaning is not None:
        return _trouble(answer, meaning.on_poll, retryable=meaning.retryable)
    return _trouble(answer, Trouble.UNREADABLE if answer.is_success else Trouble.UNAVAILABLE, detail=detail)


def says_something(reading: Reading) -> bool:
    """Whether a reading says something of its task: a status, or a status word that nobody knows."""
    if reading.trouble is Trouble.UNKNOWN_STATUS:
        return reading.external_id is not None
    return reading.status is not None or reading.expired_after_s is not None


def decode_answer(reply: WireReply) -> Answer:
    """Decode an HTTP answer; never raises."""
    decoded = reply.decoded
    fault = decoded.fault
    found = decoded.value if isinstance(decoded.value, Mapping) else None
    if fault is None and found is None:
        fault = f"{kind_of(decoded.value)} instead of an object"
    return Answer(reply, found if fault is None else None, found, fault)


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


def _bodies(body: Mapping[str, Json], find: FindMeaning, *, is_wrapped: bool) -> Iterator[Mapping[str, Json]]:
    """The body and what its envelopes hold; nothing inside one that states an error of the family's contract."""
    for layer in layers(body) if is_wrapped else (body,):
        yield layer
        stated = find_stated(layer, None)
        if stated is not None and stated.code is not None and find(stated) is not None:
            return


def _find_despite(body: Mapping[str, Json], find_id: FindId) -> ExternalId | None:
    """The id in an acceptance that is odd elsewhere; None where the id itself is odd."""
    try:
        return find_id(body)
    except PayloadInvalid:
        return None


def _accepted(reading: Reading, answer: Answer) -> Reading:
    status = reading.status or Status.PENDING
    return _with_http_status(replace(reading, status=status, trouble=None, submission=Submission.ACCEPTED), answer)


def _said(error: UpstreamError) -> str:
    return " ".join(filter(None, (error.code, error.message)))[:300]


def _ambiguous(answer: Answer, detail: str) -> Reading:
    return Reading(submission=Submission.AMBIGUOUS, error=answer.words, detail=detail)


def _not_accepted(answer: Answer, find: FindMeaning, lack: str) -> Reading:
    """A create that was answered without what its route answers: refused, put off, or nobody knows."""
    if answer.is_redirect or _is_misrouted(answer, find):
        # nothing is wrong with the request: whoever configured the address has to look
        what = "answers with a redirect" if answer.is_redirect else "has no such path"
        words = f"the base URL {what} (HTTP {answer.http_status}); check base_url of the account"
        said = UpstreamError(message=words, http_status=answer.http_status)
        return Reading(
            submission=Submission.REFUSED,
            reason=Reason.UPSTREAM_UNAVAILABLE,
            retryable=True,
            error=said if answer.is_redirect or answer.words.message is None else answer.words,
            detail=words,
        )
    meaning = meaning_of(answer.http_status, answer.stated, find)
    if meaning is None or meaning.on_create is Submission.AMBIGUOUS:
        if answer.is_success and meaning is None:
            return _ambiguous(answer, f"HTTP {answer.http_status} with {answer.fault or lack}")
        words = _said(answer.words) or "no error of its own"
        return _ambiguous(answer, f"HTTP {answer.http_status} with {words}: it leaves open whether the job was taken")
    return Reading(
        submission=meaning.on_create,
        reason=meaning.reason,
        retryable=meaning.retryable,
        error=answer.words,
        retry_after_s=answer.retry_after_s,
    )


def _is_misrouted(answer: Answer, find: FindMeaning) -> bool:
    """Whether a create met a server that has no such path: a website, or a gateway below another path.

    Its 404 is in no shape of a gateway, or says no more than that. One that names what it does not know (a model) is
    a refusal.
    """
    if answer.http_status not in _NO_SUCH_PATH:
        return False
    stated = answer.stated
    if stated is None:
        return True
    is_bare = stated.code in {None, str(answer.http_status)} and find(stated) is None
    return is_bare and (stated.message is None or _PATH_UNKNOWN.search(stated.message) is not None)


def _trouble(
    answer: Answer,
    trouble: Trouble,
    *,
    retryable: bool = True,
    detail: str | None = None,
    external_id: ExternalId | None = None,
) -> Reading:
    return Reading(
        trouble=trouble,
        external_id=external_id,
        error=answer.words,
        retryable=retryable,
        retry_after_s=answer.retry_after_s,
        detail=detail,
    )


def _with_http_status(reading: Reading, answer: Answer) -> Reading:
    if reading.error is None or reading.error.http_status is not None:
        return reading
    return replace(reading, error=replace(reading.error, http_status=answer.http_status))
