"""Output: tables on a terminal, aligned plain text elsewhere, JSON on request.

Text from providers is printed without control characters, which a terminal would obey.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby

import click

from tracker.cli.client import Json
from tracker.cli.expectation import compare
from tracker.cli.tables import GAP, LEAST, cells, table_lines, wrap
from tracker.domain.text import about, size

STATUS_STYLES = {"SUCCEEDED": "green", "FAILED": "red", "RUNNING": "cyan", "PENDING": "yellow"}
ENDS = ("SUCCEEDED", "FAILED")
_SHORT = 40
_LEAST_PROMPT = 16
_PROMPT, _EXTERNAL_ID = 7, 8
_ALWAYS = 3
"""Columns of a list of tasks that are never left out: id, status and route."""
_PROMPTS = ("prompt", "gpt_description_prompt", "text", "content", "title")
_ISO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_SOON_S = 120


def clean(value: object) -> str:
    """A value as one printable line."""
    text = "" if value is None else str(value)
    return "".join(character if character.isprintable() else " " for character in text)


def clean_text(value: object) -> str:
    """A text with line breaks and tabs, without other control characters."""
    lines = str(value).replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(clean, line.split("\t"))) for line in lines)


def echo_json(value: Json) -> None:
    """Write JSON to standard output."""
    # a stream would escape characters that it cannot encode as Python does, not as JSON
    click.echo(as_json_text(value, escaped=not _is_utf_8()))


def as_json_text(value: Json, *, escaped: bool = False) -> str:
    """JSON as it is shown."""
    return json.dumps(value, indent=2, ensure_ascii=escaped, default=_decode_fragment)


def echo_json_line(value: Json) -> None:
    """Write JSON to standard output, on one line."""
    click.echo(json.dumps(value, ensure_ascii=not _is_utf_8()))


def _is_utf_8() -> bool:
    return sys.stdout.encoding.lower().replace("-", "").replace("_", "") == "utf8"


def _decode_fragment(value: object) -> object:
    """Decode JSON that the store holds as text; the daemon's answers have none."""
    from tracker.domain.records import decode_fragment

    return decode_fragment(value)


def echo_result(value: Json, echo_text: Callable[[Json], None], *, as_json: bool) -> None:
    """Write the result of a command: as JSON, or as the text that ``echo_text`` writes."""
    (echo_json if as_json else echo_text)(value)


def echo_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, status_column: int | None = None) -> None:
    """Write rows in aligned columns that fit the terminal; ``status_column`` holds a task status, and is coloured."""
    lines = [[clean(value) for value in row] for row in rows]
    width = _terminal_width()

    def heading(_column: int, text: str) -> str:
        return click.style(text, bold=True)

    def cell(column: int, text: str) -> str:
        style = STATUS_STYLES.get(text) if column == status_column else None
        return click.style(text, fg=style) if style else text

    headings = [column.upper() for column in columns]
    for line in table_lines(headings, lines, width, heading=heading, cell=cell):
        click.echo(line)


def _terminal_width() -> int | None:
    """The columns of the terminal; None if standard output is not one."""
    if not sys.stdout.isatty():
        return None
    import shutil  # it imports libraries for compression

    return shutil.get_terminal_size().columns


