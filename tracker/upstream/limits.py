"""How often an account may be asked: its rate, held over every second, and the pauses that the upstream asked for.

Owns when a request may go out. Must not send anything, and must not know what a request means.

Two rules hold together. A schedule spaces requests evenly, and lets what is late catch up a little. A window over
what really went out bounds every second, whatever was late, idle or paused before: an upstream counts like that.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tracker.clock import Clock

BURST_S = 0.05
"""So many seconds of requests may go out at once: late ones catch up, and quick accounts need not wait for each."""
SPARE = 1.05
"""So much of the rate may go out in a window. The rest up to 1.1 is for requests that overtake each other."""
WINDOW_S = 1.02
"""Longer than the second that an upstream counts in: requests do not arrive exactly as far apart as they left."""
LOOK_AGAIN_S = 1.0
"""So often those who wait look whether a reload has raised the rate."""
UNKNOWN_RATE = 1.0
"""Requests per second of an account that is not configured: none of them gets past the client."""
_ROUNDING = 1e-9
"""Sums of floats may miss their mark by so little; half a slot is a million times more."""


@dataclass(slots=True)
class _Waiter:
    """A request that waits for its slot.

    Attributes:
        slot: becomes whether there is one.
        give_up_at: when waiting is in vain, monotonic seconds.
    """

    slot: asyncio.Future[bool]
    give_up_at: float


@dataclass(slots=True)
class _Account:
    """What is remembered of an account, monotonic seconds.

    Attributes:
        due_at: when the next request may go out by the schedule.
        sent: when the requests of the last window went out.
        paused_until: nothing goes out before.
        waiting: requests in the order in which they came.
        usher: hands out slots to them; None or done while none waits.
    """

    due_at: float = -math.inf
    sent: deque[float] = field(default_factory=deque)
    paused_until: float = -math.inf
    waiting: deque[_Waiter] = field(default_factory=deque)
    usher: asyncio.Task[None] | None = None


class RateLimits:
    """Hands out slots in the order in which they were asked for.

    In any second at most 1.1 times the rate goes out, or the next whole number where the rate is less than ten.

    Args:
        rates: account name -> requests per second, above 0; read at each call, so that a reload is heard.
        clock: only its monotonic time is used.
        sleep: waits a number of seconds.
    """

    def __init__(
        self,
        rates: Mapping[str, float],
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._rates = rates
        self._clock = clock
        self._sleep = sleep
        self._accounts: defaultdict[str, _Account] = defaultdict(_Account)

    async def take(self, account: str, within_s: float) -> bool:
        """Wait for a slot.

        Args:
            account: whose key is used.
            within_s: the longest acceptable wait, seconds.

        Returns:
            Whether there is one: then the request goes out now. False comes at once, except when a pause
            began during the wait.
        """
        now = self._clock.monotonic()
        known, rate = self._accounts[account], self.rate_of(account)
        start = max(now, _next_at(known, now, rate))
        if start + len(known.waiting) / min(rate, _most(rate) / WINDOW_S) > now + within_s + _ROUNDING:
            return False
        if not known.waiting and start <= now:
            _send(known, now, rate, now - _tolerance_s(rate))
            return True
        waiter = _Waiter(asyncio.get_running_loop().create_future(), now + within_s)
        known.waiting.append(waiter)
        if known.usher is None or known.usher.done():
            known.usher = asyncio.create_task(self._usher(account, known))
        return await waiter.slot

    def pause(self, account: str, until: float) -> None:
        """Let nothing of an account out before ``until``, monotonic seconds. A pause is never shortened."""
        known = self._accounts[account]
        known.paused_until = max(known.paused_until, until)
        patient: deque[_Waiter] = deque()
        for waiter in known.waiting:
            if known.paused_until <= waiter.give_up_at + _ROUNDING:
                patient.append(waiter)
            elif not waiter.slot.done():
                waiter.slot.set_result(False)
        known.waiting = patient

    def paused_until(self, account: str) -> float | None:
        """When the pause of an account ends, monotonic seconds; None when there is none now."""
        until = self._accounts[account].paused_until
        return until if until > self._clock.monotonic() else None

    def free_within(self, account: str, seconds: float) -> int:
        """How many more requests may go out from now until ``seconds`` (at most one) later, besides those that wait."""
        known, rate = self._accounts[account], self.rate_of(account)
        now = self._clock.monotonic()
        end = now + seconds
        if _next_at(known, now, rate) > end + _ROUNDING:
            return 0
        first = max(known.due_at, max(now, known.paused_until) - _tolerance_s(rate))
        by_schedule = 1 + math.floor((end - first) * rate + _ROUNDING)
        by_window = _most(rate) - (len(known.sent) - bisect_right(known.sent, end - WINDOW_S))
        return max(0, min(by_schedule, by_window) - len(known.waiting))

    def rate_of(self, account: str) -> float:
        """Requests per second; an account that a reload removed keeps a slow one: its tasks are to be told of it."""
        return self._rates.get(account, UNKNOWN_RATE)

    async def _usher(self, account: str, known: _Account) -> None:
        """Give slots to those who wait, as they come."""
        while known.waiting:
            now, rate = self._clock.monotonic(), self.rate_of(account)
            start = _next_at(known, now, rate)
            if start > now + _ROUNDING:
                longest_s = LOOK_AGAIN_S if start > known.paused_until else math.inf
                await self._sleep(min(start - now, longest_s))
                continue
            waiter = known.waiting.popleft()
            if not waiter.slot.done():  # else it went away
                _send(known, now, rate, max(start, now - BURST_S))  # the wait may have ended late
                waiter.slot.set_result(True)


def _next_at(known: _Account, now: float, rate: float) -> float:
    """When the next request may go out; in the past where it may go now."""
    while known.sent and known.sent[0] <= now - WINDOW_S:
        known.sent.popleft()
    known.due_at = min(known.due_at, now + 1 / rate)  # it may come from a slower rate
    most = _most(rate)
    full_until = known.sent[-most] + WINDOW_S if len(known.sent) >= most else -math.inf
    return max(known.due_at, known.paused_until, full_until)


def _send(known: _Account, now: float, rate: float, since: float) -> None:
    """Take note of a request; for the schedule it went out at ``since``, if that was not too early."""
    known.due_at = max(known.due_at, since) + 1 / rate
    known.sent.append(now)


def _tolerance_s(rate: float) -> float:
    """How far ahead of its rate an account may run after a rest."""
    return max(0.0, BURST_S - 1 / rate)


def _most(rate: float) -> int:
    """How many requests a window may hold: never less than the rate itself, as a whole number."""
    return max(math.ceil(rate), math.floor(rate * SPARE))
