"""Reading, through aiosqlite on read-only connections: never waits for the writer, never disturbs it."""

# ruff: noqa: D102 - the protocol documents its methods

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import aiosqlite

from tracker.domain.lenient_json.large import LARGE_BYTES
from tracker.domain.records import iso
from tracker.domain.task import TaskId
from tracker.errors import StoreDamaged, StoreUnavailable, TaskNotFound
from tracker.store.sqlite import model_lists, pruning
from tracker.store.sqlite.events import SELECT_HISTORY, feed_event_from, history_from, select_after
from tracker.store.sqlite.files import log_bytes
from tracker.store.sqlite.identity import means_damage, reader_uri
from tracker.store.sqlite.inline_data import SELECT_PIECE
from tracker.store.sqlite.rows import (
    ARCHIVE_COLUMNS,
    DELIVERY_COLUMNS,
    EVENT_COLUMNS,
    RECORD_COLUMNS,
    archive_from,
    delivery_conditions,
    delivery_from,
    event_from,
    from_ms,
    record_from,
    time_of,
    to_ms,
    where_clause,
)
from tracker.store.sqlite.schema import SELECT_INSTANCE, check_readable
from tracker.store.sqlite.tasks import SELECT_BY_KEY, repeated_from
from tracker.store.values import DeliveryPage, Lane, OpenCounts, Page, TaskFilter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from tracker.domain.ai_models import ModelList
    from tracker.domain.archives import ArchiveRecord
    from tracker.domain.history import TaskHistory
    from tracker.domain.pruning import Cutoffs, PrunablePage, StoredFile
    from tracker.domain.records import DeliveryRecord, EventRecord, TaskRecord
    from tracker.domain.task import ExternalId
    from tracker.store.values import DeliveryFilter, FeedEvent

T = TypeVar("T")

CONNECTIONS = 3
"""Reads that run side by side; further ones wait for a free connection."""


# Two steps to the next lane, each a single search: for (account, provider) > (?, ?) SQLite scans the account.
_LANES = """
    WITH RECURSIVE lanes (account, provider) AS (
        SELECT * FROM (SELECT account, provider FROM tasks WHERE due_at IS NOT NULL ORDER BY account, provider LIMIT 1)
        UNION ALL
        SELECT next.account, next.provider FROM lanes JOIN tasks AS next ON next.rowid = coalesce(
            (SELECT rowid FROM tasks WHERE due_at IS NOT NULL
             AND account = lanes.account AND provider > lanes.provider ORDER BY provider LIMIT 1),
            (SELECT rowid FROM tasks WHERE due_at IS NOT NULL
             AND account > lanes.account ORDER BY account, provider LIMIT 1))
    )
    SELECT account, provider, (SELECT min(due_at) FROM tasks WHERE tasks.account = lanes.account
                               AND tasks.provider = lanes.provider AND due_at IS NOT NULL) AS oldest
    FROM lanes WHERE oldest <= ? ORDER BY oldest
"""

_HAS_TEXT = """
    (instr(lower(id || ' ' || coalesce(external_id, '') || ' ' || coalesce(model, '') || ' '
                 || coalesce(error_code, '') || ' ' || coalesce(error_message, '')), lower(?)) > 0
     OR instr(lower((SELECT body FROM requests WHERE task_id = tasks.id)), lower(?)) > 0)
"""

_NEXT_DELIVERY = """
    SELECT due_at FROM deliveries AS mine
    WHERE hook = ? AND due_at IS NOT NULL AND NOT EXISTS (
        -- without the hint the planner scans all that is due, once for each row
        SELECT 1 FROM deliveries AS earlier INDEXED BY deliveries_open
        WHERE earlier.task_id = mine.task_id AND earlier.hook = mine.hook AND earlier.due_at IS NOT NULL
          AND (earlier.seq < mine.seq OR (earlier.seq = mine.seq AND earlier.rowid < mine.rowid)))
    ORDER BY due_at, mine.rowid LIMIT 1
"""


