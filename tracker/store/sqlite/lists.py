"""Lists of tasks and of deliveries, newest first: which index a filter uses, and how long a search goes on.

The counts of `tracker.store.sqlite.counts` say what a filter can find at all: without a hit nothing is read. Otherwise
each filter has an index in the order of the list. What no index holds (a text, a rare combination) is searched in
slices of growing size, so that searches take turns on their connections; when its time is over, a search returns what
it has found and the position that it reached.

The index is always named: the planner knows nothing of how many tasks a value has.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.ids import first_id_at
from tracker.domain.task import Status
from tracker.store.sqlite.rows import DELIVERY_COLUMNS, RECORD_COLUMNS, Row, to_ms, where_clause
from tracker.store.values import TaskCounts

if TYPE_CHECKING:
    from tracker.store.sqlite.rows import ReadRows
    from tracker.store.values import DeliveryFilter, TaskFilter

SEARCH_S: Final = 0.2
FIRST_SLICE: Final = 1000
"""Rows of the first slice of a search."""
SLICE_S: Final = 0.02
"""Aim for a slice: other searches wait that long for its connection."""
MAX_LANES: Final = 256
"""Combinations of provider, account and route whose lists are merged; more are searched as one list."""
MAX_PROBED: Final = 10_000
"""Tasks with a label that are counted, to choose between the label and another filter."""

COMMON: Final = 20
"""The list of a status is walked for further filters if at least one of so many of its tasks matches."""

_ALL: Final = "pending + running + succeeded + failed"
_BY_ID: Final = "tasks INDEXED BY sqlite_autoindex_tasks_1"
_BY_LABEL: Final = "labels INDEXED BY labels_value CROSS JOIN tasks ON tasks.id = labels.task_id"
_BY_OPEN: Final = "tasks INDEXED BY tasks_open"
_BY_FAILED: Final = "tasks INDEXED BY tasks_failed"
_OPEN: Final = frozenset({"PENDING", "RUNNING"})
_LABEL: Final = "EXISTS (SELECT 1 FROM labels WHERE task_id = tasks.id AND name = ? AND value = ?)"
_HAS_TEXT: Final = """
    (instr(lower(tasks.id || ' ' || coalesce(external_id, '') || ' ' || coalesce(model, '') || ' '
                 || coalesce(error_code, '') || ' ' || coalesce(error_message, '')), lower(?)) > 0
     OR instr(lower((SELECT body FROM requests WHERE task_id = tasks.id)), lower(?)) > 0
     OR EXISTS (SELECT 1 FROM labels WHERE task_id = tasks.id AND instr(lower(name || '=' || value), lower(?)) > 0))
