"""How the answer to a create or a poll is read, the same for every family.

Owns what follows when an answer
is no success. It must not know what a success looks like: the family hands that reader in. Nothing here
raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.lenient_json.decoder import Form
from tracker.domain.observation import Reading, Submission, Trouble
from tracker.domain.task import ExternalId, Output, Reason, Status, UpstreamError
from tracker.errors import PayloadInvalid
from tracker.providers.reading.decoded_reply import DecodedReply, decode_reply
from tracker.providers.reading.envelopes import find_task_id, layers, names_task
from tracker.providers.reading.error_meanings import FindMeaning, meaning_of
from tracker.providers.reading.error_shapes import find_stated

if TYPE_CHECKING:
    from tracker.domain.upstream_http import WireReply
    from tracker.providers.route import Json

ReadBody = Callable[[Mapping[str, "Json"]], Reading | None]
"""A family's reader of a success: None when the body is not one. May raise `PayloadInvalid`."""
FindOutputs = Callable[[Mapping[str, "Json"]], tuple[Output, ...]]
"""Finds results in a body, whichever API wrote it."""
FindId = Callable[[Mapping[str, "Json"]], ExternalId | None]
"""Finds the task id in a family's acceptance, whatever else is in it. May raise `PayloadInvalid`."""

_ALIVE = frozenset({Status.PENDING, Status.RUNNING, Status.SUCCEEDED})
_NO_SUCH_PATH = frozenset({404, 405})
_PATH_UNKNOWN = re.compile(
    r"^\W*(http\W*)?(404\W*)?((the )?(requested )?(page|route|path|url|resource|endpoint) )?(was )?not found\W*$"
    r"|^method not allowed\W*$|invalid url|cannot (post|put)|no (such |matching )?(route|path|page|endpoint|url)\b"
    r"|(route|path|url|endpoint)\b[^.]*\b(not found|not exist|unknown)|unknown (route|path|endpoint|url)",
    re.IGNORECASE,
)
"""How web frameworks and gateways say that they have no such path. **Source**: the default answers of FastAPI, Flask,
Express, Fastify, Spring Boot, nginx, Kong and OpenAI's API (``Invalid URL (POST /v1/…)``), read 2026-11."""


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
    reading = _read_creation(reply, read_accepted, find, find_id, is_wrapped=is_wrapped)
    if reading.submission is not Submission.ACCEPTED and reply.respelled is not None:
        again = _read_creation(reply.respelled, read_accepted, find, find_id, is_wrapped=is_wrapped)
        if again.submission is Submission.ACCEPTED:
            return again
    if reading.submission is Submission.AMBIGUOUS:
        answer = decode_reply(reply)
        if answer.located_id is not None and answer.stated is None:
            return _accepted(Reading(external_id=answer.located_id, detail=reading.detail), answer)
    return reading


def _read_creation(
    reply: WireReply, read_accepted: ReadBody, find: FindMeaning, find_id: FindId, *, is_wrapped: bool
) -> Reading:
    answer = decode_reply(reply)
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
    refused = _not_accepted(answer, find, "no task id in it")
    if refused.submission is Submission.AMBIGUOUS or answer.stated is None:
        # in a place of no document: somebody on the way has written the answer anew, or its HTTP status
        external_id = _find_undocumented(answer, bodies if is_wrapped else list(layers(body)))
        if external_id is not None:
            return _accepted(Reading(external_id=external_id, detail=fault or answer.fault), answer)
    if answer.is_success and fault is not None and answer.stated is None:
        return _ambiguous(answer, fault)
    return refused


def _find_undocumented(answer: DecodedReply, bodies: Sequence[Mapping[str, Json]]) -> ExternalId | None:
    """The id of a task where no document of the family has one; beside an error only under a name of its own."""
    if names_task(bodies):
        return find_task_id(bodies)
    if answer.stated is not None or not answer.is_success:
        return None
    return find_task_id(bodies)


def read_result(
    reply: WireReply,
    read_answer: ReadBody,
    find: FindMeaning,
    *,
    is_wrapped: bool = False,
    find_otherwise: FindOutputs | None = None,
) -> Reading:
    """Read the answer to a synchronous create: the result itself.

    Nothing can be asked later, so there are only three ways: the job has ended here (a success with outputs, or a
    failure that the content states), it was refused or put off, or nobody knows what became of it.

    Args:
        reply: the answer.
        read_answer: reads a result; None when the body is none.
        find: the family's meaning of its error codes.
        is_wrapped: envelopes of other gateways are looked through.
        find_otherwise: finds results where other APIs have them, should ``read_answer`` find none.

    Returns:
        A reading whose ``submission`` is set; accepted only together with the end of the task.
    """
    reading = _read_result(reply, read_answer, find, is_wrapped=is_wrapped)
    for again in filter(None, (reply, reply.respelled) if _lacks_result(reading) else ()):
        other = _read_result(again, read_answer, find, is_wrapped=is_wrapped, under_any_status=True)
        if other.status is Status.SUCCEEDED:
            return other
        answer = decode_reply(again)
        if find_otherwise is not None and answer.body is not None and answer.is_success and answer.stated is None:
            outputs = find_otherwise(answer.body)
            if outputs:
                return Reading(status=Status.SUCCEEDED, outputs=outputs, submission=Submission.ACCEPTED)
    return reading


