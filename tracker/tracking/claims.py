"""Claims due tasks from the store, lane by lane, as fast as they may be polled: at each sweep and as polls end.

Owns how many tasks of which lane are claimed, and when. Must not know what is done with a task.

A sweep finds the lanes with due tasks. While a lane has more of them, more are claimed as soon as polls have ended or
the account's rate allows it: a lane is limited by the rate and by its slots, not by the sweeps. Claims run a little
ahead of the rate, so that one transaction serves many polls.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from tracker.errors import StoreError
from tracker.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tracker.store.protocol import Store
    from tracker.store.values import Claimed, Lane
    from tracker.tracking.lane_limits import LaneSlots
    from tracker.upstream.limits import RateLimits

log = get_logger(__name__)

AHEAD_S = 0.5
"""Tasks are claimed for so many seconds of their account's rate. For longer, its creates would wait behind them."""
BATCH = 64
"""A refill waits for so many free slots, or half of all, unless it waits for `REFILL_S`: each claim is a commit."""
CHUNK = 16
"""A refill claims so many tasks of a lane before it turns to the next one: each lane is a query."""
MAX_BATCH = 128
"""A sweep starts at most so many polls, or one of each lane. While the event loop is busy so many may be under way.

With fewer, polls wait for the commits of their claims and answers; with more, more of them hit an upstream that just
broke. Measured on two busy cores: 3,000 polls a second and 208 us of CPU each with 64, 3,700 and 195 us with 128, 4,100
and 188 us with 192."""
SHARED_BATCH, SHARED_MAX_BATCH = 8, 16
"""The same while callbacks arrive, which wait for the polls under way (measured on two cores, p99 of a callback: 21 ms
beside 64 polls, 12 ms beside 32, 7 ms beside 16)."""
SHARED_S = 1.0
"""For so long after a callback others are expected."""
LATE_S = 0.005
"""When a timer is so late, the event loop is busy."""
GROW_S = 0.1
"""So often the polls under way may grow by `MAX_BATCH`: a slow upstream takes more and leaves the event loop idle."""
ENOUGH_PER_S = 2000
"""While so many polls end, no more are begun at once: it is the event loop that limits them, not the upstream."""
REFILL_S = 0.02
"""From the end of a poll to the refill that reuses its slot, if few others end meanwhile."""
TRICKLE = 24
"""A sweep claims so many tasks of a blocked lane: a missing key or an open circuit must not cause thousands of writes a
second."""
LEASE_S = 40.0
"""A claim outlasts the longest wait for a slot and the longest poll."""


