"""The archive's loop: says which outputs are to be kept, claims what is due, and has it carried out.

Works like the dispatcher of hooks: the store is authoritative, a look follows each commit that may have brought an
output, and between two looks the loop sleeps until it is woken or the next item falls due. Attempts run side by side
up to a bound; at the stop they are cut short, for a download goes on where it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

from tracker.archive.attempt import Patience, Renews, Tasks, Workshop, carry_out
from tracker.archive.download import Bounds, Downloader
from tracker.archive.expiry import expiry_of
from tracker.archive.partial import forget_abandoned
from tracker.domain.archives import ArchiveRecord, ArchiveState
from tracker.errors import StoreUnavailable
from tracker.logs import get_logger
from tracker.store.values import ArchiveChoice, ArchiveJob, ArchiveResult, ArchiveWish

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from tracker.archive.file_storage import Shelf
    from tracker.clock import Clock
    from tracker.domain.task import Output, Task, TaskId
    from tracker.store.values import Applied
    from tracker.upstream.client import Account

log = get_logger(__name__)

MAX_DOWNLOADS: Final = 6
"""Side by side."""
GATHER_S: Final = 0.1
"""A storm of commits is looked at so often at the most."""
MAX_SLEEP_S: Final = 30.0
FRUITLESS_S: Final = 2.0
"""Wait after a look that failed."""
LEASE_MARGIN_S: Final = 600.0
"""A lease outlives the longest download by this much: hashing, syncing, putting it on the shelf."""
RESERVE_BYTES: Final = 64 * 1024 * 1024
"""Of the disk, left to others: the database must stay writable."""
_RECORD_PAUSE_S: Final = 0.5
_END_S: Final = 10.0


class ArchiveStore(Tasks, Protocol):
    """The part of `tracker.store.protocol.Store` that this room uses; see there."""

    def subscribe_commits(self, listener: Callable[[Sequence[Applied]], None]) -> None:
        """Have a listener called after each commit that changed tasks."""
        ...

    def choose_archives(self, choose: ArchiveChoice) -> None:
        """Say what is to be archived of the outputs to come."""
        ...

    async def claim_archives(self, limit: int, now: datetime, lease_until: datetime) -> list[ArchiveJob]:
        """Take due outputs."""
        ...

    async def record_archive(self, job: ArchiveJob, result: ArchiveResult) -> None:
        """Keep how an attempt ended."""
        ...

    async def redrive_archives(
        self, task_id: TaskId, choose: ArchiveChoice, lost: Collection[str], now: datetime
    ) -> list[ArchiveRecord]:
        """Have all of a task's files archived that are not safe."""
        ...

    async def list_archives(self, task_id: TaskId) -> list[ArchiveRecord]:
        """Where the copies of a task's outputs stand."""
        ...

    async def next_archive_at(self) -> datetime | None:
        """When the next output falls due."""
        ...


