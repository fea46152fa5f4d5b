"""The archive's loop: choose the outputs to archive, claim the due ones, and run attempts.

The store is authoritative. The loop runs after each commit that may have added an output, and sleeps until it is woken
or the next item is due. Attempts run in parallel up to a limit; a stop cancels them, since downloads resume.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from tracker.archive.attempt import ArchiveContext, RetryPolicy, run_attempt
from tracker.archive.download import Bounds, Downloader
from tracker.archive.expiry import expiry_of
from tracker.archive.partial import PartialFiles
from tracker.archive.tallies import ArchiveTallies
from tracker.domain.archives import ArchiveRecord, ArchiveState
from tracker.errors import StoreUnavailable
from tracker.logs import Repeats, get_logger
from tracker.store.values import ArchiveJob, ArchiveResult, ArchiveWish

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tracker.archive.file_storage import FileStorage
    from tracker.clock import Clock
    from tracker.domain.task import Output, Task, TaskId
    from tracker.store.protocol import Store
    from tracker.store.values import Applied
    from tracker.upstream.client import Account

log = get_logger(__name__)

MAX_DOWNLOADS: Final = 6
"""In parallel."""
MAX_ATTEMPTS: Final = 24
"""In parallel, with files that are downloaded and not stored yet, of which each may be in memory (`BUFFER_BYTES`)."""
QUICK_S: Final = 1.0
"""While downloads take less, as many as may run in parallel are claimed ahead: else each waits for a commit."""
GATHER_S: Final = 0.1
"""The shortest time between two rounds that commits cause."""
MAX_SLEEP_S: Final = 30.0
RETRY_S: Final = 2.0
"""Wait after a round that failed."""
LEASE_MARGIN_S: Final = 600.0
"""A lease outlives the longest wait for a download and the longest download by this: for hashing, syncing, storing."""
RESERVE_BYTES: Final = 64 * 1024 * 1024
"""Disk space that must remain free: the database must stay writable."""
_RECORD_PAUSE_S: Final = 0.5
_END_S: Final = 10.0


def choose_all(task: Task, output: Output) -> ArchiveWish:
    """Archive every output. The store calls this on its writer thread: it must depend on its arguments only."""
    return ArchiveWish(expiry_of(task, output, task.progress_at))  # the output was reported then, or earlier


def choose_inline(task: Task, output: Output) -> ArchiveWish | None:
    """Archive outputs that came inline only; see `choose_all`."""
    return None if output.inline is None else choose_all(task, output)


class Archiver:
    """Archives outputs.

    Args:
        store: holds the items.
        clock: the source of time.
        accounts: by name, for outputs that need a key.
        renew: polls a task once, even if it has ended, for fresh URLs.
        storage: for finished files.
        partial_dir: the directory of partial files; on the same file system as a local storage.
        enabled: archive outputs with a URL; inline outputs are always written to files.
        bounds: limits of one download.
        allow_private: also connect to private addresses.
        retries: how failed attempts are retried.
        reserve_bytes: disk space that must remain free.
        draw: random numbers from 0 to 1 for the jitter.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        accounts: Mapping[str, Account],
        renew: Callable[[TaskId], Awaitable[None]],
        *,
        storage: FileStorage,
        partial_dir: Path,
        enabled: bool,
        bounds: Bounds,
        allow_private: bool = False,
        retries: RetryPolicy | None = None,
        reserve_bytes: int = RESERVE_BYTES,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._clock = clock
        self._bounds = bounds
        self._partial_files = PartialFiles(partial_dir, reserve_bytes=reserve_bytes)
        self._downloader = Downloader(accounts, clock, bounds, allow_private=allow_private)
        self.storage = storage
        self._context = ArchiveContext(
            tasks=store,
            downloader=self._downloader,
            storage=storage,
            renew=renew,
            clock=clock,
            partial_files=self._partial_files,
            retries=retries or RetryPolicy(),
            draw=draw,
        )
        self._attempts: dict[tuple[TaskId, str], asyncio.Task[None]] = {}
        self._fetching: set[tuple[TaskId, str]] = set()
        """The attempts that wait for a slot or download."""
        self._slots = asyncio.Semaphore(MAX_DOWNLOADS)
        self._is_quick = False
        self._round_at = 0.0
        self._wake_scheduled = False
        self._woken = asyncio.Event()
        self._stopping = False
        self._loop_task: asyncio.Task[None] | None = None
        store.choose_archives(choose_all if enabled else choose_inline)
        self.tallies = ArchiveTallies()
        self._repeats = Repeats(clock.monotonic)
        self.last_progress = clock.monotonic()
        """When the loop last finished a round, monotonic seconds."""

    def start(self) -> None:
        """Start the loop. Call it once, on the event loop."""
        self._store.subscribe_commits(self._on_commit)
        self.last_progress = self._clock.monotonic()
        self._loop_task = asyncio.create_task(self._loop(), name="archiver")

    async def stop(self) -> None:
        """Claim nothing more and cancel the attempts; they resume after the next start."""
        self._stopping = True
        self._woken.set()
        if self._loop_task is not None:
            await asyncio.wait({self._loop_task}, timeout=_END_S)
        attempts = set(self._attempts.values())
        for attempt in attempts:
            attempt.cancel()
        if attempts:
            await asyncio.wait(attempts, timeout=_END_S)
        await self._downloader.close()

    def _on_commit(self, applied: Sequence[Applied]) -> None:
        if not self._wake_scheduled and any(change.task.outputs for change in applied):
            self._wake_scheduled = True
            asyncio.get_running_loop().call_at(self._round_at + GATHER_S, self._wake)

    def _wake(self) -> None:
        self._wake_scheduled = False
        self._woken.set()

    async def redrive(self, task_id: TaskId) -> list[ArchiveRecord]:
        """Archive every file of a task that is not stored, even if the archive is disabled.

        Raises:
            TaskNotFound: no task has this id.
            StoreUnavailable, ArchiveStorageUnavailable: nothing was changed.
        """
        await self._store.get_task(task_id)
        lost = [
            record.identity
            for record in await self._store.list_archives(task_id)
            if record.file is not None and await self.storage.size_of(record.file.path) is None
        ]
        records = await self._store.redrive_archives(task_id, choose_all, lost)
        self._woken.set()
        return records

    async def _loop(self) -> None:
        removed = await asyncio.to_thread(self._partial_files.load)
        if removed:
            log.info("archive.partial_files_removed", count=removed)
        while not self._stopping:
            self._woken.clear()
            try:
                wait_s = await self._claim_due()
            except StoreUnavailable as error:
                if self._repeats.admits(f"claim: {error}"):
                    log.warning("archive.failed", step="claim", error=str(error))
                wait_s = RETRY_S
            except Exception:
                log.exception("archive.failed", step="claim")
                wait_s = RETRY_S
            self.last_progress = self._clock.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()

    async def _claim_due(self) -> float:
        """Claim due items; the seconds until the next round, unless woken."""
        self._round_at = asyncio.get_running_loop().time()
        most = MAX_DOWNLOADS * (2 if self._is_quick else 1)
        free = min(most - len(self._fetching), MAX_ATTEMPTS - len(self._attempts))
        if free <= 0:
            return MAX_SLEEP_S  # the end of a download or an attempt wakes the loop
        jobs = await self._store.claim_archives(free, self._bounds.total_s * 2 + LEASE_MARGIN_S)
        for job in jobs:
            self._start_attempt(job)
        if len(jobs) == free:
            return 0.0
        due_in_s = await self._store.next_archive_in_s()
        return MAX_SLEEP_S if due_in_s is None else min(max(due_in_s, 0.0) + 0.001, MAX_SLEEP_S)

    def _start_attempt(self, job: ArchiveJob) -> None:
        key = (job.task.id, job.identity)
        if key in self._attempts or self._stopping:
            return  # its lease ends, or the next start releases it
        attempt = asyncio.create_task(self._run(job), name=f"archive {job.task.id}/{job.n}")
        self._attempts[key] = attempt
        self._fetching.add(key)

        def finish(_: asyncio.Task[None]) -> None:
            if self._attempts.get(key) is attempt:
                del self._attempts[key]
                self._fetching.discard(key)
            self._woken.set()

        attempt.add_done_callback(finish)

    @contextlib.asynccontextmanager
    async def _slot(self, job: ArchiveJob) -> AsyncIterator[None]:
        """A slot for a download; the next one begins while its file is being stored."""
        async with self._slots:
            began = self._clock.monotonic()
            try:
                yield
            finally:
                self._is_quick = self._clock.monotonic() - began < QUICK_S
                self._fetching.discard((job.task.id, job.identity))
                self._woken.set()

    async def _run(self, job: ArchiveJob) -> None:
        began = self._clock.now()
        try:
            result = await run_attempt(job, self._context, self._slot(job))
        except asyncio.CancelledError:
            message = "canceled: the tracker stopped"
            canceled = ArchiveResult(ArchiveState.PENDING, error=message, expires_at=job.expires_at, counts=False)
            await self._record(job, canceled)
            raise
        if await self._record(job, result):
            # now: the next attempt may be claimed before this task counts as done
            self._attempts.pop((job.task.id, job.identity), None)
            self.tallies.note(job, result, began, self._clock.now())
            self._log(job, result)

    async def _record(self, job: ArchiveJob, result: ArchiveResult) -> bool:
        """Record the result, retrying while the store is unavailable; False if it could not be recorded."""
        while True:
            try:
                await self._store.record_archive(job, result)
            except StoreUnavailable as error:
                if self._stopping:
                    return False  # the next start releases it
                if self._repeats.admits(f"record: {error}"):
                    log.warning("archive.result_delayed", task=job.task.id, output=job.n, error=str(error))
            except Exception:
                log.exception("archive.failed", step="record", task=job.task.id, output=job.n)
                return False
            else:
                return True
            await asyncio.sleep(_RECORD_PAUSE_S)

    @staticmethod
    def _log(job: ArchiveJob, result: ArchiveResult) -> None:
        names = {"task": job.task.id, "provider": job.task.provider, "output": job.n, "attempt": job.attempt}
        match result.state:
            case ArchiveState.STORED if result.file is not None:
                log.info("archive.stored", path=result.file.path, bytes=result.file.bytes, **names)
            case ArchiveState.DEAD:
                log.error("archive.gave_up", error=result.error, **names)
            case _:
                log.warning("archive.attempt_failed", error=result.error, **names)
