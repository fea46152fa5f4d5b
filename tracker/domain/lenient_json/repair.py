"""What can be read of JSON that no parser takes: trailing commas, comments, other quotes, nesting without end, a cut.

Owns the syntax that is forgiven. It must not guess: a value that is cut off is left out. It works without recursion,
in one pass, and gives up after `MAX_TOKENS`: what is paid for and proves it (an id) stands near the beginning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

Json = Any

MAX_TOKENS = 20_000
"""Some 10 ms; what is longer counts as cut off there."""
MAX_DEPTH = 200
"""What is nested deeper is read as null."""

_TOKEN = re.compile(
    r"""[\s\x00\ufeff]*+(?:
      (?P<text>"[^"\\]*+(?:\\.[^"\\]*+)*"|'[^'\\]*+(?:\\.[^'\\]*+)*')
    | (?P<mark>[{}\[\]:,])
    | (?P<note>//[^\n]*+|/\*[^*]*+(?:\*(?!/)[^*]*+)*\*/)
    | (?P<word>[^\s{}\[\]:,"'/][^\s{}\[\]:,"']*+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS = {"true": True, "True": True, "false": False, "False": False}
_NOTHINGS = frozenset({"null", "None", "undefined", "NaN", "nan", "Infinity", "-Infinity", "inf", "-inf"})
_EMPTY: tuple[Json, ...] = (None, "")
_NUMBER = re.compile(r"[-+]?\d{1,18}(\.\d+)?([eE][-+]?\d{1,3})?")


@dataclass(frozen=True, slots=True)
class Broken:
    """What was read.

    Attributes:
        value: an object or a list with something in it.
        is_cut: the end is missing.
    """

    value: Json
    is_cut: bool


@dataclass(slots=True)
class _Level:
    """One container that is open. ``key``: read, its value awaited. ``late``: where it belongs once it has a value."""

    holder: dict[str, Json] | list[Json]
    late: tuple[dict[str, Json], str] | None = None
    key: str | None = None
    last: str | None = None

    def add(self, value: Json) -> None:
        if self.late is not None and (isinstance(self.holder, list) or self.key is not None):
            self.late[0][self.late[1]] = self.holder
            self.late = None
        if isinstance(self.holder, list):
            self.holder.append(value)
        elif self.key is not None:
            if value not in _EMPTY or not self.holder.get(self.key):
                self.holder[self.key] = value
            self.key = None
        elif isinstance(value, (str, int, float)):
            self.last = str(value)


def parse_broken(text: str, start: int) -> Broken | None:
    """Read as much as can be read.

    Args:
        text: the document, and perhaps more.
        start: where its first bracket stands.

    Returns:
        What was read; None when it is nothing.
    """
    reader = _Reader()
    at = start
    for _ in range(MAX_TOKENS):
        token = _TOKEN.match(text, at)
        if token is None:
            break
        at = token.end()
        if token["mark"] is not None:
            if reader.take_mark(token["mark"]):
                return Broken(reader.root, is_cut=False) if reader.root else None
        elif not reader.levels:
            return None
        elif token["text"] is not None:
            reader.take_value(_unescaped(token["text"][1:-1]))
        elif token["word"] is not None and at < len(text):  # at the very end it may be the beginning of a longer one
            reader.take_value(_value_of(token["word"]))
    return Broken(reader.root, is_cut=True) if reader.root else None


class _Reader:
    """The containers that are open, and the outermost."""

    def __init__(self) -> None:
        self.levels: list[_Level] = []
        self.root: Json = None
        self._skipped = 0  # brackets open beyond MAX_DEPTH

    def take_mark(self, mark: str) -> bool:
        """Take a bracket, colon or comma; whether it ends the document."""
        if mark in "{[":
            self._open(mark)
        elif mark in "}]":
            if self._skipped:
                self._skipped -= 1
            elif self.levels:
                self.levels.pop()
            return not self.levels
        elif self.levels and not self._skipped:
            level = self.levels[-1]
            level.key, level.last = (level.last if mark == ":" else None), None
        return not self.levels

    def take_value(self, value: Json) -> None:
        """Take a text, number or word."""
        if not self._skipped:
            self.levels[-1].add(value)

    def _open(self, mark: str) -> None:
        if self._skipped or len(self.levels) >= MAX_DEPTH:
            self._skipped += 1
            return
        level = _Level({} if mark == "{" else [])
        if self.levels:
            around = self.levels[-1]
            if isinstance(around.holder, dict) and around.key is not None and around.holder.get(around.key):
                level.late, around.key = (around.holder, around.key), None  # empty it would hide what came before
            else:
                around.add(level.holder)
        else:
            self.root = level.holder
        self.levels.append(level)


def _value_of(word: str) -> Json:
    if word in _WORDS:
        return _WORDS[word]
    if word in _NOTHINGS:
        return None
    number = _NUMBER.fullmatch(word)
    if number is None:
        return word
    return float(word) if number[1] or number[2] else int(word)


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(_character, text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _character(found: re.Match[str]) -> str:
    escape = found[1]
    return chr(int(escape[1:], 16)) if len(escape) > 1 else _ESCAPES.get(escape, escape)
