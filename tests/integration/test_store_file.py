"""The database file: its schema, its lock, what is refused untouched, and what survives a kill or a full disk."""

import asyncio
import fcntl
import itertools
import json
import os
import queue
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.kits.clock import START, ManualClock, after
from tests.kits.factories import make_alarm, make_task_name
from tests.kits.hooks import of_tasks
from tests.kits.logs import captured_logs
from tests.kits.world import LANE, World
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.task import ExternalId, Output, Stage, Status, SubmitState, Task, UpstreamError
from tracker.errors import StoreUnavailable, StoreUnusable
from tracker.store.sqlite import checkpoints, open_reader
from tracker.store.sqlite.checkpoints import CHANGES_OF_PAGE, PAGES, PAGES_OF_COMMIT, Checkpointer
from tracker.store.sqlite.files import DatabaseFiles
from tracker.store.sqlite.identity import APPLICATION_ID
from tracker.store.sqlite.schema import migrations
from tracker.store.values import ArchiveWish, AttemptResult

REPOSITORY = Path(__file__).parents[2]


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, with the tests' factories at hand."""
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def schema_of(path: Path) -> list[tuple[str, str, str | None]]:
    """Everything that a file defines."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()
    finally:
        connection.close()


def image_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but lock files."""
    return {item.name: item.read_bytes() for item in folder.iterdir() if item.suffix != ".lock"}


# -- schema and settings -----------------------------------------------------------------------------------


async def test_a_fresh_schema_is_that_of_all_migrations(tmp_path: Path) -> None:
    """Applied one by one by hand, the migrations make what the store makes of an empty file."""
    async with World(tmp_path / "fresh.db"):
        pass
    by_hand = sqlite3.connect(tmp_path / "hand.db")
    for _, script in migrations():
        by_hand.executescript(script)
    by_hand.close()
    assert schema_of(tmp_path / "fresh.db") == schema_of(tmp_path / "hand.db")
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))


async def test_opening_again_changes_no_schema(tmp_path: Path) -> None:
    """Neither a second open nor a third migrates anything."""
    path = tmp_path / "t.db"
    async with World(path):
        first = schema_of(path)
    async with World(path) as world:
        assert schema_of(path) == first
        assert world.edit("PRAGMA user_version") == [(migrations()[-1][0],)]
        assert world.edit("PRAGMA application_id") == [(APPLICATION_ID,)]
        assert world.edit("PRAGMA integrity_check") == [("ok",)]


