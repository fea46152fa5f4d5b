"""Anthropic-style messages and token counts: synchronous, with the key in ``x-api-key``.

Owns the fields of the text, the condition of a refusal, and the error types, which replace codes here.

**Source**: https://anyint.ai/docs/api-reference/anthropic-compatible for the routes and headers;
https://docs.anthropic.com/en/api/messages for the reply and its stop reasons;
https://docs.anthropic.com/en/api/errors for errors (all read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.observation import Reading
from tracker.domain.request_fields import Field, RequestFields
from tracker.domain.task import Output, Status, UpstreamError
from tracker.domain.upstream_http import AuthStyle
from tracker.errors import FieldProblem
from tracker.providers.provider import Provider, sync_entry
from tracker.providers.reading import error_meanings as meanings
from tracker.providers.reading.error_meanings import Meaning, failed
from tracker.providers.reading.fields import find_code, find_id, list_objects
from tracker.providers.reading.figures import FigureFields, dollars_in
from tracker.providers.reading.outputs import find_text_output, find_texts, json_output
from tracker.providers.reading.requests import (
    list_problem,
    number_problem,
    stream_problem,
    text_problem,
)
from tracker.providers.route import SAMPLE_PROMPT, Route

if TYPE_CHECKING:
    from tracker.providers.route import Json

CODES: dict[str, Meaning] = {
    "invalid_request_error": meanings.INVALID,
    "authentication_error": meanings.AUTH,
    "billing_error": meanings.QUOTA,
    "permission_error": meanings.ENTITLEMENT,
    "not_found_error": meanings.NOT_FOUND,
    "request_too_large": meanings.INVALID,
    "rate_limit_error": meanings.RATE,
    "timeout_error": meanings.TIMEOUT,
    "api_error": meanings.BROKEN,
    "overloaded_error": meanings.MAINTENANCE,  # HTTP 529
    "refusal": meanings.POLICY,
}
"""By ``error.type``."""

_QUOTA_TEXT = re.compile(r"credit balance|spend limit|usage limits?\b|billing", re.IGNORECASE)
_QUOTA_TYPES = frozenset({"invalid_request_error", "rate_limit_error"})
"""Types that also report a used-up balance or spend limit; only the message shows it."""
_REFUSED = "refusal"
_CUT = frozenset({"max_tokens", "model_context_window_exceeded"})


def find_meaning(error: UpstreamError) -> Meaning | None:
    """The meaning of an error type; None for one that is not in the documents."""
    code = error.code or ""
    if code in _QUOTA_TYPES and error.message and _QUOTA_TEXT.search(error.message):
        return meanings.QUOTA
    if code == "invalid_request_error":
        return None  # the shared rules find violations of content rules by the message
    return CODES.get(code)


def check_count(request: Mapping[str, Json]) -> list[FieldProblem]:
    """Find what a token count lacks: ``model`` and ``messages``."""
    return [*text_problem(request, "model"), *list_problem(request, "messages"), *stream_problem(request)]


def check_messages(request: Mapping[str, Json]) -> list[FieldProblem]:
    """Find what a message lacks: ``model``, ``messages`` and ``max_tokens``; a stream cannot be stored."""
    return [*check_count(request), *number_problem(request, "max_tokens")]


def _read_message(body: Mapping[str, Json]) -> Reading | None:
    """Read a message; None when the body is not one. Thinking is not an output."""
    if "content" not in body:
        return None
    blocks = list_objects(body["content"], "content")
    stop = find_code(body.get("stop_reason"))
    reading = Reading(external_id=find_id(body, "id", path=""), upstream_status=stop)
    texts = [block.get("text") for block in blocks if block.get("type") == "text"]
    text = find_text_output("".join(text for text in texts if isinstance(text, str)))
    calls = [block for block in blocks if block.get("type") == "tool_use"]
    outputs: list[Output] = [*([text] if text else []), *([json_output(calls, "tool_use")] if calls else [])]
    if stop == _REFUSED:
        return failed(reading, UpstreamError(stop, text.text if text else None), find_meaning)
    if not outputs:
        return failed(replace(reading, detail=f"a reply without content ({stop})"), None, find_meaning)
    detail = "the reply was cut at its maximum length" if stop in _CUT else None
    return replace(reading, status=Status.SUCCEEDED, outputs=tuple(outputs), detail=detail)


def _read_count(body: Mapping[str, Json]) -> Reading | None:
    count = body.get("input_tokens")
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        return None
    return Reading(status=Status.SUCCEEDED, outputs=(Output(kind="text", mime="text/plain", text=f"{count:d}"),))


_OF_BOTH = (
    Field("system", "text or list", "How to respond."),
    Field("tools", "list", "Functions that it may call."),
    Field("tool_choice", "object", "Which of them."),
    Field("thinking", "object", "Whether and how long it thinks."),
    Field("output_config", "object", "The form of the reply."),
    Field("cache_control", "object", "What is kept for the next request."),
)
_OF_ONE: dict[str, tuple[Field, ...]] = {
    "messages": (
        Field("max_tokens", "number", "Longest reply, tokens.", required=True),
        Field("temperature", "number", "How varied it is, 0 to 1."),
        Field("top_p", "number", "The same by probability, 0 to 1."),
        Field("top_k", "number", "The same by number of choices."),
        Field("stop_sequences", "list", "Texts that end the reply."),
        Field("metadata", "object", "An id of the end user."),
        Field("service_tier", "text", "Priority.", values=("auto", "standard_only")),
    ),
    "count-tokens": (),
}
"""Open: the gateway serves models of other makers here too, and new fields come with each beta.

**Source**: https://docs.anthropic.com/en/api/messages and the request types of
https://github.com/anthropics/anthropic-sdk-python, version 2.11.0 (read 2026-11).
"""


def _fields(*fields: Field) -> RequestFields:
    return RequestFields(
        (
            Field("model", "text", "The model.", required=True),
            Field("messages", "list", "The conversation so far.", required=True),
            *fields,
        ),
        "https://docs.anthropic.com/en/api/messages",
        models=("claude-sonnet-4-5",),
        model_patterns=("claude-*",),
    )


def _route(name: str, path: str, asset: str, **more: int) -> Route:
    return Route(
        name=f"anthropic.{name}",
        create=f"POST /anthropic/v1/{path}",
        query=None,
        mode="sync",
        asset=asset,
        source="https://anyint.ai/docs/api-reference/anthropic-compatible",
        sample={"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": SAMPLE_PROMPT}], **more},
        fields=_fields(*_OF_ONE[name], *_OF_BOTH),
    )


_entry = partial(sync_entry, find=find_meaning, auth=AuthStyle.X_API_KEY)

PROVIDER = Provider(
    "anthropic",
    (
        _entry(
            _route("messages", "messages", "text", max_tokens=100),
            check_messages,
            _read_message,
            find_otherwise=find_texts,
        ),
        _entry(_route("count-tokens", "messages/count_tokens", "token count"), check_count, _read_count),
    ),
    figures=FigureFields(find_cost=dollars_in),
)
