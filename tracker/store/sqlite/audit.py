"""Checks that the file is sound and that each task follows from its history, for ``db check``.

Changes nothing. Each page of tasks is one short read, so that a running daemon is not delayed. What is found is
counted, and only the first of it is kept, so that memory does not grow with the file.

SQLite holds no interpreter lock while it works. So its own checks run on a thread beside the replay, and another one
reads ahead: each page in one statement, as two JSON texts.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tracker.domain.replay import PastEvent, differences, rederive
from tracker.errors import StoreUnavailable
from tracker.store.sqlite.counts import find_wrong
from tracker.store.sqlite.identity import means_damage, reader_uri
from tracker.store.sqlite.rows import LIGHT_TASK, task_from, tasks_from
from tracker.store.sqlite.schema import check_readable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracker.domain.task import Task

PAGE = 100
"""Tasks read at a time; with more the records leave the processor's caches (500: 10 % slower)."""
MAX_DAMAGE = 100
MAX_FOUND = 1000
"""Differences, and rows that refer to a missing row, that are named; all are counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A task that does not follow from its history.

    Attributes:
        kept: the value in its row.
        derived: the value that follows from its events.
    """

    task_id: str
    field: str
    kept: str
    derived: str


@dataclass(slots=True)
class Audit:
    """What a check found.

    Attributes:
        damage: the first lines of SQLite's integrity check, and the first tasks that cannot be read.
        dangling: the first rows that refer to a missing row, one line each.
        judged: how many tasks have a complete history, which was judged again; without those whose history began
            under older rules and differs.
        differences: the first of them.
        counts: those kept beside the rows that are wrong, one line each.
        more_damage, more_dangling, more_differences: how many more were found.
    """

    damage: list[str] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    tasks: int = 0
    judged: int = 0
    differences: list[Difference] = field(default_factory=list)
    counts: list[str] = field(default_factory=list)
    more_damage: int = 0
    more_dangling: int = 0
    more_differences: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether no problem was found."""
        return not (self.damage or self.dangling or self.differences or self.counts)

    def add_differences(self, task_id: str, found: Iterable[tuple[str, str, str]]) -> None:
        """Name the differences of a task, or count them."""
        for difference in found:
            if len(self.differences) < MAX_FOUND:
                self.differences.append(Difference(task_id, *difference))
            else:
                self.more_differences += 1


class _Unreadable:
    """Tasks and events that cannot be read: the first lines, and how many more."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.more = 0

    def add(self, line: str) -> None:
        if len(self.lines) < MAX_DAMAGE:
            self.lines.append(line)
        else:
            self.more += 1


def audit(path: Path) -> Audit:
    """Check a database, whether or not a daemon is writing to it.

    Raises:
        StoreUnusable: missing, foreign, newer, or never set up.
        StoreUnavailable: it cannot be read to its end.
    """
    check_readable(path)
    found = Audit()
    unreadable = _Unreadable()
    with closing(_connect(path)) as checked, closing(_connect(path)) as replayed, ThreadPoolExecutor(1) as beside:
        file_check = beside.submit(_check_file, checked, found)
        try:
            ends = (_replay(replayed, found, unreadable), file_check.result())
        finally:
            checked.interrupt()  # after Ctrl-C the process does not wait for the rest of that check
    failures = {str(error): error for error in ends if error is not None}
    for error in failures.values():
        if not means_damage(error):
            raise StoreUnavailable(f"{path}: cannot be read to its end ({error})") from error
    found.damage += unreadable.lines
    found.more_damage = unreadable.more
    found.damage += [f"cannot be read to its end ({error})" for error in failures.values()]
    return found


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(reader_uri(path), uri=True, isolation_level=None, check_same_thread=False)


def _check_file(db: sqlite3.Connection, found: Audit) -> sqlite3.Error | None:
    """Let SQLite check the file; the error that ended that, if any."""
    try:
        found.damage = [line for (line,) in db.execute(f"PRAGMA integrity_check({MAX_DAMAGE})") if line != "ok"]
        for table, row, parent, _ in db.execute("PRAGMA foreign_key_check"):
            if len(found.dangling) < MAX_FOUND:
                found.dangling.append(f"{table} row {row} refers to a missing row of {parent}")
            else:
                found.more_dangling += 1
        found.counts = find_wrong(db)
    except sqlite3.Error as error:
        return error
    return None


