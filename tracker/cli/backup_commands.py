"""``db backup`` and ``db restore``."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracker.cli.exits import FAILED, USAGE, Failure, for_same_config, report_errors
from tracker.cli.render import echo_json, echo_result, echo_table
from tracker.cli.session import json_option, with_config

if TYPE_CHECKING:
    from tracker.config import Config
    from tracker.store.sqlite.backup_files import Copy
    from tracker.store.sqlite.restore import Create, Followed, Restored

_SHOWN_MAX = 20


@click.command()
@json_option
@click.option(
    "--keep",
    "keep_days",
    type=click.IntRange(min=1),
    metavar="DAYS",
    help="FILE is a directory: remove its dated copies except those of the newest DAYS days.",
)
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@with_config
def backup(config: Config, file: Path, keep_days: int | None, *, as_json: bool) -> None:
    """Copy the database to FILE, also beside a running daemon; the copy gets its name after it is checked.

    In a directory the copy is named by date and time. To restore it: tracker db restore FILE.
    """
    from tracker.store.sqlite import copy_database
    from tracker.store.sqlite.backup_files import name_backup, remove_old_backups

    directory = file if file.is_dir() else None
    if keep_days is not None and directory is None:
        raise Failure([f"--keep: {file} is not a directory; name the directory of the backups"], USAGE)
    target = file if directory is None else directory / name_backup(datetime.now(UTC))
    with report_errors(unavailable=FAILED):
        size = copy_database(config.store_path, target)
    removed: list[Path] = []
    if directory is not None and keep_days is not None:
        try:
            removed = remove_old_backups(target, keep_days)
        except OSError as error:
            why = f"{target}: written; but {error.filename} cannot be removed ({error.strerror})"
            raise Failure([why], FAILED) from error
    if as_json:
        paths = {"source": str(config.store_path), "file": str(target)}
        echo_json({**paths, "bytes": size, "removed": list(map(str, removed))})
        return
    click.echo(f"{target}: {size} bytes, checked")
    for path in removed:
        click.echo(f"{path}: removed")


@click.command()
@json_option
@click.option("--list", "only_list", is_flag=True, help="List the copies and their state; change nothing.")
@click.argument("file", required=False, type=click.Path(path_type=Path, readable=False))
@with_config
def restore(config: Config, file: Path | None, *, only_list: bool, as_json: bool) -> None:
    """Replace the database with the copy FILE, while no daemon runs.

    The copy is checked first and stays. The replaced file stays beside the database under a dated name. A create
    that is pending in the copy and may have been sent since is not sent again.
    """
    from tracker.store.sqlite.backup_files import list_copies
    from tracker.store.sqlite.restore import restore_database

    if only_list:
        copies = list_copies(config.store_path)
        found = {"items": [_copy_json(copy) for copy in copies]}
        echo_result(found, lambda _found: _echo_copies(config, copies), as_json=as_json)
        return
    if file is None:
        raise click.UsageError("Missing argument 'FILE'; tracker db restore --list shows the copies.")
    with report_errors(unavailable=FAILED):
        done = restore_database(
            file, config.store_path, lambda draft, creates: _settle(config, draft, creates), datetime.now(UTC)
        )
    echo_result(_restored_json(config, done), lambda _done: _echo_restored(config, done), as_json=as_json)


def _settle(config: Config, draft: Path, creates: Sequence[Create]) -> None:
    """Record through the reconciler what is known about creates that were pending in the copy."""
    from tracker.clock import SystemClock
    from tracker.domain.observation import Observation, Reading, Source, Submission
    from tracker.domain.task import Status
    from tracker.logs import Redactor, configure_logging
    from tracker.store.sqlite import SqliteStore
    from tracker.tracking.reconciler import Reconciler

    async def run() -> None:
        clock = SystemClock()
        store = SqliteStore(draft, clock.now)
        await store.open()
        try:
            reconciler = Reconciler(store, policy_of=config.poll_policy, interval_of={}, redactor=Redactor())
            for create in creates:
                await store.mark_sending(create.task_id, 0.0)  # it was sent, or may have been sent
                task = (await store.get_task(create.task_id)).task
                if create.external_id is None:
                    detail = "the database was restored from a copy: the create may have been sent after it was made"
                    reading = Reading(submission=Submission.AMBIGUOUS, detail=detail)
                else:
                    reading = Reading(
                        submission=Submission.ACCEPTED,
                        status=Status.PENDING,
                        external_id=create.external_id,
                        detail="the database was restored from a copy; the replaced file has the upstream's id",
                    )
                seen = Observation(task.id, Source.SUBMIT, clock.now(), reading, attempt=task.submit_attempts)
                await reconciler.apply(seen)
        finally:
            await store.close()

    configure_logging("warning")
    asyncio.run(run())


def _echo_copies(config: Config, copies: Sequence[Copy]) -> None:
    if not copies:
        from tracker.store.sqlite.backup_files import backup_directory

        click.echo(f"no copies in {backup_directory(config.store_path)} or beside {config.store_path}")
        return
    rows = [
        (copy.path, _day(copy.made_at), copy.tasks, _day(copy.newest_task_at), copy.problem or "good")
        for copy in copies
    ]
    echo_table(("file", "made (UTC)", "tasks", "newest task", "state"), rows)


def _echo_restored(config: Config, done: Restored) -> None:
    copy = done.copy
    holds = f"{copy.holds}, the newest of {_day(copy.newest_task_at)}"
    click.echo(f"{config.store_path}: restored from {copy.path} ({holds})")
    if done.replaced is not None:
        click.echo(f"The previous file is now {done.replaced}.")
    unknown = [create.task_id for create in done.creates if create.external_id is None]
    if unknown:
        ids = ", ".join(unknown[:_SHOWN_MAX]) + (" …" if len(unknown) > _SHOWN_MAX else "")
        click.echo(
            f"These creates were pending in the copy and may have been sent since; they are not sent again: {ids}. "
            "tracker why ID explains each."
        )
    if done.missing is None and done.replaced is not None:
        click.echo("That file cannot be read: tasks that are not in the copy are unknown.")
    elif done.missing:
        click.echo(f"Tasks that are not in the copy: {done.missing}; unfinished: {len(done.not_followed)}.")
    lost = [one.task_id for one in done.not_followed if one.external_id is None]
    if lost:
        ids = ", ".join(lost[:_SHOWN_MAX]) + (" …" if len(lost) > _SHOWN_MAX else "")
        click.echo(
            f"The tracker does not know the service's ids of {ids}. They may have been sent shortly before: look into "
            "the service's own console, then submit them again."
        )
    named = [_track_command(one) for one in done.not_followed if one.external_id]
    if named:
        click.echo("To follow them again, start the daemon and run:")
        for line in named[:_SHOWN_MAX]:
            click.echo(f"  {for_same_config(line)}")
        if len(named) > _SHOWN_MAX:
            click.echo(f"  and {len(named) - _SHOWN_MAX} more; tracker db restore --json lists all")


def _track_command(one: Followed) -> str:
    """The command that follows a task again, in its account and with its labels."""
    labels = [part for name, value in one.labels.items() for part in ("--label", f"{name}={value}")]
    return shlex.join(["tracker", "track", one.route, str(one.external_id), "--account", one.account, *labels])


def _restored_json(config: Config, done: Restored) -> dict[str, object]:
    return {
        "path": str(config.store_path),
        "restored_from": str(done.copy.path),
        "tasks": done.copy.tasks,
        "kept": done.replaced and str(done.replaced),
        "creates_not_sent_again": [create.task_id for create in done.creates],
        "missing_tasks": done.missing,
        "not_followed": [asdict(one) for one in done.not_followed],
    }


def _copy_json(copy: Copy) -> dict[str, object]:
    return {
        "file": str(copy.path),
        "made_at": copy.made_at.isoformat(),
        "bytes": copy.size,
        "tasks": copy.tasks,
        "newest_task_at": copy.newest_task_at and copy.newest_task_at.isoformat(),
        "problem": copy.problem,
    }


def _day(time: datetime | None) -> str:
    return "none" if time is None else f"{time:%Y-%m-%d %H:%M}"
