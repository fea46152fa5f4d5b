"""OpenAI-style video objects: ``{id, object: "video", status, progress, error, …}``, as several providers send them.

Several makers are behind one gateway, so statuses, the fields of results and envelopes vary. Must not know where a
provider stores its videos: it passes in what replaces a missing URL.

**Source**: https://developers.openai.com/api/reference/python/resources/videos/methods/retrieve for the object and
its statuses; https://www.volcengine.com/docs/82379/1521309 for Volcengine's; https://docs.newapi.pro/api/query-video
and https://docs.newapi.pro/zh/docs/api/ai-model/videos/sora/getvideo for gateways that build on both (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.observation import Reading
from tracker.domain.task import ExternalId, Output, Status, UpstreamError
from tracker.errors import PayloadInvalid
from tracker.providers.reading.envelopes import STATUSES, TASK_IDS, find_bare_id, is_other, layers
from tracker.providers.reading.error_meanings import FindMeaning, failed
from tracker.providers.reading.error_shapes import find_error, find_message
from tracker.providers.reading.fields import find_code, find_id, find_percent, find_text, require_status
from tracker.providers.reading.figures import FigureFields, dollars_in
from tracker.providers.reading.outputs import find_outputs
from tracker.providers.reading.replies import read_creation, read_status
from tracker.providers.reading.statuses import find_status, read_by_status, spelled

if TYPE_CHECKING:
    from tracker.domain.upstream_http import WireReply
    from tracker.providers.route import Json

_IDS = ("id", *TASK_IDS)
_SILENT_ENDS = frozenset({"expired", "cancelled", "canceled", "cancel", "rejected", "aborted", "timed_out"})
_FAILURE_MESSAGES = (
    "fail_reason",
    "failReason",
    "failure_reason",
    "error_message",
    "task_status_msg",
    "message",
    "msg",
)
_REFUSALS = frozenset({"error", "fail"})
"""Statuses of an envelope whose call was refused, see https://github.com/omniti-labs/jsend; failed tasks have ids."""
_PROGRESS = ("progress", "percent", "percentage", "progress_percent", "progressPercent", "task_progress")
_OF_REQUESTS = frozenset({"prompt", "input", "model", "model_name"})
_SUCCESS_FLAGS = {"0": "generating", "1": "success", "2": "failed", "3": "failed"}
"""**Source**: https://docs.kie.ai/veo3-api/get-veo-3-video-details (read 2026-11)."""
_FLAGS = frozenset({"success", "succeed", "ok", "successful"})
"""Statuses of an envelope about the call itself, not about a task."""

VIDEO_FIGURES = FigureFields(
    finished=("completed_at", "completedAt", "finished_at", "finishedAt", "finish_time", "finishTime"),
    find_cost=dollars_in,
)
"""A time without a zone is ignored here. **Source**: ``completed_at`` is OpenAI's, ``finish_time`` that of gateways
of the new-api family, see above."""

FallBack = Callable[[ExternalId], Output]
"""The file of a finished video whose object has no URL."""


def read_create(reply: WireReply, *, find: FindMeaning, fall_back: FallBack | None = None) -> Reading:
    """Read the reply to a create."""
    read = partial(_read_body, find=find, fall_back=fall_back)
    return read_creation(reply, read, find, find_video_id)


def read_poll(reply: WireReply, *, find: FindMeaning, fall_back: FallBack | None = None) -> Reading:
    """Read the reply to a poll."""
    return read_status(reply, partial(_read_body, find=find, fall_back=fall_back), find)


def read_callback(body: Mapping[str, Json], *, find: FindMeaning) -> Reading:
    """Read a video object in a callback.

    A poll still fetches the end of the task: such callbacks are not documented.
    """
    reading = _read_body(body, find=find, fall_back=None)
    if reading is None or (reading.status is not None and reading.status.is_terminal):
        said = reading.upstream_status if reading is not None else None
        return Reading(
            external_id=find_video_id(body), upstream_status=said, detail="a video object; a poll fetches the result"
        )
    return reading


def read_any(body: Mapping[str, Json], *, find: FindMeaning) -> Reading | None:
    """Read a video object on any provider's route; None when the body states an error instead."""
    return _read_body(body, find=find, fall_back=None)


def find_video_id(body: Mapping[str, Json]) -> ExternalId | None:
    """The outermost id of a video or its task; also ``data`` as a bare id, and the name of an operation.

    The ``id`` of an envelope may be anything: an id beside a status and a task's id inside it come first.

    **Source**: https://docs.newapi.pro/api/suno-music for the bare id; https://ai.google.dev/api/batch-api#operation
    for the name (read 2026-11).
    """
    return _find_id([layer for layer in layers(body) if not is_other(layer)])


