"""Where the text of a request stands, in bodies that have no ``prompt`` of their own.

Owns the search for text in JSON. Must not read directives: it only finds what may hold them.
"""

from __future__ import annotations

from collections.abc import Iterator

from tracker.sandbox.directives import MARK


def list_texts(value: object) -> Iterator[str]:
    """Return every string inside a JSON value, depth first, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from list_texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from list_texts(inner)


def find_scripted(value: object) -> str:
    """Return the strings that hold directives, joined by newlines; empty if none does."""
    return "\n".join(text for text in list_texts(value) if MARK in text)


def read_parts(content: object, kinds: tuple[str, ...] = ("text",)) -> str:
    """Return the text of a message's content: a string, or a list of parts that hold texts.

    Args:
        content: The content.
        kinds: Under which key a part holds its text.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get(kind) for part in content if isinstance(part, dict) for kind in kinds)
    return "\n".join(text for text in parts if isinstance(text, str))


def find_last_said(messages: object, role: str = "user", content: str = "content") -> str:
    """Return the text of the last message with this role; empty if there is none.

    Args:
        messages: The list of messages.
        role: Whose.
        content: Under which key a message holds its content.
    """
    if not isinstance(messages, list):
        return ""
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role", role) == role:
            return read_parts(message.get(content))
    return ""
