"""Waits before retries: ``Retry-After``, growing delays, jitter."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.domain.retry import (
    RETRY_AFTER_MAX_S,
    growing_delay_s,
    growing_delays_s,
    jittered,
    parse_http_date,
    parse_retry_after,
)

NOW = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
HTTP_DATES = st.builds(
    "{}, {} Jan {} {}:{}:{} {}".format,
    st.sampled_from(["Mon", "Tue", "x"]),
    *(st.integers(-1, 99) for _ in range(1)),
    st.integers(-1, 10**40),
    *(st.integers(-1, 99) for _ in range(3)),
    st.sampled_from(["GMT", "", "-0000", "+9999", "+99999999999999999999"]),
)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 120 "}, 120),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "99999999999999999999"}, RETRY_AFTER_MAX_S),
        ({"retry-after": "9" * 5000}, RETRY_AFTER_MAX_S),
        ({"retry-after": "Mon, 05 Jan 2026 10:00:30 GMT"}, 30),
        ({"retry-after": "Mon, 05 Jan 2026 10:00:30"}, 30),
        ({"retry-after": "Mon, 05 Jan 2026 10:00:30 GMT", "date": "Mon, 05 Jan 2026 10:00:10 GMT"}, 20),
        ({"retry-after": "Mon, 05 Jan 2026 10:00:30 GMT", "date": "junk"}, 30),
        ({"retry-after": "Mon, 05 Jan 2026 09:00:00 GMT"}, 0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, RETRY_AFTER_MAX_S),
        ({"retry-after": "Mon, 1 Jan 99999999999 00:00:00 GMT"}, None),
        ({"retry-after": "Fri, 20 Nov 2026 20:42:30 +99999999999999999999"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "5."}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds and dates are read; a date counts from the response's own clock, else from its arrival."""
    assert parse_retry_after(headers, NOW) == seconds


def test_retry_after_date_needs_a_clock() -> None:
    """A date without a time to count from is ignored."""
    headers = {"retry-after": "Mon, 05 Jan 2026 10:00:30 GMT"}
    assert parse_retry_after(headers, None) is None
    assert parse_retry_after(headers, NOW + timedelta(seconds=25)) == 5


@given(st.text() | HTTP_DATES, st.none() | st.text() | HTTP_DATES)
def test_retry_after_is_bounded_whatever_is_sent(value: str, date: str | None) -> None:
    """Any header gives None or 0 to the maximum, never an exception."""
    headers = {"retry-after": value} if date is None else {"retry-after": value, "date": date}
    seconds = parse_retry_after(headers, NOW)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_MAX_S


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Mon, 05 Jan 2026 10:00:00 GMT", NOW),
        ("Mon, 05 Jan 2026 10:00:00", NOW),
        ("Mon, 1 Jan 99999999999 00:00:00 GMT", None),
        ("", None),
    ],
)
def test_http_dates(text: str, found: datetime | None) -> None:
    """Dates are aware; an invalid one is None, whatever its year."""
    assert parse_http_date(text) == found


@pytest.mark.parametrize(
    ("step", "seconds"), [(0, 0.5), (1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (50, 5.0), (10**9, 5.0)]
)
def test_delays_double_to_their_maximum(step: int, seconds: float) -> None:
    """From the first delay to the maximum, without overflow."""
    assert growing_delay_s(step, 0.5, 5.0) == seconds


def test_delays_of_a_loop_are_endless() -> None:
    """A loop takes one delay per round and stays at the maximum."""
    assert list(islice(growing_delays_s(1.0, 6.0), 5)) == [1.0, 2.0, 4.0, 6.0, 6.0]


@pytest.mark.parametrize(("draw", "seconds"), [(0.0, 9.0), (0.5, 10.0), (1.0, 11.0)])
def test_jitter_is_a_tenth_either_way(draw: float, seconds: float) -> None:
    """0.9 to 1.1 of the delay."""
    assert jittered(10.0, draw) == pytest.approx(seconds)