"""
_OPEN_DELIVERIES: Final = {
    "pending": ("deliveries_due", "due_at IS NOT NULL"),
    "running": ("deliveries_running", "status = 'running'"),
}
"""Status -> its index, and the condition of that."""

Condition = tuple[Any, ...]
"""SQL and its values, see `where_clause`."""


class SearchLimits(NamedTuple):
    """How long a search goes on, how many rows its first slice has, and how many a page of a walk."""

    total_s: float = SEARCH_S
    first_slice: int = FIRST_SLICE
    page: int = 500


class Found(NamedTuple):
    """What a search found.

    Attributes:
        rows: at most one more than the page holds.
        cut_at: where the time was over: what is older was not searched; None for a complete answer.
    """

    rows: list[Row]
    cut_at: str | None = None


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the candidates of a list come from, newest first.

    Attributes:
        tables: with the index that holds the order.
        key: the column of that order.
        conditions: what the index answers.
        checks: what is checked for each candidate.
        lanes: the lists that are merged; None: there is one list.
        columns: what is selected of each task.
    """

    tables: str
    key: str = "tasks.id"
    conditions: tuple[Condition, ...] = ()
    checks: tuple[Condition, ...] = ()
    lanes: tuple[tuple[str, str, str], ...] | None = None
    columns: str = RECORD_COLUMNS

    def select(self, lower: str | None, upper: str | None, limit: int) -> tuple[str, list[Any]]:
        """The statement for the newest tasks between two ids."""
        clause, values = where_clause(*self.conditions, *self.checks, *self._between(lower, upper))
        if self.lanes is None:
            return (
                f"SELECT {self.columns} FROM {self.tables} {clause} ORDER BY {self.key} DESC LIMIT ?",
                [*values, limit],
            )
        return (
            f"""
            WITH newest (task_id) AS (
                SELECT page.value FROM json_each(?) AS lane, json_each((
                    SELECT json_group_array(id) FROM (
                        SELECT id FROM tasks INDEXED BY tasks_lists {clause or "WHERE true"}
                        AND provider = lane.value ->> 0 AND account = lane.value ->> 1 AND route = lane.value ->> 2
                        ORDER BY id DESC LIMIT ?))) AS page
                ORDER BY 1 DESC LIMIT ?)
            SELECT {self.columns} FROM newest CROSS JOIN tasks ON tasks.id = newest.task_id ORDER BY tasks.id DESC
            """,
            [orjson.dumps(self.lanes).decode(), *values, limit, limit],
        )

    def boundary(self, lower: str | None, upper: str | None, size: int) -> tuple[str, list[Any]]:
        """The statement for the id that ends a slice of so many candidates."""
        clause, values = where_clause(*self.conditions, *self._between(lower, upper))
        return (
            f"SELECT {self.key} FROM {self.tables} {clause} ORDER BY {self.key} DESC LIMIT 1 OFFSET ?",
            [*values, size - 1],
        )

    def _between(self, lower: str | None, upper: str | None) -> tuple[Condition, ...]:
        return (f"{self.key} < ?", upper), (f"{self.key} >= ?", lower)


# -- tasks -------------------------------------------------------------------------------------------------


async def find_tasks(read: ReadRows, wanted: TaskFilter, limits: SearchLimits, columns: str = RECORD_COLUMNS) -> Found:
    """The newest tasks that match, as rows of these columns."""
    source = await _choose(read, wanted)
    if source is None:
        return Found([])
    source = replace(source, columns=columns)
    # an id begins with the time of its creation
    lower = None if wanted.since is None else first_id_at(wanted.since)
    uppers = [] if wanted.until is None else [first_id_at(wanted.until)]
    upper = min([*uppers, *([wanted.cursor] if wanted.cursor is not None else [])], default=None)
    if not source.checks:
        return Found(await read(*source.select(lower, upper, wanted.limit + 1)))

    async def find_end(upper: str | None, size: int) -> str | None:
        found = await read(*source.boundary(lower, upper, size))
        return found[0][0] if found else None

    async def find(end: str | None, upper: str | None, limit: int) -> list[Row]:
        return await read(*source.select(lower if end is None else end, upper, limit))

    return await _search(find_end, find, upper, wanted.limit + 1, limits)


async def count_tasks(read: ReadRows, wanted: TaskFilter, limits: SearchLimits, at_most: int) -> TaskCounts:
    """How many tasks match, by status: from the stored counts if they cover the filter, else of the newest ones."""
    columns, status, text, labels = _conditions(wanted)
    counts: dict[str, int] = dict.fromkeys(Status, 0)
    if not (status or text or labels or wanted.since or wanted.until):
        for name in (Status.FAILED,) if wanted.reason is not None else Status:
            counts[name] = sum(count for *_, count in await _count(read, replace(wanted, status=name), columns))
        return TaskCounts(counts, is_complete=True)
    found = await find_tasks(read, replace(wanted, limit=at_most, cursor=None), limits, "status")
    for (name,) in found.rows[:at_most]:
        counts[name] += 1
    return TaskCounts(counts, is_complete=found.cut_at is None and len(found.rows) <= at_most)


