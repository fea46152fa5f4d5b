"""Rate limits per account, and the pauses that an upstream requests.

Owns when a request may be sent. Must not send anything, and must not know what a request means.

Two rules apply together. A schedule spaces requests evenly, in small groups if there are many, and lets late ones catch
up a little. A sliding window over the requests sent limits every second, as upstreams count, also after late, idle or
paused times.
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
"""Requests of this many seconds may be sent at once, so that late ones catch up and fast accounts wait less often."""
STEP_S = 0.02
"""Requests that wait are sent in groups at least so many seconds apart, so that their results share commits (measured
at 1,000 a second: 270 us of processor time per poll instead of 600)."""
SPARE = 1.05
"""A window holds this multiple of the rate. The rest up to 1.1 is for requests that overtake each other."""
WINDOW_S = 1.02
"""Longer than the second in which upstreams count: the intervals of arrival differ from those of sending."""
LOOK_AGAIN_S = 1.0
"""How often waiting requests check whether a reload raised the rate."""
UNKNOWN_RATE = 1.0
"""Requests per second of an account that is not configured; the client rejects them anyway."""
_ROUNDING = 1e-9
"""Tolerance for sums of floats; half a slot is a million times more."""


@dataclass(slots=True)
class _Waiter:
    """A request that waits for a slot until ``give_up_at``, monotonic seconds."""

    slot: asyncio.Future[bool]
    give_up_at: float


@dataclass(slots=True)
class _Account:
    """The state of an account; times in monotonic seconds.

    Attributes:
        due_at: when the schedule allows the next request.
        sent: when the requests of the current window were sent.
        paused_until: the end of a pause.
        waiting: requests in order of arrival.
        granter: grants them slots; None or done while none waits.
    """

    due_at: float = -math.inf
    sent: deque[float] = field(default_factory=deque)
    paused_until: float = -math.inf
    waiting: deque[_Waiter] = field(default_factory=deque)
    granter: asyncio.Task[None] | None = None


class RateLimits:
    """Grants slots in order of arrival.

    In any second at most 1.1 times the rate is sent, or the next integer if the rate is below ten.

    Args:
        rates: account name -> requests per second, above 0; read at each call, so that a reload applies.
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

    async def acquire(self, account: str, within_s: float) -> bool:
        """Wait for a slot, at most ``within_s``.

        Returns:
            True: send the request now. False: no slot in time; returned at once, unless a pause began meanwhile.
        """
        if self.acquire_now(account):
            return True
        now = self._clock.monotonic()
        known, rate = self._accounts[account], self.rate_of(account)
        start = max(now, _next_at(known, now, rate))
        if start + len(known.waiting) / min(rate, _window_limit(rate) / WINDOW_S) > now + within_s + _ROUNDING:
            return False
        waiter = _Waiter(asyncio.get_running_loop().create_future(), now + within_s)
        known.waiting.append(waiter)
        if known.granter is None or known.granter.done():
            known.granter = asyncio.create_task(self._grant(account, known))
        return await waiter.slot

    def acquire_now(self, account: str) -> bool:
        """Take a slot if one is free now and no request waits for it; True: send the request now."""
        known = self._accounts[account]
        if known.waiting:
            return False
        now, rate = self._clock.monotonic(), self.rate_of(account)
        if _next_at(known, now, rate) > now:
            return False
        _record_sent(known, now, rate, now - _tolerance_s(rate))
        return True

    def pause(self, account: str, until: float) -> None:
        """Send nothing for an account before ``until``, monotonic seconds. A pause is never shortened."""
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
        """When the pause of an account ends, monotonic seconds; None without a pause."""
        until = self._accounts[account].paused_until
        return until if until > self._clock.monotonic() else None

    def free_within(self, account: str, seconds: float) -> int:
        """How many more requests, besides the waiting ones, may be sent within ``seconds`` (at most one)."""
        known, rate = self._accounts[account], self.rate_of(account)
        now = self._clock.monotonic()
        end = now + seconds
        if _next_at(known, now, rate) > end + _ROUNDING:
            return 0
        first = max(known.due_at, max(now, known.paused_until) - _tolerance_s(rate))
        by_schedule = 1 + math.floor((end - first) * rate + _ROUNDING)
        by_window = _window_limit(rate) - (len(known.sent) - bisect_right(known.sent, end - WINDOW_S))
        return max(0, min(by_schedule, by_window) - len(known.waiting))

    def rate_of(self, account: str) -> float:
        """Requests per second; not 0 for an account that a reload removed, so that its tasks get an error."""
        return self._rates.get(account, UNKNOWN_RATE)

    def load_of(self, account: str) -> tuple[int, int]:
        """How many requests were sent within about the last second, and how many wait for a slot."""
        known, now = self._accounts.get(account), self._clock.monotonic()
        if known is None:
            return 0, 0
        return len(known.sent) - bisect_right(known.sent, now - WINDOW_S), len(known.waiting)

    async def _grant(self, account: str, known: _Account) -> None:
        """Grant slots to waiting requests, in order."""
        while known.waiting:
            now, rate = self._clock.monotonic(), self.rate_of(account)
            start = _next_at(known, now, rate)
            if start > now + _ROUNDING:
                longest_s = LOOK_AGAIN_S if start > known.paused_until else math.inf
                await self._sleep(min(max(start - now, STEP_S), longest_s))
                continue
            waiter = known.waiting.popleft()
            if not waiter.slot.done():  # else it was canceled
                _record_sent(known, now, rate, max(start, now - BURST_S))  # the wait may have ended late
                waiter.slot.set_result(True)


def _next_at(known: _Account, now: float, rate: float) -> float:
    """When the next request may be sent; in the past if now."""
    while known.sent and known.sent[0] <= now - WINDOW_S:
        known.sent.popleft()
    known.due_at = min(known.due_at, now + 1 / rate)  # a reload may have raised the rate
    most = _window_limit(rate)
    full_until = known.sent[-most] + WINDOW_S if len(known.sent) >= most else -math.inf
    return max(known.due_at, known.paused_until, full_until)


def _record_sent(known: _Account, now: float, rate: float, since: float) -> None:
    """Record a request; the schedule counts it from ``since``, but not before `due_at`."""
    known.due_at = max(known.due_at, since) + 1 / rate
    known.sent.append(now)


def _tolerance_s(rate: float) -> float:
    """How far ahead of its rate an idle account may run."""
    return max(0.0, BURST_S - 1 / rate)


def _window_limit(rate: float) -> int:
    """How many requests a window may hold: at least the rate, rounded up."""
    return max(math.ceil(rate), math.floor(rate * SPARE))