def _replay(db: sqlite3.Connection, found: Audit, unreadable: _Unreadable) -> sqlite3.Error | None:
    """Judge every history again; the error that ended that, if any."""
    try:
        ((older,),) = db.execute("SELECT coalesce(max(seq), 0) FROM cursors WHERE name = 'older rules'").fetchall()
        for task, first_seq, history in _histories(db, unreadable):
            found.tasks += 1
            derived = rederive(task, history)
            if derived is None:
                continue
            differs = differences(task, derived)
            if differs and first_seq <= older:
                continue  # by rules that have changed since
            found.judged += 1
            if differs:
                found.add_differences(task.id, differs)
    except sqlite3.Error as error:
        return error
    return None


class _Event(PastEvent, frozen=True, gc=False, array_like=True):
    """An event as `_EVENT` selects it."""


_Row = tuple[str, int, _Event]
_event = msgspec.json.Decoder(_Row, strict=False)  # times come as numbers
_events = msgspec.json.Decoder(list[_Row], strict=False)

_EVENT = """
    '["' || task_id || '",' || seq || ',[' || (at / 1000.0) || ',"' || source || '",' || json_quote(dedupe_key)
    || ',"' || from_status || '",' || reading || ']]'
"""
_TASKS = "FROM tasks WHERE id > ? AND id <= ?"
_EVENTS = "FROM events WHERE task_id > ? AND task_id <= ?"
_READ = f"""
    SELECT last, (SELECT group_concat({LIGHT_TASK}) FROM tasks WHERE id > ?1 AND id <= last),
        (SELECT group_concat({_EVENT}) FROM events WHERE task_id > ?1 AND task_id <= last)
    FROM (SELECT max(id) AS last FROM (SELECT id FROM tasks WHERE id > ?1 ORDER BY id LIMIT {PAGE}))
"""
"""A page of tasks after an id and their events, in one statement and so in one state: the last id, and two lists in
JSON without their brackets."""

_Page = tuple[str, str | None, str, str]
"""The id before the first task, the id of the last, and both lists."""


class _Pages:
    """Reads page after page; the next two are read while one is judged."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._after = ""

    def __iter__(self) -> Iterator[_Page]:
        with ThreadPoolExecutor(1) as ahead:
            waiting = deque([ahead.submit(self._read), ahead.submit(self._read)])
            while (page := waiting.popleft().result())[1] is not None:
                waiting.append(ahead.submit(self._read))
                yield page

    def _read(self) -> _Page:
        after = self._after
        ((last, tasks, events),) = self._db.execute(_READ, (after,)).fetchall()
        self._after = last or after
        return after, last, tasks or "", events or ""


def _histories(db: sqlite3.Connection, unreadable: _Unreadable) -> Iterator[tuple[Task, int, list[PastEvent]]]:
    """Each task with the seq of its first event and its history; one line for each that cannot be read."""
    for after, last, texts, events in _Pages(db):
        try:
            tasks = tasks_from(f"[{texts}]")
            past = _events.decode(f"[{events}]")
        except msgspec.MsgspecError:
            tasks, past = _read_one_by_one(db, (after, last), unreadable)
        past.sort(key=itemgetter(1))
        history: dict[str, list[PastEvent]] = {task.id: [] for task in tasks}
        first: dict[str, int] = {}
        for task_id, seq, event in past:
            if (of_task := history.get(task_id)) is not None:
                first.setdefault(task_id, seq)
                of_task.append(event)
        for task in tasks:
            yield task, first.get(task.id, 0), history[task.id]


def _read_one_by_one(
    db: sqlite3.Connection, page: tuple[str, str | None], unreadable: _Unreadable
) -> tuple[list[Task], list[_Row]]:
    """The tasks and events of a page that can be read, without tasks of which an event cannot."""
    tasks: dict[str, Task] = {}
    past: list[_Row] = []
    for task_id, text in db.execute(f"SELECT id, {LIGHT_TASK} {_TASKS} ORDER BY id", page).fetchall():
        try:
            tasks[task_id] = task_from(text)
        except msgspec.MsgspecError as error:
            unreadable.add(f"task {task_id} cannot be read: {error}")
    for task_id, seq, text in db.execute(f"SELECT task_id, seq, {_EVENT} {_EVENTS}", page).fetchall():
        try:
            past.append(_event.decode(text))
        except msgspec.MsgspecError as error:
            unreadable.add(f"event {seq} of task {task_id} cannot be read: {error}")
            tasks.pop(task_id, None)
    return list(tasks.values()), past
