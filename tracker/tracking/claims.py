"""Takes due tasks from the store, lane by lane, as fast as they may be polled: at each sweep, and as polls end.

Owns how many tasks of which lane are claimed, and when. Must not know what is done about a task.

A sweep finds the lanes that have something due. Until one has nothing more, it is claimed for again as soon as polls
have ended or its account's rate leaves slots: a lane is bounded by the rate and by what may be under way, never by
the sweeps. Claims run ahead of the rate by a moment, so that one transaction serves many polls.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from tracker.errors import StoreError
from tracker.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tracker.clock import Clock
    from tracker.store.protocol import Store
    from tracker.store.values import Claimed, Lane
    from tracker.tracking.lane_limits import LaneKey, Places
    from tracker.upstream.limits import RateLimits

log = get_logger(__name__)

AHEAD_S = 0.5
"""Tasks are claimed for so many seconds of their account's rate. For longer, its creates would wait behind them."""
BATCH = 32
"""A refill claims at least so many tasks, unless the lane may not have so many: each claim is a commit."""
MAX_BATCH = 64
"""A refill begins no more polls than this, or one of each lane: callbacks that come meanwhile wait for them."""
LATE_S = 0.01
"""A refill that comes so late finds the event loop busy: then more polls at once would only make callbacks slower, and
`BATCH` of a lane under way are enough. A slow upstream takes more of them and leaves the loop idle."""
REFILL_S = 0.02
"""From the end of a poll to the refill that makes use of it, and of all that end meanwhile."""
TRICKLE = 24
"""So many tasks a sweep claims of a lane that cannot be asked about now: a lack of a key, or an open circuit, must not
be written down for thousands of tasks a second."""
LEASE_S = 40.0
"""A claim outlasts the longest wait for a slot and the longest poll."""


class Claims:
    """Claims due tasks.

    Args:
        store: where tasks are kept.
        limits: the pace of each account.
        polls: the slots of polls under way.
        clock: what time it is.
        begin: starts what a claimed task needs.
        is_blocked: whether asking about tasks of a lane is in vain at present.
    """

    def __init__(
        self,
        store: Store,
        limits: RateLimits,
        polls: Places,
        clock: Clock,
        *,
        begin: Callable[[Claimed], None],
        is_blocked: Callable[[LaneKey], bool],
    ) -> None:
        self._store = store
        self._limits = limits
        self._polls = polls
        self._clock = clock
        self._begin = begin
        self._is_blocked = is_blocked
        self._hungry: dict[LaneKey, Lane] = {}
        """Lanes that had more to do when they were last looked at, the one that waits longest first."""
        self._turn = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._is_late = False
        self._refill_task: asyncio.Task[None] | None = None
        self._halted = False

    async def sweep(self) -> None:
        """Find the lanes that have something due, and claim for each what may be polled now.

        Raises:
            StoreError: the store does not answer; what was claimed before is being polled.
        """
        lanes = await self._store.list_lanes()
        async with self._turn:
            self._hungry = {(lane.account, lane.provider): lane for lane in lanes}
            await self._fill(is_sweep=True)

    def note_free(self) -> None:
        """A slot of a poll has become free: soon, others take it."""
        if self._hungry:
            self._wake(REFILL_S)

    def halt(self) -> None:
        """Claim nothing more."""
        self._halted = True
        if self._timer is not None:
            self._timer.cancel()

    async def ended(self, within_s: float) -> None:
        """Wait for the refill under way."""
        if self._refill_task is not None:
            await asyncio.wait({self._refill_task}, timeout=within_s)

    # -- refills -------------------------------------------------------------------------------------------

    def _wake(self, in_s: float) -> None:
        loop = asyncio.get_running_loop()
        if self._halted:
            return
        if self._timer is not None and not self._timer.cancelled():
            if self._timer.when() <= loop.time() + in_s:
                return
            self._timer.cancel()
        self._timer = loop.call_later(in_s, self._begin_refill)

    def _begin_refill(self) -> None:
        if self._timer is not None:
            self._is_late = asyncio.get_running_loop().time() - self._timer.when() > LATE_S
        self._timer = None
        if self._turn.locked():
            self._wake(REFILL_S)
        else:
            self._refill_task = asyncio.create_task(self._refill())

    async def _refill(self) -> None:
        try:
            async with self._turn:
                await self._fill(is_sweep=False)
        except StoreError as error:
            log.warning("refill.failed", error=str(error))
        except Exception:
            self._hungry.clear()
            log.exception("refill.failed")

    async def _fill(self, *, is_sweep: bool) -> None:
        """Claim for all hungry lanes at once: their claims share a commit."""
        if self._is_halted():
            return
        plan = list(self._plan(is_sweep=is_sweep))
        claims = [self._store.claim_due(lane, wanted, LEASE_S) for lane, wanted in plan]
        failure: BaseException | None = None
        for (lane, wanted), claimed in zip(plan, await asyncio.gather(*claims, return_exceptions=True), strict=True):
            if isinstance(claimed, BaseException):
                failure = claimed
            found = [] if isinstance(claimed, BaseException) else claimed
            if self._is_halted():
                await asyncio.gather(*(self._store.postpone(one.task.id, 0.0) for one in found))
                continue
            for one in found:
                self._begin(one)
            if len(found) < wanted:
                self._hungry.pop((lane.account, lane.provider), None)
        if failure is not None:
            raise failure
        if self._hungry:
            self._wake(REFILL_S if plan else AHEAD_S / 2)

    def _is_halted(self) -> bool:
        return self._halted  # by a call: it may change while a claim is waited for

    def _plan(self, *, is_sweep: bool) -> Iterator[tuple[Lane, int]]:
        """How many tasks to claim for which lane: an equal share of the slots of polls, and of the account's rate."""
        lanes_left = Counter(account for account, _provider in self._hungry)
        slots: dict[str, int] = {}
        planned = 0
        for key, lane in self._hungry.items():
            account = lane.account
            is_blocked, taken = self._is_blocked(key), self._polls.taken(key)
            left = slots.setdefault(account, self._limits.free_within(account, AHEAD_S))
            wanted = min(
                self._polls.free(key, self._hungry, planned),
                -(-left // lanes_left[account]),
                max(1, MAX_BATCH // len(self._hungry)),
            )
            lanes_left[account] -= 1
            if is_blocked:
                wanted = min(wanted, TRICKLE) if is_sweep else 0
            if self._is_late:
                wanted = min(wanted, BATCH - taken)
            least = min(BATCH, (taken + wanted) // 4, int(self._limits.rate_of(account) * AHEAD_S / 2))
            if wanted >= (1 if is_sweep or not taken else max(1, least)):
                slots[account] -= wanted
                planned += wanted
                yield lane, wanted
