"""Videos on ``/openai/v1/videos``: asynchronous; the finished file needs the account's key.

Owns the requests, the URL of the file and the webhook events; ``video_objects`` reads the video object itself. Ids are
long here, because the gateway writes provider and model into them.

**Source**: https://anyint.ai/docs/en/api-reference/kling-video for the routes and required fields;
https://platform.openai.com/docs/guides/webhooks for events, which the gateway does not document (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from tracker.domain.observation import Reading
from tracker.domain.task import ExternalId, Output, Status
from tracker.errors import FieldProblem, PayloadInvalid
from tracker.providers.families.openai import fields
from tracker.providers.families.openai.codes import find_meaning
from tracker.providers.provider import Entry
from tracker.providers.reading import video_objects
from tracker.providers.reading.envelopes import is_other
from tracker.providers.reading.fields import find_id, require_object, require_status
from tracker.providers.reading.requests import path_segment, stream_problem, text_problem
from tracker.providers.route import SAMPLE_PROMPT, Route

if TYPE_CHECKING:
    from tracker.providers.route import Json

_EVENTS = {"video.completed": Status.SUCCEEDED, "video.failed": Status.FAILED}


def check(request: Mapping[str, Json]) -> list[FieldProblem]:
    """Find what a request lacks: ``model`` and ``prompt``."""
    return [*text_problem(request, "model"), *text_problem(request, "prompt"), *stream_problem(request)]


def content_of(external_id: ExternalId) -> Output:
    """The finished file of a video without a URL: a path of the gateway that needs the account's key."""
    path = f"/openai/v1/videos/{path_segment(external_id)}/content"
    return Output(kind="video", url=path, mime="video/mp4", authenticated=True)


def read_event(body: Json) -> Reading:
    """Read a webhook event: the end of a video without a file or an error, which a poll must fetch.

    A completed video waits for its file; a failed one is polled before it ends, or its reason would be lost.
    """
    event = require_object(body, "body")
    if event.get("object") == "video":  # the callback of a gateway that sends the video itself
        return video_objects.read_callback(event, find=find_meaning)
    kind = require_status(event, "type", path="")
    status = _EVENTS.get(kind or "")
    return Reading(
        status=status if status is Status.SUCCEEDED else None,
        external_id=find_id(_subject_of(event), "id", path="data."),
        upstream_status=kind,
        detail=f"event {kind or 'without a type'}; a poll fetches the result",
    )


def event_ids(body: Json) -> tuple[ExternalId, ...]:
    """The video of an event, ``data.id``; its own ``id`` names the event."""
    event = require_object(body, "body")
    found = video_objects.find_video_id(event) if event.get("object") == "video" else None
    found = found or find_id(_subject_of(event), "id", path="data.")
    if found is None:
        raise PayloadInvalid("data.id: missing")
    return (found,)


def _subject_of(event: Mapping[str, Json]) -> Mapping[str, Json]:
    """The object of an event; an envelope around the event is invalid."""
    data = require_object(event.get("data"), "data")
    if is_other(data):
        raise PayloadInvalid("type: missing")
    return data


ENTRY = Entry(
    route=Route(
        name="openai.video",
        create="POST /openai/v1/videos",
        query="GET /openai/v1/videos/{task_id}",
        asset="video",
        source="https://anyint.ai/docs/en/api-reference/kling-video",
        sample={"model": "kling-3.0", "prompt": SAMPLE_PROMPT},
        fields=fields.VIDEO,
        callback=True,
        poll_interval_s=15.0,
        signature="standard-webhooks",
    ),
    check=check,
    read_create=partial(video_objects.read_create, find=find_meaning, fall_back=content_of),
    read_poll=partial(video_objects.read_poll, find=find_meaning, fall_back=content_of),
    read_callback=read_event,
)
