"""The redactor of log lines, errors and stored payloads.

Owns which parts of a value are masked; the scanner owns the patterns of secrets in plain text. Must not know tasks,
routes or configuration: the secrets arrive as arguments.

It fails closed: a text that takes too much work, or makes the redactor fail, is replaced by its length and digest.
"""

from __future__ import annotations

import hashlib
import json as stdlib_json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from enum import StrEnum
from typing import Any, TypeVar, cast
from urllib.parse import quote, quote_plus

import orjson

from tracker.logs.scanner import CONTEXT, Budget, Span, find_secrets, has_key_word, is_betrayed, windows

MASK = "[redacted]"

_SHORTEST_SECRET = 4
"""Shorter configured values are ignored: masking every "a" would hide the text, not a secret."""
_DEEPEST = 64
"""JSON nested deeper, including JSON in strings, is replaced: it is hostile, and would overflow the stack."""
_STEPS = 1_000_000
"""The budget of one text, see `Budget`: values of JSON, key words, quotes."""
_VALUE_STEPS = 5_000_000
"""The same for decoded JSON: its values were counted before."""
_LARGEST_INNER_JSON = 1 << 20
"""Longer JSON in a string is masked as plain text: decoding it would hold the interpreter lock for long."""
_UNSPLIT = 2 * 65_536
"""Characters; a longer text is searched window by window."""
_MARGIN = 1024
"""Characters beyond the end of a head that are searched, to recognize a secret that the end cuts."""

# The endings of names of members with secrets. `max_tokens` and `secret_env` do not match.
_NAMES = (
    r"(?:authorization|(?:api|access|secret|private|signing)[-_ ]?key"
    r"|token|secret|passw(?:or)?d|passphrase|credentials?)"
)
_SECRET_KEY = re.compile(rf"(?i).*{_NAMES}", re.DOTALL)
_TOKEN_KEY = re.compile(r"(?i).*token", re.DOTALL)
_ASCII_ESCAPE = re.compile(r"\\u00[2-7][0-9a-fA-F]")
_WORD_ESCAPE = re.compile(r"(?<!\\)\\++u00(2[bBd-fD-F]|3[0-9dD]|4[0-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aAeE])")
"""Of letters, digits and ``-_/+=.@~``, at each depth of JSON in JSON: unescaping keeps the structure of JSON."""

_URL_ESCAPE = re.compile(r"%(?:25)*[0-9A-F]{2}")

_PLAIN = frozenset({str, bool, int, float})

T = TypeVar("T")


class OwnText(str):
    """A message of the program itself, which may name configuration keys, variables and files.

    In it, ``…/API_KEY: accounts.default.api_key_env cannot be read`` is not a name with its value. Configured secrets
    and texts with the form of a secret are still masked.
    """

    __slots__ = ()


