"""The single writer: one connection, one thread, many changes per commit.

A change is a function of the connection. The writer runs all waiting ones in one immediate transaction, commits it
with a full sync, and only then answers each of them (group commit): while one commit waits for the disk, the next batch
gathers. A function that fails does not affect the others, and an error of COMMIT is resolved before any answer, see
`tracker.store.sqlite.transactions`.

The event loop and the writer's thread share one interpreter lock. While both want it they pass it to and fro at every
statement, which costs more than the statements (measured: 156 us of CPU per callback against 136 us). So a batch is
passed on when the loop adds nothing more to it, and one at a time. After a batch of a single change the loop gets one
round to add more, later four: a lone sender does not wait for others.

A function must be repeatable: it may change only the database. A caller that is canceled does not cancel its function.
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
from tracker.store.sqlite.transactions import Group, Item, Work
from tracker.store.values import MAX_WAITING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracker.store.sqlite.checkpoints import Checkpointer
    from tracker.store.sqlite.transactions import WriteConnection

A = TypeVar("A")
T = TypeVar("T")
MAX_BATCH = 512
"""Functions in one transaction: bounds how long the first of them waits for the last."""
QUIET_ROUNDS = 4
"""The batch is passed on after so many rounds of the event loop that add nothing."""
GATHER_S = 0.01
"""The batch is passed on after so long in any case."""


class Writer:
    """Owns the write connection.

    Args:
        connection: commits the batches; used on the writer's own thread alone.
        on_commit: called on the event loop with the answers of each committed batch, before its callers get them.
        checkpointer: notified of each commit.
    """

    def __init__(
        self,
        connection: WriteConnection,
        on_commit: Callable[[Sequence[Any]], None],
        checkpointer: Checkpointer,
    ) -> None:
        self._connection = connection
        self._checkpointer = checkpointer
        self._on_commit = on_commit
        self._queue: queue.SimpleQueue[list[Item] | None] = queue.SimpleQueue()
        self._gathered: list[Item] = []
        self._gathering_since: float | None = None
        self._is_under_way = False
        self._last_size = 1
        self._enough_quiet = 1
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self.progress_at = time.monotonic()
        """When a batch was last answered, or the first write came to an idle writer, on the monotonic clock."""

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
            self._pass_on()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    @property
    def lost_since(self) -> float | None:
        """Since when there has been no usable connection, on the monotonic clock."""
        return self._connection.lost_since

    @property
    def waiting(self) -> int:
        """How many changes wait for their commit."""
        return self._waiting

    def run(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Have ``work`` run in the next transaction; the future is done once it is on disk.

        Raises:
            StoreUnavailable: the writer is closing or its queue is full; ``work`` will not run.
        """
        return self._put(work, None, None)

    def run_grouped(
        self, group: Callable[[sqlite3.Connection, Sequence[A]], Sequence[T | StoreError]], argument: A
    ) -> asyncio.Future[T]:
        """The same for work that is cheaper done together: neighbours with the same ``group`` are one call of it.

        Raises:
            StoreUnavailable: the writer is closing or its queue is full; ``group`` will not get ``argument``.
        """
        return self._put(None, group, argument)

    def _put(self, work: Work | None, group: Group | None, argument: Any) -> asyncio.Future[Any]:  # noqa: ANN401 - the work's own
        if self._loop is None or self._closing:
            raise StoreUnavailable("the store is closed")
        if self._waiting > MAX_WAITING:
            raise StoreUnavailable(f"the write queue is full ({self._waiting} pending): the disk is too slow")
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self._waiting:
            self.progress_at = time.monotonic()
        self._waiting += 1
        self._gathered.append(Item(future, work, group, argument))
        if self._gathering_since is None and not self._is_under_way:
            self._gather(self._loop)
        return future

    def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        self._gathering_since = loop.time()
        self._enough_quiet = QUIET_ROUNDS if self._last_size > 1 else 1
        loop.call_soon(self._watch_growth, loop, len(self._gathered), 0)

    def _watch_growth(self, loop: asyncio.AbstractEventLoop, known: int, quiet: int) -> None:
        """Once each round of the event loop: pass the batch on unless it still grows."""
        gathered = len(self._gathered)
        quiet = quiet + 1 if gathered == known else 0
        assert self._gathering_since is not None  # noqa: S101 - it was set when this began
        enough = quiet >= self._enough_quiet or gathered >= MAX_BATCH
        if enough or loop.time() - self._gathering_since > GATHER_S:
            self._gathering_since = None
            self._pass_on()
        else:
            loop.call_soon(self._watch_growth, loop, gathered, quiet)

    def _pass_on(self) -> None:
        if self._gathered:
            self._is_under_way = True
            self._last_size = min(len(self._gathered), MAX_BATCH)
            self._queue.put(self._gathered[:MAX_BATCH])
            del self._gathered[:MAX_BATCH]

    # -- on the writer's thread ----------------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[None]) -> None:
        try:
            self._connection.open()
        except BaseException as error:  # noqa: BLE001 - handed to the caller of start()
            loop.call_soon_threadsafe(_fail, opened, error)
            return
        loop.call_soon_threadsafe(_succeed, opened)
        self._checkpointer.start()
        try:
            while (batch := self._queue.get()) is not None:
                self._connection.commit(batch)
                self._checkpointer.note_commit(len(batch))
                loop.call_soon_threadsafe(self._answer, loop, batch)
        finally:
            self._checkpointer.stop()
            self._connection.close()

    # -- on the event loop ---------------------------------------------------------------------------------

    def _answer(self, loop: asyncio.AbstractEventLoop, batch: list[Item]) -> None:
        self.progress_at = time.monotonic()
        self._waiting -= len(batch)
        self._is_under_way = False
        if self._gathered:
            self._gather(loop)
        try:
            self._on_commit([item.answer for item in batch if item.error is None])
        finally:  # the loop reports a listener that fails; the callers still get their answers
            for item in batch:
                if item.future.done():  # its caller was canceled; the change is still on disk
                    continue
                if item.error is None:
                    item.future.set_result(item.answer)
                else:
                    item.future.set_exception(item.error)


def _succeed(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
