"""Reading, through aiosqlite on read-only connections: never waits for the writer, never disturbs it."""

# ruff: noqa: D102 - the protocol documents its methods

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from tracker.domain.ids import shown_id
from tracker.domain.lenient_json.large import LARGE_BYTES
from tracker.domain.task import TaskId
from tracker.errors import DeliveryNotFound, TaskNotFound
from tracker.store.sqlite import alarms, costs, counts, gauges, lists, model_lists, pruning, slots, task_export, walks
from tracker.store.sqlite.connections import Connections
from tracker.store.sqlite.durations import read_durations
from tracker.store.sqlite.events import (
    SELECT_AFTER,
    SELECT_HISTORY,
    SELECT_ITEMS,
    feed_event_from,
    feed_item_from,
    history_from,
)
from tracker.store.sqlite.files import log_bytes
from tracker.store.sqlite.inline_data import SELECT_PIECE
from tracker.store.sqlite.lists import SearchLimits
from tracker.store.sqlite.report import read_ends, read_report
from tracker.store.sqlite.rows import (
    ARCHIVE_COLUMNS,
    DELIVERY_COLUMNS,
    DELIVERY_DETAIL_COLUMNS,
    EVENT_COLUMNS,
    NEW_ARCHIVE,
    RECORD_COLUMNS,
    WAITING_ARCHIVE,
    Row,
    archive_from,
    delivery_detail_from,
    delivery_from,
    event_from,
    record_from,
    time_of,
)
from tracker.store.sqlite.schema import SELECT_INSTANCE, check_readable
from tracker.store.sqlite.tasks import SELECT_BY_KEY, repeated_from
from tracker.store.sqlite.unmatched import list_unmatched
from tracker.store.values import DeliveryPage, Page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from datetime import datetime
    from decimal import Decimal
    from pathlib import Path

    from tracker.domain.ai_models import ModelList
    from tracker.domain.alarms import StoredAlarm
    from tracker.domain.archives import ArchiveRecord
    from tracker.domain.attempts import DeliveryDetail
    from tracker.domain.durations import Durations
    from tracker.domain.ends import Ends, EndsFilter
    from tracker.domain.exports import TaskExport
    from tracker.domain.history import FeedEvent, FeedItem, TaskHistory
    from tracker.domain.pruning import Cutoffs, PrunablePage, StoredFile
    from tracker.domain.records import DeliveryRecord, EventRecord, TaskRecord
    from tracker.domain.report import Report, ReportFilter
    from tracker.domain.unmatched import Unmatched
    from tracker.store.tallies import Backlog, StoreGauges
    from tracker.store.values import DeliveryFilter, Lane, OpenCounts, TaskCounts, TaskFilter

T = TypeVar("T")

LOOKUPS = 2
"""Look-ups that run side by side; further ones wait for a free connection."""
SEARCHES = 1
"""The same for slices of searches: they take turns. Two would keep both cores of a small machine busy, and a look-up
beside three searches took 6 ms instead of 1.2 ms (a million tasks)."""

_NEXT_DELIVERY = f"""
    SELECT due_at FROM deliveries AS mine
    WHERE hook = ? AND due_at IS NOT NULL AND NOT EXISTS (
        -- without the hint the planner scans all that is due, once for each row
        SELECT 1 FROM deliveries AS earlier INDEXED BY deliveries_open
        WHERE earlier.task_id = mine.task_id AND earlier.hook = mine.hook AND earlier.due_at IS NOT NULL
          AND (earlier.seq < mine.seq OR (earlier.seq = mine.seq AND earlier.rowid < mine.rowid)))
      AND {alarms.IS_NEXT_OF_ALARM}
    ORDER BY due_at, mine.rowid LIMIT 1
"""


