"""What the demo shows: a live table on a terminal, one line per change anywhere else.

What happens to each task is told in either case: without it, nobody sees why one is called back twice and another
never. A terminal that is not wide enough for all loses other columns first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tracker.demo.stories import Story

Json = Any
_PLOT = "WHAT HAPPENS"
_COUNTS = ("POLLS", "CALLBACKS")
_WITH_ALL = 126
"""Columns of a terminal that holds everything, with what happens on two lines where it is long …"""
_WITHOUT_ROUTE = 106
"""… and everything but the route; with less, the rest of the details goes, too."""
_COLOURS = {"PENDING": "yellow", "RUNNING": "cyan", "SUCCEEDED": "green", "FAILED": "red"}


class Screen:
    """Shows how the tasks come along.

    Args:
        stories: what is played, in the order of the rows.
        console: where it is shown; None: standard output.
    """

    def __init__(self, stories: Sequence[Story], console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._stories = stories
        self._live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self._shown: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
            return self
        for story in self._stories:
            self.console.print(f"{story.name:13} {story.route:18} {story.plot}", soft_wrap=True)
        self.console.print()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, tasks: Mapping[str, Json], hook_runs: Mapping[str, int]) -> None:
        """Show where the tasks stand now.

        Args:
            tasks: tasks as the API gives them, by name of their story.
            hook_runs: how often the hook ran, by task id.
        """
        if self._live is not None:
            self._live.update(self._table(tasks, hook_runs), refresh=True)
            return
        for story in self._stories:
            task = tasks.get(story.name)
            if task is None:
                continue
            line = " ".join(_words(task, hook_runs)).rstrip()
            if self._shown.get(story.name) != line:
                self._shown[story.name] = line
                self.console.print(f"{story.name:13} {story.route:18} {line}", soft_wrap=True)

    def _table(self, tasks: Mapping[str, Json], hook_runs: Mapping[str, int]) -> Table:
        columns = self._columns()
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, no_wrap=column != _PLOT, justify="right" if column in _COUNTS else "left")
        for story in self._stories:
            cells = {"TASK": story.name, "ROUTE": story.route, _PLOT: story.plot}
            if (task := tasks.get(story.name)) is not None:
                status, details, hook = _words(task, hook_runs)
                cells |= {"STATUS": f"[{_COLOURS[status]}]{status}[/]", "": details, "HOOK": hook}
                cells |= {column: str(task[column.lower()]) for column in _COUNTS}
            table.add_row(*(cells.get(column, "") for column in columns))
        return table

    def _columns(self) -> tuple[str, ...]:
        if self.console.width >= _WITH_ALL:
            return ("TASK", "ROUTE", _PLOT, "STATUS", "", "HOOK")
        if self.console.width >= _WITHOUT_ROUTE:
            return ("TASK", _PLOT, "STATUS", "", "HOOK")
        return ("TASK", _PLOT, "STATUS", *_COUNTS)


def _words(task: Json, hook_runs: Mapping[str, int]) -> tuple[str, str, str]:
    parts = [task["reason"] or task["stage"] or "", f"{task['progress']} %" if task["progress"] is not None else ""]
    parts += [f"{task[what]} {what if task[what] != 1 else what[:-1]}" for what in ("polls", "callbacks")]
    runs = hook_runs.get(task["id"], 0)
    return task["status"], ", ".join(part for part in parts if part), f"hook ran {runs}x" if runs else ""
