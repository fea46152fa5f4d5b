"""Reports, and how tasks ended.

Tasks are added up in slices of growing size, from the newest on, so that searches take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from tracker.domain.ends import Ends, EndShare
from tracker.domain.ids import first_id_at
from tracker.domain.report import Report, Share
from tracker.domain.report_divisions import LABEL
from tracker.domain.task import GIVEN_UP_REASONS
from tracker.store.sqlite.lists import SLICE_S
from tracker.store.sqlite.rows import Row, time_of, to_ms

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.domain.ends import EndsFilter
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

_OWN_REASONS: Final = ", ".join(f"'{reason}'" for reason in ("not_found", *sorted(GIVEN_UP_REASONS)))
"""An end that the tracker decided itself does not count as a lost callback."""
_ENDS: Final = f"""
    SELECT provider, route, created_at / 3600000, ended_by, expects_callback,
        sum(status = 'SUCCEEDED'), sum(status = 'FAILED'), sum(callbacks),
        sum(ended_by = 'poll' AND expects_callback AND callbacks = 0
            AND (reason IS NULL OR reason NOT IN ({_OWN_REASONS}))),
        group_concat(iif(status = 'SUCCEEDED' AND created_at >= ?, finished_at - created_at, NULL)),
        group_concat(max(finished_at - upstream_finished_at, 0)), min(created_at)
    {_TASKS} GROUP BY 1, 2, 3, 4, 5
"""

Select = Callable[[str, str], tuple[str, list[Any]]]
"""(id that is too high, lowest id) -> a query; its last column is the first creation in each row."""


async def read_report(read: ReadRows, wanted: ReportFilter, limits: SearchLimits) -> Report:
    """Add up the tasks of a time."""
    report = Report(wanted)

    def add(row: Row) -> None:
        report.add(_share(row, len(wanted.by)))

    report.cut_at = await _walk(read, (wanted.since, wanted.until), partial(_select, wanted), add, limits)
    return report


async def read_ends(read: ReadRows, wanted: EndsFilter, limits: SearchLimits) -> Ends:
    """Add up how the tasks of a time ended."""
    ends = Ends(wanted)

    def select(upper: str, lower: str) -> tuple[str, list[Any]]:
        return _ENDS, [to_ms(wanted.durations_since), upper, lower]

    def add(row: Row) -> None:
        durations, noticed, _first_at = row[9:]
        ends.add(EndShare._make((*row[:9], _numbers(durations), _numbers(noticed))))

    ends.cut_at = await _walk(read, (wanted.since, None), select, add, limits)
    return ends


async def _walk(
    read: ReadRows,
    times: tuple[datetime, datetime | None],
    select: Select,
    add: Callable[[Row], None],
    limits: SearchLimits,
) -> datetime | None:
    """Add up the tasks that were created between two times.

    Returns:
        Where it was cut: what was created before is missing; None for all.
    """
    since, until = times
    lower = first_id_at(since)
    upper = _AFTER_ALL if until is None else first_id_at(until)
    size = limits.first_slice
    began = time.monotonic()
    ends_at = began + LONGER * limits.total_s
    while True:
        found = await read(f"SELECT id {_TASKS} ORDER BY id DESC LIMIT 1 OFFSET ?", (upper, lower, size - 1))
        end = found[0][0] if found else None
        rows = await read(*select(upper, end or lower))
        for row in rows:
            add(row)
        now = time.monotonic()
        if end is None:
            return None
        if rows and now >= ends_at:  # none: retention has deleted them since the first read
            return time_of(min(row[-1] for row in rows))
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
        durations_ms=_numbers(durations),
        currency=currency,
        kind=kind,
        costs=costs,
        amount=round(amount),
    )


def _numbers(text: str | None) -> list[int]:
    """The numbers of a ``group_concat``."""
    numbers: list[int] = orjson.loads(f"[{text or ''}]")
    return numbers
