"""All tasks with their histories, for ``db export``, as of one state of the database.

A long read would block checkpoints. So the file is copied first, in one quick step, and the copy is read page by page
and deleted.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tracker.errors import StoreUnavailable
from tracker.store.sqlite.backup import copy_database
from tracker.store.sqlite.identity import reader_uri
from tracker.store.sqlite.rows import (
    DELIVERY_DETAIL_COLUMNS,
    EVENT_COLUMNS,
    RECORD_COLUMNS,
    delivery_detail_from,
    event_from,
    record_from,
)
from tracker.store.sqlite.schema import check_readable

if TYPE_CHECKING:
    from tracker.domain.attempts import DeliveryDetail
    from tracker.domain.records import EventRecord, TaskRecord

PAGE = 200
"""Tasks read at a time."""


@dataclass(frozen=True, slots=True)
class Dumped:
    """One task with its history and its hook runs, both oldest first."""

    record: TaskRecord
    events: list[EventRecord] = field(default_factory=list)
    deliveries: list[DeliveryDetail] = field(default_factory=list)


@contextmanager
def dumping(path: Path, directory: Path | None = None) -> Iterator[Iterator[Dumped]]:
    """Read everything, oldest task first.

    Args:
        path: the database, whether or not a daemon is writing to it.
        directory: for the copy; None: that of temporary files.

    Raises:
        StoreUnusable: missing, foreign, newer, or never set up.
        StoreUnavailable: it cannot be copied or read.
    """
    check_readable(path)
    try:
        with tempfile.TemporaryDirectory(prefix=".tracker-export-", dir=directory) as name:
            copy = Path(name) / "copy.db"
            copy_database(path, copy)
            with closing(sqlite3.connect(reader_uri(copy), uri=True)) as db:
                yield _read(db)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path}: cannot be read ({error})") from error


def _read(db: sqlite3.Connection) -> Iterator[Dumped]:
    cursor = ""
    while True:
        rows = db.execute(
            f"SELECT {RECORD_COLUMNS} FROM tasks WHERE id > ? ORDER BY id LIMIT ?", (cursor, PAGE)
        ).fetchall()
        if not rows:
            return
        records = [record_from(row) for row in rows]
        page = {record.task.id: Dumped(record) for record in records}
        span = (cursor, records[-1].task.id)
        for row in db.execute(
            f"SELECT {EVENT_COLUMNS} FROM events WHERE task_id > ? AND task_id <= ? ORDER BY seq", span
        ):
            event = event_from(row)
            page[event.task_id].events.append(event)
        for row in db.execute(
            f"SELECT {DELIVERY_DETAIL_COLUMNS} FROM deliveries WHERE task_id > ? AND task_id <= ? ORDER BY seq, rowid",
            span,
        ):
            delivery = delivery_detail_from(row)
            assert delivery.task_id is not None  # noqa: S101 - selected by it
            page[delivery.task_id].deliveries.append(delivery)
        yield from page.values()
        cursor = records[-1].task.id
