"""The text of the sandbox's language models.

Owns the text, the counting of tokens and the format of server-sent events. Must not know any family's
fields.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html (``event:``, ``data:``, blank line).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import orjson

from tracker.sandbox.prompts import list_texts
from tracker.sandbox.wire import Answer

_CHARACTERS_PER_TOKEN = 4
_PIECE = re.compile(r"\S+\s*")


def reply_to(prompt: str) -> str:
    """Return the answer to a prompt: the number of its words."""
    count = len(prompt.split())
    return f"This is the sandbox. I have read every word of your last message: {count}."


def count_tokens(value: object) -> int:
    """Return about how many tokens the texts of a JSON value are; at least 1."""
    return max(1, sum(-(-len(text) // _CHARACTERS_PER_TOKEN) for text in list_texts(value)))


def cut_in_pieces(text: str) -> list[str]:
    """Return the pieces in which a text is streamed: words, each with the space after it."""
    return _PIECE.findall(text)


def write_event(data: object, name: str | None = None) -> bytes:
    """Write one server-sent event; text goes as it is, everything else as JSON."""
    text = data.encode() if isinstance(data, str) else orjson.dumps(data)
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + text + b"\n\n"


def stream(events: Iterable[bytes]) -> Answer:
    """Build an answer that is a stream of events. It is sent at once: the answer is finished."""
    return Answer(200, b"".join(events), "text/event-stream", {"Cache-Control": "no-cache"})
