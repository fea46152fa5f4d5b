"""The sandbox's data files: templates, conditions and checks, and that every family is complete."""

from typing import Any

import pytest

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.checks import KINDS, find_failed
from tracker.sandbox.families.registry import list_routes
from tracker.sandbox.interpreter import DataJobRoute, DataSyncRoute
from tracker.sandbox.routes import Refusal
from tracker.sandbox.scope import TIME_FORMATS
from tracker.sandbox.templates import fill, matches, merge

SCOPE: dict[str, Any] = {
    "id": 7,
    "none": None,
    "request": {"n": [1]},
    "url": lambda label: f"https://x/{label}",
    "files": lambda _: [{"n": 0}, {"n": 1}],
}
TABLES = {route.name: route for route in list_routes() if isinstance(route, DataJobRoute | DataSyncRoute)}
every_route = pytest.mark.parametrize("name", TABLES)


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("$id", 7),
        ("$request.n", [1]),
        ("$request.n.deeper", None),
        ("$url.video", "https://x/video"),
        ("job ${id} of ${none}.", "job 7 of ."),
        ("$id and $id", "$id and $id"),
        ({"a": "$none", "b": "$?none", "c": ["$?none", "$id"]}, {"a": None, "c": [7]}),
        ([{"$each": "files.image", "index": "$n"}], [{"index": 0}, {"index": 1}]),
        ([{"$each": "files.image", "$item": "$n"}], [0, 1]),
        ({"$json": {"id": "$id"}}, '{"id":7}'),
        (3, 3),
    ],
)
def test_placeholders_are_replaced(template: object, filled: object) -> None:
    """A placeholder alone keeps its type; a missing value is null, empty text, or leaves its key out."""
    assert fill(template, SCOPE) == filled


def test_objects_are_merged_and_anything_else_is_replaced() -> None:
    """Nested objects are joined; lists, texts and null replace what was there."""
    assert merge({"a": {"b": 1, "c": [1]}}, {"a": {"c": [2], "d": None}}) == {"a": {"b": 1, "c": [2], "d": None}}
    assert merge({"a": {"b": 1}}, {"a": "text"}) == {"a": "text"}


@pytest.mark.parametrize(
    ("when", "expected"),
    [({}, True), ({"id": 7}, True), ({"id": [1, 7]}, True), ({"id": True}, False), ({"model": "gpt-*"}, True)],
)
def test_conditions_compare_values_of_one_type(when: dict[str, Any], *, expected: bool) -> None:
    """Every name must match; a list offers alternatives, and a text may be a pattern."""
    assert matches(when, {"id": 7, "model": "gpt-image-1"}) is expected


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        ({}, "x", " "),
        ({"is": "boolean"}, False, 0),
        ({"is": "integer", "min": 1, "max": 9}, 9, True),
        ({"is": "one_of", "values": ["a"]}, "a", ["a"]),
        ({"is": "objects"}, [{}], []),
        ({"is": "seconds"}, 0.5, -1),
        ({"is": "string", "optional": True}, "", 3),
        ({"is": "short", "max": 2}, "ab", "abc"),
    ],
)
def test_checks_find_the_first_wrong_field(check: dict[str, Any], good: object, bad: object) -> None:
    """A good value passes and a bad one is found."""
    checks = [{"field": "given.f", **check}]
    assert find_failed(checks, {"body": {"given": {"f": good}}, "headers": {}}) is None
    assert find_failed(checks, {"body": {"given": {"f": bad}}, "headers": {}}) is checks[0]


@every_route
def test_every_route_is_described_completely(name: str) -> None:
    """All refusals have an entry, faults and checks are of known kinds, stages have statuses."""
    table, job = TABLES[name].table, isinstance(TABLES[name], DataJobRoute)
    assert {*Refusal, "invalid"} | ({"unknown"} if job else set()) <= table["refusals"].keys()
    assert table.get("faults", {}).keys() <= set(GenerationFault)
    assert {check.get("is", "text") for check in table["checks"]} <= KINDS.keys()
    assert table.get("time", "s") in TIME_FORMATS
    if job:
        assert {"succeeded", "failed", "strange"} <= table["statuses"].keys()
        assert "body" in table["query_answer"]
    else:
        assert "body" in table["result"]
