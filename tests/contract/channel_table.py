"""The table of routes and channels at the end of a test run.

The tests note their cells as properties of their reports: these travel from the workers of pytest-xdist to the process
that prints the summary.
"""

from __future__ import annotations

from typing import Literal, get_args

import pytest

Channel = Literal["callback", "poll", "race", "reply"]
CHANNELS: tuple[Channel, ...] = get_args(Channel)
TABLE = "route-channel"
"""Name of the property: a list of [route, channel, mark]."""
OK, WRONG, NOT_OFFERED, NOT_PLAYED = "ok", "WRONG", "\N{EN DASH}", "unplayed"
_WIDTH = 10


def list_lines(reports: list[pytest.TestReport]) -> list[str]:
    """The table that these reports make; nothing when none of them has cells."""
    cells: dict[str, dict[str, str]] = {}
    for report in reports:
        for name, rows in report.user_properties:
            if name == TABLE:
                for route, channel, mark in rows:  # type: ignore[attr-defined]  # recorded by the test
                    cells.setdefault(route, {})[channel] = mark
    if not cells:
        return []
    width = max(map(len, cells))
    lines = ["".join([" " * width, *(channel.rjust(_WIDTH) for channel in CHANNELS)])]
    for route, marks in cells.items():
        lines.append("".join([route.ljust(width), *(marks.get(channel, "?").rjust(_WIDTH) for channel in CHANNELS)]))
    return lines


def show(reporter: pytest.TerminalReporter) -> None:
    """Write the table, when its tests were among those that ran."""
    reports = [report for key in ("passed", "failed") for report in reporter.stats.get(key, [])]
    lines = list_lines([report for report in reports if isinstance(report, pytest.TestReport)])
    if lines:
        reporter.section("every route, ended by every channel")
        for line in lines:
            reporter.line(line)
