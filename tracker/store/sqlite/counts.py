"""Counts, as the triggers of the schema keep them: no statement here counts what has ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from tracker.domain.records import iso
from tracker.store.sqlite.costs import read_sums
from tracker.store.sqlite.rows import from_ms
from tracker.store.sqlite.slots import count_waiting
from tracker.store.values import Lane, OpenCounts

if TYPE_CHECKING:
    import sqlite3

    from tracker.store.sqlite.rows import ReadRows

TASK_STATUSES: Final = ("PENDING", "RUNNING", "SUCCEEDED", "FAILED")
DELIVERY_STATUSES: Final = ("pending", "running", "succeeded", "failed", "dead")
_SUM_OPEN: Final = "SELECT coalesce(sum(pending), 0), coalesce(sum(running), 0) FROM"

# Two steps to the next lane, each a single search: for (account, provider) > (?, ?) SQLite scans the account.
LANES_DUE: Final = """
    WITH RECURSIVE lanes (account, provider) AS (
        SELECT * FROM (SELECT account, provider FROM tasks INDEXED BY tasks_due WHERE due_at IS NOT NULL
                       ORDER BY account, provider LIMIT 1)
        UNION ALL
        SELECT next.account, next.provider FROM lanes JOIN tasks AS next ON next.rowid = coalesce(
            (SELECT rowid FROM tasks INDEXED BY tasks_due WHERE due_at IS NOT NULL
             AND account = lanes.account AND provider > lanes.provider ORDER BY provider LIMIT 1),
            (SELECT rowid FROM tasks INDEXED BY tasks_due WHERE due_at IS NOT NULL
             AND account > lanes.account ORDER BY account, provider LIMIT 1))
    ),
    due (account, provider, oldest) AS (
        SELECT account, provider, (
            SELECT min(due_at) FROM tasks INDEXED BY tasks_due
            WHERE tasks.account = lanes.account AND tasks.provider = lanes.provider AND due_at IS NOT NULL)
        FROM lanes
    )
"""
LANES: Final = f"{LANES_DUE} SELECT account, provider FROM due WHERE oldest <= ? ORDER BY oldest"
COUNT_DUE: Final = f"""
    {LANES_DUE} SELECT coalesce(sum((
        SELECT count(*) FROM tasks INDEXED BY tasks_due
        WHERE tasks.account = due.account AND tasks.provider = due.provider AND due_at <= ?1)), 0), min(oldest)
    FROM due WHERE oldest <= ?1
"""

OLDEST_OPEN: Final = """
    SELECT (SELECT created_at FROM tasks INDEXED BY tasks_open WHERE status = 'PENDING' ORDER BY id LIMIT 1),
           (SELECT created_at FROM tasks INDEXED BY tasks_open WHERE status = 'RUNNING' ORDER BY id LIMIT 1)
