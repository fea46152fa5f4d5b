"""Replaces the database with a copy, for ``db restore``.

The copy is checked before anything changes, the replaced file gets another name, and a crash at any time leaves either
the old database or the new one. The store's lock excludes a running tracker.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tracker.domain.task import ExternalId, TaskId
from tracker.errors import StoreUnavailable, StoreUnusable
from tracker.filesystem import is_store, sync_directory
from tracker.store.sqlite.backup import copy_database
from tracker.store.sqlite.backup_files import Copy, inspect_copy, name_replaced, refuse_lone_log
from tracker.store.sqlite.files import DatabaseFiles
from tracker.store.sqlite.identity import unused_uri

_SIDE_FILES = ("-wal", "-shm")
_UNDECIDED = """
SELECT id, submit_state, submit_attempts FROM tasks
WHERE status = 'PENDING' AND external_id IS NULL AND (submit_state = 'queued' OR submit_state = 'sending')
"""
_LABELS = "SELECT name, value FROM main.labels WHERE task_id = ?"

Settle = Callable[[Path, Sequence["Create"]], None]
"""Records in a database the outcome of these creates."""


@dataclass(frozen=True, slots=True)
class Create:
    """A create that was undecided in the copy and may have been sent since.

    Attributes:
        external_id: the upstream's id, if the replaced file has it; None: it is not known whether it was accepted.
    """

    task_id: TaskId
    external_id: ExternalId | None


@dataclass(frozen=True, slots=True)
class Followed:
    """An unfinished task that is not in the copy.

    Attributes:
        external_id: None: no upstream has accepted it, as far as is known.
    """

    task_id: TaskId
    route: str
    account: str
    external_id: ExternalId | None
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did.

    Attributes:
        replaced: the new path of the replaced file; None if there was none.
        creates: those that were undecided in the copy and may have been sent since.
        missing: how many tasks of the replaced file are not in the copy; None if that file cannot be read.
        not_followed: the unfinished ones among them.
    """

    copy: Copy
    replaced: Path | None
    creates: tuple[Create, ...]
    missing: int | None
    not_followed: tuple[Followed, ...]


def restore_database(source: Path, database: Path, settle: Settle, now: datetime) -> Restored:
    """Replace the database with a copy.

    Args:
        source: the copy; it is not changed.
        database: the database; it may be damaged or missing.
        settle: called with a draft of the new database when creates in it may have been sent since the copy was made.
        now: for the name of the replaced file.

    Raises:
        StoreUnusable: the copy cannot be restored, or a tracker serves the database. Nothing was changed.
        StoreUnavailable: a file cannot be written. Nothing was changed.
    """
    is_store(database)
    copy = _check_source(source, database)
    database = database.resolve()
    try:
        owner = (database if database.exists() else database.parent).stat()
    except OSError as error:
        raise StoreUnavailable(f"{database.parent}: {error.strerror}; make the directory, or set store.path") from error
    files = DatabaseFiles(database)
    try:
        files.take(replaces=True)
    except StoreUnusable as error:
        what, _, _ = str(error).partition("; ")
        if "another tracker" not in what:
            raise
        raise StoreUnusable(
            f"{what}; stop it first: systemctl stop tracker.socket tracker.service, or end tracker serve"
        ) from error
    try:
        drafts = f".{database.name}.restore-"
        for left in database.parent.glob(f"{drafts}*"):  # of a restore that was killed: this process has the lock
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=drafts, dir=database.parent) as scratch:
            draft = Path(scratch) / database.name
            copy_database(source, draft, is_unused=not _may_be_open(source))
            creates, missing, not_followed, numbers = _compare(database, draft)
            _number_on(draft, numbers)
            if creates:
                settle(draft, creates)
            _finish(draft, owner)
            replaced = _exchange(draft, database, now)
    except OSError as error:
        where = error.filename or database.parent
        raise StoreUnavailable(
            f"{where}: {error.strerror}; nothing was changed. Run this as root, or as the owner of {database}"
        ) from error
    finally:
        _chown(database.with_name(database.name + ".lock"), owner)
        files.release()
    return Restored(copy, replaced, tuple(creates), missing, tuple(not_followed))


def _check_source(source: Path, database: Path) -> Copy:
    try:
        copy = inspect_copy(source)
        is_itself = database.exists() and source.samefile(database)
    except OSError as error:
        raise StoreUnusable(f"{source}: {error.strerror}; tracker db restore --list shows the copies") from error
    if is_itself:
        raise StoreUnusable(f"{source}: is the database itself; tracker db restore --list shows the copies")
    if copy.problem is not None:
        raise StoreUnusable(f"{source}: {copy.problem}; nothing was changed. Choose another: tracker db restore --list")
    return copy


def _may_be_open(source: Path) -> bool:
    """Whether another process may have a copy open: then SQLite has created an index of the log."""
    real = source.resolve()
    return real.with_name(real.name + "-shm").exists()


