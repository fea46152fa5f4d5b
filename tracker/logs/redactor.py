"""The one redactor for everything that leaves the program's memory: log lines, errors, kept payloads.

Owns what a secret looks like. Must not know tasks, routes or configuration: the secrets arrive as arguments.
"""

from __future__ import annotations

import json as stdlib_json
import re
from collections.abc import Iterable, Mapping, MutableMapping
from enum import StrEnum
from typing import Any, cast
from urllib.parse import quote

import orjson

MASK = "[redacted]"

_SHORTEST_SECRET = 4
"""Shorter configured values are not looked for: masking every "a" would hide the news and no secret."""
_DEEPEST = 64
"""JSON nested deeper than this is replaced whole: it is hostile, and a walk would run out of stack."""

# Alternatives of what a key that carries a secret may end with. `max_tokens` and `secret_env` do not.
_NAMES = (
    r"(?:authorization|(?:api|access|secret|private|signing)[-_ ]?key"
    r"|token|secret|passw(?:or)?d|passphrase|credentials?)"
)
_SECRET_KEY = re.compile(rf"(?i).*{_NAMES}", re.DOTALL)
_TOKEN_KEY = re.compile(r"(?i).*token", re.DOTALL)

# Every pattern is linear in hostile texts, too: one that could begin at each backslash of a long row of them would read
# the row to its end from each.
_SLASH = r"(?:(?<!\\)\\*/|%2[fF])"
# JSON in JSON in JSON doubles the backslashes and adds one: 0, 1, 3, 7, 15, 31, 63, 127.
_QUOTE = r"\\{0,127}[\"']"
_CALLBACK = re.compile(rf"({_SLASH}callbacks{_SLASH}[\w.-]+?{_SLASH})(?!\[redacted\])[^\s/?#\"'\\&<>%,;)\]}}]+")
_PAIR = re.compile(
    rf"(?i)(?P<key>{_NAMES}\\*[\"']?\s*[:=]\s*(?:b(?=[\"']))?)"
    r"(?!\\*[\"']?(?:(?:bearer |basic )?\[redacted\]|null\b|none\b|true\b|false\b))"
    # bounded: an unclosed quote must not make every key scan to the end of a hostile body
    rf"(?:(?P<quote>{_QUOTE})(?P<quoted>.{{0,65536}}?)(?<!\\)(?P=quote)"
    r"|(?:(?:bearer|basic)\s+)?[^\s\"'\\&,;)\]}]+)",
    re.DOTALL,
)
_BEARER = re.compile(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{8,}")
_KEY_LIKE = re.compile(r"(?<![A-Za-z0-9])(?:sk-[A-Za-z0-9_-]{8,}|whsec_[A-Za-z0-9+/=_-]+)")

_KEY_HINT = re.compile(r"(?:api|access|private|signing)[-_ ]?key")


_PLAIN = frozenset({str, bool, int, float})


class Redactor:
    """Masks secrets in texts, JSON and log events.

    Masked are: the configured secrets wherever they appear; values under keys that name a secret; bearer and
    basic credentials; keys that look like ``sk-…`` or ``whsec_…``; the token in a callback URL.

    Args:
        secrets: the values of all configured secrets; empty and very short ones are ignored.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._literals: tuple[str, ...] = ()
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these secrets too, from now on; those known before stay masked."""
        literals = set(self._literals)
        for secret in secrets:
            if len(secret) >= _SHORTEST_SECRET:
                literals |= _spellings(secret)
        longest_first = sorted(literals, key=len, reverse=True)
        self._literals = tuple(longest_first)
        self._any_literal = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def text(self, text: str) -> str:
        """Mask secrets in a text of any kind; the very same text comes back when there are none."""
        if not self.is_suspicious(text):
            return text
        text = self._any_literal.sub(MASK, text)
        text = _CALLBACK.sub(rf"\1{MASK}", text)
        text = _PAIR.sub(_mask_pair, text)
        text = _BEARER.sub(rf"\1{MASK}", text)
        return _KEY_LIKE.sub(MASK, text)

    def known_secrets(self, text: str) -> str:
        """Mask the configured secrets alone, for texts that a user paid for: whatever else looks like one is theirs."""
        return self._any_literal.sub(MASK, text) if any(literal in text for literal in self._literals) else text

    def json_text(self, payload: bytes | str) -> str:
        """Mask secrets in a JSON text, also in JSON inside its strings; valid JSON stays valid.

        Args:
            payload: JSON as it came; what is not JSON is treated as plain text, bytes that are not UTF-8 are
                replaced.

        Returns:
            The same text when nothing had to be masked.
        """
        text = payload if isinstance(payload, str) else payload.decode("utf-8", errors="replace")
        if not self.is_suspicious(text):
            return text
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return self._odd_json_text(text)
        masked = self._value(value, 0)
        return text if masked is value else orjson.dumps(masked).decode()

    def event(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        """Mask secrets in a log event (a structlog processor); unknown objects become their masked text."""
        if all(map(_is_plain, event.values())) and not self.is_suspicious(_line_of(event)):
            return event  # one look at the whole line instead of one at each of its words
        return cast("Mapping[str, Any]", self._value(dict(event), 0))

    def is_suspicious(self, text: str) -> bool:
        """Whether any pattern could match: the fast path. A wrong yes costs time, a wrong no a secret."""
        for literal in self._literals:
            if literal in text:
                return True
        lower = text.lower()
        return (
            # words without which none of the patterns above can match; looking for them one by one is four times as
            # fast as one search with a pattern of alternatives, and this runs on every callback
            "callbacks" in lower
            or "authorization" in lower
            or "secret" in lower
            or "passw" in lower
            or "passphrase" in lower
            or "credential" in lower
            or "bearer" in lower
            or "whsec_" in lower
            # usage counters (`max_tokens`) are in many payloads and make none suspicious
            or ("token" in lower and lower.count("token") > lower.count("tokens"))
            or ("key" in lower and _KEY_HINT.search(lower) is not None)
            or ("sk-" in lower and _KEY_LIKE.search(text) is not None)
        )

    def _odd_json_text(self, text: str) -> str:
        """What orjson refuses: lone surrogates and NaN, which the standard library keeps; or no JSON."""
        try:
            value = stdlib_json.loads(text)
            masked = self._value(value, 0)
            return text if masked is value else stdlib_json.dumps(masked)
        except (ValueError, RecursionError):
            return self.text(text)

    def _value(self, value: object, depth: int) -> object:
        """Mask within a value; the very same object comes back when nothing was masked."""
        match value:
            case str():
                return self._string(value, depth)
            case bool() | int() | float() | None:
                return self._number(value)
            case dict():
                if depth > _DEEPEST:
                    return MASK
                pairs = {self._key(key): self._member(key, item, depth) for key, item in value.items()}
                same = all(pairs.get(key, pairs) is item for key, item in value.items())
                return value if same else pairs
            case list() | tuple() | set() | frozenset():
                if depth > _DEEPEST:
                    return MASK
                items = [self._value(item, depth + 1) for item in value]
                same = isinstance(value, list) and all(map(_is, items, value))
                return value if same else items
            case bytes() | bytearray():
                return self.text(bytes(value).decode("utf-8", errors="replace"))
            case _:
                return self.text(str(value))

    def _key(self, key: object) -> str:
        return self.text(key) if isinstance(key, str) else self.text(str(key))

    def _member(self, key: object, item: object, depth: int) -> object:
        if not isinstance(key, str) or not _SECRET_KEY.fullmatch(key):
            return self._value(item, depth + 1)
        if isinstance(item, str | bytes) or item is None or isinstance(item, bool):
            return MASK if item and not isinstance(item, bool) else item
        if isinstance(item, int | float):
            return item if _TOKEN_KEY.fullmatch(key) else MASK  # a number of tokens is a counter
        return self._masked_leaves(item, depth + 1)

    def _masked_leaves(self, value: object, depth: int) -> object:
        """A container under a secret's name: its texts are masked, its numbers are not."""
        if depth > _DEEPEST:
            return MASK
        match value:
            case dict():
                return {self._key(key): self._masked_leaves(item, depth + 1) for key, item in value.items()}
            case list() | tuple():
                return [self._masked_leaves(item, depth + 1) for item in value]
            case bool() | int() | float() | None:
                return value
            case _:
                return MASK

    def _string(self, text: str, depth: int) -> str:
        if not self.is_suspicious(text):
            return text
        if text[:1] in {"{", "["} and depth < _DEEPEST:
            return self.json_text(text)
        return self.text(text)

    def _number(self, value: object) -> object:
        """A secret made of digits may come as a number."""
        if value is None or isinstance(value, bool) or not self._literals:
            return value
        return MASK if self._any_literal.search(str(value)) else value


def _is_plain(value: object) -> bool:
    """Whether a value is shown as it is, and holds nothing that is not in its text.

    With our own words among them, a line about a task that ended costs 13 us instead of 28.
    """
    return value is None or value.__class__ in _PLAIN or isinstance(value, StrEnum)


def _line_of(event: Mapping[str, Any]) -> str:
    return " ".join([f"{key} {value}" for key, value in event.items()])


def _is(one: object, other: object) -> bool:
    return one is other


def _spellings(secret: str) -> set[str]:
    """How a secret may be written: as it is, inside a JSON string, inside a URL."""
    ascii_json = stdlib_json.dumps(secret)[1:-1]
    json_text = stdlib_json.dumps(secret, ensure_ascii=False)[1:-1]
    in_url = quote(secret, "", errors="replace")
    return {secret, json_text, ascii_json, ascii_json.replace("/", "\\/"), in_url}


def _mask_pair(found: re.Match[str]) -> str:
    mark = found["quote"] or ""
    return f"{found['key']}{mark}{MASK}{mark}" if found["quoted"] != "" else found[0]