class SqliteReader:
    """Reads a tracker database.

    Args:
        path: the database file; it must exist and have been set up.
        now: the wall clock.
    """

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        self._path = path
        self._now = now
        self._free: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()
        self._all: list[aiosqlite.Connection] = []
        self._instance = ""

    async def open(self, connections: int = CONNECTIONS) -> None:
        """Open the connections.

        Raises:
            StoreUnusable: the file is missing, foreign or newer.
        """
        check_readable(self._path)
        for _ in range(connections):
            connection = await aiosqlite.connect(reader_uri(self._path), uri=True, isolation_level=None)
            self._all.append(connection)
            await connection.execute("PRAGMA query_only = 1")
            self._free.put_nowait(connection)
        ((self._instance,),) = await self._rows(SELECT_INSTANCE)

    @property
    def instance(self) -> str:
        return self._instance

    async def close(self) -> None:
        """Close every connection."""
        while self._all:
            await self._all.pop().close()

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

    async def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        async with self._connection() as connection:
            return list(await connection.execute_fetchall(sql, parameters))  # type: ignore[arg-type]  # rows are tuples

    async def _decoded(self, decode: Callable[[tuple[Any, ...]], T], rows: Sequence[tuple[Any, ...]]) -> list[T]:
        """The decoded rows; on a thread if they are large, as requests and results of many megabytes are."""
        size = sum(len(column) for row in rows for column in row if isinstance(column, str))
        if size <= LARGE_BYTES:
            return list(map(decode, rows))
        return await asyncio.to_thread(lambda: list(map(decode, rows)))

    async def get_task(self, task_id: TaskId) -> TaskRecord:
        rows = await self._rows(f"SELECT {RECORD_COLUMNS} FROM tasks WHERE id = ?", (task_id,))
        if not rows:
            raise TaskNotFound(f"no task has the id {task_id}")
        return (await self._decoded(record_from, rows))[0]

    async def find_external(self, external_id: ExternalId, route: str, account: str) -> TaskId | None:
        rows = await self._rows(
            "SELECT id FROM tasks WHERE external_id = ? AND route = ? AND account = ? ORDER BY id LIMIT 1",
            (external_id, route, account),
        )
        return TaskId(rows[0][0]) if rows else None

    async def read_inline(self, task_id: TaskId, identity: str, n: int) -> str | None:
        rows = await self._rows(SELECT_PIECE, (task_id, identity, n))
        return rows[0][0] if rows else None

    async def find_submit(self, idempotency_key: str, fingerprint: Callable[[str], str]) -> TaskRecord | None:
        rows = await self._rows(SELECT_BY_KEY, (idempotency_key,))
        return repeated_from(rows[0], fingerprint) if rows else None

    async def list_tasks(self, wanted: TaskFilter) -> Page:
        clause, values = where_clause(*_conditions(wanted))
        rows = await self._rows(
            f"SELECT {RECORD_COLUMNS} FROM tasks {clause} ORDER BY id DESC LIMIT ?",
            (*values, wanted.limit + 1),
        )
        items = await self._decoded(record_from, rows[: wanted.limit])
        return Page(items, items[-1].task.id if len(rows) > wanted.limit else None)

    async def list_events(self, task_id: TaskId) -> list[EventRecord]:
        rows = await self._rows(f"SELECT {EVENT_COLUMNS} FROM events WHERE task_id = ? ORDER BY seq", (task_id,))
        if not rows:
            await self.get_task(task_id)
        return await self._decoded(event_from, rows)

    async def list_events_after(self, seq: int, limit: int, *, payloads: bool = False) -> list[FeedEvent]:
        # there is one writer: the order of seq is the order of commits
        rows = await self._rows(select_after(payloads=payloads), (seq, limit))
        return await self._decoded(feed_event_from, rows)

    async def last_seq(self) -> int:
        # the number outlives events that retention removes
        rows = await self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
        return rows[0][0] if rows else 0

    async def read_history(self, task_id: TaskId) -> TaskHistory:
        rows = await self._rows(SELECT_HISTORY, (task_id,))
        if not rows:
            raise TaskNotFound(f"no task has the id {task_id}")
        return history_from(rows[0])

    async def list_deliveries(self, task_id: TaskId) -> list[DeliveryRecord]:
        rows = await self._rows(
            f"SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE task_id = ? ORDER BY seq, rowid", (task_id,)
        )
        if not rows:
            await self.get_task(task_id)
        return [delivery_from(row) for row in rows]

    async def list_all_deliveries(self, wanted: DeliveryFilter) -> DeliveryPage:
        # the cursor is a position, not a delivery: the one that ended the page before may have been pruned since
        cursor = None if wanted.cursor is None else int(wanted.cursor)
        clause, values = where_clause(*delivery_conditions(wanted), ("rowid < ?", cursor))
        rows = await self._rows(
            f"SELECT {DELIVERY_COLUMNS}, rowid FROM deliveries {clause} ORDER BY rowid DESC LIMIT ?",
            (*values, wanted.limit + 1),
        )
        page = rows[: wanted.limit]
        return DeliveryPage(
            [delivery_from(row) for row in page], str(page[-1][-1]) if len(rows) > wanted.limit else None
        )

    async def count_deliveries(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        for hook, status, count in await self._rows("SELECT hook, status, count(*) FROM deliveries GROUP BY 1, 2"):
            counts.setdefault(hook, {})[status] = count
        return counts

    async def list_archives(self, task_id: TaskId) -> list[ArchiveRecord]:
        rows = await self._rows(f"SELECT {ARCHIVE_COLUMNS} FROM archives WHERE task_id = ? ORDER BY n", (task_id,))
        return [archive_from(row) for row in rows]

    async def next_archive_in_s(self) -> float | None:
        ((due_at,),) = await self._rows("SELECT min(due_at) FROM archives WHERE due_at IS NOT NULL")
        return self._until_s(due_at)

    def _until_s(self, due_at: int | None) -> float | None:
        return None if due_at is None else (time_of(due_at) - self._now()).total_seconds()

    async def list_lanes(self) -> list[Lane]:
        rows = await self._rows(_LANES, (to_ms(self._now()),))
        return [Lane(account, provider) for account, provider, _oldest in rows]

    async def next_delivery_in_s(self, hooks: Sequence[str]) -> float | None:
        found = [await self._rows(_NEXT_DELIVERY, (hook,)) for hook in hooks]
        return self._until_s(min((rows[0][0] for rows in found if rows), default=None))

    async def list_models(self, account: str) -> ModelList:
        return await model_lists.list_models(self._rows, account)

    async def count_open(self) -> OpenCounts:
        ((pending, running, due, deliveries),) = await self._rows(
            "SELECT (SELECT count(*) FROM tasks WHERE status = 'PENDING'),"
            " (SELECT count(*) FROM tasks WHERE status = 'RUNNING'),"
            " (SELECT count(*) FROM tasks INDEXED BY tasks_due WHERE due_at <= ?),"
            " (SELECT count(*) FROM deliveries INDEXED BY deliveries_due WHERE due_at IS NOT NULL)",
            (to_ms(self._now()),),
        )
        return OpenCounts(pending, running, due, deliveries)

    async def find_prunable(self, cutoffs: Cutoffs, cursor: str, limit: int) -> PrunablePage:
        return await pruning.find_prunable(self._rows, cutoffs, cursor, limit)

    async def find_stored_files(self, before: datetime, after: tuple[str, str], limit: int) -> list[StoredFile]:
        return await pruning.find_stored_files(self._rows, before, after, limit)

    async def stats(self) -> dict[str, Any]:
        by_status = await self._rows("SELECT status, count(*) FROM tasks GROUP BY status")
        by_provider = await self._rows("SELECT provider, status, count(*) FROM tasks GROUP BY provider, status")
        by_reason = await self._rows("SELECT reason, count(*) FROM tasks WHERE status = 'FAILED' GROUP BY reason")
        deliveries = await self._rows("SELECT status, count(*) FROM deliveries GROUP BY status")
        archives = await self._rows("SELECT state, count(*) FROM archives GROUP BY state")
        ((due, oldest),) = await self._rows(
            "SELECT count(*), min(due_at) FROM tasks WHERE due_at <= ?", (to_ms(self._now()),)
        )
        ((parked,),) = await self._rows("SELECT count(*) FROM parked")
        ((rejected,),) = await self._rows("SELECT count(*) FROM rejected")
        providers: dict[str, dict[str, int]] = {}
        for provider, status, count in by_provider:
            providers.setdefault(provider, {})[status] = count
        return {
            "tasks": {"PENDING": 0, "RUNNING": 0, "SUCCEEDED": 0, "FAILED": 0, **dict(by_status)},
            "providers": providers,
            "reasons": dict(by_reason),
            "deliveries": dict.fromkeys(("pending", "running", "succeeded", "failed", "dead"), 0) | dict(deliveries),
            "archives": {"pending": 0, "running": 0, "stored": 0, "dead": 0, **dict(archives)},
            "due_polls": due,
            "oldest_due_poll_at": iso(from_ms(oldest)),
            "log_bytes": log_bytes(self._path),
            "parked_callbacks": parked,
            "rejected_callbacks": rejected,
        }


def _conditions(wanted: TaskFilter) -> list[tuple[Any, ...]]:
    columns = ("status", "provider", "route", "account", "reason")
    text = wanted.q or None
    return [
        *((f"{column} = ?", getattr(wanted, column)) for column in columns),
        *(
            ("id IN (SELECT task_id FROM labels WHERE name = ? AND value = ?)", name, value)
            for name, value in wanted.labels.items()
        ),
        (_HAS_TEXT, text, text),
        ("created_at >= ?", to_ms(wanted.since)),
        ("created_at < ?", to_ms(wanted.until)),
        ("id < ?", wanted.cursor),
    ]