def _compare(database: Path, draft: Path) -> tuple[list[Create], int | None, list[Followed], Mapping[str, int]]:
    """What the replaced file has beyond the copy, and the last number in its tables; nothing if it cannot be read.

    A create that is undecided in the copy may have been sent since: to send it again could pay twice. It was not sent
    if it is undecided in the replaced file too, after as many attempts.
    """
    with closing(sqlite3.connect(unused_uri(draft), uri=True)) as new:
        undecided = {task_id: state for task_id, *state in new.execute(_UNDECIDED)}
    try:
        refuse_lone_log(database)
        with closing(sqlite3.connect(unused_uri(database), uri=True)) as old:
            unchanged = {task_id for task_id, *state in old.execute(_UNDECIDED) if undecided.get(task_id) == state}
            old.execute("ATTACH ? AS copy", (unused_uri(draft),))
            known = dict(
                old.execute(
                    "SELECT id, external_id FROM main.tasks WHERE external_id IS NOT NULL "
                    "AND id IN (SELECT id FROM copy.tasks WHERE external_id IS NULL)"
                )
            )
            absent = "FROM main.tasks WHERE id NOT IN (SELECT id FROM copy.tasks)"
            (missing,) = old.execute(f"SELECT count(*) {absent}").fetchone()
            running = [
                Followed(task_id, route, account, external_id, dict(old.execute(_LABELS, (task_id,))))
                for task_id, route, account, external_id in old.execute(
                    f"SELECT id, route, account, external_id {absent} AND (status = 'PENDING' OR status = 'RUNNING') "
                    "ORDER BY id"
                ).fetchall()
            ]
            numbers = dict(old.execute("SELECT name, seq FROM main.sqlite_sequence").fetchall())
    except (sqlite3.Error, StoreUnusable):  # damaged or missing
        unchanged, known, missing, running, numbers = set(), {}, None, [], {}
    creates = [Create(TaskId(one), known.get(one)) for one in undecided if one in known or one not in unchanged]
    return creates, missing, running, numbers


def _number_on(draft: Path, numbers: Mapping[str, int]) -> None:
    """Have tables go on with the numbers of the replaced file: readers of the feed remember how far they have read."""
    with closing(sqlite3.connect(draft)) as db, db:
        for name, last in numbers.items():
            known = db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (name,)).fetchone()
            if known is None and db.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (name,)).fetchone():
                db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, last))
            elif known is not None and known[0] < last:
                db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (last, name))


def _finish(draft: Path, owner: os.stat_result) -> None:
    """Sync the draft, and give it the owner and mode of the file that it replaces."""
    for suffix in _SIDE_FILES:
        if (left := draft.with_name(draft.name + suffix)).exists() and left.stat().st_size:
            raise StoreUnavailable(f"{left}: the new database was not closed cleanly; try again")
    handle = os.open(draft, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if (os.fstat(handle).st_uid, os.fstat(handle).st_gid) != (owner.st_uid, owner.st_gid):
            os.fchown(handle, owner.st_uid, owner.st_gid)
        os.fchmod(handle, _mode_like(owner))
        os.fsync(handle)
    finally:
        os.close(handle)


def _mode_like(found: os.stat_result) -> int:
    """The mode of the file; private if every user may read it."""
    mode = stat.S_IMODE(found.st_mode)
    return mode if stat.S_ISREG(found.st_mode) and not mode & stat.S_IRWXO else stat.S_IRUSR | stat.S_IWUSR


def _exchange(draft: Path, database: Path, now: datetime) -> Path | None:
    """Give the database a second name, then its name to the draft.

    Raises:
        OSError: it failed; the database has its first name only.
    """
    name = name_replaced(database, now)
    log = database.with_name(database.name + "-wal")
    named: dict[Path, Path] = {}
    try:
        if database.exists():
            if database.stat().st_size:  # else SQLite would delete the log
                _checkpoint_log(database)
            _link(database, name)
            named[database] = name
        if log.exists() and log.stat().st_size:
            log_name = name.with_name(name.name + "-wal")
            _link(log, log_name)
            named[log] = log_name
        if named:
            sync_directory(database.parent)  # from here on the old file has its second name after a crash, too
        for suffix in _SIDE_FILES:
            database.with_name(database.name + suffix).unlink(missing_ok=True)
        draft.replace(database)
    except BaseException:
        for path, second in named.items():
            second.unlink() if path.exists() else second.rename(path)
        raise
    sync_directory(database.parent)
    return next(iter(named.values()), None)


def _checkpoint_log(database: Path) -> None:
    """Bring the log into a sound database: moved without its log, the file would silently be older."""
    with closing(sqlite3.connect(database)) as db:
        try:
            if db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",):
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:
            pass  # damaged: it stays as it is, with its log


def _link(path: Path, name: Path) -> None:
    """Give a file a second name; a copy where the file system has no links."""
    try:
        os.link(path, name)
    except FileExistsError:
        raise
    except OSError:
        shutil.copy2(path, name)


def _chown(path: Path, owner: os.stat_result) -> None:
    """Give a lock that root created to the tracker's user."""
    if os.geteuid() == 0 and path.exists():
        os.chown(path, owner.st_uid, owner.st_gid)
