"""Copies of the database: complete, private, made beside a daemon that writes, and before a migration."""

import asyncio
import sqlite3
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.kits.factories import make_task_name
from tests.kits.world import World
from tracker.cli.exits import Failure
from tracker.cli.main import cli
from tracker.errors import StoreUnavailable, StoreUnusable
from tracker.store.sqlite import copy_database, open_reader, read_instance, schema
from tracker.store.sqlite.identity import APPLICATION_ID

KNOWN = schema.migrations()


def with_one_more(monkeypatch: pytest.MonkeyPatch) -> int:
    """Give the program one more migration; its number."""
    number = KNOWN[-1][0] + 1
    monkeypatch.setattr(schema, "migrations", lambda: [*KNOWN, (number, "CREATE TABLE made_up (n INTEGER) STRICT;")])
    return number


async def test_a_copy_is_complete_private_and_opens(tmp_path: Path) -> None:
    """What was committed is in the copy, other users cannot read it, and it has no side files."""
    source, target = tmp_path / "tracker.db", tmp_path / "copies" / "one.db"
    target.parent.mkdir()
    async with World(source) as world:
        await world.submit(1)
        size = copy_database(source, target)
        await world.submit(2)
    assert size == target.stat().st_size
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in target.parent.iterdir()] == ["one.db"]
    reader = await open_reader(target)
    try:
        assert (await reader.get_task(make_task_name(1))).task.id == make_task_name(1)
    finally:
        await reader.close()
    async with World(target) as restored:
        await restored.submit(3)


async def test_the_instance_id_never_changes(tmp_path: Path) -> None:
    """Each store has its own; restarts, migrations, copies and edits do not change it; it can be read from the file."""
    path, copy, other = tmp_path / "tracker.db", tmp_path / "copy.db", tmp_path / "other.db"
    assert read_instance(path) is None
    async with World(path) as world:
        instance = world.store.instance
        assert read_instance(path) == instance
        for statement in (
            "UPDATE meta SET value = 'x'",
            "DELETE FROM meta",
            "REPLACE INTO meta VALUES ('instance', 'x')",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="never changes"):
                world.edit(statement)
        copy_database(path, copy)
    async with World(path) as again, World(copy) as restored, World(other) as fresh:
        assert again.store.instance == restored.store.instance == instance
        assert fresh.store.instance != instance
    assert len(instance) == 32


async def test_a_store_from_before_instance_ids_has_none_until_it_is_migrated(tmp_path: Path) -> None:
    """Read by its file it has no id; the migration gives it one."""
    path = tmp_path / "t.db"
    db = sqlite3.connect(path, isolation_level=None)
    for _, script in KNOWN[:5]:
        db.executescript(script)
    db.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 5")
    db.close()
    assert read_instance(path) is None
    async with World(path) as world:
        assert read_instance(path) == world.store.instance


async def test_a_copy_is_one_state_of_a_store_that_writes(tmp_path: Path) -> None:
    """Every copy made under load passes SQLite's own check and holds each task with its event, or neither."""
    source, target = tmp_path / "tracker.db", tmp_path / "copy.db"
    async with World(source) as world:

        async def write() -> None:
            for n in range(300):
                await world.submit(n)

        writing = asyncio.create_task(write())
        while not writing.done():
            await asyncio.to_thread(copy_database, source, target)
            copy = sqlite3.connect(f"file:{target}?mode=ro", uri=True)
            orphans = copy.execute(
                "SELECT count(*) FROM requests WHERE task_id NOT IN (SELECT id FROM tasks)"
            ).fetchone()
            assert orphans == (0,)
            assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            copy.close()
        await writing


async def test_a_copy_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    """Neither a missing directory nor the database itself is written to; what was there stays."""
    source = tmp_path / "tracker.db"
    async with World(source):
        pass
    with pytest.raises(StoreUnavailable, match="is the database itself"):
        copy_database(source, source)
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        copy_database(source, tmp_path / "nowhere" / "copy.db")
    with pytest.raises(StoreUnusable, match="no such file"):
        copy_database(tmp_path / "other.db", tmp_path / "copy.db")
    (tmp_path / "foreign.db").write_bytes(b"no database at all, but long enough to look like a file" * 100)
    with pytest.raises(StoreUnusable, match="not a tracker database"):
        copy_database(tmp_path / "foreign.db", tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


async def test_a_migration_copies_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy has the old schema, and the error of an older program names it."""
    path = tmp_path / "tracker.db"
    old = KNOWN[-1][0]
    async with World(path) as world:
        await world.submit(1)
    new = with_one_more(monkeypatch)
    async with World(path) as world:
        await world.submit(2)
        assert world.edit("PRAGMA user_version") == [(new,)]
    stored = tmp_path / f"tracker.db.bak-{old}"
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    monkeypatch.undo()
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match=rf"newer tracker \(schema {new}.*replace the file with .*bak-{old};"):
        async with World(path):
            pass
    assert path.read_bytes() == before
    stored.replace(path)
    async with World(path) as world:
        assert (await world.get(1)).task.id == make_task_name(1)
        await world.submit(3)


async def test_a_new_file_and_a_current_one_are_not_copied(tmp_path: Path) -> None:
    """Copies are for migrations: an ordinary start makes none."""
    path = tmp_path / "tracker.db"
    for _ in range(2):
        async with World(path):
            pass
    assert not list(tmp_path.glob("*.bak-*"))


async def test_without_space_for_a_copy_nothing_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file stays at its old schema if it cannot be copied."""
    path = tmp_path / "tracker.db"
    old = KNOWN[-1][0]
    async with World(path):
        pass
    with_one_more(monkeypatch)
    (tmp_path / f"tracker.db.bak-{old}").mkdir()  # nothing can replace it
    with pytest.raises(StoreUnusable, match="was not migrated"):
        async with World(path):
            pass
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (old,)
    connection.close()


async def test_the_command_copies_the_configured_file(tmp_path: Path) -> None:
    """`db path` names the file, `db backup` copies it, and both fail in one clear line."""
    source, target = tmp_path / "tracker.db", tmp_path / "copy.db"
    async with World(source):
        pass
    config = tmp_path / "tracker.toml"
    config.write_text(f'[store]\npath = "{source}"\n')
    runner = CliRunner()
    shown = runner.invoke(cli, ["db", "path", "--config", str(config)])
    assert shown.output.strip() == str(source)
    done = runner.invoke(cli, ["db", "backup", "--config", str(config), "--json", str(target)])
    assert (done.exit_code, target.is_file()) == (0, True), done.output
    failed = runner.invoke(
        cli, ["db", "backup", "--config", str(config), str(tmp_path / "no" / "copy.db")], standalone_mode=False
    )
    assert isinstance(failed.exception, Failure)
    assert "cannot be written" in failed.exception.lines[0]
