"""Reading the history: of all tasks as a feed, and of one task as `tracker.domain.why` explains it."""

from __future__ import annotations

from typing import Final

import orjson

from tracker.domain.history import TaskHistory, WaitingLine
from tracker.store.sqlite.rows import (
    ARCHIVE_COLUMNS,
    DELIVERY_COLUMNS,
    EVENT_COLUMNS,
    LIGHT_TASK,
    Row,
    archive_from,
    delivery_from,
    event_from,
    task_from,
)
from tracker.store.sqlite.slots import COUNT_LINE
from tracker.store.values import FeedEvent

_LIGHT_EVENT: Final = EVENT_COLUMNS.replace("payload", "NULL")
_LIGHT_DELIVERY: Final = DELIVERY_COLUMNS.replace(
    "output", "iif(status = 'failed' OR status = 'dead', substr(output, -300), NULL)"
)
"""The end of what a run printed that the hook gave up on, and no other output."""

# How long the latest tasks of the route and account took, seconds; a task that has ended needs no comparison.
_USUAL: Final = """
    iif(finished_at IS NULL, (
        SELECT json_group_array(took_s) FROM (
            SELECT (finished_at - coalesce(submitted_at, created_at)) / 1000.0 AS took_s, status FROM tasks AS other
            WHERE other.provider = tasks.provider AND other.account = tasks.account AND other.route = tasks.route
            ORDER BY id DESC LIMIT 100)
        WHERE status = 'SUCCEEDED'), NULL)
"""

# One statement, and so one transaction and one trip to the reader's thread.
SELECT_HISTORY: Final = f"""
    SELECT {LIGHT_TASK},
        (SELECT json_group_array(json_array({_LIGHT_EVENT})) FROM
            (SELECT * FROM events WHERE task_id = tasks.id ORDER BY seq)),
        (SELECT json_group_array(json_array({_LIGHT_DELIVERY})) FROM
            (SELECT * FROM deliveries WHERE task_id = tasks.id ORDER BY seq, rowid)),
        (SELECT json_group_array(json_array({ARCHIVE_COLUMNS})) FROM
            (SELECT * FROM archives WHERE task_id = tasks.id ORDER BY n)),
        {_USUAL},
        {COUNT_LINE}
    FROM tasks WHERE id = ?
"""


def history_from(row: Row) -> TaskHistory:
    """A task's history from a row of `SELECT_HISTORY`."""
    task, events, deliveries, archives, usual, line = row
    return TaskHistory(
        task_from(task),
        [event_from(event) for event in orjson.loads(events)],
        [delivery_from(delivery) for delivery in orjson.loads(deliveries)],
        [archive_from(archive) for archive in orjson.loads(archives)],
        orjson.loads(usual or "[]"),
        None if line is None else WaitingLine(*orjson.loads(line)),
    )


def select_after(*, payloads: bool) -> str:
    """The statement that reads the feed after a seq, up to a limit."""
    return f"""
        SELECT page.*, provider, route, account,
            (SELECT json_group_object(name, value) FROM labels WHERE task_id = tasks.id)
        FROM (SELECT {EVENT_COLUMNS if payloads else _LIGHT_EVENT} FROM events WHERE seq > ? ORDER BY seq LIMIT ?)
            AS page JOIN tasks ON tasks.id = page.task_id ORDER BY page.seq
    """


def feed_event_from(row: Row) -> FeedEvent:
    """An event of the feed from a row of `select_after`."""
    *event, provider, route, account, labels = row
    return FeedEvent(event_from(tuple(event)), provider, route, account, orjson.loads(labels))