class Archiver:
    """Keeps copies of outputs.

    Args:
        store: where items are kept.
        clock: the source of time.
        accounts: by name, for outputs that need a key.
        renewer: asks for fresh URLs.
        shelf: where finished files go.
        spool: the directory of unfinished files; for a shelf on this machine, on the same file system.
        enabled: copy what has a URL; outputs that came inline are written as files in any case.
        bounds: what one download may take.
        allow_private: reach addresses that are not public, too.
        patience: how failed attempts are repeated.
        reserve_bytes: so much of the disk is left to others.
        draw: numbers from 0 to 1 for the jitter.
    """

    def __init__(
        self,
        store: ArchiveStore,
        clock: Clock,
        accounts: Mapping[str, Account],
        renewer: Renews,
        *,
        shelf: Shelf,
        spool: Path,
        enabled: bool,
        bounds: Bounds,
        allow_private: bool = False,
        patience: Patience | None = None,
        reserve_bytes: int = RESERVE_BYTES,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._clock = clock
        self._enabled = enabled
        self._bounds = bounds
        self._spool = spool
        self._downloader = Downloader(accounts, clock, bounds, allow_private=allow_private)
        self.shelf = shelf
        self._shop = Workshop(
            tasks=store,
            fetcher=self._downloader,
            shelf=shelf,
            renewer=renewer,
            clock=clock,
            spool=spool,
            patience=patience or Patience(),
            reserve_bytes=reserve_bytes,
            draw=draw,
        )
        self._under_way: dict[tuple[TaskId, str], asyncio.Task[None]] = {}
        self._looked_at = 0.0
        self._wakes_soon = False
        self._woken = asyncio.Event()
        self._stopping = False
        self._loop_task: asyncio.Task[None] | None = None
        store.choose_archives(self._choose)
        self.last_progress = clock.monotonic()
        """When the loop last came round, on the clock's monotonic scale."""

    def start(self) -> None:
        """Begin to work. Called once, on the event loop."""
        self._store.subscribe_commits(self._hear)
        self.last_progress = self._clock.monotonic()
        self._loop_task = asyncio.create_task(self._loop(), name="archiver")

    async def stop(self) -> None:
        """Claim nothing more and cut attempts short; they go on after the next start."""
        self._stopping = True
        self._woken.set()
        if self._loop_task is not None:
            await asyncio.wait({self._loop_task}, timeout=_END_S)
        attempts = set(self._under_way.values())
        for attempt in attempts:
            attempt.cancel()
        if attempts:
            await asyncio.wait(attempts, timeout=_END_S)
        await self._downloader.close()

    def _hear(self, applied: Sequence[Applied]) -> None:
        if not self._wakes_soon and any(change.task.outputs for change in applied):
            self._wakes_soon = True
            asyncio.get_running_loop().call_at(self._looked_at + GATHER_S, self._wake)

    def _wake(self) -> None:
        self._wakes_soon = False
        self._woken.set()

    # -- for the API ---------------------------------------------------------------------------------------

    async def redrive(self, task_id: TaskId) -> list[ArchiveRecord]:
        """Have all of a task's files archived that are not safe, also with the archive off.

        Raises:
            TaskNotFound: no task has this id.
            StoreUnavailable, ArchiveStorageUnavailable: nothing was changed.
        """
        await self._store.get_task(task_id)
        lost = [
            record.identity
            for record in await self._store.list_archives(task_id)
            if record.file is not None and await self.shelf.size_of(record.file.path) is None
        ]
        records = await self._store.redrive_archives(task_id, self._choose_any, lost, self._clock.now())
        self._woken.set()
        return records

    async def size_of(self, path: str) -> int | None:
        """The size of an archived file, bytes; None when it is not there any more."""
        return await self.shelf.size_of(path)

    def read(self, path: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes of an archived file, see `Shelf.read`."""
        return self.shelf.read(path, start, stop)

    def _choose(self, task: Task, output: Output) -> ArchiveWish | None:
        return self._choose_any(task, output) if self._enabled or output.inline is not None else None

    def _choose_any(self, task: Task, output: Output) -> ArchiveWish:
        return ArchiveWish(expiry_of(task, output, task.progress_at))  # it was named then, or earlier

    # -- the loop ------------------------------------------------------------------------------------------

    async def _loop(self) -> None:
        forgotten = await asyncio.to_thread(forget_abandoned, self._spool)
        if forgotten:
            log.info("archive.partials_forgotten", count=forgotten)
        while not self._stopping:
            self._woken.clear()
            try:
                wait_s = await self._look()
            except StoreUnavailable as error:
                log.warning("archive.look_failed", error=str(error))
                wait_s = FRUITLESS_S
            except Exception:
                log.exception("archive.look_failed")
                wait_s = FRUITLESS_S
            self.last_progress = self._clock.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()

    async def _look(self) -> float:
        """Claim what is due; seconds until the next look, unless woken."""
        self._looked_at = asyncio.get_running_loop().time()
        free = MAX_DOWNLOADS - len(self._under_way)
        if free <= 0:
            return MAX_SLEEP_S  # the end of an attempt wakes
        now = self._clock.now()
        due_at = await self._store.next_archive_at()
        if due_at is None or due_at > now:
            left_s = MAX_SLEEP_S if due_at is None else (due_at - now).total_seconds()
            return min(left_s + 0.001, MAX_SLEEP_S)
        lease_until = now + timedelta(seconds=self._bounds.total_s + LEASE_MARGIN_S)
        jobs = await self._store.claim_archives(free, now, lease_until)
        for job in jobs:
            self._begin(job)
        return 0.0 if jobs else FRUITLESS_S

    def _begin(self, job: ArchiveJob) -> None:
        key = (job.task.id, job.identity)
        if key in self._under_way or self._stopping:
            return  # its lease comes to an end, or the next start gives it back
        attempt = asyncio.create_task(self._carry_out(job), name=f"archive {job.task.id}/{job.n}")
        self._under_way[key] = attempt

        def finish(_: asyncio.Task[None]) -> None:
            if self._under_way.get(key) is attempt:
                del self._under_way[key]
            self._woken.set()

        attempt.add_done_callback(finish)

    async def _carry_out(self, job: ArchiveJob) -> None:
        try:
            result = await carry_out(job, self._shop)
        except asyncio.CancelledError:
            now = self._clock.now()
            words = "cut short: the tracker stopped"
            cut = ArchiveResult(ArchiveState.PENDING, now, error=words, expires_at=job.expires_at, counts=False)
            await self._record(job, cut)
            raise
        if await self._record(job, result):
            # at once: the next attempt may be claimed before the loop calls this one finished
            self._under_way.pop((job.task.id, job.identity), None)
            self._tell(job, result)

    async def _record(self, job: ArchiveJob, result: ArchiveResult) -> bool:
        """Keep the verdict, however long the store takes; whether it was kept."""
        while True:
            try:
                await self._store.record_archive(job, result)
            except StoreUnavailable as error:
                if self._stopping:
                    return False  # the next start gives it back
                log.warning("archive.result_delayed", task=job.task.id, output=job.n, error=str(error))
            except Exception:
                log.exception("archive.result_lost", task=job.task.id, output=job.n)
                return False
            else:
                return True
            await asyncio.sleep(_RECORD_PAUSE_S)

    @staticmethod
    def _tell(job: ArchiveJob, result: ArchiveResult) -> None:
        names = {"task": job.task.id, "provider": job.task.provider, "output": job.n, "attempt": job.attempt}
        match result.state:
            case ArchiveState.STORED if result.file is not None:
                log.info("archive.stored", path=result.file.path, bytes=result.file.bytes, **names)
            case ArchiveState.DEAD:
                log.error("archive.died", error=result.error, **names)
            case _:
                log.warning("archive.retried", error=result.error, **names)