"""


DAY: Final = "created_at / 86400000"
_COSTS: Final = (
    f"(SELECT id, {DAY} AS day, route, account, cost_currency AS currency, cost_kind AS kind, cost_amount"
    " FROM tasks WHERE cost_amount IS NOT NULL)"
)
_PRICES: Final = (
    f"(SELECT {DAY} AS day, account, price_currency AS currency, price_amount AS amount"
    " FROM tasks WHERE price_amount IS NOT NULL)"
)
_COUNTED: Final[Mapping[str, tuple[tuple[str, ...], Mapping[str, str], str]]] = {
    "task_counts": (
        ("provider", "account", "route"),
        {status.lower(): f"status = '{status}'" for status in TASK_STATUSES},
        "tasks",
    ),
    "failure_counts": (
        ("reason", "provider", "account", "route"),
        {"failed": "status = 'FAILED'"},
        "tasks INDEXED BY tasks_failed WHERE status = 'FAILED'",
    ),
    "delivery_counts": (
        ("hook",),
        {status: f"status = '{status}'" for status in DELIVERY_STATUSES},
        "deliveries",
    ),
    "archive_counts": (("state",), {"files": "1"}, "archives"),
    "spending": (
        ("day", "account", "currency"),
        {"amount": "amount"},
        _PRICES,
    ),
    "cost_days": (("day", "route", "account", "currency", "kind"), {"tasks": "1", "amount": "cost_amount"}, _COSTS),
    "cost_labels": (
        ("name", "value", "currency", "kind"),
        {"tasks": "1", "amount": "cost_amount"},
        f"labels JOIN {_COSTS} AS costs ON costs.id = labels.task_id",
    ),
}
"""Table -> its keys, its numbers with the rows that each counts, and where the rows are."""


async def list_lanes(read: ReadRows, now_ms: int) -> list[Lane]:
    """Lanes with something due, oldest first."""
    return [Lane(*row) for row in await read(LANES, (now_ms,))]


async def count_open(read: ReadRows, now_ms: int) -> OpenCounts:
    """What is open now."""
    ((pending, running),) = await read(f"{_SUM_OPEN} task_counts", ())
    ((waiting, under_way),) = await read(f"{_SUM_OPEN} delivery_counts", ())
    ((due, _oldest),) = await read(COUNT_DUE, (now_ms,))
    return OpenCounts(pending, running, due, waiting + under_way)


async def count_deliveries(read: ReadRows) -> dict[str, dict[str, int]]:
    """Hook -> status -> count, without zeros."""
    rows = await read(f"SELECT hook, {', '.join(DELIVERY_STATUSES)} FROM delivery_counts ORDER BY hook", ())
    counts = {hook: _without_zeros(zip(DELIVERY_STATUSES, numbers, strict=True)) for hook, *numbers in rows}
    return {hook: found for hook, found in counts.items() if found}


async def archive_counts(read: ReadRows) -> dict[str, int]:
    """State -> count of outputs, with zeros."""
    rows = await read("SELECT state, files FROM archive_counts", ())
    return {"pending": 0, "running": 0, "stored": 0, "dead": 0, **dict(rows)}


async def stats(read: ReadRows, now_ms: int) -> dict[str, Any]:
    """What ``GET /v1/stats`` shows, without the size of the log."""
    sums = ", ".join(f"sum({status.lower()})" for status in TASK_STATUSES)
    rows = await read(f"SELECT provider, {sums} FROM task_counts GROUP BY provider", ())
    providers = {
        provider: found
        for provider, *numbers in rows
        if (found := _without_zeros(zip(TASK_STATUSES, numbers, strict=True)))
    }
    reasons = await read("SELECT reason, sum(failed) FROM failure_counts GROUP BY reason", ())
    deliveries = await count_deliveries(read)
    ((pending_at, running_at),) = await read(OLDEST_OPEN, ())
    ((due, oldest),) = await read(COUNT_DUE, (now_ms,))
    ((parked,),) = await read("SELECT count(*) FROM parked", ())
    ((rejected,),) = await read("SELECT count(*) FROM rejected", ())
    return {
        "tasks": {status: sum(found.get(status, 0) for found in providers.values()) for status in TASK_STATUSES},
        "providers": providers,
        "reasons": _without_zeros(reasons),
        "deliveries": {
            status: sum(found.get(status, 0) for found in deliveries.values()) for status in DELIVERY_STATUSES
        },
        "archives": await archive_counts(read),
        "oldest_pending_at": iso(from_ms(pending_at)),
        "oldest_running_at": iso(from_ms(running_at)),
        "waiting_for_slot": await count_waiting(read),
        "due_polls": due,
        "oldest_due_poll_at": iso(from_ms(oldest)),
        "parked_callbacks": parked,
        "rejected_callbacks": rejected,
        "cost": await read_sums(read, now_ms),
    }


def _without_zeros(counts: Any) -> dict[str, int]:  # noqa: ANN401 - pairs, as rows or zipped
    return {name: count for name, count in counts if count}


def find_wrong(db: sqlite3.Connection) -> list[str]:
    """Count again, all rows; a line for each count that differs, none while the triggers have seen every change."""
    lines = []
    for table, (keys, numbers, source) in _COUNTED.items():
        columns = f"{', '.join(keys)}, {', '.join(numbers)}"
        sums = ", ".join(f"sum({condition})" for condition in numbers.values())
        counted = db.execute(f"SELECT {', '.join(keys)}, {sums} FROM {source} GROUP BY {', '.join(keys)}").fetchall()
        stored = db.execute(f"SELECT {columns} FROM {table}").fetchall()
        width = len(keys)
        there, kept = ({row[:width]: row[width:] for row in rows} for rows in (counted, stored))
        for key in sorted(there.keys() | kept.keys()):
            none = (0,) * len(numbers)
            if (of_rows := there.get(key, none)) != (of_table := kept.get(key, none)):
                names = dict(zip(numbers, zip(of_table, of_rows, strict=True), strict=True))
                wrong = ", ".join(f"{name} {a}, counted {b}" for name, (a, b) in names.items() if a != b)
                lines.append(f"{table} of {' '.join(key)}: {wrong}")
    return lines
