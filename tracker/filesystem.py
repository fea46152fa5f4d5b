"""Files and directories: whether they exist, and how they survive a power cut.

`Path.is_file` and its kin raise where a directory on the way may not be entered, and newer Pythons call the file
missing; neither tells the user what to do. The checks here raise one line that does.

Syncing a file writes its content, not its name: a name is on disk only after its directory was synced. The functions
here sync both.

Source: https://man7.org/linux/man-pages/man2/fsync.2.html (read 2026-11): "Calling fsync() does not necessarily ensure
that the entry in the directory containing the file has also reached disk."
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from tracker.errors import ConfigError, StoreUnusable

PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600


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


def is_file(path: Path, fix: str) -> bool:
    """Whether a file that the configuration leads to is there.

    Args:
        path: where.
        fix: what to do when that cannot be known, after "run as its owner or".

    Raises:
        ConfigError: that cannot be known.
    """
    try:
        return stat.S_ISREG(_mode(path))
    except OSError as error:
        raise ConfigError([_unseen(path, error, f"run as its owner or {fix}")]) from error


def is_directory(path: Path, fix: str) -> bool:
    """Whether a directory that the configuration leads to is there, and its files can be listed.

    Args:
        path: where.
        fix: what to do when that cannot be known, after "run as its owner or".

    Raises:
        ConfigError: that cannot be known, or it cannot be listed.
    """
    try:
        if not stat.S_ISDIR(_mode(path)):
            return False
        if not os.access(path, os.R_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ConfigError([_unseen(path, error, f"run as its owner or {fix}")]) from error
    return True


def _mode(path: Path) -> int:
    """What `stat` says of it, 0 when it is not there."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except ValueError:  # a null byte: no file has such a name
        return 0


def _unseen(path: Path, error: OSError, fix: str) -> str:
    return f"{path}: cannot be looked at ({error.strerror}); {fix}"


def make_directory(path: Path) -> None:
    """Make a directory that is missing, with those above it; each is private whatever the umask, and its name on disk.

    The name of one that exists is synced, too: the process that made it may have died before it did so.

    Raises:
        OSError: it cannot be made or synced.
    """
    missing = []
    level = path
    while not level.is_dir() and level != level.parent:
        missing.append(level)
        level = level.parent
    for level in reversed(missing):
        try:
            level.mkdir(PRIVATE_DIRECTORY)
        except FileExistsError:  # another process was first; a file of that name is no directory
            if not level.is_dir():
                raise
        else:
            level.chmod(PRIVATE_DIRECTORY)  # a umask may have taken the owner's own rights away
        sync_directory(level.parent)
    if not missing:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Have the names in a directory on disk; one that this user may not read, or that cannot be synced, is passed over.

    Raises:
        OSError: the disk failed.
    """
    try:
        sync(path)
    except OSError as error:
        # a directory that cannot be opened for reading is not ours; some file systems sync no directories
        if error.errno not in {errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP}:
            raise


def sync(path: Path) -> None:
    """Have a file's content, or a directory's names, on disk.

    Raises:
        OSError: the disk failed, or it cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
