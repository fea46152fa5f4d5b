"""The table of routes in the README and the routes that the program knows are the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

from click.testing import CliRunner

from tracker.cli.main import cli
from tracker.providers.protocol import Route
from tracker.providers.registry import Registry

README = Path(__file__).parents[2] / "README.md"
NONE = "\N{EN DASH}"
_ROW = re.compile(
    r"\| `(?P<route>[^`]+)` \| `(?P<create>[^`]+)` \| (?P<query>[^|]+) \| (?P<back>\w+) \| (?P<source>.+) \|"
)


def list_rows() -> list[tuple[str, str, str | None, bool, str]]:
    """The rows of the table, read as a reader of the page would."""
    section = README.read_text().partition("\n## Routes\n")[2].partition("\n## ")[0]
    rows = []
    for line in section.partition("###")[0].splitlines():
        found = _ROW.fullmatch(line)
        if found is not None:
            query = None if found["query"] == NONE else found["query"].strip("`")
            label, _, address = found["source"].strip("[)").partition("](")
            assert address.endswith(f"/{label}"), line
            rows.append((found["route"], found["create"], query, found["back"] == "yes", address))
    return rows


def test_the_table_is_the_registry() -> None:
    """Every route once, in order, with its paths, whether it calls back, and where it is documented."""

    def shown(route: Route) -> tuple[str, str, str | None, bool, str]:
        return route.name, route.create, route.query, route.callback, route.source

    assert list_rows() == [shown(route) for route in Registry().routes()]


def test_the_command_prints_the_same(tmp_path: Path) -> None:
    """``tracker routes`` without a daemon lists what the table lists, and the signatures besides."""
    config = tmp_path / "tracker.toml"
    config.write_text('[server]\nlisten = "127.0.0.1:9"\n')
    result = CliRunner().invoke(cli, ["routes", "--json", "--config", str(config)])
    assert result.exit_code == 0, result.output
    items = json.loads(result.stdout)["items"]
    names = ("route", "create", "query", "callback", "source")
    assert [tuple(item[name] for name in names) for item in items] == list_rows()
    assert {item["signature"] for item in items} == {None, "standard-webhooks", "suno-hmac"}
