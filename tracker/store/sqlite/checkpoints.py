"""Checkpoints beside the writer: a thread copies the content of the write-ahead log into the file.

SQLite's automatic checkpoint runs inside the commit that makes the log long enough, and every caller of that commit
waits for it (measured: 8 ms in every seventeenth commit of 64 callbacks). A passive one on another connection delays no
commit. The automatic one remains as a backstop, at a longer log: it finds most of its work done, and restarts the log.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing

from tracker.errors import StoreUnavailable
from tracker.logs import get_logger

log = get_logger(__name__)

PAGES = 640
"""Pages written between checkpoints, as estimated; each is copied once, however often it was written."""
PAGES_OF_COMMIT = 10
CHANGES_OF_PAGE = 3
"""A commit of one change writes 11 pages, of 16 changes 26, of 56 changes 39, of 200 changes 69 (with callbacks)."""
MAX_LOG_PAGES = 8192
"""Pages in the log (64 MB) above which checkpoints are blocked; the log is truncated to this when it restarts."""
BLOCKED_HINT = (
    "a program holds a read transaction open, so the write-ahead log only grows; find the program with lsof and end it"
)


class Checkpointer:
    """Checkpoints a database beside its writer.

    Args:
        connect: makes a connection; called on the thread, once for each checkpoint. Raises `StoreUnavailable` if that
            is not allowed.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._is_blocked = False
        self._pages = 0
        self._due = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="tracker-checkpoints", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; blocks while a checkpoint is under way."""
        if self._thread.is_alive():
            self._stopping = True
            self._due.set()
            self._thread.join()

    def note_commit(self, changes: int) -> None:
        """Count a commit of the writer, with so many changes."""
        self._pages += PAGES_OF_COMMIT + changes // CHANGES_OF_PAGE
        if self._pages >= PAGES:
            self._pages = 0
            self._due.set()

    def _run(self) -> None:
        is_failing = False
        while self._wait():
            # A connection for each: one with an error may stay unusable, and a new one costs 0.3 ms.
            try:
                with closing(self._connect()) as connection:
                    self._check_log(*connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone())
            except (sqlite3.Error, StoreUnavailable) as error:  # such as a full disk: the backstop remains
                if not is_failing:
                    log.warning("store.failed", step="checkpoint", error=str(error))
                is_failing = True
            else:
                if is_failing:
                    log.info("store.checkpoint_recovered")
                is_failing = False

    def _check_log(self, _is_busy: int, in_log: int, copied: int) -> None:
        """Warn once of a log that cannot restart because a reader never ends its transaction."""
        if in_log > MAX_LOG_PAGES and not self._is_blocked:
            self._is_blocked = True
            log.warning("store.checkpoint_blocked", pages_in_wal=in_log, pages_copied=copied, hint=BLOCKED_HINT)
        elif in_log <= MAX_LOG_PAGES and self._is_blocked:
            self._is_blocked = False
            log.info("store.checkpoint_unblocked")

    def _wait(self) -> bool:
        self._due.wait()
        self._due.clear()
        return not self._stopping
