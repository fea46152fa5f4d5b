"""The SQLite engine: the store's protocol over one writer and a few readers.

Write-ahead log, full sync, strict tables, one process per file. What an acknowledged call wrote survives a power
failure. Reads run beside the writer and never wait for it.
"""

# ruff: noqa: D102 - the protocol documents its methods

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from tracker import __version__
from tracker.domain.ids import RANDOM_BYTES, make_ulid
from tracker.errors import StoreDamaged, StoreError, StoreUnavailable, StoreUnusable
from tracker.store.sqlite import (
    alarms,
    archives,
    durations,
    leases,
    model_lists,
    outbox,
    pruning,
    slots,
    tasks,
    unmatched,
)
from tracker.store.sqlite.backup import write_copy
from tracker.store.sqlite.checkpoints import Checkpointer
from tracker.store.sqlite.files import DatabaseFiles
from tracker.store.sqlite.observations import apply_all
from tracker.store.sqlite.reads import LOOKUPS, SEARCHES, SqliteReader
from tracker.store.sqlite.schema import connect_existing, connect_writer, unusable
from tracker.store.sqlite.transactions import Transaction, WriteConnection
from tracker.store.sqlite.writer import Writer
from tracker.store.tallies import Origins, StoreTallies
from tracker.store.values import Applied, Created, Process, WriterProgress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from datetime import datetime
    from pathlib import Path

    from tracker.domain.observation import Observation
    from tracker.domain.task import Output, Task
    from tracker.store.values import ArchiveChoice, AttemptResult, Judge

P = ParamSpec("P")
T = TypeVar("T")


