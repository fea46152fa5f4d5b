"""Reading the history: of all tasks as a feed, and of one task as `tracker.domain.why` explains it."""

from __future__ import annotations

from typing import Final

import orjson

from tracker.domain.history import FeedEvent, FeedItem, TaskHistory, WaitingLine
from tracker.store.sqlite.rows import (
    ARCHIVE_COLUMNS,
    DELIVERY_COLUMNS,
    EVENT_COLUMNS,
    LIGHT_TASK,
    RECORD_COLUMNS,
    Row,
    archive_from,
    delivery_from,
    embed,
    event_from,
    record_from,
    task_from,
)
from tracker.store.sqlite.slots import COUNT_LINE

MAX_CARRIED_CHARS: Final = 65_536
"""A longer request, result or payload is not part of the feed: its readers hold many events in memory."""

_LIGHT_EVENT: Final = EVENT_COLUMNS.replace("payload", "NULL")
_LIGHT_DELIVERY: Final = DELIVERY_COLUMNS.replace(
    "output", "iif(status = 'failed' OR status = 'dead', substr(output, -300), NULL)"
)
"""The end of what a run printed that the hook gave up on, and no other output."""

# One statement, and so one transaction and one trip to the reader's thread.
SELECT_HISTORY: Final = f"""
    SELECT {LIGHT_TASK},
        (SELECT json_group_array(json_array({_LIGHT_EVENT})) FROM
            (SELECT * FROM events WHERE task_id = tasks.id ORDER BY seq)),
        (SELECT json_group_array(json_array({_LIGHT_DELIVERY})) FROM
            (SELECT * FROM deliveries WHERE task_id = tasks.id ORDER BY seq, rowid)),
        (SELECT json_group_array(json_array({ARCHIVE_COLUMNS})) FROM
            (SELECT * FROM archives WHERE task_id = tasks.id ORDER BY n)),
        {COUNT_LINE}
    FROM tasks WHERE id = ?
"""


def history_from(row: Row) -> TaskHistory:
    """A task's history from a row of `SELECT_HISTORY`."""
    task, events, deliveries, archives, line = row
    return TaskHistory(
        task_from(task),
        [event_from(event) for event in orjson.loads(events)],
        [delivery_from(delivery) for delivery in orjson.loads(deliveries)],
        [archive_from(archive) for archive in orjson.loads(archives)],
        None if line is None else WaitingLine(*orjson.loads(line)),
    )


# A failure that is not final has a snapshot: the task has another reason, or none, once the provider has delivered.
SELECT_AFTER: Final = """
    SELECT seq, task_id, to_status,
        iif(to_status = 'FAILED', coalesce(snapshot ->> 'reason', reason), NULL), provider, route, account,
        (SELECT json_group_object(name, value) FROM labels WHERE task_id = tasks.id)
    FROM (SELECT seq, task_id, to_status, snapshot FROM events WHERE seq > ? ORDER BY seq LIMIT ?) AS page
        CROSS JOIN tasks ON tasks.id = page.task_id
    ORDER BY seq
"""
"""The feed after a seq, up to a limit: what filters need."""


def _bounded(columns: str, column: str) -> str:
    """These columns with NULL for a longer text of one of them."""
    return columns.replace(f"SELECT {column} ", f"SELECT iif(length({column}) <= {MAX_CARRIED_CHARS}, {column}, NULL) ")


# The columns of an event have other names here: a task has some of the same.
_EVENT_FIELDS: Final = EVENT_COLUMNS.split(", ")
SELECT_ITEMS: Final = f"""
    SELECT {", ".join(f"e_{name}" for name in _EVENT_FIELDS)}, {_bounded(_bounded(RECORD_COLUMNS, "body"), "payload")},
        e_length, (SELECT length(body) FROM requests WHERE task_id = tasks.id),
        (SELECT length(payload) FROM events WHERE seq = tasks.result_seq)
    FROM (
        SELECT {", ".join(f"{name} AS e_{name}" for name in _EVENT_FIELDS if name != "payload")},
            iif(length(payload) <= {MAX_CARRIED_CHARS}, payload, NULL) AS e_payload, length(payload) AS e_length
        FROM events WHERE seq IN (SELECT value FROM json_each(?))
    ) CROSS JOIN tasks ON tasks.id = e_task_id
    ORDER BY e_seq
"""
"""Events of the feed with their tasks, by their seqs as a JSON list."""
_EVENT_WIDTH: Final = len(_EVENT_FIELDS)


def feed_event_from(row: Row) -> FeedEvent:
    """An event of the feed from a row of `SELECT_AFTER`."""
    seq, task_id, status, reason, provider, route, account, labels = row
    return FeedEvent(seq, task_id, status, reason, provider, route, account, orjson.loads(labels))


def feed_item_from(row: Row) -> FeedItem:
    """An event with its task from a row of `SELECT_ITEMS`. Its JSON is embedded as it is: it is only encoded again."""
    event, record, sizes = row[:_EVENT_WIDTH], row[_EVENT_WIDTH:-3], row[-3:]
    names = ("payload", "task.request", "task.result")
    omitted = tuple(
        name for name, size in zip(names, sizes, strict=True) if size is not None and size > MAX_CARRIED_CHARS
    )
    return FeedItem(event_from(event, decode=embed), record_from(record, decode=embed), omitted)
