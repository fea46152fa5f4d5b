"""Counts of hook runs in this process. Must not run or record anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tracker.domain.histograms import Histograms
from tracker.domain.hook_events import DeliveryStatus

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.domain.deliveries import DeliveryJob
    from tracker.store.values import AttemptResult

RUN_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
DELAY_BOUNDS_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
RETRIED: Final = "retried"


@dataclass(slots=True)
class HookTallies:
    """What runs came to.

    Attributes:
        deliveries: by hook and outcome: a final status, or `RETRIED`.
        durations: hook -> seconds of each run.
        delays: hook -> seconds from an event to the start of its first run.
        on_run: called with each run whose result is recorded, its result, and when it began.
    """

    deliveries: Counter[tuple[str, str]] = field(default_factory=Counter)
    durations: Histograms[str] = field(default_factory=lambda: Histograms(RUN_BOUNDS_S))
    delays: Histograms[str] = field(default_factory=lambda: Histograms(DELAY_BOUNDS_S))
    on_run: Callable[[DeliveryJob, AttemptResult, datetime], None] | None = None

    def note_start(self, job: DeliveryJob, now: datetime) -> None:
        """Count the start of a run."""
        if job.attempt == 1:
            self.delays[job.hook].observe((now - job.at).total_seconds())

    def note_recorded(self, job: DeliveryJob, attempt: AttemptResult) -> None:
        """Count a run whose result is recorded."""
        is_final = attempt.status is not DeliveryStatus.PENDING
        self.deliveries[job.hook, attempt.status.value if is_final else RETRIED] += 1
        if self.on_run is not None and attempt.started_at is not None:
            self.on_run(job, attempt, attempt.started_at)

    def note_failed(self, hook: str, count: int) -> None:
        """Count deliveries that failed without a run, because their hook is disabled."""
        if count:
            self.deliveries[hook, DeliveryStatus.FAILED.value] += count
