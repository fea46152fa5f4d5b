"""Kling's native API: videos and images as asynchronous tasks, with a callback on every change of status.

Owns Kling's field names in both dialects, its statuses and error codes. Its routes differ only in their `Route`.

**Source**: https://anyint.ai/docs/api-reference/kling-video and https://anyint.ai/docs/api-reference/media
for the routes and their required fields; https://kling.ai/document-api/api/video/3-0-omni for replies,
statuses and callbacks; https://kling.ai/document-api/api/get-started/callbacks for the newer dialect;
https://kling.ai/document-api/api/get-started/error-codes for error codes (all read 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.costs import Cost, exact
from tracker.domain.observation import Reading, Trouble
from tracker.domain.request_fields import UNDOCUMENTED, RequestFields
from tracker.domain.task import ExternalId, Output, Status, UpstreamError
from tracker.errors import FieldProblem, PayloadInvalid
from tracker.providers.families import kling_fields
from tracker.providers.provider import Entry, Provider
from tracker.providers.reading import error_meanings as meanings
from tracker.providers.reading.envelopes import find_bare_id, layers, unwrapped
from tracker.providers.reading.error_meanings import Meaning, failed
from tracker.providers.reading.error_shapes import find_error, find_message, is_success_code
from tracker.providers.reading.fields import (
    Lists,
    distinct,
    find_code,
    find_id,
    find_seconds,
    find_text,
    find_url,
    kind_of,
    list_objects,
    mime_of,
    require_object,
    require_status,
)
from tracker.providers.reading.figures import FigureFields
from tracker.providers.reading.outputs import find_outputs
from tracker.providers.reading.replies import read_creation, read_status
from tracker.providers.reading.requests import optional_text_problem, text_problem
from tracker.providers.reading.statuses import find_status, read_by_status
from tracker.providers.reading.video_objects import read_any
from tracker.providers.route import SAMPLE_PROMPT, Route

if TYPE_CHECKING:
    from tracker.domain.upstream_http import WireReply
    from tracker.providers.route import Json

STATUSES = {
    "submitted": Status.PENDING,
    "processing": Status.RUNNING,
    "succeed": Status.SUCCEEDED,
    "succeeded": Status.SUCCEEDED,  # the newer dialect
    "failed": Status.FAILED,
}
"""``task_status``, in the newer dialect ``status``."""

CODES: dict[str, Meaning] = {
    **dict.fromkeys(("1000", "1001", "1002", "1003", "1004"), meanings.AUTH),
    **dict.fromkeys(("1100", "1101", "1102"), meanings.QUOTA),  # HTTP 429, and no rate limit
    "1103": meanings.ENTITLEMENT,
    "1200": meanings.INVALID,
    "1201": meanings.INVALID,
    "1202": meanings.NOT_FOUND,
    "1203": meanings.NOT_FOUND,  # also for an id that is asked for on a sibling's route
    "1300": meanings.POLICY,
    "1301": meanings.POLICY,
    "1302": meanings.RATE,
    "1303": meanings.RATE,
    "1304": meanings.AUTH,  # the key's list of allowed addresses, with HTTP 429
    "5000": meanings.BROKEN,
    "5001": meanings.MAINTENANCE,
    "5002": meanings.TIMEOUT,
}
"""By body code. **Source**: https://kling.ai/document-api/api/get-started/error-codes (read 2026-11)."""

_NO_MESSAGES = frozenset({"succeed", "succeeded", "success", "ok"})
"""Messages of success, which failed tasks have as well.

**Source**: https://github.com/QuantumNous/new-api/pull/2532 (read 2026-11).
"""
_REASONS = ("task_status_msg", "status_msg", "message", "fail_reason", "failReason", "error_message", "reason")
"""The first is Kling's; ``fail_reason`` is that of gateways of the new-api family."""
_PICTURES = ("image", "image_tail")
_STATUS_FIELDS = ("task_status", "taskStatus", "status", "state")
_OUTPUT_LISTS = (("videos", "video"), ("images", "image"), ("series_images", "image"))


def find_meaning(error: UpstreamError) -> Meaning | None:
    """The meaning of a Kling code; None for one that is not in the contract."""
    return CODES.get(error.code or "")


def check(request: Mapping[str, Json]) -> list[FieldProblem]:
    """Find what a request lacks: ``model_name`` (or ``model``, its alias) and ``prompt``.

    No prompt is required beside ``multi_prompt``, which describes each shot.
    """
    return _check(request, needs_prompt=not request.get("multi_prompt"))


