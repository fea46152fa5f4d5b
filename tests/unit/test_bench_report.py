"""What ``make bench`` writes, on made-up figures."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.bench import plots, report
from tests.bench.report import Figure, Result, at_least, at_most

MET = Figure("ingest / bare", (0.5, 0.6, 0.52), "", at_least(0.48, 0.6))
MISSED = Figure("look-up", (31.0, 25.0), "ms", at_most(20, 5))
FREE = Figure("rate", (9_000.0,), "/s")
AT = datetime(2026, 11, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("figures", "status"),
    [((MET, FREE), 0), ((MET, MISSED), 1), ((FREE,), 0), ((Figure("edge", (0.48,), "", at_least(0.48)),), 0)],
)
def test_exit_status_is_1_when_a_target_is_missed(figures: tuple[Figure, ...], status: int) -> None:
    """A figure that equals its bound meets it; one without a target cannot miss."""
    assert report.exit_status([Result("callbacks", figures)]) == status


def test_table_shows_each_figure_beside_its_target() -> None:
    """Median, spread, target, goal, and whether it is met."""
    lines = report.table(Result("callbacks", (MET, MISSED, FREE), ["two connections"])).splitlines()
    assert lines[1].split() == ["ingest", "/", "bare", "0.52", "[0.50-0.60]", ">=", "0.48", "0.60", "met"]
    assert lines[2].split() == ["look-up", "28", "[25-31]", "ms", "<=", "20", "5.00", "MISSED"]
    assert lines[3].split() == ["rate", "9,000", "/s"]
    assert lines[4] == "  two connections"


def test_json_holds_figures_targets_and_the_machine(tmp_path: Path) -> None:
    """Everything that the table shows, the values of each round, and what it was measured on."""
    about = report.describe(tmp_path)
    path = report.write_json(tmp_path / "new", [Result("lookups", (MET, MISSED, FREE))], about, AT)
    found = json.loads(path.read_text())
    assert found["taken_at"] == "2026-11-29T00:00:00+00:00"
    assert found["missed"] == ["lookups: look-up"]
    assert {"cores", "cpu", "python", "compiler", "pgo", "sqlite", "aiohttp", "uvloop", "load_generator"} <= set(
        found["about"]
    )
    (result,) = found["results"]
    assert result["figures"][1] == {
        "name": "look-up",
        "unit": "ms",
        "median": 28.0,
        "min": 25.0,
        "max": 31.0,
        "values": [31.0, 25.0],
        "target": {"bound": 20, "goal": 5, "direction": "at most"},
        "met": False,
    }
    assert result["figures"][2]["target"] is None
    assert result["figures"][2]["met"] is None


def test_description_names_the_build_and_the_load_generator() -> None:
    """The figures mean nothing without them."""
    about = {**report.describe(Path()), "pgo": False, "lto": False, "sqlite": "3.40.1", "load_generator": "wrk"}
    text = report.description(about)
    assert "without PGO" in text
    assert "SQLite 3.40.1" in text
    assert text.endswith("load by wrk")


def test_plot_of_targets_is_svg_with_a_row_for_each_target() -> None:
    """Figures without a target are left out."""
    root = ET.fromstring(plots.targets([Result("a<b", (MET, MISSED, FREE))]))  # noqa: S314 - made here
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a<b: ingest / bare", "a<b: look-up"} <= set(texts)
    assert "a<b: rate" not in texts


@pytest.mark.parametrize("log", [False, True])
def test_plot_of_lines_is_svg_inside_its_frame(*, log: bool) -> None:
    """Every point is drawn, linear and logarithmic, zero and one value included."""
    points = ((1, 0.5), (64, 7_000.0), (256, 12_345.0))
    drawn = [plots.Line("tracker", points), plots.Line("bare & more", ((1, 3.0),))]
    svg = plots.lines("Ingest", plots.Axis("connections", log=log), plots.Axis("callbacks/s", log=log), drawn)
    root = ET.fromstring(svg)  # noqa: S314 - made here
    circles = list(root.iter("{http://www.w3.org/2000/svg}circle"))
    assert len(circles) == 4
    for circle in circles:
        assert 0 <= float(circle.attrib["cx"]) <= plots.WIDTH
        assert 0 <= float(circle.attrib["cy"]) <= plots.HEIGHT
