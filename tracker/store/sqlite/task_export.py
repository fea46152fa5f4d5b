"""All that is stored of one task, in one state."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from tracker.domain.exports import StoredEvent, TaskExport
from tracker.domain.nesting import decode_stored
from tracker.domain.observation import Reading
from tracker.store.sqlite.rows import (
    ARCHIVE_COLUMNS,
    DELIVERY_DETAIL_COLUMNS,
    EVENT_COLUMNS,
    RECORD_COLUMNS,
    Row,
    archive_from,
    delivery_detail_from,
    event_from,
    record_from,
)

if TYPE_CHECKING:
    from tracker.domain.task import TaskId
    from tracker.store.sqlite.connections import Connections

_QUERIES = (
    "PRAGMA user_version",
    f"SELECT {RECORD_COLUMNS} FROM tasks WHERE id = ?",
    f"SELECT {EVENT_COLUMNS}, dedupe_key, reading FROM events WHERE task_id = ? ORDER BY seq",
    f"SELECT {DELIVERY_DETAIL_COLUMNS} FROM deliveries WHERE task_id = ? ORDER BY seq, rowid",
    f"SELECT {ARCHIVE_COLUMNS} FROM archives WHERE task_id = ? ORDER BY n",
)
_reading = msgspec.json.Decoder(Reading)


async def read_export(lookups: Connections, task_id: TaskId) -> TaskExport | None:
    """See `tracker.store.protocol.Reader`; None for an unknown task."""
    found = await lookups.rows_of(*((sql, (task_id,) if "?" in sql else ()) for sql in _QUERIES))
    return await asyncio.to_thread(_export_from, found) if found[1] else None  # payloads may be large


def _export_from(found: list[list[Row]]) -> TaskExport:
    ((schema,),), (task,), events, deliveries, archives = found
    return TaskExport(
        schema=schema,
        record=record_from(task, decode_stored),
        events=[StoredEvent(event_from(row[:-2], decode_stored), row[-2], _reading.decode(row[-1])) for row in events],
        deliveries=list(map(delivery_detail_from, deliveries)),
        archives=list(map(archive_from, archives)),
    )