def _lacks_result(reading: Reading) -> bool:
    """Whether nothing was found and nobody said why."""
    return reading.status is not Status.SUCCEEDED and not (
        reading.error and (reading.error.code or reading.error.message)
    )


def _read_result(
    reply: WireReply, read_answer: ReadBody, find: FindMeaning, *, is_wrapped: bool, under_any_status: bool = False
) -> Reading:
    answer = decode_reply(reply)
    lack: str | None = None
    is_read = answer.is_success or under_any_status
    if is_read and answer.body is not None and reply.decoded.form is Form.WHOLE:
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


def read_status(
    reply: WireReply,
    read_task: ReadBody,
    find: FindMeaning,
    *,
    is_wrapped: bool = False,
    read_otherwise: ReadBody | None = None,
) -> Reading:
    """Read the answer to a poll.

    Args:
        reply: the answer.
        read_task: reads what the body says of the task; None when it says an error instead.
        find: the family's meaning of its error codes.
        is_wrapped: envelopes of other gateways are looked through.
        read_otherwise: reads what other makers and gateways write, where ``read_task`` finds nothing.

    Returns:
        A reading; whatever cannot be understood is trouble.
    """
    reading = _read_again(reply, read_task, find, is_wrapped=is_wrapped)
    if read_otherwise is not None and _is_vague(reading):
        other = _read_again(reply, read_otherwise, find, is_wrapped=False)
        if not _is_vague(other):
            return other
    return reading


def _read_again(reply: WireReply, read_task: ReadBody, find: FindMeaning, *, is_wrapped: bool) -> Reading:
    """Read an answer, and once more with its names respelled where that shows nothing."""
    reading = _read_status(reply, read_task, find, is_wrapped=is_wrapped)
    if _is_vague(reading) and reply.respelled is not None:
        again = _read_status(reply.respelled, read_task, find, is_wrapped=is_wrapped)
        if not _is_vague(again):
            return again
    return reading


def _is_vague(reading: Reading) -> bool:
    """Whether a reading of a poll may have missed what the answer shows."""
    if reading.status is Status.SUCCEEDED:
        return all(output.authenticated for output in reading.outputs)
    return reading.status is None


def _read_status(reply: WireReply, read_task: ReadBody, find: FindMeaning, *, is_wrapped: bool) -> Reading:
    answer = decode_reply(reply)
    detail = f"{answer.fault} in the answer" if answer.fault else None
    if not answer.is_success and answer.body is not None:
        shown = _shown_despite(answer.body, read_task, find, is_wrapped=is_wrapped)
        if shown is not None:
            return shown
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


def _shown_despite(
    body: Mapping[str, Json], read_task: ReadBody, find: FindMeaning, *, is_wrapped: bool
) -> Reading | None:
    """A finished result that an answer shows although its HTTP status is one of failure; None for anything less."""
    for layer in _bodies(body, find, is_wrapped=is_wrapped):
        try:
            reading = read_task(layer)
        except PayloadInvalid:
            continue
        if reading is not None and reading.status is Status.SUCCEEDED and not _is_vague(reading):
            return reading
    return None


def says_something(reading: Reading) -> bool:
    """Whether a reading says something of its task: a status, or a status word that nobody knows."""
    if reading.trouble is Trouble.UNKNOWN_STATUS:
        return reading.external_id is not None
    return reading.status is not None or reading.expired_after_s is not None


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


def _accepted(reading: Reading, answer: DecodedReply) -> Reading:
    status = reading.status or Status.PENDING
    return _with_http_status(replace(reading, status=status, trouble=None, submission=Submission.ACCEPTED), answer)


def _said(error: UpstreamError) -> str:
    return " ".join(filter(None, (error.code, error.message)))[:300]


def _ambiguous(answer: DecodedReply, detail: str) -> Reading:
    return Reading(submission=Submission.AMBIGUOUS, error=answer.words, detail=detail)


def _not_accepted(answer: DecodedReply, find: FindMeaning, lack: str) -> Reading:
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


def _is_misrouted(answer: DecodedReply, find: FindMeaning) -> bool:
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
    answer: DecodedReply,
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


def _with_http_status(reading: Reading, answer: DecodedReply) -> Reading:
    if reading.error is None or reading.error.http_status is not None:
        return reading
    return replace(reading, error=replace(reading.error, http_status=answer.http_status))
