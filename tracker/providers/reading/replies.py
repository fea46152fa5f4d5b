"""How the reply to a create or a poll is read, the same for all providers.

Owns what follows when a reply is not a success. Must not know what a success looks like: each provider passes that
reader in. Nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.event_text import WRONG_ADDRESS
from tracker.domain.lenient_json.decoder import Form
from tracker.domain.observation import Reading, Submission, Trouble
from tracker.domain.task import ExternalId, Output, Reason, Status, UpstreamError
from tracker.errors import PayloadInvalid
from tracker.providers.reading.decoded_reply import DecodedReply, decode_reply
from tracker.providers.reading.envelopes import find_task_id, has_task_id, layers
from tracker.providers.reading.error_meanings import FindMeaning, meaning_of
from tracker.providers.reading.error_shapes import find_stated

if TYPE_CHECKING:
    from tracker.domain.upstream_http import WireReply
    from tracker.providers.route import Json

ReadBody = Callable[[Mapping[str, "Json"]], Reading | None]
"""A provider's reader of a success: None when the body is not one. May raise `PayloadInvalid`."""
FindOutputs = Callable[[Mapping[str, "Json"]], tuple[Output, ...]]
"""Finds results in a body of any API."""
FindId = Callable[[Mapping[str, "Json"]], ExternalId | None]
"""Finds the task id in a provider's acceptance, with any other content. May raise `PayloadInvalid`."""

_NOT_FAILED = frozenset({Status.PENDING, Status.RUNNING, Status.SUCCEEDED})
_NO_SUCH_PATH = frozenset({404, 405})
_PATH_UNKNOWN = re.compile(
    r"^\W*(http\W*)?(404\W*)?((the )?(requested )?(page|route|path|url|resource|endpoint) )?(was )?not found\W*$"
    r"|^method not allowed\W*$|invalid url|cannot (post|put)|no (such |matching )?(route|path|page|endpoint|url)\b"
    r"|(route|path|url|endpoint)\b[^.]*\b(not found|not exist|unknown)|unknown (route|path|endpoint|url)",
    re.IGNORECASE,
)
"""The messages of web frameworks and gateways for an unknown path. **Source**: the default replies of FastAPI, Flask,
Express, Fastify, Spring Boot, nginx, Kong and OpenAI's API (``Invalid URL (POST /v1/…)``), read 2026-11."""


def read_creation(
    reply: WireReply, read_accepted: ReadBody, find: FindMeaning, find_id: FindId, *, is_wrapped: bool = False
) -> Reading:
    """Read the reply to a create.

    An id proves that the job was accepted, even with other content: an odd field, an error, a missing end, the envelope
    of another gateway. With an HTTP status of failure it takes both id and status to prove the same.

    Args:
        reply: the reply.
        read_accepted: reads an acceptance; None when the body is not one.
        find: the provider's meaning of its error codes.
        find_id: finds the id where ``read_accepted`` found none, also beside an error: it returns None where an error
            names another job.
        is_wrapped: envelopes of other gateways are searched.

    Returns:
        A reading whose ``submission`` is set; ambiguous for a reply that cannot be understood.
    """
    reading = _read_creation(reply, read_accepted, find, find_id, is_wrapped=is_wrapped)
    if reading.submission is not Submission.ACCEPTED and reply.respelled is not None:
        again = _read_creation(reply.respelled, read_accepted, find, find_id, is_wrapped=is_wrapped)
        if again.submission is Submission.ACCEPTED:
            return again
    if reading.submission is Submission.AMBIGUOUS:
        decoded = decode_reply(reply)
        if decoded.located_id is not None and decoded.stated is None:
            return _accepted(Reading(external_id=decoded.located_id, detail=reading.detail), decoded)
    return reading


