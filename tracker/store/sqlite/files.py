"""The files of an open database: locked against a second tracker, and checked to be the ones that were opened.

Two locks exclude a second tracker. The one on ``<database>.lock`` names the process that has it. The one on the
database itself belongs to the file and not to a name, so that a bind mount or a hard link does not evade it. If a file
is removed, moved or replaced, what is written later is lost at the next start; so before each commit the files are
compared with what their names refer to. While their directory is the same and no entry of it was changed, one look at
the directory is enough.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tracker.errors import StoreUnavailable, StoreUnusable
from tracker.filesystem import PRIVATE_FILE, is_store, make_directory, sync_directory
from tracker.store.sqlite.backup_files import refuse_emptied, refuse_lone_log

if TYPE_CHECKING:
    from collections.abc import Callable

_MOUNTS = Path("/proc/self/mountinfo")
_MOUNT_POINT = 4
"""Field of a line of mountinfo. Source: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html."""

FULL_CHECK_S = 1.0
"""The files themselves are looked at this often in any case: a mount over one of them does not change the directory."""
SETTLED_NS = 3 * 10**9
"""A directory changed longer ago has another time after its next change: times are in steps, of two seconds at most."""

LEFT_OVER_S = 5.0
"""A lock of a process that has ended is waited for so long: if it is killed while it starts a program, the new process
has the lock until it executes the program."""
_RETRY_S = 0.02

_Identity = tuple[int, int]
_Listing = tuple[int, int, int]


class DatabaseFiles:
    """Locks a database, and checks that its files are those that were opened.

    Args:
        database: the path as configured.
        pause: waits for so many seconds.
    """

    def __init__(self, database: Path, pause: Callable[[float], None] = time.sleep) -> None:
        self._path = database
        self._pause = pause
        # the real name: a symbolic link or another spelling of the path has the same lock and log
        self._real = database.resolve()
        self._lock_path = self._real.with_name(self._real.name + ".lock")
        self._lock: int | None = None
        self._file: int | None = None
        self._opened: dict[Path, _Identity] = {}
        self._directory: Path | None = None
        """Where all names of the files are; None if the configured one is a link."""
        self._checked: _Listing | None = None
        """The directory at the last full check."""
        self._checked_until = 0.0
        """On the monotonic clock."""

    def take(self, *, replaces: bool = False) -> None:
        """Create what is missing, and take both locks; the kernel releases them when the process dies.

        Args:
            replaces: only exclude other processes: the file, if it exists, is going to be replaced and is not opened.

        Raises:
            StoreUnusable: another tracker has the database, its directory cannot be written, it has a second name,
                or it is empty and its copies are not.
        """
        try:
            make_directory(self._real.parent)
        except OSError as error:
            raise StoreUnusable(
                f"{self._real.parent}: cannot be created ({error.strerror}); create it or set store.path"
            ) from error
        self._take_name()
        try:
            if not replaces:
                is_store(self._real)
                refuse_lone_log(self._real)
                refuse_emptied(self._real)  # before a missing file is created, which is empty too
            if not replaces or self._real.exists():
                self._take_file()
            if not replaces:
                self._refuse_second_names()
        except BaseException:
            self.release()
            raise

    def _take_name(self) -> None:
        try:
            handle = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        except OSError as error:
            raise StoreUnusable(
                f"{self._lock_path.parent}: cannot be written ({error.strerror}); make the directory writable for this "
                "user or set store.path"
            ) from error
        until = time.monotonic() + LEFT_OVER_S
        while not _locks(handle):
            holder = os.pread(handle, 32, 0).decode(errors="replace").strip()
            if _has_ended(holder) and time.monotonic() < until:
                self._pause(_RETRY_S)
                continue
            os.close(handle)
            raise StoreUnusable(
                f"{self._lock_path}: another tracker{f' (pid {holder})' if holder else ''} already serves this "
                "database; stop it or set another store.path"
            )
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        self._lock = handle

    def _take_file(self) -> None:
        """Lock the file itself, on a handle that stays open as long as SQLite has the file.

        Closing any handle of a file releases all POSIX locks of the process on it, including SQLite's; so this one is
        opened first and closed last. A lock by flock does not conflict with SQLite's.

        Source: https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
        """
        try:
            self._file = _open_database(self._real)
        except OSError as error:
            raise StoreUnusable(
                f"{self._path}: cannot be opened ({error.strerror}); check the path and its permissions"
            ) from error
        if not _locks(self._file):
            raise StoreUnusable(
                f"{self._path}: another tracker already serves this file under another name (a bind mount or a hard "
                "link); stop it or set another store.path"
            )

    def _refuse_second_names(self) -> None:
        """Each name of a file has its own log, which holds the last writes."""
        assert self._file is not None  # noqa: S101 - opened before
        status = os.fstat(self._file)
        if not stat.S_ISREG(status.st_mode):
            raise StoreUnusable(f"{self._path}: is not a regular file; set store.path to another file")
        if status.st_nlink > 1:
            raise StoreUnusable(
                f"{self._path}: the file has {status.st_nlink} names (hard links), and a tracker under each name would "
                "write its own log; remove the other names, or use a copy"
            )
        if _is_mount_point(self._real):
            raise StoreUnusable(f"{self._path}: only this file is mounted here, without its log; mount its directory")

    def remember(self) -> None:
        """Remember the files that are open now: the database, its log, and the log's index.

        Raises:
            StoreUnavailable: one does not exist.
        """
        if self._file is None:
            return
        status = os.fstat(self._file)
        index = self._real.with_name(self._real.name + "-shm")
        try:
            sides = {path: _identity(path) for path in (_log_of(self._real), index)}
        except OSError as error:
            raise StoreUnavailable(
                f"{error.filename}: SQLite did not create this file ({error.strerror}); use a local file system"
            ) from error
        self._opened = {self._path: (status.st_dev, status.st_ino), **sides}
        self._directory = None if self._path.is_symlink() else self._path.parent
        self._checked = None

    def check(self) -> None:
        """Check that what is written now is found at the next start.

        Before each commit: looking at all files costs three times as much as looking at the directory (44 us, 14 us).

        Raises:
            StoreUnavailable: a file was removed, moved or replaced while it is open.
        """
        listing, now = self._listing(), time.monotonic()  # before the files: a change from here on is found next time
        if listing is not None and listing == self._checked and now < self._checked_until:
            return
        self._check_files()
        is_settled = listing is not None and time.time_ns() - listing[-1] > SETTLED_NS
        self._checked = listing if is_settled else None
        self._checked_until = now + FULL_CHECK_S

    def _listing(self) -> _Listing | None:
        """The directory's identity, and when an entry of it last changed; None if it does not show all changes."""
        if self._directory is None:
            return None
        try:
            status = self._directory.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_ctime_ns

    def _check_files(self) -> None:
        for path, opened in self._opened.items():
            if (what := _difference(path, opened)) is not None:
                raise StoreUnavailable(
                    f"{path}: {what} while the tracker has it open; put it back, or stop the tracker with SIGTERM and "
                    "run tracker db check"
                )

    def has_lost_only_log(self) -> bool:
        """Whether the log was removed or replaced, and the database and the log's index were not."""
        differing = [path for path, opened in self._opened.items() if _difference(path, opened) is not None]
        return differing == [_log_of(self._real)]

    def release(self) -> None:
        """Release both locks; they may be taken again."""
        for handle in (self._file, self._lock):
            if handle is not None:
                os.close(handle)
        self._file = self._lock = None
        self._opened = {}
        self._directory = self._checked = None


