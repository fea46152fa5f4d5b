"""Seedance videos on ``/doubao/*``: OpenAI-style video objects with their URL in ``metadata.url``.

Owns the routes and the error codes. The gateway does not document the routes; public clients use them.

**Source**: public client code of the gateway for routes, statuses and URL;
https://www.volcengine.com/docs/82379/1299023 for the error codes of the model's maker (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as with_changes
from functools import partial
from typing import TYPE_CHECKING

from tracker.domain.request_fields import Field, RequestFields
from tracker.domain.task import UpstreamError
from tracker.errors import FieldProblem
from tracker.providers.provider import Entry, Provider
from tracker.providers.reading import error_meanings as meanings
from tracker.providers.reading import video_objects
from tracker.providers.reading.error_meanings import Meaning
from tracker.providers.reading.requests import optional_text_problem, text_problem
from tracker.providers.route import SAMPLE_PROMPT, Route

if TYPE_CHECKING:
    from tracker.providers.route import Json

CODES: dict[str, Meaning] = {
    "authenticationerror": meanings.AUTH,
    "accessdenied": meanings.ENTITLEMENT,
    "modelnotopen": meanings.ENTITLEMENT,
    "accountoverdueerror": meanings.QUOTA,
    "quotaexceeded": meanings.QUOTA,
    "ratelimitexceeded": meanings.RATE,
    "modelaccountrpmratelimitexceeded": meanings.RATE,
    "serveroverloaded": meanings.MAINTENANCE,
    "internalserviceerror": meanings.BROKEN,
    "missingparameter": meanings.INVALID,
    "invalidparameter": meanings.INVALID,
}
"""By code in lower case, without the part after a dot."""
_MATERIAL = ("content", "image", "images", "input_reference", "metadata")
"""Fields that can replace a ``prompt``."""


def find_meaning(error: UpstreamError) -> Meaning | None:
    """The meaning of a code; also of any code about sensitive content, a policy or a risk."""
    code = (error.code or "").lower()
    if "sensitivecontent" in code or "policyviolation" in code or "riskdetection" in code:
        return meanings.POLICY
    return CODES.get(code) or CODES.get(code.partition(".")[0])


def check(request: Mapping[str, Json]) -> list[FieldProblem]:
    """Find what a request lacks: ``model``, and a ``prompt`` unless material replaces it."""
    has_material = any(request.get(field) for field in _MATERIAL)
    return [
        *text_problem(request, "model"),
        *(optional_text_problem if has_material else text_problem)(request, "prompt"),
    ]


_FIELDS = RequestFields(
    (
        Field("model", "text", "The model.", required=True),
        Field(
            "prompt", "text", "What to show.", required=True, condition="unless content, an image or metadata is given"
        ),
        Field("content", "list", "Texts, images, videos and sounds, each with its type and role."),
        Field("image", "text", "The first frame."),
        Field("images", "list", "Frames or references."),
        Field("input_reference", "text", "A picture to start from."),
        Field("resolution", "text", "Height of the video.", values=("480p", "720p", "1080p")),
        Field("ratio", "text", "Width to height.", values=("16:9", "9:16", "1:1", "adaptive")),
        Field("duration", "number", "Length in seconds.", values=(5, 10)),
        Field("seconds", "text", "The same as a text."),
        Field("size", "text", "Width and height."),
        Field("frames", "number", "Length in frames, instead of duration."),
        Field("seed", "number", "The same number makes similar results."),
        Field("camera_fixed", "true or false", "The camera does not move."),
        Field("watermark", "true or false", "With a mark of the maker."),
        Field("generate_audio", "true or false", "With sound.", condition="for Seedance 1.5 and later"),
        Field("return_last_frame", "true or false", "Also return the last frame."),
        Field("draft", "true or false", "A cheap preview.", condition="for Seedance 1.5"),
        Field("service_tier", "text", "flex is slow and cheap.", values=("default", "flex")),
        Field("execution_expires_after", "number", "Given up after this time, seconds."),
        Field("safety_identifier", "text", "An id of the end user."),
        Field("tools", "list", "Search.", condition="for Seedance 2.0"),
        Field("metadata", "object", "Fields of the model's own API."),
    ),
    "https://www.volcengine.com/docs/82379/1520757",
    models=("doubao-seedance-1-0-pro", "doubao-seedance-1-5-pro-251215", "doubao-seedance-2-0-260128"),
    model_patterns=("*seedance*",),
)
"""Those of OpenAI-style videos and of Ark. Open: the gateway does not document the route.

**Source**: https://www.volcengine.com/docs/82379/1520757 and public client code (read 2026-11).
"""

PROVIDER = Provider(
    "seedance",
    (
        Entry(
            route=Route(
                name="seedance.video",
                create="POST /doubao/video/generations",
                query="GET /doubao/videos/{task_id}",
                asset="video",
                source="https://www.volcengine.com/docs/82379/1520757",
                sample={"model": "doubao-seedance-1-0-pro", "prompt": SAMPLE_PROMPT},
                fields=_FIELDS,
                poll_interval_s=15.0,
            ),
            check=check,
            read_create=partial(video_objects.read_create, find=find_meaning),
            read_poll=partial(video_objects.read_poll, find=find_meaning),
        ),
    ),
    figures=with_changes(video_objects.VIDEO_FIGURES, finished=(*video_objects.VIDEO_FIGURES.finished, "updated_at")),
)
"""The maker's own answers have no time of the end, but that of the last change."""
