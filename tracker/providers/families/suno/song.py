"""Songs: the shape of generate, extend, upload-cover and -extend, add-vocals, replace-section and the like.

Owns the song statuses, the phases of song callbacks and the fields of tracks. Must not know envelopes.

**Source**: https://docs.sunoapi.org/suno-api/get-music-generation-details for statuses and tracks;
https://anyint.ai/docs/media-and-music/music-tasks-and-webhooks for the phases;
https://docs.sunoapi.org/suno-api/generate-music-callbacks for ``error`` (read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.lenient_json.decoder import decode_text
from tracker.domain.observation import Reading, Trouble
from tracker.domain.task import Output, Stage, Status
from tracker.providers.families.suno.envelope import UNDELIVERED, read_by_task_status
from tracker.providers.reading.envelopes import layers, object_in
from tracker.providers.reading.fields import (
    find_seconds,
    find_text,
    find_url,
    list_objects,
    mime_of,
    require_status,
)
from tracker.providers.reading.outputs import find_outputs

if TYPE_CHECKING:
    from tracker.providers.route import Json

FIRST_PROGRESS = 50
"""One of the two tracks that a song comes in is ready."""

_FILES = ("audioUrl", "audio_url", "audio", "song_url", "songUrl", "mp3_url", "mp3Url", "cld2AudioUrl", "url")
_LISTS = ("sunoData", "suno_data", "data", "clips", "tracks", "songs", "sunoTracks")
_FAILED_TRACKS = frozenset({"error", "failed", "fail"})
_NO_FILE = re.compile(r"/(?:None|null|undefined|nan)?(?:\.(?:mp3|wav|m4a|mp4))?(?:[?#].*)?$", re.IGNORECASE)
"""File names that programs write for a missing file."""
_TEXT, _FIRST = "TEXT_SUCCESS", "FIRST_SUCCESS"
STATUSES = {"GENERATE_AUDIO_FAILED": Status.FAILED, _TEXT: Status.RUNNING, _FIRST: Status.RUNNING}


def read_task(data: Mapping[str, Json]) -> Reading:
    """Read a song's ``data`` from the reply to a query."""
    said = require_status(data, "status", "state", path="data.")
    value = (said or "").upper()

    def with_tracks(reading: Reading) -> Reading:
        return _complete(reading, _query_tracks(data), None if value == UNDELIVERED else data)

    def with_stage(reading: Reading) -> Reading:
        if value == _FIRST:
            return _first(reading, _query_tracks(data))
        return replace(reading, stage=Stage.TEXT) if value == _TEXT else reading

    return read_by_task_status(data, said, STATUSES, succeeded=with_tracks, unfinished=with_stage)


def read_callback_data(phase: str | None, inner: Mapping[str, Json]) -> Reading:
    """Read a song callback that states no failure."""
    match phase:
        case None if isinstance(inner.get("status") or inner.get("state"), str):
            return read_task(inner)  # a callback in the form of a query's reply
        case None:
            return Reading(trouble=Trouble.UNREADABLE, detail="no callbackType")
        case "text":
            return Reading(status=Status.RUNNING, stage=Stage.TEXT)
        case "first":
            return _first(Reading(), _callback_tracks(inner))
        case "complete" | "success":
            return _complete(Reading(), _callback_tracks(inner))
        case _:
            return Reading(trouble=Trouble.UNKNOWN_STATUS)


def _callback_tracks(inner: Mapping[str, Json]) -> Sequence[Mapping[str, Json]]:
    return find_tracks(inner) or list_objects(inner.get("data"), "data.data")


def _first(reading: Reading, tracks: Sequence[Mapping[str, Json]]) -> Reading:
    outputs, _ = _outputs(tracks)
    return replace(reading, status=Status.RUNNING, stage=Stage.FIRST, progress=FIRST_PROGRESS, outputs=outputs)


def _complete(
    reading: Reading, tracks: Sequence[Mapping[str, Json]], data: Mapping[str, Json] | None = None
) -> Reading:
    outputs, missing = _outputs(tracks)
    if not tracks and data is not None:
        outputs = find_outputs(list(layers(data)), "audio")
    detail = f"{missing} of {len(tracks)} tracks have no file" if missing else None
    return replace(reading, status=Status.SUCCEEDED, stage=Stage.COMPLETE, outputs=outputs, detail=detail)


def _query_tracks(data: Mapping[str, Json]) -> Sequence[Mapping[str, Json]]:
    """The tracks in ``response`` (an object, or JSON in a text), or in the fields of other gateways.

    **Source**: https://docs.crazyrouter.com/audio/suno/query (read 2026-11) for ``data`` as the list itself.

    Raises:
        PayloadInvalid: there are none, and their field is not a list.
    """
    response = data.get("response")
    found = find_tracks(response) or find_tracks({**data, "response": None})
    return found or list_objects((object_in(response) or {}).get("sunoData"), "data.response.sunoData")


def find_tracks(value: Json, depth: int = 4) -> Sequence[Mapping[str, Json]]:
    """The tracks in a list, in an object around it or by their ids, or in JSON in a text; also a single one."""
    if isinstance(value, str):
        value = decode_text(value)
    if isinstance(value, list):
        return list_objects(value, "")
    if not isinstance(value, dict) or not depth:
        return ()
    for name in _LISTS:
        if (inner := value.get(name)) and (found := find_tracks(inner, depth - 1)):
            return found
    if any(value.get(name) for name in _FILES):
        return (value,)
    values = list(value.values())
    return tuple(values) if values and all(isinstance(track, dict) and _track_url(track) for track in values) else ()


def _track_url(track: Mapping[str, Json]) -> str | None:
    """A track's file: camel case in queries, snake case in callbacks; stream and image URLs are not files.

    Nor is ``source_audio_url``: the documents call it the original file and ``audio_url`` the generated one, so it may
    be an uploaded song. A track without ``audio_url`` is not finished.
    **Source**: https://docs.kie.ai/suno-api/upload-and-cover-audio-callbacks (read 2026-11).
    """
    if (status := track.get("status")) and (find_text(status, 40) or "").lower() in _FAILED_TRACKS:
        return None
    for name in _FILES:
        if (value := track.get(name)) and (url := find_url(value)) is not None and _names_file(url):
            return url
    return None


def _names_file(url: str) -> bool:
    """Whether a URL does not end in a name of `_NO_FILE`."""
    is_path = "?" not in url and "#" not in url
    return _NO_FILE.search(url, url.rfind("/") if is_path else 0) is None


def _outputs(tracks: Sequence[Mapping[str, Json]]) -> tuple[tuple[Output, ...], int]:
    """The files of the tracks, each once, and the number of tracks without one."""
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
