"""Query parameters: one value for each, for the handlers, the API description and the commands."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from tracker.domain.task import Status
from tracker.errors import FieldProblem, RequestInvalid
from tracker.server.queries import DELIVERY_RETRY, STATUS, TASK_LIST, parse_query


def test_commands_import_no_web_server_for_them() -> None:
    """The module is cheap: the start of a command must not load aiohttp, pydantic or the store."""
    code = "import sys, tracker.server.queries; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"aiohttp", "pydantic", "difflib", "sqlite3"} & set(loaded)


def test_choices_are_those_of_the_enumeration() -> None:
    """A new status is in the list without a second entry."""
    assert STATUS.choices == tuple(Status)


def test_values_are_parsed() -> None:
    """Each by its parameter; labels together."""
    given = [("status", "FAILED"), ("since", "2026-11-20T20:42:00Z"), ("limit", "7"), ("label.user", "42")]
    assert parse_query(given, TASK_LIST) == {
        "status": "FAILED",
        "since": datetime(2026, 11, 20, 20, 42, tzinfo=UTC),
        "limit": 7,
        "labels": {"user": "42"},
    }
    assert parse_query((), DELIVERY_RETRY) == {}


def test_every_mistake_is_named() -> None:
    """Unknown, repeated and wrong parameters at once."""
    given = [("statsu", "FAILED"), ("limit", "0"), ("q", "a"), ("q", "b")]
    with pytest.raises(RequestInvalid) as caught:
        parse_query(given, TASK_LIST)
    messages = {problem.loc: problem.msg for problem in caught.value.problems}
    assert messages["query", "statsu"].endswith("did you mean status?")
    assert messages["query", "limit"] == "must be an integer from 1 to 500"
    assert messages["query", "q"] == "is given more than once"


@pytest.mark.parametrize("name", ["label.a{}", "statuz{}"])
def test_the_number_of_parameters_is_bounded(name: str) -> None:
    """Thousands of labels were a query that the store cannot read, thousands of unknown names long comparisons."""
    given = [(name.format(n), "1") for n in range(101)]
    with pytest.raises(RequestInvalid) as refused:
        parse_query(given, TASK_LIST)
    assert refused.value.problems == [FieldProblem(("query",), "has 101 parameters; at most 100")]
    assert len(parse_query([(f"label.a{n}", "1") for n in range(64)], TASK_LIST)["labels"]) == 64
