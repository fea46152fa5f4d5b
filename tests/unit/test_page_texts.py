"""What pages say: times, amounts, the title and the bar of a row."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from multidict import MultiDict

from tracker.pages.queries import ListQuery, canonical
from tracker.pages.rows import bar_of, describe_row, find_prompt
from tracker.pages.static_files import DIRECTORY, StaticFiles
from tracker.pages.texts import ago, day, money, seconds_between, time_ago, time_near, took, until

Json = Any

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
VENDORED = {
    "htmx.min.js": "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130",
    "hx-sse.min.js": "18ef2761356ec1fe0bb6d92612315b37517a7c1e9856b661c5ae81fef239d103",
}
"""htmx 4.0.1 as it was published: file -> SHA-256."""


def make_task(**changes: Json) -> Json:
    """The public form of a running task."""
    return {
        "id": "01KB9ZZZZZZZZZZZZZZZZZZZZZ",
        "route": "suno.generate",
        "external_id": "5c79",
        "status": "RUNNING",
        "stage": None,
        "progress": None,
        "reason": None,
        "outputs": [],
        "request": {"prompt": "a summer\n breeze"},
        "labels": {},
        "model": "V5",
        "created_at": "2026-11-30T11:58:00.000Z",
        "submitted_at": "2026-11-30T11:58:30.000Z",
        "finished_at": None,
        "ended_by": None,
        "expected": None,
        "cost": None,
        **changes,
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "now"),
        (0, "now"),
        (59, "now"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (7200, "2 h ago"),
        (864000, "10 d ago"),
    ],
)
def test_how_long_ago(seconds: int, text: str) -> None:
    """The largest whole unit; a time in the future is now."""
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text


def test_no_length_is_negative() -> None:
    """A clock that was set back makes no negative length."""
    assert seconds_between(NOW, NOW - timedelta(seconds=9)) == 0
    assert until(NOW - timedelta(seconds=9), NOW) == "now"
    assert until(NOW + timedelta(seconds=75), NOW) == "1:15"
    assert took(0.44) == "0.4 s"
    assert took(9.99) == "0:10"


@pytest.mark.parametrize(
    ("back", "text"),
    [
        (0, "Today, Monday 30 November"),
        (1, "Yesterday, Sunday 29 November"),
        (400, "Sunday 26 October 2025"),
    ],
)
def test_days(back: int, text: str) -> None:
    """A day is named; another year is said."""
    assert day(NOW - timedelta(days=back), NOW) == text


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (None, ""),
        ({"amount": 0.12, "currency": "USD", "kind": "actual"}, "$0.12"),
        ({"amount": 1234.5, "currency": "EUR", "kind": "estimate"}, "about €1,234.50"),
        ({"amount": 0.0023, "currency": "USD", "kind": "actual"}, "$0.0023"),
        ({"amount": 0.00000004, "currency": "USD", "kind": "estimate"}, "under $0.0001"),
        ({"amount": 0, "currency": "USD", "kind": "actual"}, "$0.00"),
        ({"amount": 1, "currency": "units", "kind": "actual"}, "1 unit"),
        ({"amount": 12, "currency": "credits", "kind": "actual"}, "12 credits"),
    ],
)
def test_money(cost: Json, text: str) -> None:
    """An amount in its currency or unit; an estimate says so."""
    assert money(cost) == text


def test_a_time_element_says_the_time_in_full() -> None:
    """The text is relative, the attribute and the title are exact."""
    assert time_ago("2026-11-30T10:59:59.123Z", NOW) == (
        '<time datetime="2026-11-30T10:59:59.123Z" title="2026-11-30 10:59:59 UTC" data-time="ago">1 h ago</time>'
    )


def test_the_day_is_said_unless_it_is_today() -> None:
    """A deadline of tomorrow is not mistaken for one of today."""
    assert ">11:00:00<" in time_near(NOW - timedelta(hours=1), NOW)
    assert ">2026-12-01 12:00:00 UTC<" in time_near(NOW + timedelta(days=1), NOW)


@pytest.mark.parametrize(
    ("request_body", "text"),
    [
        ({"prompt": " a  kite\n"}, "a kite"),
        ({"model": "m", "input": {"prompt": "a kite", "img_url": "https://x"}}, "a kite"),
        ({"messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}]}, "hello"),
        ({"messages": [{"content": [{"type": "text", "text": "look"}, {"type": "image"}]}]}, "look"),
        ({"contents": [{"parts": [{"text": "a fox"}]}]}, "a fox"),
        ({"prompt": "x" * 5000}, "x" * 300),
        ({"prompt": "", "title": "Breeze"}, "Breeze"),
        ({"prompt": 7}, None),
        (None, None),
        ([], None),
    ],
)
def test_the_prompt_of_a_request(request_body: Json, text: str | None) -> None:
    """What is wanted is found in the body of every provider, on one line and not longer than a row."""
    assert find_prompt(request_body) == text


def test_the_bar_of_a_task_that_is_late() -> None:
    """After the usual time the rest is drawn apart; all parts stay within the bar."""
    expected = {"p50_s": 20.0, "p90_s": 40.0, "samples": 9, "ready_at": None}
    bar = bar_of(make_task(expected=expected), NOW)
    assert bar is not None
    assert bar["late"]
    assert bar["text"] == "1:30 so far, usually 0:20 to 0:40"
    assert bar["fill"] + bar["over"] == pytest.approx(100)
    assert bar_of(make_task(submitted_at=None), NOW) is None
    unknown = bar_of(make_task(), NOW)
    assert unknown is not None
    assert unknown["usual"] is None


def test_a_row_without_a_prompt_has_a_title() -> None:
    """The route and the id of the service stand for a request that is no longer stored."""
    row = describe_row(make_task(request=None, labels={str(n): "x" for n in range(30)}), NOW, "song")
    assert row["title"] == "suno.generate 5c79"
    assert (len(row["labels"]), row["more_labels"]) == (3, 27)
    assert row["media"] == {"kind": "audio", "picture": None, "playable": None}


@pytest.mark.parametrize(
    ("given", "query"),
    [
        ([("status", "FAILED")], None),
        ([("q", ""), ("route", ""), ("status", "FAILED")], "status=FAILED"),
        ([("q", "label.user:42 a kite reason:expired")], "label.user=42&reason=expired&q=a+kite"),
        ([("q", "status:failed"), ("status", "RUNNING")], "status=FAILED"),
        ([("q", " kite ")], "q=kite"),
    ],
)
def test_what_is_typed_becomes_parameters(given: list[tuple[str, str]], query: str | None) -> None:
    """Terms of the search box become the parameters of the API; empty ones go."""
    assert canonical(MultiDict(given)) == query


def test_links_keep_the_other_filters() -> None:
    """A link changes one filter, begins at the first page, and names the same command."""
    query = ListQuery({"status": "FAILED", "label.user": "42", "cursor": "x", "q": "a kite"})
    assert query.link({"status": None}) == "?label.user=42&q=a+kite"
    assert query.command() == "tracker list --status FAILED --label user=42 --q 'a kite'"


def test_the_vendored_scripts_are_as_published() -> None:
    """Htmx and its extension are unchanged."""
    for name, digest in VENDORED.items():
        assert hashlib.sha256((DIRECTORY / name).read_bytes()).hexdigest() == digest, name
    assert "Zero-Clause BSD" in (DIRECTORY / "htmx.LICENSE").read_text(encoding="utf-8")


def test_static_names_hold_the_digest() -> None:
    """A changed file has another name, so browsers may keep it for ever."""
    files = StaticFiles()
    url = files.url("tracker.css")
    found = files.find(url.removeprefix("static/"))
    assert found is not None
    assert hashlib.sha256(found.body).hexdigest()[:12] in url
    assert files.find("tracker.css") is None
