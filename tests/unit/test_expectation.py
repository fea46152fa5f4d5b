"""What commands show about the time that a task takes: texts, shares for bars, and the table on a terminal."""

import io
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from tracker.cli.board import Board
from tracker.cli.expectation import LONGEST, compare, describe_time, is_late, share_done

START = datetime(2026, 11, 20, 20, 42, tzinfo=UTC)
EXPECTED = {"p50_s": 100.0, "p90_s": 150.0, "samples": 12, "ready_at": None}


def at(seconds: float) -> datetime:
    """A time after the acceptance."""
    return START + timedelta(seconds=seconds)


def make_task(n: int = 0, /, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - of a task
    """The part of a task's JSON that is shown."""
    return {
        "id": f"01JD00000000000000000000{n:02}",
        "route": "kling.omni-video",
        "status": "RUNNING",
        "progress": None,
        "reason": None,
        "request": {"prompt": "a kite over the sea"},
        "created_at": at(-2).isoformat(),
        "submitted_at": START.isoformat(),
        "finished_at": None,
        "expected": EXPECTED,
        **fields,
    }


DONE: dict[str, Any] = {"status": "SUCCEEDED", "finished_at": at(120).isoformat()}


@pytest.mark.parametrize(
    ("fields", "seconds", "shown"),
    [
        ({}, 72, "1:12 of 1:40-2:30"),
        ({}, 185, "3:05, usually 1:40-2:30"),
        ({"expected": None}, 72, "1:12"),
        ({"expected": EXPECTED | {"p90_s": 100.4}}, 72, "1:12 of 1:40"),
        ({"submitted_at": None}, 5, "0:07 of 1:40-2:30"),
        (DONE, 999, "took 2:00"),
        (DONE | {"upstream_finished_at": at(104).isoformat()}, 999, "took 1:44"),
        ({"expected": None}, 3725, "1:02:05"),
        ({}, -5, "0:00 of 1:40-2:30"),
    ],
)
def test_the_time_so_far_beside_the_usual_one(fields: dict[str, Any], seconds: float, shown: str) -> None:
    """Between the median and what nine of ten take; a late task says so, one that has ended what it took."""
    assert describe_time(make_task(**fields), at(seconds)) == shown


def test_one_line_compares_a_task_with_others() -> None:
    """A late one with its latest end; nothing where nothing is known or the task has ended."""
    assert compare(make_task(), at(72)) == "usually 1:40-2:30, this one 1:12 so far"
    assert compare(make_task(), at(185), "21:00:00") == (
        "usually 1:40-2:30, this one 3:05 so far: longer than nine of ten; it ends by 21:00:00 at the latest"
    )
    assert compare(make_task(submitted_at=None), at(5)) == "usually 1:40-2:30 once the service has accepted it"
    assert not compare(make_task(expected=None), at(5))
    assert not is_late(make_task(submitted_at=None), at(999))


def test_a_share_grows_to_the_end_and_is_full_at_the_end_alone() -> None:
    """Most of it by the time that nine of ten take, then slower and slower."""
    shares = [share_done(make_task(), at(seconds)) or 0.0 for seconds in range(0, 3000, 5)]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert share_done(make_task(), at(75)) == pytest.approx(0.45)
    assert share_done(make_task(), at(150)) == pytest.approx(0.9)
    assert shares[-1] <= LONGEST
    assert share_done(make_task(**DONE), at(1)) == 1.0
    assert share_done(make_task(progress=80), at(10)) == 0.8, "what the service reports"
    assert share_done(make_task(progress=100), at(10)) == LONGEST, "not ended yet"
    assert share_done(make_task(expected=None), at(10)) is None
    assert share_done(make_task(submitted_at=None), at(10)) == 0


class Screen:
    """A board on a terminal, at a time that the test sets."""

    def __init__(self, width: int = 80, height: int = 24, head: Text | None = None) -> None:
        self._written = io.StringIO()
        console = Console(file=self._written, width=width, height=height, force_terminal=True, color_system=None)
        self._console = console
        self.seconds = 0.0
        self.tasks: list[dict[str, Any]] = []
        shown_head = None if head is None else lambda: head
        self.board = Board(console, lambda: self.tasks, shown_head, lambda: at(self.seconds), lambda: self.seconds)

    def lines(self) -> list[str]:
        """What is shown now."""
        self._written.seek(0)
        self._written.truncate()
        self._console.print(self.board)
        return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._written.getvalue()).splitlines()]

    def filled(self) -> int:
        """The filled cells of the only bar, in halves; without colours the rest is empty."""
        row = self.lines()[1]
        return 2 * row.count("━") + row.count("╸")


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (160, ["TASK", "ROUTE", "STATUS", "PROGRESS", "TIME", "PROMPT"]),
        (100, ["TASK", "ROUTE", "STATUS", "PROGRESS", "TIME"]),
        (80, ["TASK", "STATUS", "PROGRESS", "TIME"]),
        (66, ["TASK", "PROGRESS", "TIME"]),
        (46, ["TASK", "TIME"]),
        (30, ["TASK", "TIME"]),
        (12, ["TASK", "TIME"]),
    ],
)
def test_a_narrow_terminal_loses_columns(width: int, columns: list[str]) -> None:
    """No line is longer than the terminal, and no column but the last is cut while its neighbours are shown."""
    screen = Screen(width)
    screen.tasks = [make_task(0), make_task(1, **DONE), make_task(2, status="FAILED", reason="generation_failed")]
    screen.seconds = 185
    lines = screen.lines()
    assert max(map(len, lines)) <= width
    assert (lines[0].split() == columns) or width < 20
    assert len(lines) == 4, "each task has one line"
    if width >= 52:
        assert make_task(0)["id"] in lines[1]
        assert "3:05, usually 1:40-2:30"[: width - 28] in lines[1]


def test_more_tasks_than_lines() -> None:
    """As many as fit, those that have not ended first, each in its place; the others are counted."""
    screen = Screen(80, 12, Text("live"))
    tasks = [make_task(n, **(DONE if n % 2 else {})) for n in range(24)]
    screen.tasks = tasks
    lines = screen.lines()
    assert len(lines) <= 12
    assert (lines[0], lines[1], lines[-1]) == ("live", "", "and 17 more")
    shown = [line.split()[0] for line in lines[3:-1]]
    assert shown == [task["id"] for task in tasks if not task["finished_at"]][:7]
    screen.tasks = tasks[:8]
    assert len(screen.lines()) == 3 + 8
    screen.board.more = 120
    assert screen.lines()[-1] == "and 121 more"


def test_a_bar_never_goes_back_and_never_leaps() -> None:
    """Although the expectation grows, and the service reports a leap; success fills it."""
    screen = Screen()
    seen = []
    for second in range(200):
        screen.seconds = second / 4
        expected = EXPECTED if second < 100 else EXPECTED | {"p90_s": 400.0}
        screen.tasks = [make_task(expected=expected, progress=60 if second >= 150 else None)]
        seen.append(screen.filled())
    steps = [after - before for before, after in pairwise(seen)]
    assert min(steps) == 0
    assert max(steps) <= 10, "a leap of half a bar takes a second"
    assert seen[-1] > seen[148]
    screen.tasks = [make_task(**DONE)]
    assert screen.filled() == 2 * 20 - 2
