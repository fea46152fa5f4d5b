"""Poll intervals, delays between submit attempts, deadlines."""

import pytest
from msgspec.structs import replace

from tests.kits.clock import START, after
from tests.kits.factories import POLICY, TIMING, make_task
from tracker.domain.schedule import PollPolicy, PollTiming, deadline_of, poll_interval_s, submit_delay_s


def test_poll_intervals_grow_to_their_maximum() -> None:
    """From the suggested interval to the maximum, never shrinking, for any number of polls."""
    intervals = [poll_interval_s(step, TIMING) for step in (*range(12), 100, 10_000)]
    assert intervals[0] == 5.0
    assert intervals[1] == pytest.approx(7.0)
    assert intervals == sorted(intervals)
    assert intervals[-1] == POLICY.max_interval_s


@pytest.mark.parametrize(
    ("suggested_s", "expected_s"),
    [(0.0, 3.0), (2.0, 3.0), (8.0, 8.0), (90.0, 30.0)],
)
def test_the_policy_limits_the_suggestion(suggested_s: float, expected_s: float) -> None:
    """A contract's suggestion stays within the configured bounds."""
    assert poll_interval_s(0, PollTiming(POLICY, suggested_s)) == expected_s


def test_polls_are_rarer_while_callbacks_are_healthy() -> None:
    """Twice the interval, even beyond the maximum: polls are a fallback then."""
    healthy = replace(TIMING, callbacks_healthy=True)
    assert poll_interval_s(0, healthy) == 10.0
    assert poll_interval_s(50, healthy) == 60.0


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("asked_s", [0.0, 0.5, 7.0, 3600.0])
def test_retry_after_is_the_minimum(asked_s: float, jitter: float) -> None:
    """The upstream's Retry-After, plus a second at most."""
    assert asked_s <= submit_delay_s(1, asked_s, replace(TIMING, jitter=jitter)) <= asked_s + 1


def test_submit_delays_double_to_their_maximum() -> None:
    """2, 4, 8, 16, then the longest interval."""
    assert [submit_delay_s(attempt, None, TIMING) for attempt in (1, 2, 3, 4, 5, 6, 99)] == [2, 4, 8, 16, 30, 30, 30]


def test_the_deadline_counts_from_the_last_progress() -> None:
    """Progress moves the deadline."""
    assert deadline_of(make_task(progress_at=after(50)), PollPolicy(deadline_s=100)) == after(150)
    assert deadline_of(make_task(), PollPolicy(deadline_s=100)) > START
