"""The coarse size of what a request asks for, such as ``10s 720p``: larger jobs take longer.

There are few different sizes, whatever a request holds, since each has durations of its own that are stored.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Final

_PLACES: Final = ("parameters", "input")
"""Objects of a request that hold such fields too. Source: the DashScope routes, see their ``fields``."""
_LENGTHS: Final = ("duration", "seconds", "duration_seconds", "durationSeconds")
_DETAILS: Final = ("resolution", "size", "mode", "quality")
"""The first of them that is understood counts."""
_LENGTH_STEPS_S: Final = (5, 10, 15, 20, 30, 60, 120, 300, 600)
_SIDE_STEPS: Final = (480, 720, 1080, 1440, 2160)
"""Pixels of the shorter side."""
_WORDS: Final = {
    "std": "720p",
    "pro": "1080p",
    "1k": "1080p",
    "2k": "1440p",
    "4k": "2160p",
    **{word: word for word in ("low", "medium", "high", "standard", "hd")},
}
"""Names of a resolution or a quality. Source: the ``fields`` of the Kling and OpenAI routes."""
_SIDES: Final = re.compile(r"(\d{2,5})\s*[x*]\s*(\d{2,5})", re.ASCII)
_HEIGHT: Final = re.compile(r"(\d{3,4})p?", re.ASCII)
_NUMBER: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)s?", re.ASCII)


def coarse_size(request: object) -> str | None:
    """The size that a request asks for; None if it has none that is recognised.

    Args:
        request: the provider body.
    """
    if not isinstance(request, Mapping):
        return None
    places = [request, *(place for name in _PLACES if isinstance(place := request.get(name), Mapping))]
    found = (_first(places, _LENGTHS, _length), _first(places, _DETAILS, _detail))
    return " ".join(filter(None, found)) or None


def _first(places: list[Mapping[str, Any]], names: tuple[str, ...], read: Any) -> str | None:  # noqa: ANN401
    for name in names:
        for place in places:
            value = place.get(name)
            if isinstance(value, str | int | float) and (size := read(str(value).strip().lower())) is not None:
                return str(size)
    return None


def _length(text: str) -> str | None:
    match = _NUMBER.fullmatch(text)
    return None if match is None else f"{_step(float(match[1]), _LENGTH_STEPS_S)}s"


def _detail(text: str) -> str | None:
    if (match := _SIDES.fullmatch(text)) is not None:
        return f"{_step(min(int(match[1]), int(match[2])), _SIDE_STEPS)}p"
    if (match := _HEIGHT.fullmatch(text)) is not None:
        return f"{_step(int(match[1]), _SIDE_STEPS)}p"
    return _WORDS.get(text)


def _step(value: float, steps: tuple[int, ...]) -> int:
    """The smallest step that is not less than the value, or the last one."""
    return steps[min(bisect_left(steps, value), len(steps) - 1)]
