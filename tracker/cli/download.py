"""``download``: archive a task's missing files, wait for that, and copy all of them; see `tracker.client.downloads`."""

from __future__ import annotations

from pathlib import Path

import click

from tracker.cli.client import Json
from tracker.cli.exits import FAILED, TIMED_OUT, Failure
from tracker.cli.render import clean, echo_json
from tracker.cli.session import Session, json_option, with_session
from tracker.client.downloads import download as copy_files
from tracker.client.errors import DownloadFailed


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
    task_id = session.full_id(task_id)
    client = session.client
    try:
        with client.failures():
            found = copy_files(
                client.transport,
                task_id,
                directory,
                timeout_s=timeout_s,
                force=force,
                hint="--force",
                on_items=_Troubles().show,
            )
        if as_json:
            echo_json({"items": found.items, "files": list(map(str, found.files))})
        else:
            for path in found.files:
                click.echo(path)
        found.check()
    except DownloadFailed as error:
        raise Failure(map(clean, error.problems), FAILED if error.is_final else TIMED_OUT) from error


class _Troubles:
    """Prints on standard error what goes wrong while files are archived."""

    def __init__(self) -> None:
        self._shown: dict[int, str] = {}

    def show(self, items: list[Json]) -> None:
        for item in items:
            if item["error"] and item["state"] != "dead" and self._shown.get(item["n"]) != item["error"]:
                self._shown[item["n"]] = item["error"]
                click.echo(f"output {item['n']}: {clean(item['error'])}; retrying", err=True)
