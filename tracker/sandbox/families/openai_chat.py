"""OpenAI chat completions: ``/openai/v1/chat/completions``.

Owns the completion object and its chunks. Directives stand in the last user message.

Source: https://platform.openai.com/docs/api-reference/chat (object, chunks, ``[DONE]``,
``finish_reason`` = ``content_filter``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.families.openai import REJECTED, OpenAIWords, answer_failure, find_missing, openai_error
from tracker.sandbox.fate import JobFate
from tracker.sandbox.prompts import find_last_said
from tracker.sandbox.routes import Context, SyncRoute
from tracker.sandbox.speech import count_tokens, cut_in_pieces, reply_to, stream, write_event
from tracker.sandbox.wire import Answer, Call, Json, json_answer


class OpenAIChat(OpenAIWords, SyncRoute):
    """The one route."""

    __slots__ = ()

    def prompt_of(self, body: Json) -> str:
        """Return what the user said last."""
        return find_last_said(body.get("messages"))

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Want ``model`` and ``messages``."""
        del context
        messages = call.body.get("messages")
        if not (isinstance(messages, list) and messages and all(isinstance(one, dict) for one in messages)):
            message = "Missing required parameter: 'messages'."
            return openai_error(400, message, code="missing_parameter", param="messages")
        return find_missing(call.body, ("model",))

    def result(self, call: Call, fate: JobFate, context: Context) -> Answer:
        """A completion, whole or in chunks."""
        body = call.body
        blocked = fate.fault is GenerationFault.POLICY
        if fate.fault is not None and not blocked:
            return answer_failure(fate.fault)
        text = "" if fate.url_missing or blocked else reply_to(self.prompt_of(body))
        spent, said = count_tokens(body["messages"]), count_tokens(text)
        usage = {"prompt_tokens": spent, "completion_tokens": said, "total_tokens": spent + said}
        head: Json = {
            "id": "chatcmpl-" + context.dice.draw_bytes(12, "completion", call.request_id).hex(),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body["model"],
        }
        reason = "content_filter" if blocked else "stop"
        if body.get("stream") is True:
            options = body.get("stream_options")
            counted = isinstance(options, dict) and options.get("include_usage") is True
            return stream(_write_chunks(head, text, reason, usage if counted else None))
        message = {"role": "assistant", "content": text or None if blocked else text, "refusal": None}
        if blocked:
            message["refusal"] = REJECTED
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return json_answer(head | {"choices": [choice], "usage": usage})


def _write_chunks(head: Json, text: str, reason: str, usage: Json | None) -> Iterator[bytes]:
    head = head | {"object": "chat.completion.chunk"}

    def chunk(delta: Json, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return write_event(head | {"choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    for piece in cut_in_pieces(text):
        yield chunk({"content": piece})
    yield chunk({}, reason)
    if usage is not None:
        yield write_event(head | {"choices": [], "usage": usage})
    yield write_event("[DONE]")


ROUTES = (OpenAIChat(name="openai.chat", path="/openai/v1/chat/completions"),)
