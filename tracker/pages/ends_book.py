"""How tasks ended in the last week, added up beside the requests that show it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tracker.domain.ends import EndsFilter
from tracker.errors import StoreError
from tracker.logs import get_logger
from tracker.pages.charts import DAYS, HOURS
from tracker.server.report import start_of_day

if TYPE_CHECKING:
    from tracker.domain.ends import Ends
    from tracker.server.services import Services

log = get_logger(__name__)

RENEW_S: Final = 30.0
WAIT_S: Final = 0.5
"""A page waits so long for the first result."""


class EndsBook:
    """Adds the week up, at most every `RENEW_S`, and only while somebody looks.

    Args:
        services: its store is read.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._known: Ends | None = None
        self._began_at: float | None = None
        self._work: asyncio.Task[None] | None = None

    async def get(self) -> Ends | None:
        """The ends, as of a moment ago; None: not known yet."""
        now = self._services.clock.monotonic()
        is_stale = self._began_at is None or now - self._began_at > RENEW_S
        if is_stale and (self._work is None or self._work.done()):
            self._began_at = now
            self._work = asyncio.create_task(self._add_up(), name="ends of the week")
        if self._work is not None and not self._work.done():
            await asyncio.wait({self._work}, timeout=WAIT_S)
        return self._known

    async def _add_up(self) -> None:
        now = self._services.clock.now()
        hour = now.replace(minute=0, second=0, microsecond=0)
        wanted = EndsFilter(
            since=start_of_day(now) - timedelta(days=DAYS - 1), durations_since=hour - timedelta(hours=HOURS - 1)
        )
        try:
            self._known = await self._services.store.read_ends(wanted)
        except StoreError as error:
            log.warning("page.failed", step="ends", error=str(error))