class Claims:
    """Claims due tasks.

    Args:
        store: holds the tasks.
        limits: the rate of each account.
        polls: the slots of polls.
        begin: starts the work for a claimed task.
        is_blocked: whether polls of a lane would fail or not be sent now.
        callbacks: how many callbacks have arrived.
    """

    def __init__(
        self,
        store: Store,
        limits: RateLimits,
        polls: LaneSlots,
        *,
        begin: Callable[[Claimed], None],
        is_blocked: Callable[[Lane], bool],
        callbacks: Callable[[], int],
    ) -> None:
        self._store = store
        self._limits = limits
        self._polls = polls
        self._begin = begin
        self._is_blocked = is_blocked
        self._callbacks = callbacks
        self._known_callbacks = 0
        self._shared_until = float("-inf")
        """Until when polls leave slots of the loop to callbacks, on the event loop's clock."""
        self._batch, self._max_batch = BATCH, MAX_BATCH
        self._due_lanes: list[Lane] = []
        """Lanes that had more due tasks at the last claim, the one that waits longest first."""
        self._turn = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._freed = 0
        """Slots that became free since the last claim."""
        self._is_late = False
        self._may_grow = False
        """Whether the next refill may start more polls than have ended."""
        self._ended = 0
        """Polls that ended since `_ended_since`, on the event loop's clock."""
        self._ended_since = 0.0
        self._refill_task: asyncio.Task[None] | None = None
        self._halted = False

    async def sweep(self) -> None:
        """Find the lanes with due tasks, and claim for each what may be polled now.

        Raises:
            StoreError: the store failed; tasks that were claimed before are polled.
        """
        lanes = await self._store.list_lanes()
        async with self._turn:
            self._due_lanes = lanes
            await self._fill(is_sweep=True)

    def slot_freed(self) -> None:
        """A poll has ended: its slot is reused soon."""
        self._freed += 1
        self._ended += 1
        if self._due_lanes and not self._halted:
            if self._is_worth_a_claim():
                self._begin_refill()
            elif self._freed == 1:
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
        if self._timer is not None:
            if self._timer.when() <= loop.time() + in_s:
                return
            self._timer.cancel()
        self._timer = loop.call_later(in_s, self._end_wait)

    def _end_wait(self) -> None:
        assert self._timer is not None  # noqa: S101 - it calls this
        now = asyncio.get_running_loop().time()
        self._is_late = now - self._timer.when() > LATE_S
        passed_s = now - self._ended_since
        if passed_s > GROW_S:
            self._may_grow = not self._is_late and self._ended < ENOUGH_PER_S * passed_s
            self._ended, self._ended_since = 0, now
        self._timer = None
        self._begin_refill()

    def _is_worth_a_claim(self) -> bool:
        return self._freed >= max(1, min(self._batch, len(self._polls)))

    def _begin_refill(self) -> None:
        """Refill, unless a claim is under way."""
        if not self._turn.locked() and (self._refill_task is None or self._refill_task.done()):
            self._refill_task = asyncio.create_task(self._refill())

    async def _refill(self) -> None:
        try:
            async with self._turn:
                await self._fill(is_sweep=False)
                while self._due_lanes and not self._halted and self._is_worth_a_claim():
                    await self._fill(is_sweep=False)  # slots became free during the claim
        except StoreError as error:
            log.warning("refill.failed", error=str(error))
        except Exception:
            self._due_lanes.clear()
            log.exception("refill.failed")

    async def _fill(self, *, is_sweep: bool) -> None:
        """Claim for the due lanes whose turn it is: their claims share a commit."""
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
            self._due_lanes.remove(lane)
            if len(found) >= wanted:
                self._due_lanes.append(lane)  # the next turn is another lane's
        if failure is not None:
            raise failure
        if self._due_lanes:
            self._wake(REFILL_S if plan else AHEAD_S / 2)

    def _is_halted(self) -> bool:
        return self._halted  # a call, since it may change during an await

    def _make_room(self) -> None:
        """Choose how many polls are begun together."""
        now = asyncio.get_running_loop().time()
        if (arrived := self._callbacks()) != self._known_callbacks:
            self._known_callbacks, self._shared_until = arrived, now + SHARED_S
        is_shared = now < self._shared_until
        self._batch, self._max_batch = (SHARED_BATCH, SHARED_MAX_BATCH) if is_shared else (BATCH, MAX_BATCH)

    def _plan(self, *, is_sweep: bool) -> Iterator[tuple[Lane, int]]:
        """How many tasks to claim for which lane: an equal share of the slots and of the account's rate.

        A sweep claims a little for each lane, a refill more for some of them in turn: as many as have ended.
        """
        self._make_room()
        room = self._max_batch if is_sweep else self._freed + (self._max_batch if self._may_grow else 0)
        if self._is_late:
            room = min(room, self._max_batch - len(self._polls))
        self._freed, self._may_grow = 0, False
        most = max(1 if is_sweep else CHUNK, -(-room // max(1, len(self._due_lanes))))
        lanes_left = Counter(lane.account for lane in self._due_lanes)
        slots: dict[str, int] = {}
        planned = 0
        for lane in self._due_lanes:
            account = lane.account
            is_blocked, taken = self._is_blocked(lane), self._polls.taken(lane)
            left = slots.setdefault(account, self._limits.free_within(account, AHEAD_S))
            wanted = min(
                self._polls.free(lane, self._due_lanes, planned),
                -(-left // lanes_left[account]),
                most,
                max(room - planned, 0 if taken or not is_sweep else 1),
            )
            lanes_left[account] -= 1
            if is_blocked:
                wanted = min(wanted, TRICKLE) if is_sweep else 0
            least = min(self._batch, (taken + wanted) // 4, int(self._limits.rate_of(account) * AHEAD_S / 2))
            if wanted >= (1 if is_sweep or not taken else max(1, least)):
                slots[account] -= wanted
                planned += wanted
                yield lane, wanted