async def test_a_migration_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fails half-way leaves the version before, and the next start repeats it."""
    path = tmp_path / "t.db"
    async with World(path) as world:
        await world.follow()
    before = schema_of(path)
    latest = migrations()[-1][0]
    good = [
        *migrations(),
        (latest + 1, "CREATE TABLE extra (id INTEGER) STRICT;\nCREATE INDEX extra_id ON extra (id);"),
    ]
    bad = [*migrations(), (latest + 1, "CREATE TABLE extra (id INTEGER) STRICT;\nSELECT no_such_thing();")]
    monkeypatch.setattr("tracker.store.sqlite.schema.migrations", lambda: bad)
    with pytest.raises(StoreUnusable, match="no_such_thing"):
        await World(path).store.open()
    assert schema_of(path) == before
    monkeypatch.setattr("tracker.store.sqlite.schema.migrations", lambda: good)
    with pytest.raises(StoreUnusable, match="start the daemon once"):
        await open_reader(path)
    async with World(path) as world:
        assert len(schema_of(path)) == len(before) + 2
        assert (await world.get()).task.status is Status.PENDING


# The snapshot of an event as schema 2 kept it: what may change, times as milliseconds, outputs as a text.
OLD_SNAPSHOT = {
    "external_id": "up-1",
    "status": "RUNNING",
    "stage": "first",
    "progress": 50,
    "outputs": '[{"kind":"audio","url":"https://a.example/1.mp3","duration_s":91.5}]',
    "started_at": 1767607203123,
    "due_at": 1767607209000,
    "progress_at": 1767607203123,
    "submit_state": "accepted",
    "submit_attempts": 1,
    "polls": 2,
    "callbacks": 1,
    "poll_step": 0,
    "poll_trouble": "unavailable",
    "poll_trouble_since": 1767607202000,
    "unknown_statuses": 0,
    "version": 4,
    "error": ["500", None, 502],
}


FIRST_SNAPSHOT = {"status": "PENDING", "outputs": "[]", "progress_at": 1767607200000, "submit_state": "queued"}


async def test_snapshots_of_schema_2_become_complete_tasks(tmp_path: Path) -> None:
    """A delivery that waits during the migration shows the same task as before it."""
    path = tmp_path / "t.db"
    db = sqlite3.connect(path, isolation_level=None)
    for _, script in migrations()[:2]:
        db.executescript(script)
    db.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 2; PRAGMA journal_mode = WAL")
    db.execute(
        "INSERT INTO tasks (id, route, provider, account, asset, external_id, status, user_message, created_at,"
        " progress_at, submit_state, expects_callback) VALUES (?, 'suno.generate', 'suno', 'default', 'song', 'up-1',"
        " 'PENDING', '-', 1767607200000, 1767607200000, 'accepted', 1)",
        (make_task_name(1),),
    )
    stored = [json.dumps(OLD_SNAPSHOT), json.dumps(FIRST_SNAPSHOT), None]
    for n, snapshot in enumerate(stored):
        db.execute(
            "INSERT INTO events (task_id, at, source, outcome, from_status, to_status, detail, dedupe_key, reading,"
            " announces, snapshot) VALUES (?, 0, 'poll', 'applied', '-', '-', '-', ?, '{}', 'task.progress', ?)",
            (make_task_name(1), str(n), snapshot),
        )
    db.close()
    async with World(path) as world:
        await world.store.fan_out(lambda _: ["publish"], 10)
        reported = []
        for _ in stored:  # of one task, one after the other
            (job,) = of_tasks(await world.store.claim_deliveries("publish", 10, 0))
            reported.append(job.record.task)
            result = AttemptResult(DeliveryStatus.SUCCEEDED)
            await world.store.record_attempt(job.id, result, job.attempt)
    began = datetime(2026, 1, 5, 10, 0, 0, tzinfo=UTC)
    song = Task(
        id=make_task_name(1),
        route="suno.generate",
        provider="suno",
        account="default",
        asset="song",
        created_at=began,
        progress_at=began + timedelta(seconds=3.123),
        external_id=ExternalId("up-1"),
        status=Status.RUNNING,
        stage=Stage.FIRST,
        progress=50,
        error=UpstreamError("500", None, 502),
        outputs=(Output("audio", "https://a.example/1.mp3", duration_s=91.5),),
        started_at=began + timedelta(seconds=3.123),
        due_at=began + timedelta(seconds=9),
        submit_state=SubmitState.ACCEPTED,
        submit_attempts=1,
        expects_callback=True,
        polls=2,
        callbacks=1,
        poll_trouble="unavailable",
        poll_trouble_since=began + timedelta(seconds=2),
        version=4,
    )
    assert reported[0] == song
    assert (reported[1].status, reported[1].outputs, reported[1].expects_callback) == (Status.PENDING, (), True)
    assert reported[2].progress is None  # without a snapshot the row itself is shown


async def test_the_position_of_schema_8_becomes_the_outbox(tmp_path: Path) -> None:
    """Events after the position are fanned out once; those before it, and those that announce nothing, are not."""
    path = tmp_path / "t.db"
    db = sqlite3.connect(path, isolation_level=None)
    for _, script in migrations()[:8]:
        db.executescript(script)
    db.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 8; PRAGMA journal_mode = WAL")
    db.execute(
        "INSERT INTO tasks (id, route, provider, account, asset, external_id, status, user_message, created_at,"
        " progress_at, submit_state) VALUES (?, 'suno.generate', 'suno', 'default', 'song', 'up-1', 'PENDING', '-', 0,"
        " 0, 'accepted')",
        (make_task_name(1),),
    )
    for seq, announces in enumerate(["task.submitted", None, "task.running", "task.progress", None], 1):
        db.execute(
            "INSERT INTO events (task_id, at, source, outcome, from_status, to_status, detail, dedupe_key, reading,"
            " announces) VALUES (?, 0, 'poll', 'applied', '-', '-', '-', ?, '{}', ?)",
            (make_task_name(1), str(seq), announces),
        )
    db.execute("UPDATE cursors SET seq = 2 WHERE name = 'deliveries'")
    db.close()
    async with World(path) as world:
        for _ in range(2):
            await world.store.fan_out(lambda _: ["publish"], 10)
        deliveries = await world.store.list_deliveries(make_task_name(1))
        assert [(item.seq, item.event) for item in deliveries] == [(3, "task.running"), (4, "task.progress")]


async def test_a_migration_names_what_a_user_added(tmp_path: Path) -> None:
    """ALTER TABLE fails on a broken view; the error names it and its fix, and the file stays as it was."""
    path = tmp_path / "t.db"
    db = sqlite3.connect(path)
    for _, script in migrations()[:7]:
        db.executescript(script)
    db.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 7")
    db.execute("CREATE VIEW mine AS SELECT * FROM missing")
    db.close()
    before = schema_of(path)
    with pytest.raises(StoreUnusable, match=r"error in view mine.*drop what was added to the file by hand"):
        await World(path).store.open()
    assert schema_of(path) == before
    db = sqlite3.connect(path)
    db.execute("DROP VIEW mine")
    db.close()
    async with World(path) as world:
        assert world.edit("PRAGMA user_version") == [(migrations()[-1][0],)]


async def test_deliveries_of_alarms_need_no_rewrite_of_the_others(tmp_path: Path) -> None:
    """The table stays where it is, however large; a delivery is of exactly one of a task and an alarm from then on."""
    path = tmp_path / "t.db"
    db = sqlite3.connect(path)
    for _, script in migrations()[:17]:
        db.executescript(script)
    db.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 17")
    place = "SELECT rootpage FROM sqlite_schema WHERE name = 'deliveries'"
    before = db.execute(place).fetchall()
    db.close()
    new = "INSERT INTO deliveries (id, task_id, alarm_id, seq, hook, event, status, due_at, created_at)"
    async with World(path) as world:
        assert world.edit(place) == before
        await world.follow()
        await world.store.record_alarms([make_alarm()], [])
        of_one = f"{new} VALUES (?, ?, ?, ?, 'h', 'e', 'pending', 1, 1)"
        world.edit(of_one, "a", make_task_name(1), None, 1)
        world.edit(of_one, "b", None, 1, 2)
        for task_id, alarm_id in ((None, None), (make_task_name(1), 1)):
            with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed"):
                world.edit(of_one, "c", task_id, alarm_id, 3)
        assert world.edit("PRAGMA integrity_check") == [("ok",)]


def rewrite_with_schema(path: Path, number: int) -> None:
    """Replace a database with one of an older schema that holds the same rows."""
    older = path.with_name("older.db")
    with closing(sqlite3.connect(older, isolation_level=None)) as db:
        for _, script in migrations()[:number]:
            db.executescript(script)
        db.execute("ATTACH ? AS newer", (str(path),))
        triggers = db.execute("SELECT name, sql FROM main.sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        for (table,) in db.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall():
            columns = db.execute(
                "SELECT group_concat(name) FROM pragma_table_info(?1, 'main')"
                " WHERE name IN (SELECT name FROM pragma_table_info(?1, 'newer'))",
                (table,),
            ).fetchone()[0]
            if columns is not None:
                db.execute(f"DELETE FROM main.{table}")
                db.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM newer.{table}")
        if number < 8:
            db.execute("UPDATE tasks SET leased = id IN (SELECT id FROM newer.tasks WHERE holder IS NOT NULL)")
        if number < 9:
            db.execute("INSERT INTO cursors (name, seq) SELECT 'deliveries', coalesce(max(seq), 0) FROM events")
        for _, sql in triggers:
            db.execute(sql)
        db.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}")
    older.replace(path)


async def test_leases_of_schema_7_fall_due_at_the_first_start(tmp_path: Path) -> None:
    """It had no holders: what was leased was held by a process that is dead now."""
    path = tmp_path / "t.db"
    async with World(path) as world:
        world.store.choose_archives(lambda _task, _output: ArchiveWish(None))
        for n in (1, 2, 3):
            await world.follow(n)
        await world.call(1, Status.SUCCEEDED)
        await world.at(20).fan_out(lambda _: ["publish"], 100)
        await world.store.claim_deliveries("publish", 1, 900)
        await world.store.claim_archives(1, 900)
        await world.store.claim_due(LANE, 1, 900)
    rewrite_with_schema(path, 7)
    async with World(path, world.clock) as world:
        assert [one.was_held for one in await world.store.claim_due(LANE, 9, 900)] == [False, False]
        assert len(await world.store.claim_deliveries("publish", 9, 900)) == 1
        assert len(await world.store.claim_archives(9, 900)) == 1
        assert world.edit("PRAGMA integrity_check") == [("ok",)]
        assert len(world.edit("SELECT id FROM v_tasks")) == 3


async def test_a_log_that_is_written_without_a_pause_stays_short(tmp_path: Path) -> None:
    """Checkpoints run beside the writer, and the log restarts."""
    path = tmp_path / "t.db"
    log = path.with_name("t.db-wal")
    longest = 0
    async with World(path) as world:
        for batch in range(0, 900, 20):
            names = range(batch, batch + 20)
            await asyncio.gather(*map(world.follow, names))
            await asyncio.gather(*(world.call(n, Status.SUCCEEDED, payload=f'"{"x" * 50_000}"') for n in names))
            longest = max(longest, log.stat().st_size)
        assert path.stat().st_size > 25_000_000  # while the store is open
    assert longest < 40_000_000


def test_checkpoints_continue_after_failures(tmp_path: Path) -> None:
    """After a full disk they continue; the failure is logged once, and its end once."""
    path = tmp_path / "t.db"
    tried = queue.SimpleQueue[int]()
    attempts = itertools.count(1)

    def connect() -> sqlite3.Connection:
        attempt = next(attempts)
        tried.put(attempt)
        if attempt < 3:
            raise sqlite3.OperationalError("disk I/O error")
        return sqlite3.connect(path)

    checkpointer = Checkpointer(connect)
    with closing(sqlite3.connect(path, isolation_level=None)) as db, captured_logs() as logged:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE kept (content BLOB)")
        db.execute("INSERT INTO kept VALUES (zeroblob(100000))")
        checkpointer.start()
        for attempt in (1, 2, 3):
            assert path.stat().st_size < 100_000
            checkpointer.note_commit(PAGES * CHANGES_OF_PAGE)
            assert tried.get(timeout=10) == attempt
        checkpointer.stop()
        assert path.stat().st_size > 100_000
    assert [line["event"] for line in logged] == ["store.failed", "store.checkpoint_recovered"]


def test_checkpoints_come_by_what_was_written() -> None:
    """A lone change in each commit needs more commits than fifty together: few pages are copied again and again."""
    counts = []
    for changes in (1, 50):
        tried = queue.SimpleQueue[None]()

        def connect(tried: queue.SimpleQueue[None] = tried) -> sqlite3.Connection:
            tried.put(None)
            raise StoreUnavailable("not needed")

        checkpointer = Checkpointer(connect)
        checkpointer.start()
        needed = -(-PAGES // (PAGES_OF_COMMIT + changes // CHANGES_OF_PAGE))
        for _ in range(needed - 1):
            checkpointer.note_commit(changes)
        assert tried.empty()
        checkpointer.note_commit(changes)
        tried.get(timeout=10)
        checkpointer.stop()
        counts.append(needed)
    assert counts == [64, 25]


def test_a_log_that_a_reader_blocks_is_logged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning with its length and what to do, and a line once it is short again."""
    monkeypatch.setattr(checkpoints, "MAX_LOG_PAGES", 20)
    path = tmp_path / "t.db"
    looked = queue.SimpleQueue[None]()

    class Reported(sqlite3.Connection):
        def close(self) -> None:
            super().close()
            looked.put(None)

    def checkpoint() -> None:
        checkpointer.note_commit(PAGES * CHANGES_OF_PAGE)
        looked.get(timeout=10)

    checkpointer = Checkpointer(lambda: sqlite3.connect(path, factory=Reported))
    with closing(sqlite3.connect(path, isolation_level=None)) as db, captured_logs() as logged:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE kept (content BLOB)")
        checkpointer.start()
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM kept").fetchall()
            for _ in range(3):
                db.execute("INSERT INTO kept VALUES (zeroblob(100000))")
                checkpoint()
            reader.execute("COMMIT")
        checkpoint()
        db.execute("INSERT INTO kept VALUES (zeroblob(10))")
        checkpoint()
        checkpointer.stop()
    assert [line["event"] for line in logged] == ["store.checkpoint_blocked", "store.checkpoint_unblocked"]
    assert logged[0]["pages_in_wal"] > 20
    assert "lsof" in logged[0]["hint"]


