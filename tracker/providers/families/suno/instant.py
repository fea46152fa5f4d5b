"""The synchronous Suno routes: styles, timestamped lyrics and personas, each with its own condition of success.

Owns the field of each result, a text or an id. Nothing can be polled, not even with a ``taskId`` in the reply.

**Source**: https://docs.sunoapi.org/suno-api/boost-music-style, …/get-timestamped-lyrics and …/generate-persona;
that ``successFlag`` 2 means failed here was seen in a copy of the first (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.observation import Reading
from tracker.domain.task import Status
from tracker.providers.families.suno.codes import find_task_meaning
from tracker.providers.families.suno.envelope import task_error
from tracker.providers.reading.error_meanings import failed
from tracker.providers.reading.error_shapes import is_success_code
from tracker.providers.reading.fields import find_code, find_id, find_object, find_text
from tracker.providers.reading.outputs import find_text_output, json_output
from tracker.providers.reading.replies import ReadBody

if TYPE_CHECKING:
    from tracker.providers.route import Json

_STYLE_PENDING = frozenset({"0", "PENDING"})
_STYLE_FAILED = frozenset({"2", "FAILED"})


def _of_data(read_data: Callable[[Mapping[str, Json]], Reading]) -> ReadBody:
    """The reader of a body with a result in its ``data``."""

    def read_body(body: Mapping[str, Json]) -> Reading | None:
        data = find_object(body, "data")
        return None if data is None or not is_success_code(find_code(body.get("code"))) else read_data(data)

    return read_body


def _style(data: Mapping[str, Json]) -> Reading:
    """``data.result``, unless ``successFlag`` is 2 (failed) or 0 (not done, and cannot be polled)."""
    flag = (find_code(data.get("successFlag")) or "").upper()
    reading = Reading(external_id=find_id(data, "taskId", "task_id", path="data."), upstream_status=flag or None)
    if flag in _STYLE_FAILED:
        return failed(reading, task_error(data), find_task_meaning)
    if flag in _STYLE_PENDING:
        return replace(reading, detail="a style that is not ready and cannot be polled")
    output = find_text_output(data.get("result"))
    return replace(reading, status=Status.SUCCEEDED, outputs=() if output is None else (output,))


def _timestamps(data: Mapping[str, Json]) -> Reading:
    """The words of the lyrics with their seconds, as JSON."""
    words = data.get("alignedWords", data.get("aligned_words"))
    if not isinstance(words, list):
        return Reading(detail="no data.alignedWords in it")
    if not words:
        return failed(Reading(detail="a song without lyrics to align"), None, find_task_meaning)
    return Reading(status=Status.SUCCEEDED, outputs=(json_output(words, "alignedWords"),))


def _persona(data: Mapping[str, Json]) -> Reading:
    """The id of a persona, for later songs."""
    persona = find_text(data.get("personaId") or data.get("persona_id"), 512)
    output = find_text_output(persona, find_text(data.get("name"), 300))
    return Reading(status=Status.SUCCEEDED, outputs=() if output is None else (output,))


read_style, read_timestamps, read_persona = map(_of_data, (_style, _timestamps, _persona))