_NEXT_ARCHIVE = f"""
    SELECT min(due_at) FROM (
        SELECT * FROM (SELECT due_at FROM archives INDEXED BY archives_new WHERE {NEW_ARCHIVE} LIMIT 1)
        UNION ALL
        SELECT min(due_at) FROM archives INDEXED BY archives_waiting WHERE {WAITING_ARCHIVE})
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
        self._lookups = Connections(path)
        self._searches = Connections(path)
        self.search_limits = SearchLimits()
        self._instance = ""

    async def open(self, *, lookups: int = LOOKUPS, searches: int = SEARCHES) -> None:
        """Open the connections.

        Args:
            lookups: how many for look-ups.
            searches: how many for searches; 0: they share those for look-ups.

        Raises:
            StoreUnusable: the file is missing, foreign or newer.
        """
        check_readable(self._path)
        await self._lookups.open(lookups)
        if searches:
            await self._searches.open(searches)
        else:
            self._searches = self._lookups
        ((self._instance,),) = await self._rows(SELECT_INSTANCE)

    @property
    def instance(self) -> str:
        return self._instance

    async def close(self) -> None:
        """Close every connection."""
        await self._searches.close()
        await self._lookups.close()

    async def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return await self._lookups.rows(sql, parameters)

    async def _decoded(self, decode: Callable[[tuple[Any, ...]], T], rows: Sequence[tuple[Any, ...]]) -> list[T]:
        """The decoded rows; on a thread if they are large, as requests and results of many megabytes are."""
        size = sum(len(column) for row in rows for column in row if isinstance(column, str))
        if size <= LARGE_BYTES:
            return list(map(decode, rows))
        return await asyncio.to_thread(lambda: list(map(decode, rows)))

    async def get_task(self, task_id: TaskId) -> TaskRecord:
        rows = await self._rows(f"SELECT {RECORD_COLUMNS} FROM tasks WHERE id = ?", (task_id,))
        if not rows:
            raise _no_task(task_id)
        return (await self._decoded(record_from, rows))[0]

    def walk_tasks(self, wanted: TaskFilter) -> AsyncIterator[Sequence[TaskId]]:
        return walks.walk_tasks(self._searches, wanted, self.search_limits)

    def walk_failed_deliveries(self, wanted: TaskFilter) -> AsyncIterator[Sequence[str]]:
        return walks.walk_failed_deliveries(self._searches, wanted, self.search_limits)

    async def read_inline(self, task_id: TaskId, identity: str, n: int) -> str | None:
        rows = await self._rows(SELECT_PIECE, (task_id, identity, n))
        return rows[0][0] if rows else None

    async def find_submit(self, idempotency_key: str, fingerprint: Callable[[str], str]) -> TaskRecord | None:
        rows = await self._rows(SELECT_BY_KEY, (idempotency_key,))
        return repeated_from(rows[0], fingerprint) if rows else None

    async def list_tasks(self, wanted: TaskFilter) -> Page:
        async with self._searches.search():
            found = await lists.find_tasks(self._searches.bounded_rows, wanted, self.search_limits)
        items = await self._decoded(record_from, found.rows[: wanted.limit])
        if found.cut_at is not None:
            return Page(items, found.cut_at, is_cut=True)
        return Page(items, items[-1].task.id if len(found.rows) > wanted.limit else None)

    async def count_tasks(self, wanted: TaskFilter, at_most: int) -> TaskCounts:
        async with self._searches.search():
            return await lists.count_tasks(self._searches.bounded_rows, wanted, self.search_limits, at_most)

    async def list_events(self, task_id: TaskId) -> list[EventRecord]:
        rows = await self._rows(f"SELECT {EVENT_COLUMNS} FROM events WHERE task_id = ? ORDER BY seq", (task_id,))
        if not rows:
            await self.get_task(task_id)
        return await self._decoded(event_from, rows)

    async def list_events_after(self, seq: int, limit: int, *, search: bool = False) -> list[FeedEvent]:
        # there is one writer: the order of seq is the order of commits
        return list(map(feed_event_from, await self._feed_rows(SELECT_AFTER, (seq, limit), search=search)))

    async def read_events(self, seqs: Sequence[int], *, search: bool = False) -> list[FeedItem]:
        rows = await self._feed_rows(SELECT_ITEMS, (orjson.dumps(seqs).decode(),), search=search)
        return await self._decoded(feed_item_from, rows)

    async def _feed_rows(self, sql: str, parameters: Sequence[Any], *, search: bool) -> list[Row]:
        if not search:
            return await self._rows(sql, parameters)
        async with self._searches.search():
            return await self._searches.bounded_rows(sql, parameters)

    async def last_seq(self) -> int:
        # the number outlives events that retention removes
        rows = await self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
        return rows[0][0] if rows else 0

    async def read_history(self, task_id: TaskId) -> TaskHistory:
        rows = await self._rows(SELECT_HISTORY, (task_id,))
        if not rows:
            raise _no_task(task_id)
        return history_from(rows[0])

    async def read_export(self, task_id: TaskId) -> TaskExport:
        found = await task_export.read_export(self._lookups, task_id)
        if found is None:
            raise _no_task(task_id)
        return found

    async def read_durations(self) -> Durations:
        return await read_durations(self._rows)

    async def list_deliveries(self, task_id: TaskId) -> list[DeliveryRecord]:
        rows = await self._rows(
            f"SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE task_id = ? ORDER BY seq, rowid", (task_id,)
        )
        if not rows:
            await self.get_task(task_id)
        return [delivery_from(row) for row in rows]

    async def get_delivery(self, delivery_id: str) -> DeliveryDetail:
        rows = await self._rows(f"SELECT {DELIVERY_DETAIL_COLUMNS} FROM deliveries WHERE id = ?", (delivery_id,))
        if not rows:
            raise DeliveryNotFound(
                f"no delivery has the id {shown_id(delivery_id)}; tracker deliveries list shows them"
            )
        return delivery_detail_from(rows[0])

    async def list_all_deliveries(self, wanted: DeliveryFilter) -> DeliveryPage:
        async with self._searches.search():
            found = await lists.find_deliveries(self._searches.bounded_rows, wanted, self.search_limits)
        page = found.rows[: wanted.limit]
        items = list(map(delivery_from, page))
        if found.cut_at is not None:
            return DeliveryPage(items, found.cut_at, is_cut=True)
        return DeliveryPage(items, str(page[-1][-1]) if len(found.rows) > wanted.limit else None)

    async def count_deliveries(self) -> dict[str, dict[str, int]]:
        return await counts.count_deliveries(self._rows)

    async def list_archives(self, task_id: TaskId) -> list[ArchiveRecord]:
        rows = await self._rows(f"SELECT {ARCHIVE_COLUMNS} FROM archives WHERE task_id = ? ORDER BY n", (task_id,))
        return [archive_from(row) for row in rows]

    async def next_archive_in_s(self) -> float | None:
        ((due_at,),) = await self._rows(_NEXT_ARCHIVE)
        return self._until_s(due_at)

    def _until_s(self, due_at: int | None) -> float | None:
        return None if due_at is None else (time_of(due_at) - self._now()).total_seconds()

    async def list_lanes(self) -> list[Lane]:
        return await counts.list_lanes(self._rows, self._now_ms())

    async def list_waiting_accounts(self) -> list[str]:
        return list(await slots.count_waiting(self._rows))

    def _now_ms(self) -> int:
        return round(self._now().timestamp() * 1000)

    async def next_delivery_in_s(self, hooks: Sequence[str]) -> float | None:
        found = [await self._rows(_NEXT_DELIVERY, (hook,)) for hook in hooks]
        return self._until_s(min((rows[0][0] for rows in found if rows), default=None))

    async def list_alarms(self) -> list[StoredAlarm]:
        return await alarms.list_alarms(self._rows)

    async def list_models(self, account: str) -> ModelList:
        return await model_lists.list_models(self._rows, account)

    async def count_open(self) -> OpenCounts:
        return await counts.count_open(self._rows, self._now_ms())

    async def read_report(self, wanted: ReportFilter) -> Report:
        async with self._searches.search():
            return await read_report(self._searches.bounded_rows, wanted, self.search_limits)

    async def read_ends(self, wanted: EndsFilter) -> Ends:
        async with self._searches.search():
            return await read_ends(self._searches.bounded_rows, wanted, self.search_limits)

    async def list_unmatched(self, limit: int) -> Unmatched:
        return await list_unmatched(self._rows, limit)

    async def read_spent(self, account: str, at: datetime, currency: str) -> Decimal:
        return costs.spent_of(await self._rows(costs.SELECT_SPENT, costs.spent_values(account, at, currency)))

    async def find_prunable(self, cutoffs: Cutoffs, cursor: str, limit: int) -> PrunablePage:
        return await pruning.find_prunable(self._rows, cutoffs, cursor, limit)

    async def find_stored_files(self, before: datetime, after: tuple[str, str], limit: int) -> list[StoredFile]:
        return await pruning.find_stored_files(self._rows, before, after, limit)

    async def measure(self) -> StoreGauges:
        return await gauges.measure(self._rows, self._path, self._now_ms())

    async def read_backlog(self, dead_since: datetime, given_up_since: datetime) -> Backlog:
        return await gauges.read_backlog(self._rows, dead_since, given_up_since)

    async def stats(self) -> dict[str, Any]:
        return {**await counts.stats(self._rows, self._now_ms()), "log_bytes": log_bytes(self._path)}


def _no_task(task_id: TaskId) -> TaskNotFound:
    return TaskNotFound(f"no task has the id {shown_id(task_id)}; tracker list shows the ids")
