"""Read-only connections, each with a thread of its own.

One pool serves look-ups: each reads little, by an index. Another serves searches, whose time depends on what is looked
for. So no look-up ever waits for a search.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiosqlite

from tracker.errors import SearchRefused, StoreDamaged, StoreUnavailable
from tracker.store.sqlite.identity import means_damage, reader_uri

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tracker.store.sqlite.rows import Row

STATEMENT_S = 1.0
INTERRUPT_AGAIN_S = 0.05
"""An interrupt misses a statement that is about to begin on the connection's thread."""
MAX_SEARCHES = 32
"""Further searches are refused while so many are running or waiting."""


class Connections:
    """A pool of read-only connections.

    Args:
        path: the database.
        statement_s: a statement of a search is interrupted after so long.
    """

    def __init__(self, path: Path, statement_s: float = STATEMENT_S) -> None:
        self._path = path
        self._statement_s = statement_s
        self._free: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()
        self._all: list[aiosqlite.Connection] = []
        self.searches = 0
        """Searches that run or wait for a connection."""

    async def open(self, count: int) -> None:
        """Open so many connections."""
        for _ in range(count):
            connection = await aiosqlite.connect(reader_uri(self._path), uri=True, isolation_level=None)
            self._all.append(connection)
            await connection.execute("PRAGMA query_only = 1")
            self._free.put_nowait(connection)

    async def close(self) -> None:
        """Close every connection; what runs on one is interrupted."""
        while self._all:
            connection = self._all.pop()
            await connection.interrupt()
            await connection.close()

    async def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """The rows of a look-up, on the next free connection.

        Raises:
            StoreUnavailable: the file cannot be read now.
        """
        async with self._connection() as connection:
            return list(await connection.execute_fetchall(sql, parameters))  # type: ignore[arg-type]  # rows are tuples

    async def rows_of(self, *queries: tuple[str, Sequence[Any]]) -> list[list[Row]]:
        """The rows of several look-ups in one state of the database.

        Raises:
            StoreUnavailable: the file cannot be read now.
        """
        async with self._connection() as connection:
            await connection.execute("BEGIN")
            try:
                return [list(await connection.execute_fetchall(sql, values)) for sql, values in queries]  # type: ignore[arg-type]  # rows are tuples
            finally:
                await connection.execute("ROLLBACK")

    @asynccontextmanager
    async def search(self) -> AsyncIterator[None]:
        """Admit one search, which consists of any number of `bounded_rows`.

        Raises:
            SearchRefused: too many are running.
        """
        if self.searches >= MAX_SEARCHES:
            raise SearchRefused(f"{self.searches} searches are running already: retry later")
        self.searches += 1
        try:
            yield
        finally:
            self.searches -= 1

    async def bounded_rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """The rows of one statement of a search; it is interrupted when its time is over, or its caller is canceled.

        Raises:
            SearchRefused: its time was over.
            StoreUnavailable: the file cannot be read now.
        """
        async with self._connection() as connection:
            query = asyncio.ensure_future(connection.execute_fetchall(sql, parameters))
            try:
                await asyncio.wait({query}, timeout=self._statement_s)
                is_late = not query.done()
            finally:
                while not query.done():  # the connection is free only then
                    await connection.interrupt()
                    await asyncio.wait({query}, timeout=INTERRUPT_AGAIN_S)
            if is_late and query.exception() is not None:
                raise SearchRefused(
                    f"the search was stopped after {self._statement_s:g} s: narrow it by a time or a label"
                )
            return list(query.result())  # type: ignore[arg-type]  # rows are tuples

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosqlite.Connection]:
        connection = await self._free.get()
        try:
            yield connection
        except sqlite3.DatabaseError as error:
            if means_damage(error):
                raise StoreDamaged(error) from error
            if isinstance(error, sqlite3.OperationalError):
                raise StoreUnavailable(f"the database cannot be read now: {error}") from error
            raise
        finally:
            self._free.put_nowait(connection)