def check_animation(request: Mapping[str, Json]) -> list[FieldProblem]:
    """The same for a picture to animate, which needs no prompt."""
    return _check(request, needs_prompt=not any(request.get(field) for field in (*_PICTURES, "multi_prompt")))


def _check(request: Mapping[str, Json], *, needs_prompt: bool) -> list[FieldProblem]:
    named = "model" if request.get("model_name") is None and request.get("model") is not None else "model_name"
    problems = text_problem(request, named)
    if named == "model_name":
        problems += optional_text_problem(request, "model")
    problems += (text_problem if needs_prompt else optional_text_problem)(request, "prompt")
    return [*problems, *optional_text_problem(request, "callback_url")]


def read_create(reply: WireReply) -> Reading:
    """Read the reply to a create."""
    return read_creation(reply, _read_body, find_meaning, _find_created_id, is_wrapped=True)


def read_poll(reply: WireReply) -> Reading:
    """Read the reply to a poll."""
    read_otherwise = partial(read_any, find=find_meaning)
    return read_status(reply, _read_body, find_meaning, is_wrapped=True, read_otherwise=read_otherwise)


def read_callback(body: Json) -> Reading:
    """Read a callback: a task without a wrapper; the first of several.

    A wrapper, or a code beside the status, is only the reason of a failed task.
    """
    task = _callback_tasks(body)[0]
    return _read_task(task, require_object(body, "body"))


def callback_ids(body: Json) -> tuple[ExternalId, ...]:
    """The ids of the tasks in a callback, without ``external_task_id``, which the caller chooses."""
    found = [task_id for task in _callback_tasks(body) if (task_id := _find_task_id(task)) is not None]
    if not found:
        raise PayloadInvalid("task_id: missing")
    return tuple(dict.fromkeys(found))


def _callback_tasks(body: Json) -> tuple[Mapping[str, Json], ...]:
    """The tasks in a callback, at least one; also in the wrapper of replies."""
    callback = require_object(body, "body")
    wrapped = callback.get("data")
    if wrapped is None or "task_status" in callback or "status" in callback:
        return (callback,)
    tasks = _tasks_in(wrapped)
    if not tasks:
        raise PayloadInvalid("data: no task in it")
    return tasks


def _tasks_in(data: Json) -> tuple[Mapping[str, Json], ...]:
    found = unwrapped(data)
    if found is not None:
        return (found,)
    if isinstance(data, str):
        raise PayloadInvalid(f"data: an object is expected, not {kind_of(data)}")
    return list_objects(data, "data")


def _read_body(body: Mapping[str, Json]) -> Reading | None:
    """Read ``{code, message, request_id, data}``, or the task alone; None when it states an error instead of a task."""
    if not is_success_code(find_code(body.get("code"))):
        return None
    if "data" not in body:
        return _read_task(body) if "task_status" in body or "task_id" in body else None
    if not body["data"] and find_error(body) is not None:
        return None
    tasks = _tasks_in(body["data"])
    match len(tasks):
        case 0:
            return Reading(trouble=Trouble.NOT_VISIBLE, detail="the service has no record of the job")
        case 1:
            return _read_task(tasks[0])
        case count:
            raise PayloadInvalid(f"data: {count} tasks instead of one")


def _find_created_id(body: Mapping[str, Json]) -> ExternalId | None:
    """The id in the reply to a create; None also when it names several tasks."""
    bare = find_bare_id(body)
    if bare is not None:
        return bare
    tasks = _tasks_in(body.get("data"))
    outside = find_id(body, "task_id", "taskId", path="")
    return _find_task_id(tasks[0]) if len(tasks) == 1 else outside


def _find_task_id(task: Mapping[str, Json]) -> ExternalId | None:
    return find_id(task, "task_id", "taskId", "id", path="")


def _read_task(task: Mapping[str, Json], around: Mapping[str, Json] | None = None) -> Reading:
    """Read a task; ``around`` is its callback, which may state an error."""
    said = require_status(task, *_STATUS_FIELDS, path="")
    return read_by_status(
        Reading(external_id=_find_task_id(task), upstream_status=said),
        partial(find_status, own=STATUSES),
        succeeded=lambda reading: replace(reading, outputs=_read_outputs(task)),
        failed=lambda reading: failed(reading, _read_reason(task, find_error(around or {})), find_meaning),
        missing="no task_status",
    )


