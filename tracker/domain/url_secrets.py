"""Mask what grants access in URLs: the values of their query, user names with passwords, and fragments.

A signed URL of an output works for whoever has it. Must not know what a URL leads to. A signature in the path of a URL
is not recognized.
"""

from __future__ import annotations

import re
from typing import Any

from tracker.domain.outputs import is_signing

Json = Any

_CHARACTERS = r"(?:[^\s\"'<>\\]++|\\++(?:u[0-9a-fA-F]{4}|/))"
_URL = re.compile(rf"(?i)([a-z][a-z0-9+.-]{{0,40}}+:(?:\\*+/){{2}})({_CHARACTERS}+)")
"""Also in JSON in a text, at each depth: there slashes and ampersands may be escaped.

No search begins anew within the same run of characters: a text of the service must not hold the interpreter for long.
"""
_USER = re.compile(r"[^/?#\\]*@")
_SEPARATOR = re.compile(r"(&(?:amp;)?|;|(?<!\\)\\++u0026)")
_MARK = re.compile(r"[?#]|(?<!\\)\\++u00(?:3[fF]|23)")
_HARMLESS = 8
"""Characters; a shorter value of a parameter that does not sign is a number or a name."""


class UrlSecrets:
    """Masks the URLs of one document. The same value always becomes the same mask, and two values never do."""

    def __init__(self) -> None:
        self._masks: dict[str, str] = {}

    def mask(self, value: Json) -> Json:
        """Decoded JSON without secrets in its URLs."""
        match value:
            case str():
                return _URL.sub(lambda found: found[1] + self._rest(found[2]), value) if ":" in value else value
            case dict():
                return {self.mask(name): self.mask(item) for name, item in value.items()}
            case list() | tuple():
                return [self.mask(item) for item in value]
            case _:
                return value

    def _rest(self, text: str) -> str:
        """A URL after its scheme."""
        if user := _USER.match(text):
            text = f"{self._number(user[0][:-1])}@{text[user.end() :]}"
        mark = _MARK.search(text)
        if mark is None:
            return text
        pieces = _SEPARATOR.split(text[mark.end() :])
        return text[: mark.end()] + "".join(
            piece if n % 2 else self._parameter(piece) for n, piece in enumerate(pieces)
        )

    def _parameter(self, text: str) -> str:
        name, equals, value = text.partition("=")
        if not equals:
            name, value = "", text
        if not value or (len(value) <= _HARMLESS and not is_signing(name)):
            return text
        return f"{name}{equals}{self._number(value)}"

    def _number(self, secret: str) -> str:
        return self._masks.setdefault(secret, f"[redacted-{len(self._masks) + 1}]")
