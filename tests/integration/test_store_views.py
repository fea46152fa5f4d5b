"""The views as other programs read them: typed columns, no reserved words of other dialects, and indexes in use."""

import re
from pathlib import Path

import pytest

from tests.kits.world import World
from tracker.domain.task import Status

RESERVED = frozenset(
    {"at", "end", "from", "key", "order", "path", "position", "range", "result", "rows", "text", "time", "timestamp"}
    | {"to", "user", "value", "values", "when", "window"}
)
"""Names that resemble those of the columns and that other SQL dialects reserve or parse differently."""
COLUMNS = {
    "v_events": {"seq": "INTEGER", "task_id": "TEXT", "at": "TEXT", "from": "TEXT", "to": "TEXT", "payload": "TEXT"},
    "v_outputs": {"task_id": "TEXT", "n": "INTEGER", "url": "TEXT", "duration_s": "REAL", "archived": "INTEGER"},
    "v_deliveries": {"id": "TEXT", "seq": "INTEGER", "next_attempt_at": "TEXT", "created_at": "TEXT"},
    "v_tasks": {"id": "TEXT", "progress": "INTEGER", "error": "TEXT", "outputs": "TEXT", "created_at": "TEXT"},
    "v_active": {"id": "TEXT", "labels": "TEXT"},
    "v_finished": {"id": "TEXT", "result": "TEXT"},
    "v_failures": {"id": "TEXT", "request": "TEXT"},
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
        await world.store.fan_out(lambda _: ["publish"], 10)
        for view in COLUMNS:
            for _, name, kind, *_ in world.edit(f"PRAGMA table_info({view})"):
                found = {value for (value,) in world.edit(f'SELECT typeof("{name}") FROM {view}')}
                assert found <= {kinds[kind], "null"}, (view, name)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT * FROM v_tasks WHERE id = 'x'", "sqlite_autoindex_tasks_1"),
        ("SELECT * FROM v_failures ORDER BY id DESC LIMIT 5", "tasks_status"),
        ("SELECT * FROM v_active", "tasks_status"),
        ("SELECT * FROM v_events WHERE seq > 7", "INTEGER PRIMARY KEY"),
        ("SELECT * FROM v_deliveries WHERE task_id = 'x'", "deliveries_task"),
        ("SELECT * FROM v_outputs WHERE task_id = 'x'", "sqlite_autoindex_tasks_1"),
    ],
)
async def test_ordinary_queries_of_the_views_use_an_index(tmp_path: Path, query: str, index: str) -> None:
    """A condition on a plain column reaches the table's index through the view."""
    async with World(tmp_path / "t.db") as world:
        plan = [detail for *_, detail in world.edit(f"EXPLAIN QUERY PLAN {query}")]
        assert any(detail.startswith("SEARCH") and index in detail for detail in plan), plan


async def test_the_views_survive_a_rewrite(tmp_path: Path) -> None:
    """Programs that parse and rewrite a view put each SELECT of a UNION into parentheses."""
    async with World(tmp_path / "t.db") as world:
        assert world.edit("SELECT name FROM sqlite_schema WHERE type = 'view' AND sql LIKE '%UNION%'") == []
