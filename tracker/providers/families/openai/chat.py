"""Chat completions on ``/openai/v1/chat/completions``: one synchronous reply, texts or tool calls.

Owns the fields of the text and the condition of a refusal.

**Source**: https://platform.openai.com/docs/api-reference/chat/object (read 2026-11);
https://anyint.ai/docs/api-reference/overview for the route.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.observation import Reading
from tracker.domain.task import Output, Status, UpstreamError
from tracker.errors import FieldProblem
from tracker.providers.families.openai import fields
from tracker.providers.families.openai.codes import find_meaning
from tracker.providers.provider import sync_entry
from tracker.providers.reading.error_meanings import failed
from tracker.providers.reading.fields import find_code, find_id, find_object, find_text, list_objects
from tracker.providers.reading.outputs import (
    MESSAGE_TEXT_FIELDS,
    find_outputs,
    find_text_output,
    find_texts,
    json_output,
    text_in,
)
from tracker.providers.reading.requests import list_problem, stream_problem, text_problem
from tracker.providers.route import SAMPLE_PROMPT, Route

if TYPE_CHECKING:
    from tracker.providers.route import Json

_FILTERED = "content_filter"
_CUT = "length"


def check(request: Mapping[str, Json]) -> list[FieldProblem]:
    """Find what a request lacks: ``model`` and ``messages``; a stream cannot be stored."""
    return [*text_problem(request, "model"), *list_problem(request, "messages"), *stream_problem(request)]


def _read_body(body: Mapping[str, Json]) -> Reading | None:
    """Read a completion; None when the body is not one."""
    if body.get("choices") is None:
        return None
    listed = body["choices"]
    choices = list_objects([listed] if isinstance(listed, dict) else listed, "choices")
    messages = [find_object(choice, "message") or find_object(choice, "delta") or choice for choice in choices]
    finish = next((code for choice in choices if (code := find_code(choice.get("finish_reason")))), None)
    reading = Reading(external_id=find_id(body, "id", path=""), upstream_status=finish)
    outputs = tuple(output for message in messages for output in _read_message(message))
    refusal = next((text for message in messages if (text := find_text(message.get("refusal")))), None)
    if finish == _FILTERED or (refusal is not None and not outputs):
        code = finish if finish == _FILTERED else "refusal"
        return failed(reading, UpstreamError(code, refusal), find_meaning)
    if not outputs:
        return failed(replace(reading, detail=f"a reply without content ({finish})"), None, find_meaning)
    detail = "the reply was cut at its maximum length" if finish == _CUT else None
    return replace(reading, status=Status.SUCCEEDED, outputs=outputs, detail=detail)


def _read_message(message: Mapping[str, Json]) -> list[Output]:
    """The text of a message, in one piece or in parts, and its tool calls."""
    content = next((part for name in MESSAGE_TEXT_FIELDS if (part := text_in(message.get(name)))), None)
    text = find_text_output(content)
    calls = message.get("tool_calls") or message.get("function_call")
    images = find_outputs([{"images": message.get("images")}], "image")
    return [*([text] if text else []), *([json_output(calls, "tool_calls")] if calls else []), *images]


ENTRY = sync_entry(
    Route(
        name="openai.chat",
        create="POST /openai/v1/chat/completions",
        query=None,
        mode="sync",
        asset="text",
        source="https://anyint.ai/docs/api-reference/overview",
        sample={"model": "gpt-5", "messages": [{"role": "user", "content": SAMPLE_PROMPT}]},
        fields=fields.CHAT,
    ),
    check,
    _read_body,
    find_meaning,
    find_otherwise=find_texts,
)
