"""Deletes what is older than the configured retention, daily and on request, in steps that hardly delay callbacks.

Each step is one transaction among the others of the store's single writer. In a daemon it is small, and followed by a
pause several times as long; under load steps take longer, and so do the pauses. A command that has the file for itself
takes large steps and no pauses. Finding only reads, so a dry run is the same search
without the steps. An archived file is removed before its row: after an interruption the next run finds the row and
finishes, and no file is left without a row.

Owns the pauses and the order. The store decides what may be deleted, in the transaction that deletes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tracker.domain.pruning import BESIDE_CALLBACKS, Cutoffs, Prunable, Pruned, StepSize, days_before
from tracker.logs import get_logger

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.clock import Clock
    from tracker.config.sections import Retention
    from tracker.domain.task import TaskId
    from tracker.store.protocol import Store

log = get_logger(__name__)

EVERY_S = 86_400.0
FIRST_AFTER_S = 300.0
"""From the start of the daemon to the first run: one that is restarted every day prunes, too."""
RETRY_S = 3600.0
PAGE_TASKS = 1000
"""Tasks that one read examines."""
STEP_FILES = 32

RemoveFile = Callable[[str], Awaitable[None]]
"""Removes the archived file with this path; does nothing if it is gone; raises `OSError` when it cannot."""


class Pruning:
    """Deletes old rows and files.

    Args:
        store: holds the rows.
        clock: gives the age of things.
        retention: how long things are retained; read at each run.
        remove_file: removes an archived file; None: without an archive; rows of files stay.
        size: of the steps.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        retention: Callable[[], Retention],
        remove_file: RemoveFile | None = None,
        size: StepSize = BESIDE_CALLBACKS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._retention = retention
        self._remove_file = remove_file
        self._size = size
        self._one_at_a_time = asyncio.Lock()
        self._halted = False

    def halt(self) -> None:
        """End a run after its current step; what is left waits for the next process."""
        self._halted = True

    async def run_daily(self) -> None:
        """Prune once, as a periodic job.

        Raises:
            StoreUnavailable: see `run`.
        """
        await self.run()

    async def run(self, *, dry_run: bool = False) -> Pruned:
        """Prune once.

        Args:
            dry_run: only count.

        Returns:
            What was deleted, or what would be.

        Raises:
            StoreUnavailable: the store cannot be written; what was deleted before stays deleted.
        """
        async with self._one_at_a_time:
            began = self._clock.monotonic()
            cutoffs = self._cutoffs(self._clock.now())
            total = Pruned()
            async for found in self._find(cutoffs):
                total += (
                    sum((item.counts for item in found), Pruned()) if dry_run else await self._delete(found, cutoffs)
                )
            total += await self._prune_files(cutoffs, dry_run=dry_run)
            if not dry_run:
                if cutoffs.events is not None:
                    await self._store.prune_alarms(cutoffs.events)
                total += await self._shrink()
                log.info(
                    "retention.pruned",
                    tasks=total.tasks,
                    events=total.events,
                    deliveries=total.deliveries,
                    payloads=total.payloads,
                    requests=total.requests,
                    files=total.files,
                    freed_bytes=total.freed_bytes,
                    took_s=round(self._clock.monotonic() - began, 1),
                )
            return total

    def _cutoffs(self, now: datetime) -> Cutoffs:
        days = self._retention()
        return Cutoffs(
            events=days_before(now, days.events_days),
            payloads=days_before(now, days.payload_days),
            outputs=days_before(now, days.outputs_days),
        )

    # -- rows ----------------------------------------------------------------------------------------------

    async def _find(self, cutoffs: Cutoffs) -> AsyncIterator[Sequence[Prunable]]:
        """What may be deleted, page by page over all tasks."""
        cursor: str | None = "" if cutoffs.events or cutoffs.payloads else None
        while cursor is not None and not self._halted:
            page = await self._store.find_prunable(cutoffs, cursor, PAGE_TASKS)
            if page.items:
                yield page.items
            cursor = page.next_cursor

    async def _delete(self, found: Sequence[Prunable], cutoffs: Cutoffs) -> Pruned:
        deleted = Pruned()
        for step in steps(found, self._size.rows):
            left = step
            while left and not self._halted:
                before = time.perf_counter()
                counts, done = await self._store.prune(left, cutoffs, self._size)
                deleted += counts
                left = left[done:]
                await self._pause(time.perf_counter() - before)
        return deleted

    async def _shrink(self) -> Pruned:
        freed, left = 0, 1
        while left and not self._halted:
            before = time.perf_counter()
            step, left = await self._store.shrink(self._size)
            freed += step
            if not step:
                break
            await self._pause(time.perf_counter() - before)
        return Pruned(freed_bytes=freed)

    async def _pause(self, took_s: float) -> None:
        await asyncio.sleep(max(self._size.pause_factor * took_s, self._size.pause_min_s))

    # -- files ---------------------------------------------------------------------------------------------

    async def _prune_files(self, cutoffs: Cutoffs, *, dry_run: bool) -> Pruned:
        total = Pruned()
        if cutoffs.outputs is None or self._remove_file is None:
            return total
        after = ("", "")
        while not self._halted:
            found = await self._store.find_stored_files(cutoffs.outputs, after, STEP_FILES)
            if not found:
                break
            after = (found[-1].task_id, found[-1].identity)
            removed = found
            if not dry_run:
                removed = [file for file in found if await _remove(self._remove_file, file.path)]
                await self._store.record_deleted_files(removed)
            total += Pruned(files=len(removed), file_bytes=sum(file.bytes for file in removed))
        return total


async def _remove(remove_file: RemoveFile, path: str) -> bool:
    try:
        await remove_file(path)
    except OSError as error:
        log.warning("retention.failed", step="remove file", path=path, error=error.strerror or str(error))
        return False
    return True


def steps(found: Sequence[Prunable], most_rows: int) -> Iterator[list[TaskId]]:
    """Split what was found into steps of at most so many rows, a task with more alone."""
    step: list[TaskId] = []
    rows = 0
    for item in found:
        if step and rows + item.counts.rows > most_rows:
            yield step
            step, rows = [], 0
        step.append(item.task_id)
        rows += item.counts.rows
    if step:
        yield step
