"""Where in a TOML text a key stands, for messages that name the line.

Owns a scan that is good enough for messages: the parser keeps no positions. Must not judge what it finds.
"""

from __future__ import annotations

import re
from collections import Counter

Path = tuple[str | int, ...]

_PART = r"""(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_TABLE = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]\]?")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")
_PARTS = re.compile(_PART)
_TRIPLES = re.compile(r'"""|' + "'''")
_POSITION = re.compile(r"\(at line (\d+), column \d+\)")


def find_lines(text: str) -> dict[Path, int]:
    """The line of each table and key in a TOML text, first line 1.

    Args:
        text: TOML; what the scan does not understand (keys inside inline tables) is left out.

    Returns:
        Path of the key from the outside in, lists of tables with their index from 0, to its line.
    """
    lines: dict[Path, int] = {}
    tables: Counter[tuple[str, ...]] = Counter()
    here: Path = ()
    inside: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        starts_outside = inside is None
        for quote in _TRIPLES.findall(line):
            if inside is None:
                inside = quote
            elif quote == inside:
                inside = None
        if not starts_outside:
            continue
        table = _TABLE.match(line)
        if table is not None:
            name = _split(table[2])
            here = name
            if table[1] == "[[":
                here = (*name, tables[name])
                tables[name] += 1
                lines.setdefault(name, number)
            lines.setdefault(here, number)
            continue
        key = _KEY.match(line)
        if key is not None:
            lines.setdefault((*here, *_split(key[1])), number)
    return lines


def line_of(path: Path, lines: dict[Path, int]) -> int:
    """The line of a key; of the table around it where the key itself is not found; 1 at last."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return 1


def line_of_fault(message: str, text: str) -> int:
    """The line that the TOML parser names in its message; the last one where it met the end of the text."""
    found = _POSITION.search(message)
    return int(found[1]) if found else max(len(text.splitlines()), 1)


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PARTS.findall(dotted))
