"""What the demo shows: a live table on a terminal, one line per change anywhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tracker.demo.stories import Story

Json = Any
_COLOURS = {"PENDING": "yellow", "RUNNING": "cyan", "SUCCEEDED": "green", "FAILED": "red"}


class Screen:
    """Shows how the tasks come along.

    Args:
        stories: what is played, in the order of the rows.
    """

    def __init__(self, stories: Sequence[Story]) -> None:
        self.console = Console(highlight=False)
        self._stories = stories
        self._live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self._shown: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
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
            line = " ".join(_words(task, hook_runs))
            if self._shown.get(story.name) != line:
                self._shown[story.name] = line
                self.console.print(f"{story.name:13} {story.route:17} {line}", soft_wrap=True)

    def _table(self, tasks: Mapping[str, Json], hook_runs: Mapping[str, int]) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("TASK", "ROUTE", "WHAT HAPPENS", "STATUS", "", "HOOK"):
            table.add_column(column, no_wrap=column != "WHAT HAPPENS")
        for story in self._stories:
            task = tasks.get(story.name)
            if task is None:
                table.add_row(story.name, story.route, story.plot, "", "", "")
                continue
            status, details, hook = _words(task, hook_runs)
            table.add_row(
                story.name, story.route, story.plot, f"[{_COLOURS[task['status']]}]{status}[/]", details, hook
            )
        return table


def _words(task: Json, hook_runs: Mapping[str, int]) -> tuple[str, str, str]:
    parts = [task["reason"] or task["stage"] or "", f"{task['progress']} %" if task["progress"] is not None else ""]
    parts.append(f"{task['polls']} polls, {task['callbacks']} callbacks")
    runs = hook_runs.get(task["id"], 0)
    return task["status"], ", ".join(part for part in parts if part), f"hook ran {runs}x" if runs else ""
