"""Find secrets in plain text in one pass: a tokenizer that finds key words and skips each value once.

Owns the patterns. The work is linear in any text, and limited by a budget. Python's ``re`` holds the interpreter lock
during a call, so each call gets a window of a long text only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]
"""Start and end of a part of a text."""
WINDOW = 65_536
"""Characters per call into C."""
_FIND_STEP = 1 << 20
CONTEXT = 64
"""Characters around a window that are searched with it; no key word is longer."""

_KEY_OF = tuple(
    f"(?<={kind}{separator}key)"
    for kind in ("api", "access", "secret", "private", "signing")
    for separator in ("", "[-_ ]")
)
_ANCHOR = re.compile(
    rf"callbacks|authorization|key(?:{'|'.join(_KEY_OF)})|token|secret|passw(?:or)?d|passphrase|credentials?"
    "|bearer|sk-|whsec_"
)
"""The start or the name of every secret, in lower case. `max_tokens` and `secret_env` do not match."""

_SHAPES = frozenset({"callbacks", "bearer", "sk-", "whsec_"})
"""Key words that start a secret; the others end its name."""

_HINTS = tuple(
    re.compile(part).search
    for part in (
        "k(?:[s-]|e[ny])",  # callbacks, sk-, token, key
        "cre[td]",  # secret, credential
        "h(?:oriz|sec_)",  # authorization, whsec_
        "pass[wp]",  # passwd, passphrase
        "bearer",
    )
)
"""Each key word has one of these parts in it. They are few, and begin with plain characters: this search runs on every
callback, and is twice as fast as one for each word, and eight times as fast as one for all.
"""
_KEY_HINT = re.compile(rf"key(?:{'|'.join(_KEY_OF)})")
_KEY_LIKE_HINT = re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{8}")

# All quantifiers are possessive: without backtracking, each pattern reads a character once.
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
    """The work that one text may take, in steps of about a microsecond."""

    __slots__ = ("_left",)

    def __init__(self, steps: int) -> None:
        self._left = steps

    def spend(self, steps: int = 1) -> None:
        """Count work; raises `TooMuchWork` when the budget is used up."""
        self._left -= steps
        if self._left < 0:
            raise TooMuchWork


def has_key_word(text: str) -> bool:
    """Whether a text of at most a few windows may contain a secret: the fast path. A false positive costs time."""
    lower = text.lower()
    for find in _HINTS:
        if find(lower) is not None:
            return _has_word(text, lower)
    return False


def _has_word(text: str, lower: str) -> bool:
    return (
        # every pattern above needs one of these words
        _has_plain_word(lower)
        # usage counters (`max_tokens`) are in many payloads and are harmless
        or ("token" in lower and lower.count("token") > lower.count("tokens"))
        or ("key" in lower and _KEY_HINT.search(lower) is not None)
        or ("sk-" in lower and _KEY_LIKE_HINT.search(text) is not None)
    )


def is_betrayed(secret: str) -> bool:
    """Whether `has_key_word` holds for every text with this secret in it."""
    return _has_plain_word(secret.lower())


def _has_plain_word(lower: str) -> bool:
    return (
        "callbacks" in lower
        or "authorization" in lower
        or "secret" in lower
        or "passw" in lower
        or "passphrase" in lower
        or "credential" in lower
        or "bearer" in lower
        or "whsec_" in lower
    )


def windows(text: str, context: int = CONTEXT) -> Iterator[str]:
    """A text in overlapping pieces: any part up to ``context`` characters is complete in one of them."""
    for start in range(0, len(text), WINDOW):
        yield text[max(0, start - context) : start + WINDOW + context]


def find_secrets(text: str, budget: Budget, *, assigned: bool = True) -> Iterator[Span]:
    """The spans of a text that look like secrets, in order, without overlaps; raises `TooMuchWork`.

    It finds values after names of secrets (``api_key=…``, at each depth of JSON in JSON), unless ``assigned`` is false;
    bearer credentials; keys like ``sk-…`` and ``whsec_…``; the token in a callback URL.
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
    """Each key word: start, end, and the word in lower case."""
    for start in range(0, len(text), WINDOW):
        base = max(0, start - CONTEXT)
        window = text[base : start + WINDOW + CONTEXT]
        if len(text) > WINDOW and not has_key_word(window):
            continue
        # lower() keeps positions except for this letter
        for found in _ANCHOR.finditer(window.replace("\u0130", "I").lower()):
            at = base + found.start()
            if start <= at < start + WINDOW:
                yield at, base + found.end(), found[0]


def _secret_like(text: str, start: int, end: int, word: str) -> Span | None:
    """The secret at one of `_SHAPES`."""
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
    """The value assigned to a name that ends here; None without one, or if it is masked."""
    assigned = _ASSIGNED.match(text, end, end + WINDOW)
    if assigned is None or _HARMLESS.match(text, assigned.end(), assigned.end() + WINDOW):
        return None
    return _value_at(text, assigned.end(), budget)


def _value_at(text: str, start: int, budget: Budget) -> Span | None:
    """The value at a position: within its quotes, or up to a blank or separator."""
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
    """The end of a list or object by its brackets, except those in strings; else the end of the text."""
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
    """The end of a quoted value: its closing quote, one of an outer level, or the end of the text.

    JSON in JSON doubles the backslashes and adds one, so a quote with as many backslashes as the opening one closes the
    value. Each backslash at the end of the value adds two at its level. Fewer belong to an outer level.
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
    """Like ``text.find``, in short steps."""
    for first in range(start, len(text), _FIND_STEP):
        at = text.find(wanted, first, first + _FIND_STEP)
        if at >= 0:
            return at
    return -1


def _slashes_before(text: str, start: int, end: int, budget: Budget) -> int:
    """The number of backslashes before a position, from ``start`` on."""
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
