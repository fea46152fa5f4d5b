"""Songs: the shape of generate, extend, upload-cover and -extend, add-vocals, replace-section and the like.

Owns the song statuses, the phases of song callbacks and where tracks stand. It must not know envelopes.

**Source**: https://docs.sunoapi.org/suno-api/get-music-generation-details for statuses and tracks;
https://anyint.ai/docs/media-and-music/music-tasks-and-webhooks for the phases;
https://docs.sunoapi.org/suno-api/generate-music-callbacks for ``error`` (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.observation import Reading, Trouble
from tracker.domain.task import Output, Reason, Stage, Status
from tracker.providers.fields import (
    distinct,
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


def _first(reading: Reading, tracks: tuple[Mapping[str, Json], ...]) -> Reading:
    return replace(
        reading,
        status=Status.RUNNING,
        stage=Stage.FIRST,
        progress=FIRST_PROGRESS,
        outputs=_outputs(tracks, [_track_url(track) for track in tracks]),
    )


def _complete(reading: Reading, tracks: tuple[Mapping[str, Json], ...]) -> Reading:
    urls = [_track_url(track) for track in tracks]
    outputs = _outputs(tracks, urls)
    missing = urls.count(None)
    detail = f"{missing} of {len(tracks)} tracks came without a file" if missing else None
    return replace(reading, status=Status.SUCCEEDED, stage=Stage.COMPLETE, outputs=outputs, detail=detail)


def _undelivered(reading: Reading, tracks: tuple[Mapping[str, Json], ...]) -> Reading:
    """The upstream could not deliver its callback; the song may be finished all the same."""
    if any(_track_url(track) for track in tracks):
        return _complete(reading, tracks)
    return replace(reading, status=Status.RUNNING, detail="the upstream could not deliver its callback")


def _query_tracks(data: Mapping[str, Json]) -> tuple[Mapping[str, Json], ...]:
    response = find_object(data, "response") or {}
    return list_objects(response.get("sunoData"), "data.response.sunoData")


def _track_url(track: Mapping[str, Json]) -> str | None:
    """A track's file: camel case in queries, snake case in callbacks; stream and image URLs are none."""
    return find_url(track.get("audioUrl")) or find_url(track.get("audio_url"))


def _outputs(tracks: tuple[Mapping[str, Json], ...], urls: list[str | None]) -> tuple[Output, ...]:
    return distinct(
        Output(
            kind="audio",
            url=url,
            mime=mime_of(url, "audio/mpeg"),
            title=find_text(track.get("title"), 300),
            duration_s=find_seconds(track.get("duration")),
        )
        for track, url in zip(tracks, urls, strict=True)
        if url is not None
    )
