"""Alarms whose reasons are in the store or on the disk, read from time to time; and the job that records changes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from tracker.domain.alarms import AlarmKind, Finding
from tracker.domain.text import count
from tracker.errors import StoreUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from tracker.archive.tallies import ArchiveTallies
    from tracker.clock import Clock
    from tracker.daemon.alarm_sources import AlarmSources
    from tracker.daemon.reload import Live
    from tracker.maintenance.alarms import Alarms
    from tracker.maintenance.disk_space import DiskSpace
    from tracker.maintenance.model_sync import ModelSync
    from tracker.store.protocol import Store
    from tracker.store.tallies import Backlog

CHECK_EVERY_S: Final = 2.0
READ_EVERY_S: Final = 30.0
DEAD_DAYS: Final = 7
"""Dead deliveries count for so long: they remain until they are retried, which may not be wanted."""
GIVEN_UP_DAYS: Final = 1
"""Files that were given up count for so long: most cannot be fetched any more."""
RATE_OVER_S: Final = 600.0
"""The rate of the archive is measured over so long."""
WAITED_S: Final = 300.0
"""Files that have waited for less do not count as a backlog."""
MEASURED_WITHIN_S: Final = 2.0
BACKUP_DAYS: Final = 2

READ_FOR: Final = frozenset(
    {
        AlarmKind.ACCOUNT_MISSING,
        AlarmKind.BUDGET_EXHAUSTED,
        AlarmKind.MODEL_GONE,
        AlarmKind.DEAD_DELIVERIES,
        AlarmKind.ARCHIVE_BEHIND,
        AlarmKind.ARCHIVE_GAVE_UP,
        AlarmKind.BACKUP_OLD,
    }
)


class AlarmChecks:
    """Reads the store and the disk for alarms, and records what has changed.

    Args:
        alarms: the list.
        sources: what needs no reading.
        store: has the deliveries, files and costs.
        clock: its wall clock is compared with times in the store.
        live: the accounts and the budgets.
        models: knows the configured models that no account has.
        archive: counts the files that were stored.
        store_disk, archive_disk: where both are; None for an archive that is not a directory.
        backups: the directory of the daily copies of the database.
        newest_backup: when the newest of them was made; None where there is none. It blocks.
    """

    def __init__(
        self,
        alarms: Alarms,
        sources: AlarmSources,
        *,
        store: Store,
        clock: Clock,
        live: Live,
        models: ModelSync,
        archive: ArchiveTallies,
        store_disk: DiskSpace,
        archive_disk: DiskSpace | None,
        backups: Path,
        newest_backup: Callable[[], datetime | None],
    ) -> None:
        self._alarms = alarms
        self._sources = sources
        self._store = store
        self._clock = clock
        self._live = live
        self._models = models
        self._archive = archive
        self._store_disk = store_disk
        self._archive_disk = archive_disk
        self._measuring: asyncio.Task[str | None] | None = None
        self._backups = backups
        self._newest_backup = newest_backup
        self._read_at = float("-inf")
        self._syncs = 0
        self._stored: deque[tuple[float, int]] = deque()
        """(monotonic seconds, files stored until then)."""

    async def check(self) -> None:
        """Check everything that is due, and record what has changed. While the store cannot be read, alarms remain."""
        self._sources.look()
        now, syncs = self._clock.monotonic(), self._models.syncs
        if now - self._read_at >= READ_EVERY_S or syncs != self._syncs:
            self._read_at, self._syncs = now, syncs
            try:
                found = await self._read()
            except StoreUnavailable:
                pass
            else:
                self._alarms.update(READ_FOR, found)
                self._sources.look()  # the disk of the archive was measured
        await self._alarms.record()

    async def _read(self) -> list[Finding]:
        now = self._clock.now()
        await self._measure_archive_disk()
        backlog = await self._store.read_backlog(now - timedelta(days=DEAD_DAYS), now - timedelta(days=GIVEN_UP_DAYS))
        budgets = [finding async for finding in self._budgets(now)]
        unknown = await self._models.find_unknown()
        newest = await asyncio.to_thread(self._newest_backup)
        return [
            *self._missing_accounts(backlog),
            *_dead_deliveries(backlog),
            *self._archives(backlog, now),
            *budgets,
            *_models(unknown),
            *self._old_backup(newest, now),
        ]

    def _missing_accounts(self, backlog: Backlog) -> Iterator[Finding]:
        for account, tasks in sorted(backlog.open_tasks.items()):
            if account not in self._live.accounts:
                message = f"The configuration has no account {account}, so the tracker does not follow {_open(tasks)}."
                fix = f"Add [accounts.{account}] again and reload, or give them up: tracker cancel --account {account}"
                yield Finding(AlarmKind.ACCOUNT_MISSING, account, message, fix)

    async def _measure_archive_disk(self) -> None:
        """Measure the disk of the archive on a thread; while that hangs, as a mount may, it is not measured again."""
        disk = self._archive_disk
        if disk is None:
            return
        if self._measuring is None:
            self._measuring = asyncio.create_task(asyncio.to_thread(self._measure, disk))
        await asyncio.wait({self._measuring}, timeout=MEASURED_WITHIN_S)
        if self._measuring.done():
            self._sources.other_disks[str(disk.directory)] = self._measuring.result()
            self._measuring = None

    def _measure(self, disk: DiskSpace) -> str | None:
        """What is wrong with a disk; None if it is that of the store, and the alarm of the store reports it."""
        is_reported = disk.device() == self._store_disk.device() and self._store_disk.measure()[0] is not None
        return None if is_reported else disk.measure()[0]

    async def _budgets(self, now: datetime) -> AsyncIterator[Finding]:
        for account in list(self._live.accounts):
            budget = self._live.budget_of(account)
            if budget is None:
                continue
            spent = await self._store.read_spent(account, now, budget.currency)
            if spent >= budget.limit:
                spending = f"{spent:f} of {budget.limit:f} {budget.currency}"
                message = f"The budget of account {account} is used up for today (UTC): {spending}."
                fix = "Submits are refused until midnight UTC. To allow more, raise its limit in [budget] and reload."
                yield Finding(AlarmKind.BUDGET_EXHAUSTED, account, message, fix)

    def _archives(self, backlog: Backlog, now: datetime) -> Iterator[Finding]:
        if backlog.given_up:
            message = f"The archive gave up on {count(backlog.given_up, 'file')} in the last day."
            fix = "tracker why TASK says why. To try again while the service has the file: tracker download TASK"
            yield Finding(AlarmKind.ARCHIVE_GAVE_UP, "archive", message, fix)
        rate = self._measure_rate()
        if backlog.waiting_since is None or (now - backlog.waiting_since).total_seconds() < WAITED_S:
            return
        late = sum(
            expires_at < now + timedelta(seconds=min(n / rate, 1e9)) for n, expires_at in enumerate(backlog.expiries, 1)
        )
        if late:
            message = f"The archive is behind: {count(late, 'file')} will expire at the service before their turn."
            fix = "Free disk space or bandwidth: the log and tracker status show what slows the archive down."
            yield Finding(AlarmKind.ARCHIVE_BEHIND, "archive", message, fix)

    def _measure_rate(self) -> float:
        """Files that the archive stores in a second; at least one in an hour."""
        now, stored = self._clock.monotonic(), self._archive.attempts["stored"]
        self._stored.append((now, stored))
        while now - self._stored[0][0] > RATE_OVER_S:
            self._stored.popleft()
        began, before = self._stored[0]
        return max((stored - before) / max(now - began, 1.0), 1 / 3600)

    def _old_backup(self, newest: datetime | None, now: datetime) -> Iterator[Finding]:
        if newest is not None and now - newest > timedelta(days=BACKUP_DAYS):
            age = count((now - newest).days, "day")
            message = f"The newest backup in {self._backups} is {age} old."
            fix = "See why the timer makes none: systemctl status tracker-backup.timer tracker-backup.service"
            yield Finding(AlarmKind.BACKUP_OLD, str(self._backups), message, fix)


def _open(tasks: int) -> str:
    return "its open task" if tasks == 1 else f"its {tasks} open tasks"


def _dead_deliveries(backlog: Backlog) -> Iterator[Finding]:
    for hook, dead in sorted(backlog.dead.items()):
        number = "1 delivery" if dead == 1 else f"{dead} deliveries"
        message = f"The hook {hook} has {number} that failed in every attempt in the last {DEAD_DAYS} days."
        fix = f"Fix the hook, then: tracker deliveries retry --hook {hook} --status dead"
        yield Finding(AlarmKind.DEAD_DELIVERIES, hook, message, fix)


def _models(unknown: Mapping[str, str]) -> Iterator[Finding]:
    for key, model in sorted(unknown.items()):
        message = f"The model {model!r} of {key} is in the list of no account."
        fix = f"tracker models list shows the names; correct {key} and reload."
        yield Finding(AlarmKind.MODEL_GONE, key, message, fix)
