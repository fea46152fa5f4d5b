"""How often an account may be asked: a token bucket per account, and pauses that the upstream asked for.

Owns the pace of outgoing requests. Must not send anything, and must not know what a request means.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tracker.clock import Clock

BURST_S = 0.1
"""A bucket holds so many seconds of requests, and at least one: no second sees much more than its rate."""
UNKNOWN_RATE = 1.0
"""Requests per second of an account that is not configured: none of them gets past the client."""
_ROUNDING = 1e-9
"""Sums of floats may miss their mark by so little; half a slot is a million times more."""


@dataclass(slots=True)
class _Bucket:
    """One account's pace, monotonic seconds.

    Attributes:
        empty_until: when the requests that were let through so far are paid off at the account's rate.
        paused_until: nothing goes out before.
    """

    empty_until: float = 0.0
    paused_until: float = 0.0


class RateLimits:
    """Hands out slots in the order in which they were asked for.

    A slot is reserved when it is asked for, not when it comes: who waits is never overtaken, and knows at
    once when waiting is in vain.

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
        self._buckets: defaultdict[str, _Bucket] = defaultdict(_Bucket)

    async def take(self, account: str, within_s: float) -> bool:
        """Wait for a slot.

        Args:
            account: whose key is used.
            within_s: the longest acceptable wait, seconds.

        Returns:
            Whether there is one: then the request goes out now. False comes at once, except when a pause
            began during the wait.
        """
        asked_at = self._clock.monotonic()
        bucket = self._buckets[account]
        start = self._next_start(account, bucket, asked_at)
        if start - asked_at > within_s + _ROUNDING:
            return False
        bucket.empty_until = max(bucket.empty_until, start) + 1 / self._rate(account)
        while (wait_s := max(start, bucket.paused_until) - self._clock.monotonic()) > _ROUNDING:
            if bucket.paused_until - asked_at > within_s + _ROUNDING:
                return False  # its slot is lost, which only errs on the slow side
            await self._sleep(wait_s)
        return True

    def pause(self, account: str, until: float) -> None:
        """Let nothing of an account out before ``until``, monotonic seconds. A pause is never shortened."""
        bucket = self._buckets[account]
        bucket.paused_until = max(bucket.paused_until, until)

    def paused_until(self, account: str) -> float | None:
        """When the pause of an account ends, monotonic seconds; None when there is none now."""
        until = self._buckets[account].paused_until
        return until if until > self._clock.monotonic() else None

    def free_within(self, account: str, seconds: float) -> int:
        """How many requests may go out from now until ``seconds`` later, were they asked for now."""
        bucket = self._buckets[account]
        now = self._clock.monotonic()
        end = now + seconds
        start = self._next_start(account, bucket, now)
        if start > end + _ROUNDING:
            return 0
        rate = self._rate(account)
        paid_off = max(bucket.empty_until, start)
        return 1 + max(0, math.floor((end + self._tolerance_s(account) - paid_off) * rate + _ROUNDING))

    def _next_start(self, account: str, bucket: _Bucket, now: float) -> float:
        return max(now, bucket.paused_until, bucket.empty_until - self._tolerance_s(account))

    def _tolerance_s(self, account: str) -> float:
        """How far ahead of its rate an account may run."""
        return max(0.0, BURST_S - 1 / self._rate(account))

    def _rate(self, account: str) -> float:
        """The account's rate; one that a reload removed keeps a slow one, for its tasks to be told about it."""
        return self._rates.get(account, UNKNOWN_RATE)
