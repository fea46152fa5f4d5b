"""The change feed: wakes readers of the history when there may be more of it, whichever process committed it.

A wake-up carries no data: each reader reads from its own position. One that is lost costs at most `RECHECK_S`. What
this process committed is a different question, see `Store.subscribe_commits`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tracker.errors import StoreError
from tracker.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tracker.domain.task import TaskId
    from tracker.store.protocol import Store

log = get_logger(__name__)

RECHECK_S = 1.0
"""Readers look again after so long without a wake-up."""
GATHER_S = 0.05
"""Watched tasks are looked up at most this often, however many commits there are."""
PAGE = 500
"""Events read at a time."""


class ChangeFeed:
    """Wakes readers.

    Args:
        store: its wake-ups are passed on, and its events are read for those who watch a task.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._next = asyncio.Event()
        self._watched: defaultdict[TaskId, set[asyncio.Event]] = defaultdict(set)
        self._follower: asyncio.Task[None] | None = None
        store.subscribe_changes(self._wake)

    @property
    def next(self) -> asyncio.Event:
        """The event that the next wake-up sets. Take it, read, then `wait` for it: no commit falls in between."""
        return self._next

    async def wait(self, wake_up: asyncio.Event) -> None:
        """Return once a wake-up came, or after `RECHECK_S`: wake-ups may get lost."""
        try:
            async with asyncio.timeout(RECHECK_S):
                await wake_up.wait()
        except TimeoutError:
            pass

    @asynccontextmanager
    async def watch(self, task_id: TaskId) -> AsyncIterator[asyncio.Event]:
        """An event that is set after each later event of the task; the watcher clears it, then reads the task.

        All watchers share one reader of the history: their number does not change the load on the store.

        Raises:
            StoreUnavailable: the position in the history cannot be read.
        """
        changed = asyncio.Event()
        self._watched[task_id].add(changed)
        try:
            if self._follower is None:
                seq = await self._store.last_seq()
                if self._follower is None:
                    self._follower = asyncio.create_task(self._follow(seq), name="change feed")
            yield changed
        finally:
            watchers = self._watched[task_id]
            watchers.discard(changed)
            if not watchers:
                del self._watched[task_id]
            if not self._watched and self._follower is not None:
                self._follower.cancel()
                self._follower = None

    def _wake(self) -> None:
        woken, self._next = self._next, asyncio.Event()
        woken.set()

    async def _follow(self, seq: int) -> None:
        """Read the history from a position on, and set the events of watched tasks."""
        while True:
            wake_up = self.next
            try:
                events = await self._store.list_events_after(seq, PAGE)
            except StoreError as error:
                log.warning("changes.failed", step="read", error=str(error))
                await asyncio.sleep(RECHECK_S)
                continue
            for item in events:
                for changed in self._watched.get(item.task_id, ()):
                    changed.set()
            if events:
                seq = events[-1].seq
            if len(events) < PAGE:
                await asyncio.sleep(GATHER_S)
                await self.wait(wake_up)
