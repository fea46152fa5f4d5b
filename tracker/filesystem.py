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
import threading
from collections.abc import Callable
from pathlib import Path

from tracker.errors import ConfigError, StoreUnusable

PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600


def is_store(path: Path) -> bool:
    """Whether a database file exists.

    Raises:
        StoreUnusable: that cannot be determined, or it is not a regular file.
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
    """Whether a configured file exists.

    Args:
        path: of the file.
        fix: what to do on an error, after "run as its owner or".

    Raises:
        ConfigError: that cannot be determined.
    """
    try:
        return stat.S_ISREG(_mode(path))
    except OSError as error:
        raise ConfigError([_unseen(path, error, f"run as its owner or {fix}")]) from error


def is_directory(path: Path, fix: str) -> bool:
    """Whether a configured directory exists and can be listed.

    Args:
        path: of the directory.
        fix: what to do on an error, after "run as its owner or".

    Raises:
        ConfigError: that cannot be determined, or it cannot be listed.
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
    """The mode of a file, 0 if it does not exist."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except ValueError:  # a null byte in the name
        return 0


def _unseen(path: Path, error: OSError, fix: str) -> str:
    return f"{path}: cannot be read ({error.strerror}); {fix}"


def make_directory(path: Path, sync_names: Callable[[Path], None] | None = None) -> bool:
    """Create a directory and its parents, private in any umask, and sync their names.

    The name of an existing directory is synced too: its creator may have died before doing so.

    Args:
        path: the directory.
        sync_names: syncs the names in its parent; by default `sync_directory`.

    Returns:
        Whether it is new.

    Raises:
        OSError: it cannot be created or synced.
    """
    is_new = True
    try:
        path.mkdir(PRIVATE_DIRECTORY)
    except FileNotFoundError:
        if path == path.parent:
            raise
        make_directory(path.parent)
        return make_directory(path, sync_names)
    except FileExistsError:  # it may be a file
        if not path.is_dir():
            raise
        is_new = False
    else:
        path.chmod(PRIVATE_DIRECTORY)  # the umask may have removed the owner's rights
    (sync_names or sync_directory)(path.parent)
    return is_new


class SharedSync:
    """Syncs the names in one directory for many threads: those that wait for their turn share the next sync."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._begun = 0
        self._done = 0

    def __call__(self, path: Path) -> None:
        """Return after a sync that began after this call.

        Raises:
            OSError: the disk failed.
        """
        needed = self._begun + 1  # one that is running may have read the names before
        with self._turn:
            if self._done >= needed:
                return
            self._begun += 1
            sync_directory(path)
            self._done = self._begun


def sync_directory(path: Path) -> None:
    """Sync the names in a directory; unreadable ones and file systems without this are skipped.

    Raises:
        OSError: the disk failed.
    """
    try:
        sync(path)
    except OSError as error:
        # another user's directory, or a file system that cannot sync directories
        if error.errno not in {errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP}:
            raise


def sync(path: Path) -> None:
    """Sync a file's content, or a directory's names.

    Raises:
        OSError: the disk failed, or it cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
