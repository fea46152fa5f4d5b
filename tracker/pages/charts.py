"""Charts as numbers for SVG: x in per cent, y in pixels, so that nothing scales or distorts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tracker.domain.ends import EndCounts, HourOfRoute, percentile_s

BARS_HEIGHT = 64.0
CURVES_HEIGHT = 96.0
RATES_HEIGHT = 19.0
DAYS = 7
HOURS = 24
_LEAST = 1.5
"""A part that is there is at least so high, in pixels."""
_STEPS_S = (1, 2, 5, 10, 20, 30, 60, 120, 180, 300, 600, 900, 1200, 1800, 3600, 7200, 14400, 28800, 86400)
"""Ends of the axis of time."""


class Bar(NamedTuple):
    """A rectangle of a day."""

    kind: str
    x: float
    y: float
    width: float
    height: float


class Day(NamedTuple):
    """The label of a day, and what it says in words."""

    name: str
    text: str


def draw_days(days: Mapping[int, EndCounts], today: int) -> tuple[list[Bar], list[Day]]:
    """The ends of a week by day: by callback, by a poll, and by a poll without any callback.

    Args:
        days: by day since 1970.
        today: the last day.
    """
    most = max((day.by_callback + day.by_poll for day in days.values()), default=0)
    bars, names = [], []
    step = 100 / DAYS
    for n, number in enumerate(range(today - DAYS + 1, today + 1)):
        day = days.get(number, EndCounts())
        top = BARS_HEIGHT
        for kind, count in (("band", day.by_callback), ("f-line", day.by_poll - day.lost), ("over", day.lost)):
            if count > 0:
                height = max(count / most * (BARS_HEIGHT - 2), _LEAST)
                top -= height
                bars.append(Bar(kind, n * step + 1, top, step - 4, height))
        date = datetime.fromtimestamp(number * 86400, UTC)
        text = f"{day.by_callback} by callback, {day.by_poll - day.lost} by poll, {day.lost} lost"
        names.append(Day(f"{date:%a}", f"{date:%A}: {text}"))
    return bars, names


class Curves(NamedTuple):
    """The time to finish of a route over a day.

    Attributes:
        area: between the median and the 90th percentile, one polygon for hours without a gap.
        p50, p90: a line for the same.
        top, middle: what the axis ends at, and its half, seconds.
        rates: share of failures of each hour that has any.
    """

    area: Sequence[str]
    p50: Sequence[str]
    p90: Sequence[str]
    top: float
    rates: Sequence[Bar]


def draw_hours(hours: Mapping[int, HourOfRoute], now_hour: int) -> Curves | None:
    """The curves of a route; None if nothing succeeded or failed.

    Args:
        hours: by hour since 1970.
        now_hour: the last hour.
    """
    first = now_hour - HOURS + 1
    points: list[tuple[int, float, float]] = []
    rates = []
    width = 100 / HOURS
    for n in range(HOURS):
        hour = hours.get(first + n)
        if hour is None:
            continue
        if hour.failed:
            share = hour.failed / (hour.failed + hour.succeeded)
            height = max(share * RATES_HEIGHT, 2 * _LEAST)
            rates.append(Bar("f-bad", n * width + 0.6, RATES_HEIGHT - height, width - 1.2, height))
        ordered = sorted(hour.durations_ms)
        p50, p90 = percentile_s(ordered, 50), percentile_s(ordered, 90)
        if p50 is not None and p90 is not None:
            points.append((n, p50, p90))
    if not points and not rates:
        return None
    most = max((p90 for _, _, p90 in points), default=1.0)
    top = float(next((step for step in _STEPS_S if step >= most), most))
    runs: list[list[tuple[float, float, float]]] = []
    for n, p50, p90 in points:
        low, high = (CURVES_HEIGHT * (1 - value / top) for value in (p50, p90))
        at = ((n + 0.5) * width, low, high)
        if runs and at[0] - runs[-1][-1][0] < 1.5 * width:
            runs[-1].append(at)
        else:
            runs.append([at])
    for run in runs:
        # an hour alone is a short line; others reach the edges of their hours
        (left, *begin), (right, *end) = run[0], run[-1]
        run.insert(0, (left - width / 2, begin[0], begin[1]))
        run.append((right + width / 2, end[0], end[1]))
    return Curves(
        area=[_line([(x, high) for x, _, high in run] + [(x, low) for x, low, _ in reversed(run)]) for run in runs],
        p50=[_line([(x, low) for x, low, _ in run]) for run in runs],
        p90=[_line([(x, high) for x, _, high in run]) for run in runs],
        top=top,
        rates=rates,
    )


def _line(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def axis_times(now: datetime) -> tuple[datetime, datetime]:
    """The first hour of the axis of a day, and the middle one."""
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return hour - timedelta(hours=HOURS - 1), hour - timedelta(hours=HOURS // 2 - 1)
