"""Plots as SVG: lines over a quantity, and figures against their targets. Readable on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from tests.bench.report import Figure, Result

WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 34, 46
COLOURS = ("#3b82c4", "#d9822b", "#2f9e6e", "#b5489a")
LEGEND = 16
"""The height of the name of a line."""
ROW = 20
NAMES = 300
"""The width of the names of figures."""
SPAN = 20.0
"""Figures further from their target than this factor are drawn at the edge."""
_STYLE = (
    "<style>text{font:12px sans-serif;fill:#777}.t{font-size:14px;font-weight:bold}"
    "line,path{stroke:#999;fill:none}.g{stroke-opacity:.3}</style>"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot: its name, and its points as (x, y), by x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows.

    Attributes:
        log: for values above 0 over several magnitudes.
        ticks: where the usual ones mislead.
    """

    label: str
    log: bool = False
    ticks: Sequence[float] = ()


def lines(title: str, x: Axis, y: Axis, drawn: Sequence[Line]) -> str:
    """A plot of lines, with their names above it."""
    top = TOP + LEGEND * len(drawn)
    xs, ys = ([point[i] for line in drawn for point in line.points] for i in (0, 1))
    x_ticks, y_ticks = _ticks(xs, x), _ticks(ys, y)
    to_x = _scale(x_ticks, x, LEFT, WIDTH - RIGHT)
    to_y = _scale(y_ticks, y, HEIGHT - BOTTOM, top)
    parts = [_text(LEFT, 18, title, "start", ' class="t"')]
    for value in x_ticks:
        parts.append(_line(to_x(value), top, to_x(value), HEIGHT - BOTTOM))
        parts.append(_text(to_x(value), HEIGHT - BOTTOM + 16, _number(value), "middle"))
    for value in y_ticks:
        parts.append(_line(LEFT, to_y(value), WIDTH - RIGHT, to_y(value)))
        parts.append(_text(LEFT - 6, to_y(value) + 4, _number(value), "end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x.label, "middle"))
    middle = (top + HEIGHT - BOTTOM) / 2
    parts.append(_text(14, middle, y.label, "middle", f' transform="rotate(-90 14 {middle:g})"'))
    for n, line in enumerate(drawn):
        colour = COLOURS[n % len(COLOURS)]
        points = [(to_x(x_value), to_y(y_value)) for x_value, y_value in line.points]
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
        parts.append(f'<path d="M{path}" style="stroke:{colour};stroke-width:2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points]
        parts.append(_text(LEFT, TOP + LEGEND * n + 8, line.name, "start", f' style="fill:{colour}"'))
    return _svg(WIDTH, HEIGHT, parts)


def targets(results: Sequence[Result]) -> str:
    """How each figure with a target relates to it, with the spread over the rounds: right of the line it is met."""
    rows = [
        (f"{result.bench}: {figure.name}", figure) for result in results for figure in result.figures if figure.target
    ]
    height = TOP + ROW * len(rows) + BOTTOM
    to_x = _scale((1 / SPAN, SPAN), Axis("", log=True), NAMES, WIDTH + 200 - RIGHT)
    parts = [_text(10, 18, "Measured against the target (right of the line: met)", "start", ' class="t"')]
    for value in (0.1, 0.5, 1.0, 2.0, 10.0):
        more = ' style="stroke-opacity:1"' if value == 1 else ""
        parts.append(_line(to_x(value), TOP, to_x(value), height - BOTTOM, more))
        parts.append(_text(to_x(value), height - BOTTOM + 16, f"{value:g}x", "middle"))
    for n, (name, figure) in enumerate(rows):
        at, colour = TOP + ROW * n + ROW / 2, COLOURS[2 if figure.is_met else 1]
        low, mid, high = (
            to_x(_share(figure, value)) for value in (min(figure.values), figure.median, max(figure.values))
        )
        parts.append(_text(NAMES - 8, at + 4, name, "end"))
        parts.append(f'<path d="M{low:.1f} {at:g}L{high:.1f} {at:g}" style="stroke:{colour}"/>')
        parts.append(f'<circle cx="{mid:.1f}" cy="{at:g}" r="4" fill="{colour}"/>')
    return _svg(WIDTH + 200, height, parts)


def _share(figure: Figure, value: float) -> float:
    assert figure.target is not None
    if value <= 0:
        return SPAN if figure.target.is_upper else 1 / SPAN
    share = figure.target.bound / value if figure.target.is_upper else value / figure.target.bound
    return min(max(share, 1 / SPAN), SPAN)


def _ticks(values: Sequence[float], axis: Axis) -> list[float]:
    if axis.ticks:
        return list(axis.ticks)
    low, high = min(values), max(values)
    if axis.log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return [10.0**power for power in range(first, max(last, first + 1) + 1)]
    high = high or 1.0
    step = 10 ** math.floor(math.log10(high / 4))
    step = next(step * factor for factor in (1, 2, 2.5, 5, 10) if high / (step * factor) <= 5)
    return [step * n for n in range(math.ceil(high / step - 1e-9) + 1)]


def _scale(ticks: Sequence[float], axis: Axis, start: float, end: float) -> Callable[[float], float]:
    def place(value: float) -> float:
        return math.log10(value) if axis.log else value

    low, high = place(ticks[0]), place(ticks[-1])
    return lambda value: start + (place(value) - low) / (high - low) * (end - start)


def _number(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _line(x1: float, y1: float, x2: float, y2: float, more: str = "") -> str:
    return f'<line class="g" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"{more}/>'


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}">'
    return "\n".join((head, _STYLE, *parts, "</svg>")) + "\n"
