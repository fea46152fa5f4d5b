"""Polls on a simulated clock: the real rules decide when each comes, until it finds its task finished."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from tests.kits.clock import START, after
from tests.kits.factories import make_answer, make_observation, make_sent_task
from tracker.domain.durations import Durations
from tracker.domain.judge import judge
from tracker.domain.observation import Submission
from tracker.domain.schedule import PollTiming
from tracker.domain.statuses import Status
from tracker.domain.task import Task

TICK_S = 1.0
Draw = Callable[[random.Random], float]


class Found(NamedTuple):
    """A task that a poll found finished: the polls it took, and how late, seconds."""

    polls: int
    late_s: float
    task: Task | None


def follow(lasts_s: float, timing: PollTiming, draw: random.Random) -> Found:
    """Poll one task until it is found finished: the real rules on a simulated clock, with the sweep's granularity."""
    timing = replace(timing, jitter=draw.random())
    (step,) = judge(make_sent_task(expects_callback=False), make_answer(Submission.ACCEPTED, at=0.0), never, timing)
    while True:
        assert step.task.due_at is not None
        at = (step.task.due_at - START).total_seconds() + draw.random() * TICK_S
        status = Status.SUCCEEDED if at >= lasts_s else Status.RUNNING
        timing = replace(timing, jitter=draw.random())
        claimed = replace(step.task, due_at=after(at + 60))  # the end of its lease
        (step,) = judge(claimed, make_observation(status, at=at), never, timing)
        if status is Status.SUCCEEDED:
            return Found(step.task.polls, at - lasts_s, step.task)


def never(_key: str) -> bool:
    """No event came before."""
    return False


def simulate(lasts: Draw, timing: PollTiming, count: int, *, learns: bool) -> list[Found]:
    """Many tasks, one after the other; what is learned of one serves the next, if ``learns``."""
    draw, durations, found = random.Random(7), Durations(), []
    for _ in range(count):
        one = follow(lasts(draw), replace(timing, learned=durations if learns else None), draw)
        durations, _ = durations.learn([one.task] if one.task else [])
        found.append(one)
    return found
