"""The table of routes and ways at the end of a test run.

The tests note their cells as properties of their reports: these travel from the workers of pytest-xdist to the process
that prints the summary.
"""

from __future__ import annotations

from typing import Literal, get_args

import pytest

Way = Literal["callback", "poll", "race", "answer"]
WAYS: tuple[Way, ...] = get_args(Way)
TABLE = "route-way"
"""Name of the property: a list of [route, way, mark]."""
OK, WRONG, NOT_OFFERED, NOT_PLAYED = "ok", "WRONG", "\N{EN DASH}", "unplayed"
_WIDTH = 10


def list_lines(reports: list[pytest.TestReport]) -> list[str]:
    """The table that these reports make; nothing when none of them has cells."""
    cells: dict[str, dict[str, str]] = {}
    for report in reports:
        for name, rows in report.user_properties:
            if name == TABLE:
                for route, way, mark in rows:  # type: ignore[attr-defined]  # what our own test noted
                    cells.setdefault(route, {})[way] = mark
    if not cells:
        return []
    width = max(map(len, cells))
    lines = ["".join([" " * width, *(way.rjust(_WIDTH) for way in WAYS)])]
    for route, marks in cells.items():
        lines.append("".join([route.ljust(width), *(marks.get(way, "?").rjust(_WIDTH) for way in WAYS)]))
    return lines


def show(reporter: pytest.TerminalReporter) -> None:
    """Write the table, when its tests were among those that ran."""
    reports = [report for key in ("passed", "failed") for report in reporter.stats.get(key, [])]
    lines = list_lines([report for report in reports if isinstance(report, pytest.TestReport)])
    if lines:
        reporter.section("every route, every way to its end")
        for line in lines:
            reporter.line(line)
