"""``download``: archive a task's missing files, wait for that, and copy all of them.

A copy gets its name when it is complete and its hash matches. Names start with the task's id, so that files of several
tasks fit into one directory. Files with other content are overwritten only with ``--force``. The files come over HTTP,
so the daemon may be on another machine.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import click

from tracker.cli.client import Json, task_path
from tracker.cli.exits import FAILED, TIMED_OUT, Failure
from tracker.cli.render import clean, echo_json
from tracker.cli.session import Session, json_option, with_session
from tracker.cli.waiting import ARCHIVE_ENDS, archive_items


@click.command()
@click.argument("task_id", metavar="ID")
@click.argument(
    "directory", metavar="[DIR]", default=".", type=click.Path(path_type=Path, file_okay=False, readable=False)
)
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), metavar="SECONDS", help="Stop waiting after this time."
)
@click.option("--force", is_flag=True, help="Overwrite files with other content.")
@json_option
@with_session
def download(
    session: Session, task_id: str, directory: Path, *, timeout_s: float | None, force: bool, as_json: bool
) -> None:
    """Copy a task's files into DIR; files that are missing from the archive are fetched first.

    They are named ID-N-TITLE.EXT. A file with the same content is not copied again.
    """
    deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    task_id = session.full_id(task_id)
    session.client.post(task_path(task_id, "archive"))
    items = _wait(session, task_id, deadline)
    task = session.client.get(task_path(task_id))
    wanted = {_target(output, directory): output for output in task["outputs"] if output["archived"]}
    if refused := [line for target, output in wanted.items() if (line := _objection(target, output, force=force))]:
        raise Failure(refused, FAILED)
    copied = [_copy(session, task_id, output, target) for target, output in wanted.items()]
    if as_json:
        echo_json({"items": items, "files": copied})
    else:
        for path in copied:
            click.echo(path)
    missing = [item for item in items if item["state"] != "stored"]
    if missing:
        lines = [f"output {item['n']} is not archived: {clean(item['error'] or item['state'])}" for item in missing]
        raise Failure(lines, FAILED if all(item["state"] == "dead" for item in missing) else TIMED_OUT)
    if not items:
        raise Failure([f"{task_id} has no files{'' if task['finished_at'] else ' yet'}"], FAILED)


def _wait(session: Session, task_id: str, deadline: float) -> list[Json]:
    """The archive items when all are final or the time is over; changes are printed to standard error."""
    shown: dict[int, str] = {}
    items: list[Json] = []
    for items in archive_items(session.client, task_id, deadline):
        for item in items:
            if item["error"] and item["state"] != "dead" and shown.get(item["n"]) != item["error"]:
                shown[item["n"]] = item["error"]
                click.echo(f"output {item['n']}: {clean(item['error'])}; retrying", err=True)
        if all(item["state"] in ARCHIVE_ENDS for item in items):
            break
    return items


def _target(output: Mapping[str, Json], directory: Path) -> Path:
    """The path of a copy: the archive's ``<task id>/<n>-<title>.<ext>`` as one name."""
    return directory / "-".join(PurePosixPath(output["path"]).parts[-2:])


def _objection(target: Path, output: Mapping[str, Json], *, force: bool) -> str | None:
    """Why a file must not be written there; None if it may."""
    try:
        if not target.exists():
            return None
        if not target.is_file():
            return f"{target}: exists and is not a regular file; choose another directory"
        if force or _holds(target, output):
            return None
    except OSError as error:
        return f"{target}: cannot be read ({error.strerror}); choose another directory"
    return f"{target}: exists with other content; move it away, or overwrite it with --force"


def _holds(target: Path, output: Mapping[str, Json]) -> bool:
    """Whether a file has the content of the output."""
    if not target.is_file() or target.stat().st_size != output["bytes"]:
        return False
    with target.open("rb") as file:
        return bool(hashlib.file_digest(file, "sha256").hexdigest() == output["sha256"])


def _copy(session: Session, task_id: str, output: Mapping[str, Json], target: Path) -> str:
    """Copy one file unless it exists; returns its path."""
    try:
        if _holds(target, output):
            return str(target)
        target_file = target.resolve()  # follow a link
        target_file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".tracker-", dir=target_file.parent)
        try:
            digest = hashlib.sha256()
            with os.fdopen(handle, "wb") as file:
                session.client.save(task_path(task_id, "outputs", str(output["n"])), file.write, digest.update)
            if digest.hexdigest() != output["sha256"]:
                raise Failure([f"output {output['n']}: damaged in transit; run the command again"], FAILED)
            Path(name).chmod(0o644)
            Path(name).replace(target_file)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise Failure([f"{target}: cannot be written ({error.strerror}); choose another directory"], FAILED) from error
    return str(target)
