"""``tracker db``: its commands on real files, also beside a running writer."""

import asyncio
import json
import os
import sqlite3
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner, Result

import tracker.store.sqlite.audit
from tests.kits.factories import make_answer, make_cancel, make_output, make_task_name
from tests.kits.server import ServerWorld
from tests.kits.world import World
from tracker.cli.exits import BAD_CONFIG, FAILED, FINE
from tracker.cli.main import cli, run
from tracker.domain.observation import Submission
from tracker.domain.task import Stage, Status
from tracker.store.sqlite import copy_database
from tracker.store.sqlite.audit import audit

T = TypeVar("T")
SECOND = make_task_name(2)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the store, set by the environment; no daemon runs."""
    for name in [name for name in os.environ if name.startswith("TRACKER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRACKER_STORE__PATH", str(tmp_path / "t.db"))
    monkeypatch.setenv("TRACKER_SERVER__LISTEN", "unix:/nonexistent/socket")
    return tmp_path / "t.db"


def call(*arguments: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(cli, ["db", *map(str, arguments)], catch_exceptions=False)


def answered(*arguments: object) -> Any:  # noqa: ANN401 - whatever JSON
    """The JSON that a command writes."""
    return json.loads(call(*arguments, "--json").stdout)


def in_file(path: Path, work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end."""
    del path
    return asyncio.run(work)


async def fill(path: Path) -> None:
    """A song that was sent and succeeded, one that was canceled, one that runs, one that waits."""
    async with World(path) as world:
        await world.submit(1, labels={"user": "42"})
        await world.store.mark_sending(make_task_name(1), 0)
        await world.apply(make_answer(Submission.ACCEPTED, task_id=make_task_name(1), payload='{"id":1}'))
        await world.call(1, Status.RUNNING, stage=Stage.FIRST, progress=40, outputs=(make_output(),), at=11)
        await world.call(1, Status.SUCCEEDED, is_trusted=False, at=12)
        await world.call(1, Status.RUNNING, stage=Stage.TEXT, at=13)
        await world.poll(1, Status.SUCCEEDED, outputs=(make_output(), make_output(1)), at=14, payload='{"end":true}')
        await world.call(1, Status.SUCCEEDED, outputs=(make_output(), make_output(1)), at=15)
        await world.follow(2)
        await world.apply(make_cancel(task_id=SECOND))
        await world.call(2, Status.SUCCEEDED, at=20)
        await world.follow(3)
        await world.call(3, Status.RUNNING, progress=10, at=11)
        await world.submit(4)
        await world.store.fan_out(lambda _: ["publish"], 1000)


