"""``download``: have a task's files archived where they are not, wait for that, and copy them.

Owns the waiting and the copying; a copy appears under its name only when it is whole and its hash is right. Its name
starts with the task's id: the files of several tasks lie side by side in one directory. Must not write over what it
did not bring, unless it is told to. Goes through the daemon, so it works the same for one on another machine.
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

_STEP_S = 0.3
ARCHIVE_ENDS = frozenset({"stored", "dead"})
"""States of an archive item that nothing follows."""


@click.command()
@click.argument("task_id", metavar="ID")
@click.argument(
    "directory", metavar="[DIR]", default=".", type=click.Path(path_type=Path, file_okay=False, readable=False)
)
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer.")
@click.option("--force", is_flag=True, help="Write over other files of the same names.")
@json_option
@with_session
def download(
    session: Session, task_id: str, directory: Path, *, timeout_s: float | None, force: bool, as_json: bool
) -> None:
    """Copy a task's files into DIR; what the archive had given up or lost is fetched again first.

    They are named ID-N-TITLE.EXT. A file that is there already and is the same is left as it is.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
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


def _wait(session: Session, task_id: str, deadline: float | None) -> list[Json]:
    """Every item, stored or dead, or as it is when the time is up; news goes to standard error."""
    told: dict[int, str] = {}
    while True:
        items: list[Json] = session.client.get(task_path(task_id, "archive"))["items"]
        for item in items:
            if item["error"] and item["state"] != "dead" and told.get(item["n"]) != item["error"]:
                told[item["n"]] = item["error"]
                click.echo(f"output {item['n']}: {clean(item['error'])}; trying again", err=True)
        if all(item["state"] in ARCHIVE_ENDS for item in items) or (
            deadline is not None and time.monotonic() >= deadline
        ):
            return items
        time.sleep(_STEP_S)


def _target(output: Mapping[str, Json], directory: Path) -> Path:
    """Where a file goes: the archive's ``<task id>/<n>-<title>.<ext>`` as one name."""
    return directory / "-".join(PurePosixPath(output["path"]).parts[-2:])


def _objection(target: Path, output: Mapping[str, Json], *, force: bool) -> str | None:
    """Why a file must not be put there; None when it may."""
    try:
        if not target.exists():
            return None
        if not target.is_file():
            return f"{target}: is there and is no regular file; choose another directory"
        if force or _holds(target, output):
            return None
    except OSError as error:
        return f"{target}: cannot be looked at ({error.strerror}); choose another directory"
    return f"{target}: is there with another content; move it away, or write over it with --force"


def _holds(target: Path, output: Mapping[str, Json]) -> bool:
    """Whether a file is the output already."""
    if not target.is_file() or target.stat().st_size != output["bytes"]:
        return False
    with target.open("rb") as file:
        return bool(hashlib.file_digest(file, "sha256").hexdigest() == output["sha256"])


def _copy(session: Session, task_id: str, output: Mapping[str, Json], target: Path) -> str:
    """Bring one file under its name, unless it is there; its path."""
    try:
        if _holds(target, output):
            return str(target)
        place = target.resolve()  # a link stays one
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".tracker-", dir=place.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                digest = session.client.save(task_path(task_id, "outputs", str(output["n"])), file)
            if digest != output["sha256"]:
                raise Failure([f"output {output['n']}: came damaged; run the command again"], FAILED)
            Path(name).chmod(0o644)
            Path(name).replace(place)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise Failure([f"{target}: cannot be written ({error.strerror})"], FAILED) from error
    return str(target)
