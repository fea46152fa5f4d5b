"""``tracker db restore`` and the names of backups, on real files: recovery after a mistake or damage."""

import asyncio
import json
import os
import shlex
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.kits.factories import make_answer, make_task_name
from tests.kits.world import World
from tests.systemd.readme import read_blocks
from tracker.cli.exits import BAD_CONFIG, FAILED, FINE, UNAVAILABLE
from tracker.cli.main import cli, run
from tracker.domain.observation import Submission
from tracker.domain.task import SubmitState
from tracker.errors import StoreDamaged, StoreUnusable
from tracker.store.sqlite import copy_database, open_reader
from tracker.store.sqlite.audit import audit
from tracker.store.sqlite.backup_files import find_good_copy, name_backup, remove_old_backups
from tracker.store.sqlite.identity import unused_uri
from tracker.store.sqlite.restore import restore_database

NIGHT = datetime(2026, 11, 20, 0, 30, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the store, set by the environment; no daemon runs."""
    for name in [name for name in os.environ if name.startswith("TRACKER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRACKER_STORE__PATH", str(tmp_path / "tracker.db"))
    monkeypatch.setenv("TRACKER_SERVER__LISTEN", "127.0.0.1:1")
    (tmp_path / "backups").mkdir()
    return tmp_path / "tracker.db"


def call(*arguments: object) -> Result:
    """Run a command of ``tracker db`` in this process."""
    return CliRunner().invoke(cli, ["db", *map(str, arguments)], catch_exceptions=False)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = BAD_CONFIG) -> str:
    """The single error line of a command of ``tracker db``."""
    assert run(["db", *map(str, arguments)]) == code
    (line,) = capsys.readouterr().err.splitlines()
    return line


def backup(path: Path, night: int = 0) -> Path:
    """A copy, named as that of a night."""
    target = path.parent / "backups" / name_backup(NIGHT + timedelta(days=night))
    copy_database(path, target)
    return target


def change(path: Path, *numbers: int) -> None:
    """Record songs that are to be sent."""

    async def submit() -> None:
        async with World(path) as world:
            for n in numbers:
                await world.submit(n)

    asyncio.run(submit())


def tasks_in(path: Path) -> list[str]:
    """The ids of the tasks in a file."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return [task_id for (task_id,) in db.execute("SELECT id FROM tasks ORDER BY id")]


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory but the store's lock."""
    return {
        str(found.relative_to(directory)): found.read_bytes()
        for found in directory.rglob("*")
        if found.is_file() and found.suffix != ".lock"
    }


def damage(path: Path, offset: int, count: int) -> None:
    """Overwrite a part of a file with noise."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * count)


def refused_change(path: Path) -> str:
    """The error of a refused change; an empty text if it is allowed."""
    try:
        change(path, 99)
    except (StoreUnusable, StoreDamaged) as error:
        return str(error)
    return ""


def damage_table(path: Path, table: str) -> None:
    """Overwrite the first page of a table."""
    with closing(sqlite3.connect(path)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    damage(path, (page - 1) * size, size)


def test_the_steps_of_the_readme_undo_a_mistake(path: Path, tmp_path: Path) -> None:
    """Executed literally: the mistake is undone, the replaced file and every older backup remain."""
    change(path, 1)
    before = {night: backup(path, night).read_bytes() for night in range(3)}
    change(path, 2)  # the mistake
    (block,) = [block for block in read_blocks() if "tracker db restore" in block]
    assert block.splitlines()[0] == "tracker db restore --list"
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in {"systemctl": "exit 0", "tracker": f'exec "{sys.executable}" -m tracker "$@"'}.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    script = block.replace("/var/lib/tracker", shlex.quote(str(tmp_path)))
    done = subprocess.run(
        ["bash", "-euc", script],
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert tasks_in(path) == [make_task_name(1)]
    assert {
        night: (tmp_path / "backups" / name_backup(NIGHT + timedelta(days=night))).read_bytes() for night in before
    } == before
    (replaced,) = tmp_path.glob("tracker.db.replaced-*")
    assert tasks_in(replaced) == [make_task_name(1), make_task_name(2)]
    assert audit(path).is_sound
    change(path, 3)
    assert tasks_in(path) == [make_task_name(1), make_task_name(3)]


@pytest.mark.parametrize("known", [(1,), ()])
def test_the_feed_goes_on_with_the_numbers_of_the_replaced_file(path: Path, known: tuple[int, ...]) -> None:
    """Who has read event 4 gets a gap for what the copy does not have, and no later event is hidden by a number."""

    async def answer(n: int) -> list[int]:
        async with World(path) as world:
            await world.submit(n)
            await world.apply(make_answer(Submission.ACCEPTED, task_id=make_task_name(n), external_id=f"up-{n}"))
            return [event.seq for event in await world.store.list_events_after(0, 10)]

    async def last_seq() -> int:
        async with World(path) as world:
            return await world.store.last_seq()

    change(path)
    for n in known:
        asyncio.run(answer(n))
    copy = backup(path)
    before = [asyncio.run(answer(n)) for n in (2, 3, 4)][-1]
    assert call("restore", copy).exit_code == FINE
    assert asyncio.run(last_seq()) == before[-1], "a reader at the end may resume"
    after = asyncio.run(answer(5))
    assert after == [*before[: len(known)], before[-1] + 1]
    assert audit(path).is_sound


def test_owner_mode_and_leftovers(path: Path) -> None:
    """The new file has the owner and the mode of the one that it replaces; no temporary file remains."""
    change(path, 1)
    copy = backup(path)
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12345, 12346)
    old = path.stat()
    (path.parent / ".tracker.db.restore-killed").mkdir()
    assert call("restore", copy).exit_code == FINE
    new = path.stat()
    assert (new.st_uid, new.st_gid, stat.S_IMODE(new.st_mode)) == (old.st_uid, old.st_gid, 0o640)
    assert new.st_ino != old.st_ino
    lock = path.with_name("tracker.db.lock").stat()
    assert (lock.st_uid, lock.st_gid) == (old.st_uid, old.st_gid)
    assert not list(path.parent.glob(".tracker.db.restore-*"))
    assert [found.stat().st_nlink for found in path.parent.glob("tracker.db*") if found.is_file()] == [1] * 3


def test_the_log_of_the_present_file_is_moved_with_it(path: Path) -> None:
    """Commits that are only in the log are in the replaced file, too."""
    change(path, 1)
    copy = backup(path)
    with closing(sqlite3.connect(path)) as db:  # a process that dies leaves its log
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("UPDATE tasks SET version = version + 7")
        db.commit()
        left = {name: path.with_name(path.name + name).read_bytes() for name in ("-wal", "-shm")}
        main = path.read_bytes()
    path.write_bytes(main)
    for name, content in left.items():
        path.with_name(path.name + name).write_bytes(content)
    assert call("restore", copy).exit_code == FINE
    (replaced,) = path.parent.glob("tracker.db.replaced-*")
    with closing(sqlite3.connect(f"file:{replaced}?mode=ro", uri=True)) as db:
        (version,) = db.execute("SELECT version FROM tasks").fetchone()
    with closing(sqlite3.connect(f"file:{copy}?mode=ro", uri=True)) as db:
        assert db.execute("SELECT version FROM tasks").fetchone() == (version - 7,)


def test_it_is_refused_while_a_tracker_serves_the_file(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line names the process to stop; nothing changes."""
    change(path, 1)
    copy = backup(path)

    async def beside() -> str:
        async with World(path) as world:
            await world.submit(2)
            return await asyncio.to_thread(refusal, capsys, "restore", copy)

    line = asyncio.run(beside())
    assert "another tracker" in line
    assert "systemctl stop tracker.socket tracker.service" in line
    assert tasks_in(path) == [make_task_name(1), make_task_name(2)]
    assert not list(path.parent.glob("tracker.db.replaced-*"))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda copy: damage(copy, 20_000, 60_000), "is damaged"),
        (lambda copy: copy.write_text("not a database at all " * 50), "cannot be read"),
        (lambda copy: copy.write_bytes(b""), "is not a tracker database"),
        (lambda copy: copy.unlink(), "No such file"),
        (lambda copy: (copy.unlink(), copy.symlink_to(copy.parent.parent / "tracker.db")), "is the database itself"),
        (lambda copy: (copy.unlink(), copy.mkdir()), "is not a regular file"),
    ],
    ids=["damaged", "text", "empty", "missing", "itself", "directory"],
)
def test_an_unusable_copy_is_refused(
    path: Path, make: Callable[[Path], object], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that refers to the list of copies; nothing changes."""
    change(path, 1)
    copy = backup(path)
    make(copy)
    before = contents(path.parent)
    line = refusal(capsys, "restore", copy)
    assert text in line
    assert "tracker db restore --list" in line
    assert contents(path.parent) == before


def test_a_copy_of_a_newer_tracker_is_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """This program could not open the restored file."""
    change(path, 1)
    copy = backup(path)
    with closing(sqlite3.connect(copy)) as db:
        db.execute("PRAGMA user_version = 999")
    assert "newer tracker" in refusal(capsys, "restore", copy)
    assert tasks_in(path) == [make_task_name(1)]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: damage(path, 0, 4096),
        lambda path: damage(path, 100, 8092),
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: path.write_bytes(b""),
    ],
    ids=["no header", "no schema", "cut", "empty"],
)
def test_a_damaged_database_is_reported_as_damaged(
    path: Path, spoil: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the newest good copy and a restore command that works."""
    change(path, 1)
    good = backup(path, 1)
    damage(backup(path, 2), 20_000, 60_000)
    spoil(path)
    spoilt = path.read_bytes()
    with pytest.raises(StoreUnusable) as caught:
        change(path)
    said = str(caught.value)
    assert f"tracker db restore {good}" in said
    assert "is damaged" in said or "is empty" in said
    assert "set store.path" not in said
    assert path.read_bytes() == spoilt
    assert f"tracker db restore {good}" in refusal(capsys, "check")
    assert call("restore", good).exit_code == FINE
    assert tasks_in(path) == [make_task_name(1)]
    (replaced,) = path.parent.glob("tracker.db.replaced-*")
    assert replaced.read_bytes() == spoilt


def test_a_deleted_database_starts_empty(path: Path) -> None:
    """A deletion is taken as intended; the backups remain."""
    change(path, 1)
    copy = backup(path)
    for found in path.parent.glob("tracker.db*"):
        found.unlink()
    change(path, 2)
    assert tasks_in(path) == [make_task_name(2)]
    assert tasks_in(copy) == [make_task_name(1)]


def test_a_damaged_database_without_a_copy(path: Path) -> None:
    """The error still says damaged, and the readable part can be exported."""
    change(path, 1)
    damage(path, 100, 8092)
    with pytest.raises(StoreUnusable, match=r"is damaged .* No good copy .*\.recover"):
        change(path)


@pytest.mark.parametrize(
    "table", ["tasks", "events", "deliveries", "meta", "cursors", "outbox", "archives", "inline_pieces"]
)
def test_damage_that_opening_does_not_find(
    path: Path, table: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For any damaged page, start and commands work or report the damage with a fix; no traceback."""
    change(path, *range(1, 40))
    good = backup(path)
    damage_table(path, table)
    said = refused_change(path)
    assert "set store.path" not in said
    assert not said or f"tracker db restore {good}" in said or "tracker db check" in said
    for command in (["list"], ["deliveries", "list"], ["show", make_task_name(1)], ["why", make_task_name(1)]):
        code = run(command)
        _absence, *rest = capsys.readouterr().err.splitlines()
        assert code in {FINE, BAD_CONFIG}
        assert code == FINE or f"tracker db restore {good}" in rest[0]
    assert run(["list"]) == (BAD_CONFIG if table in {"tasks", "meta", "archives"} else FINE)


def test_a_command_that_finds_damage_ends(path: Path) -> None:
    """Open connections are closed: their threads would prevent the process from ending."""
    change(path, 1)
    damage_table(path, "meta")
    before = set(threading.enumerate())
    with pytest.raises(StoreDamaged):
        asyncio.run(open_reader(path))
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("is_there", [False, True])
def test_a_log_without_its_file(
    path: Path, is_there: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has the last commits, and SQLite would delete it: no command lets it, and a restore preserves it."""
    change(path, 1)
    good = backup(path)
    log = path.with_name("tracker.db-wal")
    log.write_bytes(b"frames")
    for _ in range(2):
        path.unlink(missing_ok=True)
        with pytest.raises(
            StoreUnusable, match=r"is missing, but its write-ahead log .*To start with an empty database, move the log"
        ) as caught:
            change(path, 2)
        assert f"tracker db restore {good}" in str(caught.value)
        assert log.read_bytes() == b"frames"
    path.touch()
    with pytest.raises(StoreUnusable, match="is empty, but its write-ahead log"):
        change(path, 2)
    for command in (["list"], ["db", "check"], ["db", "backup", str(path.parent / "x.db")]):
        assert run(command) == BAD_CONFIG
        assert "is empty, but its write-ahead log" in capsys.readouterr().err
    assert log.read_bytes() == b"frames"
    if not is_there:
        path.unlink()
    assert call("restore", good).exit_code == FINE
    assert tasks_in(path) == [make_task_name(1)]
    (replaced,) = path.parent.glob("tracker.db.replaced-*-wal")
    assert replaced.read_bytes() == b"frames"


def test_a_directory_instead_of_the_database(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No command treats it as a missing file."""
    path.mkdir()
    said = f"{path}: is a directory; set store.path to a file, or move this away and put a copy of the database back"
    with pytest.raises(StoreUnusable, match="is a directory"):
        change(path)
    assert said in refusal(capsys, "check")
    assert said in refusal(capsys, "prune")
    copy = path.parent / "backups" / "tracker-20261120T003000Z.db"
    change(copy, 1)
    assert said in refusal(capsys, "restore", copy)
    assert run(["list"]) == BAD_CONFIG
    assert said in capsys.readouterr().err


def test_suggested_commands_name_the_same_configuration(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command with ``--config`` suggests commands with the same ``--config``."""
    change(path, 1)
    good = backup(path)
    monkeypatch.delenv("TRACKER_STORE__PATH")
    config = tmp_path / "my own.toml"
    config.write_text(f'[store]\npath = "{path}"\n[server]\nlisten = "127.0.0.1:1"\n')
    damage(path, 0, 100)
    option = f"--config '{config}'"
    assert f"tracker db restore {option} {good}" in refusal(capsys, "check", "--config", config)
    assert run(["submit", "suno.generate", "--config", str(config)]) == UNAVAILABLE
    assert capsys.readouterr().err.endswith(f"start one with: tracker serve {option}\n")


def test_damage_behind_the_header_is_found(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that still opens: check and doctor name the fix, too."""
    change(path, *range(1, 40))
    good = backup(path)
    damage_table(path, "events")
    monkeypatch.setenv("TRACKER_ACCOUNTS__DEFAULT__BASE_URL", "http://127.0.0.1:1")
    assert run(["doctor"]) == FAILED
    said = capsys.readouterr().out
    assert f"store: {path}: is damaged" in said
    assert f"tracker db restore {good}" in said
    result = call("check")
    assert result.exit_code == FAILED
    assert f"tracker db restore {good}" in result.stderr


def test_creates_sent_after_the_copy_are_not_paid_twice(path: Path) -> None:
    """Pending creates of the copy: one was sent since, one has its upstream id, one is still pending."""

    async def before() -> None:
        async with World(path) as world:
            for n in (1, 2, 3):
                await world.submit(n)

    async def after() -> None:
        async with World(path) as world:
            for n in (1, 2):
                await world.store.mark_sending(make_task_name(n), 0)
            await world.apply(make_answer(Submission.ACCEPTED, task_id=make_task_name(2), external_id="up-2"))
            await world.submit(4, labels={"customer": "anna b"})
            await world.store.mark_sending(make_task_name(4), 0)
            await world.apply(make_answer(Submission.ACCEPTED, task_id=make_task_name(4), external_id="up-4"))
            await world.submit(5)

    async def read() -> dict[int, tuple[SubmitState, str | None]]:
        async with World(path) as world:
            found = {n: (await world.get(n)).task for n in (1, 2, 3)}
            return {n: (task.submit_state, task.external_id) for n, task in found.items()}

    asyncio.run(before())
    copy = backup(path)
    asyncio.run(after())
    result = call("restore", copy)
    assert result.exit_code == FINE
    assert asyncio.run(read()) == {
        1: (SubmitState.AMBIGUOUS, None),
        2: (SubmitState.ACCEPTED, "up-2"),
        3: (SubmitState.QUEUED, None),
    }
    assert "Tasks that are not in the copy: 2; unfinished: 2." in result.stdout
    assert f"The tracker does not know the service's ids of {make_task_name(5)}. " in result.stdout
    assert "tracker track suno.generate up-4 --account default --label 'customer=anna b'" in result.stdout
    assert audit(path).is_sound


@pytest.mark.parametrize("gone", [True, False], ids=["missing", "damaged"])
def test_without_the_present_file_no_pending_create_is_sent(path: Path, *, gone: bool) -> None:
    """Any create that is pending in the copy may have been sent since."""
    change(path, 1)
    copy = backup(path)
    if gone:
        path.unlink()
    else:
        damage(path, 0, 4096)
    done = json.loads(call("restore", copy, "--json").stdout)
    assert done["creates_not_sent_again"] == [make_task_name(1)]
    assert (done["kept"] is None) is gone
    assert done["missing_tasks"] is None

    async def read() -> SubmitState:
        async with World(path) as world:
            return (await world.get(1)).task.submit_state

    assert asyncio.run(read()) is SubmitState.AMBIGUOUS


def test_the_list_shows_which_copies_are_good(path: Path) -> None:
    """Newest first, with what each holds; damaged ones are named as such."""
    assert "no copies" in call("restore", "--list").stdout
    change(path, 1)
    backup(path, 1)
    change(path, 2)
    damage(backup(path, 2), 20_000, 60_000)
    items = json.loads(call("restore", "--list", "--json").stdout)["items"]
    assert [(Path(item["file"]).name, item["tasks"], item["problem"] is None) for item in items] == [
        (name_backup(NIGHT + timedelta(days=2)), 0, False),
        (name_backup(NIGHT + timedelta(days=1)), 1, True),
    ]
    shown = call("restore", "--list").stdout.splitlines()
    assert ["damaged" in line for line in shown] == [False, True, False]


def test_a_replaced_file_is_not_suggested_as_the_newest_good_copy(path: Path) -> None:
    """It contains the mistake; the list still shows it."""
    change(path, 1)
    good = backup(path)
    change(path, 2)
    assert call("restore", good).exit_code == FINE
    found = find_good_copy(path)
    assert found is not None
    assert found.path == good
    assert len(json.loads(call("restore", "--list", "--json").stdout)["items"]) == 2


def test_backups_are_named_by_date_and_old_ones_are_removed(path: Path) -> None:
    """A dated backup replaces none; the newest days with backups remain, and so do files with other names."""
    change(path, 1)
    backups = path.parent / "backups"
    for night, hours in ((-90, 0), (-60, 0), (-60, 5), (-30, 0), (-30, 1), (-30, 2)):
        shutil.copy(path, backups / name_backup(NIGHT + timedelta(days=night, hours=hours)))
    (backups / "tracker-7.db").write_bytes(b"")
    (backups / "mine.db").write_bytes(b"")
    first = backups / name_backup(NIGHT - timedelta(days=90))
    assert remove_old_backups(backups / name_backup(NIGHT - timedelta(days=30)), 2) == [first]
    shutil.copy(path, first)
    assert remove_old_backups(first, 2) == []  # it was just made, by a clock that was set back
    first.unlink()
    made = json.loads(call("backup", "--keep", 2, "--json", backups).stdout)
    assert Path(made["file"]).parent == backups
    assert len(made["removed"]) == 2
    assert len(list(backups.iterdir())) == 6
    again = json.loads(call("backup", "--json", path.parent / "one.db").stdout)
    assert (again["file"], again["removed"]) == (str(path.parent / "one.db"), [])


def test_old_backups_remain_if_the_new_one_fails(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A failed backup of a damaged database removes no copy."""
    change(path, 1)
    for night in range(4):
        backup(path, night)
    damage(path, 100, 8092)
    assert "is damaged" in refusal(capsys, "backup", "--keep", 1, path.parent / "backups")
    assert len(list((path.parent / "backups").iterdir())) == 4


def test_restoring_twice_within_a_second_preserves_both_files(path: Path) -> None:
    """The replaced files get different names."""
    change(path, 1)
    copy = backup(path)
    replaced = [restore_database(copy, path, lambda *_: None, NIGHT).replaced for _ in range(3)]
    names = [one.name for one in replaced if one is not None]
    assert names == [f"tracker.db.replaced-20261120T003000Z{end}" for end in ("", "-2", "-3")]
    assert all(len(tasks_in(path.with_name(name))) == 1 for name in names)


def test_restoring_a_replaced_file_creates_no_files_beside_it(path: Path) -> None:
    """Its directory may be read-only; SQLite would create a log and its index there."""
    change(path, 1)
    copy = backup(path)
    call("restore", copy)
    (aside,) = path.parent.glob("*.replaced-*")
    call("restore", aside)
    assert not any(aside.with_name(aside.name + suffix).exists() for suffix in ("-wal", "-shm"))


def test_a_link_uses_the_log_of_the_real_file(path: Path) -> None:
    """A copy is read with its log under each of its names."""
    copy = path.with_name("copy.db")
    copy.touch()
    copy.with_name("copy.db-wal").write_bytes(b"frames")
    link = path.with_name("link.db")
    link.symlink_to(copy)
    assert "immutable" not in unused_uri(link)


def test_a_failed_exchange_leaves_one_name(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tracker refuses a database with two names, so a failed restore removes the second."""
    change(path, 1)
    copy = backup(path)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    before = contents(path.parent)
    (obstacle := path.with_name("tracker.db-shm")).mkdir()
    assert "nothing was changed" in refusal(capsys, "restore", copy, code=FAILED)
    obstacle.rmdir()
    assert (contents(path.parent), path.stat().st_nlink) == (before, 1)
    assert refused_change(path) == ""


@pytest.mark.parametrize("what", ["", "backups", "pipe"])
def test_only_a_regular_file_is_a_copy(path: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    """A pipe would block, and a directory is not a damaged file."""
    change(path, 1)
    os.mkfifo(path.with_name("pipe"))
    assert "is not a regular file" in refusal(capsys, "restore", what and path.with_name(what))
