"""Checks that the file is sound and that each task follows from its history, for ``db check``.

Changes nothing. Each page of tasks is one short read, so that a running daemon is not delayed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tracker.domain.observation import Source
from tracker.domain.replay import PastEvent, differences, rederive
from tracker.domain.task import Status
from tracker.errors import StoreUnavailable
from tracker.store.sqlite.identity import means_damage, reader_uri
from tracker.store.sqlite.rows import TASK, reading_from, task_from, time_of
from tracker.store.sqlite.schema import check_readable

if TYPE_CHECKING:
    from tracker.domain.task import Task

PAGE = 500
"""Tasks read at a time."""
MAX_DAMAGE = 100


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


@dataclass(frozen=True, slots=True)
class Audit:
    """What a check found.

    Attributes:
        damage: lines of SQLite's integrity check, none for a sound file.
        dangling: rows that refer to a missing row, one line each.
        judged: how many tasks have a complete history, which was judged again; without those whose history began
            under older rules and differs.
    """

    damage: tuple[str, ...]
    dangling: tuple[str, ...]
    tasks: int
    judged: int
    differences: tuple[Difference, ...]

    @property
    def is_sound(self) -> bool:
        """Whether no problem was found."""
        return not (self.damage or self.dangling or self.differences)


def audit(path: Path) -> Audit:
    """Check a database, whether or not a daemon is writing to it.

    Raises:
        StoreUnusable: missing, foreign, newer, or never set up.
        StoreUnavailable: it cannot be read to its end.
    """
    check_readable(path)
    tasks = judged = 0
    damage: list[str] = []
    dangling: list[str] = []
    found: list[Difference] = []
    try:
        with closing(sqlite3.connect(reader_uri(path), uri=True, isolation_level=None)) as db:
            damage += [line for (line,) in db.execute(f"PRAGMA integrity_check({MAX_DAMAGE})") if line != "ok"]
            dangling += [
                f"{table} row {row} refers to a missing row of {parent}"
                for table, row, parent, _ in db.execute("PRAGMA foreign_key_check")
            ]
            ((older,),) = db.execute("SELECT coalesce(max(seq), 0) FROM cursors WHERE name = 'older rules'").fetchall()
            for task, first_seq, history in _histories(db, damage):
                tasks += 1
                derived = rederive(task, history)
                if derived is None:
                    continue
                differs = differences(task, derived)
                if differs and first_seq <= older:
                    continue  # by rules that have changed since
                judged += 1
                found += [Difference(task.id, *difference) for difference in differs]
    except sqlite3.Error as error:
        if not means_damage(error):
            raise StoreUnavailable(f"{path}: cannot be read to its end ({error})") from error
        damage.append(f"cannot be read to its end ({error})")
    return Audit(tuple(damage), tuple(dangling), tasks, judged, tuple(found))


def _histories(db: sqlite3.Connection, damage: list[str]) -> Iterator[tuple[Task, int, list[PastEvent]]]:
    """Each task with the seq of its first event and its history; an unreadable one becomes a line of the damage."""
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
            first.setdefault(task_id, seq)
            event = PastEvent(time_of(at), Source(source), key, Status(from_status), reading_from(reading))
            history[task_id].append(event)
        for task_id, text in rows:
            try:
                task = task_from(text)
            except msgspec.MsgspecError as error:
                damage.append(f"task {task_id} cannot be read: {error}")
            else:
                yield task, first.get(task_id, 0), history[task_id]
        cursor = rows[-1][0]
