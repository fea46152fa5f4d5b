"""Where the text of a synchronous answer stands in the APIs that gateways translate into one another.

It must not know when an answer is one. **Source** (read 2026-11): https://platform.openai.com/docs/api-reference (chat
and responses); https://docs.anthropic.com/en/api/messages; https://ai.google.dev/api/generate-content;
https://github.com/ollama/ollama/blob/main/docs/api.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tracker.providers.reading.layers import layers
from tracker.providers.reading.results import find_text_output

if TYPE_CHECKING:
    from tracker.domain.task import Output
    from tracker.providers.route import Json

MESSAGE_TEXTS = ("content", "text", "message", "audio")
_TEXTS = ("output_text", "choices", "message", "content", "output", "candidates")
_PLAIN = frozenset({"output_text"})
"""A text alone under the other names may be a word about the call."""
_PARTS = ("text", "content", "message", "delta", "value", "transcript", "parts")


def find_texts(body: Mapping[str, Json]) -> tuple[Output, ...]:
    """The text of an answer in the shape of any of these APIs, as one output; none where there is none."""
    for layer in layers(body):
        for name in _TEXTS:
            value = layer.get(name)
            text = find_text_output(text_in(value)) if name in _PLAIN or isinstance(value, (list, dict)) else None
            if text is not None:
                return (text,)
    return ()


def text_in(value: Json, depth: int = 5) -> str | None:
    """The text in a text, in parts of one, or in an object around them; None when there is none."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, list):
        parts = (text_in(part, depth - 1) for part in value) if depth else ()
        return "".join(part for part in parts if part) or None
    if not isinstance(value, dict) or not depth:
        return None
    return next((text for name in _PARTS if (text := text_in(value.get(name), depth - 1))), None)