async def test_settings_of_the_connections(tmp_path: Path) -> None:
    """WAL, full sync, foreign keys; readers cannot write."""
    async with World(tmp_path / "t.db") as world:
        names = ("journal_mode", "synchronous", "foreign_keys")
        settings = await world.store.write(lambda db: [db.execute(f"PRAGMA {name}").fetchone()[0] for name in names])
        assert settings == ["wal", 2, 1]
        with pytest.raises(StoreUnavailable):
            await world.store._rows("UPDATE tasks SET polls = 1")


async def test_every_table_is_strict(tmp_path: Path) -> None:
    """No column takes a value of another type."""
    async with World(tmp_path / "t.db") as world:
        tables = world.edit(
            "SELECT name, strict FROM pragma_table_list WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
        assert len(tables) > 5
        assert {strict for _, strict in tables} == {1}


# -- the lock ----------------------------------------------------------------------------------------------


def test_the_lock_of_a_killed_tracker_is_waited_for(tmp_path: Path) -> None:
    """A program that was being started when the tracker was killed has the lock for a moment longer."""
    path = tmp_path / "t.db"
    lock = tmp_path / "t.db.lock"
    lock.touch()
    with lock.open("r+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        ended = subprocess.Popen(["/bin/true"])
        ended.wait()
        lock.write_text(f"{ended.pid}\n")
        left_over = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, pass_fds=[handle.fileno()])
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        left_over.communicate()

    files = DatabaseFiles(path, pause)
    files.take()
    files.release()
    assert len(pauses) == 1


@pytest.mark.parametrize("spelling", ["the same", "relative", "dotted", "symlink", "linked folder"])
async def test_a_second_tracker_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str) -> None:
    """For each spelling of the path, with one line that names the process; the first continues."""
    folder = tmp_path / "data"
    path = folder / "t.db"
    folder.mkdir()
    (tmp_path / "link.db").symlink_to(path)
    (tmp_path / "linked").symlink_to(folder)
    monkeypatch.chdir(folder)
    other = {
        "the same": path,
        "relative": Path("t.db"),
        "dotted": folder / ".." / "data" / "t.db",
        "symlink": tmp_path / "link.db",
        "linked folder": tmp_path / "linked" / "t.db",
    }[spelling]
    async with World(path) as world:
        with pytest.raises(StoreUnusable, match=rf"another tracker \(pid {os.getpid()}\) already serves") as refusal:
            await World(other).store.open()
        assert "\n" not in str(refusal.value)
        await world.follow()
    async with World(other) as world:
        assert (await world.get()).task.status is Status.PENDING


