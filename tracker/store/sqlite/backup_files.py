"""Copies of a database: their names, which are good, and advice for a damaged file.

Writes nothing; removes old backups.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from tracker.errors import StoreUnusable
from tracker.store.sqlite.identity import APPLICATION_ID, unused_uri

_STAMP = "%Y%m%dT%H%M%SZ"
_STAMPED = re.compile(r"\d{8}T\d{6}Z")
_DATED = re.compile(r"tracker-(\d{8})T\d{6}Z\.db")
_APPLICATION_ID_AT = 68
"""Offset of the application id in the file. **Source**: https://www.sqlite.org/fileformat.html#the_database_header."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of a database.

    Attributes:
        path: the file.
        made_at: when it was last written.
        size: bytes.
        tasks: how many tasks it holds; 0 if it cannot be read.
        newest_task_at: when the newest of them was created.
        problem: why it cannot be restored; None for a good copy.
    """

    path: Path
    made_at: datetime
    size: int
    tasks: int = 0
    newest_task_at: datetime | None = None
    problem: str | None = None

    @property
    def holds(self) -> str:
        """How many tasks it holds, as text."""
        return "1 task" if self.tasks == 1 else f"{self.tasks} tasks"


def name_backup(now: datetime) -> str:
    """Name a backup by the time at which it was made, so that no backup ever replaces an older one."""
    return f"tracker-{now.astimezone(UTC):{_STAMP}}.db"


def name_replaced(database: Path, now: datetime) -> Path:
    """Name the file that a restore replaces; neither a file of that name nor its log exists."""
    first = name = database.with_name(f"{database.name}.replaced-{now.astimezone(UTC):{_STAMP}}")
    for n in count(2):
        if not any(os.path.lexists(f"{name}{suffix}") for suffix in ("", "-wal")):
            break
        name = first.with_name(f"{first.name}-{n}")
    return name


def list_copies(database: Path) -> list[Copy]:
    """The copies of a database, newest first, each read to its end: backups, old schemas, replaced files.

    Args:
        database: the database; it need not exist.
    """
    replaced = _matching(database.parent, f"{database.name}.replaced-*")
    return list(_inspected(_sorted([*_backups_of(database), *replaced])))


def find_good_copy(database: Path) -> Copy | None:
    """The newest copy that can be restored and holds a task; files that a restore replaced do not count."""
    backups = _sorted(_backups_of(database))
    return next((copy for copy in _inspected(backups) if copy.problem is None and copy.tasks), None)


def remove_old_backups(made: Path, keep_days: int) -> list[Path]:
    """Remove backups named by `name_backup`, except those of the newest days.

    Days without a backup do not count, so neither a pause nor many backups in one day remove an older one.

    Args:
        made: the backup that was just made; it stays even if the clock is wrong.
        keep_days: how many days keep their backups.

    Returns:
        What was removed.

    Raises:
        OSError: one cannot be removed.
    """
    by_day: dict[str, list[Path]] = {}
    for path in made.parent.iterdir():
        if found := _DATED.fullmatch(path.name):
            by_day.setdefault(found[1], []).append(path)
    old = [path for day in sorted(by_day, reverse=True)[keep_days:] for path in by_day[day] if path != made]
    for path in old:
        path.unlink()
    return old


def damaged(path: Path, error: Exception) -> StoreUnusable:
    """The error for a damaged database: it says how to restore the newest good copy."""
    copy = find_good_copy(path)
    if copy is None and not _has_mark(path):
        return StoreUnusable(
            f"{path}: is not a tracker database, or is one that is damaged ({error}); nothing was changed. If it was "
            "one, do not delete it: put back a copy with tracker db restore FILE. Else set store.path to another file"
        )
    return StoreUnusable(f"{path}: is damaged ({error}); nothing was changed, do not delete it. {restore_advice(path)}")


def refuse_damaged(path: Path) -> None:
    """Read all of a database that no tracker has open.

    Raises:
        StoreUnusable: a page is damaged.
    """
    if (problem := inspect_copy(path).problem) is not None:
        raise StoreUnusable(f"{path}: {problem}; nothing was changed, do not delete it. {restore_advice(path)}")


def refuse_lone_log(path: Path) -> None:
    """Refuse a log whose database is missing or empty: SQLite would delete such a log.

    **Source**: ``pagerOpenWalIfPresent`` in https://sqlite.org/src/file/src/pager.c.

    Raises:
        StoreUnusable: there is one.
    """
    path = path.resolve()  # SQLite puts its log beside the real file
    size, log = _size(path), path.with_name(f"{path.name}-wal")
    if not size and _size(log):
        raise StoreUnusable(
            f"{path}: is {'missing' if size is None else 'empty'}, but its write-ahead log {log} is there and holds "
            f"what was written last; nothing was changed. Put the file back if you moved it. {restore_advice(path)}. "
            "To start with an empty database, move the log elsewhere"
        )


def refuse_emptied(path: Path) -> None:
    """Refuse an empty file that has copies with tasks. A missing file is accepted: it was deleted on purpose.

    Raises:
        StoreUnusable: it is one.
    """
    if _size(path) == 0 and find_good_copy(path) is not None:
        raise StoreUnusable(
            f"{path}: is empty (0 bytes), but was not always. {restore_advice(path)}. To start with an empty "
            "database, delete the file"
        )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def restore_advice(database: Path) -> str:
    """One sentence: how to restore the newest good copy of a database."""
    copy = find_good_copy(database)
    if copy is None:
        return (
            f"No good copy is in {backup_directory(database)}: restore one from elsewhere with tracker db restore "
            f"FILE, or save what can be read with sqlite3 {database} .recover"
        )
    return (
        f"Newest good copy: {copy.path} of {copy.made_at:%Y-%m-%d %H:%M} UTC ({copy.holds}); stop the tracker "
        f"and put it back with: tracker db restore {copy.path}"
    )


def backup_directory(database: Path) -> Path:
    """The directory where the daily backups of a database are made."""
    return database.parent / "backups"


def newest_backup_at(database: Path) -> datetime | None:
    """When the newest of the daily backups was made; None if there is none."""
    return max(map(_made_at, _matching(backup_directory(database), "*.db")), default=None)


def inspect_copy(path: Path) -> Copy:
    """Read all of a copy.

    Raises:
        OSError: it does not exist or cannot be read.
    """
    status = path.stat()
    made_at, size = _made_at(path), status.st_size
    if not stat.S_ISREG(status.st_mode):
        return Copy(path, made_at, size, problem="is not a regular file")
    if not os.access(path, os.R_OK):
        return Copy(path, made_at, size, problem="cannot be read (Permission denied; run as its owner)")
    try:
        with closing(sqlite3.connect(unused_uri(path), uri=True)) as db:
            if db.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
                return Copy(path, made_at, size, problem="is not a tracker database")
            if db.execute("PRAGMA user_version").fetchone() == (0,):
                return Copy(path, made_at, size, problem="is empty")
            ((result,), *_) = db.execute("PRAGMA quick_check(1)").fetchall()
            if result != "ok":
                return Copy(path, made_at, size, problem=f"is damaged ({' '.join(result.split())})")
            tasks, newest = db.execute("SELECT count(*), max(created_at) FROM tasks").fetchone()
    except sqlite3.Error as error:
        return Copy(path, made_at, size, problem=f"cannot be read ({error})")
    newest_at = None if newest is None else datetime.fromtimestamp(newest / 1000, UTC)
    return Copy(path, made_at, size, tasks, newest_at)


def _backups_of(database: Path) -> list[Path]:
    """Backups, and copies from before a migration."""
    daily = _matching(backup_directory(database), "*.db")
    return [*daily, *_matching(database.parent, f"{database.name}.bak-*")]


def _matching(directory: Path, pattern: str) -> list[Path]:
    return [path for path in directory.glob(pattern) if path.is_file() and not path.name.endswith(("-wal", "-shm"))]


def _sorted(paths: list[Path]) -> list[Path]:
    return sorted(paths, key=_made_at, reverse=True)


def _inspected(paths: list[Path]) -> Iterator[Copy]:
    for path in paths:
        with suppress(OSError):  # removed meanwhile
            yield inspect_copy(path)


def _made_at(path: Path) -> datetime:
    """When a copy was made: by its name, which a copy of it has too; else when it was last written."""
    if found := _STAMPED.search(path.name):
        return datetime.strptime(found[0], _STAMP).replace(tzinfo=UTC)
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return datetime.fromtimestamp(0, UTC)


def _has_mark(path: Path) -> bool:
    """Whether the file's header has the tracker's mark."""
    try:
        with path.open("rb") as file:
            return file.read(_APPLICATION_ID_AT + 4)[_APPLICATION_ID_AT:] == APPLICATION_ID.to_bytes(4, "big")
    except OSError:
        return False