def echo_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Write names and values, one pair per line, without None and empty ones."""
    shown = [(name, clean(value)) for name, value in fields if value not in {None, ""}]
    width = max((len(name) for name, _value in shown), default=0)
    for name, value in shown:
        styled = click.style(value, fg=STATUS_STYLES[value]) if value in STATUS_STYLES else value
        if styled == value:
            echo_columns((name.ljust(width), value), indent=0)
        else:
            click.echo(f"{name.ljust(width)}  {styled}")


def echo_heading(text: str) -> None:
    """Write a heading after an empty line; bold on a terminal (click leaves colours out elsewhere)."""
    click.echo()
    click.echo(click.style(text, bold=True))


def when(time: str | None, now: datetime) -> str:
    """An ISO time relative to now: ``in 12 s``, ``3 min ago``."""
    if time is None:
        return ""
    seconds = (datetime.fromisoformat(time) - now).total_seconds()
    return f"in {about(seconds)}" if seconds >= 0 else f"{about(-seconds)} ago"


def due(time: str | None, now: datetime) -> str:
    """The same for a planned time: ``now`` once it has passed."""
    text = when(time, now)
    return "now" if text.endswith(" ago") else text


def describe_progress(task: Mapping[str, Json]) -> str:
    """Stage and progress of a task: ``first 50 %``."""
    parts = [clean(task["stage"])] if task.get("stage") else []
    parts += [f"{task['progress']} %"] if task.get("progress") is not None else []
    return " ".join(parts)


def echo_tasks(tasks: Sequence[Mapping[str, Json]], now: datetime) -> None:
    """Write a list of tasks: what each is, how far it is, and by what its owner recognises it.

    A column that is empty for all is left out. The prompt is shortened, and the external id left out, where that saves
    a second line for each task.
    """
    rows = [
        (
            task["id"],
            task["status"],
            task["route"],
            when(task["created_at"], now).removesuffix(" ago"),
            describe_progress(task) if task["status"] not in ENDS else "",
            clean(task.get("reason")),
            shorten(" ".join(f"{name}={value}" for name, value in (task.get("labels") or {}).items())),
            shorten(prompt_of(task.get("request"))),
            task["external_id"],
        )
        for task in tasks
    ]
    columns = ("id", "status", "route", "age", "progress", "reason", "labels", "prompt", "external id")
    width = _terminal_width()
    used = [n for n in range(len(columns)) if n < _ALWAYS or any(row[n] for row in rows)]
    cut = None
    if width is not None:
        widths = {n: max(map(cells, (columns[n], *(clean(row[n]) for row in rows)))) + GAP for n in used}
        if sum(widths.values()) - GAP > width and used[-1] == _EXTERNAL_ID:
            used.pop()
        room = width - sum(widths[n] for n in used if n != _PROMPT)
        if used[-1] == _PROMPT and _LEAST_PROMPT <= room < widths[_PROMPT]:
            cut = room
    shown = [[shorten(row[n], cut) if n == _PROMPT and cut else row[n] for n in used] for row in rows]
    echo_table([columns[n] for n in used], shown, status_column=1)


def shorten(text: str, longest: int = _SHORT) -> str:
    """A text of at most so many characters in one line."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1].rstrip()}…"


def prompt_of(request: Json) -> str:
    """The prompt in a request, wherever its provider has it; else the text of the last message, or a title."""
    found: dict[str, str] = {}
    level = [request]
    while level:
        members = [item for value in level if isinstance(value, dict) for item in value.items()]
        for name, value in members:
            if name in _PROMPTS and isinstance(value, str) and value:
                found.setdefault(name, value)
        level = [value for _name, value in members]
        level += [item for value in level if isinstance(value, list) for item in value[-1:]]
    return next((found[name] for name in _PROMPTS if name in found), "")


def describe_state(task: Mapping[str, Json]) -> str:
    """The id, status and progress of a task in one line; the reason of a failed one."""
    return f"{task['id']} {task['status']} {task.get('reason') or describe_progress(task)}".rstrip()


def echo_task(task: Mapping[str, Json], now: datetime | None = None, ends_by: str | None = None) -> None:
    """Write what people ask about one task; ``ends_by``, when it ends at the latest, for a late one."""
    now = now or datetime.now(UTC)
    first = ("id", "status", "stage", "progress", "reason", "user_message", "route", "account", "model")
    times = ("created_at", "submitted_at", "started_at", "finished_at", "next_poll_at")
    echo_fields(
        [
            *((name, task.get(name)) for name in first),
            ("error", describe_error(task.get("error") or {})),
            ("retryable", {True: "yes", False: "no", None: None}[task.get("retryable")]),
            ("prompt", " ".join(prompt_of(task.get("request")).split())),
            ("external_id", task.get("external_id")),
            ("retry_of", task.get("retry_of")),
            *((f"label {name}", value) for name, value in (task.get("labels") or {}).items()),
            *((name, both_times(task[name], now)) for name in times if task.get(name)),
            ("took", _took(task)),
            ("cost", _charge(task)),
            ("expected", compare(task, now, ends_by and clock_time(ends_by, now))),
        ]
    )
    for output in task.get("outputs") or []:
        parts = [clean(output["kind"])]
        if output.get("archived"):
            parts.append(f"saved as {clean(output['path'])} ({size(output['bytes'])})")
        where = "" if output.get("archived") else clean(output.get("url") or output.get("text") or "(no URL)")
        click.echo(f"output {output['n']}  {', '.join(parts)}")
        if where:
            click.echo(f"  {where}")


