"""Alarms and their events: recorded together, turned into deliveries, claimed in order, and deleted by retention.

The tables are small: an alarm has one row, however often it is raised, and events are as many as raises and clears.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import orjson

from tracker.domain.alarms import Alarm, AlarmKind, StoredAlarm
from tracker.domain.deliveries import AlarmJob
from tracker.domain.hook_events import SystemEvent
from tracker.store.sqlite.rows import time_of, to_ms
from tracker.store.values import Announcement

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from tracker.store.sqlite.rows import ReadRows, Row
    from tracker.store.sqlite.transactions import Transaction
    from tracker.store.values import Match

_ALARM: Final = "kind, subject, {0}since, {0}message, {0}fix"
_KINDS: Final = frozenset(map(str, AlarmKind))

_RAISE: Final = """
    INSERT INTO alarms (kind, subject, is_raised, since, message, fix, announced_at) VALUES (?, ?, 1, ?, ?, ?, ?)
    ON CONFLICT (kind, subject) DO UPDATE SET is_raised = 1, since = excluded.since, message = excluded.message,
        fix = excluded.fix, announced_at = excluded.announced_at
    WHERE is_raised = 0 RETURNING id
"""
_CLEAR: Final = "UPDATE alarms SET is_raised = 0 WHERE kind = ? AND subject = ? AND is_raised = 1 RETURNING id"
_ADD_EVENT: Final = "INSERT INTO alarm_events (alarm_id, at, event, since, message, fix) VALUES (?, ?, ?, ?, ?, ?)"


async def list_alarms(read: ReadRows) -> list[StoredAlarm]:
    """All alarms, those cleared too; without kinds that this version does not know."""
    rows = await read(f"SELECT {_ALARM.format('')}, is_raised, announced_at FROM alarms ORDER BY kind, subject", ())
    return [StoredAlarm(_alarm_from(row[:5]), bool(row[5]), time_of(row[6])) for row in rows if row[0] in _KINDS]


def record_alarms(tx: Transaction, raised: Sequence[Alarm], cleared: Sequence[Alarm]) -> None:
    """Record what changed, with an event for each change; existing records do not change."""
    now = tx.in_ms()
    for alarm in raised:
        since = to_ms(alarm.since)
        row = tx.db.execute(_RAISE, (alarm.kind, alarm.subject, since, alarm.message, alarm.fix, now)).fetchone()
        _add_event(tx.db, row, now, SystemEvent.ALARM, alarm)
    for alarm in cleared:
        row = tx.db.execute(_CLEAR, (alarm.kind, alarm.subject)).fetchone()
        _add_event(tx.db, row, now, SystemEvent.CLEAR, alarm)


def _add_event(db: sqlite3.Connection, row: Row | None, now: int, event: SystemEvent, alarm: Alarm) -> None:
    if row is not None:
        db.execute(_ADD_EVENT, (row[0], now, event, to_ms(alarm.since), alarm.message, alarm.fix))


# -- deliveries --------------------------------------------------------------------------------------------

_OUTBOX: Final = f"""
    SELECT seq, at, event, alarm_id, {_ALARM.format("alarm_events.")}
    FROM alarm_events INDEXED BY alarm_events_outbox CROSS JOIN alarms ON alarms.id = alarm_id
    WHERE in_outbox = 1 ORDER BY seq LIMIT ?
