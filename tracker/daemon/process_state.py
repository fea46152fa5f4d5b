"""The state of the process for the metrics: late loops, free space, the last reload.

Must not decide anything; `tracker.daemon.health` does.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from tracker.domain.histograms import Histogram

if TYPE_CHECKING:
    from pathlib import Path

    from tracker.archive.archiver import Archiver
    from tracker.clock import Clock
    from tracker.daemon.scheduler import Scheduler
    from tracker.hooks.dispatcher import Dispatcher
    from tracker.tracking.poller import Poller

MEASURE_EVERY_S: Final = 1.0
LAST_LAGS: Final = 30
LAG_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class ProcessState:
    """See `tracker.metrics.sources.ProcessState`.

    Args:
        paths: directories whose file systems are measured.
        clock: that of the loops.

    Attributes:
        lag: seconds by which the event loop was late, once a second.
        last_lags: the last of them.
        is_reload_successful: whether the last reload applied its configuration.
    """

    def __init__(self, paths: Sequence[Path], clock: Clock) -> None:
        self._paths = paths
        self._clock = clock
        self._ages: Callable[[], Mapping[str, float]] = dict
        self.lag = Histogram(LAG_BOUNDS_S)
        self.last_lags: deque[float] = deque(maxlen=LAST_LAGS)
        self.is_reload_successful = True
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, scheduler: Scheduler, poller: Poller, dispatcher: Dispatcher, archiver: Archiver) -> None:
        """Have `loop_ages` report these."""

        def ages() -> dict[str, float]:
            now = self._clock.monotonic()
            loops = {"sweep": poller.last_tick, "hooks": dispatcher.last_progress, "archive": archiver.last_progress}
            return scheduler.ages() | {name: now - at for name, at in loops.items()}

        self._ages = ages

    def loop_ages(self) -> Mapping[str, float]:
        """Loop or job -> seconds since it last succeeded; a job that never has is missing."""
        return self._ages()

    def start(self) -> None:
        """Begin to measure how late the event loop is."""
        loop = asyncio.get_running_loop()
        due_at = loop.time() + MEASURE_EVERY_S

        def measure() -> None:
            lag_s = loop.time() - due_at
            self.lag.observe(lag_s)
            self.last_lags.append(lag_s)
            self.start()

        self._timer = loop.call_at(due_at, measure)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()

    def free_bytes(self) -> dict[str, int]:
        """Directory -> free bytes, of those that can be examined."""
        found = {}
        for path in self._paths:
            try:
                found[str(path)] = shutil.disk_usage(path).free
            except OSError:
                continue
        return found
