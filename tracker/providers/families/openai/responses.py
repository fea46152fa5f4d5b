"""Responses on ``/openai/v1/responses``: a result at once, or with ``background: true`` a task to follow.

Owns the statuses of a response, and the fields of its texts and images. Creates and polls return the same object.

**Source**: https://platform.openai.com/docs/api-reference/responses/object for the object and its statuses;
https://platform.openai.com/docs/guides/background for ``background``; the gateway marks the route as Beta (read
2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.observation import Reading
from tracker.domain.task import ExternalId, Output, Reason, Status, UpstreamError
from tracker.errors import FieldProblem
from tracker.providers.families.openai import fields
from tracker.providers.families.openai.codes import find_meaning
from tracker.providers.provider import Entry
from tracker.providers.reading.envelopes import is_other
from tracker.providers.reading.error_meanings import failed
from tracker.providers.reading.error_shapes import find_error
from tracker.providers.reading.fields import (
    Lists,
    distinct,
    find_code,
    find_id,
    find_object,
    find_text,
    list_objects,
    require_status,
)
from tracker.providers.reading.outputs import find_inline_output, find_text_output, json_output
from tracker.providers.reading.replies import read_creation, read_status
from tracker.providers.reading.requests import (
    RESULT_WITHIN_S,
    create_call,
    list_problem,
    optional_flag_problem,
    optional_text_problem,
    stream_problem,
    text_problem,
)
from tracker.providers.reading.statuses import find_status, read_by_status
from tracker.providers.route import SAMPLE_PROMPT, Route

if TYPE_CHECKING:
    from tracker.domain.upstream_http import WireReply
    from tracker.providers.route import Json

STATUSES = {
    "queued": Status.PENDING,
    "in_progress": Status.RUNNING,
    "completed": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "cancelled": Status.FAILED,
    "canceled": Status.FAILED,
    "incomplete": Status.FAILED,
}
_CONTEXTS = ("prompt", "previous_response_id", "conversation")
"""Fields that make ``input`` (the first two also ``model``) dispensable."""
_CUT = "max_output_tokens"


def check(request: Mapping[str, Json]) -> list[FieldProblem]:
    """Find what a request lacks: ``model`` and ``input``, unless it continues or fills a stored object."""
    continues = any(request.get(field) is not None for field in _CONTEXTS)
    problems = (optional_text_problem if request.get("prompt") is not None else text_problem)(request, "model")
    given = request.get("input")
    if isinstance(given, str) or (given is None and not continues):
        problems += text_problem(request, "input")
    elif given is not None:
        problems += list_problem(request, "input")
    return [*problems, *optional_flag_problem(request, "background"), *stream_problem(request)]


def read_create(reply: WireReply) -> Reading:
    """Read the reply to a create: ended already, or queued with ``background``."""
    return read_creation(reply, _read_body, find_meaning, _find_response_id, is_wrapped=True)


def read_poll(reply: WireReply) -> Reading:
    """Read the reply to a poll."""
    return read_status(reply, _read_body, find_meaning, is_wrapped=True)


def _find_response_id(body: Mapping[str, Json]) -> ExternalId | None:
    return None if _is_part(body) else find_id(body, "id", path="")


def _is_part(body: Mapping[str, Json]) -> bool:
    """Whether an object is not a response: items of a response and other objects have a type."""
    return is_other(body) or (isinstance(body.get("type"), str) and body.get("object") != "response")


def _read_body(body: Mapping[str, Json]) -> Reading | None:
    """Read a response object; None when the body states an error instead."""
    if _is_part(body):
        return None
    said = require_status(body, "status", path="")
    external_id = _find_response_id(body)
    if said is None and (external_id is None or find_error(body) is not None):
        return None
    return read_by_status(
        Reading(external_id=external_id, upstream_status=said),
        partial(find_status, own=STATUSES),
        succeeded=lambda reading: _completed(reading, body),
        failed=lambda reading: _failed(reading, body),
    )


def _completed(reading: Reading, body: Mapping[str, Json]) -> Reading:
    """A completed response: its outputs, or the refusal instead."""
    items, lists = list_objects(body.get("output"), "output"), Lists()
    outputs = distinct(output for item in items for output in _read_item(item, lists))
    lists.check(outputs)
    if outputs:
        return replace(reading, outputs=outputs)
    refusal = _find_refusal(items)
    if refusal is not None:
        return failed(reading, UpstreamError("refusal", refusal), find_meaning)
    return failed(replace(reading, detail="a completed response without content"), None, find_meaning)


def _failed(reading: Reading, body: Mapping[str, Json]) -> Reading:
    """A response that did not complete: the reason is ``error`` or ``incomplete_details.reason``."""
    error = find_object(body, "error") or {}
    why = find_code((find_object(body, "incomplete_details") or {}).get("reason"))
    stated = UpstreamError(find_code(error.get("code")) or why, find_text(error.get("message")))
    status = (reading.upstream_status or "").lower()
    ended = failed(replace(reading, detail=f"{status} upstream" if status != "failed" else None), stated, find_meaning)
    if why == _CUT:  # the same request would be cut again
        return replace(ended, reason=Reason.GENERATION_FAILED, retryable=False)
    return ended


def _read_item(item: Mapping[str, Json], lists: Lists) -> list[Output]:
    """The outputs in one item: a message's text, a generated image, or a function call; not reasoning."""
    kind = find_text(item.get("type"), 60)
    if kind == "message":
        parts = [part.get("text") for part in lists.objects(item.get("content"), "output.content")]
        found = find_text_output("".join(part for part in parts if isinstance(part, str)))
    elif kind == "image_generation_call":
        written = find_text(item.get("output_format"), 20)
        found = find_inline_output(item.get("result"), f"image/{written.lower()}" if written else None, kind="image")
    elif kind in {"function_call", "custom_tool_call"}:
        found = json_output(item, "tool_calls")
    else:
        found = None
    return [] if found is None else [found]


def _find_refusal(items: tuple[Mapping[str, Json], ...]) -> str | None:
    parts = (part for item in items for part in list_objects(item.get("content"), "output.content"))
    return next((text for part in parts if (text := find_text(part.get("refusal")))), None)


ENTRY = Entry(
    route=Route(
        name="openai.responses",
        create="POST /openai/v1/responses",
        query="GET /openai/v1/responses/{task_id}",
        asset="text",
        source="https://platform.openai.com/docs/api-reference/responses",
        sample={"model": "gpt-5", "input": SAMPLE_PROMPT},
        fields=fields.RESPONSES,
        poll_interval_s=10.0,
    ),
    check=check,
    read_create=read_create,
    read_poll=read_poll,
    create_request=partial(create_call, within_s=RESULT_WITHIN_S),
)