class Redactor:
    """Masks secrets in texts, JSON and log events.

    It masks configured secrets, except very short ones; values under names of secrets; bearer and basic credentials;
    keys like ``sk-…`` and ``whsec_…``; the token in a callback URL.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._literals: tuple[str, ...] = ()
        self._plain_literals: tuple[str, ...] = ()
        """Those without a key word in them."""
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Mask more secrets from now on."""
        literals = set(self._literals)
        for secret in secrets:
            if len(secret) >= _SHORTEST_SECRET:
                literals |= _spellings(secret)
        self._context = max([CONTEXT, *map(len, literals)])
        self._literals = tuple(sorted(literals, key=len, reverse=True))
        self._plain_literals = tuple([literal for literal in self._literals if not is_betrayed(literal)])

    def text(self, text: str) -> str:
        """Mask secrets in any text; the same object is returned if there are none."""
        if len(text) <= _UNSPLIT and not self._is_window_suspicious(text) and "\\u00" not in text:
            return text
        return _or_digest(lambda: self._text(text, Budget(_STEPS)), lambda: digest_of(text))

    def head(self, text: str, length: int) -> str:
        """The first ``length`` characters of a text, masked; a secret that the end cuts is masked, too."""
        cut = 2 * length + _MARGIN  # masks are shorter than secrets
        return _or_digest(lambda: self._head(text[: cut + self._context], cut)[:length], lambda: digest_of(text[:cut]))

    def known_secrets(self, text: str) -> str:
        """Mask configured secrets only, for texts that a user paid for: other secrets in it are the user's."""
        if len(text) <= _UNSPLIT and not self._has_literal(text):
            return text
        return _or_digest(lambda: self._without_literals(text, Budget(_STEPS)), lambda: digest_of(text))

    def json_text(self, payload: bytes | str) -> str:
        """Mask secrets in a JSON text, also in JSON inside its strings; valid JSON stays valid.

        Anything else is treated as plain text. The same text is returned if nothing was masked.
        """
        text = payload if isinstance(payload, str) else payload.decode("utf-8", errors="replace")
        if len(text) <= _UNSPLIT and not self._is_window_suspicious(text) and "\\u00" not in text:
            return text  # nearly always; runs on every callback
        return _or_digest(
            lambda: self._json_text(text, 0, Budget(_STEPS)), lambda: orjson.dumps(digest_of(text)).decode()
        )

    def value(self, value: T) -> T | object:
        """Mask secrets in decoded JSON; the same object is returned if there are none."""
        return _or_digest(lambda: self._value(value, 0, Budget(_VALUE_STEPS)), lambda: MASK)

    def event(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        """Mask secrets in a log event (a structlog processor); unknown objects become their masked text."""
        if all(map(_is_plain, event.values())) and not self.is_suspicious(_line_of(event)):
            return event  # one search of the line instead of one per value
        return _or_digest(
            lambda: cast("Mapping[str, Any]", self._value(dict(event), 0, Budget(_STEPS))), lambda: {"event": MASK}
        )

    def is_suspicious(self, text: str) -> bool:
        """Whether any pattern could match: the fast path. A false positive costs time, a false negative a secret."""
        return self._some_window(text, self._is_window_suspicious)

    # -- texts ---------------------------------------------------------------------------------------------

    def _text(self, text: str, budget: Budget, *, assigned: bool = True) -> str:
        if "\\u00" in text and len(text) <= _LARGEST_INNER_JSON:
            plain = _unescape(text)
            text = plain if self._some_window(plain, self._has_literal) else text
        if not self.is_suspicious(text):
            return text
        text = self._without_literals(text, budget)
        return _masked(text, find_secrets(text, budget, assigned=assigned))

    def _head(self, text: str, cut: int) -> str:
        """Mask a truncated text, without the last `_MARGIN` characters: they may be part of a longer secret."""
        budget = Budget(_STEPS)
        text = _unescape(text)
        was_cut = len(text) > cut
        text = _masked(text, self._find_literals(text, budget), min(cut, len(text)))
        end = max(len(text) - _MARGIN, 0) if was_cut else len(text)
        return _masked(text, find_secrets(text, budget), end)

    def _without_literals(self, text: str, budget: Budget) -> str:
        if not self._some_window(text, self._has_literal):
            return text
        return _masked(text, self._find_literals(text, budget))

    def _find_literals(self, text: str, budget: Budget) -> Iterator[Span]:
        """The positions of configured secrets, in order; overlapping ones are merged."""
        spans: list[Span] = []
        for literal in self._literals:
            for start in range(0, len(text), 1 << 20):
                end = start + (1 << 20) + len(literal) - 1
                at = text.find(literal, start, end)
                while at >= 0:
                    budget.spend()
                    spans.append((at, at + len(literal)))
                    at = text.find(literal, at + 1, end)
        first = last = 0
        for start, end in sorted(spans):
            if start >= last:
                if last:
                    yield first, last
                first = start
            last = max(last, end)
        if last:
            yield first, last

    def _some_window(self, text: str, holds: Callable[[str], bool]) -> bool:
        return holds(text) if len(text) <= _UNSPLIT else any(map(holds, windows(text, self._context)))

    def _is_window_suspicious(self, text: str) -> bool:
        for literal in self._plain_literals:
            if literal in text:
                return True
        return has_key_word(text)

    def _has_literal(self, text: str) -> bool:
        for literal in self._literals:  # noqa: SIM110 - a generator costs three times as much
            if literal in text:
                return True
        return False

    def _may_hide_secrets(self, text: str) -> bool:
        """Like `is_suspicious`, for encoded JSON: letters of a key may be escaped in it."""
        return self.is_suspicious(text) or self._some_window(text, _has_ascii_escape)

    # -- JSON ----------------------------------------------------------------------------------------------

    def _json_text(self, text: str, depth: int, budget: Budget) -> str:
        if not self._may_hide_secrets(text):
            return text
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return self._odd_json_text(text, depth, budget)
        masked = self._value(value, depth, budget)
        return text if masked is value else orjson.dumps(masked).decode()

    def _odd_json_text(self, text: str, depth: int, budget: Budget) -> str:
        """JSON that orjson rejects (lone surrogates, NaN), or text that is not JSON."""
        try:
            value = stdlib_json.loads(text)
        except (ValueError, RecursionError):
            plain = _unescape(text)
            masked = self._text(plain, budget)
            return text if masked == plain else masked
        masked_value = self._value(value, depth, budget)
        return text if masked_value is value else stdlib_json.dumps(masked_value)

    def _value(self, value: object, depth: int, budget: Budget) -> object:
        """Mask within a value; the same object is returned if nothing was masked."""
        budget.spend()
        match value:
            case OwnText():
                return self._text(str(value), budget, assigned=False)
            case str():
                return self._string(value, depth, budget)
            case bool() | int() | float() | None:
                return self._number(value)
            case dict():
                if depth > _DEEPEST:
                    return MASK
                pairs = {self._key(key, budget): self._member(key, item, depth, budget) for key, item in value.items()}
                same = all(pairs.get(key, pairs) is item for key, item in value.items())
                return value if same else pairs
            case list() | tuple() | set() | frozenset():
                if depth > _DEEPEST:
                    return MASK
                items = [self._value(item, depth + 1, budget) for item in value]
                same = isinstance(value, list) and all(map(_is, items, value))
                return value if same else items
            case bytes() | bytearray():
                return self._text(bytes(value).decode("utf-8", errors="replace"), budget)
            case _:
                return self._text(str(value), budget)

    def _key(self, key: object, budget: Budget) -> str:
        return self._text(key if isinstance(key, str) else str(key), budget)

    def _member(self, key: object, item: object, depth: int, budget: Budget) -> object:
        if not isinstance(key, str) or not _SECRET_KEY.fullmatch(key[-CONTEXT:]):
            return self._value(item, depth + 1, budget)
        if isinstance(item, str | bytes) or item is None or isinstance(item, bool):
            return MASK if item and not isinstance(item, bool) else item
        if isinstance(item, int | float):
            return item if _TOKEN_KEY.fullmatch(key[-CONTEXT:]) else MASK  # a number of tokens is a count
        return self._masked_leaves(item, depth + 1, budget)

    def _masked_leaves(self, value: object, depth: int, budget: Budget) -> object:
        """A container under a name of a secret: its texts are masked, its numbers are not."""
        budget.spend()
        if depth > _DEEPEST:
            return MASK
        match value:
            case dict():
                return {
                    self._key(key, budget): self._masked_leaves(item, depth + 1, budget) for key, item in value.items()
                }
            case list() | tuple():
                return [self._masked_leaves(item, depth + 1, budget) for item in value]
            case bool() | int() | float() | None:
                return value
            case _:
                return MASK

    def _string(self, text: str, depth: int, budget: Budget) -> str:
        if text[:1] in {"{", "["} and depth < _DEEPEST and len(text) <= _LARGEST_INNER_JSON:
            return self._json_text(text, depth + 1, budget)
        return self._text(text, budget)

    def _number(self, value: object) -> object:
        """A secret of digits may be a number."""
        if value is None or isinstance(value, bool) or not self._literals:
            return value
        return MASK if self._has_literal(str(value)) else value


def digest_of(text: str) -> str:
    """The replacement of a text that must not be shown at all."""
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return f"{MASK} {len(text)} characters, sha256 {digest}"


def _or_digest(mask: Callable[[], T], digest: Callable[[], T]) -> T:
    """The masked value; the digest if masking fails or takes too much work."""
    try:
        return mask()
    except Exception:  # noqa: BLE001 - TooMuchWork, RecursionError, MemoryError and any other
        return digest()


def _masked(text: str, spans: Iterable[Span], length: int | None = None) -> str:
    """Replace the spans of a text, or of its first ``length`` characters; the same object without spans."""
    end = len(text) if length is None else length
    pieces: list[str] = []
    done = 0
    for first, last in spans:
        if first >= end:
            break
        pieces += (text[done:first], MASK)
        done = last
    if not pieces and end >= len(text):
        return text
    pieces.append(text[done:end])
    return "".join(pieces)


def _unescape(text: str) -> str:
    return _WORD_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def _has_ascii_escape(text: str) -> bool:
    return "\\u00" in text and _ASCII_ESCAPE.search(text) is not None


def _is_plain(value: object) -> bool:
    """Whether the text of a value shows all of it.

    Including enums makes a line about a task that ended cost 13 us instead of 28.
    """
    return value is None or value.__class__ in _PLAIN or isinstance(value, StrEnum)


def _line_of(event: Mapping[str, Any]) -> str:
    return " ".join([f"{key} {value}" for key, value in event.items()])


def _is(one: object, other: object) -> bool:
    return one is other


def _spellings(secret: str) -> set[str]:
    """The forms of a secret: plain, in a JSON string, in a URL."""
    ascii_json = stdlib_json.dumps(secret)[1:-1]
    json_text = stdlib_json.dumps(secret, ensure_ascii=False)[1:-1]
    in_url = {spell(secret, safe, errors="replace") for spell in (quote, quote_plus) for safe in ("", "/")}
    in_url |= {quote(text) for text in in_url}  # a URL within a URL
    in_url |= {_URL_ESCAPE.sub(lambda found: found[0].lower(), text) for text in in_url}
    return {secret, json_text, ascii_json, ascii_json.replace("/", "\\/"), *in_url}
