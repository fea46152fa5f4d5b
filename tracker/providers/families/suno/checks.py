"""The fields that a request must have, per Suno route.

Owns the required fields. Must not restrict values that change over time, such as models. Where the gateway documents
no fields of a route, only the material is required and other fields are checked for their type; the upstream decides.
It also requires ``callBackUrl`` on every route with tasks, which the tracker fills in.

**Source**: https://anyint.ai/docs/media-and-music/music-generation for generate; https://docs.sunoapi.org/suno-api
(a page per route) for the others (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tracker.errors import FieldProblem
from tracker.providers.reading.requests import (
    flag_problem,
    number_problem,
    optional_flag_problem,
    optional_text_problem,
    text_problem,
)

if TYPE_CHECKING:
    from tracker.providers.route import Json

Check = Callable[[Mapping[str, "Json"]], list[FieldProblem]]

_FLAGS = ("customMode", "instrumental", "defaultParamFlag")
_TEXTS = (
    "audioId", "callBackUrl", "content", "description", "model", "name", "negativeTags", "prompt", "style", "tags",
    "taskId", "title", "type", "uploadUrl",
)  # fmt: skip


def check_generate(request: Mapping[str, Json]) -> list[FieldProblem]:
    """Find what a song request lacks.

    ``style`` and ``title`` are required in custom mode; ``prompt`` is not, when a custom song is instrumental.
    """
    problems = flag_problem(request, "customMode") + flag_problem(request, "instrumental")
    problems += text_problem(request, "model")
    custom = request.get("customMode") is True
    lyricless = custom and request.get("instrumental") is True
    problems += (optional_text_problem if lyricless else text_problem)(request, "prompt")
    for field in ("style", "title"):
        problems += (text_problem if custom else optional_text_problem)(request, field)
    return [*problems, *optional_text_problem(request, "callBackUrl")]


def check_replace_section(request: Mapping[str, Json]) -> list[FieldProblem]:
    """Find what a replacement lacks: the clip (or an upload instead), the prompt, and the seconds."""
    own_clip = request.get("uploadUrl") is None
    problems = _texts(request, *(("taskId",) if own_clip else ("uploadUrl",)), "prompt", "tags", "title")
    if own_clip and request.get("audioId") is None and request.get("musicIndex") is None:
        problems.append(FieldProblem(("request", "audioId"), "required: the clip whose section is replaced"))
    for field in ("infillStartS", "infillEndS"):
        problems += number_problem(request, field)
    return problems


def check_timestamps(request: Mapping[str, Json]) -> list[FieldProblem]:
    """Find what a request for timestamps lacks: the song, and its clip by id or by index."""
    indexed = request.get("musicIndex") is not None
    return _texts(request, "taskId", *(() if indexed else ("audioId",)))


def require_texts(*fields: str) -> Check:
    """The check of a route that needs nothing but some texts."""
    return lambda request: _texts(request, *fields)


def _texts(request: Mapping[str, Json], *required: str) -> list[FieldProblem]:
    """The required texts, then the types of every other field whose type is known."""
    problems = [problem for field in required for problem in text_problem(request, field)]
    for field in _TEXTS:
        problems += [] if field in required else optional_text_problem(request, field)
    for field in _FLAGS:
        problems += optional_flag_problem(request, field)
    return problems
