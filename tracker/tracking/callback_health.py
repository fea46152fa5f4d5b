"""Whether callbacks deliver results themselves, or polls have to find them; polls slow down while callbacks do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.domain.observation import Source
from tracker.domain.task import Reason
from tracker.logs import get_logger

if TYPE_CHECKING:
    from tracker.domain.task import Task

log = get_logger(__name__)

HEALTHY_AFTER = 3
"""After so many ends in a row that callbacks reported, the callbacks of a lane count as healthy."""


class CallbackHealth:
    """Counts, for each account and provider, the ends in a row that callbacks reported.

    In memory only: after a restart callbacks must prove themselves again, and until then polls run at full speed.
    """

    def __init__(self) -> None:
        self._streak: dict[tuple[str, str], int] = {}
        self.healthy: frozenset[tuple[str, str]] = frozenset()
        """The (account, provider) pairs whose callbacks are healthy; replaced as a whole, so any thread may read it."""

    def note_end(self, task: Task, source: Source) -> None:
        """Record which source reported the end of a task that expected a callback."""
        if not task.expects_callback or task.is_given_up or task.reason is Reason.NOT_FOUND:
            return  # the tracker's own decision says nothing about callbacks
        lane = (task.account, task.provider)
        if source is Source.CALLBACK:
            self._streak[lane] = self._streak.get(lane, 0) + 1
            if self._streak[lane] == HEALTHY_AFTER:
                self.healthy |= {lane}
        elif source is Source.POLL:
            self._streak[lane] = 0
            if lane in self.healthy:
                log.warning("callbacks.missed", account=task.account, provider=task.provider, task=task.id)
                self.healthy -= {lane}
