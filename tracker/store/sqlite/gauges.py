"""The state of the store for monitoring: small tables of counts, and look-ups with a limit on the rows they read."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from tracker.store.sqlite.counts import DELIVERY_STATUSES, LANES_DUE, TASK_STATUSES, archive_counts
from tracker.store.sqlite.files import log_bytes, size_bytes
from tracker.store.sqlite.rows import NEW_ARCHIVE, from_ms, time_of, to_ms
from tracker.store.tallies import COUNTED_MOST, OLDEST_OF, Backlog, StoreGauges

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from tracker.store.sqlite.rows import ReadRows

_DUE: Final = f"""
    {LANES_DUE} SELECT provider, oldest, (SELECT count(*) FROM (
        SELECT 1 FROM tasks INDEXED BY tasks_due
        WHERE tasks.account = due.account AND tasks.provider = due.provider AND due_at <= ?1 LIMIT {COUNTED_MOST}))
    FROM due WHERE oldest <= ?1
"""
_OLDEST: Final = [
    f"""
    SELECT provider, min(created_at) FROM (
        SELECT provider, created_at FROM tasks INDEXED BY tasks_open
        WHERE status = '{status}' ORDER BY id LIMIT {OLDEST_OF})
    GROUP BY provider
    """
    for status in ("PENDING", "RUNNING")
]
_OUTBOX: Final = f"SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT {COUNTED_MOST})"


async def measure(read: ReadRows, path: Path, now_ms: int) -> StoreGauges:
    """Read everything.

    Args:
        read: runs a query.
        path: the database.
        now_ms: the present time as the store keeps it.
    """
    due: defaultdict[str, int] = defaultdict(int)
    oldest_due: dict[str, int] = {}
    for provider, oldest, count in await read(_DUE, (now_ms,)):
        due[provider] += count
        oldest_due[provider] = min(oldest, oldest_due.get(provider, oldest))
    created: dict[str, int] = {}
    for select in _OLDEST:
        for provider, at in await read(select, ()):
            created[provider] = min(at, created.get(provider, at))
    ((outbox,),) = await read(_OUTBOX, ())
    return StoreGauges(
        tasks=await _sums(read, "task_counts", "provider", TASK_STATUSES),
        deliveries=await _sums(read, "delivery_counts", "hook", DELIVERY_STATUSES),
        archives=await archive_counts(read),
        due=due,
        oldest_due={provider: time_of(at) for provider, at in oldest_due.items()},
        oldest_unfinished={provider: time_of(at) for provider, at in created.items()},
        outbox=outbox,
        size_bytes=size_bytes(path),
        log_bytes=log_bytes(path),
    )


_DEAD: Final = f"""
    SELECT hook, (SELECT count(*) FROM (
        SELECT 1 FROM deliveries INDEXED BY deliveries_dead
        WHERE deliveries.hook = delivery_counts.hook AND status = 'dead' AND task_id IS NOT NULL AND finished_at >= ?
        LIMIT {COUNTED_MOST}))
    FROM delivery_counts WHERE dead > 0
"""
_OPEN: Final = "SELECT account, sum(pending + running) AS open FROM task_counts GROUP BY account HAVING open > 0"
_GIVEN_UP: Final = f"""
    SELECT count(*) FROM (
        SELECT 1 FROM archives INDEXED BY archives_dead WHERE state = 'dead' AND finished_at >= ? LIMIT {COUNTED_MOST})
"""
_UNTRIED: Final = f"""
    SELECT expires_at, due_at FROM archives INDEXED BY archives_new
    WHERE {NEW_ARCHIVE} ORDER BY expires_at IS NULL, expires_at, due_at LIMIT 500
"""


async def read_backlog(read: ReadRows, dead_since: datetime, given_up_since: datetime) -> Backlog:
    """Read what alarms are made of."""
    dead = {hook: count for hook, count in await read(_DEAD, (to_ms(dead_since),)) if count}
    ((given_up,),) = await read(_GIVEN_UP, (to_ms(given_up_since),))
    untried = await read(_UNTRIED, ())
    return Backlog(
        dead=dead,
        given_up=given_up,
        expiries=[time_of(expires_at) for expires_at, _ in untried if expires_at is not None],
        waiting_since=from_ms(min((due_at for _, due_at in untried), default=None)),
        open_tasks=dict(await read(_OPEN, ())),
    )


async def _sums(read: ReadRows, table: str, key: str, statuses: tuple[str, ...]) -> Mapping[str, Mapping[str, int]]:
    """Key -> status -> count, with zeros."""
    sums = ", ".join(f"sum({status.lower()})" for status in statuses)
    rows = await read(f"SELECT {key}, {sums} FROM {table} GROUP BY {key}", ())
    return {name: dict(zip(statuses, numbers, strict=True)) for name, *numbers in rows}