def _find_id(found: list[Mapping[str, Json]]) -> ExternalId | None:
    tasks = [layer for layer in found if any(isinstance(layer.get(name), str) for name in STATUSES)]
    for names, candidates in ((_IDS, tasks), (TASK_IDS, found), (_IDS, found)):
        for layer in candidates:
            external_id = find_id(layer, *names, path="" if layer is found[0] else "data.")
            if external_id is not None:
                return external_id
    others = (find_operation(layer) or find_bare_id(layer) for layer in found)
    return next((other for other in others if other is not None), None)


def find_operation(layer: Mapping[str, Json]) -> ExternalId | None:
    """The name of a long-running operation of Google's, ``models/veo/operations/abc``."""
    name = find_text(layer.get("name"), 4096)
    return ExternalId(name) if name is not None and f"/{name}".rfind("/operations/") >= 0 else None


def _read_body(body: Mapping[str, Json], *, find: FindMeaning, fall_back: FallBack | None) -> Reading | None:
    """Read a video object, also in envelopes; None when the body states an error instead."""
    found = list(layers(body))
    said, video = _find_said(found)
    external_id = _find_id([layer for layer in found if not is_other(layer)])
    if said is None and find_error(body) is None:
        outputs = find_outputs([_finished_part(layer) for layer in found])
        if outputs:
            return Reading(status=Status.SUCCEEDED, external_id=external_id, outputs=outputs)
    if said is None and (external_id is None or find_error(body) is not None):
        return None
    if said is not None and external_id is None and spelled(said) in _REFUSALS and find_error(body) is not None:
        return None

    def with_outputs(reading: Reading) -> Reading:
        outputs = find_outputs([video, *(layer for layer in found if layer is not video)])
        if not outputs and fall_back is not None and external_id is not None:
            outputs = (fall_back(external_id),)
        return replace(reading, outputs=outputs)

    def with_error(reading: Reading) -> Reading:
        detail = f"{said.lower()} upstream" if said is not None and spelled(said) in _SILENT_ENDS else None
        return failed(replace(reading, detail=detail), _read_failure(video, found), find)

    def with_progress(reading: Reading) -> Reading:
        if reading.status is not Status.RUNNING:
            return reading
        progress = next((done for layer in (video, *found) if (done := find_progress(layer)) is not None), None)
        return replace(reading, progress=progress)

    reading = Reading(external_id=external_id, upstream_status=said)
    return read_by_status(reading, find_status, succeeded=with_outputs, failed=with_error, unfinished=with_progress)


def _finished_part(layer: Mapping[str, Json]) -> Mapping[str, Json]:
    """The fields with ``video`` in their names, which show a finished video without a status; none beside a request."""
    if not _OF_REQUESTS.isdisjoint(layer) or find_progress(layer) not in {None, 100}:
        return {}
    return {name: value for name, value in layer.items() if "video" in name.lower()}


def find_progress(layer: Mapping[str, Json]) -> int | None:
    """Progress in percent."""
    return next((done for name in _PROGRESS if (done := find_percent(layer.get(name))) is not None), None)


def _find_said(found: list[Mapping[str, Json]]) -> tuple[str | None, Mapping[str, Json]]:
    """The status that counts, and its layer: those of the outermost task.

    A success of an envelope that is about the call, and one without a file, yield to the status of a task inside.
    """
    stated, fault = [], None
    for layer in found:
        try:
            said = require_status(layer, *STATUSES, path="" if layer is found[0] else "data.") or _find_flag(layer)
        except PayloadInvalid as invalid:  # a number, as in envelopes
            fault = fault or invalid
            continue
        stated += [(said, layer)] if said is not None else []
    if not stated:
        if fault is not None:
            raise fault
        return None, found[0]
    said, layer = stated[0]
    if spelled(said) in _FLAGS and len(stated) > 1 and not find_outputs([layer]):
        inner = next(((status, task) for status, task in stated[1:] if find_status(status) is not None), None)
        return inner or (said, layer)
    return said, layer


def _find_flag(layer: Mapping[str, Json]) -> str | None:
    """The status by a flag: kie.ai's ``successFlag``, and ``done`` of Google's operations."""
    done = layer.get("done")
    if done is True:
        return "failed" if layer.get("error") else "done"
    if done is False or find_operation(layer) is not None:
        return "running"
    return _SUCCESS_FLAGS.get(find_code(layer.get("successFlag")) or "")


def _read_failure(video: Mapping[str, Json], found: list[Mapping[str, Json]]) -> UpstreamError | None:
    """``error`` as an object or a text, otherwise a message beside the status; None without either."""
    for layer in (video, *(layer for layer in found if layer is not video)):
        error = layer.get("error") or layer.get("task_error")
        if isinstance(error, Mapping) and (stated := find_error({"error": error})):
            return stated
        message = find_message(error) if isinstance(error, (str, list)) else None
        message = message or next((said for name in _FAILURE_MESSAGES if (said := find_message(layer.get(name)))), None)
        if message is not None and message.lower() not in _FLAGS:
            code = find_code(layer.get("error_code")) or find_code(layer.get("code"))
            return UpstreamError(code if code not in {"0", "200"} else None, message)
    return None
