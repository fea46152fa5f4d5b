"""The single writer: one connection, one thread, many changes per commit.

Whoever wants to change the database hands in a function of the connection. The writer drains whatever waits into
one immediate transaction, commits it with a full sync, and only then answers each of them (group commit): while
one commit waits for the disk, the next batch gathers. A function that fails spoils nothing but itself: the batch is
rolled back and its functions run again one by one, each in a transaction of its own, so only the bad one fails.

The event loop and the writer's thread share one interpreter lock. While both want it they hand it to and fro at every
statement, which costs more than the statements (measured: 156 us of CPU per callback against 136 us). So a batch is
handed over when the loop has nothing more to add to it, and one at a time.

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
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from tracker.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracker.store.sqlite.checkpoints import Checkpointer

A = TypeVar("A")
T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
Group = Callable[[sqlite3.Connection, "Sequence[Any]"], "Sequence[Any]"]
"""Does the work for many arguments at once; answers each with a value, or with a `StoreError` that it is refused
with. A refused one must have written nothing."""

MAX_BATCH = 512
"""Functions in one transaction: bounds how long the first of them waits for the last."""
QUIET_ROUNDS = 4
"""So many rounds of the event loop in a row that add nothing, and the batch is handed over."""
GATHER_S = 0.01
"""A batch is handed over after so long in any case."""
MAX_WAITING = 20_000
"""More than this waiting means that the disk cannot follow; further callers are turned away at once."""


class _Item(Struct):
    future: asyncio.Future[Any]
    work: Work | None
    group: Group | None
    argument: Any
    answer: Any = None
    error: BaseException | None = None


class Writer:
    """Owns the write connection.

    Args:
        connect: makes the connection; called on the writer's own thread.
        on_commit: called on the event loop with the answers of each committed batch, before they are given out.
        checkpointer: told of each commit.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        on_commit: Callable[[Sequence[Any]], None],
        checkpointer: Checkpointer,
    ) -> None:
        self._connect = connect
        self._checkpointer = checkpointer
        self._on_commit = on_commit
        self._queue: queue.SimpleQueue[list[_Item] | None] = queue.SimpleQueue()
        self._gathered: list[_Item] = []
        self._gathering_since: float | None = None
        self._is_under_way = False
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self.progress_at = time.monotonic()
        """When a batch was last answered, or work came after a rest, on the monotonic clock; for the health of the
        process: while work waits, it tells for how long."""

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
        while self._gathered:
            self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    @property
    def waiting(self) -> int:
        """How many changes wait for their commit."""
        return self._waiting

    def run(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Have ``work`` run in the next transaction; the future is done once it is on disk.

        Raises:
            StoreUnavailable: the writer is closing or cannot follow; ``work`` will not run.
        """
        return self._put(work, None, None)

    def run_grouped(
        self, group: Callable[[sqlite3.Connection, Sequence[A]], Sequence[T | StoreError]], argument: A
    ) -> asyncio.Future[T]:
        """The same for work that is cheaper done together: neighbours with the same ``group`` are one call of it.

        Raises:
            StoreUnavailable: the writer is closing or cannot follow; ``group`` will not see ``argument``.
        """
        return self._put(None, group, argument)

    def _put(self, work: Work | None, group: Group | None, argument: Any) -> asyncio.Future[Any]:  # noqa: ANN401 - the work's own
        if self._loop is None or self._closing:
            raise StoreUnavailable("the store is closed")
        if self._waiting > MAX_WAITING:
            raise StoreUnavailable("the disk cannot follow: too many writes are waiting")
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self._waiting:
            self.progress_at = time.monotonic()
        self._waiting += 1
        self._gathered.append(_Item(future, work, group, argument))
        if self._gathering_since is None and not self._is_under_way:
            self._gather(self._loop)
        return future

    def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        self._gathering_since = loop.time()
        loop.call_soon(self._look_around, loop, 0, 0)

    def _look_around(self, loop: asyncio.AbstractEventLoop, known: int, quiet: int) -> None:
        """Once each round of the event loop: see whether the batch still grows, else hand it over."""
        gathered = len(self._gathered)
        quiet = quiet + 1 if gathered == known else 0
        assert self._gathering_since is not None  # noqa: S101 - it was set when this began
        enough = quiet >= QUIET_ROUNDS or gathered >= MAX_BATCH
        if enough or loop.time() - self._gathering_since > GATHER_S:
            self._gathering_since = None
            self._hand_over()
        else:
            loop.call_soon(self._look_around, loop, gathered, quiet)

    def _hand_over(self) -> None:
        if self._gathered:
            self._is_under_way = True
            self._queue.put(self._gathered[:MAX_BATCH])
            del self._gathered[:MAX_BATCH]

    # -- on the writer's thread ----------------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[None]) -> None:
        try:
            connection = self._connect()
        except BaseException as error:  # noqa: BLE001 - handed to the caller of start()
            loop.call_soon_threadsafe(_fail, opened, error)
            return
        loop.call_soon_threadsafe(_succeed, opened)
        self._checkpointer.start()
        try:
            while (batch := self._queue.get()) is not None:
                _commit(connection, batch)
                self._checkpointer.note_commit()
                loop.call_soon_threadsafe(self._answer, loop, batch)
        finally:
            self._checkpointer.stop()
            connection.close()

    # -- on the event loop ---------------------------------------------------------------------------------

    def _answer(self, loop: asyncio.AbstractEventLoop, batch: list[_Item]) -> None:
        self.progress_at = time.monotonic()
        self._waiting -= len(batch)
        self._is_under_way = False
        if self._gathered:
            self._gather(loop)
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
    if not _begin(connection, batch):
        return
    try:
        _transact(connection, batch)
    except Exception as error:  # noqa: BLE001 - every kind of failure belongs to the one function that caused it
        if len(batch) == 1:
            batch[0].error = _translated(error)
            return
        for item in batch:
            item.answer = item.error = None
        for n, item in enumerate(batch):
            if not _begin(connection, batch[n:]):
                return
            try:
                _transact(connection, [item])
            except Exception as cause:  # noqa: BLE001 - as above
                item.error = _translated(cause)


def _begin(connection: sqlite3.Connection, batch: list[_Item]) -> bool:
    """Begin a transaction; where that fails none of the batch is to blame, and waiting for each would take minutes."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        for item in batch:
            item.error = _translated(error)
        return False
    return True


def _transact(connection: sqlite3.Connection, batch: list[_Item]) -> None:
    try:
        for group, items in groupby(batch, key=_group_of):
            if group is None:
                for item in items:
                    _run_alone(connection, item)
            else:
                together = list(items)
                answers = group(connection, [item.argument for item in together])
                for item, answer in zip(together, answers, strict=True):
                    if isinstance(answer, StoreError):
                        item.error = answer
                    else:
                        item.answer = answer
        connection.execute("COMMIT")
    except BaseException:
        # a full disk may have rolled the transaction back by itself
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _group_of(item: _Item) -> Group | None:
    return item.group


def _run_alone(connection: sqlite3.Connection, item: _Item) -> None:
    assert item.work is not None  # noqa: S101 - an item has a group or work of its own
    written = connection.total_changes
    try:
        item.answer = item.work(connection)
    except StoreError as error:
        if connection.total_changes != written:
            raise
        item.error = error  # an ordinary refusal, such as an unknown task: the others need not run again


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
