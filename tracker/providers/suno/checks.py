"""What a request must have before it is worth sending, per Suno route.

Owns the required fields. It must not restrict values that grow over time: new models appear, and the upstream
knows them first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tracker.errors import FieldProblem
from tracker.providers.requests import flag_problem, optional_text_problem, text_problem

if TYPE_CHECKING:
    from tracker.providers.base import Json


def check_generate(request: Mapping[str, Json]) -> list[FieldProblem]:
    """Find what a song request lacks.

    **Source**: https://anyint.ai/docs/media-and-music/music-generation (read 2026-11): ``style`` and
    ``title`` are required in custom mode; ``prompt`` is not, when a custom song is instrumental.
    ``callBackUrl`` is required too, but is filled in by the tracker.
    """
    problems = flag_problem(request, "customMode") + flag_problem(request, "instrumental")
    problems += text_problem(request, "model")
    custom = request.get("customMode") is True
    lyricless = custom and request.get("instrumental") is True
    problems += (optional_text_problem if lyricless else text_problem)(request, "prompt")
    for field in ("style", "title"):
        problems += (text_problem if custom else optional_text_problem)(request, field)
    return [*problems, *optional_text_problem(request, "callBackUrl")]