def _read_creation(
    reply: WireReply, read_accepted: ReadBody, find: FindMeaning, find_id: FindId, *, is_wrapped: bool
) -> Reading:
    decoded = decode_reply(reply)
    body = decoded.body if decoded.body is not None else decoded.salvaged
    if body is None:
        return _not_accepted(decoded, find, "no task id in it")
    fault: str | None = None
    bodies = list(_bodies(body, find, is_wrapped=is_wrapped))
    for layer in bodies:
        try:
            accepted = read_accepted(layer)
        except PayloadInvalid as invalid:
            fault = fault or f"HTTP {decoded.http_status} with an unexpected body: {invalid}"
            # the outermost id is the one to ask for, however odd the rest is
            accepted = Reading(external_id=_find_despite(layer, find_id))
        if accepted is None or accepted.external_id is None:
            continue
        if decoded.is_success or accepted.status in _NOT_FAILED:
            if decoded.body is None:  # the body is cut off, and so may be the other fields
                accepted = Reading(external_id=accepted.external_id)
            return _accepted(replace(accepted, detail=accepted.detail or fault or decoded.fault), decoded)
    if decoded.is_success:
        for layer in bodies:
            external_id = _find_despite(layer, find_id)
            if external_id is not None:
                beside = _text_of(decoded.error) if decoded.stated is not None else None
                detail = fault or (decoded.fault if beside is None else f"an id beside an error: {beside}")
                return _accepted(Reading(external_id=external_id, detail=detail), decoded)
    refused = _not_accepted(decoded, find, "no task id in it")
    if refused.submission is Submission.AMBIGUOUS or decoded.stated is None:
        # an undocumented field: a gateway in between has rewritten the body, or its HTTP status
        external_id = _find_undocumented(decoded, bodies if is_wrapped else list(layers(body)))
        if external_id is not None:
            return _accepted(Reading(external_id=external_id, detail=fault or decoded.fault), decoded)
    if decoded.is_success and fault is not None and decoded.stated is None:
        return _ambiguous(decoded, fault)
    return refused


def _find_undocumented(decoded: DecodedReply, bodies: Sequence[Mapping[str, Json]]) -> ExternalId | None:
    """The id of a task in an undocumented field; beside an error only in a field that only task ids have."""
    is_clean = decoded.stated is None and decoded.is_success
    return find_task_id(bodies) if is_clean or has_task_id(bodies) else None


def read_result(
    reply: WireReply,
    read_answer: ReadBody,
    find: FindMeaning,
    *,
    is_wrapped: bool = False,
    find_otherwise: FindOutputs | None = None,
) -> Reading:
    """Read the reply to a synchronous create: the result itself.

    Nothing can be asked later, so there are three cases: the job has ended (a success with outputs, or a failure that
    the content states), it was refused or deferred, or its fate is unknown.

    Args:
        reply: the reply.
        read_answer: reads a result; None when the body is not one.
        find: the provider's meaning of its error codes.
        is_wrapped: envelopes of other gateways are searched.
        find_otherwise: finds results in the fields of other APIs where ``read_answer`` finds none.

    Returns:
        A reading whose ``submission`` is set; accepted only together with the end of the task.
    """
    reading = _read_result(reply, read_answer, find, is_wrapped=is_wrapped)
    for again in filter(None, (reply, reply.respelled) if _lacks_result(reading) else ()):
        other = _read_result(again, read_answer, find, is_wrapped=is_wrapped, under_any_status=True)
        if other.status is Status.SUCCEEDED:
            return other
        decoded = decode_reply(again)
        if find_otherwise is not None and decoded.body is not None and decoded.is_success and decoded.stated is None:
            outputs = find_otherwise(decoded.body)
            if outputs:
                return Reading(status=Status.SUCCEEDED, outputs=outputs, submission=Submission.ACCEPTED)
    return reading


def _lacks_result(reading: Reading) -> bool:
    """Whether there is neither a result nor an error that explains its absence."""
    return reading.status is not Status.SUCCEEDED and not (
        reading.error and (reading.error.code or reading.error.message)
    )


