"""Suno stems: ``/suno/vocal-removal`` (two) and ``/suno/split-stem`` (many), one query route for both.

Owns the names of the stems. In the gateway each is a route; upstream they are one, told apart by ``type``.

Source: https://docs.sunoapi.org/suno-api/get-vocal-separation-details (fields, any of them null),
…/separate-vocals-from-music-callbacks (``vocal_removal_info``);
https://docs.kie.ai/suno-api/separate-vocals-callbacks (``vocal_separation_info``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tracker.sandbox.families.suno import envelope, text_of
from tracker.sandbox.families.suno_derived import STAGES, SunoDerived, epoch_ms
from tracker.sandbox.jobs import Job, Snapshot
from tracker.sandbox.media import Media
from tracker.sandbox.routes import Context
from tracker.sandbox.wire import Answer, Call, Json

_STEMS = (
    "instrumental",
    "vocal",
    "backingVocals",
    "drums",
    "bass",
    "guitar",
    "keyboard",
    "percussion",
    "strings",
    "synth",
    "fx",
    "brass",
    "woodwinds",
)
_TWO = frozenset({"instrumental", "vocal"})
_FOUND_IN_A_SPLIT = frozenset({"vocal", "backingVocals", "drums", "bass"})
_TYPES = {"separate_vocal": _TWO, "split_stem": _FOUND_IN_A_SPLIT}


@dataclass(frozen=True, slots=True, kw_only=True)
class SunoStems(SunoDerived):
    """One of the two routes.

    Attributes:
        kind: The upstream's ``type`` if the request names none.
    """

    kind: str

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Besides missing fields, a ``type`` that is none."""
        if call.body.get("type", self.kind) not in _TYPES:
            return envelope(400, f"type must be one of {', '.join(_TYPES)}.")
        return SunoDerived.reject(self, call, context)

    def source(self, job: Job, context: Context) -> Json:
        """An id of the separation's own, and the clip."""
        return {"musicId": context.dice.draw_uuid("music", job.id), "audioId": text_of(job.request, "audioId")}

    def respond(self, snapshot: Snapshot, context: Context) -> Json:
        """Every stem that there may be; those that the song does not have are null."""
        job = snapshot.job
        found = _TYPES[str(job.request.get("type", self.kind))] if snapshot.shows_outputs else frozenset()
        response: Json = {"originUrl": None} | {f"{stem}Url": None for stem in _STEMS}
        for n, stem in enumerate(_STEMS):
            if stem in found:
                link = context.files.link(job.id, Media.MP3, n, label=stem, cut=job.script.file == "cut")
                response[f"{stem}Url"] = link
        return response

    def announce(self, job: Job, response: Json | None) -> Json:
        """Snake case, absent stems left out, ``origin_url`` empty."""
        name = "vocal_separation_info" if job.script.dialect == "kie" else "vocal_removal_info"
        if response is None:
            return {"task_id": job.id, name: None}
        stems = {_snake_case(key): url for key, url in response.items() if url is not None}
        return {"task_id": job.id, name: {"origin_url": "", **stems}}

    def spell_time(self, epoch_s: float) -> int:
        """As milliseconds."""
        return epoch_ms(epoch_s)


def _snake_case(name: str) -> str:
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)


def _route(tail: str, kind: str) -> SunoStems:
    return SunoStems(
        name=f"suno.{tail}",
        path=f"/suno/{tail}",
        query_path="/suno/query/vocal-removal",
        stages=STAGES,
        kind=kind,
        failed_status="GENERATE_AUDIO_FAILED",
        failed_message="Separation failed",
        finished_msg="vocal Removal generated successfully.",
    )


ROUTES = (_route("vocal-removal", "separate_vocal"), _route("split-stem", "split_stem"))
