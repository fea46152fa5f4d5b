"""Gemini's ``generateContent``: one synchronous reply with texts and files inside.

Owns the fields of the parts, and the finish reasons of refusals, which are HTTP 200.

**Source**: https://anyint.ai/docs/en/api-reference/gemini-compatible for the route;
https://ai.google.dev/api/generate-content for the reply, its finish reasons and block reasons;
https://ai.google.dev/gemini-api/docs/troubleshooting for errors (all read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.observation import Reading
from tracker.domain.request_fields import Field, RequestFields
from tracker.domain.task import Output, Status, UpstreamError
from tracker.errors import FieldProblem
from tracker.providers.provider import Provider, sync_entry
from tracker.providers.reading import error_meanings as meanings
from tracker.providers.reading.error_meanings import Meaning, failed
from tracker.providers.reading.fields import (
    Lists,
    distinct,
    find_code,
    find_object,
    find_text,
    find_url,
    list_objects,
    mime_of,
)
from tracker.providers.reading.figures import FigureFields, dollars_in
from tracker.providers.reading.outputs import find_inline_output, find_text_output, find_texts, json_output
from tracker.providers.reading.requests import list_problem, stream_problem, text_problem
from tracker.providers.route import SAMPLE_PROMPT, Route

if TYPE_CHECKING:
    from tracker.providers.route import Json

REFUSALS = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MODEL_ARMOR",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)
"""``finishReason`` and ``blockReason`` about content rules."""
_UNMADE = frozenset({"NO_IMAGE", "IMAGE_OTHER", "OTHER", "LANGUAGE", "MALFORMED_FUNCTION_CALL"})
"""``finishReason`` of an incomplete reply; its text is not a result."""
_CUT = "MAX_TOKENS"
STATUSES = {
    "UNAUTHENTICATED": meanings.AUTH,
    "PERMISSION_DENIED": meanings.ENTITLEMENT,
    "NOT_FOUND": meanings.NOT_FOUND,
    "RESOURCE_EXHAUSTED": meanings.RATE,
    "INTERNAL": meanings.BROKEN,
    "UNAVAILABLE": meanings.MAINTENANCE,
    "DEADLINE_EXCEEDED": meanings.TIMEOUT,
}
"""``error.status``, without those of HTTP 400, where the message shows violations of content rules."""
_QUOTA_TEXT = re.compile(r"exceeded your current quota(?!.*retry in)", re.IGNORECASE | re.DOTALL)
"""A used-up quota. The same message with a time to retry after is a rate limit."""
_KEY_TEXT = re.compile(r"api[ _]key (not valid|not found|expired|invalid)|API_KEY_INVALID", re.IGNORECASE)


def find_meaning(error: UpstreamError) -> Meaning | None:
    """The meaning of ``error.status``; only the message shows a refused key and a used-up quota.

    ``error.code`` repeats the HTTP status.
    """
    if error.code in REFUSALS:
        return meanings.POLICY
    if error.message and _KEY_TEXT.search(error.message):
        return meanings.AUTH
    if error.message and _QUOTA_TEXT.search(error.message):
        return meanings.QUOTA
    return STATUSES.get(error.code or "")


def check(request: Mapping[str, Json]) -> list[FieldProblem]:
    """Find what a request lacks: ``model``, which goes into the path, and ``contents``; a stream cannot be stored."""
    return [*text_problem(request, "model"), *list_problem(request, "contents"), *stream_problem(request)]


def _read_body(body: Mapping[str, Json]) -> Reading | None:
    """Read the candidates, or why there are none; None when the body has neither."""
    feedback = find_object(body, "promptFeedback") or find_object(body, "prompt_feedback") or {}
    blocked = find_code(feedback.get("blockReason")) or find_code(feedback.get("block_reason"))
    candidates = list_objects(body.get("candidates"), "candidates")
    if not candidates:
        if blocked is None:
            return None
        error = UpstreamError(blocked, find_text(feedback.get("blockReasonMessage")))
        return failed(Reading(upstream_status=blocked), error, lambda _: meanings.POLICY)
    lists = Lists()
    parts = [part for candidate in candidates for part in _shown_parts(candidate, lists)]
    outputs = _outputs(parts)
    lists.check(outputs)
    finishes = [code for candidate in candidates if (code := _finish_of(candidate)) is not None]
    reading = Reading(upstream_status=finishes[0] if finishes else None)
    has_file = any(output.kind != "text" for output in outputs)
    bad = next((code for code in finishes if code in REFUSALS or code in _UNMADE), None)
    if bad is not None and not has_file:
        spoken = find_text("".join(text for part in parts if isinstance(text := part.get("text"), str)))
        messages = (find_text(candidate.get("finishMessage")) for candidate in candidates)
        error = UpstreamError(bad, spoken or next(filter(None, messages), None))
        return failed(replace(reading, upstream_status=bad), error, find_meaning)
    if not outputs:
        empty = f"a reply without content ({reading.upstream_status})"
        return failed(replace(reading, detail=empty), None, find_meaning)
    detail = "the reply was cut at its maximum length" if _CUT in finishes else None
    return replace(reading, status=Status.SUCCEEDED, outputs=outputs, detail=detail)


def _finish_of(candidate: Mapping[str, Json]) -> str | None:
    return find_code(candidate.get("finishReason")) or find_code(candidate.get("finish_reason"))


def _shown_parts(candidate: Mapping[str, Json], lists: Lists) -> tuple[Mapping[str, Json], ...]:
    """The parts of a candidate without its thoughts."""
    content = find_object(candidate, "content") or {}
    return tuple(part for part in lists.objects(content.get("parts"), "parts") if part.get("thought") is not True)


def _outputs(parts: list[Mapping[str, Json]]) -> tuple[Output, ...]:
    """Files first, the purpose of the route; then the text, with adjacent pieces joined."""
    files: list[Output] = []
    texts: list[Output] = []
    for is_text, group in groupby(parts, lambda part: isinstance(part.get("text"), str)):
        pieces = list(group)
        if is_text:
            text = find_text_output("".join(str(part["text"]) for part in pieces))
            texts += [text] if text else []
            continue
        for part in pieces:
            found = _find_file(part)
            files += [found] if found else []
        calls = [call for part in pieces if (call := find_object(part, "functionCall")) is not None]
        texts += [json_output(calls, "functionCall")] if calls else []
    return distinct([*files, *texts])


def _find_file(part: Mapping[str, Json]) -> Output | None:
    """Data inside the reply (``inlineData``, also in snake case), or a file that it refers to."""
    inline = find_object(part, "inlineData") or find_object(part, "inline_data")
    if inline is not None:
        return find_inline_output(inline.get("data"), inline.get("mimeType") or inline.get("mime_type"), kind="image")
    pointed = find_object(part, "fileData") or find_object(part, "file_data")
    url = find_url((pointed or {}).get("fileUri") or (pointed or {}).get("file_uri"))
    if url is None or pointed is None:
        return None
    mime = find_text(pointed.get("mimeType") or pointed.get("mime_type"), 100) or mime_of(url)
    kind = (mime or "").partition("/")[0]
    return Output(kind=kind if kind in {"image", "video", "audio"} else "file", url=url, mime=mime)


_CONFIG = "generationConfig"
_FIELDS = RequestFields(
    (
        Field("model", "text", "The model; it goes into the path.", required=True),
        Field("contents", "list", "The conversation so far, with texts and files.", required=True),
        Field("systemInstruction", "object", "How to respond."),
        Field(f"{_CONFIG}.responseModalities", "list", "What to make.", values=("TEXT", "IMAGE")),
        Field(f"{_CONFIG}.imageConfig.aspectRatio", "text", "Width to height.", values=("1:1", "16:9", "9:16")),
        Field(f"{_CONFIG}.imageConfig.imageSize", "text", "Size of images.", values=("1K", "2K", "4K")),
        Field(f"{_CONFIG}.temperature", "number", "How varied it is, 0 to 2."),
        Field(f"{_CONFIG}.topP", "number", "The same by probability, 0 to 1."),
        Field(f"{_CONFIG}.topK", "number", "The same by number of choices."),
        Field(f"{_CONFIG}.candidateCount", "number", "How many replies."),
        Field(f"{_CONFIG}.maxOutputTokens", "number", "Longest reply, tokens."),
        Field(f"{_CONFIG}.stopSequences", "list", "Texts that end the reply."),
        Field(f"{_CONFIG}.responseMimeType", "text", "Text or JSON."),
        Field(f"{_CONFIG}.responseSchema", "object", "The schema of the JSON."),
        Field(f"{_CONFIG}.thinkingConfig", "object", "Whether and how long it thinks."),
        Field("safetySettings", "list", "How strict the checks are."),
        Field("tools", "list", "Functions, search, code."),
        Field("toolConfig", "object", "Which of them."),
        Field("cachedContent", "text", "A cache of contents."),
    ),
    "https://ai.google.dev/api/generate-content",
    models=("gemini-2.5-flash-image",),
    model_patterns=("gemini-*", "*banana*"),
)
"""Open: names may be written in snake case too, and models of other makers have fields of their own.

**Source**: https://ai.google.dev/api/generate-content and the types of https://github.com/googleapis/python-genai,
version 3.4.0 (read 2026-11).
"""

PROVIDER = Provider(
    "gemini",
    (
        sync_entry(
            Route(
                name="gemini.generate",
                create="POST /gemini/v1beta/models/{model}:generateContent",
                query=None,
                mode="sync",
                asset="image",
                source="https://anyint.ai/docs/en/api-reference/gemini-compatible",
                sample={"model": "gemini-image", "contents": [{"role": "user", "parts": [{"text": SAMPLE_PROMPT}]}]},
                fields=_FIELDS,
            ),
            check,
            _read_body,
            find_meaning,
            find_otherwise=find_texts,
        ),
    ),
    figures=FigureFields(usage=("usageMetadata", "usage_metadata", "usage"), find_cost=dollars_in),
)
