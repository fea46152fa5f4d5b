"""Images on ``/openai/v1/images/generations``: one synchronous reply, URLs or base64.

Owns the fields of the images. A refused content is HTTP 400 with ``moderation_blocked``.

**Source**: https://platform.openai.com/docs/api-reference/images/object (read 2026-11);
https://anyint.ai/docs/api-reference/media for the route.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.observation import Reading
from tracker.domain.task import Output, Status
from tracker.errors import FieldProblem
from tracker.providers.families.openai import fields
from tracker.providers.families.openai.codes import find_meaning
from tracker.providers.provider import sync_entry
from tracker.providers.reading.envelopes import layers
from tracker.providers.reading.error_meanings import failed
from tracker.providers.reading.error_shapes import find_error
from tracker.providers.reading.fields import Lists, distinct, find_text, find_url, mime_of
from tracker.providers.reading.outputs import find_data_url_output, find_inline_output, find_outputs
from tracker.providers.reading.requests import (
    optional_text_problem,
    stream_problem,
    text_problem,
)
from tracker.providers.route import SAMPLE_PROMPT, Route

if TYPE_CHECKING:
    from tracker.providers.route import Json


def check(request: Mapping[str, Json]) -> list[FieldProblem]:
    """Find what a request lacks: ``prompt``; ``model`` has a default upstream."""
    return [
        *optional_text_problem(request, "model"),
        *text_problem(request, "prompt"),
        *stream_problem(request),
    ]


def _read_body(body: Mapping[str, Json]) -> Reading | None:
    """Read the images; None when the body holds no list of them."""
    elsewhere = find_outputs([body, *layers(body)], "image")
    if "data" not in body and not elsewhere:
        return None
    written = find_text(body.get("output_format"), 20)
    mime = None if written is None else f"image/{written.lower()}"
    lists = Lists()
    found = (_find_image(item, mime) for item in lists.objects(body.get("data"), "data"))
    outputs = distinct(output for output in found if output is not None) or elsewhere
    lists.check(outputs)
    if not outputs and find_error(body) is not None:
        return None
    if not outputs:
        return failed(Reading(detail="a reply without an image"), None, find_meaning)
    return replace(Reading(), status=Status.SUCCEEDED, outputs=outputs)


def _find_image(item: Mapping[str, Json], mime: str | None) -> Output | None:
    url = find_url(item.get("url"))
    if url is not None:
        return Output(kind="image", url=url, mime=mime_of(url, mime))
    inline = find_inline_output(item.get("b64_json"), mime, kind="image")
    return inline or find_data_url_output(item.get("url"), kind="image")


ENTRY = sync_entry(
    Route(
        name="openai.images",
        create="POST /openai/v1/images/generations",
        query=None,
        mode="sync",
        asset="image",
        source="https://anyint.ai/docs/api-reference/media",
        sample={"prompt": SAMPLE_PROMPT},
        fields=fields.IMAGES,
    ),
    check,
    _read_body,
    find_meaning,
)
