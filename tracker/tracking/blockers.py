"""Why the tasks of a lane cannot be polled now: rejected keys, pauses, open circuits, missing configuration.

Owns since when a lane is blocked, and the sentences about it. Must not send or change anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from tracker.domain.circuit import CircuitState
from tracker.domain.records import iso
from tracker.store.values import Lane

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.clock import Clock
    from tracker.domain.task import Task
    from tracker.errors import NotAttempted
    from tracker.tracking.account_alarms import AccountAlarms
    from tracker.upstream.breaker import Breakers
    from tracker.upstream.client import UpstreamClient
    from tracker.upstream.limits import RateLimits


@dataclass(frozen=True, slots=True)
class LaneBlock:
    """Why the tracker itself sends no polls of a lane, and since when."""

    since: datetime
    message: str


class Blockers:
    """Remembers what blocks polls, by lane.

    Args:
        client: knows the host of an account.
        limits: the pauses of accounts.
        breakers: the circuit of each host and provider.
        clock: gives the time of a block.
        alarms: the accounts that are refused.
    """

    def __init__(
        self, client: UpstreamClient, limits: RateLimits, breakers: Breakers, clock: Clock, alarms: AccountAlarms
    ) -> None:
        self._client = client
        self._limits = limits
        self._breakers = breakers
        self._clock = clock
        self._alarms = alarms
        self._blocks: dict[Lane, LaneBlock] = {}

    def record_not_attempted(self, task: Task, error: NotAttempted) -> None:
        """A poll was not sent; the breakers know of open circuits themselves."""
        if not error.circuit_open:
            self._blocks.setdefault(Lane(task.account, task.provider), LaneBlock(self._clock.now(), str(error)))

    def record_attempted(self, task: Task) -> None:
        """A poll of this lane was sent."""
        if self._blocks:
            self._blocks.pop(Lane(task.account, task.provider), None)

    def is_blocked(self, lane: Lane) -> bool:
        """Whether polls of a lane would fail or not be sent now, as far as is known."""
        if self._alarms.is_key_rejected(lane.account, lane.provider) or lane in self._blocks:
            return True
        circuit = self._breakers.circuit_of(self._client.host_of(lane.account), lane.provider)
        return circuit.state is not CircuitState.CLOSED

    def blocked_until(self, task: Task) -> datetime | None:
        """Until when nothing is sent for a task, as far as is known: a pause of its account, or an open circuit."""
        pause_ends = self._limits.paused_until(task.account)
        left_s = [] if pause_ends is None else [pause_ends - self._clock.monotonic()]
        circuit = self._breakers.circuit_of(self._client.host_of(task.account), task.provider)
        left_s += [] if circuit.retry_in_s is None else [circuit.retry_in_s]
        return self._clock.now() + timedelta(seconds=max(left_s)) if left_s else None

    def describe(self, task: Task) -> list[str]:
        """What blocks a task now, one sentence each."""
        account = task.account
        notes = self._alarms.describe_task(task)
        pause_ends = self._limits.paused_until(account)
        if pause_ends is not None:
            left_s = pause_ends - self._clock.monotonic()
            notes.append(f"The service asked for fewer requests, so account {account} waits another {left_s:.0f} s.")
        circuit = self._breakers.circuit_of(self._client.host_of(account), task.provider)
        if circuit.since is not None:
            failed = f"has failed for {circuit.provider}" if circuit.provider else "has not answered"
            when = "now" if circuit.retry_in_s is None else f"in {circuit.retry_in_s:.0f} s"
            notes.append(f"The service at {circuit.host} {failed} since {iso(circuit.since)}. The next try is {when}.")
        block = self._blocks.get(Lane(account, task.provider))
        if block is not None:
            notes.append(
                f"The tracker has not asked the service since {iso(block.since)}: {block.message}. "
                "The tasks wait until that is fixed, past their deadlines too."
            )
        return notes
