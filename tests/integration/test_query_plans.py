"""Statements of the store use indexes (see tests/kits/plans.py), and their work does not grow with the file."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.kits.clock import after
from tests.kits.plans import find_scans
from tests.kits.world import World
from tracker.domain.ends import EndsFilter
from tracker.domain.report import ReportFilter
from tracker.store.sqlite.connections import Connections
from tracker.store.sqlite.lists import SearchLimits
from tracker.store.sqlite.schema import migrations
from tracker.store.values import DeliveryFilter, TaskFilter

FEW, MANY = 1500, 12_000
ITEMS = "WITH RECURSIVE item (n) AS (VALUES (:first) UNION ALL SELECT n + 1 FROM item WHERE n < :last)"
ID = "printf('01KAHTC1R0%016d', n)"
FILL = (
    f"""{ITEMS}
    INSERT INTO tasks (id, route, provider, account, asset, status, user_message, created_at, due_at, progress_at,
        submit_state)
    SELECT {ID}, 'suno.generate', 'suno', 'default', 'song', 'PENDING', '', 0, 4000000000000, 0, 'accepted' FROM item
    """,
    f"""{ITEMS}
    UPDATE tasks SET status = 'FAILED', reason = iif(n % 2, 'generation_failed', 'expired'), finished_at = 1,
        due_at = NULL, cost_amount = n, cost_currency = 'USD', cost_kind = 'estimate'
    FROM item WHERE id = {ID} AND n % 10 <> 0
    """,
    f"{ITEMS} INSERT INTO labels (task_id, name, value) SELECT {ID}, 'user', n FROM item",
    f"""{ITEMS}
    INSERT INTO deliveries (id, task_id, seq, hook, event, status, created_at, finished_at)
    SELECT n, {ID}, n, 'publish', 'task.failed', iif(n % 2, 'dead', 'succeeded'), 0, 1 FROM item
    """,
)
TASKS: tuple[dict[str, Any], ...] = (
    {},
    {"provider": "suno"},
    {"provider": "kling"},
    {"account": "unused"},
    {"route": "suno.lyrics"},
    {"reason": "not_found"},
    {"reason": "expired", "account": "default"},
    {"reason": "expired", "provider": "kling"},
    {"status": "PENDING"},
    {"status": "RUNNING", "provider": "suno"},
    {"status": "SUCCEEDED"},
    {"status": "SUCCEEDED", "account": "default"},
    {"status": "FAILED", "route": "suno.generate"},
    {"until": after(-1e9)},
    {"since": after(1e9), "provider": "suno"},
    {"until": after(-1e9), "status": "FAILED"},
    {"labels": {"user": "1"}},
    {"labels": {"user": "none"}, "status": "FAILED"},
)
DELIVERIES: tuple[dict[str, Any], ...] = (
    {},
    {"status": "dead"},
    {"status": "pending"},
    {"status": "running"},
    {"status": "failed", "hook": "publish"},
    {"status": "succeeded", "hook": "publish"},
    {"hook": "publish"},
    {"hook": "none"},
)


async def look_up(world: World, name: str, wanted: dict[str, Any]) -> None:
    """Ask for a list, or for a count that takes no filter."""
    match name:
        case "tasks":
            await world.store.list_tasks(TaskFilter(**wanted))
        case "deliveries":
            await world.store.list_all_deliveries(DeliveryFilter(**wanted))
        case "spent":
            await world.store.read_spent("default", after(0), "USD")
        case "report":
            await world.store.read_report(ReportFilter(("route", "day", "label.user"), after(1e9)))
        case "ends":
            await world.store.read_ends(EndsFilter(after(1e9), after(1e9)))
        case "unmatched":
            await world.store.list_unmatched(100)
        case "walk":
            world.store.search_limits = SearchLimits(page=100)
            await anext(world.store.walk_tasks(TaskFilter(**wanted)))
            await anext(world.store.walk_failed_deliveries(TaskFilter(**wanted)))
        case "next delivery":
            await world.store.next_delivery_in_s(["publish"])
        case _:
            await getattr(world.store, name)()


LOOK_UPS: list[tuple[str, dict[str, Any]]] = [
    *(("tasks", wanted) for wanted in TASKS),
    *(("deliveries", wanted) for wanted in DELIVERIES),
    *(("walk", wanted) for wanted in ({"status": "PENDING"}, {"reason": "expired", "labels": {"user": "1"}})),
    *((name, {}) for name in ("next delivery", "next_archive_in_s", "list_lanes")),
    *((name, {}) for name in ("spent", "report", "ends", "unmatched")),
    *((name, {}) for name in ("stats", "count_deliveries", "count_open")),
]


async def count_steps(world: World, name: str, wanted: dict[str, Any]) -> int:
    """How many steps SQLite's virtual machine takes on the reading connections during a look-up, in tens."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    pools: tuple[Connections, ...] = (world.store._lookups, world.store._searches)
    connections = [connection for pool in pools for connection in pool._all]
    for connection in connections:
        await connection.set_progress_handler(count, 10)
    await look_up(world, name, wanted)
    for connection in connections:
        await connection.set_progress_handler(lambda: 0, 0)
    return steps


async def test_look_ups_cost_the_same_in_a_small_and_a_large_file(tmp_path: Path) -> None:
    """Lists with and without a hit, counts and queue depths: ten times as many tasks and deliveries, as many steps."""
    async with World(tmp_path / "t.db") as world:
        found: list[list[int]] = []
        for first, last in ((1, FEW), (FEW + 1, MANY)):
            with closing(sqlite3.connect(world.path)) as db, db:
                for statement in FILL:
                    db.execute(statement, {"first": first, "last": last})
            found.append([await count_steps(world, *one) for one in LOOK_UPS])
        few, many = found
        grown = [(*one, a, b) for one, a, b in zip(LOOK_UPS, few, many, strict=True) if b > 1.2 * a + 10]
        assert not grown


@pytest.mark.parametrize(
    ("sql", "scans"),
    [
        ("SELECT * FROM tasks WHERE model = ?", ["SCAN tasks"]),
        ("SELECT count(*) FROM deliveries AS mine WHERE error IS NOT NULL", ["SCAN mine"]),
        ("UPDATE events SET payload = NULL WHERE at < ?", ["SCAN events"]),
        ("SELECT min(id) FROM tasks WHERE id > ?", []),
        ("SELECT * FROM tasks WHERE id IN (SELECT value FROM json_each(?))", []),
        ("SELECT sum(pending) FROM task_counts", []),
    ],
)
def test_a_statement_without_an_index_is_found(sql: str, scans: list[str]) -> None:
    """What every test that runs a statement relies on."""
    with closing(sqlite3.connect(":memory:")) as db:
        for _, script in migrations():
            db.executescript(script)
        assert find_scans(db, sql, ["x"] * sql.count("?")) == scans
