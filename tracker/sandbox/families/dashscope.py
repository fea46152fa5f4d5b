"""DashScope video: ``/dashscope/v1/…``, and the errors that its images share.

Owns the fields, words and errors of DashScope as the gateway passes them on. Callbacks: none on a request.

Source: https://anyint.ai/docs/api-reference/media (routes, create answer, required fields);
https://www.alibabacloud.com/help/en/model-studio/manage-asynchronous-tasks (states, UNKNOWN, query answer);
https://help.aliyun.com/en/model-studio/error-code-start (error codes).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.jobs import SUCCEEDED, Snapshot, Stage
from tracker.sandbox.media import Media
from tracker.sandbox.routes import Context, JobRoute, Refusal
from tracker.sandbox.wire import Answer, Call, Json, json_answer

_STATUSES = {"pending": "PENDING", "running": "RUNNING", "succeeded": "SUCCEEDED", "failed": "FAILED"}
_STRANGE = "TRANSCODING"

# (HTTP status, code, message). InternalError* is documented for 5xx; its use for maintenance is inferred.
_REFUSALS = MappingProxyType(
    {
        Refusal.POLICY: (400, "DataInspectionFailed", "Input data may contain inappropriate content."),
        Refusal.QUOTA: (
            400,
            "Arrearage",
            "Access denied, please make sure your account is in good standing.",
        ),
        Refusal.THROTTLED: (
            429,
            "Throttling.RateQuota",
            "Requests rate limit exceeded, please try again later.",
        ),
        Refusal.MAINTENANCE: (503, "InternalError", "The service is under maintenance."),
        Refusal.SERVER_ERROR: (
            500,
            "InternalError",
            "An internal error has occured, please try again later.",
        ),
        Refusal.ERROR_BODY: (200, "InternalError", "An internal error has occured, please try again later."),
    }
)

# Flat inside ``output`` of a failed task; SILENT has been seen in the wild (modelstudioai/cli issue 184).
_FAILURES: dict[GenerationFault, Json] = {
    GenerationFault.POLICY: {
        "code": "DataInspectionFailed",
        "message": "Output data may contain inappropriate content.",
    },
    GenerationFault.ERROR: {"code": "InternalError.Algo", "message": "Inference internal error."},
    GenerationFault.INVALID: {"code": "InvalidParameter", "message": "The size is not match"},
    GenerationFault.SILENT: {},
    GenerationFault.CANCELED: {},
}


def _local_time(epoch_s: float) -> str:
    """Naive time with milliseconds; evidently UTC+8."""
    moment = datetime.fromtimestamp(epoch_s, UTC) + timedelta(hours=8)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}"


def dashscope_error(status: int, code: str, message: str, call: Call) -> Answer:
    """Build an error: ``code``, ``message``, ``request_id`` at the top level."""
    return json_answer({"code": code, "message": message, "request_id": call.request_id}, status)


class DashScopeWords:
    """The refusals, for routes with and without jobs."""

    __slots__ = ()

    def refuse(self, refusal: Refusal, call: Call) -> Answer:
        """Spell a refusal."""
        return dashscope_error(*_REFUSALS[refusal], call)


@dataclass(frozen=True, slots=True, kw_only=True)
class DashScopeVideo(DashScopeWords, JobRoute):
    """Video synthesis. ``X-DashScope-Async`` may be sent or left out: AnyInt's samples leave it out."""

    def prompt_of(self, body: Json) -> str:
        """Return ``input.prompt``."""
        given = body.get("input")
        prompt = given.get("prompt") if isinstance(given, dict) else None
        return prompt if isinstance(prompt, str) else ""

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Want ``model`` and ``input.prompt``; ``parameters`` is optional and an object."""
        del context
        model = call.body.get("model")
        message = None
        if not (isinstance(model, str) and model):
            message = "Required parameter model missing or invalid, please check the request parameters."
        elif not isinstance(call.body.get("input"), dict):
            message = "Required parameter input missing or invalid, please check the request parameters."
        elif not self.prompt_of(call.body).strip():
            message = "Required parameter input.prompt missing or invalid, please check the request parameters."
        elif not isinstance(call.body.get("parameters", {}), dict):
            message = "parameters must be an object."
        return None if message is None else dashscope_error(400, "InvalidParameter", message, call)

    def make_id(self, context: Context, nth: str) -> str:
        """Task ids are UUIDs."""
        return context.dice.draw_uuid("id", self.name, nth)

    def accepted(self, snapshot: Snapshot, call: Call, context: Context) -> Answer:
        """``output.task_id``, ``output.task_status``; sometimes ``metadata.provider``."""
        payload: Json = {
            "request_id": call.request_id,
            "output": {"task_id": snapshot.job.id, "task_status": "PENDING"},
        }
        if context.dice.hits(0.5, self.name, snapshot.job.nth, "metadata"):
            payload["metadata"] = {"provider": "dashscope"}
        return json_answer(payload)

    def shown(self, snapshot: Snapshot, call: Call, context: Context) -> Answer:
        """Everything about the task stands in ``output``, errors included, with HTTP 200."""
        job = snapshot.job
        status = _STRANGE if snapshot.strange else _STATUSES[snapshot.stage.name]
        output: Json = {
            "task_id": job.id,
            "task_status": status,
            "submit_time": _local_time(job.created_at_s),
        }
        if snapshot.stage.name != "pending":
            output["scheduled_time"] = _local_time(job.created_at_s + job.begins_after_s(self.stages[1]))
        payload: Json = {"request_id": call.request_id, "output": output}
        if snapshot.stage.at >= 1:
            output["end_time"] = _local_time(snapshot.updated_at_s)
        if job.fate.fault is not None and status == "FAILED":
            if job.fate.fault is GenerationFault.CANCELED:
                output["task_status"] = "CANCELED"
            output.update(_FAILURES[job.fate.fault])
        if snapshot.stage is SUCCEEDED:
            output["orig_prompt"] = job.prompt
            if snapshot.shows_outputs:
                output["video_url"] = context.files.link(
                    job.id, Media.MP4, 0, label="video", cut=job.script.file == "cut"
                )
            payload["usage"] = {"duration": 5, "video_count": 1, "SR": 720, "ratio": "16:9"}
        return json_answer(payload)

    def unknown(self, call: Call) -> Answer:
        """An id that is missing or expired is no error: HTTP 200 with UNKNOWN."""
        output = {"task_id": self.task_id_of(call), "task_status": "UNKNOWN"}
        return json_answer({"request_id": call.request_id, "output": output})


ROUTES = (
    DashScopeVideo(
        name="dashscope.video",
        path="/dashscope/v1/services/aigc/video-generation/video-synthesis",
        query_path="/dashscope/v1/tasks/{task_id}",
        stages=(Stage("pending", 0.0), Stage("running", 0.25)),
    ),
)
