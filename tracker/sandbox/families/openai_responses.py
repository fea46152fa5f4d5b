"""OpenAI responses: ``/openai/v1/responses``, answered at once or, with ``background``, followed.

Owns the response object. Either way it can be queried afterwards. Directives stand in the input: its text, or
the last user message. A create without ``background`` is answered when it is done, whatever its end.

Source: https://platform.openai.com/docs/api-reference/responses (object, states, ``incomplete_details``),
…/responses-streaming (events), https://platform.openai.com/docs/guides/background.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.families.openai import OpenAIWords, find_missing, openai_error
from tracker.sandbox.families.openai_response_events import write_events
from tracker.sandbox.jobs import SUCCEEDED, Snapshot, Stage
from tracker.sandbox.prompts import find_last_said
from tracker.sandbox.routes import Context, JobRoute
from tracker.sandbox.speech import count_tokens, reply_to, stream
from tracker.sandbox.wire import Answer, Call, Json, json_answer

_STATUSES = {"queued": "queued", "in_progress": "in_progress", "succeeded": "completed"}
_STRANGE = "paused"
_ENDS = MappingProxyType(
    {
        GenerationFault.POLICY: ("incomplete", None),
        GenerationFault.ERROR: ("failed", {"code": "server_error", "message": "The model failed"}),
        GenerationFault.INVALID: ("failed", {"code": "invalid_prompt", "message": "The prompt is invalid"}),
        GenerationFault.SILENT: ("failed", None),
        GenerationFault.CANCELED: ("cancelled", None),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIResponses(OpenAIWords, JobRoute):
    """Create and status."""

    def prompt_of(self, body: Json) -> str:
        """Return the input, or what the user said last in it."""
        given = body.get("input")
        return given if isinstance(given, str) else find_last_said(given)

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Want ``model`` and ``input``; a background response cannot be streamed here."""
        del context
        body = call.body
        if not (isinstance(body.get("input"), str | list) and body["input"]):
            return openai_error(400, "Missing required parameter: 'input'.", code="missing_parameter", param="input")
        if body.get("stream") is True and body.get("background") is True:
            message = "The sandbox does not stream background responses."
            return openai_error(400, message, code="unsupported_parameter", param="stream")
        return find_missing(body, ("model",))

    def answers_when_done(self, body: Json) -> bool:
        """Without ``background``."""
        return body.get("background") is not True

    def make_id(self, context: Context, nth: str) -> str:
        """``resp_`` and 48 hexadecimal digits."""
        return "resp_" + context.dice.draw_bytes(24, "id", self.name, nth).hex()

    def accepted(self, snapshot: Snapshot, call: Call, context: Context) -> Answer:
        """The object as it stands, or the events that led there."""
        response = self.describe(snapshot, context)
        return stream(write_events(response)) if call.body.get("stream") is True else json_answer(response)

    def task_id_of(self, call: Call) -> str:
        """Return the id in the path."""
        return call.params["response_id"]

    def shown(self, snapshot: Snapshot, call: Call, context: Context) -> Answer:
        """The object."""
        del call
        return json_answer(self.describe(snapshot, context))

    def unknown(self, call: Call) -> Answer:
        """HTTP 404."""
        return openai_error(404, f"Response with id '{self.task_id_of(call)}' not found.")

    def describe(self, snapshot: Snapshot, context: Context) -> Json:
        """Return the response object."""
        job, request = snapshot.job, snapshot.job.request
        response: Json = {
            "id": job.id,
            "object": "response",
            "created_at": int(job.created_at_s),
            "status": _STRANGE if snapshot.strange else _STATUSES.get(snapshot.stage.name),
            "background": request.get("background") is True,
            "error": None,
            "incomplete_details": None,
            "instructions": request.get("instructions"),
            "metadata": request.get("metadata") or {},
            "model": request["model"],
            "output": [],
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": None,
        }
        if snapshot.stage.name == "failed" and job.fate.fault is not None:
            response["status"], response["error"] = _ENDS[job.fate.fault]
            if response["status"] == "incomplete":
                response["incomplete_details"] = {"reason": "content_filter"}
        if snapshot.stage is SUCCEEDED:
            text = reply_to(job.prompt)
            spent, said = count_tokens(request["input"]), count_tokens(text)
            response["usage"] = {
                "input_tokens": spent,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": said,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": spent + said,
            }
            if snapshot.shows_outputs:
                message_id = "msg_" + context.dice.draw_bytes(24, "message", job.id).hex()
                response["output"] = [_message(message_id, text)]
        return response


def _message(message_id: str, text: str) -> Json:
    return {
        "type": "message",
        "id": message_id,
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }


ROUTES = (
    OpenAIResponses(
        name="openai.responses",
        path="/openai/v1/responses",
        query_path="/openai/v1/responses/{response_id}",
        stages=(Stage("queued", 0.0), Stage("in_progress", 0.2)),
    ),
)
