"""Is a file there, or a directory? Asked of the file system where it may refuse to say.

Owns the one line for a place that cannot be looked at. `Path.is_file` and its kin raise where a directory on the way
may not be entered (and newer Pythons call the file missing): neither tells the user what to do.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from tracker.errors import ConfigError, StoreUnusable


def is_store(path: Path) -> bool:
    """Whether a database file is there.

    Raises:
        StoreUnusable: that cannot be known, or something else than a file is there.
    """
    try:
        mode = _mode(path)
    except OSError as error:
        raise StoreUnusable(_unseen(path, error, "run as its owner or set store.path")) from error
    if mode and not stat.S_ISREG(mode):
        what = "is a directory" if stat.S_ISDIR(mode) else "is not a regular file"
        raise StoreUnusable(
            f"{path}: {what}; set store.path to a file, or move this away and put a copy of the database back: "
            "tracker db restore --list shows the copies"
        )
    return bool(mode)


def is_file(path: Path, mend: str) -> bool:
    """Whether a file that the configuration leads to is there.

    Args:
        path: where.
        mend: what to do when that cannot be known, after "run as its owner or".

    Raises:
        ConfigError: that cannot be known.
    """
    try:
        return stat.S_ISREG(_mode(path))
    except OSError as error:
        raise ConfigError([_unseen(path, error, f"run as its owner or {mend}")]) from error


def is_directory(path: Path, mend: str) -> bool:
    """Whether a directory that the configuration leads to is there, and its files can be listed.

    Args:
        path: where.
        mend: what to do when that cannot be known, after "run as its owner or".

    Raises:
        ConfigError: that cannot be known, or it cannot be listed.
    """
    try:
        if not stat.S_ISDIR(_mode(path)):
            return False
        if not os.access(path, os.R_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ConfigError([_unseen(path, error, f"run as its owner or {mend}")]) from error
    return True


def _mode(path: Path) -> int:
    """What `stat` says of it, 0 when it is not there."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except ValueError:  # a null byte: no file has such a name
        return 0


def _unseen(path: Path, error: OSError, mend: str) -> str:
    return f"{path}: cannot be looked at ({error.strerror}); {mend}"
