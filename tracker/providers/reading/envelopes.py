"""Envelopes: the objects that gateways wrap around the object of a task, once or several times.

Owns their names and how deep they are searched. Must not know what a provider's task object looks like. Data of the
request (``input``, ``param``, Vidu's ``payload``) is not an envelope, nor is a list of several objects: it does not
show which of them was asked for.

**Source**: https://docs.newapi.pro/api/suno-music (``{code, message, data}`` around another such answer; ``data`` a
bare id); https://docs.kie.ai/market/common/get-task-detail (``resultJson``, JSON in a text); the answers of Volcengine
(``Result``), fal (``response``) and PiAPI (``data.output``) (read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from tracker.domain.lenient_json.decoder import decode_text
from tracker.domain.task import ExternalId, Status
from tracker.errors import PayloadInvalid
from tracker.providers.reading.fields import parse_id
from tracker.providers.reading.statuses import find_status

if TYPE_CHECKING:
    from tracker.providers.route import Json

ENVELOPES = (
    "data", "result", "response", "output", "task", "tasks", "job", "jobs", "video", "Result", "Data", "resultJson",
    "result_json", "Response", "Resp", "prediction", "generation",
)  # fmt: skip
TASK_IDS = (
    "task_id", "taskId", "taskID", "video_id", "videoId", "job_id", "jobId", "generation_id", "generationId",
)  # fmt: skip
"""Fields with the id of a task; ``request_id`` is that of the request. **Source**: ``task_id`` in
https://docs.newapi.pro/api/query-video, ``job_id`` in https://docs.aimlapi.com, ``generation_id`` there for Luma."""
STATUSES = (
    "status", "task_status", "taskStatus", "state", "task_state", "taskState", "job_status", "jobStatus", "job_state",
    "jobState", "video_status", "videoStatus", "generation_status", "generationStatus",
)  # fmt: skip
_OTHERS = frozenset({"list", "model", "error", "event", "chat.completion", "chat.completion.chunk"})
_MAX_LAYERS = 24
_NO_ENVELOPE = re.compile(
    r"input|param|request|payload|config|meta|origin|parent|source|previous|error|user", re.IGNORECASE
)
"""Objects with data of the request, or with something else that is not the task."""
_LEAST_NUMBER = 1000
"""A smaller number in the field of an id may mean anything."""
_BARE_ID = re.compile(r"(?![{\[])(?=\D*\d)(?:(?!://)\S)+")


def layers(body: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    """The body and the objects in its envelopes, outermost first; each envelope once."""
    found = [body]
    yield body
    for layer in found:  # grows during the loop
        for name in ENVELOPES:
            value = layer.get(name)  # nearly always None: no call for that
            inner = None if value is None else unwrapped(value)
            if inner is not None and len(found) < _MAX_LAYERS:
                found.append(inner)
                yield inner


def unwrapped(value: Json) -> Mapping[str, Json] | None:
    """The object in a value: itself, the single item of a list, or JSON in a text; None for anything else."""
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        value = decode_text(value)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, dict) else None


def object_in(value: Json) -> Mapping[str, Json] | None:
    """The same where a list holds results, not tasks: the value itself, or JSON in a text."""
    return None if isinstance(value, list) else unwrapped(value)


def find_bare_id(layer: Mapping[str, Json]) -> ExternalId | None:
    """``data`` or ``result`` as the id itself, also as the single item of a list; it has a digit in it."""
    for field in ("data", "result"):
        value = layer.get(field)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        is_number = isinstance(value, int) and not isinstance(value, bool) and value >= _LEAST_NUMBER
        if is_number or (isinstance(value, str) and _BARE_ID.fullmatch(value.strip()) is not None):
            return parse_id(value, field)
    return None


def find_task_id(found: Sequence[Mapping[str, Json]]) -> ExternalId | None:
    """The id of a task in undocumented layers, outermost first; None where the id may be that of something else."""
    own = [layer for layer in found if not is_other(layer)]
    tasks = [layer for layer in own if any(isinstance(layer.get(name), str) for name in STATUSES)]
    alive = [layer for layer in tasks if _is_alive(layer)]
    nested = [
        value
        for layer in own
        for name, value in layer.items()
        if isinstance(value, dict) and not _NO_ENVELOPE.search(name)
    ]
    inner = [layer for layer in own if layer is not found[0]]
    for names, holders in (
        (("id", *TASK_IDS), tasks),
        (TASK_IDS, [*own, *nested]),
        (("id", "_id", "uuid"), [*inner, *tasks]),
        (("request_id", "requestId"), alive),  # fal's queue has no other
    ):
        found_id = next((one for holder in holders for name in names if (one := _id_at(holder, name))), None)
        if found_id is not None:
            return found_id
    bare = next((bare for layer in own if (bare := find_bare_id(layer)) is not None), None)
    return bare or (_id_at(found[0], "id") if own[:1] == [found[0]] else None)


def _id_at(holder: Mapping[str, Json], name: str) -> ExternalId | None:
    value = holder.get(name) or holder.get(f"{name}s")
    try:
        return parse_id(value[0] if isinstance(value, list) and len(value) == 1 else value, name)
    except PayloadInvalid:
        return None


def _is_alive(layer: Mapping[str, Json]) -> bool:
    said = (layer.get(name) for name in STATUSES)
    return any(isinstance(word, str) and find_status(word) in {Status.PENDING, Status.RUNNING} for word in said)


def has_task_id(found: Iterable[Mapping[str, Json]]) -> bool:
    """Whether a layer has an id in a field that only task ids have."""
    return any(_id_at(layer, name) for layer in found for name in TASK_IDS)


def is_other(layer: Mapping[str, Json]) -> bool:
    """Whether a layer states that it is something else than a task, so that its id is not a task's."""
    return any(isinstance(kind := layer.get(name), str) and kind in _OTHERS for name in ("object", "type"))
