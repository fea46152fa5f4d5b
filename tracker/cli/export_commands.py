"""``export`` and ``replay``: a task as one document without secrets, and what the state machine makes of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracker.cli.client import Json, task_path
from tracker.cli.exits import FAILED, USAGE, Failure
from tracker.cli.files import write_new
from tracker.cli.render import as_json_text, echo_json, echo_table
from tracker.cli.session import Session, json_option, with_session
from tracker.domain.text import count

if TYPE_CHECKING:
    from tracker.domain.exports import ExportFile
    from tracker.domain.replay import ReplayStep


@click.command()
@click.argument("task_id", metavar="ID")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write. Default: standard output.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@with_session
def export(session: Session, task_id: str, *, output: Path | None, force: bool) -> None:
    """Write all that is stored of a task as one JSON document without secrets, to show to others and to replay.

    Keys, tokens and what signs URLs are masked. Prompts and labels are not: read it before you pass it on.
    """
    document = session.read(
        lambda client: client.get(task_path(session.full_id(task_id), "export")),
        lambda file: file.export(session.task_id(task_id, file.tasks)),
    )
    if output is None or str(output) == "-":
        echo_json(document)
        return
    write_new(output, f"{as_json_text(document)}\n", force=force)
    click.echo(f"{output}: written; tracker replay {output} runs it again", err=True)


@click.command()
@click.argument("file", metavar="FILE|-")
@json_option
def replay(file: str, *, as_json: bool) -> None:
    """Run an exported task through the state machine again: exit 0 if each event does what it did, else 1.

    Needs no daemon, no database and no key.
    """
    from tracker.domain.replay import differences

    document = _read(file)
    replayed = document.run_again()
    if replayed is None:
        raise Failure([f"{file}: retention has removed the beginning of its history; it cannot be replayed"], FAILED)
    steps, task = replayed
    differs = differences(document.state, task)
    if as_json:
        echo_json(_result(document, steps, differs))
    else:
        _echo_steps(steps)
    if (first := next((step for step in steps if not step.is_same), None)) is not None:
        raise Failure([f"event {first.event.seq} differs: {_describe(first)}"], FAILED)
    if differs:
        field, stored, derived = differs[0]
        raise Failure([f"the end differs: {field} was {stored}, and is {derived} now"], FAILED)
    if not as_json:
        reason = f" ({task.reason})" if task.reason else ""
        click.echo(f"{count(len(steps), 'event')}, the same end: {task.status}{reason}")


def _read(file: str) -> ExportFile:
    """Read a document.

    Raises:
        Failure: it cannot be read, or is none.
    """
    from tracker.domain.exports import read_export

    name = "standard input" if file == "-" else file
    try:
        return read_export(sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes())
    except OSError as error:
        raise Failure([f"{name}: cannot be read ({error.strerror})"], USAGE) from error
    except ValueError as error:
        raise Failure([f"{name}: {error}"], USAGE) from error


def _describe(step: ReplayStep) -> str:
    event = step.event
    was = f"it was {event.outcome} ({event.from_status} to {event.to_status})"
    return f"{was}, and is {step.outcome} ({step.from_status} to {step.to_status}) now"


def _echo_steps(steps: list[ReplayStep]) -> None:
    echo_table(
        ("seq", "source", "outcome", "status", "replay", "detail"),
        [
            (
                step.event.seq,
                step.event.source,
                step.event.outcome,
                "" if step.event.from_status is step.event.to_status else step.event.to_status,
                "same" if step.is_same else f"{step.outcome} {step.to_status}",
                step.event.detail,
            )
            for step in steps
        ],
    )


def _result(document: ExportFile, steps: list[ReplayStep], differs: list[tuple[str, str, str]]) -> Json:
    return {
        "same": not differs and all(step.is_same for step in steps),
        "id": document.state.id,
        "events": [
            {
                "seq": step.event.seq,
                "same": step.is_same,
                "outcome": step.outcome,
                "from": step.from_status,
                "to": step.to_status,
            }
            for step in steps
        ],
        "end": [{"field": field, "stored": stored, "replayed": derived} for field, stored, derived in differs],
    }
