"""Counts of what happened to tasks in this process, made from its commits.

A callback costs less than 1 us here: its commit is looked at once, and the counters are plain numbers. All counts begin
at zero with the process. Must not change anything, and must not know how the counts are shown.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from tracker.domain.histograms import Histograms
from tracker.domain.observation import Source, Trouble
from tracker.domain.task import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tracker.clock import Clock
    from tracker.domain.observation import Observation
    from tracker.domain.task import Task, TaskId
    from tracker.store.protocol import Store
    from tracker.store.values import Applied

DURATION_BOUNDS_S: Final = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 3600.0, 14400.0)
TO_KNOW_BOUNDS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0, 3600.0)
ACK_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LOST_AFTER_S: Final = 60.0
"""A poll has found an end, and its callback did not come within so long: the callback counts as lost."""
AWAITED_MOST: Final = 10_000
"""Ends whose callback is awaited; of more, the oldest count as lost at once."""

# Python 3.11 takes 60 ns to look up a member of an enumeration
_CALLBACK, _POLL, _SUBMIT = Source.CALLBACK, Source.POLL, Source.SUBMIT
_UNKNOWN_STATUS, _NOT_FOUND = Trouble.UNKNOWN_STATUS, Reason.NOT_FOUND


class _Awaited(NamedTuple):
    """A callback that is awaited: its provider, and when it counts as lost, monotonic seconds."""

    provider: str
    until: float


class TaskTallies:
    """Counts what commits report.

    Args:
        store: its commits are counted.
        clock: the time of a commit.

    Attributes:
        lost_in_row: provider -> callbacks lost since the last one that came, as of the last `lost_callbacks`.
        ended: by route, account, status and reason ("" for a success). A task that was given up and succeeds later
            ends twice.
        durations: (route, status) -> seconds from the creation of a task to its end.
        costs: by route, account, currency and kind. A task that was given up costs something once it succeeds.
        times_to_know: (provider, source) -> seconds from the end upstream, where that is stated, to the end here.
        observations: by provider, source and outcome.
        acks: provider -> seconds from a callback with a token to its commit.
        callback_at: provider -> when the last such callback was committed.
        submits: by route and outcome of an attempt to send a create.
        polls: by provider and outcome.
        unknown_statuses: by provider.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._clock = clock
        self._awaited: dict[TaskId, _Awaited] = {}
        self._lost: Counter[str] = Counter()
        self.lost_in_row: dict[str, int] = {}
        self.ended: Counter[tuple[str, str, str, str]] = Counter()
        self.durations: Histograms[tuple[str, str]] = Histograms(DURATION_BOUNDS_S)
        self.costs: defaultdict[tuple[str, str, str, str], Decimal] = defaultdict(Decimal)
        self.times_to_know: Histograms[tuple[str, str]] = Histograms(TO_KNOW_BOUNDS_S)
        self.observations: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self.acks: Histograms[str] = Histograms(ACK_BOUNDS_S)
        self.callback_at: dict[str, datetime] = {}
        self.submits: Counter[tuple[str, str]] = Counter()
        self.polls: Counter[tuple[str, str]] = Counter()
        self.unknown_statuses: Counter[str] = Counter()
        store.subscribe_commits(self._note)

    def lost_callbacks(self) -> Counter[str]:
        """Provider -> ends that a poll found and that no callback reported within `LOST_AFTER_S`."""
        self._settle()
        return self._lost

    def _note(self, applied: Sequence[Applied]) -> None:
        now, observations = self._clock.now(), self.observations
        for change in applied:
            observation = change.observation
            if observation is None:
                continue
            task, source = change.task, observation.source
            provider = task.provider
            # the values: to hash a member of an enumeration takes longer than all else here
            observations[provider, source._value_, change.outcome._value_] += 1
            if source is _CALLBACK:
                self.acks[provider].observe((now - observation.observed_at).total_seconds())
                self.callback_at[provider] = now
                if self._awaited:
                    self._awaited.pop(task.id, None)
                if self.lost_in_row:
                    self.lost_in_row.pop(provider, None)
            else:
                self._note_request(task, observation)
            if observation.reading.trouble is _UNKNOWN_STATUS:
                self.unknown_statuses[provider] += 1
            if change.ended_by is not None:
                self._note_end(task)

    def _note_request(self, task: Task, observation: Observation) -> None:
        """Count what a create or a poll brought."""
        reading = observation.reading
        if observation.source is _POLL:
            trouble = reading.trouble
            self.polls[task.provider, "answered" if trouble is None else trouble._value_] += 1
        elif observation.source is _SUBMIT and reading.submission is not None:
            self.submits[task.route, reading.submission._value_] += 1

    def _note_end(self, task: Task) -> None:
        route, status, reason = task.route, task.status._value_, task.reason
        self.ended[route, task.account, status, "" if reason is None else reason._value_] += 1
        finished_at = task.finished_at
        if finished_at is not None:
            self.durations[route, status].observe((finished_at - task.created_at).total_seconds())
            if task.upstream_finished_at is not None and task.ended_by is not None:
                took_s = (finished_at - task.upstream_finished_at).total_seconds()
                self.times_to_know[task.provider, task.ended_by._value_].observe(took_s)
        if task.cost is not None and not task.is_given_up:
            amount, currency, kind = task.cost
            self.costs[route, task.account, currency, kind._value_] += amount
        # an end that the tracker decided itself does not concern callbacks
        if task.ended_by is _POLL and task.expects_callback and not (task.is_given_up or reason is _NOT_FOUND):
            self._settle()
            if len(self._awaited) >= AWAITED_MOST:
                self._lose(next(iter(self._awaited)))
            self._awaited[task.id] = _Awaited(task.provider, self._clock.monotonic() + LOST_AFTER_S)

    def _settle(self) -> None:
        """Count the callbacks that have been awaited for too long."""
        now = self._clock.monotonic()
        while self._awaited:
            task_id, awaited = next(iter(self._awaited.items()))
            if awaited.until > now:
                break
            self._lose(task_id)

    def _lose(self, task_id: TaskId) -> None:
        provider = self._awaited.pop(task_id).provider
        self._lost[provider] += 1
        self.lost_in_row[provider] = self.lost_in_row.get(provider, 0) + 1
