"""DashScope's synchronous images: one reply in the form of a chat message with pictures.

Owns the fields of the pictures. A reply with text alone is a failure.

**Source**: https://anyint.ai/docs/api-reference/media for the route and
``output.choices[].message.content[].image`` (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.observation import Reading
from tracker.domain.task import Output, Status
from tracker.errors import FieldProblem
from tracker.providers.families.dashscope import fields
from tracker.providers.families.dashscope.codes import find_meaning
from tracker.providers.provider import sync_entry
from tracker.providers.reading.envelopes import layers
from tracker.providers.reading.error_meanings import failed
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
from tracker.providers.reading.outputs import find_data_url_output, find_outputs
from tracker.providers.reading.requests import (
    list_problem,
    object_problem,
    stream_problem,
    text_problem,
)
from tracker.providers.route import SAMPLE_PROMPT, Route

if TYPE_CHECKING:
    from tracker.providers.route import Json


def check(request: Mapping[str, Json]) -> list[FieldProblem]:
    """Find what a request lacks: ``model`` and ``input.messages`` (or ``input.prompt``); a stream cannot be stored."""
    problems = [*text_problem(request, "model"), *object_problem(request, "input")]
    given = request.get("input")
    if isinstance(given, Mapping):
        prompted = given.get("messages") is None and given.get("prompt") is not None
        problems += text_problem(request, "input", "prompt") if prompted else list_problem(request, "input", "messages")
    return [*problems, *stream_problem(request), *stream_problem(request, "parameters", "stream")]


def _read_body(body: Mapping[str, Json]) -> Reading | None:
    """Read the choices; None when the body has none. ``request_id`` cannot be polled."""
    output = find_object(body, "output") or {}
    if "choices" not in output:
        return None
    choices, lists = list_objects(output["choices"], "output.choices"), Lists()
    items = [
        item
        for choice in choices
        for item in lists.objects((find_object(choice, "message") or {}).get("content"), "message.content")
    ]
    finish = next((code for choice in choices if (code := find_code(choice.get("finish_reason")))), None)
    reading = Reading(upstream_status=finish)
    outputs = distinct(image for item in items if (image := _find_image(item)) is not None)
    lists.check(outputs)
    if not outputs:
        message = next((text for item in items if (text := find_text(item.get("text"), 300))), "and without text")
        return failed(replace(reading, detail=f"a reply without an image: {message}"), None, find_meaning)
    return replace(reading, status=Status.SUCCEEDED, outputs=outputs)


def _find_image(item: Mapping[str, Json]) -> Output | None:
    url = find_url(item.get("image"))
    if url is not None:
        return Output(kind="image", url=url, mime=mime_of(url, "image/png"))
    return find_data_url_output(item.get("image"), kind="image")


ENTRY = sync_entry(
    Route(
        name="dashscope.image",
        create="POST /dashscope/v1/services/aigc/multimodal-generation/generation",
        query=None,
        mode="sync",
        asset="image",
        source="https://anyint.ai/docs/api-reference/media",
        sample={"model": "qwen-image", "input": {"messages": [{"role": "user", "content": SAMPLE_PROMPT}]}},
        fields=fields.IMAGE,
    ),
    check,
    _read_body,
    find_meaning,
    find_otherwise=lambda body: find_outputs(list(layers(body)), "image"),
)