async def _choose(read: ReadRows, wanted: TaskFilter) -> _Source | None:
    """Where the candidates come from; None: nothing can match."""
    columns, status, text, labels = _conditions(wanted)
    source = _Source(_BY_ID)
    total = None
    if columns or status:
        counted = await _count(read, wanted, columns)
        total = sum(count for *_, count in counted)
        if not total:
            return None
        if wanted.reason is not None or wanted.status == "FAILED":
            source = _Source(_BY_FAILED, conditions=(("status = 'FAILED'",), *columns))
        elif wanted.status in _OPEN and (not columns or await _is_common(read, wanted, total)):
            source = _Source(_BY_OPEN, conditions=((f"status = '{wanted.status}'",),), checks=columns)
        elif not columns:
            source = _Source(_BY_ID, checks=status)
        elif len(counted) <= MAX_LANES:
            lanes = tuple((provider, account, route) for provider, account, route, _ in counted)
            source = _Source(_BY_ID, checks=status, lanes=lanes)
        else:
            source = _Source(_BY_ID, checks=(*columns, *status))
    if labels and await _is_rarer(read, wanted, total):
        (name, value), *_ = wanted.labels.items()
        source = _Source(
            _BY_LABEL, "labels.task_id", (("name = ? AND value = ?", name, value),), (*columns, *status, *labels[1:])
        )
        labels = ()
    return replace(source, checks=(*source.checks, *labels, *text))


def _conditions(wanted: TaskFilter) -> tuple[tuple[Condition, ...], ...]:
    """Those on columns, on the status, on texts, and on labels; without times."""
    columns = tuple(
        (f"{name} = ?", value)
        for name in ("provider", "route", "account", "reason")
        if (value := getattr(wanted, name)) is not None
    )
    status = () if wanted.status is None else (("status = ?", wanted.status),)
    text = ((_HAS_TEXT, *[wanted.q] * 3),) if wanted.q else ()
    return columns, status, text, tuple((_LABEL, name, value) for name, value in wanted.labels.items())


def task_conditions(wanted: TaskFilter) -> list[Condition]:
    """All conditions of a filter, for tasks that were found otherwise."""
    times = [(wanted.since, "tasks.id >= ?"), (wanted.until, "tasks.id < ?")]
    return [
        *(condition for part in _conditions(wanted) for condition in part),
        *((sql, first_id_at(time)) for time, sql in times if time is not None),
    ]


async def _count(read: ReadRows, wanted: TaskFilter, columns: Sequence[Condition]) -> list[Row]:
    """Provider, account and route of what matches, and how many tasks that are; without labels, text and times."""
    if wanted.reason is not None:
        if wanted.status not in {None, "FAILED"}:
            return []
        table, count = "failure_counts", "failed"
    else:
        table, count = "task_counts", _column(wanted.status)
    clause, values = where_clause(*columns, (f"{count} > ?", 0))
    return await read(f"SELECT provider, account, route, {count} FROM {table} {clause}", values)


def _column(status: str | None) -> str:
    return _ALL if status is None else Status(status).lower()


async def _is_common(read: ReadRows, wanted: TaskFilter, total: int) -> bool:
    """Whether many of the tasks with a status match, or few have it: then the list of the status is the shorter way."""
    ((of_status,),) = await read(f"SELECT sum({_column(wanted.status)}) FROM task_counts", ())
    return bool(of_status <= max(total * COMMON, FIRST_SLICE))


async def _is_rarer(read: ReadRows, wanted: TaskFilter, total: int | None) -> bool:
    """Whether fewer tasks have the first label than match the other filters, as far as that is counted."""
    if total is None:
        return True
    (name, value), *_ = wanted.labels.items()
    probed = min(total, MAX_PROBED)
    ((count,),) = await read(
        "SELECT count(*) FROM (SELECT 1 FROM labels INDEXED BY labels_value WHERE name = ? AND value = ? LIMIT ?)",
        (name, value, probed),
    )
    return count < probed or total > MAX_PROBED


# -- deliveries --------------------------------------------------------------------------------------------


