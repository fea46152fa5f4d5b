"""DashScope: asynchronous video synthesis, followed by polls, or by EventBridge events where they are set up.

Owns DashScope's field names and statuses, and the list of its routes; ``image`` has the synchronous one.

**Source**: https://anyint.ai/docs/api-reference/media for the routes, the reply to a create and
``output.video_url``; https://www.alibabacloud.com/help/en/model-studio/manage-asynchronous-tasks for statuses
and results; https://help.aliyun.com/en/model-studio/error-code-start for error codes;
https://help.aliyun.com/en/model-studio/async-task-api for events (all read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.observation import Reading
from tracker.domain.task import ExternalId, Output, Status, UpstreamError
from tracker.errors import FieldProblem, PayloadInvalid
from tracker.providers.families.dashscope import fields, image
from tracker.providers.families.dashscope.codes import find_meaning
from tracker.providers.provider import Entry, Provider
from tracker.providers.reading.envelopes import layers, unwrapped
from tracker.providers.reading.error_meanings import failed
from tracker.providers.reading.error_shapes import find_error, find_message
from tracker.providers.reading.fields import (
    Lists,
    distinct,
    find_code,
    find_id,
    find_object,
    find_seconds,
    find_text,
    find_url,
    mime_of,
    require_object,
    require_status,
)
from tracker.providers.reading.figures import CHINA, FigureFields
from tracker.providers.reading.outputs import find_outputs
from tracker.providers.reading.replies import read_creation, read_status
from tracker.providers.reading.requests import create_call, object_problem, optional_text_problem, text_problem
from tracker.providers.reading.statuses import find_status, read_by_status
from tracker.providers.reading.video_objects import read_any
from tracker.providers.route import SAMPLE_PROMPT, Route

if TYPE_CHECKING:
    from tracker.domain.upstream_http import WireReply
    from tracker.providers.route import Json

RETENTION_S = 86400.0
"""How long task data is stored; afterwards its status is UNKNOWN."""

STATUSES = {
    "pending": Status.PENDING,
    "suspended": Status.PENDING,
    "running": Status.RUNNING,
    "succeeded": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "canceled": Status.FAILED,
    "cancelled": Status.FAILED,
}
"""``output.task_status`` in any case; SUSPENDED is not in current documents and does not end a task."""
_IDS = ("task_id", "taskId")
_REASONS = ("message", "msg", "error_message", "fail_reason", "failReason", "error")
_MATERIAL = ("_url", "_urls", "media")
"""Ends of the names of ``input`` fields with pictures, sounds or videos."""
_CANCELED = frozenset({"CANCELED", "CANCELLED"})
_UNKNOWN = "UNKNOWN"


def check_video(request: Mapping[str, Json]) -> list[FieldProblem]:
    """Find what a video request lacks.

    ``input.prompt`` is documented as required, but models that animate or dub material (``img_url``, ``audio_url`` and
    others) also work without it. So it is only required without material; the upstream decides.
    """
    problems = text_problem(request, "model")
    given = request.get("input")
    if not isinstance(given, Mapping):
        return [*problems, *object_problem(request, "input")]
    has_material = any(value for key, value in given.items() if key.endswith(_MATERIAL))
    problems += (optional_text_problem if has_material else text_problem)(request, "input", "prompt")
    for field in ("img_url", "audio_url"):
        problems += optional_text_problem(request, "input", field)
    return problems + ([] if request.get("parameters") is None else object_problem(request, "parameters"))


def read_create(reply: WireReply) -> Reading:
    """Read the reply to a create: the id is ``output.task_id``, not ``request_id``."""
    return read_creation(reply, partial(_read_body, asset="video"), find_meaning, _find_task_id, is_wrapped=True)


def read_poll(reply: WireReply) -> Reading:
    """Read the reply to a poll."""
    read, read_otherwise = partial(_read_body, asset="video"), partial(read_any, find=find_meaning)
    return read_status(reply, read, find_meaning, is_wrapped=True, read_otherwise=read_otherwise)


def read_event(body: Json) -> Reading:
    """Read an EventBridge event: state and id, and the result of those products that include it."""
    data = require_object(require_object(body, "body").get("data"), "data")
    result = find_object(find_object(data, "output_result") or {}, "output")
    return _read_task(data, result or {}, path="data.", asset="video")


def event_ids(body: Json) -> tuple[ExternalId, ...]:
    """The task id of an event, ``data.task_id``; its own ``id`` names the event."""
    data = require_object(require_object(body, "body").get("data"), "data")
    found = find_id(data, "task_id", path="data.")
    if found is None:
        raise PayloadInvalid("data.task_id: missing")
    return (found,)


def _find_task_id(body: Mapping[str, Json]) -> ExternalId | None:
    output = unwrapped(body.get("output"))
    return find_id(body if output is None else output, *_IDS, path="output.")


def _read_body(body: Mapping[str, Json], *, asset: str) -> Reading | None:
    """Read ``{output, usage}``, or the content of ``output`` alone, as some gateways write it."""
    output = unwrapped(body.get("output"))
    if output is None and body.get("output") is None and any(name in body for name in _IDS):
        output = body
    elif body.get("output") is None or (not output and find_error(body) is not None):
        return None
    task = require_object(output if output is not None else body["output"], "output")
    reading = _read_task(task, task, path="output.", asset=asset, around=body if output is not body else None)
    seconds = _length_of(unwrapped(body.get("usage")) or {})
    if len(reading.outputs) == 1 and seconds:
        return replace(reading, outputs=(replace(reading.outputs[0], duration_s=seconds),))
    return reading


def _length_of(usage: Mapping[str, Json]) -> float | None:
    """The length of the video in ``usage``; None where that has only the billed length.

    **Source**: https://help.aliyun.com/en/model-studio (reference-to-video, read 2026-11): ``duration`` is what is
    billed, ``input_video_duration`` and ``output_video_duration`` together; without an input it is the video's length.
    """
    own = find_seconds(usage.get("output_video_duration")) or find_seconds(usage.get("video_duration"))
    return own or (None if find_seconds(usage.get("input_video_duration")) else find_seconds(usage.get("duration")))


def _read_task(
    task: Mapping[str, Json],
    result: Mapping[str, Json],
    *,
    path: str,
    asset: str,
    around: Mapping[str, Json] | None = None,
) -> Reading:
    """Read the object with status and id, and the one with outputs or error; in a poll both are one.

    ``around`` may state an error beside ``output``, which counts for a failed task without its own.
    """
    said = require_status(task, "task_status", "taskStatus", "status", "state", path=path)
    reading = Reading(external_id=find_id(task, *_IDS, path=path), upstream_status=said)
    value = (said or "").upper()
    if value == _UNKNOWN:
        return replace(
            reading,
            expired_after_s=RETENTION_S,
            detail="upstream status UNKNOWN: no such task, or it was deleted after 24 hours",
        )

    def with_outputs(reading: Reading) -> Reading:
        outputs, detail = _read_outputs(result, asset)
        return replace(reading, outputs=outputs, detail=detail)

    def with_error(reading: Reading) -> Reading:
        message = next((found for field in _REASONS if (found := find_message(result.get(field)))), None)
        error = UpstreamError(find_code(result.get("code")), message)
        detail = "canceled upstream" if value in _CANCELED else None
        stated = error if error.code or message else find_error(around or {})
        return failed(replace(reading, detail=detail), stated, find_meaning)

    find = partial(find_status, own=STATUSES)
    return read_by_status(reading, find, succeeded=with_outputs, failed=with_error, missing=f"no {path}task_status")


def _read_outputs(result: Mapping[str, Json], asset: str) -> tuple[tuple[Output, ...], str | None]:
    """The outputs, and a detail about the failed items of a multi-result task.

    **Source**: ``video_url``; ``output_video_url`` of ``video-style-transform``
    (https://help.aliyun.com/en/model-studio/video-style-transform-api-reference); ``results.video_url`` of some models;
    ``results[].url`` of multi-result tasks, where a failed item has ``code`` and ``message`` instead.
    """
    urls = [find_url(result.get("output_video_url")) or find_url(result.get("video_url"))]
    results = result.get("results")
    failures: list[str] = []
    lists = Lists()
    count = 0
    if isinstance(results, Mapping):
        urls.append(find_url(results.get("video_url")) or find_url(results.get("url")))
    else:
        items = lists.objects(results, "output.results")
        count = len(items)
        for item in items:
            urls.append(find_url(item.get("url")))
            if urls[-1] is None:
                parts = (find_code(item.get("code")), find_text(item.get("message"), 200))
                failures.append(" ".join(part for part in parts if part) or "no file")
    mime = "video/mp4" if asset == "video" else None
    outputs = distinct(Output(kind=asset, url=url, mime=mime_of(url, mime)) for url in urls if url)
    outputs = outputs or find_outputs(list(layers(result)), asset)
    lists.check(outputs)
    detail = f"{len(failures)} of {count} results failed: {'; '.join(failures[:3])}" if failures else None
    return outputs, detail


PROVIDER = Provider(
    "dashscope",
    (
        Entry(
            route=Route(
                name="dashscope.video",
                create="POST /dashscope/v1/services/aigc/video-generation/video-synthesis",
                query="GET /dashscope/v1/tasks/{task_id}",
                asset="video",
                source="https://anyint.ai/docs/api-reference/media",
                sample={"model": "wan2.5-t2v-preview", "input": {"prompt": SAMPLE_PROMPT}},
                poll_interval_s=15.0,
                fields=fields.VIDEO,
            ),
            check=check_video,
            create_request=partial(create_call, headers=(("X-DashScope-Async", "enable"),)),
            read_create=read_create,
            read_poll=read_poll,
            read_callback=read_event,
        ),
        image.ENTRY,
    ),
    callback_ids=event_ids,
    figures=FigureFields(finished=("end_time",), zone=CHINA),
)
"""Times name no zone and are China's: in the documented event ``end_time`` is eight hours after the event's own
``time``."""
