"""Finds secrets in plain text in one pass: a tokenizer that finds key words and skips each value once.

Owns the patterns. The work is linear in the text, whatever the text is, and counted against a budget. Python's ``re``
holds the interpreter lock for the whole of a call, so no call sees more than a window of a long text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]
"""Start and end of a part of a text."""
WINDOW = 65_536
"""Characters that one call into C looks at."""
_FIND_STEP = 1 << 20
CONTEXT = 64
"""Characters around a window that are looked at with it; no key word is longer."""

_KEY_OF = tuple(
    f"(?<={kind}{separator}key)"
    for kind in ("api", "access", "secret", "private", "signing")
    for separator in ("", "[-_ ]")
)
_ANCHOR = re.compile(
    rf"callbacks|authorization|key(?:{'|'.join(_KEY_OF)})|token|secret|passw(?:or)?d|passphrase|credentials?"
    "|bearer|sk-|whsec_"
)
"""What every secret begins with, or is named by; searched in folded text. `max_tokens`, `secret_env` name none."""

_SHAPES = frozenset({"callbacks", "bearer", "sk-", "whsec_"})
"""Key words that begin a secret; the others end the name of one."""

_KEY_HINT = re.compile(rf"key(?:{'|'.join(_KEY_OF)})")
_KEY_LIKE_HINT = re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{8}")

# All quantifiers are possessive: no pattern steps back, so each reads a character once.
_SLASH = r"(?:\\*+/|%(?:25)*2[fF])"
_ENCODED_SLASH = re.compile(r"%(?:25){0,8}2f\Z")
_CALLBACK = re.compile(rf"{_SLASH}[\w.-]++{_SLASH}(?!\[redacted\])")
_CALLBACK_TOKEN = re.compile(r"[^\s/?#\"'\\&<>%,;)\]}]++")
_ASSIGNED = re.compile(r"\\*+[\"']?\s*+[:=]\s*+(?:[bB](?=[\"']))?")
_HARMLESS = re.compile(
    r"(?i)\\*+[\"']?(?:(?:bearer |basic )?\[redacted\]|(?:null|none|true|false)(?![^\s\"'\\&,;.)\]}]))"
)
_OPENING = re.compile(r"(\\*+)([\"'])")
_CONTAINER = re.compile(r"[\[{]\s*+(?:\\*+[\"'{\[]|$)")
_MARK = re.compile(r"[\[\]{}\"']")
_SCHEME = re.compile(r"(?i)(?:(?:bearer|basic)\s++)?")
_BARE_VALUE = re.compile(r"[^\s\"'\\&,;)\]}]++")
_BEARER = re.compile(r"\s++(?=[A-Za-z0-9._~+/=-]{8})")
_BEARER_VALUE = re.compile(r"[A-Za-z0-9._~+/=-]++")
_SK_VALUE = re.compile(r"[A-Za-z0-9_-]++")
_WHSEC_VALUE = re.compile(r"[A-Za-z0-9+/=_-]++")
_SK_LENGTH = 8


class TooMuchWork(Exception):
    """A text has more key words, or JSON more values, than the budget allows."""


class Budget:
    """The work that one text may cost, in steps of about a microsecond.

    Args:
        steps: how many.
    """

    __slots__ = ("_left",)

    def __init__(self, steps: int) -> None:
        self._left = steps

    def spend(self, steps: int = 1) -> None:
        """Count work.

        Raises:
            TooMuchWork: the budget is used up.
        """
        self._left -= steps
        if self._left < 0:
            raise TooMuchWork


def has_key_word(text: str) -> bool:
    """Whether a text of at most a few windows may hold a secret: the fast path. A wrong yes only costs time."""
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
        or ("sk-" in lower and _KEY_LIKE_HINT.search(text) is not None)
    )


def windows(text: str, context: int = CONTEXT) -> Iterator[str]:
    """A text in overlapping pieces: whatever is at most ``context`` long is in one of them as a whole."""
    for start in range(0, len(text), WINDOW):
        yield text[max(0, start - context) : start + WINDOW + context]


def find_secrets(text: str, budget: Budget, *, assigned: bool = True) -> Iterator[Span]:
    """Where a text holds what looks like a secret: start and end of each, in order, without overlaps.

    Found are: values after a name that ends like a secret's (``api_key=…``, at each depth of JSON in JSON); bearer
    credentials; keys that look like ``sk-…`` or ``whsec_…``; the token in a callback URL.

    Args:
        text: any text.
        budget: what the work is counted against.
        assigned: whether to look for values after names.

    Raises:
        TooMuchWork: the budget is used up.
    """
    done = 0
    for start, end, word in _anchors(text):
        if start < done:
            continue
        budget.spend()
        if word in _SHAPES:
            found = _secret_like(text, start, end, word)
        else:
            found = _assigned_to(text, end, budget) if assigned else None
        if found is not None:
            yield found
            done = found[1]


def _anchors(text: str) -> Iterator[tuple[int, int, str]]:
    """Each key word: start, end, and itself in lower case."""
    for start in range(0, len(text), WINDOW):
        base = max(0, start - CONTEXT)
        window = text[base : start + WINDOW + CONTEXT]
        if len(text) > WINDOW and not has_key_word(window):
            continue
        # lower() keeps places, but for one letter
        for found in _ANCHOR.finditer(window.replace("\u0130", "I").lower()):
            at = base + found.start()
            if start <= at < start + WINDOW:
                yield at, base + found.end(), found[0]


def _secret_like(text: str, start: int, end: int, word: str) -> Span | None:
    """The secret that is known by its shape, at one of `_SHAPES`."""
    match word:
        case "callbacks":
            if text[start - 1 : start] != "/" and not _ENCODED_SLASH.search(text[max(0, start - 20) : start].lower()):
                return None
            found = _CALLBACK.match(text, end, end + WINDOW)
            return found and _run(_CALLBACK_TOKEN, text, found.end())
        case "bearer":
            found = None if _is_word(text, start - 1) else _BEARER.match(text, end, end + WINDOW)
            return found and _run(_BEARER_VALUE, text, found.end())
        case _:
            if _is_ascii_word(text, start - 1) or text[start:end] != word:
                return None
            found_run = _run(_SK_VALUE if word == "sk-" else _WHSEC_VALUE, text, end)
            if found_run is None or (word == "sk-" and found_run[1] - end < _SK_LENGTH):
                return None
            return start, found_run[1]


def _assigned_to(text: str, end: int, budget: Budget) -> Span | None:
    """The value that is assigned to a name which ends here; None for one that is masked, or none at all."""
    assigned = _ASSIGNED.match(text, end, end + WINDOW)
    if assigned is None or _HARMLESS.match(text, assigned.end(), assigned.end() + WINDOW):
        return None
    return _value_at(text, assigned.end(), budget)


def _value_at(text: str, start: int, budget: Budget) -> Span | None:
    """The value that stands at a place: what is within its quotes, or up to a blank or separator."""
    opening = _OPENING.match(text, start, start + WINDOW)
    if opening is not None:
        first = opening.end()
        last = _closing(text, first, len(opening[1]), opening[2], budget)
        return (first, last) if last > first else None
    if _CONTAINER.match(text, start, start + WINDOW):
        return start, _container_end(text, start, budget)
    scheme = _SCHEME.match(text, start, start + WINDOW)
    found = _run(_BARE_VALUE, text, scheme.end() if scheme else start)
    return found and (start, found[1])


def _container_end(text: str, start: int, budget: Budget) -> int:
    """Where a list or an object ends: its brackets are balanced, those in its strings apart; else with the text."""
    depth, at = 0, start
    while at < len(text):
        budget.spend()
        mark = _MARK.search(text, at, at + WINDOW)
        if mark is None:
            at += WINDOW
            continue
        at = mark.end()
        if mark[0] in "[{":
            depth += 1
        elif mark[0] in "]}":
            depth -= 1
            if depth <= 0:
                return at
        else:
            slashes = _slashes_before(text, start, at - 1, budget)
            at = _closing(text, at, slashes, mark[0], budget) + slashes + 1
    return len(text)


def _closing(text: str, start: int, depth: int, quote: str, budget: Budget) -> int:
    """Where a quoted value ends: at the quote that closes it, at one of a level further out, or with the text.

    JSON in JSON doubles the backslashes and adds one, so a quote with as many before it as the opening one had closes
    it. Each backslash at the value's own end adds two at its level. Fewer belong to a level around.
    """
    at = _find(text, quote, start)
    while at >= 0:
        budget.spend()
        slashes = _slashes_before(text, start, at, budget)
        if slashes <= depth or (slashes - depth) % (2 * (depth + 1)) == 0:
            return max(at - min(slashes, depth), start)
        at = _find(text, quote, at + 1)
    return len(text)


def _find(text: str, wanted: str, start: int) -> int:
    """As ``text.find``, in steps that do not take long."""
    for first in range(start, len(text), _FIND_STEP):
        at = text.find(wanted, first, first + _FIND_STEP)
        if at >= 0:
            return at
    return -1


def _slashes_before(text: str, start: int, end: int, budget: Budget) -> int:
    """How many backslashes stand before a place; those before ``start`` do not count."""
    at = end
    while at > start and text[at - 1] == "\\":
        at -= 1
    budget.spend((end - at) // 16)
    return end - at


def _run(pattern: re.Pattern[str], text: str, start: int) -> Span | None:
    """A run of characters of one class, window by window; None for an empty one."""
    end = start
    while found := pattern.match(text, end, end + WINDOW):
        end = found.end()
    return None if end == start else (start, end)


def _is_word(text: str, at: int) -> bool:
    return at >= 0 and (text[at].isalnum() or text[at] == "_")


def _is_ascii_word(text: str, at: int) -> bool:
    return at >= 0 and text[at].isascii() and text[at].isalnum()
