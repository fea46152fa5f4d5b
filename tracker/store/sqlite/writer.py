"""The single writer: one connection, one thread, many changes per commit.

Whoever wants to change the database hands in a function of the connection. The writer drains whatever waits into
one immediate transaction, commits it with a full sync, and only then answers each of them (group commit): while
one commit waits for the disk, the next batch gathers. A function that fails spoils nothing but itself: the batch is
rolled back and its functions run again one by one, each in a transaction of its own, so only the bad one fails.

A function must therefore be repeatable: it may change nothing but the database and must return its answer.
Nobody cancels a transaction half-way: a caller that goes away leaves its function to be committed all the same.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tracker.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

MAX_BATCH = 512
"""Functions in one transaction: bounds how long the first of them waits for the last."""
MAX_WAITING = 20_000
"""More than this waiting means that the disk cannot follow; further callers are turned away at once."""


class _Item:
    __slots__ = ("answer", "error", "future", "work")

    def __init__(self, work: Work, future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future
        self.answer: Any = None
        self.error: BaseException | None = None


class Writer:
    """Owns the write connection.

    Args:
        connect: makes the connection; called on the writer's own thread.
        on_commit: called on the event loop with the answers of each committed batch, before they are given out.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], on_commit: Callable[[Sequence[Any]], None]) -> None:
        self._connect = connect
        self._on_commit = on_commit
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self.last_commit = time.monotonic()
        """When a batch was last answered, on the monotonic clock; for the health of the process."""

    async def start(self) -> None:
        """Open the connection.

        Raises:
            sqlite3.Error: it cannot be opened.
        """
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(self._loop, opened), name="tracker-writer", daemon=True)
        self._thread.start()
        await opened

    async def stop(self) -> None:
        """Commit what waits, close the connection, end the thread."""
        if self._thread is None or self._closing:
            return
        self._closing = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    @property
    def waiting(self) -> int:
        """How many functions wait for a transaction."""
        return self._queue.qsize()

    def run(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Have ``work`` run in the next transaction; the future is done once it is on disk.

        Raises:
            StoreUnavailable: the writer is closing or cannot follow; ``work`` will not run.
        """
        if self._loop is None or self._closing:
            raise StoreUnavailable("the store is closed")
        if self._queue.qsize() > MAX_WAITING:
            raise StoreUnavailable("the disk cannot follow: too many writes are waiting")
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Item(work, future))
        return future

    # -- on the writer's thread ----------------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[None]) -> None:
        try:
            connection = self._connect()
        except BaseException as error:  # noqa: BLE001  handed to the caller of start()
            loop.call_soon_threadsafe(_fail, opened, error)
            return
        loop.call_soon_threadsafe(_succeed, opened)
        try:
            more = True
            while more:
                batch, more = self._gather()
                if batch:
                    _commit(connection, batch)
                    loop.call_soon_threadsafe(self._answer, batch)
        finally:
            connection.close()

    def _gather(self) -> tuple[list[_Item], bool]:
        """Wait for one function, take along what else is there; False when the writer is to end."""
        item = self._queue.get()
        batch: list[_Item] = []
        while item is not None:
            batch.append(item)
            if len(batch) >= MAX_BATCH:
                return batch, True
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    # -- on the event loop ---------------------------------------------------------------------------------

    def _answer(self, batch: list[_Item]) -> None:
        self.last_commit = time.monotonic()
        try:
            self._on_commit([item.answer for item in batch if item.error is None])
        finally:  # a listener that fails is the loop's to report; nobody waits for ever because of it
            for item in batch:
                if item.future.done():  # its caller went away; the change is on disk all the same
                    continue
                if item.error is None:
                    item.future.set_result(item.answer)
                else:
                    item.future.set_exception(item.error)


def _commit(connection: sqlite3.Connection, batch: list[_Item]) -> None:
    try:
        _transact(connection, batch)
    except Exception as error:  # noqa: BLE001  every kind of failure belongs to the one function that caused it
        if len(batch) == 1:
            batch[0].error = _translated(error)
            return
        for item in batch:
            item.answer = item.error = None
            _commit(connection, [item])


def _transact(connection: sqlite3.Connection, batch: list[_Item]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for item in batch:
            written = connection.total_changes
            try:
                item.answer = item.work(connection)
            except StoreError as error:
                if connection.total_changes != written:
                    raise
                item.error = error  # an ordinary refusal, such as an unknown task: the others need not run again
        connection.execute("COMMIT")
    except BaseException:
        # a full disk may have rolled the transaction back by itself
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _translated(error: Exception) -> Exception:
    if isinstance(error, StoreError):
        return error
    # besides the operational ones, a damaged file is told by the plain class
    if isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError:
        unavailable = StoreUnavailable(f"the database cannot take a write now: {error}")
        unavailable.__cause__ = error
        return unavailable
    return error


def _succeed(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
