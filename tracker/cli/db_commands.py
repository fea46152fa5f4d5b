"""``db``: commands about the database file, with or without a running daemon; `backup_commands` has two of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import click

from tracker.cli.backup_commands import backup, restore
from tracker.cli.client import Json
from tracker.cli.exits import BAD_CONFIG, FAILED, Failure, Unreachable, for_same_config
from tracker.cli.render import echo_fields, echo_json, echo_result, echo_table
from tracker.cli.session import Session, json_option, with_config, with_session
from tracker.filesystem import is_store, sync_directory

if TYPE_CHECKING:
    from tracker.config import Config
    from tracker.store.sqlite.export import Dumped

PRUNE_S = 86_400.0
"""The daemon prunes slowly on purpose, and answers at the end."""
_SHOWN = ("tasks", "events", "deliveries", "payloads", "requests", "files", "file_bytes", "freed_bytes")


@click.group()
def db() -> None:
    """Check, back up, restore and prune the database."""


db.add_command(backup)
db.add_command(restore)


@db.command()
@json_option
@with_config
def path(config: Config, *, as_json: bool) -> None:
    """Print the path of the database."""
    found = {"path": str(config.store_path)}
    echo_result(found, lambda _found: click.echo(config.store_path), as_json=as_json)


@db.command()
@click.option("--dry-run", is_flag=True, help="Count only; delete nothing.")
@json_option
@with_session
def prune(session: Session, *, dry_run: bool, as_json: bool) -> None:
    """Delete what [retention] allows: histories, bodies and files of finished tasks.

    The running daemon does it in small steps; without one, this command does it on the file.
    """
    try:
        found = session.client.post("/v1/prune", {"dry_run": dry_run}, answer_s=PRUNE_S)
    except Unreachable as error:
        session.fall_back(error, "pruning")
        found = {"dry_run": dry_run, **_prune_file(session.config, dry_run=dry_run)}
    echo_result(found, _echo_pruned, as_json=as_json)


def _echo_pruned(found: Json) -> None:
    click.echo("would be deleted:" if found["dry_run"] else "deleted:")
    echo_fields((name.replace("_", " "), str(found[name])) for name in _SHOWN)


def _prune_file(config: Config, *, dry_run: bool) -> Json:
    """Prune the file without a daemon; the store's lock ensures that. A dry run only reads."""
    from tracker.archive.file_storage import make_storage
    from tracker.clock import SystemClock
    from tracker.domain.pruning import ALONE
    from tracker.logs import configure_logging
    from tracker.maintenance.pruning import Pruning
    from tracker.store.sqlite import SqliteStore, open_reader

    async def run() -> Json:
        clock = SystemClock()
        if dry_run:
            store = cast("SqliteStore", await open_reader(config.store_path))  # only read from
        else:
            store = SqliteStore(config.store_path, clock.now)
            await store.open()
        try:
            pruning = Pruning(store, clock, lambda: config.retention, storage.remove, ALONE)
            return asdict(await pruning.run(dry_run=dry_run))
        finally:
            await store.close()

    configure_logging("warning")
    storage = make_storage(config.archive_path, config.archive.url)
    return asyncio.run(run())


@db.command()
@json_option
@with_config
def check(config: Config, *, as_json: bool) -> None:
    """Check the file for damage and replay every history: exit 1 on any difference."""
    from tracker.store.sqlite.audit import audit

    store = config.store_path
    found = audit(store)
    if as_json:
        echo_json({"path": str(store), "ok": found.is_sound, **asdict(found)})
    else:
        for lines, more in ((found.damage, found.more_damage), (found.dangling, found.more_dangling)):
            for line in lines:
                click.echo(line)
            _echo_more(more)
        if found.differences:
            rows = [(one.task_id, one.field, one.kept, one.derived) for one in found.differences]
            echo_table(("task", "field", "stored", "replayed"), rows)
            _echo_more(found.more_differences)
        for line in found.counts:
            click.echo(line)
        state = "sound" if found.is_sound else "not sound"
        skipped = found.tasks - found.judged
        why_not = f"; {skipped} have no complete history (pruned, or begun under older rules)" if skipped else ""
        click.echo(f"{store}: {state}; {found.judged} of {found.tasks} tasks replayed{why_not}")
    if found.damage:
        from tracker.store.sqlite.backup_files import restore_advice

        click.echo(for_same_config(restore_advice(store)), err=True)
    if not found.is_sound:
        raise click.exceptions.Exit(FAILED)


def _echo_more(number: int) -> None:
    if number:
        click.echo(f"... and {number} more")


@db.command()
@click.option(
    "-o", "target", type=click.Path(path_type=Path, dir_okay=False, readable=False), default="-", help="- for stdout."
)
@with_config
def export(config: Config, target: Path) -> None:
    """Write every task as a line of JSON, from one snapshot: {"task": …, "events": […], "deliveries": […]}.

    Secrets are masked. A temporary copy of the database is made beside FILE, unless FILE is a pipe or a device.
    """
    import orjson

    from tracker.domain.attempts import delivery_detail_json
    from tracker.domain.records import event_json, task_json
    from tracker.store.sqlite.export import dumping

    def line(dumped: Dumped) -> bytes:
        return orjson.dumps(
            {
                "task": task_json(dumped.record),
                "events": [event_json(event) for event in dumped.events],
                "deliveries": [delivery_detail_json(delivery) for delivery in dumped.deliveries],
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )

    to_stdout = str(target) == "-"
    count = 0
    try:
        makes_file = not to_stdout and _makes_file(target)
        with (
            dumping(config.store_path, target.resolve().parent if makes_file else None) as everything,
            _standard_output() if to_stdout else _opened(target, is_file=makes_file) as out,
        ):
            for dumped in everything:
                out.write(line(dumped))
                count += 1
    except BrokenPipeError:
        raise
    except OSError as error:  # its file name may be that of the draft
        where = "standard output" if to_stdout else target
        raise Failure([f"{where}: cannot be written ({error.strerror}); choose another file"], FAILED) from error
    click.echo(f"{count} tasks written", err=True)


@contextlib.contextmanager
def _opened(target: Path, *, is_file: bool) -> Iterator[BinaryIO]:
    """A private file that gets its name when it is complete; or an existing pipe or device."""
    if not is_file:
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC), "wb") as out:
            yield out
        return
    target = target.resolve()  # follow a link
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        draft.replace(target)
        sync_directory(target.parent)
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


def _makes_file(target: Path) -> bool:
    """Whether the target is a new or a regular file, and not a device, a pipe or a socket."""
    try:
        return stat.S_ISREG(target.stat().st_mode)
    except FileNotFoundError:
        return True


@db.command()
@with_config
def shell(config: Config) -> None:
    """Open the database in sqlite3, read-only. Start with the views v_tasks and v_events."""
    store = config.store_path
    if not is_store(store):
        raise Failure([f"{store}: no such file; start the daemon once, or set store.path"], BAD_CONFIG)
    program = shutil.which("sqlite3")
    if program is None:
        raise Failure(["sqlite3: program not found; install the package sqlite3"], FAILED)
    sys.stdout.flush()
    os.execv(program, [program, "-readonly", str(store)])  # noqa: S606 - replaces this process
