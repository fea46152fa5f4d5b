"""Suno files made from a song: ``/suno/wav-generate`` and ``/suno/mp4-generate``.

Owns their fields. A WAV of one clip is made once: asked for again it is refused with body code 409.

Source: https://docs.sunoapi.org/suno-api/get-wav-conversion-details (409 included),
…/convert-to-wav-format-callbacks, …/get-music-video-details, …/create-music-video-callbacks. That a clip whose
conversion failed may be converted again is inferred.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from tracker.sandbox.families.suno import TIME_FORMAT, envelope, text_of
from tracker.sandbox.families.suno_derived import STAGES, SunoDerived, epoch_ms
from tracker.sandbox.jobs import Job, Snapshot
from tracker.sandbox.media import Media
from tracker.sandbox.routes import Context
from tracker.sandbox.wire import Answer, Json


def _link(snapshot: Snapshot, context: Context, media: Media) -> str | None:
    job = snapshot.job
    if not snapshot.shows_outputs:
        return None
    return context.files.link(job.id, media, 0, label="song", cut=job.script.file == "cut")


@dataclass(frozen=True, slots=True, kw_only=True)
class SunoWav(SunoDerived):
    """WAV: the clip is called ``musicId`` here, and times are naive."""

    def refuse_repeat(self, body: Json, context: Context) -> Answer | None:
        """A second request for the same clip."""
        exists = self.find_earlier(body, context) is not None
        return envelope(409, "WAV record already exists") if exists else None

    def source(self, job: Job, context: Context) -> Json:
        """The clip and which of the song's two it is."""
        del context
        return {"musicId": text_of(job.request, "audioId"), "musicIndex": 0}

    def respond(self, snapshot: Snapshot, context: Context) -> Json:
        """``audioWavUrl``."""
        return {"audioWavUrl": _link(snapshot, context, Media.WAV)}

    def announce(self, job: Job, response: Json | None) -> Json:
        """Both styles in one object: ``audioWavUrl`` and ``task_id``."""
        return {"audioWavUrl": response and response["audioWavUrl"], "task_id": job.id}

    def spell_time(self, epoch_s: float) -> str:
        """Without a zone."""
        return datetime.fromtimestamp(epoch_s, UTC).strftime(TIME_FORMAT)


@dataclass(frozen=True, slots=True, kw_only=True)
class SunoMp4(SunoDerived):
    """MP4: ``videoUrl`` in the query, ``video_url`` in the callback; the callback address is optional."""

    def source(self, job: Job, context: Context) -> Json:
        """An id of the file's own, and the clip."""
        return {"musicId": context.dice.draw_uuid("music", job.id), "audioId": text_of(job.request, "audioId")}

    def respond(self, snapshot: Snapshot, context: Context) -> Json:
        """``videoUrl``."""
        return {"videoUrl": _link(snapshot, context, Media.MP4)}

    def announce(self, job: Job, response: Json | None) -> Json:
        """``video_url``."""
        return {"task_id": job.id, "video_url": response and response["videoUrl"]}

    def spell_time(self, epoch_s: float) -> int:
        """As milliseconds."""
        return epoch_ms(epoch_s)


ROUTES = (
    SunoWav(
        name="suno.wav-generate",
        path="/suno/wav-generate",
        query_path="/suno/query/wav",
        stages=STAGES,
        failed_status="GENERATE_WAV_FAILED",
        failed_message="convert failed",
    ),
    SunoMp4(
        name="suno.mp4-generate",
        path="/suno/mp4-generate",
        query_path="/suno/query/mp4",
        stages=STAGES,
        required=("taskId", "audioId"),
        failed_status="GENERATE_MP4_FAILED",
        failed_message="render failed",
        finished_msg="MP4 generated successfully.",
    ),
)
