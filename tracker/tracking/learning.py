"""Learns how long tasks take: gathers the ends of committed changes, and stores what follows now and then.

An end costs the path of callbacks nothing but a place in a list. A process that is killed loses nothing: at its start
the next one reads the tasks that ended since the last write.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from tracker.errors import StoreError
from tracker.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracker.clock import Clock
    from tracker.domain.durations import Key
    from tracker.domain.task import Task
    from tracker.store.protocol import Store
    from tracker.store.values import Applied
    from tracker.tracking.reconciler import Reconciler

log = get_logger(__name__)

LEARN_EVERY_S: Final = 1.0
MOST: Final = 1000
"""Ends that are learned from at a time, the last ones: that takes about 2 ms."""
WRITE_EVERY_S: Final = 30.0


class Learning:
    """Keeps the durations of the reconciler up to date.

    Args:
        store: has the ends.
        reconciler: polls by what is learned.
        clock: the source of time.
    """

    def __init__(self, store: Store, reconciler: Reconciler, clock: Clock) -> None:
        self._store = store
        self._reconciler = reconciler
        self._clock = clock
        self._ended: deque[Task] = deque(maxlen=MOST)
        self._unwritten: set[Key] = set()
        self._written_at = clock.monotonic()
        store.subscribe_commits(self._note_ends)

    def _note_ends(self, applied: Sequence[Applied]) -> None:
        self._ended.extend([change.task for change in applied if change.ended_by is not None])

    async def load(self) -> None:
        """Read what was learned before this process started.

        Raises:
            StoreUnavailable: it cannot be read.
        """
        self._reconciler.durations = await self._store.read_durations()

    async def run(self) -> None:
        """Learn from the last ends, and write what is new if the last write was some time ago."""
        self.learn()
        if self._clock.monotonic() - self._written_at >= WRITE_EVERY_S:
            await self.write()

    def learn(self) -> None:
        """Learn from the last ends."""
        if self._ended:
            self._reconciler.durations, keys = self._reconciler.durations.learn(self._ended)
            self._unwritten |= keys
            self._ended.clear()

    async def write(self) -> None:
        """Write what is new; if that fails, the next call does it."""
        self._written_at = self._clock.monotonic()
        times = self._reconciler.durations.times(self._unwritten)
        if not times:
            return
        try:
            await self._store.record_durations(times)
        except StoreError as error:
            log.warning("durations.failed", step="store", error=str(error))
        else:
            self._unwritten.clear()