def _read_outputs(task: Mapping[str, Json]) -> tuple[Output, ...]:
    """The files of a task, without ``watermark_url`` and the parent video.

    **Source**: ``task_result.videos[]``, ``.images[]`` and, for ``result_type`` ``series``,
    ``.series_images[]``; in the newer dialect ``outputs[]``, each with its ``type``.
    """
    result, lists = unwrapped(task.get("task_result")) or {}, Lists()
    found = [
        (item, kind)
        for field, kind in _OUTPUT_LISTS
        for item in lists.objects(result.get(field), f"task_result.{field}")
    ]
    found += [
        (item, "image" if find_text(item.get("type")) == "image" else "video")
        for item in lists.objects(task.get("outputs"), "outputs")
    ]
    outputs = distinct(
        Output(
            kind=kind,
            url=url,
            mime=mime_of(url, "video/mp4" if kind == "video" else None),
            duration_s=find_seconds(item.get("duration")),
        )
        for item, kind in found
        if (url := find_url(item.get("url"))) is not None
    )
    outputs = outputs or find_outputs([*layers(task), result]) or find_outputs([result], "image")
    lists.check(outputs)
    return outputs


def _read_reason(task: Mapping[str, Json], around: UpstreamError | None) -> UpstreamError | None:
    """Why a task failed: ``task_status_msg``, without a code; the newer dialect names no field for it.

    A code is only around the task. The message there counts if the task has none.
    """
    code = around.code if around is not None else None
    own = [find_message(task.get(field)) for field in _REASONS if isinstance(task.get(field), str)]
    around_it = around.message if around is not None and code is not None else None
    message = next((text for text in (*own, around_it) if text is not None and text.lower() not in _NO_MESSAGES), None)
    if message is not None or code is not None:
        return UpstreamError(code, message)
    return find_error({"error": task.get("error")})


def _find_units(usage: Mapping[str, Json]) -> Cost | None:
    """The units deducted: ``final_unit_deduction``, in the newer dialect ``billing[]``."""
    total = exact(usage.get("final_unit_deduction"))
    charged = usage.get("billing")
    if total is None and isinstance(charged, list):
        units = [item for item in charged if isinstance(item, dict) and item.get("charge_type") == "unit"]
        amounts = [exact(item.get("amount")) for item in units]
        known = [amount for amount in amounts if amount is not None]
        total = exact(sum(known, Decimal(0))) if known and len(known) == len(charged) else None
    return None if total is None else Cost(total, "units")


def entry(
    name: str,
    path: str,
    asset: str,
    source: str,
    fields: RequestFields = UNDOCUMENTED,
    *,
    check: Callable[[Mapping[str, Json]], list[FieldProblem]] = check,
    **material: str,
) -> Entry:
    """One of the routes; ``material`` is what its sample needs besides a prompt."""
    return Entry(
        route=Route(
            name=f"kling.{name}",
            create=f"POST /transtreams/kling/v1/{path}",
            query=f"GET /transtreams/kling/v1/{path}/{{task_id}}",
            asset=asset,
            source=source,
            sample={"model_name": "kling-v3", "prompt": SAMPLE_PROMPT, **material},
            callback=True,
            callback_field="callback_url",
            poll_interval_s=10.0,
            signature="standard-webhooks",
            fields=fields,
        ),
        check=check,
        read_create=read_create,
        read_poll=read_poll,
        read_callback=read_callback,
    )


_VIDEO_PAGE = "https://anyint.ai/docs/api-reference/kling-video"
_SAMPLE_IMAGE = "https://example.com/kite.png"
_MEDIA_PAGE = "https://anyint.ai/docs/api-reference/media"

PROVIDER = Provider(
    "kling",
    (
        entry("omni-video", "videos/omni-video", "video", _VIDEO_PAGE, kling_fields.OMNI_VIDEO),
        entry("text2video", "videos/text2video", "video", _VIDEO_PAGE, kling_fields.TEXT_TO_VIDEO),
        entry(
            "image2video",
            "videos/image2video",
            "video",
            _VIDEO_PAGE,
            kling_fields.IMAGE_TO_VIDEO,
            check=check_animation,
            image=_SAMPLE_IMAGE,
        ),
        entry("image", "images/generations", "image", _MEDIA_PAGE, kling_fields.IMAGE),
        entry("omni-image", "images/omni-image", "image", _MEDIA_PAGE, kling_fields.OMNI_IMAGE),
    ),
    callback_ids=callback_ids,
    figures=FigureFields(
        finished=("updated_at", "update_time"),
        usage=("final_unit_deduction", "billing"),
        find_cost=_find_units,
    ),
)
"""The last change of an ended task is its end; in milliseconds."""