def _charge(task: Mapping[str, Json]) -> str:
    """What an ended task cost, as one sentence."""
    from tracker.domain.costs import cost_from, describe_charge

    cost = cost_from(task.get("cost"))
    if cost is None or task["status"] not in ENDS:
        return ""
    return describe_charge(failed=task["status"] == "FAILED", cost=cost)


def _took(task: Mapping[str, Json]) -> str:
    if not task.get("finished_at"):
        return ""
    begun = datetime.fromisoformat(task.get("submitted_at") or task["created_at"])
    return about((datetime.fromisoformat(task["finished_at"]) - begun).total_seconds())


def describe_amount(cost: Mapping[str, Json]) -> str:
    """An amount: ``0.08 USD``, ``12 credits``."""
    from tracker.domain.costs import Cost, exact

    amount = exact(cost["amount"])
    return "" if amount is None else str(Cost(amount, clean(cost["currency"])))


def describe_error(error: Mapping[str, Json]) -> str:
    """The service's error in one line: ``message (the service's code 400, HTTP 200)``."""
    labels = (("code", "the service's code"), ("http_status", "HTTP"))
    numbers = ", ".join(f"{label} {clean(error[key])}" for key, label in labels if error.get(key) is not None)
    message = clean(error.get("message"))
    return f"{message} ({numbers})" if message and numbers else message or numbers


def echo_events(events: Sequence[Mapping[str, Json]], now: datetime | None = None) -> None:
    """Write a task's history, oldest first; the status where it changed."""
    now = now or datetime.now(UTC)
    rows = [
        (
            event["seq"],
            clock_time(event["at"], now),
            source_of(event, "detail"),
            event["outcome"],
            event["to"] if event["to"] != event["from"] else "",
            localize(event["detail"], now),
        )
        for event in events
    ]
    echo_table(("seq", "at", "source", "outcome", "status", "detail"), rows, status_column=4)


def echo_event(event: Mapping[str, Json]) -> None:
    """Write an event of any task as a line."""
    now = datetime.now(UTC)
    status = str(event["to"]) if event["to"] != event["from"] else ""
    cells = [
        f"{event['seq']:>6}",
        clock_time(event["at"], now),
        clean(event["task_id"]),
        f"{source_of(event, 'detail'):<8}",
        f"{clean(event['outcome']):<9}",
        click.style(f"{clean(status):<9}", fg=STATUS_STYLES.get(status)),
        clean(localize(event["detail"], now)),
    ]
    click.echo("  ".join(cells))


_HELD = "held until its account is accepted"
"""As `tracker.domain.transitions.HELD`, which commands beside a daemon must not import."""


def echo_why(why: Mapping[str, Json], *, verbose: bool = False, now: datetime | None = None) -> None:
    """Write the explanation of a task as one screen; ``verbose`` adds counts and rules."""
    now = now or datetime.now(UTC)
    status = str(why["status"])
    click.echo(f"{clean(why['id'])}  {click.style(status, fg=STATUS_STYLES.get(status))}")
    echo_text(localize(why["summary"], now))
    if why["heard"]:
        echo_heading("History")
        echo_rows(_history(why, now))
    if why["next"]:
        echo_heading("Next")
        echo_rows((_when_next(entry["at"], now), localize(entry["what"], now)) for entry in why["next"])
    if notes := [*why["notes"], *(why.get("details", ()) if verbose else ())]:
        echo_heading("Notes")
        for note in notes:
            echo_text(localize(note, now), "  ")
    if why.get("actions"):
        echo_heading("You can:")
        for action in why["actions"]:
            echo_text(f"{action['what']}:", "  ")
            click.echo(f"    {clean(action['command'])}")


