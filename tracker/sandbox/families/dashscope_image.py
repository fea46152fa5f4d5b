"""DashScope images: ``/dashscope/v1/services/aigc/multimodal-generation/generation``, answered at once.

Owns its choices. Refused and failed requests are those of DashScope's videos.

Source: https://anyint.ai/docs/api-reference/media (route, answer);
https://help.aliyun.com/en/model-studio/qwen-image-api (``input.messages``, ``n``, ``usage``).
"""

from __future__ import annotations

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.families.dashscope import DashScopeWords, dashscope_error
from tracker.sandbox.fate import JobFate
from tracker.sandbox.media import Media
from tracker.sandbox.prompts import find_last_said
from tracker.sandbox.routes import Context, SyncRoute
from tracker.sandbox.wire import Answer, Call, Json, json_answer

_SIDE = 128  # pixels
_MOST = 6
_FAILURES = {
    GenerationFault.POLICY: (400, "DataInspectionFailed", "Green net check failed for output image"),
    GenerationFault.ERROR: (500, "InternalError.Algo", "Inference internal error."),
    GenerationFault.INVALID: (400, "InvalidParameter", "The size is not match"),
    GenerationFault.SILENT: (500, "", ""),
    GenerationFault.CANCELED: (500, "", ""),
}


class DashScopeImage(DashScopeWords, SyncRoute):
    """The one route."""

    __slots__ = ()

    def prompt_of(self, body: Json) -> str:
        """Return what the user said last."""
        given = body.get("input")
        return find_last_said(given.get("messages")) if isinstance(given, dict) else ""

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Want ``model`` and ``input.messages`` with a text."""
        del context
        body = call.body
        message = None
        if not (isinstance(body.get("model"), str) and body["model"]):
            message = "Required parameter model missing or invalid, please check the request parameters."
        elif not self.prompt_of(body).strip():
            message = "Required parameter input.messages missing or invalid, please check the request parameters."
        elif _count(body) is None:
            message = f"parameters.n must be an integer from 1 to {_MOST}."
        return None if message is None else dashscope_error(400, "InvalidParameter", message, call)

    def result(self, call: Call, fate: JobFate, context: Context) -> Answer:
        """``output.choices``; without a picture the model has only talked."""
        if fate.fault is not None:
            return dashscope_error(*_FAILURES[fate.fault], call)
        count = _count(call.body) or 1
        content: list[Json] = [
            {"image": context.files.link(call.request_id, Media.PNG, n, label="image")} for n in range(count)
        ]
        output: Json = {"task_metric": {"TOTAL": count, "FAILED": 0, "SUCCEEDED": count}}
        usage: Json = {"width": _SIDE, "height": _SIDE, "image_count": count}
        if fate.url_missing:
            content, output, usage = [{"text": "cannot draw"}], {}, {}
        message = {"role": "assistant", "content": content}
        output["choices"] = [{"finish_reason": "stop", "message": message}]
        return json_answer({"output": output, "usage": usage, "request_id": call.request_id})


def _count(body: Json) -> int | None:
    """How many pictures are wanted; None if that is no possible number."""
    parameters = body.get("parameters") or {}
    n = parameters.get("n", 1) if isinstance(parameters, dict) else None
    return n if isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= _MOST else None


ROUTES = (
    DashScopeImage(
        name="dashscope.image",
        path="/dashscope/v1/services/aigc/multimodal-generation/generation",
    ),
)
