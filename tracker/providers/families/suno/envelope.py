"""What all Suno-compatible routes share: the envelope of replies, and the two wrappings of callbacks.

Owns ``{code, msg, data}``, the fields of task ids, and the precedence of an outer error code. Must not know what a
result looks like: each shape has its own reader.

**Source**: https://anyint.ai/docs/media-and-music/music-tasks-and-webhooks (the bare callback),
https://docs.sunoapi.org/suno-api/generate-music and
https://docs.sunoapi.org/suno-api/generate-music-callbacks (the envelope; read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from tracker.domain.observation import Reading, Trouble
from tracker.domain.task import ExternalId, Reason, Status, UpstreamError
from tracker.errors import PayloadInvalid
from tracker.providers.families.suno.codes import find_request_meaning, find_task_meaning, is_documented, refuses
from tracker.providers.reading.envelopes import find_bare_id, object_in
from tracker.providers.reading.error_meanings import failed
from tracker.providers.reading.error_shapes import find_error, find_message, is_success_code
from tracker.providers.reading.fields import (
    find_code,
    find_id,
    kind_of,
    require_object,
    require_status,
)
from tracker.providers.reading.replies import is_informative, read_creation, read_status
from tracker.providers.reading.statuses import Complete, find_status, read_by_status

if TYPE_CHECKING:
    from tracker.domain.upstream_http import WireReply
    from tracker.providers.route import Json


class Shape(Protocol):
    """The readers of one shape of result: `song`, `lyrics`, or a `Conversion`."""

    def read_task(self, data: Mapping[str, Json]) -> Reading:
        """Read the ``data`` of the reply to a query; the caller adds the id."""

    def read_callback_data(self, phase: str | None, inner: Mapping[str, Json]) -> Reading:
        """Read a callback that states no failure: its phase in lower case, and the object with the result."""


_SENSITIVE = "SENSITIVE_WORD_ERROR"
UNDELIVERED = "CALLBACK_EXCEPTION"
_STATUSES = {"CREATE_TASK_FAILED": Status.FAILED, _SENSITIVE: Status.FAILED, UNDELIVERED: Status.RUNNING}
"""Those of all tasks; the work may be done although a callback could not be delivered."""
_IDS = ("task_id", "taskId", "taskID")
_OF_TASKS = frozenset({*_IDS, "clips", "audio_url", "audioUrl", "text"})
"""Fields of a body that is a task itself."""
_REASONS = ("errorMessage", "errorMsg", "error_message", "fail_reason", "failReason", "error", "msg")
_NO_ERRORS = frozenset({"success", "ok"})
_PHASES = ("callbackType", "callback_type")
_FAILED_PHASES = frozenset({"error", "failed"})


def read_create(reply: WireReply, *, existing: frozenset[str] = frozenset()) -> Reading:
    """Read the reply to a create.

    Args:
        reply: the reply.
        existing: body codes with which a route refuses a repeated request but names the earlier task.
    """

    def read_accepted(body: Mapping[str, Json]) -> Reading | None:
        code = _require_code(body)
        if not is_success_code(code) and code not in existing:
            return None
        # without a code of success the id has no meaning for the status
        return Reading(status=None if code is None else Status.PENDING, external_id=_find_task_id(body))

    def find_despite(body: Mapping[str, Json]) -> ExternalId | None:
        # a documented refusal may name an earlier task: its id does not prove a new one
        return None if refuses(find_code(body.get("code"))) else _find_task_id(body)

    return read_creation(reply, read_accepted, find_request_meaning, find_despite, is_wrapped=True)


def read_poll(reply: WireReply, shape: Shape) -> Reading:
    """Read the reply to a query.

    Args:
        reply: the reply.
        shape: reads the result.
    """

    def read_body(body: Mapping[str, Json]) -> Reading | None:
        code = _require_code(body)
        is_success = is_success_code(code)
        if not is_success and is_documented(code):
            return None
        if "data" not in body and not _OF_TASKS.isdisjoint(body):
            return replace(shape.read_task(_with_state(body)), external_id=_find_task_id(body))
        data = body.get("data")
        if isinstance(data, list) and len(data) > 1:
            data = {"clips": data}
        if data is None:
            if code is None or find_error(body) is not None:
                return None
            return Reading(trouble=Trouble.NOT_VISIBLE, detail="the service has no record of the job")
        task = object_in(data)
        reading = shape.read_task(_with_state(require_object(data, "data") if task is None else task))
        reading = replace(reading, external_id=_find_task_id(body))
        # an undocumented code is an error only without a task
        return reading if is_success or is_informative(reading) else None

    return read_status(reply, read_body, find_request_meaning, is_wrapped=True)


def _with_state(task: Mapping[str, Json]) -> Mapping[str, Json]:
    """A task with the state of its tracks, as in replies of forks: finished when all tracks are.

    **Source**: https://github.com/gcui-art/suno-api (read 2026-11).
    """
    clips = task.get("clips")
    if not isinstance(clips, list) or isinstance(task.get("status"), str):
        return task
    said = [clip["status"] for clip in clips if isinstance(clip, dict) and isinstance(clip.get("status"), str)]
    ends = {
        status if status is not None and status.is_terminal else Status.RUNNING for status in map(find_status, said)
    }
    if not ends:
        return task
    state = "processing" if Status.RUNNING in ends else "success" if Status.SUCCEEDED in ends else "failed"
    return {**task, "status": state}


def read_callback(body: Json, shape: Shape) -> Reading:
    """Read a callback in either wrapping.

    Args:
        body: the decoded body, of any type.
        shape: reads the result.

    Raises:
        PayloadInvalid: it violates the contract.
    """
    callback = require_object(body, "body")
    inner = object_in(callback.get("data")) or callback
    external_id = _find_task_id(callback)
    code = _require_code(callback)
    phase = require_status(inner, *_PHASES, path="data.") if inner is not callback else None
    phase = phase or require_status(callback, *_PHASES, path="")
    lower = None if phase is None else phase.lower()
    if not is_success_code(code) or lower in _FAILED_PHASES:
        # the outer code counts: moderation is code 400 with the phase "complete"
        reading = failed(Reading(upstream_status=phase), _callback_error(callback, inner, code), find_task_meaning)
    else:
        reading = shape.read_callback_data(lower, inner)
    return replace(reading, upstream_status=reading.upstream_status or phase, external_id=external_id)


def callback_ids(body: Json) -> tuple[ExternalId, ...]:
    """The id in ``data.task_id``, ``data.taskId``, ``task_id`` or ``taskId``: the first of them."""
    found = _find_task_id(require_object(body, "body"))
    if found is None:
        raise PayloadInvalid("task_id: missing")
    return (found,)


def read_by_task_status(
    data: Mapping[str, Json],
    said: str | None,
    own: Mapping[str, Status],
    *,
    succeeded: Complete,
    unfinished: Complete | None = None,
    missing: str = "no data.status",
) -> Reading:
    """Read the ``data`` of a query by its status, with the endings that all Suno tasks share.

    Args:
        data: holds the error of a task that failed.
        said: the status.
        own: the statuses of this shape, in upper case, beside the shared ones.
        succeeded: adds the outputs; also asked for a finished task whose callback the upstream could not deliver.
        unfinished: adds stage and progress.
        missing: the detail where there is no status.
    """
    value = (said or "").upper()

    def with_error(reading: Reading) -> Reading:
        ended = failed(reading, task_error(data), find_task_meaning)
        return replace(ended, reason=Reason.POLICY_REJECTED, retryable=False) if value == _SENSITIVE else ended

    def without_end(reading: Reading) -> Reading:
        if value != UNDELIVERED:
            return reading if unfinished is None else unfinished(reading)
        finished = succeeded(replace(reading, status=Status.SUCCEEDED))
        undelivered = "the upstream could not deliver its callback"
        return finished if finished.outputs else replace(reading, detail=undelivered)

    return read_by_status(
        Reading(upstream_status=said),
        lambda status: own.get(value) or _STATUSES.get(value) or find_status(status),
        succeeded=succeeded,
        failed=with_error,
        unfinished=without_end,
        missing=missing,
    )


def task_error(data: Mapping[str, Json]) -> UpstreamError:
    """The error fields of a query's ``data``; a code of success is not an error.

    **Source**: ``errorCode`` is 200 on success in
    https://docs.sunoapi.org/cn/suno-api/get-cover-suno-details; one client saw ``errorMsg`` (read 2026-11).
    """
    code = find_code(data.get("errorCode"))
    messages = (find_message(data.get(field)) for field in _REASONS)
    message = next((said for said in messages if said is not None and said.lower() not in _NO_ERRORS), None)
    return UpstreamError(None if is_success_code(code) else code, message)


def _callback_error(callback: Mapping[str, Json], inner: Mapping[str, Json], code: str | None) -> UpstreamError | None:
    """The error of a callback that states a failure: ``msg``, or ``data.error``, a plain text."""
    refused = not is_success_code(code)
    own = next((text for name in _REASONS[:-1] if (text := find_message(inner.get(name)))), None)
    outer = find_message(callback.get("msg")) or find_message(callback.get("message"))
    if outer is not None and outer.lower() in _NO_ERRORS:
        outer = None
    message = (outer or own) if refused else (own or outer)
    return UpstreamError(code if refused else None, message) if refused or message else None


def _require_code(body: Mapping[str, Json]) -> str | None:
    value = body.get("code")
    if value is None:
        return None
    code = find_code(value)
    if code is None and value != "":
        raise PayloadInvalid(f"code: a number is expected, not {kind_of(value)}")
    return code


def _find_task_id(body: Mapping[str, Json]) -> ExternalId | None:
    data = object_in(body.get("data"))
    found = find_id(data, *_IDS, path="data.") if data is not None else find_bare_id(body)
    return found or find_id(body, *_IDS, path="")
