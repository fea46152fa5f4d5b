"""Songs: the shape of generate, extend, upload-cover and -extend, add-vocals, replace-section and the like.

Owns the song statuses, the phases of song callbacks and where tracks stand. It must not know envelopes.

**Source**: https://docs.sunoapi.org/suno-api/get-music-generation-details for statuses and tracks;
https://anyint.ai/docs/media-and-music/music-tasks-and-webhooks for the phases;
https://docs.sunoapi.org/suno-api/generate-music-callbacks for ``error`` (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.observation import Reading, Trouble
from tracker.domain.task import Output, Reason, Stage, Status
from tracker.providers.fields import (
    find_object,
    find_seconds,
    find_text,
    find_url,
    list_objects,
    mime_of,
    require_status,
)
from tracker.providers.meanings import failed
from tracker.providers.suno.codes import find_task_meaning
from tracker.providers.suno.envelope import task_error

if TYPE_CHECKING:
    from tracker.providers.base import Json

FIRST_PROGRESS = 50
"""One of the two tracks that a song comes in is ready."""

_SENSITIVE = "SENSITIVE_WORD_ERROR"
_FAILURES = frozenset({"CREATE_TASK_FAILED", "GENERATE_AUDIO_FAILED", _SENSITIVE})


def read_task(data: Mapping[str, Json]) -> Reading:
    """Read a song's ``data`` from the answer to a query."""
    said = require_status(data, "status", path="data.")
    reading = Reading(upstream_status=said)
    if said is None:
        return replace(reading, trouble=Trouble.UNREADABLE, detail="no data.status")
    value = said.upper()
    if value in _FAILURES:
        ended = failed(reading, task_error(data), find_task_meaning)
        policy = replace(ended, reason=Reason.POLICY_REJECTED, retryable=False)
        return policy if value == _SENSITIVE else ended
    match value:
        case "PENDING":
            return replace(reading, status=Status.PENDING)
        case "TEXT_SUCCESS":
            return replace(reading, status=Status.RUNNING, stage=Stage.TEXT)
        case "FIRST_SUCCESS":
            return _first(reading, _query_tracks(data))
        case "SUCCESS":
            return _complete(reading, _query_tracks(data))
        case "CALLBACK_EXCEPTION":
            return _undelivered(reading, _query_tracks(data))
        case _:
            return replace(reading, trouble=Trouble.UNKNOWN_STATUS)


def read_news(phase: str | None, inner: Mapping[str, Json]) -> Reading:
    """Read a song callback that tells of no failure."""
    match phase:
        case None:
            return Reading(trouble=Trouble.UNREADABLE, detail="no callbackType")
        case "text":
            return Reading(status=Status.RUNNING, stage=Stage.TEXT)
        case "first":
            return _first(Reading(), list_objects(inner.get("data"), "data.data"))
        case "complete":
            return _complete(Reading(), list_objects(inner.get("data"), "data.data"))
        case _:
            return Reading(trouble=Trouble.UNKNOWN_STATUS)


def _first(reading: Reading, tracks: Sequence[Mapping[str, Json]]) -> Reading:
    outputs, _ = _outputs(tracks)
    return replace(reading, status=Status.RUNNING, stage=Stage.FIRST, progress=FIRST_PROGRESS, outputs=outputs)


def _complete(reading: Reading, tracks: Sequence[Mapping[str, Json]]) -> Reading:
    outputs, missing = _outputs(tracks)
    detail = f"{missing} of {len(tracks)} tracks came without a file" if missing else None
    return replace(reading, status=Status.SUCCEEDED, stage=Stage.COMPLETE, outputs=outputs, detail=detail)


def _undelivered(reading: Reading, tracks: Sequence[Mapping[str, Json]]) -> Reading:
    """The upstream could not deliver its callback; the song may be finished all the same."""
    if any(_track_url(track) for track in tracks):
        return _complete(reading, tracks)
    return replace(reading, status=Status.RUNNING, detail="the upstream could not deliver its callback")


def _query_tracks(data: Mapping[str, Json]) -> Sequence[Mapping[str, Json]]:
    response = find_object(data, "response") or {}
    return list_objects(response.get("sunoData"), "data.response.sunoData")


def _track_url(track: Mapping[str, Json]) -> str | None:
    """A track's file: camel case in queries, snake case in callbacks; stream and image URLs are none."""
    in_query, in_callback = track.get("audioUrl"), track.get("audio_url")
    return (find_url(in_query) if in_query else None) or (find_url(in_callback) if in_callback else None)


def _outputs(tracks: Sequence[Mapping[str, Json]]) -> tuple[tuple[Output, ...], int]:
    """The files of the tracks, each once, and how many tracks came without one."""
    by_url: dict[str, Output] = {}
    missing = 0
    for track in tracks:
        url = _track_url(track)
        if url is None:
            missing += 1
        elif url not in by_url:
            title, duration_s = find_text(track.get("title"), 300), find_seconds(track.get("duration"))
            by_url[url] = Output("audio", url, mime_of(url, "audio/mpeg"), title, duration_s)
    return tuple(by_url.values()), missing
