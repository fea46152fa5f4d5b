"""Read broken JSON: trailing commas, comments, other quotes, endless nesting, a missing end.

Owns the tolerated syntax errors. It must not guess: a truncated value is omitted. It works without recursion, in one
pass, and stops after `MAX_TOKENS`: the id of a paid job is near the start.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

Json = Any

MAX_TOKENS = 20_000
"""Some 10 ms; a longer document counts as truncated there."""
MAX_DEPTH = 200
"""Deeper values are read as null."""

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
    """The readable part of a broken document: a non-empty object or list."""

    value: Json
    is_truncated: bool


@dataclass(slots=True)
class _Level:
    """An open container. ``key``: its value follows. ``late``: where it is inserted once it has a value."""

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
    """Read as much as possible of a document whose first bracket is at ``start``; None if nothing is readable."""
    reader = _Reader()
    at = start
    for _ in range(MAX_TOKENS):
        token = _TOKEN.match(text, at)
        if token is None:
            break
        at = token.end()
        if token["mark"] is not None:
            if reader.add_mark(token["mark"]):
                return Broken(reader.root, is_truncated=False) if reader.root else None
        elif not reader.levels:
            return None
        elif token["text"] is not None:
            reader.add_value(_unescaped(token["text"][1:-1]))
        elif token["word"] is not None and at < len(text):  # at the end it may be truncated
            reader.add_value(_value_of(token["word"]))
    return Broken(reader.root, is_truncated=True) if reader.root else None


class _Reader:
    """The open containers, and the outermost one."""

    def __init__(self) -> None:
        self.levels: list[_Level] = []
        self.root: Json = None
        self._skipped = 0  # open brackets beyond MAX_DEPTH

    def add_mark(self, mark: str) -> bool:
        """Process a bracket, colon or comma; whether it ends the document."""
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

    def add_value(self, value: Json) -> None:
        """Process a string, number or word."""
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
                level.late, around.key = (around.holder, around.key), None  # an empty one would hide the earlier value
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
