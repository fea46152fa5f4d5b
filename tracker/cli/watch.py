"""``tracker watch``: tasks live, from ``/v1/stream``: a table on a terminal, lines elsewhere, JSON lines on request."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import click

from tracker.cli.client import Client, Json, task_path
from tracker.cli.exits import INTERRUPTED
from tracker.cli.render import describe_state
from tracker.cli.session import Session, json_option, with_session
from tracker.cli.waiting import has_ended
from tracker.client.sse import Message

if TYPE_CHECKING:
    from rich.text import Text

LINGER_S = 30.0
"""How long a task that has ended stays in the table of all active tasks."""
_PAGE, _MOST = 500, 5000
"""Tasks of a page, and how many are read at most: of more than these the table says how many there are."""
_STATES = {"connecting": "yellow", "live": "green", "stale": "red"}


@click.command()
@click.argument("task_ids", metavar="[ID]...", nargs=-1)
@json_option
@with_session
def watch(session: Session, task_ids: tuple[str, ...], *, as_json: bool) -> None:
    """Show tasks live: all that have not ended, or those named, until they have ended. Ctrl-C stops.

    With --json each line is a task, first as it is now, then whenever it changes.
    """
    ids = [session.full_id(text) for text in task_ids]
    tasks = Tasks(session.client, ids)
    if ids:
        tasks.load()  # an unknown id is an error of an argument, not of the stream
    with _stopped_by_signals(), _view(tasks, session.client.url, as_json=as_json) as view:
        try:
            for message in session.client.follow(_query(ids), patience_s=float("inf")):
                _take(message, tasks, view)
                if ids and tasks.have_ended:
                    break
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
    if not as_json and sys.stdout.isatty():
        for task in tasks.shown():
            click.echo(describe_state(task))


def _query(ids: Sequence[str]) -> dict[str, str]:
    return {"task": ids[0]} if len(ids) == 1 else {}


def _take(message: Message, tasks: Tasks, view: View) -> None:
    """Apply what the stream brings."""
    match message.kind:
        case "open" | "gap":
            tasks.load()
            view.set_state("live")
            for task in tasks.shown():
                view.show(task)
        case "task":
            task = message.json["task"]
            if tasks.take(task):
                view.show(task)
            view.set_state("live")
        case "ping":
            tasks.drop_ended()
        case "lost":
            view.set_state("stale", message.why)


class Tasks:
    """The tasks that are watched, in their last known state.

    Args:
        client: of the daemon.
        ids: the tasks; empty: all that have not ended.
        monotonic: seconds, for how long ended ones stay.
    """

    def __init__(self, client: Client, ids: Sequence[str], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._ids = ids
        self._monotonic = monotonic
        self._tasks: dict[str, Json] = {}
        self._ended: dict[str, float] = {}
        self.more = 0
        """Active tasks beyond those that were read."""

    @property
    def have_ended(self) -> bool:
        """Whether all of them have ended."""
        return all(map(has_ended, self._tasks.values()))

    def load(self) -> None:
        """Read all of them; the stream is open already, so no change is missed."""
        found = [self._client.get(task_path(task_id)) for task_id in self._ids] if self._ids else self._read_active()
        active = {task["id"] for task in found}
        for task_id in [known for known in self._tasks if known not in active and known not in self._ended]:
            self.take(self._client.get(task_path(task_id)))  # it ended while the stream was away
        for task in found:
            self.take(task)

    def _read_active(self) -> list[Json]:
        found: list[Json] = []
        for status in ("RUNNING", "PENDING"):
            query = {"status": status, "limit": str(_PAGE)}
            while len(found) < _MOST:
                page = self._client.get("/v1/tasks", query)
                found += page["items"]
                if page["next_cursor"] is None:
                    break
                query["cursor"] = page["next_cursor"]
        counts = self._client.get("/v1/stats")["tasks"] if len(found) >= _MOST else {}
        self.more = max(0, sum(counts.get(status, 0) for status in ("RUNNING", "PENDING")) - len(found))
        return found

    def take(self, task: Json) -> bool:
        """Note the state of a task; whether it is watched and new."""
        known = self._tasks.get(task["id"])
        if known is not None and known["version"] >= task["version"]:
            return False
        if known is None and (task["id"] not in self._ids if self._ids else has_ended(task)):
            return False
        self._tasks[task["id"]] = task
        if has_ended(task):
            self._ended.setdefault(task["id"], self._monotonic())
        self.drop_ended()
        return True

    def drop_ended(self) -> None:
        """Forget tasks that ended some time ago, unless they were named."""
        if self._ids:
            return
        since = self._monotonic() - LINGER_S
        for task_id in [task_id for task_id, at in self._ended.items() if at < since]:
            del self._ended[task_id]
            del self._tasks[task_id]

    def shown(self) -> list[Json]:
        """All of them: as they were named, or by age, so that each keeps its place. Another thread may call it."""
        known = self._tasks.copy()
        return [known[task_id] for task_id in (self._ids or sorted(known)) if task_id in known]


class View(Protocol):
    """Where tasks are shown."""

    def set_state(self, state: str, why: str = "") -> None:
        """Show that the stream is connecting, live or stale."""

    def show(self, task: Json, /) -> None:
        """Show a task that has changed."""


class _Lines:
    """One line per change, as text or JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._shown: dict[str, object] = {}

    def set_state(self, state: str, why: str = "") -> None:
        if state == "stale":
            click.echo(f"{why}; waiting for it", err=True)

    def show(self, task: Json, /) -> None:
        line: object = task["version"] if self._as_json else describe_state(task)
        if self._shown.get(task["id"]) != line:
            self._shown[task["id"]] = line
            click.echo(json.dumps(task) if self._as_json else line)
        if has_ended(task):
            self._shown.pop(task["id"])


class _Screen:
    """A table that fills the terminal."""

    def __init__(self, tasks: Tasks, url: str, console: Any) -> None:  # noqa: ANN401 - rich is imported only on a terminal
        from tracker.cli.board import Board

        self._tasks = tasks
        self._url = url
        self._state, self._why = "connecting", ""
        self._since = datetime.now().astimezone()
        self.board = Board(console, self._shown, self._head)

    def set_state(self, state: str, why: str = "") -> None:
        if state != self._state:
            self._since = datetime.now().astimezone()
        self._state, self._why = state, why

    def show(self, _task: Json, /) -> None:
        pass  # the table is drawn soon anyway

    def _shown(self) -> list[Json]:
        self.board.more = self._tasks.more
        return self._tasks.shown()

    def _head(self) -> Text:
        from rich.text import Text

        from tracker.cli.board import summarize

        head = Text(no_wrap=True, overflow="ellipsis")
        head.append(self._state, style=f"bold {_STATES[self._state]}")
        if self._state == "stale":
            head.append(f" since {self._since:%H:%M:%S} ({self._why})")
        if self._state == "connecting":
            return head.append(f"  {self._url}")
        return head.append(f"  {summarize(self._tasks.shown()) or 'no active tasks'}")


@contextmanager
def _view(tasks: Tasks, url: str, *, as_json: bool) -> Iterator[View]:
    if as_json or not sys.stdout.isatty():
        yield _Lines(as_json=as_json)
        return
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_dumb_terminal:
        yield _Lines(as_json=False)
        return
    from tracker.cli.board import make_live

    screen = _Screen(tasks, url, console)
    with make_live(screen.board, console, screen=True):
        yield screen


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP leave a clean terminal, as Ctrl-C does."""

    def stop(number: int, _frame: object) -> None:
        raise click.exceptions.Exit(128 + number)

    before: Mapping[int, Any] = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
