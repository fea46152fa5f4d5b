"""All tasks that match a filter, and their failed deliveries, page by page, for actions on many of them.

A page is a search of its own: between two pages others have their turn.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tracker.domain.task import TaskId
from tracker.store.sqlite.lists import SearchLimits, find_tasks, task_conditions
from tracker.store.sqlite.rows import where_clause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tracker.store.sqlite.connections import Connections
    from tracker.store.values import TaskFilter

_FAILED: Final = ("failed", "dead")


async def walk_tasks(
    searches: Connections, wanted: TaskFilter, limits: SearchLimits
) -> AsyncIterator[Sequence[TaskId]]:
    """See `tracker.store.protocol.Reader`."""
    cursor: str | None = None
    while True:
        async with searches.search():
            page = replace(wanted, limit=limits.page, cursor=cursor)
            found = await find_tasks(searches.bounded_rows, page, limits, "tasks.id")
        ids = [TaskId(task_id) for (task_id,) in found.rows[: limits.page]]
        yield ids
        cursor = found.cut_at or (ids[-1] if len(found.rows) > limits.page else None)
        if cursor is None:
            return


async def walk_failed_deliveries(
    searches: Connections, wanted: TaskFilter, limits: SearchLimits
) -> AsyncIterator[Sequence[str]]:
    """See `tracker.store.protocol.Reader`. The deliveries are walked, and the task of each is looked up."""
    clause, values = where_clause(("tasks.id = task_id",), *task_conditions(wanted))
    async with searches.search():
        hooks = await searches.bounded_rows("SELECT hook FROM delivery_counts WHERE failed + dead > 0")
    for hook, status in [(hook, status) for (hook,) in hooks for status in _FAILED]:
        before: int | None = None
        while True:
            held = f"status IN {_FAILED}"  # what the index holds
            newer, bound = where_clause((held,), ("status = ?", status), ("hook = ?", hook), ("rowid < ?", before))
            async with searches.search():
                rows = await searches.bounded_rows(
                    f"""
                    SELECT position, id, EXISTS (SELECT 1 FROM tasks {clause}) FROM (
                        SELECT rowid AS position, id, task_id FROM deliveries INDEXED BY deliveries_failed {newer}
                        ORDER BY rowid DESC LIMIT ?)
                    """,
                    [*values, *bound, limits.page],
                )
            yield [delivery for _, delivery, matches in rows if matches]
            if len(rows) < limits.page:
                break
            before = rows[-1][0]