"""
_LEAVE_OUTBOX: Final = "UPDATE alarm_events INDEXED BY alarm_events_outbox SET in_outbox = 0 WHERE in_outbox = 1"


def fan_out(tx: Transaction, match: Match | None, limit: int) -> int:
    """Take the oldest events out of the outbox and insert their deliveries; see `tracker.store.sqlite.outbox`."""
    if match is None:
        tx.db.execute(_LEAVE_OUTBOX)
        return 0
    rows = tx.db.execute(_OUTBOX, (limit,)).fetchall()
    for seq, at, event, alarm_id, *columns in rows:
        alarm = _alarm_from(columns)
        for hook in match(Announcement(seq, 0, event, alarm=alarm)):
            tx.db.execute(
                """
                INSERT INTO deliveries (id, alarm_id, seq, hook, event, status, due_at, created_at)
                VALUES (?, ?, ?, ?, ?, 'pending', ?, ?) ON CONFLICT DO NOTHING
                """,
                (_delivery_id(alarm, at, event, hook), alarm_id, seq, hook, event, tx.in_ms(), tx.in_ms()),
            )
    if rows:
        tx.db.execute(f"{_LEAVE_OUTBOX} AND seq <= ?", (rows[-1][0],))
    return len(rows)


def _delivery_id(alarm: Alarm, at: int, event: str, hook: str) -> str:
    """The id of a delivery: made of its content, since a restored backup repeats values of `seq`."""
    parts = (alarm.kind, alarm.subject, str(at), event, hook)
    return "dlv_" + hashlib.blake2b("\x1f".join(parts).encode(), digest_size=12).hexdigest()


IS_NEXT_OF_ALARM: Final = """(mine.alarm_id IS NULL OR NOT EXISTS (
    SELECT 1 FROM deliveries AS earlier INDEXED BY deliveries_alarm_open
    WHERE earlier.hook = mine.hook AND earlier.alarm_id = mine.alarm_id AND earlier.due_at IS NOT NULL
      AND earlier.seq < mine.seq))"""
"""Whether a delivery is not of an alarm that has an older unfinished one for the hook."""

_JOBS: Final = f"""
    SELECT deliveries.id, deliveries.event, deliveries.seq, attempts, at, {_ALARM.format("alarm_events.")}
    FROM deliveries CROSS JOIN alarm_events ON alarm_events.seq = deliveries.seq
    CROSS JOIN alarms ON alarms.id = deliveries.alarm_id
    WHERE deliveries.id IN (SELECT value FROM json_each(?)) ORDER BY deliveries.seq
"""


def read_jobs(db: sqlite3.Connection, hook: str, delivery_ids: Collection[str]) -> list[AlarmJob]:
    """Deliveries of alarms that were leased, by their ids."""
    if not delivery_ids:
        return []
    rows = db.execute(_JOBS, (orjson.dumps(list(delivery_ids)).decode(),)).fetchall()
    return [
        AlarmJob(delivery_id, hook, event, seq, attempts, time_of(at), _alarm_from(columns))
        for delivery_id, event, seq, attempts, at, *columns in rows
    ]


def _alarm_from(row: Sequence[object]) -> Alarm:
    kind, subject, since, message, fix = row
    return Alarm(AlarmKind(kind), str(subject), time_of(since), str(message), str(fix))  # type: ignore[arg-type]


# -- retention ---------------------------------------------------------------------------------------------


def prune_alarms(tx: Transaction, before: datetime) -> int:
    """Delete the events of alarms from before a time with their ended deliveries, and alarms without an event.

    Unlike those of tasks, dead deliveries go too: they tell of alarms that were over long ago.

    Returns:
        How many events are gone.
    """
    db, at = tx.db, to_ms(before)
    db.execute(
        """
        DELETE FROM deliveries WHERE id IN (
            SELECT id FROM deliveries INDEXED BY deliveries_alarm
            WHERE alarm_id IS NOT NULL AND due_at IS NULL AND finished_at < ?)
        """,
        (at,),
    )
    events = db.execute(
        """
        DELETE FROM alarm_events WHERE at < ? AND in_outbox = 0 AND NOT EXISTS (
            SELECT 1 FROM deliveries INDEXED BY deliveries_alarm
            WHERE deliveries.alarm_id = alarm_events.alarm_id AND deliveries.seq = alarm_events.seq)
        """,
        (at,),
    ).rowcount
    db.execute(
        "DELETE FROM alarms WHERE is_raised = 0 AND announced_at < ?"
        " AND NOT EXISTS (SELECT 1 FROM alarm_events WHERE alarm_id = alarms.id)",
        (at,),
    )
    return events