def _when_next(time: str | None, now: datetime) -> str:
    """When something happens: ``in 12 s``, ``in 15 min, at 20:42:00``."""
    if time is None:
        return "at any time"
    is_soon = (datetime.fromisoformat(time) - now).total_seconds() < _SOON_S
    return due(time, now) if is_soon else f"{due(time, now)}, at {clock_time(time, now)}"


def _history(why: Mapping[str, Json], now: datetime) -> Iterator[tuple[str, str, str]]:
    """The observations of a task, those in a row that say the same as one."""
    refused = {(entry["at"], entry["what"]) for entry in why["refused"]}
    for (source, text), group in groupby(why["heard"], lambda entry: (source_of(entry, "said"), entry["said"])):
        entries = list(group)
        first, last = entries[0], entries[-1]
        if text.startswith(_HELD) and text.removeprefix(f"{_HELD}: ") in why["summary"]:
            text = _HELD  # noqa: PLW2901 - the summary says why
        not_applied = " (not applied)" if (first["at"], f"{first['source']}: {text}") in refused else ""
        times = f" ({len(entries)} times, last at {clock_time(last['at'], now)})" if len(entries) > 1 else ""
        yield clock_time(first["at"], now), source, f"{localize(text, now)}{not_applied}{times}"


def source_of(entry: Mapping[str, Json], text: str) -> str:
    """What brought an entry of the history; the store records the archive's as made by the clock."""
    is_archive = entry["source"] == "clock" and str(entry[text]).startswith("archived:")
    return "archive" if is_archive else str(entry["source"])


def localize(text: str, now: datetime) -> str:
    """A sentence with its ISO times on the clock of this machine: ``since 20:42:01 (3 min ago)``."""
    return _ISO_TIME.sub(lambda found: both_times(found[0], now), text)


def both_times(time: str, now: datetime) -> str:
    """A time on the clock of this machine and relative to now: ``20:42:01 (3 min ago)``."""
    return f"{clock_time(time, now)} ({when(time, now)})"


def clock_time(time: str, now: datetime) -> str:
    """A time on the clock of this machine: ``20:42:01``, with the date if it is another day."""
    local = datetime.fromisoformat(time).astimezone()
    is_today = local.date() == now.astimezone().date()
    return local.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S")


def echo_text(text: str, indent: str = "") -> None:
    """Write sentences, on a terminal broken between words."""
    width = _terminal_width()
    lines = [clean(text)] if width is None else wrap(clean(text), max(width - len(indent), LEAST))
    for line in lines:
        click.echo(f"{indent}{line}")


def echo_rows(rows: Iterable[Sequence[object]]) -> None:
    """Write indented rows, every column but the last aligned; on a terminal the last one is broken between words."""
    lines = [[clean(value) for value in row] for row in rows]
    if not lines:
        return
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]) - 1)]
    for line in lines:
        echo_columns([text.ljust(width) for text, width in zip(line, widths, strict=False)] + [line[-1]])


def echo_columns(line: Sequence[str], indent: int = 2, style: Callable[[str], str] = str) -> None:
    """Write one line; on a terminal the last column is broken between words. ``style`` colours the first."""
    *first, last = map(clean, line)
    start = " " * indent + "".join(f"{column}  " for column in first)
    terminal = _terminal_width()
    lines = [last] if terminal is None else wrap(last, max(terminal - len(start), LEAST))
    for n, text in enumerate(lines):
        shown = start.replace(first[0], style(first[0]), 1) if n == 0 and first[0].strip() else " " * len(start)
        click.echo(f"{shown}{text}".rstrip())
