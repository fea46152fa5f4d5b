"""What a store counts and measures about itself, for monitoring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from tracker.domain.histograms import Histogram

if TYPE_CHECKING:
    from datetime import datetime

COMMIT_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BATCH_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
COUNTED_MOST: Final = 10_000
"""Rows of an index are counted up to this number: the read must not take long because much is waiting."""
OLDEST_OF: Final = 1000
"""So many of the oldest pending, and of the oldest running tasks are read to find the oldest of each provider."""


class Origins(NamedTuple):
    """Labels of a created task."""

    route: str
    account: str
    origin: str


@dataclass(slots=True)
class StoreTallies:
    """What this process wrote since its start. The writer's thread and the event loop change it; anyone may read it.

    Attributes:
        created: new tasks.
        commit_durations: seconds from the beginning of a transaction to the end of its commit, of those that wrote.
        batch_writes: changes per commit.
    """

    created: Counter[Origins] = field(default_factory=Counter)
    commit_durations: Histogram = field(default_factory=lambda: Histogram(COMMIT_BOUNDS_S))
    batch_writes: Histogram = field(default_factory=lambda: Histogram(BATCH_BOUNDS))

    def note_commit(self, seconds: float, writes: int) -> None:
        """Count a commit."""
        self.commit_durations.observe(seconds)
        self.batch_writes.observe(writes)


@dataclass(frozen=True, slots=True)
class StoreGauges:
    """The state of a store. No part of it takes longer to read the more tasks there are.

    Attributes:
        tasks: provider -> status -> count.
        deliveries: hook -> status -> count.
        archives: state -> count of outputs.
        due: provider -> tasks that are due, each account up to `COUNTED_MOST`.
        oldest_due: provider -> when the task fell due that has waited longest.
        oldest_unfinished: provider -> creation of its oldest unfinished task, if that is among the `OLDEST_OF`.
        outbox: events whose deliveries are not made yet, up to `COUNTED_MOST`.
        size_bytes: of the database, without its log.
        log_bytes: of the write-ahead log.
    """

    tasks: Mapping[str, Mapping[str, int]]
    deliveries: Mapping[str, Mapping[str, int]]
    archives: Mapping[str, int]
    due: Mapping[str, int]
    oldest_due: Mapping[str, datetime]
    oldest_unfinished: Mapping[str, datetime]
    outbox: int
    size_bytes: int
    log_bytes: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """What did not work and what waits, for alarms. No part of it takes longer to read the more tasks there are.

    Attributes:
        dead: hook -> deliveries of tasks that died lately, each up to `COUNTED_MOST`.
        given_up: files that were given up lately, up to `COUNTED_MOST`.
        expiries: when the URLs of files expire that nothing has tried to store yet, the soonest first, up to 500.
        waiting_since: when the first of these became due; None without any.
        open_tasks: account -> tasks that have not ended.
    """

    dead: Mapping[str, int]
    given_up: int
    expiries: Sequence[datetime]
    waiting_since: datetime | None
    open_tasks: Mapping[str, int]
