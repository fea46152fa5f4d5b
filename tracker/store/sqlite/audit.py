"""Checks that the file is sound and that each task follows from its history, for ``db check``.

Changes nothing. Each page of tasks is one short read, so that a running daemon is not delayed. SQLite's own checks run
beside the replay on a second thread: they hold no interpreter lock. What is found is counted, and only the first of it
is kept, so that memory does not grow with the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tracker.domain.observation import Source
from tracker.domain.replay import PastEvent, differences, rederive
from tracker.domain.task import Status
from tracker.errors import StoreUnavailable
from tracker.store.sqlite.identity import means_damage, reader_uri
from tracker.store.sqlite.rows import TASK, reading_from, task_from
from tracker.store.sqlite.schema import check_readable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracker.domain.task import Task

PAGE = 100
"""Tasks read at a time; with more the records leave the processor's caches (500: 10 % slower)."""
MAX_DAMAGE = 100
MAX_FOUND = 1000
"""Differences, and rows that refer to a missing row, that are named; all are counted."""

_SOURCES = {str(source): source for source in Source}
_STATUSES = {str(status): status for status in Status}


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
        more_damage, more_dangling, more_differences: how many more were found.
    """

    damage: list[str] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    tasks: int = 0
    judged: int = 0
    differences: list[Difference] = field(default_factory=list)
    more_damage: int = 0
    more_dangling: int = 0
    more_differences: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether no problem was found."""
        return not (self.damage or self.dangling or self.differences)

    def add_differences(self, task_id: str, found: Iterable[tuple[str, str, str]]) -> None:
        """Name the differences of a task, or count them."""
        for difference in found:
            if len(self.differences) < MAX_FOUND:
                self.differences.append(Difference(task_id, *difference))
            else:
                self.more_differences += 1


def audit(path: Path) -> Audit:
    """Check a database, whether or not a daemon is writing to it.

    Raises:
        StoreUnusable: missing, foreign, newer, or never set up.
        StoreUnavailable: it cannot be read to its end.
    """
    check_readable(path)
    found = Audit()
    unreadable: list[str] = []
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
    found.more_damage = max(0, len(unreadable) - MAX_DAMAGE)
    found.damage += unreadable[:MAX_DAMAGE]
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
    except sqlite3.Error as error:
        return error
    return None


def _replay(db: sqlite3.Connection, found: Audit, unreadable: list[str]) -> sqlite3.Error | None:
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


def _histories(db: sqlite3.Connection, unreadable: list[str]) -> Iterator[tuple[Task, int, list[PastEvent]]]:
    """Each task with the seq of its first event and its history; one line for each that cannot be read."""
    cursor = ""
    while True:
        db.execute("BEGIN")  # a task and its events in one state
        try:
            rows = db.execute(
                f"SELECT id, {TASK} FROM tasks WHERE id > ? ORDER BY id LIMIT ?", (cursor, PAGE)
            ).fetchall()
            events = db.execute(
                """
                SELECT task_id, seq, at, source, dedupe_key, from_status, reading FROM events
                WHERE task_id > ? AND task_id <= ? ORDER BY seq
                """,
                (cursor, rows[-1][0] if rows else cursor),
            ).fetchall()
        finally:
            db.execute("COMMIT")
        if not rows:
            return
        history: dict[str, list[PastEvent]] = {task_id: [] for task_id, _ in rows}
        first: dict[str, int] = {}
        for task_id, seq, at, source, key, from_status, reading in events:
            past = history[task_id]
            if not past:
                first[task_id] = seq
            time = datetime.fromtimestamp(at / 1000, UTC)
            past.append(PastEvent(time, _SOURCES[source], key, _STATUSES[from_status], reading_from(reading)))
        for task_id, text in rows:
            try:
                task = task_from(text)
            except msgspec.MsgspecError as error:
                unreadable.append(f"task {task_id} cannot be read: {error}")
            else:
                yield task, first.get(task_id, 0), history[task_id]
        cursor = rows[-1][0]
