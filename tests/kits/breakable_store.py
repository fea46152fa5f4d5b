"""The real store, whose methods a test makes fail or hang, and whose calls it counts and awaits."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, TypeVar

from tests.kits.waiting import Signal
from tracker.errors import StoreUnavailable
from tracker.store.protocol import Store
from tracker.store.sqlite import SqliteStore

T = TypeVar("T")
Condition = Callable[..., bool]
METHODS = {"apply"} | {name for name in dir(Store) if iscoroutinefunction(getattr(Store, name))} - {"open", "close"}
DISK_FULL = StoreUnavailable("the disk is full")


class BreakableStore(SqliteStore):
    """The real store, on demand with failures.

    Attributes:
        calls: name of a method -> how often it was called.
        failed: name of a method -> how often it failed on request.
        done: name of a method -> the positional arguments of each call that returned, in order.
    """

    def __init__(self, path: Path, now: Callable[..., Any]) -> None:
        super().__init__(path, now)
        self.calls: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.done: dict[str, list[tuple[Any, ...]]] = {name: [] for name in METHODS}
        self._failures: dict[str, tuple[Exception, float, Condition]] = {}
        self._called = Signal()
        for name in METHODS:
            setattr(self, name, self._breakable(name, getattr(self, name)))

    def fail(
        self,
        *methods: str,
        error: Exception = DISK_FULL,
        times: float = float("inf"),
        when: Condition = lambda *_args, **_more: True,
    ) -> None:
        """Have calls of these methods (default: all) fail, so many times, when their arguments satisfy a condition."""
        self._failures |= dict.fromkeys(methods or METHODS, (error, times, when))

    def repair(self) -> None:
        """Have every method work again."""
        self._failures.clear()

    async def wait_for_call(self, method: str, times: int = 1) -> list[tuple[Any, ...]]:
        """Wait until calls of a method have returned so often in all; the arguments of each."""
        done = self.done[method]
        return await self._called.until(lambda: done if len(done) >= times else None)

    async def wait_for_failure(self, method: str) -> None:
        """Wait until a call of a method has failed on request."""
        await self._called.until(lambda: self.failed[method])

    @asynccontextmanager
    async def halted_writer(self) -> AsyncIterator[None]:
        """Hold the writer inside a transaction; what is handed in meanwhile gathers into one batch."""
        go_on, halted = threading.Event(), threading.Event()

        def wait(_: sqlite3.Connection) -> None:
            halted.set()
            go_on.wait(30)

        halt = self._writer.run(wait)
        assert await asyncio.to_thread(halted.wait, 30)  # the event loop hands the work over
        try:
            yield
        finally:
            go_on.set()
            await halt

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run work in a transaction of the writer."""
        return await self._write(work)

    async def trace(self) -> list[str]:
        """A list that fills with the statements that the writer runs from now on."""
        statements: list[str] = []
        await self._write(lambda db: db.set_trace_callback(statements.append))
        statements.clear()  # the end of the transaction that began the trace
        return statements

    async def count_steps(self, call: Callable[[], Awaitable[object]]) -> int:
        """How many steps SQLite's virtual machine takes on the writer's connection during a call."""
        steps = 0

        def count() -> None:
            nonlocal steps
            steps += 1

        await self._write(lambda db: db.set_progress_handler(count, 1))
        await call()
        await self._write(lambda db: db.set_progress_handler(None, 0))
        return steps

    def _breakable(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - of any method
            self.calls[name] += 1
            error, times, when = self._failures.get(name, (DISK_FULL, 0, bool))
            if times > 0 and when(*args, **kwargs):
                self._failures[name] = (error, times - 1, when)
                self.failed[name] += 1
                self._called.notify()
                raise error
            result = await method(*args, **kwargs)
            self.done[name].append(args)
            self._called.notify()
            return result

        return call
