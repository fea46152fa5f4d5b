"""OpenAI-style video objects: ``{id, object: "video", status, progress, error, …}``, as several families speak them.

Owns the statuses and where URL and error stand. It must not know where a family keeps its videos: what stands in
for a missing URL is handed in.

**Source**: https://developers.openai.com/api/reference/python/resources/videos/methods/retrieve for the object and
its statuses; gateways that build on it add ``task_id`` and ``metadata.url`` (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.observation import Reading, Trouble
from tracker.domain.task import ExternalId, Output, Status, UpstreamError
from tracker.providers.answers import find_error, read_creation, read_status
from tracker.providers.fields import (
    find_code,
    find_id,
    find_object,
    find_seconds,
    find_text,
    find_url,
    mime_of,
    require_status,
)
from tracker.providers.meanings import FindMeaning, failed

if TYPE_CHECKING:
    from tracker.domain.wire import WireReply
    from tracker.providers.base import Json

STATUSES = {
    "queued": Status.PENDING,
    "in_progress": Status.RUNNING,  # also with 100 %
    "completed": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "expired": Status.FAILED,
    "cancelled": Status.FAILED,
    "canceled": Status.FAILED,
}
"""``status``; ``expired`` and ``cancelled`` were seen in clients only."""
_WORDLESS_ENDS = frozenset({"expired", "cancelled", "canceled"})
_FULL = 100

FallBack = Callable[[ExternalId], Output]
"""Where a finished video lies when its object names no URL."""


def read_create(reply: WireReply, *, find: FindMeaning, fall_back: FallBack | None = None) -> Reading:
    """Read the answer to a create."""
    return read_creation(reply, partial(_read_body, find=find, fall_back=fall_back), find, _find_video_id)


def read_poll(reply: WireReply, *, find: FindMeaning, fall_back: FallBack | None = None) -> Reading:
    """Read the answer to a poll."""
    return read_status(reply, partial(_read_body, find=find, fall_back=fall_back), find)


def _read_body(body: Mapping[str, Json], *, find: FindMeaning, fall_back: FallBack | None) -> Reading | None:
    """Read a video object, also one under ``data``; None when the body states an error instead."""
    inner = find_object(body, "data")
    video = inner if "status" not in body and inner is not None and "status" in inner else body
    said = require_status(video, "status", path="")
    external_id = find_id(body, "id", "task_id", path="") or find_id(video, "id", "task_id", path="data.")
    if said is None and (external_id is None or find_error(body) is not None):
        return None
    reading = Reading(external_id=external_id, upstream_status=said)
    if said is None:
        return replace(reading, trouble=Trouble.UNREADABLE, detail="no status")
    value = said.lower()
    status = STATUSES.get(value)
    match status:
        case None:
            return replace(reading, trouble=Trouble.UNKNOWN_STATUS)
        case Status.SUCCEEDED:
            output = _find_output(body)
            if output is None and fall_back is not None and external_id is not None:
                output = fall_back(external_id)
            return replace(reading, status=status, outputs=() if output is None else (_with_length(output, video),))
        case Status.FAILED:
            detail = f"{value} upstream" if value in _WORDLESS_ENDS else None
            return failed(replace(reading, detail=detail), _read_failure(video), find)
        case Status.RUNNING:
            return replace(reading, status=status, progress=_find_progress(video))
        case _:
            return replace(reading, status=status)


def _find_video_id(body: Mapping[str, Json]) -> ExternalId | None:
    inner = find_object(body, "data") or {}
    return find_id(body, "id", "task_id", path="") or find_id(inner, "id", "task_id", path="data.")


def _find_output(body: Mapping[str, Json]) -> Output | None:
    """The URL where a gateway gives one: ``metadata.url``, ``data.url`` or ``url``."""
    holders = (find_object(body, "metadata") or {}, find_object(body, "data") or {}, body)
    url = next((url for holder in holders if (url := find_url(holder.get("url")))), None)
    return None if url is None else Output(kind="video", url=url, mime=mime_of(url, "video/mp4"))


def _with_length(output: Output, video: Mapping[str, Json]) -> Output:
    return replace(output, duration_s=find_seconds(video.get("seconds")))


def _read_failure(video: Mapping[str, Json]) -> UpstreamError | None:
    """``error`` as an object or a text; a failure may come without either."""
    error = video.get("error")
    if isinstance(error, Mapping):
        return UpstreamError(find_code(error.get("code")), find_text(error.get("message")))
    words = find_text(error)
    return None if words is None else UpstreamError(message=words)


def _find_progress(video: Mapping[str, Json]) -> int | None:
    progress = find_seconds(video.get("progress"))
    return None if progress is None else min(int(progress), _FULL)
