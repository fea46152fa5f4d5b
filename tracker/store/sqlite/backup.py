"""Copies of the file: for backups while the daemon runs, and before a migration.

A copy is made by SQLite's online backup, checked by opening it, synced, and only then given its name, so that a file of
that name is always complete.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

from tracker.errors import StoreUnavailable, StoreUnusable
from tracker.filesystem import is_store, sync, sync_directory
from tracker.store.sqlite.backup_files import damaged
from tracker.store.sqlite.identity import reader_uri, unused_uri
from tracker.store.sqlite.schema import OWNER, recognise, unusable


def copy_database(source: Path, target: Path, *, is_unused: bool = False) -> int:
    """Copy a database, whether or not a daemon is writing to it.

    Args:
        source: the database.
        target: the copy, private; an existing file is replaced, through links the file that they refer to.
        is_unused: no process writes to the source: no side file is created, and its directory may be read-only.

    Returns:
        The size of the copy in bytes.

    Raises:
        StoreUnusable: the source is missing, foreign, newer or damaged.
        StoreUnavailable: the copy cannot be written; an existing file of its name is unchanged.
    """
    if not is_store(source):
        raise StoreUnusable(f"{source}: no such file; start the daemon once, or set store.path")
    try:
        connection = sqlite3.connect((unused_uri if is_unused else reader_uri)(source), uri=True)
    except sqlite3.Error as error:
        raise unusable(source, error, "read", OWNER) from error  # a directory that cannot be entered
    try:
        recognise(connection, source)
        found = _find_real_file(target)
        if found.exists() and found.samefile(source):
            raise StoreUnavailable(f"{target}: is the database itself; name another file")
        return write_copy(connection, target)
    except sqlite3.Error as error:
        raise unusable(source, error, "read", OWNER) from error
    finally:
        connection.close()


def write_copy(connection: sqlite3.Connection, target: Path) -> int:
    """Copy what a connection sees now; see `copy_database`.

    Raises:
        StoreUnavailable: the copy cannot be written.
        StoreUnusable: the database is damaged.
    """
    target = _find_real_file(target)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        try:
            _fill(connection, draft)
            sync(draft)
            size = draft.stat().st_size
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(target.parent)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # of the disk, not of what is in the file
            raise _unwritten(target, str(error)) from error
        _seq, _name, source = connection.execute("PRAGMA database_list").fetchone()
        raise damaged(Path(source), error) from error
    except OSError as error:
        raise _unwritten(target, error.strerror or str(error)) from error
    return size


def _unwritten(target: Path, why: str) -> StoreUnavailable:
    return StoreUnavailable(f"{target}: the copy cannot be written ({why}); free space or name another")


def _find_real_file(target: Path) -> Path:
    """The file that a name refers to, through links.

    Raises:
        StoreUnavailable: it is a device, a pipe or a directory, which a copy must not replace.
    """
    try:
        if not stat.S_ISREG(target.stat().st_mode):
            raise StoreUnavailable(f"{target}: exists and is not a regular file; name another")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _unwritten(target, error.strerror or str(error)) from error
    return target.resolve()


def _fill(connection: sqlite3.Connection, draft: Path) -> None:
    copy = sqlite3.connect(draft, isolation_level=None)
    try:
        connection.backup(copy)  # in one step: one state of the database, and the writer does not wait
        copy.execute("PRAGMA journal_mode = DELETE")  # one file without side files
    finally:
        copy.close()
    copy = sqlite3.connect(reader_uri(draft), uri=True)
    try:
        recognise(copy, draft)
        ((problem,), *_) = copy.execute("PRAGMA quick_check(1)").fetchall()
    finally:
        copy.close()
    if problem != "ok":
        raise sqlite3.DatabaseError(problem)
