"""The table of routes in the README is written from the registry: ``python -m tests.contract.test_readme_routes``.

The tests compare every row that is there. ``make check`` finds missing routes: it runs this module with
``--check``. So a new route makes the table incomplete, but no test fail.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from click.testing import CliRunner

from tracker.cli.main import cli
from tracker.providers.registry import Registry
from tracker.providers.route import Route

README = Path(__file__).parents[2] / "README.md"
HEAD = "| route | create | query | calls back | source |\n|---|---|---|---|---|\n"
NONE = "\N{EN DASH}"
_TABLE = re.compile(rf"{re.escape(HEAD)}((?:\|.*\|\n)*)")


def write_row(route: Route) -> str:
    """A route as a row of the table."""
    query = NONE if route.query is None else f"`{route.query}`"
    calls_back = "yes" if route.callback else "no"
    source = f"[{route.source.rpartition('/')[2]}]({route.source})"
    return f"| `{route.name}` | `{route.create}` | {query} | {calls_back} | {source} |\n"


def write_table(page: str, routes: Iterable[Route]) -> str:
    """A page with its table of routes replaced."""
    table = HEAD + "".join(map(write_row, routes))
    return _TABLE.sub(lambda _: table, page)


def list_rows() -> list[str]:
    """The rows of the table in the README."""
    (rows,) = _TABLE.findall(README.read_text(encoding="utf-8"))
    return str(rows).splitlines(keepends=True)


def test_every_row_is_a_route_of_the_registry() -> None:
    """Each row once, in the order of the registry, with paths, callbacks and the document that describes the route."""
    rows = list_rows()
    assert rows == [row for row in map(write_row, Registry().routes()) if row in rows]
    assert len(rows) > 30


def test_the_table_is_written_from_the_registry() -> None:
    """The command writes every route of the registry, and nothing else of the page changes."""
    page = "# Tracker\n\n" + HEAD + "| old |\n\nText.\n"
    assert write_table(page, Registry().routes()) == page.replace(
        "| old |\n", "".join(map(write_row, Registry().routes()))
    )


def test_the_command_prints_the_same(tmp_path: Path) -> None:
    """``tracker routes`` without a daemon lists what the table lists, and the signatures."""
    config = tmp_path / "tracker.toml"
    config.write_text('[server]\nlisten = "127.0.0.1:9"\n')
    result = CliRunner().invoke(cli, ["routes", "--json", "--config", str(config)])
    assert result.exit_code == 0, result.output
    items = json.loads(result.stdout)["items"]
    routes = Registry().routes()
    for name in ("create", "query", "callback", "source", "signature"):
        assert [(item["route"], item[name]) for item in items] == [
            (route.name, getattr(route, name)) for route in routes
        ]
    assert {item["signature"] for item in items} == {None, "standard-webhooks", "suno-hmac"}


def main() -> None:
    """Write the table, or with ``--check`` only report that it is out of date."""
    page = README.read_text(encoding="utf-8")
    written = write_table(page, Registry().routes())
    if "--check" in sys.argv and page != written:
        raise SystemExit("README.md: routes are missing; write the table: python -m tests.contract.test_readme_routes")
    README.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
