"""``tracker submit --batch``: one request per line of a file, checked together, then sent in order.

Each line has an idempotency key that depends only on the file, so the same command can be run again after anything that
ended it: what was sent is not sent twice.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from tracker.cli.client import Json
from tracker.cli.exits import FAILED, INTERRUPTED, USAGE, WARNING, Failure, Refused, severity_mark
from tracker.cli.render import clean, echo_json
from tracker.cli.session import Session
from tracker.cli.waiting import describe_failure, exit_code_of, follow, has_ended
from tracker.client import calls
from tracker.domain.text import NotText, count, decode_text

EPILOG = """A line of a batch is {"route": …, "request": {…}}, with "labels", "account" and "idempotency_key" if wanted;
ROUTE, --label and --account hold for lines without their own. All lines are checked before the first one is sent. A
line without an idempotency key gets one from the content of the file and its number: running the same command again
after an interruption sends nothing twice. A file that was changed is a new batch, and all of it is sent."""

MAX_LINE_BYTES = 32 * 1024 * 1024
"""The daemon takes no larger request."""
_ANSWER_S = 60.0
_UNDECIDED_S = 300.0
"""How long to ask for a task whose first attempt is under way, since an earlier run of the same command."""
_KEYS = ("route", "request", "labels", "account", "idempotency_key")


class Line(NamedTuple):
    """A request of a batch.

    Attributes:
        number: of the line in the file, from 1.
        body: what is posted.
    """

    number: int
    body: dict[str, Json]


def submit_batch(
    session: Session,
    source: str,
    defaults: Mapping[str, Json],
    *,
    strict: bool,
    dry_run: bool,
    wait: bool,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    """Submit all requests of a file, and print the id of each task.

    Args:
        session: has the daemon.
        source: the file; ``-`` is standard input.
        defaults: route, labels and account of lines without their own.
        strict: refuse fields that no document names.
        dry_run: only check.
        wait: wait for the ends.
        timeout_s: stop waiting after so long.
        as_json: print the tasks as JSON, at the end.

    Raises:
        Failure: lines are wrong (nothing was sent), or the daemon failed in the middle.
    """
    lines = read_batch(source, defaults)
    known, prices = _check(session, source, lines, strict=strict)
    if dry_run:
        total = _total(prices, len(lines) - len(known))
        click.echo(f"{count(len(lines), 'request')} checked, all valid;{total} nothing was sent", err=True)
        return
    if known:
        click.echo(f"{len(known)} of {count(len(lines), 'request')} were submitted before; not sent again", err=True)
    tasks: list[Json] = []
    try:
        for line in lines:
            tasks.append(known.get(line.number) or _send(session, line))
            if not as_json:
                click.echo(tasks[-1]["id"])
    except (Failure, KeyboardInterrupt) as error:
        if as_json:
            echo_json({"items": tasks})
        code = error.exit_code if isinstance(error, Failure) else INTERRUPTED
        where = f"{_name(source)}, line {lines[len(tasks)].number}"
        cause = [f"{where}: {line}" for line in (error.lines if isinstance(error, Failure) else ["interrupted"])]
        perhaps = ", and perhaps this one" if not isinstance(error, Refused) else ""
        sent = f"{len(tasks)} of {count(len(lines), 'request')} were submitted{perhaps}"
        go_on = f"to go on, where nothing is sent twice: {_same_command(source)}"
        raise Failure([*cause, sent, go_on], code) from None
    if not wait:
        if as_json:
            echo_json({"items": tasks})
        return
    _wait(session, source, tasks, timeout_s, as_json=as_json)


def _total(prices: list[Mapping[str, Json]], new: int) -> str:
    """What the new requests would cost together."""
    if not prices:
        return ""
    from tracker.domain.costs import add_up, cost_from

    unpriced = f" and {new - len(prices)} without a price" if new > len(prices) else ""
    return f" {', '.join(cost.described() for cost in add_up(map(cost_from, prices)))}{unpriced};"


def read_batch(source: str, defaults: Mapping[str, Json]) -> list[Line]:
    """Read the requests of a file.

    Raises:
        Failure: with one line for each mistake.
    """
    name = _name(source)
    try:
        text = decode_text(sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes())
    except OSError as error:
        raise Failure([f"{name}: cannot be read ({error.strerror})"], USAGE) from error
    except NotText as error:
        raise Failure([f"{name}: {error}"], USAGE) from None
    digest = hashlib.sha256(f"{json.dumps(defaults, sort_keys=True)}\n{text}".encode()).hexdigest()[:32]
    lines, mistakes = [], []
    first_use: dict[str, int] = {}
    for number, raw in enumerate(text.split("\n"), 1):
        if not raw.strip():
            continue
        line = _read_line(raw, defaults)
        if isinstance(line, str):
            mistakes.append(f"{name}, line {number}: {line}")
            continue
        key = line.setdefault("idempotency_key", f"batch-{digest}-{number}")
        if key in first_use:
            mistakes.append(f"{name}, line {number}: idempotency_key: line {first_use[key]} has the same; change one")
        first_use.setdefault(key, number)
        lines.append(Line(number, line))
    if mistakes:
        raise Failure([*mistakes, "nothing was sent"], USAGE)
    if not lines:
        raise Failure([f"{name}: has no requests; write one JSON object per line"], USAGE)
    return lines


def _read_line(raw: str, defaults: Mapping[str, Json]) -> dict[str, Json] | str:
    """What to post for a line, or what is wrong with it."""
    if len(raw) > MAX_LINE_BYTES or len(raw.encode()) > MAX_LINE_BYTES:
        return f"is larger than {MAX_LINE_BYTES >> 20} MiB; a daemon takes no such request"
    try:
        value = json.loads(raw)
    except RecursionError:
        return "is nested too deeply"
    except ValueError as error:
        return f"is not JSON: {error}"
    if not isinstance(value, dict):
        return 'must be a JSON object, for example {"route": "suno.generate", "request": {"prompt": "…"}}'
    if unknown := [key for key in value if key not in _KEYS]:
        from tracker.domain.nearest import did_you_mean

        hint = did_you_mean(unknown[0], _KEYS) or f"a line has {', '.join(_KEYS)}"
        return f"{clean(unknown[0])}: unknown key; {hint}"
    line = {**defaults, **{key: item for key, item in value.items() if item is not None}}
    if "route" not in line:
        return "route: is missing; write it into the line, or after: tracker submit"
    if "request" not in line:
        return "request: is missing"
    for key, kind, what in (
        *((key, str, "a text") for key in ("route", "account", "idempotency_key")),
        *((key, dict, "a JSON object") for key in ("request", "labels")),
    ):
        if key in line and not isinstance(line[key], kind):
            return f"{key}: must be {what}"
    return {**line, "labels": {**defaults.get("labels", {}), **line.get("labels", {})}}


def _check(
    session: Session, source: str, lines: list[Line], *, strict: bool
) -> tuple[dict[int, Json], list[Mapping[str, Json]]]:
    """Have the daemon check every request.

    Returns:
        The tasks of those that were submitted before, by the numbers of the lines; and the known prices of the others.

    Raises:
        Failure: with one line for each mistake; or because of the answer on a terminal.
    """
    mistakes: list[str] = []
    unknown: list[str] = []
    known: dict[int, Json] = {}
    prices: list[Mapping[str, Json]] = []
    for line in lines:
        try:
            task, price = session.client.check(line.body, strict=True, answer_s=_ANSWER_S)
            if task:
                known[line.number] = task
            elif price:
                prices.append(price)
        except Refused as refusal:
            if refusal.kind == "submit-in-flight":
                continue
            if refusal.kind == "over-budget":
                where = f"{_name(source)}, line {line.number}"
                raise Failure([*(f"{where}: {text}" for text in refusal.lines), "nothing was sent"], FAILED) from None
            if refusal.exit_code != USAGE:
                raise
            found = unknown if refusal.kind == "unknown-fields" and not strict else mistakes
            found += (f"{_name(source)}, line {line.number}: {text}" for text in _texts_of(refusal))
    if mistakes:
        raise Failure([*mistakes, "nothing was sent"], USAGE)
    for text in unknown:
        click.echo(f"{severity_mark(WARNING)}warning: {text}", err=True)
    if unknown and sys.stdin.isatty() and not click.confirm("Send all the same? They may be charged.", err=True):
        raise Failure(["nothing was sent"], FAILED)
    return known, prices


def _texts_of(refusal: Refused) -> Iterator[str]:
    for error in refusal.errors:
        yield clean(f"{'.'.join(map(str, error['loc']))}: {error['msg']}")
    if not refusal.errors:
        yield from refusal.lines


def _send(session: Session, line: Line) -> Json:
    """The task of a line; made, or found by its key."""
    return session.client.send(calls.submit(**line.body, wait=False), undecided_s=_UNDECIDED_S).json


def _wait(session: Session, source: str, tasks: list[Json], timeout_s: float | None, *, as_json: bool) -> None:
    """Wait for the ends, and print how many there are of each."""
    try:
        ended = list(follow(session.client, [str(task["id"]) for task in tasks], timeout_s).values())
    except KeyboardInterrupt:
        click.echo(f"\nstopped waiting; the tasks continue. To wait again: {_same_command(source)}", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    if as_json:
        echo_json({"items": ended})
    for task in ended:
        if task["status"] == "FAILED":
            click.echo(describe_failure(task), err=True)
    counts = Counter(str(task["status"]).lower() if has_ended(task) else "not finished" for task in ended)
    parts = [f"{counts[name]} {name}" for name in ("succeeded", "failed", "not finished") if counts[name]]
    click.echo(f"{count(len(ended), 'task')}: {', '.join(parts)}", err=True)
    if counts["not finished"]:
        click.echo(f"the tasks continue; to wait again: {_same_command(source)}", err=True)
    raise click.exceptions.Exit(exit_code_of(ended))


def _name(source: str) -> str:
    return "standard input" if source == "-" else source


def _same_command(source: str) -> str:
    """This command with all that was typed."""
    context = click.get_current_context()
    parts = ["tracker", *context.command_path.split()[1:]]
    for parameter in context.command.params:
        name = parameter.name or ""
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value: Any = context.params[name]
        if isinstance(parameter, click.Argument):
            parts.append(shlex.quote(str(value)))
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            parts.append(parameter.opts[0])
        else:
            texts = [f"{key}={text}" for key, text in value.items()] if isinstance(value, dict) else [str(value)]
            parts += [f"{parameter.opts[0]} {shlex.quote(text)}" for text in texts]
    return " ".join(parts) + (" (with the same input)" if source == "-" else "")
