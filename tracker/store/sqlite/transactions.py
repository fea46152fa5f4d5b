"""The write connection: one transaction for a batch of changes, and the outcome of each.

A change that fails does not affect the others: the batch is rolled back and its changes run again one by one, each in
its own transaction.

After an error of COMMIT it is not known what is on disk: when the sync of the log failed, the log holds the transaction
with its commit mark, and a recovery would accept it. So each transaction writes its number to the file, and after such
an error another transaction is committed before any caller is answered: SQLite writes it over the first one. The number
that it finds shows whether the first was written. If that commit fails too, the outcome is unknown (`WriteUnknown`),
and no change is accepted until a commit succeeds.

Source: https://www.sqlite.org/walformat.html, "Recovery": frames count up to the last valid commit frame.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from tracker.errors import StoreDamaged, StoreError, StoreUnavailable, StoreUnusable, WriteUnknown
from tracker.logs import get_logger
from tracker.store.sqlite.identity import means_damage
from tracker.store.tallies import StoreTallies

if TYPE_CHECKING:
    import asyncio
    from datetime import datetime

    from tracker.store.sqlite.files import DatabaseFiles

log = get_logger(__name__)

Work = Callable[[sqlite3.Connection], Any]
Group = Callable[[sqlite3.Connection, "Sequence[Any]"], "Sequence[Any]"]
"""Does the work for many arguments at once; the answer to each is a value, or a `StoreError` if nothing was written."""

_READ_NUMBER = "SELECT coalesce(max(seq), 0) FROM cursors WHERE name = 'transactions'"
_WRITE_NUMBER = (
    "INSERT INTO cursors (name, seq) VALUES ('transactions', ?) ON CONFLICT (name) DO UPDATE SET seq = excluded.seq"
)


class Transaction(NamedTuple):
    """What a method of the store works with on the writer's thread; fixed when the method is called.

    Attributes:
        db: the write connection, in a transaction.
        now: when the method was called, by the store's clock.
        holder: the id of this process.
    """

    db: sqlite3.Connection
    now: datetime
    holder: str

    def in_ms(self, seconds: float = 0.0) -> int:
        """A time so many seconds after `now`, as it is stored."""
        return round((self.now.timestamp() + seconds) * 1000)


class Item(Struct):
    """One change, and after the commit its answer or its error."""

    future: asyncio.Future[Any]
    work: Work | None
    group: Group | None
    argument: Any
    answer: Any = None
    error: BaseException | None = None


class _Undecided(Struct):
    """A transaction whose COMMIT failed.

    Attributes:
        is_written: whether that number was found in the file; None: not read yet.
        cause: the error of COMMIT.
    """

    number: int
    cause: Exception
    is_written: bool | None = None


class _NotCommitted(Exception):
    """COMMIT failed, and nothing of the transaction is in the file."""


class WriteConnection:
    """Commits batches on one connection, which is replaced when it becomes unusable.

    Args:
        connect: makes the connection.
        files: the database's files: writes are refused while they are not those that were opened.
        tallies: gets the commits.
    """

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], files: DatabaseFiles, tallies: StoreTallies | None = None
    ) -> None:
        self._connect = connect
        self._files = files
        self._tallies = tallies or StoreTallies()
        self._connection: sqlite3.Connection | None = None
        self._number = 0
        self._undecided: _Undecided | None = None
        self._refusal = ""
        self.lost_since: float | None = None
        """Since when there has been no usable connection, on the monotonic clock."""

    def open(self) -> None:
        """Connect.

        Raises:
            StoreUnusable, StoreUnavailable, sqlite3.Error: it failed.
        """
        connection = self._connect()
        try:
            self._files.remember()
            self._files.check()
            (self._number,) = connection.execute(_READ_NUMBER).fetchone()
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def commit(self, batch: list[Item]) -> None:
        """Run a batch; when this returns each item has its answer, which is on disk, or its error."""
        connection = self._begin(batch)
        if connection is None:
            return
        try:
            self._transact(connection, batch)
        except Exception as error:  # noqa: BLE001 - every kind of failure belongs to the one change that caused it
            is_blamed = len(batch) == 1 and not isinstance(error, _NotCommitted)
            if is_blamed or isinstance(error, WriteUnknown):
                _refuse(batch, error)
                return
            for item in batch:
                item.answer = item.error = None
            for n, item in enumerate(batch):
                connection = self._begin(batch[n:])
                if connection is None:
                    return
                try:
                    self._transact(connection, [item])
                except Exception as cause:  # noqa: BLE001 - as above
                    _refuse([item], cause)

    def _begin(self, batch: Sequence[Item]) -> sqlite3.Connection | None:
        """Begin a transaction; if that fails the batch fails: to wait again for each change would take minutes."""
        try:
            self._files.check()
            if self._undecided is not None:
                self._decide(self._undecided)
            connection = self._usable()
            connection.execute("BEGIN IMMEDIATE")
        except (StoreError, sqlite3.Error) as error:
            unavailable = _translated(error)
            if not isinstance(error, sqlite3.Error) and self._refusal != str(error):
                self._refusal = str(error)
                self._rescue_log()
                log.error("store.writes_refused", error=str(error))  # noqa: TRY400 - not a bug
            for item in batch:
                item.error = unavailable
            return None
        self.lost_since = None
        if self._refusal:
            self._refusal = ""
            log.info("store.writes_resumed")
        return connection

    def _transact(self, connection: sqlite3.Connection, batch: Sequence[Item]) -> None:
        """Do the work of a batch, commit it, and find out whether it was written."""
        number = self._number + 1
        began = time.perf_counter()
        try:
            written = connection.total_changes
            for group, items in groupby(batch, key=_group_of):
                _run(connection, group, list(items))
            has_written = connection.total_changes != written  # else nothing is committed or synced
            if has_written:
                connection.execute(_WRITE_NUMBER, (number,))
        except BaseException:
            self._roll_back(connection)
            raise
        try:
            connection.execute("COMMIT")
        except Exception as error:
            self._roll_back(connection)
            if _is_certainly_unwritten(error):
                raise
            log.warning("store.failed", step="commit", error=str(error))
            undecided = self._undecided = _Undecided(number, error)
            try:
                is_written = self._decide(undecided)
            except (StoreError, sqlite3.Error) as cause:
                raise WriteUnknown(f"the commit failed ({error}), and the next one too ({cause})") from cause
            if not is_written:
                raise _NotCommitted(str(error)) from error
        else:
            self._number = number
            if has_written:
                self._tallies.note_commit(time.perf_counter() - began, len(batch))

    def _decide(self, undecided: _Undecided) -> bool:
        """Commit another transaction over one whose COMMIT failed; whether that one was in the file.

        Raises:
            StoreUnavailable, sqlite3.Error: this one failed too.
        """
        try:
            connection = self._usable()
            connection.execute("BEGIN IMMEDIATE")
            try:
                (found,) = connection.execute(_READ_NUMBER).fetchone()
                if undecided.is_written is None:
                    undecided.is_written = found == undecided.number
                number = max(found, undecided.number) + 1
                connection.execute(_WRITE_NUMBER, (number,))
                connection.execute("COMMIT")
            except BaseException:
                self._roll_back(connection)
                raise
        except sqlite3.Error as error:
            raise StoreUnavailable(f"it is not known whether the last commit was written: {error}") from error
        self._number = number
        self._undecided = None
        log.info("store.commit_resolved", written=undecided.is_written)
        return undecided.is_written

    def _rescue_log(self) -> None:
        """Checkpoint a log whose name was removed: its content would be lost with the process.

        Not if the index of the log or the database is gone too: another process may already use what is there.
        """
        if self._connection is not None and self._files.has_lost_only_log():
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _usable(self) -> sqlite3.Connection:
        """The connection, outside of any transaction; a new one if the last became unusable.

        Raises:
            StoreUnavailable, sqlite3.Error: it cannot be made now.
        """
        if self._connection is not None:
            self._roll_back(self._connection)
        if self._connection is None:
            try:
                self.open()
            except StoreUnusable as error:
                raise StoreUnavailable(str(error)) from error
            log.info("store.reconnected")
        assert self._connection is not None  # noqa: S101 - opened above
        return self._connection

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        """Roll back; if that fails, drop the connection."""
        if not connection.in_transaction:
            return  # a full disk may have rolled it back already
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            log.error("store.failed", step="rollback", error=str(error))  # noqa: TRY400 - not a bug
            self._connection = None
            self.lost_since = self.lost_since or time.monotonic()
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _run(connection: sqlite3.Connection, group: Group | None, items: Sequence[Item]) -> None:
    if group is None:
        for item in items:
            _run_alone(connection, item)
        return
    answers = group(connection, [item.argument for item in items])
    for item, answer in zip(items, answers, strict=True):
        if isinstance(answer, StoreError):
            item.error = answer
        else:
            item.answer = answer


def _group_of(item: Item) -> Group | None:
    return item.group


def _run_alone(connection: sqlite3.Connection, item: Item) -> None:
    assert item.work is not None  # noqa: S101 - an item has a group or work of its own
    written = connection.total_changes
    try:
        item.answer = item.work(connection)
    except StoreError as error:
        if connection.total_changes != written:
            raise
        item.error = error  # a refusal, such as an unknown task: the others need not run again


def _is_certainly_unwritten(error: Exception) -> bool:
    """Whether an error of COMMIT proves that the transaction is not in the file.

    On a full disk a frame was written in part only, and the commit mark is in the last one. A constraint is checked
    before anything is written. (A disk that is full at the sync is an I/O error.)
    """
    if isinstance(error, sqlite3.IntegrityError):
        return True
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def _refuse(items: Sequence[Item], error: Exception) -> None:
    """Make an error the outcome of these changes."""
    translated = _translated(error)
    for item in items:
        item.answer, item.error = None, translated


def _translated(error: Exception) -> Exception:
    if isinstance(error, StoreError):
        return error
    # a damaged file is the plain class, all else an operational error
    is_database = isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError
    if is_database or isinstance(error, _NotCommitted):
        reason = f"the database cannot be written now: {error}"
        unavailable = StoreDamaged(error) if means_damage(error) else StoreUnavailable(reason)
        unavailable.__cause__ = error
        return unavailable
    return error
