"""Directories and names that survive a power cut, and that only their owner can read.

Syncing a file writes its content, not its name: a name is on disk once its directory was synced. Owns that step, for
directories, new files, links and renames alike.

Source: https://man7.org/linux/man-pages/man2/fsync.2.html (read 2026-11): "Calling fsync() does not necessarily ensure
that the entry in the directory containing the file has also reached disk."
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600


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