def _method(
    work: Callable[Concatenate[Transaction, P], T],
) -> Callable[Concatenate[SqliteStore, P], Coroutine[Any, Any, T]]:
    """A method of the store: ``work`` in the writer's next transaction."""

    def method(self: SqliteStore, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return self._change(lambda tx: work(tx, *args, **kwargs))

    return method


class SqliteStore(SqliteReader):
    """A `tracker.store.protocol.Store` in one SQLite file.

    Args:
        path: the database file; its directory is made if it is missing.
        now: the wall clock.
    """

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        super().__init__(path, now)
        self._file = path
        self._process = Process("", socket.gethostname(), os.getpid(), __version__)
        self._files = DatabaseFiles(path)
        self._commit_listeners: list[Callable[[Sequence[Applied]], None]] = []
        self._change_listeners: list[Callable[[], None]] = []
        self._choose: ArchiveChoice = _choose_none
        self._tallies = StoreTallies()
        self._writer = Writer(
            WriteConnection(lambda: connect_writer(path, write_copy), self._files, self._tallies),
            self._note_commit,
            Checkpointer(self._connect_beside),
        )

    # -- life ----------------------------------------------------------------------------------------------

    async def open(self, *, lookups: int = LOOKUPS, searches: int = SEARCHES) -> None:
        """See the protocol."""
        self._files.take()
        process_id = make_ulid(self._now(), secrets.token_bytes(RANDOM_BYTES))
        process = self._process = replace(self._process, id=process_id)
        try:
            await self._writer.start()
            await self._change(lambda tx: leases.register_process(tx, process))
            await super().open(lookups=lookups, searches=searches)
        except (StoreDamaged, sqlite3.Error) as error:
            await self.close()
            cause = error.error if isinstance(error, StoreDamaged) else error
            raise unusable(self._file, cause, "opened", "check free space and permissions") from error
        except StoreUnavailable as error:
            await self.close()
            raise StoreUnusable(f"{self._file}: {error}; run this as its owner, or set store.path") from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await super().close()
        await self._writer.stop()
        self._files.release()

    async def check_writable(self) -> None:
        await self._change(lambda tx: leases.renew_process(tx, self._process))

    def _connect_beside(self) -> sqlite3.Connection:
        self._files.check()  # never create an empty log after one was removed
        return connect_existing(self._file)

    def subscribe_commits(self, listener: Callable[[Sequence[Applied]], None]) -> None:
        self._commit_listeners.append(listener)

    def subscribe_changes(self, wake: Callable[[], None]) -> None:
        self._change_listeners.append(wake)

    def check_storage(self) -> None:
        self._files.check()

    @property
    def writer_progress(self) -> WriterProgress:
        return WriterProgress(self._writer.progress_at, self._writer.waiting, self._writer.lost_since)

    def _note_commit(self, answers: Sequence[Any]) -> None:
        applied = [answer for answer in answers if isinstance(answer, Applied)]
        if len(applied) != len(answers):
            self._count_created(answers)
        if applied:
            for listener in self._commit_listeners:
                try:
                    listener(applied)
                except Exception as error:  # noqa: BLE001 - the others wake hooks and free slots
                    context = {"message": "a listener to commits failed", "exception": error}
                    asyncio.get_running_loop().call_exception_handler(context)
            for wake in self._change_listeners:
                wake()

    def _count_created(self, answers: Sequence[Any]) -> None:
        for answer in answers:
            if isinstance(answer, Created) and answer.is_new:
                task, origin = answer.record.task, answer.record.origin
                self._tallies.created[Origins(task.route, task.account, origin.value)] += 1

    @property
    def tallies(self) -> StoreTallies:
        return self._tallies

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._writer.run(work)

    def _change(self, work: Callable[[Transaction], T]) -> Coroutine[Any, Any, T]:
        now, holder = self._now(), self._process.id
        return self._write(lambda db: work(Transaction(db, now, holder)))

    # -- changes -------------------------------------------------------------------------------------------

    def apply(self, observation: Observation, judge: Judge) -> Awaitable[Applied]:
        return self._writer.run_grouped(self._apply_all, (observation, judge))

    def _apply_all(
        self, db: sqlite3.Connection, batch: Sequence[tuple[Observation, Judge]]
    ) -> Sequence[Applied | StoreError]:
        return apply_all(db, batch, self._choose)

    def choose_archives(self, choose: ArchiveChoice) -> None:
        self._choose = choose

    async def record_attempt(self, delivery_id: str, result: AttemptResult, attempt: int) -> None:
        await self._writer.run_grouped(self._record_attempts, (self._now(), delivery_id, result, attempt))

    def _record_attempts(
        self, db: sqlite3.Connection, batch: Sequence[tuple[datetime, str, AttemptResult, int]]
    ) -> Sequence[None]:
        return outbox.record_attempts(db, self._process.id, batch)

    create_task = _method(tasks.create_task)
    mark_sending = _method(leases.mark_sending)
    claim_due = _method(leases.claim_due)
    claim_waiting = _method(slots.claim_waiting)
    postpone = _method(leases.postpone)
    release_creates = _method(leases.release_creates)
    poll_now = _method(leases.poll_now)
    move_due_times_back = _method(leases.move_due_times_back)
    request_polls = _method(unmatched.request_polls)
    delete_parked = _method(unmatched.delete_parked)
    record_rejected = _method(unmatched.record_rejected)
    record_durations = _method(durations.record_durations)
    replace_models = _method(model_lists.replace_models)
    fan_out = _method(outbox.fan_out)
    claim_deliveries = _method(outbox.claim_deliveries)
    release_deliveries = _method(outbox.release_deliveries)
    fail_deliveries = _method(outbox.fail_deliveries)
    retry_delivery = _method(outbox.retry_delivery)
    retry_deliveries = _method(outbox.retry_deliveries)
    record_alarms = _method(alarms.record_alarms)
    prune_alarms = _method(alarms.prune_alarms)
    claim_archives = _method(archives.claim_archives)
    record_archive = _method(archives.record_archive)
    redrive_archives = _method(archives.redrive_archives)
    prune = _method(pruning.prune)
    record_deleted_files = _method(pruning.record_deleted_files)
    shrink = _method(pruning.shrink)


def _choose_none(_task: Task, _output: Output) -> None:
    """Archive nothing."""
