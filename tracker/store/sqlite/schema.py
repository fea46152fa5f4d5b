"""The file: locking it, recognising it, migrating it forward.

A migration is a numbered SQL script in ``migrations/``; the number is kept in ``user_version``. A file that is
newer than this program, or that is not ours, is refused before anything is written to it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from importlib import resources
from pathlib import Path

from tracker.errors import StoreUnavailable, StoreUnusable
from tracker.paths import is_store
from tracker.store.sqlite.backups import damaged, emptied
from tracker.store.sqlite.checkpoints import BACKSTOP_PAGES
from tracker.store.sqlite.identity import APPLICATION_ID, means_damage, reader_uri, unused_uri

BUSY_TIMEOUT_MS = 5000


def migrations() -> list[tuple[int, str]]:
    """Every migration as (number, SQL), in order."""
    folder = resources.files(__package__) / "migrations"
    scripts = sorted((item for item in folder.iterdir() if item.name.endswith(".sql")), key=lambda item: item.name)
    return [(int(script.name.partition("_")[0]), script.read_text(encoding="utf-8")) for script in scripts]


class FileLock:
    """Keeps a second tracker off the same database; the kernel gives it back when the process dies.

    The lock is on a file of its own beside the database: closing any other handle of the database itself would
    drop SQLite's own locks.
    """

    def __init__(self, database: Path) -> None:
        # the real name: a symbolic link or another spelling of the path leads to the same lock
        database = database.resolve()
        self._path = database.with_name(database.name + ".lock")
        self._handle: int | None = None

    def take(self) -> None:
        """Take the lock.

        Raises:
            StoreUnusable: another tracker has it, or the directory cannot be written.
        """
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnusable(
                f"{self._path.parent}: cannot write here ({error.strerror}); make the directory writable for this user "
                "or set store.path"
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 32).decode(errors="replace").strip()
            os.close(handle)
            raise StoreUnusable(
                f"{self._path}: another tracker{f' (pid {holder})' if holder else ''} already serves this database; "
                "stop it or set another store.path"
            ) from error
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        self._handle = handle

    def release(self) -> None:
        """Give the lock back; taking it again is allowed."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


KeepCopy = Callable[[sqlite3.Connection, Path], object]
"""Copies what a connection sees to a file; raises `StoreUnavailable`."""


def connect_writer(path: Path, keep_copy: KeepCopy) -> sqlite3.Connection:
    """Open the write connection and migrate the file forward.

    Args:
        path: the database.
        keep_copy: called before a file that is in use already is migrated: the way back, should there be need of it.

    Raises:
        StoreUnusable: newer, foreign, damaged, or not writable; the file is left as it was.
    """
    try:
        _look_first(path)
        connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000, cached_statements=256)
    except sqlite3.Error as error:
        raise _unusable(path, error, "opened", "check the path and its permissions") from error
    try:
        recognise(connection, path)
        if connection.execute("PRAGMA page_count").fetchone() == (0,):  # later it would take a rebuild of the file
            connection.execute("PRAGMA page_size = 8192")  # events fit: less of each page stays empty than with 4096
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cache_size = -16384")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute(f"PRAGMA wal_autocheckpoint = {BACKSTOP_PAGES}")
        _keep_old(connection, path, keep_copy)
        _migrate(connection)
    except StoreUnusable:
        connection.close()
        raise
    except StoreUnavailable as error:
        connection.close()
        raise StoreUnusable(f"{path}: was not migrated, for no copy of it could be kept: {error}") from error
    except sqlite3.Error as error:
        connection.close()
        raise _unusable(path, error, "used", "check free space and permissions") from error
    return connection


def _look_first(path: Path) -> None:
    """Refuse a file that is not for us through a connection that cannot write.

    One that can would bring a left-over write-ahead log into the file as it closes. Without such a log the file is
    read as it lies there, so that not even a side file appears next to it.

    Raises:
        StoreUnusable: newer, foreign or damaged.
    """
    if not is_store(path):
        return
    path = path.resolve()  # SQLite puts its log beside the real file
    if (problem := emptied(path)) is not None:
        raise problem
    connection = sqlite3.connect(unused_uri(path), uri=True)
    try:
        recognise(connection, path)
    finally:
        connection.close()


def check_readable(path: Path) -> None:
    """Refuse a file that reading connections would misread.

    Raises:
        StoreUnusable: it is missing, foreign, newer, or was never set up.
    """
    if not is_store(path):
        raise StoreUnusable(f"{path}: no such file; has the daemon ever run? Set store.path if it is elsewhere")
    try:
        connection = sqlite3.connect(reader_uri(path), uri=True)
        try:
            recognise(connection, path)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise _unusable(path, error, "read") from error
    latest = migrations()[-1][0]
    if version < latest:
        raise StoreUnusable(
            f"{path}: has schema {version}, this program reads {latest}; start the daemon once to migrate it"
        )


SELECT_INSTANCE = "SELECT value FROM meta WHERE name = 'instance'"


def read_instance(path: Path) -> str | None:
    """Read the instance id of a store from its file, whether or not a daemon has it open.

    Args:
        path: the database.

    Returns:
        The id; None where there is no database, or one from before stores had ids.

    Raises:
        StoreUnusable: foreign, newer, damaged, or not readable.
    """
    if not is_store(path):
        return None
    try:
        with closing(sqlite3.connect(reader_uri(path), uri=True)) as connection:
            recognise(connection, path)
            if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone() is None:
                return None
            row = connection.execute(SELECT_INSTANCE).fetchone()
    except sqlite3.Error as error:
        raise _unusable(path, error, "read") from error
    return None if row is None else str(row[0])


def recognise(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is not for us.

    Raises:
        StoreUnusable: newer, foreign or damaged.
    """
    try:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (objects,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError as error:
        if not means_damage(error):
            raise
        raise damaged(path, error) from error
    if application_id != APPLICATION_ID and (application_id or objects):
        raise StoreUnusable(f"{path}: is another program's SQLite file; set store.path to another file")
    latest = migrations()[-1][0]
    if version > latest:
        kept = copy_name(path, latest)
        way_back = f", or stop everything and put {kept} in its place" if kept.exists() else ""
        raise StoreUnusable(
            f"{path}: was written by a newer tracker (schema {version}, this program knows {latest}); "
            f"install that version again{way_back}; the file was not touched"
        )


def _unusable(path: Path, error: sqlite3.Error, verb: str, fix: str = "") -> StoreUnusable:
    if means_damage(error):
        return damaged(path, error)
    return StoreUnusable(f"{path}: cannot be {verb} ({error})" + (f"; {fix}" if fix else ""))


def copy_name(path: Path, version: int) -> Path:
    """Where the copy from before a migration is kept: the schema that it has is its ending."""
    return path.with_name(f"{path.name}.bak-{version}")


def _keep_old(connection: sqlite3.Connection, path: Path, keep_copy: KeepCopy) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if 0 < version < migrations()[-1][0]:
        keep_copy(connection, copy_name(path, version))


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, script in migrations():
        if number <= version:
            continue
        # one transaction per migration: a crash in between leaves the version before, whole
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{script}\nPRAGMA application_id = {APPLICATION_ID};\n"
            f"PRAGMA user_version = {number};\nCOMMIT;"
        )