SERVE_AND_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.kits.world import World
from tracker.domain.task import Status

async def main():
    world = World(Path(sys.argv[1]))
    await world.store.open()
    for n in range(1, 30):
        await world.follow(n)
    await asyncio.gather(*(world.call(n, Status.SUCCEEDED) for n in range(1, 30)))
    await world.store.fan_out(lambda _: ["publish"], 100)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Killed right after the answers: every change, event and delivery is there, and the lock is free."""
    path = tmp_path / "t.db"
    ended = run(SERVE_AND_DIE, path)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    async with World(path) as world:
        for n in range(1, 30):
            assert (await world.get(n)).task.status is Status.SUCCEEDED
            assert len(await world.store.list_deliveries(make_task_name(n))) == 1
        assert world.edit("PRAGMA integrity_check") == [("ok",)]


# -- what is refused, and left as it was -------------------------------------------------------------------


async def make_newer(folder: Path, *, with_log: bool) -> Path:
    """A database of a newer tracker; ``with_log`` as a crash leaves it, its last commit still in the log."""
    origin = folder.parent / "origin.db"
    async with World(origin):
        pass
    connection = sqlite3.connect(origin, isolation_level=None)
    connection.execute("PRAGMA user_version = 99")
    if not with_log:
        connection.close()
    for item in folder.parent.glob("origin.db*"):
        if item.suffix in {".db", ".db-wal"}:
            (folder / item.name).write_bytes(item.read_bytes())
    if with_log:
        connection.close()
    return folder / "origin.db"


@pytest.mark.parametrize("with_log", [False, True])
async def test_a_newer_file_is_refused_untouched(tmp_path: Path, with_log: bool) -> None:
    """No byte changes, not even by a checkpoint of what a crash left in the log."""
    folder = tmp_path / "data"
    folder.mkdir()
    path = await make_newer(folder, with_log=with_log)
    before = image_of(folder)
    assert ("origin.db-wal" in before) is with_log
    with pytest.raises(StoreUnusable, match="newer tracker"):
        await World(path).store.open()
    after = image_of(folder)
    after.pop("origin.db-shm", None)  # no data: an index that every reader of a log makes anew
    assert after == before
    with pytest.raises(StoreUnusable, match="newer tracker"):
        await open_reader(path)


@pytest.mark.parametrize("journal", ["delete", "wal"])
async def test_another_programs_database_is_refused_untouched(tmp_path: Path, journal: str) -> None:
    """In each journal mode."""
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.execute("CREATE TABLE songs (id INTEGER)")
    connection.close()
    before = image_of(tmp_path)
    with pytest.raises(StoreUnusable, match="another program's"):
        await World(path).store.open()
    assert image_of(tmp_path) == before


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be looked at" * 40, b"short"])
async def test_a_file_that_is_not_a_database_is_refused_untouched(tmp_path: Path, content: bytes) -> None:
    """A text file given by mistake does not change."""
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(StoreUnusable, match="not a tracker database"):
        await World(path).store.open()
    assert image_of(tmp_path) == {"notes.txt": content}
    with pytest.raises(StoreUnusable):
        await open_reader(path)


async def test_an_empty_file_is_set_up(tmp_path: Path) -> None:
    """A file that `touch` created becomes a database."""
    (tmp_path / "t.db").touch()
    async with World(tmp_path / "t.db") as world:
        await world.follow()


async def test_directories_are_created(tmp_path: Path) -> None:
    """With all their parents, private."""
    async with World(tmp_path / "a" / "b" / "t.db") as world:
        assert world.path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_directory_that_cannot_be_created(tmp_path: Path) -> None:
    """Its parent is a file: refused with one line that says how to fix it."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusable, match=r"cannot be created \(.*set store.path"):
        await World(tmp_path / "file" / "sub" / "t.db").store.open()


async def test_a_path_that_is_a_directory(tmp_path: Path) -> None:
    """Refused with one line, and it stays a directory."""
    (tmp_path / "t.db").mkdir()
    with pytest.raises(StoreUnusable, match=r"t\.db") as refusal:
        await World(tmp_path / "t.db").store.open()
    assert "\n" not in str(refusal.value)
    assert (tmp_path / "t.db").is_dir()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable for root")
async def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """Refused before anything is tried."""
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreUnusable, match="cannot be written"):
            await World(tmp_path / "t.db").store.open()
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable for root")
async def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """Refused with a line that names it, and it does not change."""
    async with World(tmp_path / "t.db") as world:
        await world.follow()
    (tmp_path / "t.db").chmod(0o400)
    with pytest.raises(StoreUnusable, match=r"t\.db.*run this as its owner"):
        await World(tmp_path / "t.db").store.open()