def _read_result(
    reply: WireReply, read_answer: ReadBody, find: FindMeaning, *, is_wrapped: bool, under_any_status: bool = False
) -> Reading:
    decoded = decode_reply(reply)
    lack: str | None = None
    is_read = decoded.is_success or under_any_status
    if is_read and decoded.body is not None and reply.decoded.form is Form.COMPLETE:
        ended: Reading | None = None
        for layer in _bodies(decoded.body, find, is_wrapped=is_wrapped):
            try:
                result = read_answer(layer)
            except PayloadInvalid as invalid:
                lack = lack or f"an unexpected body: {invalid}"
                continue
            if result is not None and result.status is Status.SUCCEEDED and result.outputs:
                ended = result
                break
            if result is not None and result.status is Status.FAILED:
                ended = ended or result
            elif result is not None:
                lack = lack or result.detail or "no result in it"
        if ended is not None:
            return _with_http_status(replace(ended, trouble=None, submission=Submission.ACCEPTED), decoded)
    if lack is not None and decoded.stated is None:
        return _ambiguous(decoded, f"HTTP {decoded.http_status} with {lack}")
    return _not_accepted(decoded, find, "no result in it")


def read_status(
    reply: WireReply,
    read_task: ReadBody,
    find: FindMeaning,
    *,
    is_wrapped: bool = False,
    read_otherwise: ReadBody | None = None,
) -> Reading:
    """Read the reply to a poll.

    Args:
        reply: the reply.
        read_task: reads the task in the body; None when the body states an error instead.
        find: the provider's meaning of its error codes.
        is_wrapped: envelopes of other gateways are searched.
        read_otherwise: reads the shapes of other makers and gateways where ``read_task`` finds nothing.

    Returns:
        A reading; trouble for a reply that cannot be understood.
    """
    reading = _read_again(reply, read_task, find, is_wrapped=is_wrapped)
    if read_otherwise is not None and _is_vague(reading):
        other = _read_again(reply, read_otherwise, find, is_wrapped=False)
        if not _is_vague(other):
            return other
    return reading


def _read_again(reply: WireReply, read_task: ReadBody, find: FindMeaning, *, is_wrapped: bool) -> Reading:
    """Read a reply, and once more with its field names respelled where that shows nothing."""
    reading = _read_status(reply, read_task, find, is_wrapped=is_wrapped)
    if _is_vague(reading) and reply.respelled is not None:
        again = _read_status(reply.respelled, read_task, find, is_wrapped=is_wrapped)
        if not _is_vague(again):
            return again
    return reading


def _is_vague(reading: Reading) -> bool:
    """Whether a reading of a poll may have missed something in the reply."""
    if reading.status is Status.SUCCEEDED:
        return all(output.authenticated for output in reading.outputs)
    return reading.status is None


def _read_status(reply: WireReply, read_task: ReadBody, find: FindMeaning, *, is_wrapped: bool) -> Reading:
    decoded = decode_reply(reply)
    detail = f"{decoded.fault} in the reply" if decoded.fault else None
    if not decoded.is_success and decoded.body is not None:
        shown = _find_finished(decoded.body, read_task, find, is_wrapped=is_wrapped)
        if shown is not None:
            return shown
    if decoded.is_success and decoded.body is not None:
        vague: Reading | None = None
        for layer in _bodies(decoded.body, find, is_wrapped=is_wrapped):
            try:
                reading = read_task(layer)
            except PayloadInvalid as invalid:
                reading = Reading(trouble=Trouble.UNREADABLE, detail=str(invalid))
            if reading is not None and is_informative(reading):
                return _with_http_status(reading, decoded)
            if vague is None or (reading is not None and reading.trouble is Trouble.NOT_VISIBLE):
                vague = reading or vague
        if vague is not None and (decoded.stated is None or vague.trouble is Trouble.UNKNOWN_STATUS):
            if vague.trouble is Trouble.UNREADABLE:
                return _trouble(decoded, Trouble.UNREADABLE, detail=vague.detail, external_id=vague.external_id)
            return vague
        detail = "no task and no error in the reply"
    if decoded.is_redirect:
        return _trouble(decoded, Trouble.UNREADABLE, detail="the base URL answers with a redirect")
    meaning = meaning_of(decoded.http_status, decoded.stated, find)
    if meaning is not None:
        return _trouble(decoded, meaning.on_poll, retryable=meaning.retryable)
    return _trouble(decoded, Trouble.UNREADABLE if decoded.is_success else Trouble.UNAVAILABLE, detail=detail)


