"""Query plans: every statement of the store uses an index, or is listed here with what bounds it.

Each statement that a store of a test runs is explained once, when the test closes its `World`. So a new statement is
checked by whichever test runs it first.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

OWNERS = ("tracker-writer", "_connection_worker_thread")
"""The threads of the store, by a part of their names: hand edits and the check of a file are not recorded."""

SMALL = {
    **dict.fromkeys(("task_counts", "failure_counts", "delivery_counts", "archive_counts"), "a row for a combination"),
    **dict.fromkeys(("cursors", "meta", "processes", "sqlite_schema", "sqlite_sequence"), "a few rows"),
    **dict.fromkeys(("models", "model_lists"), "a row for a model that an account has"),
    "alarms": "a row for a kind and subject",
    "alarm_events": "two in ten minutes for each alarm at most, until retention deletes them",
    "durations": "bounded in number when a key is added",
    "parked": "callbacks without a task, for a day",
    "rejected": "bounded in number when one is added",
    "outbox": "read from its beginning up to a limit, or emptied",
    "json_each": "values that the caller gives",
}
"""Tables that may be scanned -> why that is not much."""

SMALL_INDEXES = {
    "tasks_held": "what is leased",
    "tasks_unsent": "creates that wait to be sent",
    "deliveries_running": "deliveries under way",
    "archives_running": "files under way",
    "deliveries_alarm": "of alarms, as many as their events",
    "deliveries_alarm_open": "of alarms, those that have not ended",
}
"""Partial indexes that may be scanned -> all that they hold."""

BOUNDED: Mapping[str, str] = {
    r"FROM tasks INDEXED BY sqlite_autoindex_tasks_1\b(?s:.*)ORDER BY tasks.id DESC LIMIT [?1]( OFFSET \?)?$": (
        "a page of the list of all tasks, or the last slice of a search"
    ),
    r"FROM deliveries NOT INDEXED\b(?s:.*)ORDER BY rowid DESC LIMIT [?1]( OFFSET \?)?$": "the same of deliveries",
    r"FROM events ORDER BY seq DESC LIMIT 1$": "the newest event",
    r"^\s*WITH RECURSIVE lanes\b": "a few searches for each lane",
    r"^SELECT count\(\*\), max\(created_at\) FROM tasks$": "of a copy, when the database is damaged",
    r"FROM archives INDEXED BY archives_new\b(?s:.*)LIMIT (500|1)\b": "the first entries in the order of the claim",
    r"^\s*UPDATE (tasks|deliveries|archives) SET due_at = due_at - \?": "what is open, when the clock was set back",
}
"""Pattern of a statement -> what bounds it, although its plan has a scan."""

_SCAN = re.compile(r"^SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?")
_checked: set[str] = set()
_seen: dict[str, Sequence[Any]] = {}


class _Recorder(sqlite3.Connection):
    """Remembers what it ran, with an example of the parameters."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:  # noqa: ANN401 - as the base class
        cursor = super().execute(sql, parameters)
        _seen.setdefault(sql, parameters)
        return cursor

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:  # noqa: ANN401 - as the base class
        rows = list(parameters)
        cursor = super().executemany(sql, rows)
        if rows:
            _seen.setdefault(sql, rows[0])
        return cursor


_connect = sqlite3.connect


def _connect_recorded(*args: Any, **settings: Any) -> sqlite3.Connection:  # noqa: ANN401 - as the original
    name = threading.current_thread().name
    if any(owner in name for owner in OWNERS):
        settings.setdefault("factory", _Recorder)
    connection: sqlite3.Connection = _connect(*args, **settings)
    return connection


def record() -> None:
    """From now on, remember the statements of every store."""
    sqlite3.connect = _connect_recorded  # type: ignore[assignment]  # the same, with another default


def check_new(path: Path) -> None:
    """Explain what was recorded since the last check, on a database that has the schema."""
    with closing(_connect(path)) as db:
        for sql, parameters in list(_seen.items()):
            if sql in _checked or not re.match(r"\s*(SELECT|WITH|UPDATE|DELETE|INSERT)\b", sql):
                continue
            try:
                found = find_scans(db, sql, parameters)
            except sqlite3.Error:
                continue  # a test has spoilt its file: another one checks the statement
            _checked.add(sql)
            assert not found, (
                f"{found}: use an index, or list in tests/kits/plans.py what bounds this statement:\n{sql}"
            )


def find_scans(db: sqlite3.Connection, sql: str, parameters: Sequence[Any] = ()) -> list[str]:
    """The steps of a plan that read all of a table that grows."""
    if any(re.search(pattern, sql) for pattern in BOUNDED):
        return []
    steps = [detail for *_, detail in db.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")} | {"sqlite_schema"}
    aliases = dict(re.findall(r"\b(\w+)(?: INDEXED BY \w+| NOT INDEXED)? AS (\w+)", sql))
    grows = tables - SMALL.keys()
    grows |= {alias for table, alias in aliases.items() if table in grows}
    scans = [(found[1], found[2], step) for step in steps if (found := _SCAN.match(step)) is not None]
    return [step for table, index, step in scans if table in grows and index not in SMALL_INDEXES]
