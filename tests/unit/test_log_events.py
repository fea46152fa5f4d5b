"""The list of log events in config/README.md and the events that the code logs are the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception"}
EVENT = re.compile(r"[a-z_]+(\.[a-z_]+)+")
ROW = re.compile(r"\| `(?P<event>[a-z._]+)` \| (?P<levels>[a-z, ]+) \| (?P<meaning>[^|]+) \|")


def find_logged(package: Path) -> dict[str, set[str]]:
    """Event -> levels, read from the source; `log.exception` logs at the level error."""
    logged: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[event, *_]):
                    if level not in LEVELS:
                        continue
                    names = list(find_names(event, tree))
                    assert names, f"{path}:{node.lineno}: the event is not a name that this test can find"
                    for name in names:
                        logged.setdefault(name, set()).add("error" if level == "exception" else level)
                case _:
                    pass
    return logged


def find_names(event: ast.expr, tree: ast.Module) -> Iterator[str]:
    """The names that an event may have: a text, one of two texts, or the values of a table of the module."""
    match event:
        case ast.Constant(value=str(name)):
            yield name
        case ast.IfExp(body=body, orelse=orelse):
            yield from find_names(body, tree)
            yield from find_names(orelse, tree)
        case ast.Subscript(value=ast.Name(id=table)):
            for node in tree.body:
                match node:
                    case (
                        ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict(values=values))
                        | ast.AnnAssign(target=ast.Name(id=name), value=ast.Dict(values=values))
                    ) if name == table:
                        for value in values:
                            yield from find_names(value, tree)
                    case _:
                        pass
        case _:
            pass


def read_table() -> dict[str, set[str]]:
    """Event -> levels, as the page lists them."""
    text = (REPOSITORY / "config" / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n## Log events\n")[2].partition("\n## ")[0]
    rows = [found for line in section.splitlines() if (found := ROW.fullmatch(line))]
    assert len(rows) == len({row["event"] for row in rows}), "an event is listed twice"
    return {row["event"]: set(row["levels"].split(", ")) for row in rows}


def test_the_page_lists_every_log_event() -> None:
    """Each event of the code is in the table with its levels, and each row is an event of the code."""
    logged = find_logged(REPOSITORY / "tracker")
    assert all(EVENT.fullmatch(event) for event in logged), sorted(logged)
    assert read_table() == logged


def test_the_table_is_sorted() -> None:
    """A reader finds an event by its name."""
    assert list(read_table()) == sorted(read_table())
