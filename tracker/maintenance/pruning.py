"""Retention: what has had its time is dropped, daily and when asked, in steps that callbacks hardly notice.

Each step is one small transaction among the others of the store's single writer, and is followed by a rest several
times as long; under load steps take longer, and so do the rests. Finding is done by reading alone, so that a dry run
is the same walk without the steps. An archived file goes before its row does: cut off in between, the next run finds
the row and ends the work, and no file is left that nobody knows of.

Owns the pace and the order. Must not decide what may go: the store does, when it drops it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from tracker.domain.pruning import Cutoffs, Prunable, Pruned, days_before
from tracker.errors import StoreUnavailable
from tracker.logs import get_logger

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.clock import Clock
    from tracker.domain.task import TaskId
    from tracker.store.protocol import Store

log = get_logger(__name__)

EVERY_S = 86_400.0
FIRST_AFTER_S = 300.0
"""From the start of the daemon to the first run: one that is restarted every day prunes, too."""
RETRY_S = 3600.0
LOOK_AT = 1000
"""Tasks that one read looks at."""
STEP_ROWS = 128
"""Rows in one step, unless a single task has more."""
STEP_FILES = 32
REST_FACTOR = 4.0
"""The rest after a step, in times of what the step took."""
REST_MIN_S = 0.002

RemoveFile = Callable[[str], Awaitable[None]]
"""Removes the archived file with this path; one that is not there is fine; raises `OSError` when it cannot."""


class Days(Protocol):
    """How long things are kept after their task has ended, days; 0 keeps for ever."""

    @property
    def events_days(self) -> int:
        """Histories, with the hook runs that ended well or for good."""

    @property
    def payload_days(self) -> int:
        """Bodies of requests and of upstream answers."""

    @property
    def outputs_days(self) -> int:
        """Archived files."""


class Retention:
    """Prunes.

    Args:
        store: what is pruned.
        clock: what time it is.
        days: how long things are kept now; asked at each run.
        remove_file: removes an archived file; None: there is no archive, and its rows are left alone.
    """

    def __init__(
        self, store: Store, clock: Clock, days: Callable[[], Days], remove_file: RemoveFile | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._days = days
        self._remove_file = remove_file
        self._one_at_a_time = asyncio.Lock()
        self._halted = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to prune daily."""
        self._task = asyncio.create_task(self._run_daily(), name="retention")

    def halt(self) -> None:
        """Have a run that is under way end after its present step."""
        self._halted = True

    async def stop(self) -> None:
        """End; what a run has dropped so far stays dropped, the next one goes on."""
        self.halt()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def run(self, *, dry_run: bool = False) -> Pruned:
        """Prune once.

        Args:
            dry_run: only count.

        Returns:
            What was dropped, or what would be.

        Raises:
            StoreUnavailable: the store takes no more writes; what was dropped before stays so.
        """
        async with self._one_at_a_time:
            began = self._clock.monotonic()
            cutoffs = self._cutoffs(self._clock.now())
            total = Pruned()
            async for found in self._find(cutoffs):
                total += sum((item.counts for item in found), Pruned()) if dry_run else await self._drop(found, cutoffs)
            total += await self._prune_files(cutoffs, dry_run=dry_run)
            if not dry_run:
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
        days = self._days()
        return Cutoffs(
            events=days_before(now, days.events_days),
            payloads=days_before(now, days.payload_days),
            outputs=days_before(now, days.outputs_days),
        )

    # -- rows ----------------------------------------------------------------------------------------------

    async def _find(self, cutoffs: Cutoffs) -> AsyncIterator[Sequence[Prunable]]:
        """What may go, page by page over all tasks."""
        cursor: str | None = "" if cutoffs.events or cutoffs.payloads else None
        while cursor is not None and not self._halted:
            page = await self._store.find_prunable(cutoffs, cursor, LOOK_AT)
            if page.items:
                yield page.items
            cursor = page.next_cursor

    async def _drop(self, found: Sequence[Prunable], cutoffs: Cutoffs) -> Pruned:
        dropped = Pruned()
        for step in steps(found):
            left = step
            while left and not self._halted:
                before = time.perf_counter()
                counts, done = await self._store.prune(left, cutoffs)
                dropped += counts
                left = left[done:]
                await _rest(time.perf_counter() - before)
        return dropped

    async def _shrink(self) -> Pruned:
        freed, left = 0, 1
        while left and not self._halted:
            before = time.perf_counter()
            step, left = await self._store.shrink()
            freed += step
            if not step:
                break
            await _rest(time.perf_counter() - before)
        return Pruned(freed_bytes=freed)

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
            gone = found
            if not dry_run:
                gone = [file for file in found if await self._removed(file.path)]
                await self._store.forget_files(gone)
            total += Pruned(files=len(gone), file_bytes=sum(file.bytes for file in gone))
        return total

    async def _removed(self, path: str) -> bool:
        assert self._remove_file is not None  # noqa: S101 - asked above
        try:
            await self._remove_file(path)
        except OSError as error:
            log.warning("retention.file_not_removed", path=path, error=error.strerror or str(error))
            return False
        return True

    # -- daily ---------------------------------------------------------------------------------------------

    async def _run_daily(self) -> None:
        wait_s = FIRST_AFTER_S
        while True:
            await asyncio.sleep(wait_s)
            wait_s = EVERY_S
            try:
                await self.run()
            except StoreUnavailable as error:
                log.warning("retention.not_done", error=str(error))
                wait_s = RETRY_S
            except Exception:
                log.exception("retention.failed")


def steps(found: Sequence[Prunable]) -> Iterator[list[TaskId]]:
    """Split what was found into steps of at most `STEP_ROWS` rows, a task with more alone."""
    step: list[TaskId] = []
    rows = 0
    for item in found:
        if step and rows + item.counts.rows > STEP_ROWS:
            yield step
            step, rows = [], 0
        step.append(item.task_id)
        rows += item.counts.rows
    if step:
        yield step


async def _rest(took_s: float) -> None:
    await asyncio.sleep(max(REST_FACTOR * took_s, REST_MIN_S))
