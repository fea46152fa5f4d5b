"""Polls of tasks of which it is known how long they take: when they come, how many there are, what they find."""

import random
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from statistics import mean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.kits.clock import after
from tests.kits.factories import POLICY, TIMING, make_durations, make_observation, make_task
from tests.kits.polling import Draw, follow, never, simulate
from tracker.domain.judge import judge
from tracker.domain.observation import Source, Trouble
from tracker.domain.poll_plan import LATE_GROWTH, PollPlan
from tracker.domain.schedule import PollPolicy, PollTiming
from tracker.domain.statuses import Status
from tracker.domain.task import Task

ENDED = {"status": Status.SUCCEEDED, "submit_attempts": 1, "ended_by": Source.CALLBACK}


@pytest.mark.parametrize(
    ("lasts", "suggested_s"),
    [
        (lambda draw: draw.uniform(10, 60), 10.0),
        (lambda draw: min(60, max(10, draw.lognormvariate(3.4, 0.3))), 10.0),
        (lambda draw: min(60, max(10, draw.lognormvariate(3.4, 0.3))), 30.0),
        (lambda draw: draw.gauss(25, 3), 15.0),
    ],
    ids=["any of 10-60 s", "about 30 s", "about 30 s, asked for a poll each 30 s", "25 s"],
)
def test_polls_alone_find_ends_soon(lasts: Draw, suggested_s: float) -> None:
    """Within seconds of the end, with at most 1.3 times as many polls; learned from what polls alone found."""
    timing = PollTiming(POLICY, suggested_s)
    unlearned = simulate(lasts, timing, 300, learns=False)
    learned = simulate(lasts, timing, 500, learns=True)[200:]
    late_s, before_s = (median(one.late_s for one in found) for found in (learned, unlearned))
    assert late_s <= 3.9
    assert late_s <= 0.5 * before_s
    assert mean(one.polls for one in learned) <= 1.3 * mean(one.polls for one in unlearned)


def _next(lengths: Iterator[float], _draw: random.Random) -> float:
    return next(lengths)


def test_times_follow_when_tasks_become_faster_or_slower() -> None:
    """Although an end is known only by a poll after it."""
    for first_s, second_s in ((60.0, 20.0), (20.0, 60.0)):
        lengths = iter([first_s] * 100 + [second_s] * 150)
        found = simulate(partial(_next, lengths), TIMING, 250, learns=True)[-20:]
        assert median(one.late_s for one in found) < 4


@given(
    st.lists(st.floats(0.01, 5000), min_size=8, max_size=100),
    st.floats(0.5, 60),
    st.floats(1, 3),
    st.floats(1, 60),
    st.floats(0, 20000),
)
def test_intervals_stay_within_the_policy(
    times: list[float], min_s: float, growth: float, suggested_s: float, elapsed_s: float
) -> None:
    """For any times at all: never sooner than the minimum, never later than the maximum, at any age."""
    policy = PollPolicy(min_interval_s=min_s, max_interval_s=min_s * growth)
    plan = PollPlan(times, policy, suggested_s)
    assert min_s <= plan.interval_s(elapsed_s) <= min_s * growth
    assert min_s <= plan.interval_s(0.0) <= min_s * growth


def test_polls_are_dense_where_tasks_end() -> None:
    """Few before the first ends, many among them, fewer and fewer for a task that takes longer than all others."""
    draw = random.Random(5)
    plan = PollPlan([draw.gauss(120, 10) for _ in range(100)], POLICY, 10.0)
    polls, at_s = [], 0.0
    while at_s < 600:
        at_s += plan.interval_s(at_s)
        polls.append(at_s)
    assert sum(at_s < 90 for at_s in polls) == 2, "at the longest interval"
    among = [at_s for at_s in polls if 95 < at_s < 145]
    assert len(among) >= 8
    late = [after_s - before_s for before_s, after_s in pairwise(polls) if before_s > 150]
    assert late[-1] == POLICY.max_interval_s


