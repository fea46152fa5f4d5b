"""A table of tasks that follows them on a terminal: bars, the time so far and the time that is expected.

Both ``wait`` and ``watch`` show it. It is drawn several times a second by a thread of its own, so that bars move while
their tasks are not updated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tracker.cli.client import Json
from tracker.cli.expectation import describe_time, is_late, share_done
from tracker.cli.render import STATUS_STYLES, clean, prompt_of

REFRESH_PER_S = 4
_EASE_S = 0.8
"""A bar covers most of a leap in so many seconds."""
_ORDER = ("TASK", "ROUTE", "STATUS", "PROGRESS", "TIME", "PROMPT")
_GAP = 2
_ID, _LEAST_ID = 26, 8
_BAR, _LONG_BAR = 12, 20
_LATE_TIME = 23
"""Cells of ``0:20, usually 0:11-0:13``: the column has this width from the start, so that columns do not move."""
_LEAST_PROMPT = 16


class _Bar:
    """The share that a bar shows: it never goes back and never leaps, whatever is reported."""

    def __init__(self) -> None:
        self._shown: float | None = None
        self._at = 0.0

    def move(self, share: float | None, now_s: float) -> float | None:
        """Move towards a share; what to show now, None while nothing is known."""
        if share is None:
            return self._shown
        if self._shown is None or share >= 1.0:
            self._shown = share
        else:
            step = min(1.0, (now_s - self._at) / _EASE_S)
            self._shown += max(0.0, share - self._shown) * step
        self._at = now_s
        return self._shown


class Board:
    """Tasks, and how they are shown now.

    Args:
        console: where it is shown.
        tasks: those to show, in their order; called from the thread that draws.
        head: the first line, if any.
        now: the wall clock.
        monotonic: seconds for the movement of bars.
    """

    def __init__(
        self,
        console: Console,
        tasks: Callable[[], Sequence[Mapping[str, Json]]],
        head: Callable[[], Text] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._tasks = tasks
        self._head = head
        self._now = now
        self._monotonic = monotonic
        self._bars: dict[str, _Bar] = {}
        self.more = 0
        """Tasks that exist but are not shown."""

    def __rich__(self) -> RenderableType:
        """The picture for the terminal as it is now."""
        width, height = self._console.size
        lines = height - 1 - (2 if self._head is not None else 0)
        tasks = self._tasks()
        total = len(tasks) + self.more
        shown = tasks if total <= lines - 1 else _select(tasks, max(1, lines - 2))
        hidden = total - len(shown)
        for gone in self._bars.keys() - {task["id"] for task in tasks}:
            del self._bars[gone]
        parts: list[RenderableType] = []
        if self._head is not None:
            parts += [self._head(), Text()]
        parts.append(self._table(shown, width))
        if hidden:
            parts.append(Text(f"and {hidden} more", style="dim"))
        return Group(*parts)

    def _table(self, tasks: Sequence[Mapping[str, Json]], width: int) -> Table:
        now, now_s = self._now(), self._monotonic()
        texts = {task["id"]: describe_time(task, now) for task in tasks}
        routes = max((len(str(task["route"])) for task in tasks), default=0)
        widths = _fit(width, max(map(len, texts.values()), default=0), routes)
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
        for column, cells_wide in widths.items():
            table.add_column(column, no_wrap=True, overflow="ellipsis", width=cells_wide)
        for task in tasks:
            late = "yellow" if is_late(task, now) else ""
            cells = {
                "TASK": Text(clean(task["id"])),
                "ROUTE": Text(clean(task["route"])),
                "STATUS": Text(task["status"], style=STATUS_STYLES.get(task["status"], "")),
                "PROGRESS": self._progress(task, now, now_s, widths.get("PROGRESS", 0)),
                "TIME": Text(texts[task["id"]], style=late),
                "PROMPT": Text(" ".join(prompt_of(task.get("request")).split())),
            }
            table.add_row(*(cells[column] for column in widths))
        return table

    def _progress(self, task: Mapping[str, Json], now: datetime, now_s: float, width: int) -> RenderableType:
        if task["status"] == "FAILED":
            return Text(clean(task.get("reason")), style="red")
        share = self._bars.setdefault(task["id"], _Bar()).move(share_done(task, now), now_s)
        if share is None:
            is_sent = bool(task.get("submitted_at"))
            return ProgressBar(total=None, width=width, pulse=True) if is_sent else Text("")
        return ProgressBar(total=1.0, completed=share, width=width)


def _fit(width: int, time_cells: int, route_cells: int) -> dict[str, int]:
    """The columns that fit a terminal, and the width of each: the last ones of `_ORDER` are left out first.

    Nothing but the prompt is cut, and the id where not even that and the time fit.
    """
    wanted = {
        "TASK": _ID,
        "TIME": max(time_cells, min(_LATE_TIME, width // 4)),
        "PROGRESS": _BAR,
        "STATUS": len("SUCCEEDED"),
        "ROUTE": route_cells,
        "PROMPT": _LEAST_PROMPT,
    }
    left = width - wanted["TASK"] - _GAP - wanted["TIME"]
    if left < 0:
        wanted["TASK"] = max(_LEAST_ID, wanted["TASK"] + left)
    chosen = ["TASK", "TIME"]
    for column in ("PROGRESS", "STATUS", "ROUTE", "PROMPT"):
        if left < wanted[column] + _GAP:
            break
        left -= wanted[column] + _GAP
        chosen.append(column)
    if "PROGRESS" in chosen:
        more = min(left, _LONG_BAR - _BAR)
        wanted["PROGRESS"] += more
        wanted["PROMPT"] += left - more
    return {column: wanted[column] for column in _ORDER if column in chosen}


def _select(tasks: Sequence[Mapping[str, Json]], count: int) -> list[Mapping[str, Json]]:
    """The tasks that fit on the screen, in their order: those that have not ended before the others."""
    active = [task for task in tasks if not task.get("finished_at")][:count]
    ended = [task for task in tasks if task.get("finished_at")][len(active) - count :] if len(active) < count else []
    chosen = {task["id"] for task in (*active, *ended)}
    return [task for task in tasks if task["id"] in chosen]


def make_live(board: Board, console: Console, **settings: Any) -> Any:  # noqa: ANN401 - those of `rich.live.Live`
    """What draws a board until it is closed; it restores the terminal then."""
    from rich.live import Live

    return Live(console=console, get_renderable=board.__rich__, refresh_per_second=REFRESH_PER_S, **settings)


def summarize(tasks: Sequence[Mapping[str, Json]]) -> str:
    """How many of some tasks have which status: ``3 running, 1 pending``."""
    counts = {status: sum(task["status"] == status for task in tasks) for status in STATUS_STYLES}
    return ", ".join(f"{count} {status.lower()}" for status, count in counts.items() if count)
