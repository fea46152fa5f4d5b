"""The SQLite engine: the store's protocol over one writer and a few readers.

Write-ahead log, full sync, strict tables, one process per file. What an acknowledged call wrote survives a power
cut. Reads run beside the writer and never wait for it.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, TypeVar

from tracker.errors import StoreDamaged, StoreError, StoreUnavailable, StoreUnusable
from tracker.store.sqlite import archives, changes, outbox, pruning
from tracker.store.sqlite.backup import write_copy
from tracker.store.sqlite.checkpoints import Checkpointer
from tracker.store.sqlite.files import DatabaseFiles
from tracker.store.sqlite.observations import apply_all
from tracker.store.sqlite.reads import CONNECTIONS, SqliteReader
from tracker.store.sqlite.schema import connect_existing, connect_writer, unusable
from tracker.store.sqlite.transactions import WriteConnection
from tracker.store.sqlite.writer import Writer
from tracker.store.values import Applied

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    from tracker.domain.ai_models import Model
    from tracker.domain.archives import ArchiveRecord
    from tracker.domain.observation import Observation
    from tracker.domain.pruning import Cutoffs, Pruned, StoredFile
    from tracker.domain.records import DeliveryRecord
    from tracker.domain.task import ExternalId, Output, Task, TaskId
    from tracker.store.values import (
        ArchiveChoice,
        ArchiveJob,
        ArchiveResult,
        AttemptResult,
        Created,
        DeliveryFilter,
        DeliveryJob,
        Judge,
        Lane,
        Match,
        NewTask,
        Nudged,
    )

T = TypeVar("T")


class SqliteStore(SqliteReader):
    """A `tracker.store.protocol.Store` in one SQLite file.

    Args:
        path: the database file; its directory is made if it is missing.
        now: the wall clock.
    """

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        super().__init__(path)
        self._file = path
        self._now = now
        self._files = DatabaseFiles(path)
        self._commit_listeners: list[Callable[[Sequence[Applied]], None]] = []
        self._change_listeners: list[Callable[[], None]] = []
        self._choose: ArchiveChoice = _choose_none
        self._writer = Writer(
            WriteConnection(lambda: connect_writer(path, write_copy), self._files),
            self._note_commit,
            Checkpointer(self._connect_beside),
        )

    # -- life ----------------------------------------------------------------------------------------------

    async def open(self, connections: int = CONNECTIONS) -> None:
        """Lock, migrate, give back what a previous process held, open the readers.

        Raises:
            StoreUnusable: locked, newer, foreign, or not writable.
        """
        self._files.take()
        try:
            await self._writer.start()
            await self._write(lambda db: changes.bring_back_after(db, self._now()))
            await self._write(lambda db: changes.give_back_leases(db, self._now()))
            await self._write(lambda db: archives.give_back(db, self._now()))
            await super().open(connections)
        except (StoreDamaged, sqlite3.Error) as error:
            await self.close()
            cause = error.error if isinstance(error, StoreDamaged) else error
            raise unusable(self._file, cause, "opened", "check free space and permissions") from error
        except StoreUnavailable as error:
            await self.close()
            raise StoreUnusable(f"{self._file}: {error}; its owner is to run this, or set store.path") from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Write what waits, then close."""
        await super().close()
        await self._writer.stop()
        self._files.release()

    async def check_writable(self) -> None:
        """Prove that a write can be committed now.

        Raises:
            StoreUnavailable: it cannot.
        """

        def touch(db: sqlite3.Connection) -> None:
            # a value that changes: SQLite writes nothing at all where a row stays the same
            db.execute(
                "INSERT INTO cursors (name, seq) VALUES ('writable', 1) ON CONFLICT (name) DO UPDATE SET seq = seq + 1"
            )

        await self._write(touch)

    def _connect_beside(self) -> sqlite3.Connection:
        self._files.check()  # a log that was removed must not be followed by an empty one
        return connect_existing(self._file)

    async def bring_back_due_times(self, by: timedelta) -> None:
        """See the protocol."""
        await self._write(lambda db: changes.bring_back_due_times(db, by, self._now()))

    def subscribe_commits(self, listener: Callable[[Sequence[Applied]], None]) -> None:
        """See the protocol."""
        self._commit_listeners.append(listener)

    def subscribe_changes(self, wake: Callable[[], None]) -> None:
        """See the protocol."""
        self._change_listeners.append(wake)

    def check_files(self) -> None:
        """Make sure that the files are still those that were opened.

        Raises:
            StoreUnavailable: one was removed, moved or replaced: what is written would be lost at the next start.
        """
        self._files.check()

    @property
    def writer_lost_since(self) -> float | None:
        """Since when the writer has had no usable connection (monotonic seconds), for the process's health."""
        return self._writer.lost_since

    @property
    def writer_progress(self) -> tuple[float, int]:
        """When the writer last answered (monotonic seconds) and how many writes wait; for the process's health."""
        return self._writer.progress_at, self._writer.waiting

    def _note_commit(self, answers: Sequence[Any]) -> None:
        applied = [answer for answer in answers if isinstance(answer, Applied)]
        if applied:
            for listener in self._commit_listeners:
                listener(applied)
            for wake in self._change_listeners:
                wake()

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._writer.run(work)

    # -- tasks ---------------------------------------------------------------------------------------------

    async def create_task(self, new: NewTask) -> Created:
        """See the protocol."""
        return await self._write(lambda db: changes.create_task(db, new))

    async def mark_sending(self, task_id: TaskId, lease_until: datetime) -> Task | None:
        """See the protocol."""
        return await self._write(lambda db: changes.mark_sending(db, task_id, lease_until))

    def apply(self, observation: Observation, judge: Judge) -> Awaitable[Applied]:
        """See the protocol."""
        return self._writer.run_grouped(self._apply_all, (observation, judge))

    def _apply_all(
        self, db: sqlite3.Connection, heard: Sequence[tuple[Observation, Judge]]
    ) -> Sequence[Applied | StoreError]:
        return apply_all(db, heard, self._choose)

    async def nudge(
        self, provider: str, external_ids: Sequence[ExternalId], payload: str | None, now: datetime
    ) -> Nudged:
        """See the protocol."""
        return await self._write(lambda db: changes.nudge(db, provider, external_ids, payload, now))

    async def poll_now(self, task_id: TaskId, now: datetime) -> Task:
        """See the protocol."""
        return await self._write(lambda db: changes.poll_now(db, task_id, now))

    async def claim_due(self, lane: Lane, limit: int, now: datetime, lease_until: datetime) -> list[Task]:
        """See the protocol."""
        return await self._write(lambda db: changes.claim_due(db, lane, limit, now, lease_until))

    async def put_off(self, task_id: TaskId, until: datetime) -> None:
        """See the protocol."""
        await self._write(lambda db: changes.put_off(db, task_id, until))

    async def release_creates(self, task_ids: Sequence[TaskId], now: datetime) -> None:
        """See the protocol."""
        await self._write(lambda db: changes.release_creates(db, task_ids, now))

    async def replace_models(self, account: str, family: str, models: Sequence[Model], now: datetime) -> None:
        """See the protocol."""
        await self._write(lambda db: changes.replace_models(db, account, family, models, now))

    async def keep_rejected(self, *, provider: str, http_status: int, why: str, body: str, now: datetime) -> None:
        """See the protocol."""
        await self._write(
            lambda db: changes.keep_rejected(
                db, provider=provider, http_status=http_status, why=why, body=body, now=now
            )
        )

    async def forget_parked(self, before: datetime) -> int:
        """See the protocol."""
        return await self._write(lambda db: changes.forget_parked(db, before))

    # -- the outbox ----------------------------------------------------------------------------------------

    async def fan_out(self, match: Match | None, limit: int, now: datetime) -> int:
        """See the protocol."""
        return await self._write(lambda db: outbox.fan_out(db, match, limit, now))

    async def claim_deliveries(self, hook: str, limit: int, now: datetime, lease_until: datetime) -> list[DeliveryJob]:
        """See the protocol."""
        return await self._write(lambda db: outbox.claim_deliveries(db, hook, limit, now, lease_until))

    async def record_attempt(self, delivery_id: str, result: AttemptResult, attempt: int | None = None) -> None:
        """See the protocol."""
        await self._write(lambda db: outbox.record_attempt(db, delivery_id, result, attempt))

    async def hand_back(self, claims: Sequence[tuple[str, int]], now: datetime) -> None:
        """See the protocol."""
        await self._write(lambda db: outbox.hand_back(db, claims, now))

    async def fail_deliveries(self, hook: str, error: str, now: datetime) -> int:
        """See the protocol."""
        return await self._write(lambda db: outbox.fail_deliveries(db, hook, error, now))

    async def retry_delivery(self, delivery_id: str, now: datetime) -> DeliveryRecord:
        """See the protocol."""
        return await self._write(lambda db: outbox.retry_delivery(db, delivery_id, now))

    async def retry_deliveries(self, wanted: DeliveryFilter, now: datetime) -> int:
        """See the protocol."""
        return await self._write(lambda db: outbox.retry_deliveries(db, wanted, now))

    # -- the archive ---------------------------------------------------------------------------------------

    def choose_archives(self, choose: ArchiveChoice) -> None:
        """See the protocol."""
        self._choose = choose

    async def claim_archives(self, limit: int, now: datetime, lease_until: datetime) -> list[ArchiveJob]:
        """See the protocol."""
        return await self._write(lambda db: archives.claim(db, limit, now, lease_until))

    async def record_archive(self, job: ArchiveJob, result: ArchiveResult) -> None:
        """See the protocol."""
        await self._write(lambda db: archives.record_result(db, job, result))

    async def redrive_archives(
        self, task_id: TaskId, choose: ArchiveChoice, lost: Collection[str], now: datetime
    ) -> list[ArchiveRecord]:
        """See the protocol."""
        return await self._write(lambda db: archives.redrive(db, task_id, choose, lost, now))

    # -- retention -----------------------------------------------------------------------------------------

    async def prune(self, task_ids: Sequence[TaskId], cutoffs: Cutoffs) -> tuple[Pruned, int]:
        """See the protocol."""
        return await self._write(lambda db: pruning.prune(db, task_ids, cutoffs))

    async def forget_files(self, files: Sequence[StoredFile]) -> int:
        """See the protocol."""
        return await self._write(lambda db: pruning.forget_files(db, files))

    async def shrink(self) -> tuple[int, int]:
        """See the protocol."""
        return await self._write(pruning.shrink)


def _choose_none(_task: Task, _output: Output) -> None:
    """Nobody archives anything."""
