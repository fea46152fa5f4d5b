"""Figures in the answers about ended jobs: times, usage and costs."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from tracker.domain.observation import Reading
from tracker.domain.records import iso
from tracker.domain.task import Status, UpstreamError
from tracker.domain.upstream_http import WireReply
from tracker.providers.families import kling
from tracker.providers.reading.figures import (
    CHINA,
    FigureFields,
    credits_of,
    find_time,
    with_callback_figures,
    with_figures,
)

MORNING = "2026-01-05T01:49:16.000Z"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (1767577756, MORNING),
        (1767577756.0, MORNING),
        ("1767577756", MORNING),
        (1767577756000, MORNING),
        (1767577756000000, MORNING),
        (1767577756000000000, MORNING),
        ("2026-01-05 09:49:16", MORNING),
        ("2026-01-05T01:49:16Z", MORNING),
        (" 2026-01-05T03:49:16+02:00 ", MORNING),
        ("2026-01-05T01:49:16.000000123Z", MORNING),
        ("20260105T014916Z", MORNING),
    ],
)
def test_ways_to_write_a_time(written: object, read: str) -> None:
    """Seconds to nanoseconds since 1970, or ISO 8601; without a zone it is that of the provider."""
    assert iso(find_time(written, CHINA)) == read


@pytest.mark.parametrize(
    "written",
    [
        *(None, 0, 1, True, -1767577756, float("nan"), float("inf"), 1e21, [1767577756], {"at": 1767577756}),
        *("", "soon", "0", "2026-01-05", "9" * 30, "9" * 50, "²²²²²²²²²²"),
        *("0001-01-01T00:00:00+08:00", "9999-12-31T23:59:59-08:00"),
    ],
)
def test_other_values_are_not_times(written: object) -> None:
    """Zero for a job that goes on, a date alone, and anything of another type."""
    assert find_time(written, CHINA) is None


def test_a_time_without_a_zone_says_nothing_where_the_zone_is_not_known() -> None:
    """It may be off by hours."""
    assert find_time("2026-01-05 09:49:16") is None
    assert find_time("2026-01-05 09:49:16", UTC) == datetime(2026, 1, 5, 9, 49, 16, tzinfo=UTC)


def test_only_the_end_of_a_job_has_a_time() -> None:
    """The last change of a running task is not its end; the first field that holds a time counts."""
    fields = FigureFields(finished=("done_at", "changed_at"))
    body = {"data": {"done_at": None, "changed_at": 1767577756}}
    assert with_figures(Reading(status=Status.RUNNING), body, fields).finished_at is None
    assert iso(with_figures(Reading(status=Status.FAILED), body, fields).finished_at) == MORNING


FIELDS = FigureFields(
    usage=("usage", "credits"), find_cost=lambda usage: credits_of(usage.get("credits")), refunds=frozenset({"531"})
)


@pytest.mark.parametrize(
    ("body", "usage", "cost"),
    [
        ({"data": {"usage": {"tokens": 7}, "credits": "0.4"}}, '{"tokens":7,"credits":"0.4"}', "0.4 credits"),
        ({"usage": {"credits": 1}}, '{"credits":1}', "1 credit"),
        ({"credits": -1}, '{"credits":-1}', None),
        ({"credits": 1e300}, '{"credits":1e+300}', None),
        ({"credits": 2**70}, None, None),
        ({"credits": "\ud800"}, None, None),
        ({"usage": {"text": "x" * 20_000}, "credits": 2}, None, "2 credits"),
        ({"usage": "7", "credits": None}, '{"usage":"7"}', None),
        ({"usage": {}}, None, None),
    ],
)
def test_what_a_job_used(body: object, usage: str | None, cost: str | None) -> None:
    """An object of figures or single figures are stored as they are written; an implausible cost is not one."""
    read = with_figures(Reading(status=Status.SUCCEEDED), body, FIELDS)
    assert (read.usage, read.cost and str(read.cost)) == (usage, cost)


def test_a_refund_is_a_cost_of_nothing() -> None:
    """By the code of the failure, although the callbacks of this provider have no figures."""
    silent = FigureFields(usage=("credits",), refunds=frozenset({"531"}), in_callbacks=False)
    failed = Reading(status=Status.FAILED, error=UpstreamError("531", "refunded"))
    assert str(with_callback_figures(failed, {"credits": 7}, silent).cost) == "0 credits"
    other = Reading(status=Status.FAILED, error=UpstreamError("500", "no"))
    assert with_callback_figures(other, {"credits": 7}, silent).cost is None


def test_a_sum_of_many_charges_is_not_a_cost_if_it_is_implausible() -> None:
    """Each part is plausible, and the sum does not fit into the store: the end of the task would be lost."""
    charges = [{"charge_type": "unit", "amount": "1000000"}] * 10_000
    body = {
        "code": 0,
        "data": {
            "task_id": "k-1",
            "task_status": "succeed",
            "task_result": {"videos": [{"url": "https://cdn.example.com/1.mp4"}]},
            "billing": charges,
        },
    }
    route = next(route for route in kling.PROVIDER.routes if route.name == "kling.omni-video")
    reading = kling.PROVIDER.read_poll(route, WireReply(200, body=orjson.dumps(body)))
    assert (reading.status, reading.cost) == (Status.SUCCEEDED, None)
