"""The views as other programs read them: typed columns, no reserved words of other dialects, and indexes in use."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from tests.kits.clock import START, after
from tests.kits.world import World
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.task import Status
from tracker.store.values import AttemptResult

RESERVED = frozenset(
    {"at", "end", "from", "key", "order", "path", "position", "range", "result", "rows", "text", "time", "timestamp"}
    | {"to", "user", "value", "values", "when", "window"}
)
"""Names that resemble those of the columns and that other SQL dialects reserve or parse differently."""
COLUMNS = {
    "v_events": {"seq": "INTEGER", "task_id": "TEXT", "at": "TEXT", "from": "TEXT", "to": "TEXT", "payload": "TEXT"},
    "v_outputs": {"task_id": "TEXT", "n": "INTEGER", "url": "TEXT", "duration_s": "REAL", "archived": "INTEGER"},
    "v_alarms": {"kind": "TEXT", "subject": "TEXT", "since": "TEXT", "message": "TEXT", "fix": "TEXT"},
    "v_deliveries": {"id": "TEXT", "seq": "INTEGER", "alarm_kind": "TEXT", "next_attempt_at": "TEXT", "took_s": "REAL"},
    "v_delivery_attempts": {"delivery_id": "TEXT", "attempt": "INTEGER", "started_at": "TEXT", "took_s": "REAL"},
    "v_tasks": {"id": "TEXT", "progress": "INTEGER", "error": "TEXT", "outputs": "TEXT", "created_at": "TEXT"},
    "v_active": {"id": "TEXT", "labels": "TEXT"},
    "v_finished": {"id": "TEXT", "result": "TEXT"},
    "v_failures": {"id": "TEXT", "request": "TEXT"},
    "v_daily": {"day": "TEXT", "route": "TEXT", "tasks": "INTEGER", "mean_s": "REAL"},
    "v_costs": {"day": "TEXT", "route": "TEXT", "currency": "TEXT", "tasks": "INTEGER", "amount": "REAL"},
    "v_routes": {"route": "TEXT", "failed": "INTEGER", "success_rate": "REAL", "p95_s": "REAL"},
}


async def test_every_column_of_a_view_has_a_type(tmp_path: Path) -> None:
    """Typed readers would treat a column without a type as bytes."""
    async with World(tmp_path / "t.db") as world:
        views = {name for (name,) in world.edit("SELECT name FROM sqlite_schema WHERE type = 'view'")}
        assert views == COLUMNS.keys()
        for view, expected in COLUMNS.items():
            types = {name: kind for _, name, kind, *_ in world.edit(f"PRAGMA table_info({view})")}
            assert "" not in types.values(), (view, types)
            assert types.items() >= expected.items()


@pytest.mark.parametrize("page", ["README.md", "config/README.md"])
def test_the_pages_name_every_view(page: str) -> None:
    """A reader finds each public view where the others are."""
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    assert {view for view in COLUMNS if f"`{view}`" not in text} == set()


async def test_no_view_uses_an_unquoted_reserved_word(tmp_path: Path) -> None:
    """Programs that parse the text of a view fail at one."""
    async with World(tmp_path / "t.db") as world:
        for name, text in world.edit("SELECT name, sql FROM sqlite_schema WHERE type = 'view'"):
            bare = re.sub(r"'[^']*'|\"[^\"]*\"|--[^\n]*", " ", text)
            used = set(re.findall(r"(?:\bAS\s+|[.,(]\s*)([a-z_]+)\b(?!\s*\()", bare))
            assert not used & RESERVED, name


async def test_values_have_the_types_of_their_columns(tmp_path: Path) -> None:
    """In every row and column of every view."""
    kinds = {"TEXT": "text", "INTEGER": "integer", "REAL": "real"}
    async with World(tmp_path / "t.db") as world:
        await world.follow(1, labels={"user": "42"})
        await world.call(1, Status.SUCCEEDED, payload='{"end":true}')
        await deliver(world)
        for view in COLUMNS:
            for _, name, kind, *_ in world.edit(f"PRAGMA table_info({view})"):
                found = {value for (value,) in world.edit(f'SELECT typeof("{name}") FROM {view}')}
                assert found <= {kinds[kind], "null"}, (view, name)


async def deliver(world: World) -> None:
    """The only delivery: an attempt that fails, then one that succeeds."""
    await world.at(20).fan_out(lambda change: ["publish"] if change.event == "task.succeeded" else [], 10)
    for at, status in ((20, DeliveryStatus.PENDING), (30, DeliveryStatus.SUCCEEDED)):
        (job,) = await world.at(at).claim_deliveries("publish", 1, 60)
        error = "exit 1" if status is DeliveryStatus.PENDING else None
        made = AttemptResult(status, 5, error, f"said at {at}", started_at=after(at), took_s=0.25)
        await world.at(at + 0.25).record_attempt(job.id, made, job.attempt)


async def test_attempts_of_deliveries(tmp_path: Path) -> None:
    """A row for each attempt, with what it belongs to; a first success has one too."""
    query = (
        "SELECT hook, event, attempt, outcome, started_at, took_s, error, output FROM v_delivery_attempts ORDER BY 5"
    )
    async with World(tmp_path / "t.db") as world:
        await world.follow(1)
        await world.call(1, Status.SUCCEEDED)
        await deliver(world)
        failed, done = world.edit(query)
        what = ("publish", "task.succeeded")
        assert failed == (*what, 1, "retry", "2026-11-20T20:42:20.000Z", 0.25, "exit 1", "said at 20")
        assert done == (*what, 2, "succeeded", "2026-11-20T20:42:30.000Z", 0.25, None, "said at 30")
        world.edit("DELETE FROM delivery_attempts")
        assert world.edit(query) == [done], "it needs no row of its own"


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT * FROM v_tasks WHERE id = 'x'", "sqlite_autoindex_tasks_1"),
        ("SELECT * FROM v_failures ORDER BY id DESC LIMIT 5", "tasks_failed"),
        ("SELECT * FROM v_active", "tasks_open"),
        ("SELECT * FROM v_tasks WHERE status = 'RUNNING'", "tasks_open"),
        ("SELECT * FROM v_events WHERE seq > 7", "INTEGER PRIMARY KEY"),
        ("SELECT * FROM v_deliveries WHERE task_id = 'x'", "deliveries_task"),
        ("SELECT * FROM v_delivery_attempts WHERE delivery_id = 'x'", "sqlite_autoindex_deliveries_1"),
        ("SELECT * FROM v_delivery_attempts WHERE task_id = 'x'", "deliveries_task"),
        ("SELECT * FROM v_outputs WHERE task_id = 'x'", "sqlite_autoindex_tasks_1"),
    ],
)
async def test_ordinary_queries_of_the_views_use_an_index(tmp_path: Path, query: str, index: str) -> None:
    """A condition on a plain column reaches the table's index through the view."""
    async with World(tmp_path / "t.db") as world:
        plan = [detail for *_, detail in world.edit(f"EXPLAIN QUERY PLAN {query}")]
        assert any(detail.startswith("SEARCH") and index in detail for detail in plan), plan


