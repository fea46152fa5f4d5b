"""What keeps tasks from being asked about and is no matter of the tasks themselves: keys, paces, upstreams left alone.

Owns since when that is so, and the words for it. Must not ask or change anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracker.domain.circuit import CircuitState

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.clock import Clock
    from tracker.domain.task import Task
    from tracker.errors import HeldBack
    from tracker.tracking.account_alarms import AccountAlarms
    from tracker.upstream.breaker import Breakers
    from tracker.upstream.client import UpstreamClient
    from tracker.upstream.limits import RateLimits


@dataclass(frozen=True, slots=True)
class Hindrance:
    """What keeps the tracker itself from asking about the tasks of a lane.

    Attributes:
        since: when it did so first.
        words: what it is.
    """

    since: datetime
    words: str


class Obstacles:
    """Remembers what stood in the way of polls, lane by lane.

    Args:
        client: knows which host an account is asked at.
        limits: the pace of each account.
        breakers: the circuit of each host and family.
        clock: what time it is.
        alarms: which accounts are refused.
    """

    def __init__(
        self,
        client: UpstreamClient,
        limits: RateLimits,
        breakers: Breakers,
        clock: Clock,
        alarms: AccountAlarms,
    ) -> None:
        self._client = client
        self._limits = limits
        self._breakers = breakers
        self._clock = clock
        self._alarms = alarms
        self._hindrances: dict[tuple[str, str], Hindrance] = {}

    def note_held_back(self, task: Task, refusal: HeldBack) -> None:
        """Nobody was asked; who is left alone, and since when, the breakers tell."""
        if not refusal.circuit_open:
            hindrance = Hindrance(self._clock.now(), str(refusal))
            self._hindrances.setdefault((task.account, task.provider), hindrance)

    def note_asked(self, task: Task) -> None:
        """The upstream was asked about a task of this lane."""
        self._hindrances.pop((task.account, task.provider), None)

    def is_blocked(self, lane: tuple[str, str]) -> bool:
        """Whether asking about tasks of a lane (account and provider) is in vain at present, as far as is known."""
        account, provider = lane
        if self._alarms.is_key_rejected(account, provider) or lane in self._hindrances:
            return True
        return self._breakers.circuit_of(self._client.host_of(account), provider).state is not CircuitState.CLOSED

    def words(self, task: Task) -> list[str]:
        """What stands in the way of a task now; one sentence each."""
        account = task.account
        notes = self._alarms.notes(task)
        pause_ends = self._limits.paused_until(account)
        if pause_ends is not None:
            left_s = pause_ends - self._clock.monotonic()
            notes.append(f"The upstream asked account {account!r} to slow down; it is asked again in {left_s:.0f} s.")
        circuit = self._breakers.circuit_of(self._client.host_of(account), task.provider)
        if circuit.since is not None:
            who = f"{circuit.host} failed for {circuit.family}" if circuit.family else f"{circuit.host} did not answer"
            when = "now" if circuit.retry_in_s is None else f"in {circuit.retry_in_s:.0f} s"
            notes.append(
                f"{who} {circuit.failures} times in a row; its circuit is open since {_seconds(circuit.since)}, "
                f"the next try is {when}."
            )
        hindrance = self._hindrances.get((account, task.provider))
        if hindrance is not None:
            notes.append(
                f"The upstream has not been asked since {_seconds(hindrance.since)}: {hindrance.words}. "
                "Tasks wait for that, past their deadlines too."
            )
        return notes


def _seconds(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
