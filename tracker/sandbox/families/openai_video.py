"""OpenAI-style video: ``/openai/v1/videos``, its status, its bytes, its events.

Owns the video object. The bytes come from ``…/content`` and need the key; the object itself carries no URL,
unless ``dialect=new`` asks for the ``task_id`` and ``metadata.url`` that some gateways add.

Source: https://anyint.ai/docs/en/api-reference/kling-video (routes, models);
https://developers.openai.com/api/reference/python/resources/videos (object, forms, ``/content``, deletion);
https://platform.openai.com/docs/guides/webhooks (events). Ids that encode provider and model, and so end in
padding, are LiteLLM's (its ``types/videos``). What ``/content`` says before and after its time is inferred.
"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.families.openai import REJECTED, OpenAIWords, find_missing, openai_error
from tracker.sandbox.jobs import SUCCEEDED, Job, Snapshot, Stage, snapshot_at
from tracker.sandbox.media import Media
from tracker.sandbox.routes import Context, JobRoute, Notice, ReadRoute
from tracker.sandbox.signatures import sign_webhook
from tracker.sandbox.wire import Answer, Call, Json, json_answer

NAME = "openai.video"
_PATH = "/openai/v1/videos"
_ONE = _PATH + "/{video_id}"

_STATUSES = {"queued": "queued", "in_progress": "in_progress", "succeeded": "completed", "failed": "failed"}
_STRANGE = "unknown"
_EVENTS = {"completed": "video.completed", "failed": "video.failed"}
_ERRORS = MappingProxyType(
    {
        GenerationFault.POLICY: ("moderation_blocked", REJECTED),
        GenerationFault.ERROR: ("video_generation_failed", "The video could not be generated."),
        GenerationFault.INVALID: ("invalid_value", "The reference image does not match the requested size."),
    }
)
_VARIANTS = {"video": Media.MP4, "thumbnail": Media.PNG, "spritesheet": Media.PNG}


def _status(snapshot: Snapshot) -> str:
    if snapshot.strange:
        return _STRANGE
    canceled = snapshot.job.fate.fault is GenerationFault.CANCELED and snapshot.stage.name == "failed"
    return "cancelled" if canceled else _STATUSES[snapshot.stage.name]


def _not_found() -> Answer:
    return openai_error(404, "Video not found", param="video_id")


def _find(call: Call, context: Context) -> Job | None:
    job = context.jobs.find(call.params["video_id"])
    return job if job is not None and job.route == NAME and job.script.poll != "gone" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIVideo(OpenAIWords, JobRoute):
    """Create and status."""

    takes_forms: bool = True

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Want ``model`` and ``prompt``."""
        del context
        return find_missing(call.body, ("model", "prompt"))

    def make_id(self, context: Context, nth: str) -> str:
        """A long id that holds another."""
        inner = context.dice.draw_bytes(12, "id", self.name, nth).hex()
        text = f"litellm:custom_llm_provider:openai;model_id:kling;video_id:video_{inner}"
        return "video_" + base64.b64encode(text.encode()).decode()

    def accepted(self, snapshot: Snapshot, call: Call, context: Context) -> Answer:
        """The object, queued."""
        return self.shown(snapshot, call, context)

    def task_id_of(self, call: Call) -> str:
        """Return the id in the path."""
        return call.params["video_id"]

    def shown(self, snapshot: Snapshot, call: Call, context: Context) -> Answer:
        """The object."""
        del call
        job = snapshot.job
        video: Json = {
            "id": job.id,
            "object": "video",
            "model": job.request["model"],
            "status": _status(snapshot),
            "progress": snapshot.progress,
            "created_at": int(job.created_at_s),
            "completed_at": None,
            "expires_at": None,
            "prompt": job.prompt,
            "seconds": str(job.request.get("seconds", "5")),
            "size": job.request.get("size", "1280x720"),
            "remixed_from_video_id": None,
            "error": None,
        }
        if snapshot.stage is SUCCEEDED:
            finished_s = int(snapshot.updated_at_s)
            video |= {"completed_at": finished_s, "expires_at": finished_s + int(context.files.url_ttl_s)}
        if snapshot.stage.name == "failed" and job.fate.fault is not None and job.fate.fault in _ERRORS:
            code, message = _ERRORS[job.fate.fault]
            video["error"] = {"code": code, "message": message}
        if job.script.dialect == "new":
            video["task_id"] = job.id
            if snapshot.stage is SUCCEEDED and snapshot.shows_outputs:
                cut = job.script.file == "cut"
                video["metadata"] = {"url": context.files.link(job.id, Media.MP4, 0, label="video", cut=cut)}
        return json_answer(video)

    def unknown(self, call: Call) -> Answer:
        """HTTP 404."""
        del call
        return _not_found()

    def callback_url_of(self, body: Json, context: Context) -> str | None:
        """Return the address that was set up for the account: a request cannot name one."""
        del body
        return context.openai_webhook_url

    def notice(self, snapshot: Snapshot, context: Context) -> Notice | None:
        """An event with nothing but the id: ``data.id`` is the video, ``id`` the event."""
        kind = _EVENTS.get(_status(snapshot))
        if kind is None:
            return None
        event_id = "evt_" + context.dice.draw_bytes(12, "event", snapshot.job.id, kind).hex()
        event: Json = {
            "id": event_id,
            "object": "event",
            "created_at": int(snapshot.updated_at_s),
            "type": kind,
            "data": {"id": snapshot.job.id},
        }
        secret = context.secrets.openai
        return Notice(kind, event, None if secret is None else partial(_sign, secret, event_id))


def _sign(secret: str, event_id: str, body: bytes, at_s: float) -> dict[str, str]:
    return sign_webhook(secret, event_id, at_s, body)


class VideoContent(ReadRoute):
    """The bytes; the pictures of the other variants are PNG here."""

    __slots__ = ()

    def read(self, call: Call, context: Context) -> Answer:
        """Answer with the bytes while they are there: not before the end, not after their expiry."""
        job = _find(call, context)
        if job is None:
            return _not_found()
        variant = call.query.get("variant", "video")
        if variant not in _VARIANTS:
            return openai_error(400, f"Invalid value: '{variant}'.", code="invalid_value", param="variant")
        elapsed_s = time.monotonic() - job.born_s
        snapshot = snapshot_at(job, elapsed_s)
        if snapshot.stage is not SUCCEEDED or not snapshot.shows_outputs:
            return openai_error(404, f"Video is not ready yet, use GET /v1/videos/{job.id} to check its status.")
        if elapsed_s >= job.fate.duration_s + context.files.url_ttl_s:
            return openai_error(404, "Video content has expired.")
        cut = job.script.file == "cut"
        return context.files.hand_over(job.id, _VARIANTS[variant], 0, label=variant, cut=cut)


class VideoDeletion(ReadRoute):
    """Deletion, as the client library offers it."""

    __slots__ = ()

    def read(self, call: Call, context: Context) -> Answer:
        """Forget the job."""
        job = _find(call, context)
        if job is None:
            return _not_found()
        context.jobs.remove(job.id)
        return json_answer({"id": job.id, "object": "video.deleted", "deleted": True})


ROUTES = (
    OpenAIVideo(
        name=NAME,
        path=_PATH,
        query_path=_ONE,
        stages=(Stage("queued", 0.0), Stage("in_progress", 0.2)),
    ),
    VideoContent(method="GET", path=_ONE + "/content"),
    VideoDeletion(method="DELETE", path=_ONE),
)
