"""A reader of a database file that needs no daemon and no writer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tracker.store.sqlite.reads import SqliteReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def open_reader(path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> SqliteReader:
    """Open a database for reading alone, whether or not a daemon has it.

    Raises:
        StoreUnusable: the file is missing, foreign, newer, or was never set up.
    """
    reader = SqliteReader(path, now)
    try:
        await reader.open(lookups=1, searches=0)
    except BaseException:
        await reader.close()  # else its thread would prevent the process from ending
        raise
    return reader
