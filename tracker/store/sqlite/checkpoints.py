"""Checkpoints beside the writer: what the write-ahead log holds is copied into the file on a thread of its own.

SQLite's automatic checkpoint runs inside the commit that makes the log long enough, and everybody in that commit waits
for it (measured: 8 ms in every seventeenth commit of 64 callbacks). A passive one on another connection keeps nobody
waiting. The automatic one stays as the backstop, further off: it finds most of its work done, and after it the log
begins anew.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing

from tracker.errors import StoreUnavailable
from tracker.logs import get_logger

log = get_logger(__name__)

COMMITS = 16
"""A checkpoint is begun after so many commits: some hundred pages when callbacks stream in."""
BACKSTOP_PAGES = 2000
"""Pages in the log at which the writer's own commit makes sure of a checkpoint: a log of 16 MB stays in the caches, one
of 64 MB cost 12 us more for each callback."""


MAX_LOG_PAGES = 8192
"""Pages in the log (64 MB) above which it should have begun anew long since; it is cut to this length when it does."""
BLOCKED_HINT = (
    "a program reads the database in one transaction that does not end, so the write-ahead log only grows; find the "
    "program with lsof and end it"
)


class Checkpointer:
    """Checkpoints a database while its writer goes on.

    Args:
        connect: makes a connection to the database; called on the thread, once for each checkpoint. Raises
            `StoreUnavailable` where there must be none.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._is_blocked = False
        self._commits = 0
        self._due = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="tracker-checkpoints", daemon=True)

    def start(self) -> None:
        """Begin to wait for commits."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; blocks while a checkpoint is under way."""
        if self._thread.is_alive():
            self._stopping = True
            self._due.set()
            self._thread.join()

    def note_commit(self) -> None:
        """The writer has committed."""
        self._commits += 1
        if self._commits % COMMITS == 0:
            self._due.set()

    def _run(self) -> None:
        is_failing = False
        while self._wait():
            # A connection for each: one that met an error may be of no use again, and a new one costs 0.3 ms.
            try:
                with closing(self._connect()) as connection:
                    self._look_at(*connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone())
            except (
                sqlite3.Error,
                StoreUnavailable,
            ) as error:  # a full disk, say: the backstop goes on without it, and this tries again
                if not is_failing:
                    log.warning("store.failed", step="checkpoint", error=str(error))
                is_failing = True
            else:
                if is_failing:
                    log.info("store.checkpoint_recovered")
                is_failing = False

    def _look_at(self, _is_busy: int, in_log: int, copied: int) -> None:
        """Warn once of a log that is long because it does not begin anew: somebody reads all the time."""
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
