"""A request for every route: its sample, with a text in it that the sandbox may find its directives in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tracker.providers.registry import Registry
from tracker.providers.route import SAMPLE_PROMPT

Json = Any

MORE: dict[str, dict[str, Json]] = {"openai.responses": {"background": True}}
"""What makes a task of a request that is answered at once otherwise."""


@dataclass(frozen=True, slots=True)
class Song:
    """A finished song of the sandbox, for the routes that make something of one."""

    task_id: str = "song-1"
    audio_id: str = "clip-1"


def request_of(name: str, text: str, song: Song | None = None) -> dict[str, Json]:
    """A valid request of a route.

    Args:
        name: the route.
        text: replaces the prompt; in a field of its own if the sample has no prompt.
        song: what a request names that works on a song.
    """
    route = Registry().find_route(name)
    assert route is not None, name
    song = song or Song()
    ids = {"taskId": song.task_id, "audioId": song.audio_id}
    request: dict[str, Json] = {key: ids.get(key, value) for key, value in route.sample.items()}
    filled: dict[str, Json] = _filled(request, text) | MORE.get(name, {})
    return filled if filled != request or text == SAMPLE_PROMPT else filled | {"note": text}


def _filled(value: Json, text: str) -> Json:
    """A copy of a sample with another prompt."""
    match value:
        case str():
            return text if value == SAMPLE_PROMPT else value
        case dict():
            return {key: _filled(inner, text) for key, inner in value.items()}
        case list():
            return [_filled(inner, text) for inner in value]
        case _:
            return value
