"""Seedance: ``/doubao/video/generations`` and ``/doubao/videos/{task_id}``.

Owns its fields. The route stands in no document of the gateway: it is known from a public client's code,
which reads ``status`` and the URL at ``metadata.url``, ``data.url`` or ``url``; the first is spoken here.

Source: a public client of the AnyInt gateway (create, status words, URL); error codes:
https://www.volcengine.com/docs/82379 (ModelArk error codes). Refusals are inferred to have the gateway's shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.families.openai import OpenAIWords, find_missing, openai_error
from tracker.sandbox.jobs import SUCCEEDED, Snapshot, Stage
from tracker.sandbox.media import Media
from tracker.sandbox.prompts import find_scripted
from tracker.sandbox.routes import Context, JobRoute
from tracker.sandbox.wire import Answer, Call, Json, json_answer

_STATUSES = {"queued": "queued", "in_progress": "in_progress", "succeeded": "completed", "failed": "failed"}
_STRANGE = "unknown"
_ERRORS = MappingProxyType(
    {
        GenerationFault.POLICY: ("OutputVideoSensitiveContentDetected", "The output may contain sensitive content."),
        GenerationFault.ERROR: ("InternalServiceError", "The service met an internal error."),
        GenerationFault.INVALID: ("InvalidParameter", "A parameter of the request is not valid."),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedanceVideo(OpenAIWords, JobRoute):
    """Create and status."""

    def prompt_of(self, body: Json) -> str:
        """Return ``prompt``; without one, whatever text holds directives."""
        prompt = body.get("prompt")
        return prompt if isinstance(prompt, str) and prompt else find_scripted(body)

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Want ``model``, and ``prompt`` or the upstream's ``content``."""
        del context
        wanted = ("model",) if call.body.get("content") else ("model", "prompt")
        return find_missing(call.body, wanted)

    def make_id(self, context: Context, nth: str) -> str:
        """``task_`` and 24 hexadecimal digits."""
        return "task_" + context.dice.draw_bytes(12, "id", self.name, nth).hex()

    def accepted(self, snapshot: Snapshot, call: Call, context: Context) -> Answer:
        """The id twice, and ``queued``."""
        del call, context
        job_id = snapshot.job.id
        return json_answer({"id": job_id, "task_id": job_id, "status": "queued"})

    def shown(self, snapshot: Snapshot, call: Call, context: Context) -> Answer:
        """An object much like OpenAI's, with a URL."""
        del call
        job = snapshot.job
        video: Json = {
            "id": job.id,
            "task_id": job.id,
            "object": "video",
            "model": job.request["model"],
            "status": _STRANGE if snapshot.strange else _STATUSES[snapshot.stage.name],
            "progress": snapshot.progress,
            "created_at": int(job.created_at_s),
        }
        if snapshot.stage is SUCCEEDED:
            video["completed_at"] = int(snapshot.updated_at_s)
            cut = job.script.file == "cut"
            url = context.files.link(job.id, Media.MP4, 0, label="video", cut=cut) if snapshot.shows_outputs else ""
            video["metadata"] = {"url": url}
        if snapshot.stage.name == "failed" and job.fate.fault is not None:
            if job.fate.fault is GenerationFault.CANCELED:
                video["status"] = "cancelled"
            if job.fate.fault in _ERRORS:
                code, message = _ERRORS[job.fate.fault]
                video["error"] = {"code": code, "message": message}
        return json_answer(video)

    def unknown(self, call: Call) -> Answer:
        """HTTP 404."""
        return openai_error(404, f"task {self.task_id_of(call)} not found", code="task_not_exist")


ROUTES = (
    SeedanceVideo(
        name="seedance.video",
        path="/doubao/video/generations",
        query_path="/doubao/videos/{task_id}",
        stages=(Stage("queued", 0.0), Stage("in_progress", 0.2)),
    ),
)
