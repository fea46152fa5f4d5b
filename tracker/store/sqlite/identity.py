"""The mark of a tracker database in its header, and the URIs that open one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

APPLICATION_ID = 0x54524B31
"""``TRK1``: distinguishes the tracker's files from other SQLite files."""
_DAMAGE_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_LOWEST_BYTE = 0xFF


def reader_uri(path: Path) -> str:
    """The URI of a read-only connection."""
    return f"file:{_quoted(path)}?mode=ro"


def writer_uri(path: Path) -> str:
    """The URI of a connection that writes and never creates a file."""
    return f"file:{_quoted(path)}?mode=rw"


def unused_uri(path: Path) -> str:
    """The URI to read a file that no process writes to, so that no side file appears beside it."""
    real = path.resolve()  # SQLite looks for the log beside the real file
    log = real.with_name(real.name + "-wal")
    has_log = log.exists() and log.stat().st_size > 0
    return reader_uri(path) + ("" if has_log else "&immutable=1")


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def means_damage(error: Exception) -> bool:
    """Whether an error means that the file's content is wrong, rather than that the disk or a lock failed.

    **Source**: https://www.sqlite.org/rescode.html; the lowest byte of an extended code is its primary code.
    """
    return getattr(error, "sqlite_errorcode", 0) & _LOWEST_BYTE in _DAMAGE_CODES
