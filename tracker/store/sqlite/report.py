"""Reports: tasks are added up in slices of growing size, from the newest on, so that searches take turns."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import orjson

from tracker.domain.ids import first_id_at
from tracker.domain.report import Report, Share
from tracker.domain.report_divisions import LABEL
from tracker.store.sqlite.lists import SLICE_S
from tracker.store.sqlite.rows import Row, time_of

if TYPE_CHECKING:
    from tracker.domain.report import ReportFilter
    from tracker.store.sqlite.lists import SearchLimits
    from tracker.store.sqlite.rows import ReadRows

LONGER: Final = 25
"""A report may take so many times as long as a search."""
MAX_SLICE: Final = 50_000
_AFTER_ALL: Final = "~"
"""Higher than every id."""
_COLUMNS: Final = {"route": "route", "account": "account", "model": "model", "reason": "reason"}
_DAY: Final = "created_at / 86400000"
_LABEL: Final = "(SELECT value FROM labels WHERE task_id = tasks.id AND name = ?)"
_TASKS: Final = "FROM tasks INDEXED BY sqlite_autoindex_tasks_1 WHERE id < ? AND id >= ?"
_SUMS: Final = """
    cost_currency, cost_kind, count(cost_amount), total(cost_amount), sum(status = 'SUCCEEDED'), sum(status = 'FAILED'),
    sum(status = 'PENDING' OR status = 'RUNNING'),
    group_concat(iif(status = 'SUCCEEDED', finished_at - created_at, NULL)), min(created_at)
"""


async def read_report(read: ReadRows, wanted: ReportFilter, limits: SearchLimits) -> Report:
    """Add up the tasks of a time."""
    report = Report(wanted)
    lower = first_id_at(wanted.since)
    upper = _AFTER_ALL if wanted.until is None else first_id_at(wanted.until)
    size = limits.first_slice
    began = time.monotonic()
    ends_at = began + LONGER * limits.total_s
    while True:
        found = await read(f"SELECT id {_TASKS} ORDER BY id DESC LIMIT 1 OFFSET ?", (upper, lower, size - 1))
        end = found[0][0] if found else None
        rows = await read(*_select(wanted, upper, end or lower))
        for row in rows:
            report.add(_share(row, len(wanted.by)))
        now = time.monotonic()
        if end is None:
            return report
        if rows and now >= ends_at:  # none: retention has deleted them since the first read
            report.cut_at = time_of(min(row[-1] for row in rows))
            return report
        size = min(size * 2, MAX_SLICE) if now - began < SLICE_S / 2 else size
        size = max(size // 2, 1) if now - began > SLICE_S * 2 else size
        upper, began = end, now


def _select(wanted: ReportFilter, upper: str, lower: str) -> tuple[str, list[Any]]:
    keys = [_DAY if name == "day" else _COLUMNS.get(name, _LABEL) for name in wanted.by]
    names = [name.removeprefix(LABEL) for name in wanted.by if name.startswith(LABEL)]
    places = ", ".join(str(n + 1) for n in range(len(keys) + 2))
    return f"SELECT {''.join(f'{key}, ' for key in keys)}{_SUMS} {_TASKS} GROUP BY {places}", [*names, upper, lower]


def _share(row: Row, width: int) -> Share:
    currency, kind, costs, amount, succeeded, failed, active, durations, _first_at = row[width:]
    return Share(
        keys=tuple(row[:width]),
        succeeded=succeeded,
        failed=failed,
        active=active,
        durations_ms=orjson.loads(f"[{durations or ''}]"),
        currency=currency,
        kind=kind,
        costs=costs,
        amount=round(amount),
    )