async def test_the_views_survive_a_rewrite(tmp_path: Path) -> None:
    """Programs that rewrite views put each SELECT of a UNION into parentheses, and turn count(*) into count_star()."""
    async with World(tmp_path / "t.db") as world:
        for name, text in world.edit("SELECT name, sql FROM sqlite_schema WHERE type = 'view'"):
            assert not re.search(r"\bUNION\b|\bcount\(\*\)(?! OVER)", text), name


async def test_sums_by_day_and_route(tmp_path: Path) -> None:
    """How many of each day and route succeeded, and how long that took; routes of the last seven days only."""
    async with World(tmp_path / "t.db") as world:
        for n in range(1, 5):
            await world.follow(n)
        for n, took_s in ((1, 2), (2, 4), (3, 9)):
            await world.call(n, Status.SUCCEEDED if n < 3 else Status.FAILED, at=took_s)
        daily = world.edit("SELECT day, route, account, tasks, succeeded, failed, active, mean_s FROM v_daily")
        assert daily == [(START.date().isoformat(), "suno.generate", "default", 4, 2, 1, 1, 3.0)]
        assert world.edit("SELECT * FROM v_routes") == [], "the test's clock is in the past"
        world.edit("DROP TRIGGER tasks_succeeded_is_final")
        world.edit("DROP TRIGGER tasks_failed_is_final")
        world.edit("DROP TRIGGER tasks_keep_their_identity")
        now = "CAST(strftime('%s', 'now') AS INTEGER) * 1000"
        world.edit(
            f"UPDATE tasks SET finished_at = {now} + finished_at - created_at, created_at = {now}"
            " WHERE finished_at IS NOT NULL"
        )
        (row,) = world.edit("SELECT route, succeeded, failed, success_rate, p50_s, p95_s FROM v_routes")
        assert row == ("suno.generate", 2, 1, pytest.approx(2 / 3), 2.0, 4.0)


async def test_the_datasette_file_describes_the_views(tmp_path: Path) -> None:
    """Every described view and column exists, every view is described, and every canned query runs."""
    text = (Path(__file__).parents[2] / "config" / "datasette.yaml").read_text(encoding="utf-8")
    (database,) = yaml.safe_load(text)["databases"].values()
    async with World(tmp_path / "t.db") as world:
        await world.follow(1, labels={"customer": "anna"})
        await world.call(1, Status.SUCCEEDED)
        views = {name for (name,) in world.edit("SELECT name FROM sqlite_schema WHERE type = 'view'")}
        described = {name: table for name, table in database["tables"].items() if not table.get("hidden")}
        assert described.keys() == views
        tables = {name for (name,) in world.edit("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        hidden = {name for name, table in database["tables"].items() if table.get("hidden")}
        assert hidden == {name for name in tables if name not in {"sqlite_stat1", "sqlite_stat4"}}
        for view, table in described.items():
            columns = {name for _, name, *_ in world.edit(f"PRAGMA table_info({view})")}
            assert table["description"]
            assert table.get("columns", {}).keys() <= columns, view
        for name, query in database["queries"].items():
            parameters = dict.fromkeys(re.findall(r":(\w+)", query["sql"]), "")
            assert query["title"], name
            with closing(sqlite3.connect(world.path)) as connection:
                connection.execute(query["sql"], parameters).fetchall()