def edit(path: Path, sql: str) -> None:
    """Change the file by hand."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(sql)
    connection.close()


# -- check -------------------------------------------------------------------------------------------------


def test_a_valid_file(path: Path) -> None:
    """The row of every task follows from its events, whatever their source."""
    in_file(path, fill(path))
    result = call("check")
    assert (result.exit_code, "sound; 4 of 4 tasks" in result.stdout) == (FINE, True), result.output
    found = answered("check")
    assert (found["ok"], found["tasks"], found["judged"], found["differences"]) == (True, 4, 4, [])


@pytest.mark.parametrize(
    ("sql", "field", "stored", "derived"),
    [
        ("UPDATE tasks SET progress = 90 WHERE id = '{3}'", "progress", "90", "10"),
        ("UPDATE tasks SET stage = 'complete' WHERE id = '{3}'", "stage", "complete", "none"),
        (
            "DROP TRIGGER tasks_failed_is_final; UPDATE tasks SET reason = 'expired' WHERE id = '{2}'",
            "reason",
            "expired",
            "canceled",
        ),
        (
            "DROP TRIGGER tasks_never_go_back; UPDATE tasks SET status = 'PENDING' WHERE id = '{3}'",
            "status",
            "PENDING",
            "RUNNING",
        ),
    ],
)
def test_a_row_that_differs_from_its_history(path: Path, sql: str, field: str, stored: str, derived: str) -> None:
    """A manual change is reported with exit code 1."""
    in_file(path, fill(path))
    ids = {str(n): make_task_name(n) for n in range(5)}
    for n, name in ids.items():
        sql = sql.replace(f"{{{n}}}", name)
    edit(path, sql)
    result = call("check")
    assert result.exit_code == FAILED
    assert "not sound" in result.stdout
    (found,) = answered("check")["differences"]
    assert (found["field"], found["kept"], found["derived"]) == (field, stored, derived)


def test_lost_outputs_and_lost_rows_are_found(path: Path) -> None:
    """An output that a task no longer has, and rows without the row that they refer to."""
    in_file(path, fill(path))
    edit(path, f'UPDATE tasks SET outputs = \'[{{"kind":"text","text":""}}]\' WHERE id = \'{make_task_name(1)}\'')
    edit(path, "PRAGMA foreign_keys = OFF; INSERT INTO labels VALUES ('unknown', 'a', 'b')")
    found = audit(path)
    assert [difference.field for difference in found.differences] == ["outputs"]
    assert [line.split(" points")[0].split()[0] for line in found.dangling] == ["labels"]


def test_damage_is_found(path: Path) -> None:
    """An index that lacks an entry."""
    in_file(path, fill(path))
    edit(
        path,
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'WHERE external_id IS NOT NULL', '')"
        " WHERE name = 'tasks_external'",
    )
    found = audit(path)
    assert found.damage
    assert not found.is_sound


def test_an_unreadable_task_is_reported_beside_others(path: Path) -> None:
    """The triggers were removed, and a value was written that no tracker writes."""
    in_file(path, fill(path))
    task_id = make_task_name(1)
    edit(path, f"DROP TRIGGER tasks_outputs_are_a_list; UPDATE tasks SET outputs = '[7]' WHERE id = '{task_id}'")
    found = audit(path)
    assert [line.partition(":")[0] for line in found.damage] == [f"task {task_id} cannot be read"]
    assert found.tasks > 0


def test_an_unreadable_event_is_reported_beside_others(path: Path) -> None:
    """Its task is not judged without it; the others of the same page are."""
    in_file(path, fill(path))
    task_id = make_task_name(1)
    before = audit(path).judged
    break_one = "UPDATE events SET reading = '{\"status\": 7}' WHERE seq = (SELECT min(seq) FROM events"
    edit(path, f"DROP TRIGGER events_are_append_only; {break_one} WHERE task_id = '{task_id}')")
    found = audit(path)
    assert [line.partition(" cannot")[0] for line in found.damage] == [f"event 1 of task {task_id}"]
    assert (found.judged, found.differences) == (before - 1, [])


def test_findings_are_counted_and_the_first_are_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is wrong, memory and output are bounded."""
    in_file(path, fill(path))
    for name in ("MAX_DAMAGE", "MAX_FOUND"):
        monkeypatch.setattr(tracker.store.sqlite.audit, name, 1)
    labels = ", ".join(f"('unknown', '{n}', '')" for n in range(4))
    edit(path, f"PRAGMA foreign_keys = OFF; INSERT INTO labels VALUES {labels}")
    one, two, three = map(make_task_name, (1, 2, 3))
    edit(path, f"UPDATE tasks SET progress = 99, stage = 'text' WHERE id = '{three}'")
    broken = f"UPDATE tasks SET outputs = '[7]' WHERE id IN ('{one}', '{two}')"
    edit(path, f"DROP TRIGGER tasks_outputs_are_a_list; {broken}")
    found = audit(path)
    assert (len(found.damage), len(found.dangling), len(found.differences)) == (1, 1, 1)
    assert (found.more_damage, found.more_dangling, found.more_differences) == (1, 3, 1)
    assert call("check").stdout.count("... and 1 more\n") == 2
    assert "... and 3 more\n" in call("check").stdout