def log_bytes(database: Path) -> int:
    """The size of the write-ahead log of a database; 0 if it does not exist or cannot be read."""
    return size_bytes(_log_of(database.resolve()))


def size_bytes(file: Path) -> int:
    """The size of a file; 0 if it does not exist or cannot be read."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _log_of(real: Path) -> Path:
    return real.with_name(real.name + "-wal")


def _open_database(path: Path) -> int:
    """A handle of the database; a missing file is created private, where SQLite would follow the umask."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    except FileExistsError:
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except PermissionError:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # enough for a lock; SQLite reports the rest
    with contextlib.suppress(PermissionError):
        os.fchmod(handle, PRIVATE_FILE)
    sync_directory(path.parent)
    return handle


def _locks(handle: int) -> bool:
    """Whether the lock was taken."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has_ended(holder: str) -> bool:
    """Whether no process has the id in a lock file; False without an id."""
    try:
        os.kill(int(holder), 0)
    except ProcessLookupError:
        return True
    except (ValueError, OverflowError, PermissionError):
        pass
    return False


def _difference(path: Path, opened: _Identity) -> str | None:
    """What happened to a file that was opened; None if nothing."""
    try:
        return None if _identity(path) == opened else "it was replaced by another file"
    except FileNotFoundError:
        return "it was removed or moved"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"


def _identity(path: Path) -> _Identity:
    status = path.stat()
    return status.st_dev, status.st_ino


def _is_mount_point(path: Path) -> bool:
    """Whether something is mounted at exactly this path; `os.path.ismount` knows directories only."""
    try:
        lines = _MOUNTS.read_bytes().splitlines()
    except OSError:
        return False  # not Linux, or no /proc
    points = (line.split()[_MOUNT_POINT] for line in lines)
    return str(path) in {point.decode("unicode_escape").encode("latin-1").decode(errors="replace") for point in points}
