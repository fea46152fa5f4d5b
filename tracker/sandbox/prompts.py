"""The search for the prompt of a request.

Owns the search for text in JSON. Must not parse directives: it only finds texts that may hold them.
"""

from __future__ import annotations

from collections.abc import Iterator

from tracker.sandbox.directives import MARK
from tracker.sandbox.templates import dig


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


def read_prompt(body: object, path: str) -> str:
    """Return the text at a dotted path: a string, or that of the last user message in a list of them."""
    found = dig(body, path)
    if isinstance(found, str):
        return found
    for message in reversed(found) if isinstance(found, list) else ():
        if isinstance(message, dict) and message.get("role", "user") == "user":
            return _read_parts(message.get("content", message.get("parts")))
    return ""


def _read_parts(content: object) -> str:
    """Return the text of a message's content: a string, or a list of parts that hold texts."""
    if isinstance(content, str):
        return content
    parts = (part.get("text") for part in content if isinstance(part, dict)) if isinstance(content, list) else ()
    return "\n".join(text for text in parts if isinstance(text, str))
