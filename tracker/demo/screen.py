"""What the demo shows: a live table on a terminal, one line per change anywhere else.

Both show the description of each task. A narrow terminal loses other columns first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tracker.demo.scenarios import Scenario
from tracker.domain.costs import cost_from
from tracker.domain.text import spans

Json = Any
_DESCRIPTION = "WHAT HAPPENS"
_COUNTS = ("POLLS", "CALLBACKS")
_WITH_COSTS = 146
"""Columns of a terminal that shows everything; a long description takes two lines."""
_WITH_ALL = 126
"""Columns of a terminal that shows everything but the costs; their sum is shown at the end."""
_WITHOUT_ROUTE = 106
"""Columns of a terminal that shows everything but the route; a narrower one shows counts only."""
_COLOURS = {"PENDING": "yellow", "RUNNING": "cyan", "SUCCEEDED": "green", "FAILED": "red"}


class Screen:
    """Shows the progress of the tasks.

    Args:
        scenarios: what is played, in the order of the rows.
        console: the output; None: standard output.
    """

    def __init__(self, scenarios: Sequence[Scenario], console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._scenarios = scenarios
        self._live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self._shown: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
            return self
        for scenario in self._scenarios:
            self.console.print(f"{scenario.name:13} {scenario.route:18} {scenario.description}", soft_wrap=True)
        self.console.print()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, tasks: Mapping[str, Json], hook_runs: Mapping[str, int]) -> None:
        """Show the tasks as they are now.

        Args:
            tasks: tasks as the API returns them, by name of their scenario.
            hook_runs: how often the hook ran, by task id.
        """
        if self._live is not None:
            self._live.update(self._table(tasks, hook_runs), refresh=True)
            return
        for scenario in self._scenarios:
            task = tasks.get(scenario.name)
            if task is None:
                continue
            line = " ".join(filter(None, (*_describe(task, hook_runs), _cost_of(task))))
            if self._shown.get(scenario.name) != line:
                self._shown[scenario.name] = line
                self.console.print(f"{scenario.name:13} {scenario.route:18} {line}", soft_wrap=True)

    def _table(self, tasks: Mapping[str, Json], hook_runs: Mapping[str, int]) -> Table:
        columns = self._columns()
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, no_wrap=column != _DESCRIPTION, justify="right" if column in _COUNTS else "left")
        for scenario in self._scenarios:
            cells = {"TASK": scenario.name, "ROUTE": scenario.route, _DESCRIPTION: scenario.description}
            if (task := tasks.get(scenario.name)) is not None:
                status, details, hook = _describe(task, hook_runs)
                cells |= {"STATUS": f"[{_COLOURS[status]}]{status}[/]", "": details, "HOOK": hook}
                cells["COST"] = _cost_of(task)
                cells |= {column: str(task[column.lower()]) for column in _COUNTS}
            table.add_row(*(cells.get(column, "") for column in columns))
        return table

    def _columns(self) -> tuple[str, ...]:
        if self.console.width >= _WITH_COSTS:
            return ("TASK", "ROUTE", _DESCRIPTION, "STATUS", "", "HOOK", "COST")
        if self.console.width >= _WITH_ALL:
            return ("TASK", "ROUTE", _DESCRIPTION, "STATUS", "", "HOOK")
        if self.console.width >= _WITHOUT_ROUTE:
            return ("TASK", _DESCRIPTION, "STATUS", "", "HOOK")
        return ("TASK", _DESCRIPTION, "STATUS", *_COUNTS)


def _describe(task: Json, hook_runs: Mapping[str, int]) -> tuple[str, str, str]:
    parts = [task["reason"] or task["stage"] or "", f"{task['progress']} %" if task["progress"] is not None else ""]
    parts += [f"{task[what]} {what if task[what] != 1 else what[:-1]}" for what in ("polls", "callbacks")]
    if expected := task.get("expected"):
        parts.append(f"usually {spans(expected['p50_s'], expected['p90_s'], '-')}")
    runs = hook_runs.get(task["id"], 0)
    return task["status"], ", ".join(part for part in parts if part), f"hook ran {runs}x" if runs else ""


def _cost_of(task: Json) -> str:
    cost = cost_from(task["cost"])
    return "" if cost is None else cost.described()
