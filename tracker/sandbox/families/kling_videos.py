"""Kling videos: ``/transtreams/kling/v1/videos/…``.

Owns the three video routes, which share everything but their paths.

Source: https://anyint.ai/docs/api-reference/kling-video (routes);
https://kling.ai/document-api/api/video/3-0-omni (``task_result.videos``).
"""

from __future__ import annotations

from dataclasses import dataclass

from tracker.sandbox.families.kling import KlingRoute
from tracker.sandbox.jobs import Snapshot, Stage
from tracker.sandbox.media import Media
from tracker.sandbox.routes import Context
from tracker.sandbox.wire import Json

_DURATION = "5"  # seconds, in a string


@dataclass(frozen=True, slots=True, kw_only=True)
class KlingVideo(KlingRoute):
    """One of the video routes."""

    result_key: str = "videos"

    def outputs(self, snapshot: Snapshot, context: Context) -> list[Json]:
        """One film, and the same with a mark, which is not the output."""
        job = snapshot.job
        cut = job.script.file == "cut"
        video: Json = {
            "id": context.dice.draw_uuid("video", job.id),
            "url": context.files.link(job.id, Media.MP4, 0, label="video", cut=cut),
            "watermark_url": context.files.link(job.id, Media.MP4, 0, label="watermarked"),
            "duration": _DURATION,
        }
        return [video]


def _route(name: str, tail: str) -> KlingVideo:
    path = f"/transtreams/kling/v1/videos/{tail}"
    return KlingVideo(
        name=name,
        path=path,
        query_path=path + "/{task_id}",
        stages=(Stage("submitted", 0.0, announced=True), Stage("processing", 0.2, announced=True)),
    )


ROUTES = (
    _route("kling.omni-video", "omni-video"),
    _route("kling.text2video", "text2video"),
    _route("kling.image2video", "image2video"),
)
