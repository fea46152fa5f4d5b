"""Jobs on a finished song whose results are files: stems, WAV, MP4 and cover art.

Owns ``successFlag`` (their only status) and the fields of their files. The flag is a text; for cover art a number or a
text. The numbers of other routes have other meanings.

**Source**: https://docs.sunoapi.org/suno-api/get-vocal-separation-details, …/get-wav-conversion-details,
…/get-music-video-details and …/get-cover-suno-details for queries, the sibling ``*-callbacks`` pages for callbacks;
https://docs.kie.ai/suno-api/get-cover-suno-details for the statuses of cover art (read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.observation import Reading
from tracker.domain.task import Output, Status
from tracker.providers.families.suno.envelope import read_by_task_status
from tracker.providers.reading.envelopes import layers, object_in
from tracker.providers.reading.fields import (
    distinct,
    find_code,
    find_object,
    find_seconds,
    find_text,
    find_url,
    kind_of,
    list_objects,
    mime_of,
)
from tracker.providers.reading.outputs import find_outputs

if TYPE_CHECKING:
    from tracker.providers.route import Json

_STEMS = (
    "vocal", "instrumental", "backingVocals", "drums", "bass", "guitar", "piano", "keyboard", "percussion", "strings",
    "synth", "fx", "brass", "woodwinds",
)  # fmt: skip
"""Each as ``…Url`` in queries and ``…_url`` in callbacks; ``originUrl`` is the song that was separated."""
_STEM_HOLDERS = ("vocal_removal_info", "vocal_separation_info", "vocalRemovalInfo", "vocalSeparationInfo")
_FLAGS = ("successFlag", "success_flag", "status", "state")
_CAPITAL = re.compile(r"(?=[A-Z])")

FindOutputs = Callable[[Mapping[str, "Json"]], tuple[Output, ...]]
"""Finds the files in the object around them."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """One kind of job.

    Attributes:
        statuses: its own values of ``successFlag``.
        find_outputs: finds the files in a query's ``response`` and in a callback's ``data``.
        kind: of its files.
    """

    statuses: Mapping[str, Status]
    find_outputs: FindOutputs
    kind: str = "audio"

    def read_task(self, data: Mapping[str, Json]) -> Reading:
        """Read the ``data`` of the reply to a query.

        Raises:
            PayloadInvalid: the files are not where the contract says.
        """
        said = next((code for name in _FLAGS if (code := find_code(data.get(name)))), None)
        return read_by_task_status(
            data,
            said,
            self.statuses,
            succeeded=lambda reading: replace(reading, outputs=self._response_outputs(data)),
            missing=f"data.successFlag is {kind_of(data.get('successFlag'))}",
        )

    def read_callback_data(self, phase: str | None, inner: Mapping[str, Json]) -> Reading:
        """Read a callback that states no failure: these have no phases, so a file means success.

        Raises:
            PayloadInvalid: the files are not where the contract says.
        """
        del phase
        outputs = self.find_outputs(inner)
        if outputs:
            return Reading(status=Status.SUCCEEDED, outputs=outputs)
        return Reading(detail="a callback without a file; a poll fetches the result")

    def _response_outputs(self, data: Mapping[str, Json]) -> tuple[Output, ...]:
        found = self.find_outputs(object_in(data.get("response")) or data)
        return found or find_outputs([data, {"url": data.get("response")}, *layers(data)], self.kind)


def _find_stems(holder: Mapping[str, Json]) -> tuple[Output, ...]:
    """The stems by name; otherwise those of the advanced form, which lists them.

    **Source**: the advanced form nests ``origin_data[].extract`` and ``.remove``, newer copies list
    ``originData[]`` with ``stem_type_group_name``.
    """
    info = next((found for key in _STEM_HOLDERS if (found := find_object(holder, key)) is not None), holder)
    named = distinct(
        _audio(url, title=" ".join(_parts_of(stem)))
        for stem in _STEMS
        if (url := find_url(info.get(f"{stem}Url")) or find_url(info.get(f"{'_'.join(_parts_of(stem))}_url")))
    )
    if named:
        return named
    listed = info.get("origin_data") if info.get("origin_data") is not None else info.get("originData")
    items = [
        part
        for item in list_objects(listed, "origin_data")
        for part in (item, find_object(item, "extract"), find_object(item, "remove"))
        if part is not None
    ]
    return distinct(
        _audio(url, title=find_text(item.get("stem_type_group_name"), 100), item=item)
        for item in items
        if (url := find_url(item.get("audio_url")) or find_url(item.get("audioUrl")))
    )


def _parts_of(stem: str) -> list[str]:
    return [part.lower() for part in _CAPITAL.split(stem)]


def _audio(url: str, *, title: str | None, item: Mapping[str, Json] | None = None) -> Output:
    length = find_seconds((item or {}).get("duration"))
    return Output(kind="audio", url=url, mime=mime_of(url, "audio/mpeg"), title=title, duration_s=length)


def _find_wav(holder: Mapping[str, Json]) -> tuple[Output, ...]:
    url = find_url(holder.get("audioWavUrl")) or find_url(holder.get("audio_wav_url"))
    return () if url is None else (Output(kind="audio", url=url, mime=mime_of(url, "audio/wav")),)


def _find_mp4(holder: Mapping[str, Json]) -> tuple[Output, ...]:
    url = find_url(holder.get("videoUrl")) or find_url(holder.get("video_url"))
    return () if url is None else (Output(kind="video", url=url, mime=mime_of(url, "video/mp4")),)


def _find_images(holder: Mapping[str, Json]) -> tuple[Output, ...]:
    """Cover art: a list of plain URLs, the same in queries and callbacks."""
    images = holder.get("images")
    urls = [url for image in images if (url := find_url(image))] if isinstance(images, list) else []
    return distinct(Output(kind="image", url=url, mime=mime_of(url)) for url in urls)


STEMS = Conversion({"GENERATE_AUDIO_FAILED": Status.FAILED}, _find_stems)
WAV = Conversion({"GENERATE_WAV_FAILED": Status.FAILED}, _find_wav)
MP4 = Conversion({"GENERATE_MP4_FAILED": Status.FAILED}, _find_mp4, kind="video")
COVER_ART = Conversion(
    {
        "GENERATE_COVER_FAILED": Status.FAILED,
        "0": Status.PENDING,
        "1": Status.SUCCEEDED,
        "2": Status.RUNNING,
        "3": Status.FAILED,
    },
    _find_images,
    kind="image",
)