def _find_finished(
    body: Mapping[str, Json], read_task: ReadBody, find: FindMeaning, *, is_wrapped: bool
) -> Reading | None:
    """A finished result in a reply whose HTTP status is one of failure; None for anything less."""
    for layer in _bodies(body, find, is_wrapped=is_wrapped):
        try:
            reading = read_task(layer)
        except PayloadInvalid:
            continue
        if reading is not None and reading.status is Status.SUCCEEDED and not _is_vague(reading):
            return reading
    return None


def is_informative(reading: Reading) -> bool:
    """Whether a reading states something about its task: a status, or one that is not documented."""
    if reading.trouble is Trouble.UNKNOWN_STATUS:
        return reading.external_id is not None
    return reading.status is not None or reading.expired_after_s is not None


def _bodies(body: Mapping[str, Json], find: FindMeaning, *, is_wrapped: bool) -> Iterator[Mapping[str, Json]]:
    """The body and the objects in its envelopes; none inside one that states an error of the provider's contract."""
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


def _accepted(reading: Reading, decoded: DecodedReply) -> Reading:
    status = reading.status or Status.PENDING
    return _with_http_status(replace(reading, status=status, trouble=None, submission=Submission.ACCEPTED), decoded)


def _text_of(error: UpstreamError) -> str:
    return " ".join(filter(None, (error.code, error.message)))[:300]


def _ambiguous(decoded: DecodedReply, detail: str) -> Reading:
    return Reading(submission=Submission.AMBIGUOUS, error=decoded.error, detail=detail)


def _not_accepted(decoded: DecodedReply, find: FindMeaning, lack: str) -> Reading:
    """A reply to a create without what its route returns: refused, deferred, or ambiguous."""
    if decoded.is_redirect or _is_misrouted(decoded, find):
        # nothing is wrong with the request: the configured address is
        what = "answers with a redirect" if decoded.is_redirect else "has no such path"
        detail = f"{WRONG_ADDRESS}{what} (HTTP {decoded.http_status}); check base_url of the account"
        is_own = not decoded.is_redirect and decoded.error.message is not None
        return Reading(
            submission=Submission.REFUSED,
            reason=Reason.UPSTREAM_UNAVAILABLE,
            retryable=True,
            error=decoded.error if is_own else UpstreamError(message=detail, http_status=decoded.http_status),
            detail=detail,
        )
    meaning = meaning_of(decoded.http_status, decoded.stated, find)
    if meaning is None or meaning.on_create is Submission.AMBIGUOUS:
        if decoded.is_success and meaning is None:
            return _ambiguous(decoded, f"HTTP {decoded.http_status} with {decoded.fault or lack}")
        message = _text_of(decoded.error) or "no error message"
        return _ambiguous(
            decoded, f"HTTP {decoded.http_status} with {message}: it leaves open whether the job was accepted"
        )
    return Reading(
        submission=meaning.on_create,
        reason=meaning.reason,
        retryable=meaning.retryable,
        error=decoded.error,
        retry_after_s=decoded.retry_after_s,
    )


def _is_misrouted(decoded: DecodedReply, find: FindMeaning) -> bool:
    """Whether a create reached a server without such a path: a website, or a gateway below another path.

    Its 404 has no shape of a gateway, or only repeats the status. A 404 that names a model is a refusal.
    """
    if decoded.http_status not in _NO_SUCH_PATH:
        return False
    stated = decoded.stated
    if stated is None:
        return True
    code = (stated.code or "").lower().removeprefix("http").strip("_- ")  # also http_404
    is_bare = code in {"", str(decoded.http_status)} and find(stated) is None
    return is_bare and (stated.message is None or _PATH_UNKNOWN.search(stated.message) is not None)


def _trouble(
    decoded: DecodedReply,
    trouble: Trouble,
    *,
    retryable: bool = True,
    detail: str | None = None,
    external_id: ExternalId | None = None,
) -> Reading:
    return Reading(
        trouble=trouble,
        external_id=external_id,
        error=decoded.error,
        retryable=retryable,
        retry_after_s=decoded.retry_after_s,
        detail=detail,
    )


def _with_http_status(reading: Reading, decoded: DecodedReply) -> Reading:
    if reading.error is None or reading.error.http_status is not None:
        return reading
    return replace(reading, error=replace(reading.error, http_status=decoded.http_status))
