"""Waits for tasks to end, with live progress on a terminal.

Progress goes to standard error; standard output is for results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from tracker.cli.client import Client, Json, task_path
from tracker.cli.exits import FAILED, FINE, TIMED_OUT
from tracker.cli.render import clean, describe_state
from tracker.client import calls
from tracker.client.errors import ClientError

if TYPE_CHECKING:
    from rich.console import Console

RESTART_S = 30.0
"""How long to wait for a daemon that stops answering; it may be restarting."""


def follow(client: Client, task_ids: Sequence[str], timeout_s: float | None) -> dict[str, Json]:
    """Wait until every task has ended, or for ``timeout_s`` seconds; returns the latest state of each.

    Raises:
        Failure: a task does not exist, or the daemon does not answer for longer than a restart takes.
    """
    deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    tasks: dict[str, Json] = {task_id: client.get(task_path(task_id)) for task_id in dict.fromkeys(task_ids)}
    with _progress(len(tasks)) as progress:
        for task in tasks.values():
            progress.show(task)
        while pending := [task_id for task_id, task in tasks.items() if not has_ended(task)]:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                break
            for n, task_id in enumerate(pending):
                wait_s = min(progress.step_s, left_s) if n == 0 else 0.0
                tasks[task_id] = _ask(client, task_id, wait_s, progress.say)
                progress.show(tasks[task_id])
    return tasks


def exit_code_of(tasks: Sequence[Mapping[str, Json]]) -> int:
    """The exit code for a set of tasks."""
    if any(task["status"] == "FAILED" for task in tasks):
        return FAILED
    return FINE if all(has_ended(task) for task in tasks) else TIMED_OUT


def has_ended(task: Mapping[str, Json]) -> bool:
    """Whether a task is finished."""
    return task["status"] in {"SUCCEEDED", "FAILED"}


def describe_failure(task: Mapping[str, Json]) -> str:
    """One line: why a task failed."""
    error = task.get("error") or {}
    detail = " ".join(clean(error[name]) for name in ("code", "message") if error.get(name))
    return f"{task['id']} failed: {task['reason']}{f' ({detail})' if detail else ''}"


def _ask(client: Client, task_id: str, wait_s: float, say: Callable[[str], object]) -> Json:
    failures: list[ClientError] = []

    def tell(failure: ClientError) -> None:
        if not failures:
            say(f"the daemon at {client.url} does not answer; waiting for it")
        failures.append(failure)

    return client.send(calls.get_task(task_id, wait_s), patience_s=RESTART_S, on_failure=tell).json


@contextmanager
def _progress(number: int) -> Iterator[_Lines | _Bars]:
    """Show progress on standard error: bars on a terminal, else one line per change."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console

    from tracker.cli.board import Board, make_live

    console = Console(stderr=True)
    bars = _Bars(console)
    with make_live(Board(console, bars.tasks), console, transient=number == 1):
        yield bars


class _Lines:
    """One line per change."""

    step_s = 2.0
    """A long poll answers only at the task's end: a longer one would miss progress."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}

    def say(self, line: str) -> None:
        click.echo(line, err=True)

    def show(self, task: Mapping[str, Json]) -> None:
        line = describe_state(task)
        if self._shown.get(task["id"]) != line:
            self._shown[task["id"]] = line
            click.echo(line, err=True)


class _Bars:
    """One bar per task."""

    step_s = 1.0

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, Json] = {}

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)  # above the bars

    def show(self, task: Mapping[str, Json]) -> None:
        self._tasks[task["id"]] = task

    def tasks(self) -> list[Json]:
        return list(self._tasks.values())