@pytest.mark.parametrize("command", ["check", "export", "prune"])
def test_a_missing_file(path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line; no file is created."""
    assert run(["db", command]) != FINE
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not path.exists()


# -- export ------------------------------------------------------------------------------------------------


def test_an_export_contains_every_task(path: Path, tmp_path: Path) -> None:
    """A line per task with its events and deliveries, to a file or to standard output."""
    in_file(path, fill(path))
    target = tmp_path / "all.jsonl"
    assert call("export", "-o", target).exit_code == FINE
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert [line["task"]["id"] for line in lines] == [make_task_name(n) for n in (1, 2, 3, 4)]
    first = lines[0]
    assert first["task"]["labels"] == {"user": "42"}
    assert first["task"]["result"] == {"end": True}
    assert [event["seq"] for event in first["events"]] == [1, 2, 3, 4, 5, 6]
    assert {delivery["event"] for delivery in first["deliveries"]} >= {"task.submitted", "task.succeeded"}
    assert [delivery["attempt_history"] for delivery in first["deliveries"]] == [[]] * len(first["deliveries"])
    assert target.stat().st_mode & 0o077 == 0
    assert call("export").stdout_bytes == target.read_bytes()
    assert sorted(item.name for item in tmp_path.iterdir() if item.name.startswith(".")) == []


def test_an_export_that_cannot_be_written(path: Path, tmp_path: Path) -> None:
    """One line with the given name, and no partial file."""
    in_file(path, fill(path))
    target = tmp_path / "nowhere" / "all.jsonl"
    result = call("export", "-o", target)
    assert (result.exit_code, result.stderr) == (
        FAILED,
        f"{target}: cannot be written (No such file or directory); choose another file\n",
    )


def test_an_export_into_an_existing_pipe(path: Path, tmp_path: Path) -> None:
    """The reader gets every line, and the pipe remains a pipe."""
    in_file(path, fill(path))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        result = call("export", "-o", pipe)
        assert (result.exit_code, result.stderr) == (FINE, "4 tasks written\n")
        assert pipe.is_fifo()
        with os.fdopen(os.dup(reader), "rb") as read:
            assert read.read() == call("export").stdout_bytes
    finally:
        os.close(reader)


@pytest.mark.parametrize("command", [("export", "-o"), ("backup",)])
@pytest.mark.parametrize("is_there", [True, False])
def test_writing_through_a_link_does_not_replace_the_link(
    path: Path, tmp_path: Path, command: tuple[str, ...], is_there: bool
) -> None:
    """Its target is replaced or created; the link remains."""
    in_file(path, fill(path))
    target, link = tmp_path / "far" / "target", tmp_path / "link"
    target.parent.mkdir()
    if is_there:
        target.touch()
    link.symlink_to(target)
    assert call(*command, link).exit_code == FINE
    assert link.is_symlink()
    assert target.stat().st_size > 0
    assert [file.name for file in target.parent.iterdir()] == ["target"]


def test_a_backup_replaces_only_regular_files(path: Path, tmp_path: Path) -> None:
    """A pipe, or a link to one, is refused with one line and does not change."""
    in_file(path, fill(path))
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for target in (pipe, link):
        result = call("backup", target)
        said = f"{target}: exists and is not a regular file; name another\n"
        assert (result.exit_code, result.stderr) == (FAILED, said)
    assert pipe.is_fifo()
    assert link.is_symlink()


@pytest.mark.parametrize("command", [("check",), ("export",), ("backup", "copy.db")])
@pytest.mark.parametrize(
    "spoil", ["PRAGMA user_version = 999", "PRAGMA application_id = 7", "foreign bytes"], ids=["newer", "other", "none"]
)
def test_a_foreign_or_newer_file(
    path: Path, tmp_path: Path, command: tuple[str, ...], spoil: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command fails with exit 78."""
    monkeypatch.chdir(tmp_path)
    if spoil.startswith("PRAGMA"):
        in_file(path, fill(path))
        edit(path, spoil)
    else:
        path.write_bytes(spoil.encode() * 500)
    assert call(*command).exit_code == BAD_CONFIG
    assert not (tmp_path / "copy.db").exists()


def test_a_backup_of_a_damaged_file(path: Path, tmp_path: Path) -> None:
    """The error names the file, not the copy, and no copy remains."""
    in_file(path, fill(path))
    edit(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(3 * 8192)
        file.write(b"x" * 8192)
    result = call("backup", tmp_path / "copy.db")
    assert (result.exit_code, result.stderr.startswith(f"{path}: is damaged (")) == (BAD_CONFIG, True), result.stderr
    assert not (tmp_path / "copy.db").exists()


# -- prune -------------------------------------------------------------------------------------------------


def test_pruning_without_a_daemon(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command prunes the file itself; the dry run before has the same counts."""
    monkeypatch.setenv("TRACKER_RETENTION__PAYLOAD_DAYS", "1")
    in_file(path, fill(path))
    edit(path, "UPDATE deliveries SET status = 'succeeded', due_at = NULL, finished_at = 1")
    edit(path, "DROP TRIGGER tasks_succeeded_is_final; UPDATE tasks SET finished_at = 0 WHERE status = 'SUCCEEDED'")
    foreseen = answered("prune", "--dry-run")
    assert (foreseen["dry_run"], foreseen["tasks"], foreseen["requests"]) == (True, 1, 1)
    done = answered("prune")
    assert {**foreseen, "dry_run": False, "freed_bytes": done["freed_bytes"]} == done
    assert call("prune").stdout.startswith("deleted:")
    assert answered("check")["ok"]


async def test_a_file_that_a_daemon_uses_is_not_pruned(path: Path) -> None:
    """The error names the process that holds the lock."""
    async with World(path):
        result = await asyncio.to_thread(call, "prune")
        assert result.exit_code == BAD_CONFIG
        assert str(os.getpid()) in result.stderr


async def test_pruning_over_http(tmp_path: Path) -> None:
    """The running daemon prunes, and the response has the counts."""
    async with ServerWorld(tmp_path) as world:
        await world.end_task(await world.make_task())
        await world.store.fan_out(lambda _: (), 100)
        world.clock.advance(40 * 86_400)
        for sent, requests in (({"dry_run": True}, 1), ({}, 1), ({}, 0)):
            async with world.client.post("/v1/prune", json=sent) as response:
                found = await response.json()
            assert (response.status, found["dry_run"], found["requests"]) == (200, "dry_run" in sent, requests)


# -- shell -------------------------------------------------------------------------------------------------


def test_the_shell_reads_only(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program is started on the file, read-only."""
    in_file(path, fill(path))
    program = tmp_path / "bin" / "sqlite3"
    program.parent.mkdir()
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    started: list[object] = []
    monkeypatch.setattr(os, "execv", lambda *what: started.append(what))
    call("shell")
    assert started == [(str(program), [str(program), "-readonly", str(path)])]


def test_a_shell_without_the_program_fails(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear line."""
    in_file(path, fill(path))
    monkeypatch.setenv("PATH", str(tmp_path))
    result = call("shell")
    assert (result.exit_code, result.stderr.startswith("sqlite3: program not found")) == (FAILED, True)


# -- backup ------------------------------------------------------------------------------------------------


async def test_a_backup_under_load_is_complete(path: Path, tmp_path: Path) -> None:
    """Copies made while callbacks arrive pass every check and contain all earlier commits."""
    async with World(path) as world:
        stop = asyncio.Event()
        ended = 0

        async def load(world: World) -> None:
            nonlocal ended
            for n in range(1, 100_000, 20):
                if stop.is_set():
                    return
                await asyncio.gather(*(world.follow(k) for k in range(n, n + 20)))
                await asyncio.gather(*(world.call(k, Status.SUCCEEDED, at=11) for k in range(n, n + 20)))
                ended += 20

        working = asyncio.create_task(load(world))
        try:
            before = 0
            for n in range(4):
                async with asyncio.timeout(20):
                    while ended <= before:  # noqa: ASYNC110 - the load sends no signal
                        await asyncio.sleep(0.005)
                before = ended
                copy = tmp_path / f"copy-{n}.db"
                await asyncio.to_thread(copy_database, path, copy)
                found = await asyncio.to_thread(audit, copy)
                assert found.is_sound
                assert found.tasks >= before
                assert found.judged == found.tasks
        finally:
            stop.set()
            await working
        assert audit(path).is_sound  # the file itself, with the daemon at work
