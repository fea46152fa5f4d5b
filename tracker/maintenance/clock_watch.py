"""Notices that the wall clock was set back, and has what is due keep its distance.

What is due, and when, is kept by the wall clock, so that it outlives a restart. After a step back of an hour nothing
would fall due for an hour: no poll, no submit that was put off, no hook that is tried again. After a step forward
everything is due early, once. What happens while no process runs is the store's to see when it opens.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tracker.errors import StoreUnavailable
from tracker.logs import get_logger

if TYPE_CHECKING:
    from tracker.clock import Clock
    from tracker.store.protocol import Store

log = get_logger(__name__)

LOOK_EVERY_S: Final = 1.0
TOLERANCE_S: Final = 2.0
"""A clock that shows so much less than at the last look was set; a smaller step makes nobody wait for long."""


class Timekeeper:
    """Compares the wall clock with one that nobody sets.

    Args:
        store: whose due times are brought back.
        clock: both clocks.
        look_every_s: seconds between two looks.
    """

    def __init__(self, store: Store, clock: Clock, *, look_every_s: float = LOOK_EVERY_S) -> None:
        self._store = store
        self._clock = clock
        self._look_every_s = look_every_s
        self._seen = self._clocks()
        self._owed_s = 0.0
        """Steps that the store could not follow yet."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look. Called once, on the event loop."""
        self._seen = self._clocks()
        self._task = asyncio.create_task(self._run(), name="timekeeper")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> None:
        """Compare the clocks with what they showed at the last look.

        Raises:
            StoreUnavailable: nothing was brought back; the next look tries again.
        """
        (wall_before_s, steady_before_s), (wall_s, steady_s) = self._seen, self._clocks()
        self._seen = wall_s, steady_s
        if wall_before_s - wall_s > TOLERANCE_S:
            back_s = wall_before_s - wall_s + (steady_s - steady_before_s)
            log.warning("clock.stepped_back", seconds=round(back_s, 3))
            self._owed_s += back_s
        if self._owed_s:
            await self._store.bring_back_due_times(timedelta(seconds=self._owed_s))
            self._owed_s = 0.0

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._look_every_s)
            try:
                await self.look()
            except StoreUnavailable as error:
                log.warning("clock.step_not_followed", error=str(error))
            except Exception:
                log.exception("clock.look_failed")

    def _clocks(self) -> tuple[float, float]:
        return self._clock.now().timestamp(), self._clock.monotonic()
