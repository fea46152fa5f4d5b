"""The file: recognising it, migrating it forward.

A migration is a numbered SQL script in ``migrations/``; the number is kept in ``user_version``. A file that is
newer than this program, or that is not ours, is refused before anything is written to it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from importlib import resources
from pathlib import Path

from tracker.errors import StoreUnavailable, StoreUnusable
from tracker.filesystem import is_store
from tracker.store.sqlite.backup_files import damaged, refuse_emptied, refuse_lone_log
from tracker.store.sqlite.checkpoints import BACKSTOP_PAGES
from tracker.store.sqlite.identity import APPLICATION_ID, means_damage, reader_uri, unused_uri, writer_uri

BUSY_TIMEOUT_MS = 5000
OWNER = "run as its owner, or check its permissions"
"""What helps where a file cannot be read."""


def migrations() -> list[tuple[int, str]]:
    """Every migration as (number, SQL), in order."""
    folder = resources.files(__package__) / "migrations"
    scripts = sorted((item for item in folder.iterdir() if item.name.endswith(".sql")), key=lambda item: item.name)
    return [(int(script.name.partition("_")[0]), script.read_text(encoding="utf-8")) for script in scripts]


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
        connection = connect_existing(path, timeout_s=BUSY_TIMEOUT_MS / 1000)
    except sqlite3.Error as error:
        raise unusable(path, error, "opened", "check the path and its permissions") from error
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
        raise unusable(path, error, "used", "check free space and permissions") from error
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
        raise unusable(path, error, "read", OWNER) from error
    latest = migrations()[-1][0]
    if version == 0:
        refuse_emptied(path)
        raise StoreUnusable(f"{path}: is empty; the first start of the daemon sets it up")
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
        raise unusable(path, error, "read", OWNER) from error
    return None if row is None else str(row[0])


def connect_existing(path: Path, timeout_s: float = 5.0) -> sqlite3.Connection:
    """Connect to write, and never make a file: one that was removed must not be followed by an empty one.

    Raises:
        sqlite3.Error: there is no file, or it cannot be opened.
    """
    return sqlite3.connect(writer_uri(path), uri=True, isolation_level=None, timeout=timeout_s, cached_statements=256)


def recognise(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is not for us.

    Raises:
        StoreUnusable: newer, foreign or damaged.
    """
    refuse_lone_log(path)
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


def unusable(path: Path, error: Exception, verb: str, fix: str = "") -> StoreUnusable:
    """What to say of a file that SQLite does not take, see `damaged` too.

    Args:
        path: the file.
        error: what SQLite says.
        verb: what cannot be done with it.
        fix: what may help unless it is damaged.
    """
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
    is_migrated = False
    for number, script in migrations():
        if number <= version:
            continue
        is_migrated = True
        # one transaction per migration: a crash in between leaves the version before, whole
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{script}\nPRAGMA application_id = {APPLICATION_ID};\n"
            f"PRAGMA user_version = {number};\nCOMMIT;"
        )
    if is_migrated:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # a migration writes much, and the log would stay so long