async def test_reading_a_missing_file(tmp_path: Path) -> None:
    """Refused, and the attempt does not create it."""
    with pytest.raises(StoreUnusable, match="no such file"):
        await open_reader(tmp_path / "t.db")
    assert list(tmp_path.iterdir()) == []


async def test_a_refused_store_releases_its_lock(tmp_path: Path) -> None:
    """After the cause is gone, the same process can open it."""
    path = tmp_path / "t.db"
    path.write_bytes(b"nonsense" * 100)
    with pytest.raises(StoreUnusable):
        await World(path).store.open()
    path.unlink()
    async with World(path):
        pass


async def test_a_closed_store_writes_nothing(tmp_path: Path) -> None:
    """Closing twice is allowed; writing after it is refused as unavailable."""
    store = World(tmp_path / "t.db").store
    await store.open()
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.check_writable()


# -- a full disk -------------------------------------------------------------------------------------------


async def test_a_full_disk(tmp_path: Path) -> None:
    """Writes are refused as unavailable, none is stored in part, and later ones succeed."""
    async with World(tmp_path / "t.db") as world:
        for n in range(1, 4):
            await world.follow(n)
        (pages,) = await world.store.write(lambda db: db.execute("PRAGMA page_count").fetchone())
        await world.store.write(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())
        large = '"' + "x" * 60_000 + '"'
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="cannot be written now"):
                await world.call(1, Status.RUNNING, payload=large)
        assert (await world.get(1)).task.status is Status.PENDING
        assert await world.store.list_events(make_task_name(1)) == []
        await world.call(2, Status.RUNNING)
        await world.store.write(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchone())
        await world.call(1, Status.RUNNING, payload=large)
        assert [(await world.get(n)).task.status for n in (1, 2)] == ["RUNNING", "RUNNING"]
        assert world.edit("PRAGMA integrity_check") == [("ok",)]


