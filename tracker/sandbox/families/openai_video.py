"""OpenAI-style video: its ids, its bytes and its deletion, which ``openai.toml`` cannot describe.

Source: https://developers.openai.com/api/reference/python/resources/videos (``/content``, deletion). Ids that encode
provider and model, and so end in padding, are LiteLLM's (its ``types/videos``). What ``/content`` answers before and
after its time is inferred.
"""

from __future__ import annotations

import base64
import time

from tracker.sandbox.interpreter import DataJobRoute
from tracker.sandbox.jobs import SUCCEEDED, Job, snapshot_at
from tracker.sandbox.media import Media
from tracker.sandbox.routes import Context, ReadRoute
from tracker.sandbox.wire import Answer, Call, Json, json_answer

_ONE = "/openai/v1/videos/{task_id}"
_VARIANTS = {"video": Media.MP4, "thumbnail": Media.PNG, "spritesheet": Media.PNG}


class OpenAIVideo(DataJobRoute):
    """Create and status."""

    __slots__ = ()

    def make_id(self, context: Context, nth: str) -> str:
        """Return a long id that holds another."""
        inner = DataJobRoute.make_id(self, context, nth)
        text = f"litellm:custom_llm_provider:openai;model_id:kling;video_id:video_{inner}"
        return "video_" + base64.b64encode(text.encode()).decode()


def _find(call: Call, context: Context) -> Job | None:
    job = context.jobs.find(call.params["task_id"])
    return job if job is not None and job.route == "openai.video" and job.script.poll != "gone" else None


def _refuse(status: int, message: str, code: str | None = None, param: str | None = None) -> Answer:
    error: Json = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return json_answer({"error": error}, status)


class VideoContent(ReadRoute):
    """The bytes; the pictures of the other variants are PNG here."""

    __slots__ = ()

    def read(self, call: Call, context: Context) -> Answer:
        """Answer with the bytes while they are there: not before the end, not after their expiry."""
        job = _find(call, context)
        if job is None:
            return _refuse(404, "Video not found", param="video_id")
        variant = call.query.get("variant", "video")
        if variant not in _VARIANTS:
            return _refuse(400, f"Invalid value: '{variant}'.", "invalid_value", "variant")
        elapsed_s = time.monotonic() - job.born_s
        snapshot = snapshot_at(job, elapsed_s)
        if snapshot.stage is not SUCCEEDED or not snapshot.shows_outputs:
            return _refuse(404, f"Video is not ready yet, use GET /v1/videos/{job.id} to check its status.")
        if elapsed_s >= job.fate.duration_s + context.files.url_ttl_s:
            return _refuse(404, "Video content has expired.")
        cut = job.script.file == "cut"
        return context.files.hand_over(job.id, _VARIANTS[variant], 0, label=variant, cut=cut)


class VideoDeletion(ReadRoute):
    """Deletion, as the client library offers it."""

    __slots__ = ()

    def read(self, call: Call, context: Context) -> Answer:
        """Remove the job."""
        job = _find(call, context)
        if job is None:
            return _refuse(404, "Video not found", param="video_id")
        context.jobs.remove(job.id)
        return json_answer({"id": job.id, "object": "video.deleted", "deleted": True})


ROUTES = (VideoContent(method="GET", path=_ONE + "/content"), VideoDeletion(method="DELETE", path=_ONE))
