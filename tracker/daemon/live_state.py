"""Reads the present state of the parts, for the pages. Must not change anything."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tracker.domain.circuit import CircuitState
from tracker.domain.live_state import AccountLoad, CircuitLine, Disk, LiveState
from tracker.store.values import MAX_WAITING

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.clock import Clock
    from tracker.daemon.process_state import ProcessState
    from tracker.daemon.reload import Live
    from tracker.maintenance.disk_space import DiskSpace
    from tracker.store.protocol import Store
    from tracker.tracking.account_alarms import AccountAlarms
    from tracker.tracking.tallies import TaskTallies
    from tracker.upstream.breaker import Breakers
    from tracker.upstream.client import UpstreamClient
    from tracker.upstream.limits import RateLimits


MEASURED_WITHIN_S: Final = 1.0
"""A disk that does not answer in this time is shown as it was."""


class Disks:
    """Measures disks off the event loop: one on a network may hang, and then no second thread waits for it.

    Args:
        disks: of the store, and of the archive.
    """

    def __init__(self, disks: Sequence[DiskSpace]) -> None:
        self._disks = disks
        self._work: asyncio.Future[list[Disk]] | None = None
        self._known: list[Disk] = []

    async def measure(self) -> list[Disk]:
        """The disks that can be measured."""
        if self._work is None or self._work.done():
            self._work = asyncio.ensure_future(asyncio.to_thread(self._measure))
        await asyncio.wait({self._work}, timeout=MEASURED_WITHIN_S)
        if self._work.done():
            self._known = self._work.result()
        return self._known

    def _measure(self) -> list[Disk]:
        return [Disk(str(disk.directory), *space) for disk in self._disks if (space := disk.space()) is not None]


@dataclass(frozen=True, slots=True)
class LiveParts:
    """The parts that are read; calling it reads them now."""

    started_at: datetime
    clock: Clock
    store: Store
    live: Live
    alarms: AccountAlarms
    breakers: Breakers
    client: UpstreamClient
    limits: RateLimits
    tasks: TaskTallies
    process: ProcessState
    disks: Disks

    async def __call__(self) -> LiveState:
        """The state now."""
        commits = self.store.tallies.commit_durations
        return LiveState(
            started_at=self.started_at,
            callback_at=dict(self.tasks.callback_at),
            duplicates=self._callbacks("duplicate"),
            stale=self._callbacks("stale"),
            circuits=self._circuits(),
            accounts=self._accounts(),
            disks=await self.disks.measure(),
            lag_s=max(self.process.last_lags, default=0.0),
            loop_ages=self.process.loop_ages(),
            writes_waiting=self.store.writer_progress.waiting,
            writes_most=MAX_WAITING,
            commit_s=commits.sum / commits.count if commits.count else None,
        )

    def _callbacks(self, outcome: str) -> Mapping[str, int]:
        """Provider -> callbacks with this outcome."""
        return {
            provider: number
            for (provider, source, how), number in list(self.tasks.observations.items())
            if source == "callback" and how == outcome
        }

    def _circuits(self) -> list[CircuitLine]:
        opened = {(one.host, one.provider): one for one in self.breakers.list_open()}
        hosts = {host for name in self.live.accounts if (host := self.client.host_of(name))}
        closed = [
            CircuitLine(host, "", str(CircuitState.CLOSED), 0, None, None)
            for host in sorted(hosts)
            if (host, "") not in opened
        ]
        return [
            *(
                CircuitLine(one.host, one.provider, str(one.state), one.failures, one.since, one.retry_in_s)
                for one in opened.values()
            ),
            *closed,
        ]

    def _accounts(self) -> list[AccountLoad]:
        now, steady = self.clock.now(), self.clock.monotonic()
        loads = []
        for known in self.live.describe_accounts(self.alarms.describe_account):
            name, until = known["name"], self.limits.paused_until(known["name"])
            loads.append(
                AccountLoad(
                    name,
                    known["base_url"],
                    self.limits.rate_of(name),
                    *self.limits.load_of(name),
                    paused_until=None if until is None else now + timedelta(seconds=until - steady),
                    max_in_flight=self.live.slots.get(name),
                    has_key=known["has_key"],
                    alarm=known["alarm"],
                )
            )
        return loads