FILL_THE_DISK = """
import asyncio, os, resource, sys
from pathlib import Path
from tests.kits.world import World
from tracker.domain.task import Status
from tracker.errors import StoreUnavailable

async def main():
    world = World(Path(sys.argv[1]))
    await world.store.open()
    await world.follow(1)
    room = os.path.getsize(sys.argv[1] + "-wal") + 150_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    applied, refused = 0, 0
    while refused < 3:
        try:
            await world.call(1, Status.RUNNING, progress=applied + refused, payload='"' + "x" * 9000 + '"')
            applied += 1
        except StoreUnavailable:
            refused += 1
    try:
        for _ in range(100):
            await world.store.check_writable()
    except StoreUnavailable:
        refused += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await world.store.check_writable()
    await world.call(1, Status.SUCCEEDED)
    print("COUNTED", applied, refused)
    await world.store.close()

asyncio.run(main())
"""


async def test_a_log_that_cannot_grow(tmp_path: Path) -> None:
    """A file system that is full: what was acknowledged is stored, and later writes succeed."""
    path = tmp_path / "t.db"
    ended = run(FILL_THE_DISK, path)
    assert ended.returncode == 0, ended.stderr
    applied, refused = map(int, ended.stdout.partition("COUNTED")[2].split())
    assert applied > 0
    assert refused == 4  # the last one by the readiness check, once a single page no longer fits
    async with World(path) as world:
        assert (await world.get()).task.status is Status.SUCCEEDED
        assert len(await world.store.list_events(make_task_name(1))) == applied + 1


