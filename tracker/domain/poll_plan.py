"""When to poll tasks of which it is known how long they usually take: dense where they usually end.

The density of polls follows the square root of the hazard rate, that is the rate at which tasks end among those that
have not ended yet. Of all schedules with the same number of polls, this one finds ends the soonest on average.
The number of polls is fixed: about `SHARE` times as many as the schedule that knows nothing would need.

**Source**: J. B. Keller, "Optimum checking schedules for systems subject to random failure", Management Science 21
(1974): the asymptotic form of the optimum of R. E. Barlow, L. C. Hunter and F. Proschan (1963).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, Final

from tracker.domain.schedule import PollTiming, poll_interval_s

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tracker.domain.schedule import PollPolicy

SHARE: Final = 1.3
"""Polls per task, compared with the schedule without learned times."""
LATE_GROWTH: Final = 0.25
"""A task that takes longer than all others is polled after each further quarter of its age."""
MAX_BASE_POLLS: Final = 100
"""Of tasks that need more polls than so many, ends are found soon enough anyway, compared with how long they take."""
_SEGMENTS: Final = 12
"""The distribution is linear within each; more would follow the noise of a hundred samples."""
_REACH: Final = 0.3
"""How far beyond the samples ends are expected, as a share of the outer quarter of the samples."""
_STEPS: Final = 12
"""Halvings that find the number of polls: exact to one in a thousand."""


class PollPlan:
    """The poll times of tasks with the same distribution of durations.

    Attributes:
        longest_s: the longest of these durations.
        is_useful: False: the schedule that knows nothing serves as well.

    Args:
        times: how long such tasks took, seconds; some.
        policy: the bounds of intervals.
        suggested_interval_s: what the contract of their route suggests.
    """

    def __init__(self, times: Sequence[float], policy: PollPolicy, suggested_interval_s: float) -> None:
        ordered = sorted(times)
        self.longest_s = ordered[-1]
        self._min_s, self._max_s = policy.min_interval_s, policy.max_interval_s
        self._times, self._alive = _distribution(ordered, self._min_s)
        self._passed = _cumulate(self._times, self._alive)
        base = _mean_polls(ordered, _polls_unlearned(policy, suggested_interval_s))
        self.is_useful = base <= MAX_BASE_POLLS
        self._step = self._find_step(ordered, base * SHARE) if self.is_useful else 0.0

    def interval_s(self, elapsed_s: float) -> float:
        """Seconds from a poll to the next one, within the bounds of the policy.

        Args:
            elapsed_s: from the acceptance of the task to that poll; 0 for the first interval.
        """
        return self._interval_s(elapsed_s, self._step)

    def _interval_s(self, elapsed_s: float, step: float) -> float:
        goal = self._passed_at(elapsed_s) + step
        if goal < self._passed[-1]:
            wanted_s = self._time_at(goal) - elapsed_s
        else:
            wanted_s = max(self._times[-1] - elapsed_s, LATE_GROWTH * elapsed_s)
        return min(max(wanted_s, self._min_s), self._max_s)

    def _find_step(self, ordered: Sequence[float], polls: float) -> float:
        """The smallest step that needs no more than so many polls per task."""
        low, high = 0.0, self._passed[-1]
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if _mean_polls(ordered, self._polls(middle)) > polls:
                low = middle
            else:
                high = middle
        return high

    def _polls(self, step: float) -> Iterator[float]:
        at_s = 0.0
        while True:
            at_s += self._interval_s(at_s, step)
            yield at_s

    def _segment(self, n: int) -> tuple[float, float, float]:
        """When a segment begins, the share that has not ended then, and the share that ends per second."""
        length_s = self._times[n + 1] - self._times[n]
        return self._times[n], self._alive[n], (self._alive[n] - self._alive[n + 1]) / length_s

    def _passed_at(self, at_s: float) -> float:
        """The integral of the square root of the hazard rate up to a time."""
        if at_s <= self._times[0]:
            return 0.0
        if at_s >= self._times[-1]:
            return self._passed[-1]
        n = bisect_right(self._times, at_s) - 1
        begin, alive, rate = self._segment(n)
        return self._passed[n] + 2 * (sqrt(alive) - sqrt(alive - rate * (at_s - begin))) / sqrt(rate)

    def _time_at(self, passed: float) -> float:
        """The inverse of `_passed_at`."""
        n = bisect_right(self._passed, passed) - 1
        begin, alive, rate = self._segment(n)
        root = sqrt(alive) - (passed - self._passed[n]) * sqrt(rate) / 2
        return begin + (alive - root * root) / rate


def _distribution(ordered: Sequence[float], min_s: float) -> tuple[list[float], list[float]]:
    """Times, and the share of tasks that have not ended at each; a little wider than the samples.

    Before the first sample too: an end is known only by a poll after it, so where tasks become faster, polls before the
    first sample show that.
    """
    count = len(ordered)
    quantiles = [ordered[n * (count - 1) // _SEGMENTS] for n in range(_SEGMENTS + 1)]
    quarter = _SEGMENTS // 4
    first = quantiles[0] - max(min_s, _REACH * (quantiles[quarter] - quantiles[0]))
    last = quantiles[-1] + max(min_s, _REACH * (quantiles[-1] - quantiles[-1 - quarter]))
    outside = 1 / (count + 1)
    """Expected beyond the samples, half on each side; as much again never ends as expected."""
    inside = 1 - 2 * outside
    times, alive = [max(0.0, first)], [1.0]
    for n, time in enumerate(quantiles):
        if time > times[-1] + 0.1:  # equal ones are one point
            times.append(time)
            alive.append(1 - outside / 2 - inside * n / _SEGMENTS)
        else:
            alive[-1] = min(alive[-1], 1 - outside / 2 - inside * n / _SEGMENTS) if len(alive) > 1 else 1.0
    return [*times, last], [*alive, outside]


def _cumulate(times: Sequence[float], alive: Sequence[float]) -> list[float]:
    """The integral of the square root of the hazard rate, up to each time."""
    passed = [0.0]
    for (begin, end), (before, after) in zip(pairwise(times), pairwise(alive), strict=True):
        rate = (before - after) / (end - begin)
        passed.append(passed[-1] + 2 * (sqrt(before) - sqrt(after)) / sqrt(rate))
    return passed


def _polls_unlearned(policy: PollPolicy, suggested_interval_s: float) -> Iterator[float]:
    """When a task is polled that nothing is known about, seconds after its acceptance.

    The first poll finds it running, and that change restarts the intervals.
    """
    timing = PollTiming(policy, suggested_interval_s)
    at_s, step = policy.first_delay_s, 0
    while True:
        yield at_s
        at_s += poll_interval_s(step, timing)
        step += 1


def _mean_polls(ordered: Sequence[float], polls: Iterator[float]) -> float:
    """How many polls tasks of these durations need on average, more than `MAX_BASE_POLLS` if some need too many."""
    total = done = 0
    for number, at_s in enumerate(polls, 1):
        ended = bisect_left(ordered, at_s, lo=done)
        total += number * (ended - done)
        done = ended
        if done == len(ordered):
            break
        if number > 4 * MAX_BASE_POLLS:
            return number
    return total / len(ordered)
