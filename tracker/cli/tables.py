"""Table layout: one line per row if it fits; nothing is cut off.

Ids are never broken, so that they can be copied. On a narrow terminal, sentences are wrapped in their column; if that
is not enough, the last columns go to further, indented lines.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence

GAP = 2
INDENT = 4
SHORT = 12
"""A column of this width or less is not wrapped: ``3 min`` stays together."""
LEAST = 24
"""Minimum width of a wrapped column, which also fits its longest word."""

Style = Callable[[int, str], str]
"""(column, text) -> the text with its colours."""


def table_lines(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None,
    *,
    heading: Style = lambda _column, text: text,
    cell: Style = lambda _column, text: text,
) -> Iterator[str]:
    """The lines of a table on a terminal of ``width`` cells (None: no limit); ``heading`` and ``cell`` add colours."""
    natural = [max(map(cells, texts)) for texts in zip(columns, *rows, strict=True)]
    groups = [range(len(columns))]
    widths: list[int] | None = natural
    if width is not None and _total(natural) > width:
        widths = _shrink(natural, rows, width)
    if widths is None:
        width = max(width or 0, INDENT + LEAST)
        widths = [min(column, width - INDENT) for column in natural]
        groups = list(_spread(widths, width))
    yield from _row_lines(columns, groups, widths, heading)
    for row in rows:
        yield from _row_lines(row, groups, widths, cell)


def cells(text: str) -> int:
    """The width of a text in terminal cells."""
    return sum(map(_cell_count, text)) if not text.isascii() else len(text)


def _cell_count(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _shrink(natural: Sequence[int], rows: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """Widths with wrapped sentences; None if that is not enough."""
    least = []
    for n, column in enumerate(natural):
        is_text = column > SHORT and any(" " in row[n] for row in rows)
        longest = max((cells(word) for row in rows for word in row[n].split()), default=0)
        least.append(min(column, max(LEAST, longest)) if is_text else column)
    if _total(least) > width:
        return None
    widths = [max(low, min(column, width)) for low, column in zip(least, natural, strict=True)]
    while (over := _total(widths) - width) > 0:
        widest = max((n for n in range(len(widths)) if widths[n] > least[n]), key=lambda n: widths[n])
        others = [widths[n] for n in range(len(widths)) if widths[n] > least[n] and n != widest]
        step = max(1, widths[widest] - max([*others, least[widest]]))
        widths[widest] -= min(step, over, widths[widest] - least[widest])
    return widths


def _spread(widths: Sequence[int], width: int) -> Iterator[range]:
    """The columns of each line."""
    start, taken = 0, 0
    for n, column in enumerate(widths):
        indent = INDENT if start else 0
        if n > start and indent + taken + GAP + column > width:
            yield range(start, n)
            start, taken = n, column
        else:
            taken += column + (GAP if n > start else 0)
    yield range(start, len(widths))


def _row_lines(row: Sequence[str], groups: Sequence[range], widths: Sequence[int], style: Style) -> Iterator[str]:
    for group in groups:
        wrapped = {n: wrap(row[n], widths[n]) for n in group}
        for line in range(max(map(len, wrapped.values()))):
            pieces = []
            for n in group:
                text = wrapped[n][line] if line < len(wrapped[n]) else ""
                padding = " " * (widths[n] - cells(text))
                pieces.append((style(n, text) if text else "") + padding)
            indent = " " * INDENT if group.start else ""
            if shown := (indent + (" " * GAP).join(pieces)).rstrip():
                yield shown


def wrap(text: str, width: int) -> list[str]:
    """Break a text at spaces, and inside a word only if it does not fit a line."""
    if cells(text) <= width:
        return [text]
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cells(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if cells(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    return lines
