"""The schema of the file: recognition and migration.

A migration is a numbered SQL script in ``migrations/``; ``user_version`` holds the number. A file that is newer than
this program, or another program's, is refused before anything is written to it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tracker.errors import StoreUnavailable, StoreUnusable
from tracker.filesystem import is_store
from tracker.store.sqlite.backup_files import damaged, refuse_emptied, refuse_lone_log
from tracker.store.sqlite.identity import APPLICATION_ID, means_damage, reader_uri, unused_uri, writer_uri

BUSY_TIMEOUT_MS = 5000
BACKSTOP_PAGES = 2000
"""Pages in the log at which the writer's commit checkpoints: 16 MB stay in the caches, 64 MB cost 12 us more for each
callback."""
OWNER = "run as its owner, or check its permissions"
"""How to fix a file that cannot be read."""


def migrations() -> list[tuple[int, str]]:
    """Every migration as (number, SQL), in order."""
    scripts = sorted(Path(__file__).with_name("migrations").glob("*.sql"))
    return [(int(script.name.partition("_")[0]), script.read_text(encoding="utf-8")) for script in scripts]


CopyFile = Callable[[sqlite3.Connection, Path], object]
"""Copies what a connection sees to a file; raises `StoreUnavailable`."""


def connect_writer(path: Path, copy_file: CopyFile) -> sqlite3.Connection:
    """Open the write connection and migrate the file forward.

    Args:
        path: the database.
        copy_file: called before a migration, so that the old file can be restored.

    Raises:
        StoreUnusable: newer, foreign, damaged, or not writable; the file is not changed.
    """
    try:
        _recognise_unwritable(path)
        connection = connect_existing(path, timeout_s=BUSY_TIMEOUT_MS / 1000)
    except sqlite3.Error as error:
        raise unusable(path, error, "opened", "check the path and its permissions") from error
    try:
        recognise(connection, path)
        if connection.execute("PRAGMA page_count").fetchone() == (0,):  # later this takes a rebuild of the file
            connection.execute("PRAGMA page_size = 8192")  # events fit: pages are fuller than with 4096
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cache_size = -16384")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute(f"PRAGMA wal_autocheckpoint = {BACKSTOP_PAGES}")
        _copy_old(connection, path, copy_file)
        _migrate(connection)
    except StoreUnusable:
        connection.close()
        raise
    except StoreUnavailable as error:
        connection.close()
        raise StoreUnusable(f"{path}: was not migrated, because it could not be copied first: {error}") from error
    except sqlite3.Error as error:
        connection.close()
        # a plain error is one of SQL: a migration found a view, index or table that somebody added
        is_sql = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
        fix = "drop what was added to the file by hand" if is_sql else "check free space and permissions"
        raise unusable(path, error, "used", fix) from error
    return connection


def _recognise_unwritable(path: Path) -> None:
    """Refuse a file of another program through a connection that cannot write.

    One that can write would checkpoint a left-over log as it closes. Without such a log the file is read as immutable,
    so that no side file appears.

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
    """Refuse a file that readers would misread.

    Raises:
        StoreUnusable: it is missing, foreign, newer, or was never set up.
    """
    if not is_store(path):
        raise StoreUnusable(f"{path}: no such file; start the daemon once, or set store.path")
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
    """The instance id in a file, whether or not a daemon has it open; None for no file, or one from before ids.

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
    """Connect to write, and never create a file after one was removed.

    Raises:
        sqlite3.Error: no file, or it cannot be opened.
    """
    return sqlite3.connect(writer_uri(path), uri=True, isolation_level=None, timeout=timeout_s, cached_statements=256)


def recognise(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that this program cannot use.

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
        copy = copy_name(path, latest)
        or_copy = f", or stop the tracker and replace the file with {copy}" if copy.exists() else ""
        raise StoreUnusable(
            f"{path}: was written by a newer tracker (schema {version}, this program supports {latest}); "
            f"install that version again{or_copy}; the file was not touched"
        )


def unusable(path: Path, error: Exception, verb: str, fix: str = "") -> StoreUnusable:
    """The error for a file that SQLite does not accept; see `damaged` too.

    Args:
        path: the file.
        error: SQLite's error.
        verb: what failed, as in "cannot be opened".
        fix: how to fix it, unless it is damaged.
    """
    if means_damage(error):
        return damaged(path, error)
    return StoreUnusable(f"{path}: cannot be {verb} ({error})" + (f"; {fix}" if fix else ""))


def copy_name(path: Path, version: int) -> Path:
    """The path of the copy from before a migration: it ends with the old schema version."""
    return path.with_name(f"{path.name}.bak-{version}")


def _copy_old(connection: sqlite3.Connection, path: Path, copy_file: CopyFile) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if 0 < version < migrations()[-1][0]:
        copy_file(connection, copy_name(path, version))


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    pending = [migration for migration in migrations() if migration[0] > version]
    for number, script in pending:
        # one transaction per migration: a crash leaves the version before
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{script}\nPRAGMA application_id = {APPLICATION_ID};\n"
            f"PRAGMA user_version = {number};\nCOMMIT;"
        )
    if pending:  # a migration writes much, and the log would stay that long
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