def test_the_number_of_polls_is_fixed() -> None:
    """Up to a quarter more than without a plan, where tasks vary enough for more polls to be of use."""
    draw = random.Random(6)
    times = [draw.uniform(60, 240) for _ in range(100)]
    plain = simulate(lambda draw: draw.choice(times), PollTiming(POLICY, 10.0), 200, learns=False)
    fixed = replace(PollTiming(POLICY, 10.0), learned=make_durations(times))
    planned = [follow(draw.choice(times), fixed, draw).polls for _ in range(200)]
    assert 1.05 <= mean(planned) / mean(one.polls for one in plain) <= 1.3


def test_tasks_that_outlive_the_first_of_their_model_are_compared_with_its_route() -> None:
    """Of tasks that began together the shortest end first: they say nothing about the longer ones."""
    learned = make_durations([40.0 + n / 2 for n in range(40)], model="V4")
    for n in range(10):
        learned, _ = learned.learn([make_task(**ENDED, model="V5", finished_at=after(10 + n / 10))])
    timing, task = replace(TIMING, learned=learned), make_task(model="V5", submit_attempts=1)
    assert learned.poll_interval_s(task, 8.0, timing) == 3.0, "as the ten"
    of_route = learned.poll_interval_s(make_task(model="V6"), 45.0, timing)
    assert learned.poll_interval_s(task, 45.0, timing) == of_route
    alone = make_durations([10.0 + n / 10 for n in range(10)], model="V5")
    assert alone.poll_interval_s(task, 45.0, timing) == pytest.approx(45 * LATE_GROWTH)
    assert of_route is not None
    assert of_route < 45 * LATE_GROWTH


def test_very_long_tasks_are_polled_as_if_nothing_was_known() -> None:
    """The longest interval is short beside them."""
    assert not PollPlan([7200.0 + n for n in range(20)], POLICY, 10.0).is_useful
    assert PollPlan([600.0 + n for n in range(20)], POLICY, 10.0).is_useful


def test_trouble_and_missing_outputs_keep_the_growing_intervals() -> None:
    """A plan says when tasks end, not when a service is back."""
    timing = replace(TIMING, learned=make_durations([100.0 + n for n in range(20)]))
    task = make_task(submit_attempts=1, status=Status.RUNNING, due_at=None)

    def waits_s(task: Task, timing: PollTiming, **reading: object) -> float:
        *_, step = judge(task, make_observation(at=10.0, **reading), never, timing)  # type: ignore[arg-type]  # fields of a reading
        assert step.task.due_at is not None
        return (step.task.due_at - after(10)).total_seconds()

    assert waits_s(task, timing, status=Status.RUNNING) == 30.0
    assert waits_s(task, TIMING, status=Status.RUNNING) == pytest.approx(7.0)
    for reading in ({"trouble": Trouble.UNAVAILABLE}, {"status": Status.SUCCEEDED, "outputs": ()}):
        assert waits_s(task, timing, **reading) == waits_s(task, TIMING, **reading) < 30
    healthy = replace(timing, callbacks_healthy=True)
    assert waits_s(task, healthy, status=Status.RUNNING) == 60.0, "callbacks will report it"
    elsewhere = make_task(submit_attempts=0, status=Status.RUNNING, due_at=None)
    assert waits_s(elsewhere, timing, status=Status.RUNNING) == pytest.approx(7.0), "its age is not known"


def test_a_callback_that_moves_a_task_keeps_the_plan() -> None:
    """The intervals begin again, from the age that the task has."""
    timing = replace(TIMING, learned=make_durations([15.0 + n / 10 for n in range(20)]))
    task = make_task(submit_attempts=1, due_at=after(100))
    (step,) = judge(task, make_observation(Status.RUNNING, source=Source.CALLBACK, at=12.0), never, timing)
    assert step.task.due_at is not None
    assert 3.0 <= (step.task.due_at - after(12)).total_seconds() < 5.0
