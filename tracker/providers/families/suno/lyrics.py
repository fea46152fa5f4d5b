"""Lyrics: tasks whose result is text.

Owns the lyrics statuses, the phases of their callbacks and the fields of the texts. Success is at least one text; no
URL is expected. Must not know envelopes.

**Source**: https://docs.sunoapi.org/suno-api/get-lyrics-generation-details for statuses and ``lyricsData``;
https://docs.kie.ai/suno-api/get-lyrics-task-details for ``data`` instead, and the sibling callback pages (read
2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.lenient_json.decoder import decode_text
from tracker.domain.observation import Reading, Trouble
from tracker.domain.task import Output, Status, UpstreamError
from tracker.providers.families.suno.codes import find_task_meaning
from tracker.providers.families.suno.envelope import read_by_task_status
from tracker.providers.reading.envelopes import object_in
from tracker.providers.reading.error_meanings import failed
from tracker.providers.reading.fields import Lists, distinct, find_text, list_objects, require_status
from tracker.providers.reading.outputs import find_text_output

if TYPE_CHECKING:
    from tracker.providers.route import Json

_LISTS = ("lyricsData", "lyrics_data", "data", "lyrics", "clips")
_TEXTS = ("text", "lyric", "lyrics", "content")
STATUSES = {"GENERATE_LYRICS_FAILED": Status.FAILED}


def read_task(data: Mapping[str, Json]) -> Reading:
    """Read the ``data`` of lyrics from the reply to a query."""
    said = require_status(data, "status", "state", path="data.")
    return read_by_task_status(data, said, STATUSES, succeeded=lambda reading: _complete(reading, _query_items(data)))


def read_callback_data(phase: str | None, inner: Mapping[str, Json]) -> Reading:
    """Read a lyrics callback that states no failure."""
    match phase:
        case None if isinstance(inner.get("status") or inner.get("state"), str):
            return read_task(inner)  # a callback in the form of a query's reply
        case None:
            return Reading(trouble=Trouble.UNREADABLE, detail="no callbackType")
        case "complete" | "success":
            return _complete(Reading(), _find_items(inner) or list_objects(inner.get("data"), "data.data"))
        case "text" | "first":
            return Reading(status=Status.RUNNING)
        case _:
            return Reading(trouble=Trouble.UNKNOWN_STATUS)


def _complete(reading: Reading, items: tuple[Mapping[str, Json], ...]) -> Reading:
    """A finished task: its texts; failed when the status of every text is."""
    outputs = _outputs(items)
    failures = [item for item in items if _is_failed(item)]
    if failures and len(failures) == len(items):
        messages = (find_text(item.get(name)) for item in failures for name in ("errorMessage", "error_message"))
        return failed(reading, UpstreamError(message=next(filter(None, messages), None)), find_task_meaning)
    detail = f"{len(failures)} of {len(items)} texts failed" if failures else None
    return replace(reading, status=Status.SUCCEEDED, outputs=outputs, detail=detail)


def _outputs(items: tuple[Mapping[str, Json], ...]) -> tuple[Output, ...]:
    found = (
        next(
            (text for name in _TEXTS if (text := find_text_output(item.get(name), find_text(item.get("title"), 300)))),
            None,
        )
        for item in items
        if not _is_failed(item)
    )
    return distinct(output for output in found if output is not None)


def _query_items(data: Mapping[str, Json]) -> tuple[Mapping[str, Json], ...]:
    response, lists = object_in(data.get("response")) or {}, Lists()
    items = _find_items(data.get("response")) or _find_items({**data, "response": None})
    for name in ("lyricsData", "data"):
        lists.objects(response.get(name), f"data.response.{name}")
    lists.check(items)
    return items


def _find_items(value: Json, depth: int = 4) -> tuple[Mapping[str, Json], ...]:
    """The texts in a list, in an object around it, or in JSON in a text; also a single one."""
    if isinstance(value, str):
        value = decode_text(value)
    if isinstance(value, list):
        return tuple(
            {"text": item} if isinstance(item, str) else item for item in value if isinstance(item, (str, dict))
        )
    if not isinstance(value, dict) or not depth:
        return ()
    for name in _LISTS:
        if (inner := value.get(name)) and (found := _find_items(inner, depth - 1)):
            return found
    return (value,) if any(isinstance(value.get(name), str) and value[name].strip() for name in _TEXTS) else ()


def _is_failed(item: Mapping[str, Json]) -> bool:
    return (find_text(item.get("status"), 40) or "").lower() in {"failed", "error", "fail"}
