"""The lists of models: ``/openai/v1/models`` and ``/anthropic/v1/models``.

Owns the catalogue and its pages. Both routes answer in the same envelope, Anthropic-like even on the
OpenAI-style route, as AnyInt documents it; the gateway has no ``GET /v1/models``.

Source: https://anyint.ai/docs/api-reference/models-api (fields, envelope);
https://docs.anthropic.com/en/api/models-list (``limit`` 1 to 1000, 20 by default, ``after_id``, ``before_id``).
That an unknown cursor is HTTP 400, and that the OpenAI-style route pages alike, is inferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tracker.sandbox.routes import Context, ReadRoute
from tracker.sandbox.wire import Answer, Call, Json, bad_request, json_answer

# Id, name, date of release (invented).
_CATALOGUE = (
    ("claude-sonnet-4-6", "Claude Sonnet 4.6", "2026-01-01"),
    ("gpt-image-1", "GPT Image 1", "2025-04-23"),
    ("gpt-5.1", "GPT-5.1", "2025-11-13"),
    ("gemini-3.1-flash-image-preview", "Gemini 3.1 Flash Image", "2026-02-10"),
    ("gemini-3-flash-preview", "Gemini 3 Flash", "2025-12-17"),
    ("kling-3.0", "Kling 3.0", "2026-02-05"),
    ("kling-v3", "Kling V3", "2026-02-05"),
    ("kling-v3-omni", "Kling V3 Omni", "2026-02-05"),
    ("kling-v2-1", "Kling V2.1", "2025-05-29"),
    ("wan2.5-i2v-preview", "Wan 2.5 image to video", "2025-09-24"),
    ("happyhorse-1.0-t2v", "HappyHorse 1.0 text to video", "2026-04-01"),
    ("qwen-image", "Qwen Image", "2025-08-04"),
    ("doubao-seedance-2-0-260128", "Seedance 2.0", "2026-01-28"),
    ("V5", "Suno V5", "2025-09-23"),
)
_USUAL_LIMIT = 20
_MOST = 1000


def _read_page(call: Call) -> Json | str:
    """Return a page of the catalogue, or what is wrong with the request."""
    models: list[Json] = [
        {"id": name, "display_name": title, "type": "model", "created_at": f"{day}T00:00:00Z"}
        for name, title, day in _CATALOGUE
    ]
    ids = [model["id"] for model in models]
    limit = call.query.get("limit", str(_USUAL_LIMIT))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit) <= _MOST):
        return f"limit must be an integer from 1 to {_MOST}"
    after, before = call.query.get("after_id"), call.query.get("before_id")
    for cursor in (after, before):
        if cursor is not None and cursor not in ids:
            return f"unknown model id in the cursor: {cursor}"
    start = 0 if after is None else ids.index(after) + 1
    stop = len(ids) if before is None else ids.index(before)
    if before is not None:
        start = max(start, stop - int(limit))
    shown = models[start:stop][: int(limit)]
    more = start > 0 if before is not None else start + len(shown) < stop
    return {
        "data": shown,
        "has_more": more,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }


class OpenAIModels(ReadRoute):
    """The list with a Bearer key."""

    __slots__ = ()

    def read(self, call: Call, context: Context) -> Answer:
        """Answer with a page."""
        del context
        page = _read_page(call)
        return bad_request(page) if isinstance(page, str) else json_answer(page)


class AnthropicModels(ReadRoute):
    """The list with Anthropic's headers, and its errors."""

    __slots__ = ()

    def authorised(self, headers: Mapping[str, str], key: str) -> bool:
        """Return whether ``x-api-key`` carries the key."""
        return headers.get("x-api-key") == key

    def refuse_key(self) -> Answer:
        """HTTP 401 in Anthropic's shape."""
        return _anthropic_error(401, "authentication_error", "invalid x-api-key")

    def read(self, call: Call, context: Context) -> Answer:
        """Answer with a page."""
        del context
        page = _read_page(call)
        request = {"request_id": f"req_{call.request_id}"}
        if isinstance(page, str):
            return _anthropic_error(400, "invalid_request_error", page, request)
        if not call.headers.get("anthropic-version"):
            message = "anthropic-version: header is required"
            return _anthropic_error(400, "invalid_request_error", message, request)
        return json_answer(page)


def _anthropic_error(status: int, kind: str, message: str, more: Mapping[str, str] = MappingProxyType({})) -> Answer:
    return json_answer({"type": "error", "error": {"type": kind, "message": message}, **more}, status)


ROUTES = (
    OpenAIModels(method="GET", path="/openai/v1/models"),
    AnthropicModels(method="GET", path="/anthropic/v1/models"),
)