async def find_deliveries(read: ReadRows, wanted: DeliveryFilter, limits: SearchLimits) -> Found:
    """The newest deliveries that match, as rows of `DELIVERY_COLUMNS` and their position."""
    # the cursor is a position, not a delivery: the one that ended the page before may have been pruned since
    upper = None if wanted.cursor is None else int(wanted.cursor)
    since = ("created_at >= ?", to_ms(wanted.since))
    hook, status = ("hook = ?", wanted.hook), ("status = ?", wanted.status)
    hooks: list[str] = []
    if wanted.hook is not None or wanted.status is not None:
        count = f"{_ALL} + dead" if wanted.status is None else DeliveryStatus(wanted.status).value
        clause, values = where_clause(hook, (f"{count} > ?", 0))
        hooks = [name for (name,) in await read(f"SELECT hook FROM delivery_counts {clause}", values)]
        if not hooks:
            return Found([])
    if wanted.status in {"failed", "dead"}:
        clause, values = where_clause(("status IN ('failed', 'dead')",), status, since, ("rowid < ?", upper))
        merged = f"""
            SELECT page.value FROM json_each(?) AS one, json_each((
                SELECT json_group_array(rowid) FROM (
                    SELECT rowid FROM deliveries INDEXED BY deliveries_failed {clause} AND hook = one.value
                    ORDER BY rowid DESC LIMIT ?))) AS page
        """
        return await _newest_deliveries(read, merged, [orjson.dumps(hooks).decode(), *values, wanted.limit + 1], wanted)
    if wanted.status in _OPEN_DELIVERIES:
        # sorted: few are running, and pending ones are worked off
        index, held_by = _OPEN_DELIVERIES[wanted.status]
        clause, values = where_clause((held_by,), status, hook, since, ("rowid < ?", upper))
        return await _newest_deliveries(
            read, f"SELECT rowid FROM deliveries INDEXED BY {index} {clause}", values, wanted
        )
    tables = "deliveries NOT INDEXED" if wanted.hook is None else "deliveries INDEXED BY deliveries_hook"

    async def find(end: str | None, upper: str | None, limit: int) -> list[Row]:
        position = ("rowid < ?", upper and int(upper)), ("rowid >= ?", end and int(end))
        clause, values = where_clause(hook, status, since, *position)
        return await read(
            f"SELECT {DELIVERY_COLUMNS}, rowid FROM {tables} {clause} ORDER BY rowid DESC LIMIT ?", [*values, limit]
        )

    async def find_end(upper: str | None, size: int) -> str | None:
        clause, values = where_clause(hook, ("rowid < ?", upper and int(upper)))
        found = await read(
            f"SELECT rowid FROM {tables} {clause} ORDER BY rowid DESC LIMIT 1 OFFSET ?", [*values, size - 1]
        )
        return str(found[0][0]) if found else None

    if wanted.status is None and wanted.since is None:
        return Found(await find(None, wanted.cursor, wanted.limit + 1))
    return await _search(find_end, find, wanted.cursor, wanted.limit + 1, limits)


async def _newest_deliveries(read: ReadRows, rowids: str, values: Sequence[Any], wanted: DeliveryFilter) -> Found:
    return Found(
        await read(
            f"""
            SELECT {DELIVERY_COLUMNS}, rowid FROM deliveries
            WHERE rowid IN (SELECT * FROM ({rowids}) ORDER BY 1 DESC LIMIT ?) ORDER BY rowid DESC
            """,
            [*values, wanted.limit + 1],
        )
    )


# -- slices ------------------------------------------------------------------------------------------------


async def _search(
    find_end: Callable[[str | None, int], Awaitable[str | None]],
    find: Callable[[str | None, str | None, int], Awaitable[list[Row]]],
    upper: str | None,
    limit: int,
    limits: SearchLimits,
) -> Found:
    """Search slice by slice until there are enough rows, the list ends, or the time is over.

    Args:
        find_end: (upper, size) -> the position of the last row of a slice; None: fewer rows are left.
        find: (position of the last row, upper, limit) -> matching rows of a slice.
        upper: the search begins below this position.
        limit: how many rows are enough.
        limits: of the search.
    """
    rows: list[Row] = []
    size = limits.first_slice
    began = time.monotonic()
    ends_at = began + limits.total_s
    while True:
        end = await find_end(upper, size)
        rows += await find(end, upper, limit - len(rows))
        if end is None or len(rows) >= limit:
            return Found(rows)
        now = time.monotonic()
        if now >= ends_at:
            return Found(rows, end)
        size = size * 2 if now - began < SLICE_S / 2 else max(size // 2, 1) if now - began > SLICE_S * 2 else size
        upper, began = end, now
