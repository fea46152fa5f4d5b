"""How long tasks usually take: learned per route, model and coarse size from tasks that succeeded.

The time counts from the acceptance to the end. Each key has a window: the times of its last `WINDOW` tasks, so that it
follows changes and stays small. Pure and immutable, see `tracker.tracking.learning`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from msgspec import Meta, Struct

from tracker.domain.poll_plan import PollPlan
from tracker.domain.statuses import Source, Status
from tracker.domain.text import spans

if TYPE_CHECKING:
    from tracker.domain.schedule import PollTiming
    from tracker.domain.task import Task

WINDOW: Final = 100
"""Times that a key keeps."""
LEAST_SAMPLES: Final = 8
"""Fewer ended tasks are too few for an estimate."""
MAX_KEYS: Final = 1000
"""Of further keys the one that was not updated for the longest time is dropped, those of whole routes last."""
LATE_SHARE: Final = 0.95
"""A task that takes longer than this share of the others is late."""
_RENEW_PLAN_AFTER: Final = 8
"""New times after which a plan is made anew: that takes about 0.3 ms."""
UNPLANNED_S: Final = 10.0
"""``poll_after_s`` of a task that waits for a slot of its account."""
SHARE_OF_AGE: Final = 0.2
"""The same of a task that a callback may end at any time, as a share of its age."""
MIN_CLIENT_WAIT_S: Final = 1.0
MAX_CLIENT_WAIT_S: Final = 60.0
"""The bounds of ``poll_after_s``."""

Key = tuple[str, str, str]
"""Route, model and size; "" stands for all of them."""


class Usual(NamedTuple):
    """How long such tasks usually take, seconds.

    Attributes:
        samples: the number of tasks it was learned from.
    """

    p50_s: float
    p90_s: float
    p95_s: float
    samples: int


class ExpectedView(Struct, frozen=True):
    """How long a task is expected to take from its acceptance, and when it should be ready."""

    p50_s: Annotated[float, Meta(description="Half of such tasks took no longer, seconds.")]
    p90_s: Annotated[float, Meta(description="Nine of ten took no longer, seconds.")]
    samples: Annotated[int, Meta(description="The number of tasks that this was learned from; at least 8.")]
    ready_at: Annotated[
        datetime | None,
        Meta(description="After p50_s, later after p90_s; null before it is accepted, and when it takes longer."),
    ]


class Outlook(NamedTuple):
    """What the future of a task looks like; see the fields of the same names of `TaskView`."""

    expected: ExpectedView | None = None
    poll_after_s: float | None = None


NO_OUTLOOK: Final = Outlook()


class _Plans:
    """The plan that follows from some times, made when it is first needed."""

    def __init__(self, times: Sequence[float]) -> None:
        self._times = times
        self._made: tuple[object, PollPlan] | None = None

    def make(self, timing: PollTiming) -> PollPlan:
        wanted, made = (timing.policy, timing.suggested_interval_s), self._made
        if made is None or made[0] != wanted:
            made = self._made = wanted, PollPlan(self._times, *wanted)
        return made[1]


class Window:
    """The times of the last tasks of one key. Immutable; what follows from them is computed when it is needed.

    Args:
        times: seconds, the oldest first.
        plans: those of earlier times that still serve; None: plans are made for these.
        unplanned: how many of the times are newer than those of ``plans``.
    """

    def __init__(self, times: Sequence[float], plans: _Plans | None = None, unplanned: int = 0) -> None:
        self.times = tuple(times[-WINDOW:])
        self._plans = plans or _Plans(self.times)
        self._unplanned = unplanned

    def extended(self, times: Sequence[float]) -> Window:
        """The window after further tasks."""
        unplanned = self._unplanned + len(times)
        plans = self._plans if self.is_enough and unplanned < _RENEW_PLAN_AFTER else None
        return Window((*self.times, *times), plans, unplanned if plans else 0)

    @property
    def is_enough(self) -> bool:
        """Whether there are enough tasks for an estimate."""
        return len(self.times) >= LEAST_SAMPLES

    @cached_property
    def usual(self) -> Usual:
        """The quantiles; for `LEAST_SAMPLES` times or more."""
        ordered = sorted(self.times)
        p50_s, p90_s, p95_s = (quantile(ordered, share) for share in (0.5, 0.9, LATE_SHARE))
        return Usual(p50_s, p90_s, p95_s, len(ordered))

    def plan(self, timing: PollTiming) -> PollPlan:
        """When to poll such tasks, within a policy and with an interval that is suggested."""
        return self._plans.make(timing)


class Durations:
    """All windows. Immutable: threads may read it.

    Args:
        windows: by key, the longest unchanged first.
    """

    def __init__(self, windows: Mapping[Key, Window] | None = None) -> None:
        self._windows = dict(windows or {})

    def learn(self, tasks: Iterable[Task]) -> tuple[Durations, set[Key]]:
        """What is known after some tasks ended, and the keys that changed; those that failed teach nothing."""
        new = gather(tasks)
        if not new:
            return self, set()
        windows = self._windows.copy()
        for key, times in new.items():
            before = windows.pop(key, None)
            windows[key] = Window(times) if before is None else before.extended(times)
        if len(windows) > MAX_KEYS:
            # users name models, and of those there may be any number: the times of whole routes go last
            for key in sorted(windows, key=lambda key: key[1:] == ("", ""))[: len(windows) - MAX_KEYS]:
                del windows[key]
        return Durations(windows), set(new)

    def times(self, keys: Iterable[Key]) -> dict[Key, tuple[float, ...]]:
        """The times of some keys, as far as they are known."""
        return {key: self._windows[key].times for key in keys if key in self._windows}

    def samples(self, route: str) -> int:
        """From how many tasks of a route is known how long they took."""
        window = self._windows.get((route, "", ""))
        return 0 if window is None else len(window.times)

    def describe(self, route: str) -> str:
        """How long tasks of a route usually take, or how many are missing to know."""
        window = self._windows.get((route, "", ""))
        if window is None or not window.is_enough:
            return f"not known yet ({self.samples(route)} of {LEAST_SAMPLES} samples)"
        usual = window.usual
        return f"usually {spans(usual.p50_s, usual.p90_s, ' to ')} ({usual.samples} samples)"

    def find(self, task: Task) -> Window | None:
        """The finest window of a task that has enough tasks; None: none has."""
        return next(self._find_all(task), None)

    def _find_all(self, task: Task) -> Iterator[Window]:
        for key in keys_of(task):
            window = self._windows.get(key)
            if window is not None and window.is_enough:
                yield window

    def usual(self, task: Task) -> Usual | None:
        """How long such tasks usually take; None: not known, or its route answers at once."""
        window = self.find(task)
        return None if window is None else window.usual

    def poll_interval_s(self, task: Task, age_s: float, timing: PollTiming) -> float | None:
        """When to poll a task next, see `tracker.domain.schedule.Learned`.

        A task that takes longer than all of the finest window is compared with the coarser ones: of tasks that began
        together the shortest end first, so the first times of a new model say nothing about its longer tasks.
        """
        plan = None
        for window in self._find_all(task):
            other = window.plan(timing)
            plan = plan or other
            if age_s < other.longest_s:
                plan = other
                break
        return plan.interval_s(age_s) if plan is not None and plan.is_useful else None

    def outlook(self, task: Task, now: datetime) -> Outlook:
        """What is expected of a task that has not ended, and when a client should ask for it again."""
        if task.status.is_terminal:
            return NO_OUTLOOK
        usual = self.usual(task)
        expected = None
        if usual is not None:
            expected = ExpectedView(
                round(usual.p50_s, 1), round(usual.p90_s, 1), usual.samples, _ready_at(task, usual, now)
            )
        return Outlook(expected, _client_wait_s(task, usual, now))


NOTHING_LEARNED: Final = Durations()


def _ready_at(task: Task, usual: Usual, now: datetime) -> datetime | None:
    if task.submitted_at is None:
        return None
    times = (task.submitted_at + timedelta(seconds=took_s) for took_s in (usual.p50_s, usual.p90_s))
    return next((time for time in times if time > now), None)


def _client_wait_s(task: Task, usual: Usual | None, now: datetime) -> float:
    """When the tracker may know more: after its next poll; sooner where a callback may come at any time."""
    wait_s = UNPLANNED_S if task.due_at is None else (task.due_at - now).total_seconds()
    if task.expects_callback and task.submitted_at is not None:
        age_s = (now - task.submitted_at).total_seconds()
        until_usual_s = 0.0 if usual is None else usual.p50_s - age_s
        wait_s = min(wait_s, until_usual_s if until_usual_s > 0 else SHARE_OF_AGE * age_s)
    return round(min(max(wait_s, MIN_CLIENT_WAIT_S), MAX_CLIENT_WAIT_S), 1)


def keys_of(task: Task) -> tuple[Key, ...]:
    """The keys of a task, the finest first, without repetitions."""
    route, model, size = task.route, task.model or "", task.size or ""
    every = (route, "", "")
    if size:
        return (route, model, size), (route, model, ""), every
    return ((route, model, ""), every) if model else (every,)


def gather(tasks: Iterable[Task]) -> dict[Key, list[float]]:
    """The times of those tasks that succeeded, by key, in their order."""
    found: defaultdict[Key, list[float]] = defaultdict(list)
    for task in tasks:
        took_s = time_taken_s(task)
        if took_s is not None:
            for key in keys_of(task):
                found[key].append(took_s)
    return found


def time_taken_s(task: Task) -> float | None:
    """Seconds from the acceptance to the end of a task that succeeded; None: not known.

    The tracker does not know when a task was accepted that was created elsewhere. A task that was found finished when
    it was accepted has no time of its own.
    """
    if task.status is not Status.SUCCEEDED or task.submitted_at is None or not task.submit_attempts:
        return None
    ended_at = task.upstream_finished_at or task.finished_at
    if ended_at is None or task.finished_at is None:
        return None
    took_s = (ended_at - task.submitted_at).total_seconds()
    if task.ended_by is Source.POLL and task.upstream_finished_at is None:
        # it ended at some time since the poll before
        since = max(task.unfinished_at or task.submitted_at, task.submitted_at)
        took_s -= (task.finished_at - since).total_seconds() / 2
    return round(took_s, 2) if took_s > 0 else None


def quantile(ordered: Sequence[float], share: float) -> float:
    """A quantile of sorted values, interpolated."""
    place = share * (len(ordered) - 1)
    below = int(place)
    if below + 1 >= len(ordered):
        return ordered[-1]
    return ordered[below] + (ordered[below + 1] - ordered[below]) * (place - below)
