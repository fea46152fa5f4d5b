"""Alert rules, dashboard and their page: valid, complete, and only about metrics and labels that exist."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.kits.daemon import REPOSITORY
from tests.kits.metrics import METRICS, OF_PROCESS

RULES = REPOSITORY / "config" / "prometheus" / "tracker.rules.yml"
PAGE = REPOSITORY / "config" / "prometheus" / "README.md"
DASHBOARD = REPOSITORY / "config" / "grafana" / "tracker.json"
CASES = Path(__file__).with_name("alert_rules.yml")
OF_PROMETHEUS = {"up"}
TARGET_LABELS = {"job", "instance"}
ROWS = [
    "Now",
    "Ends by route and reason",
    "Time to know",
    "Callbacks against polls",
    "Upstream",
    "Hooks",
    "Archive",
    "Store",
    "Process",
]
_SELECTOR = re.compile(r"\b((?:tracker|process)_\w+|up)\b(?:\{([^}]*)\})?")
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring) \(([^)]*)\)")


def rules() -> list[dict[str, Any]]:
    """The alert rules."""
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return list(group["rules"])


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard, rows included."""
    return list(json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"])


def expressions() -> Iterator[tuple[str, str]]:
    """Each expression with where it is."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in json.loads(DASHBOARD.read_text(encoding="utf-8"))["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]


@pytest.mark.parametrize(("where", "expression"), [pytest.param(*one, id=one[0]) for one in expressions()])
def test_expressions_use_metrics_and_labels_that_exist(where: str, expression: str) -> None:
    """A misspelt name would be an empty panel, or an alert that never fires."""
    known: set[str] = set(TARGET_LABELS)
    for name, selector in _SELECTOR.findall(expression):
        labels = labels_of(name)
        assert labels is not None, f"{where}: there is no metric {name}"
        named = set(re.findall(r"(\w+)\s*[=!]~?\"", selector))
        assert named <= labels | TARGET_LABELS, f"{where}: {name} has no label {named - labels}"
        known |= labels
    for listed in _GROUPING.findall(expression):
        assert {label.strip() for label in listed.split(",")} <= known, where


def labels_of(name: str) -> set[str] | None:
    """The labels of a series, None if there is none of this name."""
    if name in OF_PROMETHEUS | OF_PROCESS:
        return set()
    if name in METRICS and METRICS[name].kind != "histogram":
        return set(METRICS[name].labels)
    base, _, suffix = name.rpartition("_")
    if METRICS.get(base) is None or METRICS[base].kind != "histogram" or suffix not in {"bucket", "sum", "count"}:
        return None
    return set(METRICS[base].labels) | ({"le"} if suffix == "bucket" else set())


def test_every_metric_is_on_the_dashboard_or_in_a_rule() -> None:
    """Each metric is used by a rule or a panel."""
    text = " ".join(expression for _, expression in expressions())
    assert [name for name in METRICS if name not in text] == []


def test_every_alert_says_what_to_do() -> None:
    """Severity, summary, description, and a section of the page that it links to; each section has its alert."""
    page = PAGE.read_text(encoding="utf-8")
    sections = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    assert sections == [rule["alert"] for rule in rules()]
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        notes = rule["annotations"]
        assert notes["summary"].endswith(".")
        assert notes["description"].endswith(".")
        assert notes["runbook_url"] == f"{PAGE.relative_to(REPOSITORY)}#{rule['alert'].lower()}"
    anchors = {section.lower() for section in sections}
    assert set(re.findall(r"\]\(#(\w+)\)", page)) <= anchors


def test_the_page_lists_every_metric() -> None:
    """Once, with its labels."""
    rows = re.findall(r"^\| [\w ]+ \| (`.*`) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    found = re.findall(r"`(\w+)(?:\{([\w,]+)\})?`", " ".join(rows))
    listed = [(f"tracker_{name}", set(labels.split(",") if labels else ())) for name, labels in found]
    assert sorted(name for name, _ in listed) == sorted(METRICS)
    assert dict(listed) == {name: metric.labels for name, metric in METRICS.items()}


def test_the_dashboard_can_be_imported() -> None:
    """Rows as promised, ids once, no panel over another, and the data source is chosen at the import."""
    listed = panels()
    assert [panel["title"] for panel in listed if panel["type"] == "row"] == ROWS
    assert len({panel["id"] for panel in listed}) == len(listed)
    cells = [
        (x, y)
        for panel in listed
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    sources = {str(panel["datasource"]) for panel in listed if panel["type"] != "row"}
    assert sources == {str({"type": "prometheus", "uid": "${datasource}"})}


@pytest.fixture
def promtool() -> str:
    """The program; without it the test is skipped, and fails where CI has to install it."""
    found = shutil.which("promtool")
    if found is None:
        message = "NOT TESTED: promtool (Debian package prometheus) is not installed, so no rule was checked by it"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return str(found)


@pytest.mark.parametrize("arguments", [("check", "rules", RULES), ("test", "rules", CASES)], ids=["check", "test"])
def test_promtool_accepts_the_rules(promtool: str, arguments: tuple[str | Path, ...]) -> None:
    """Each expression is valid, and each alert fires on what it is for, and on nothing else."""
    ran = subprocess.run([promtool, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_has_a_case() -> None:
    """An alert without one may never fire."""
    tried = set(re.findall(r"expr: ALERTS\{alertname=\"(\w+)\"", CASES.read_text(encoding="utf-8")))
    assert tried == {rule["alert"] for rule in rules()}