# -- a clock that is set back ------------------------------------------------------------------------------


async def test_a_step_back_while_nothing_ran_does_not_make_tasks_wait(tmp_path: Path) -> None:
    """What was due some seconds after the last event is due some seconds from now."""
    path = tmp_path / "t.db"
    async with World(path, ManualClock(after(7200))) as world:
        await world.follow()
        await world.call(1, Status.RUNNING, at=7200)
        world.edit(f"UPDATE tasks SET due_at = {int(after(7230).timestamp() * 1000)}")
    async with World(path, ManualClock(START)) as world:
        assert (await world.get(1)).task.due_at == after(30)
    async with World(path, ManualClock(START)) as world:
        assert (await world.get(1)).task.due_at == after(30), "the same step is followed once"
    async with World(path, ManualClock(after(7300))) as world:
        assert (await world.get(1)).task.due_at == after(30), "a clock that continued changes nothing"


async def test_due_times_move_back_together(tmp_path: Path) -> None:
    """Of tasks, deliveries and files, by the same time; what has no due time gets none."""
    async with World(tmp_path / "t.db") as world:
        world.store.choose_archives(lambda _task, _output: ArchiveWish(None))
        for n in (1, 2):
            await world.follow(n)
        await world.call(1, Status.SUCCEEDED)
        await world.store.fan_out(lambda _: ("publish",), 100)
        asked = "SELECT due_at FROM tasks UNION ALL SELECT due_at FROM deliveries UNION ALL SELECT due_at FROM archives"
        before = [due_at for (due_at,) in world.edit(asked)]
        assert len(before) >= 4
        assert None in before
        await world.store.move_due_times_back(timedelta(seconds=100))
        moved = [due_at for (due_at,) in world.edit(asked)]
        assert moved == [None if due_at is None else due_at - 100_000 for due_at in before]
    async with World(tmp_path / "t.db") as world:
        leased = [due_at for (due_at,) in world.edit(asked)]
        assert leased == moved, "what was followed while it ran is not followed again at the next start"


# -- another writer ----------------------------------------------------------------------------------------


async def test_a_locked_file_delays_a_batch_once(tmp_path: Path) -> None:
    """No change of the batch caused it, so they are not tried one by one; all are refused as unavailable."""
    async with World(tmp_path / "t.db") as world:
        for n in range(1, 21):
            await world.follow(n)
        statements: list[str] = []

        def listen(db: sqlite3.Connection) -> None:
            db.execute("PRAGMA busy_timeout = 20")
            db.set_trace_callback(statements.append)

        await world.store.write(listen)
        with closing(sqlite3.connect(world.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            statements.clear()
            answers = await asyncio.gather(
                *(world.call(n, Status.RUNNING) for n in range(1, 21)), return_exceptions=True
            )
            assert {type(answer) for answer in answers} == {StoreUnavailable}
            assert statements == ["BEGIN IMMEDIATE"]
            other.execute("ROLLBACK")
        assert (await world.call(1, Status.RUNNING)).task.status is Status.RUNNING
