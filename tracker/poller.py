"""The polling loop: one sweep over what is due, fair across accounts and providers, bounded in everything.

One APScheduler job ticks; there is never a job per task. A tick asks the store which lanes (account and provider)
have something due, gives each lane a fair share of the free places, claims that many tasks by lease, and starts
their polls; it waits for none of them, so a slow upstream delays nobody else and a tick is always short. What a
poll learns goes through the reconciler like everything else.

A claimed task is one of three: a create that was put off and goes out again, a send that was lost with its
process, or a task to be asked about. A create may take minutes, so those have places of their own.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.backoff import deadline_of
from tracker.domain.observation import NOTHING, Observation, Reading, Source, Trouble
from tracker.domain.task import Status, SubmitState, UpstreamError
from tracker.domain.wire import payload_text
from tracker.errors import HeldBack, NotSent, StoreError, Unanswered
from tracker.lanes import Places
from tracker.logs import get_logger
from tracker.obstacles import Obstacles
from tracker.providers.requests import with_model_in_query
from tracker.ticks import Ticks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from tracker.clock import Clock
    from tracker.domain.task import Task, TaskId
    from tracker.domain.wire import WireReply, WireRequest
    from tracker.providers.registry import Registry
    from tracker.reconciler import Reconciler
    from tracker.store.protocol import Lane, Store
    from tracker.submitter import Submitter
    from tracker.upstream.breaker import Breakers
    from tracker.upstream.client import UpstreamClient
    from tracker.upstream.limits import RateLimits

log = get_logger(__name__)

MAX_POLLS = 64
"""Polls under way at once, over all lanes."""
MAX_LANE_POLLS = 24
"""Polls under way at once of one account and provider."""
MAX_SENDS = 64
"""Creates that were put off and are under way again, over all lanes."""
MAX_LANE_SENDS = 24
CLAIMS = 8
"""So often a tick claims for one lane: creates for which there is no place must not hide the polls behind them."""
LEASE_MARGIN_S = 30.0
TICK_WITHIN_S = 10.0
"""A tick that takes longer is cut off; its claims fall due again by themselves."""
STALL_TICKS = 5
"""So many ticks missed, and at least `STALL_AT_LEAST_S`, and the loop counts as stalled."""
STALL_AT_LEAST_S = 15.0
HOUSEKEEPING_S = 600.0


class Poller:
    """Runs the sweep.

    Args:
        store: where tasks are kept.
        reconciler: the door for what polls learn.
        client: the way to the upstreams.
        limits: the pace of each account.
        breakers: which hosts are left alone.
        registry: the known routes.
        submitter: sends what was put off.
        clock: what time it is.
        redact: masks secrets in a payload before it is kept.
        tick_s: seconds between sweeps.
        park_s: how long callbacks of unknown tasks are kept, seconds.
    """

    def __init__(
        self,
        *,
        store: Store,
        reconciler: Reconciler,
        client: UpstreamClient,
        limits: RateLimits,
        breakers: Breakers,
        registry: Registry,
        submitter: Submitter,
        clock: Clock,
        redact: Callable[[bytes], str],
        tick_s: float,
        park_s: float,
    ) -> None:
        self._store = store
        self._reconciler = reconciler
        self._client = client
        self._limits = limits
        self._registry = registry
        self._submitter = submitter
        self._clock = clock
        self._redact = redact
        self._tick_s = tick_s
        self._park_s = park_s
        self._ticks = Ticks(self.tick, tick_s)
        self._polls = Places(MAX_POLLS, MAX_LANE_POLLS)
        self._sends = Places(MAX_SENDS, MAX_LANE_SENDS)
        self._leases: dict[TaskId, datetime] = {}
        """Until when the tasks of the polls under way were claimed."""
        self._again: set[TaskId] = set()
        """Tasks that somebody nudged while their poll was under way: its answer may be older than the nudge."""
        self._obstacles = Obstacles(client, limits, breakers, clock, redact)
        self._last_housekeeping = float("-inf")
        self._halted = False
        self.last_tick = clock.monotonic()
        """When a sweep last completed, on the monotonic clock."""
        self._last_round = self.last_tick
        self.first_tick = asyncio.Event()
        """Set once a sweep has completed."""

    def start(self) -> None:
        """Begin to tick, the first time at once."""
        self.last_tick = self._last_round = self._clock.monotonic()
        self._ticks.start()

    def set_pace(self, tick_s: float, park_s: float) -> None:
        """Replace the seconds between sweeps, and how long callbacks of unknown tasks are kept."""
        self._park_s = park_s
        self._tick_s = tick_s
        self._ticks.set_interval(tick_s)

    def halt(self) -> None:
        """Stop ticking: nothing more is claimed. Polls under way go on, and so do those that are asked for."""
        self._halted = True
        self._ticks.stop()

    async def stop(self, drain_s: float) -> None:
        """Stop ticking and let polls under way end; those that do not are polled again after their lease."""
        self.halt()
        await self._ticks.ended(drain_s)  # it may be starting the last polls
        await asyncio.gather(self._polls.end(drain_s), self._sends.end(drain_s))

    @property
    def is_stalled(self) -> bool:
        """Whether ticks stopped completing."""
        allowed_s = max(STALL_AT_LEAST_S, STALL_TICKS * self._tick_s)
        return self._clock.monotonic() - self.last_tick > allowed_s

    @property
    def is_wedged(self) -> bool:
        """Whether ticks do not even come round. One that the store refuses (a full disk) has come round."""
        return self._clock.monotonic() - self._last_round > max(STALL_AT_LEAST_S, STALL_TICKS * self._tick_s)

    async def tick(self) -> None:
        """One sweep; never raises, never takes longer than `TICK_WITHIN_S`."""
        if self._halted:
            return
        try:
            async with asyncio.timeout(TICK_WITHIN_S):
                await self._sweep()
        except StoreError as error:
            log.warning("sweep.failed", error=str(error))
            self._last_round = self._clock.monotonic()
        except TimeoutError:
            log.warning("sweep.timed_out", within_s=TICK_WITHIN_S)
        except Exception:
            log.exception("sweep.failed")
        else:
            self.last_tick = self._last_round = self._clock.monotonic()
            self.first_tick.set()

    async def poll(self, task_id: TaskId) -> None:
        """Ask about one task now and apply what is learnt, whatever its schedule says.

        Raises:
            TaskNotFound: no task has this id.
            StoreUnavailable: the answer could not be kept.
            HeldBack: nobody was asked; says why, and when it is worth another try.
        """
        if not await self._polls.join(task_id):
            refusal = await self._ask_afresh(task_id)
            if refusal is not None:
                raise refusal

    async def renew(self, task_id: TaskId) -> None:
        """Ask about a task once for fresh URLs of its outputs, although it has ended.

        Raises:
            TaskNotFound: no task has this id.
            StoreUnavailable: the answer could not be kept.
        """
        task = (await self._store.get_task(task_id)).task
        if task.status is not Status.SUCCEEDED:
            with suppress(HeldBack):  # who wants a file then finds its URL as it was
                await self.poll(task_id)
            return
        route = self._registry.find_route(task.route)
        if route is not None and route.query is not None and task.external_id is not None:
            await self._ask(task, renews=True)

    def notes(self, task: Task) -> list[str]:
        """What besides the task itself explains why it is where it is; one sentence each."""
        notes = self._obstacles.words(task)
        if task.id in self._polls:
            notes.append("It is being polled right now.")
        return notes

    # -- the sweep -----------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        now = self._clock.now()
        await self._housekeep(now)
        lanes = await self._store.list_lanes(now)
        # longest waiting lane first, each an equal share of what is free; what one leaves, the next may take
        for position, lane in enumerate(lanes):
            if self._halted:
                break
            share = self._polls.free((lane.account, lane.provider), len(lanes) - position)
            await self._start_lane(lane, share, now)

    async def _start_lane(self, lane: Lane, places: int, now: datetime) -> None:
        """Claim for a lane until its places are taken, its rate is used up, or nothing more is due."""
        slots = self._limits.free_within(lane.account, self._tick_s)
        lease_until = now + timedelta(seconds=TICK_WITHIN_S + LEASE_MARGIN_S)
        for _ in range(CLAIMS):
            wanted = min(places, slots)
            if wanted <= 0:
                return
            claimed = await self._store.claim_due(lane, wanted, now, lease_until)
            for task in claimed:
                if task.submit_state is SubmitState.QUEUED:
                    slots -= self._start_send(task)
                elif self._start_poll(task, lease_until):
                    places, slots = places - 1, slots - 1
            if len(claimed) < wanted:
                return

    def _start_send(self, task: Task) -> bool:
        """Send a create that was put off; whether it was begun. With no place for it, it comes with its lease's end."""
        lane = (task.account, task.provider)
        if self._submitter.holds(task.id) or task.id in self._sends or self._sends.free(lane) <= 0:
            return False
        self._sends.start(lane, task.id, self._carefully(task, partial(self._submitter.send, task.id)))
        return True

    def _start_poll(self, task: Task, lease_until: datetime) -> bool:
        """Do what else a due task needs; whether it was begun."""
        if task.id in self._polls:
            if task.due_at != self._leases[task.id]:  # a claim that ran out fell due at its end, a nudged one before
                self._again.add(task.id)
            self._leases[task.id] = lease_until
            return False
        self._leases[task.id] = lease_until
        self._begin_poll(task, partial(self._act, task))
        return True

    def _begin_poll(self, task: Task, work: Callable[[], Awaitable[object]]) -> None:
        def ended() -> None:
            if task.id in self._again and not self._halted:
                self._again.discard(task.id)
                self._begin_poll(task, partial(self._ask_afresh, task.id))
            else:
                self._again.discard(task.id)
                del self._leases[task.id]

        self._polls.start((task.account, task.provider), task.id, self._carefully(task, work), ended)

    async def _carefully(self, task: Task, work: Callable[[], Awaitable[object]]) -> None:
        """Work for a claimed task; what goes wrong is logged and comes again with the lease's end."""
        try:
            await work()
        except StoreError as error:
            log.warning("poll.not_kept", task=task.id, provider=task.provider, error=str(error))
        except Exception:
            log.exception("poll.failed", task=task.id, provider=task.provider)

    async def _act(self, task: Task) -> None:
        match task.submit_state:
            case SubmitState.SENDING if self._submitter.holds(task.id):
                pass  # the clock was set, or the disk takes nothing: it goes on, and the claim renewed its lease
            case SubmitState.SENDING:
                await self._submitter.lost(task)
            case _ if task.external_id is None:
                await self._look_at_the_clock(task)
            case _:
                await self._ask(task)

    async def _ask_afresh(self, task_id: TaskId) -> HeldBack | None:
        """Poll a task as it stands by now, if there is anything to ask about; why nobody was asked, None if not so."""
        task = (await self._store.get_task(task_id)).task
        if task.external_id is not None and (not task.status.is_terminal or task.is_given_up):
            return await self._ask(task)
        return None

    async def _look_at_the_clock(self, task: Task) -> None:
        await self._reconciler.apply(Observation(task.id, Source.CLOCK, self._clock.now(), NOTHING))

    async def _ask(self, task: Task, *, renews: bool = False) -> HeldBack | None:
        """Poll a task and apply what the answer says; why nobody was asked, None when the upstream was."""
        known = self._registry.find_route(task.route)
        route = None if known is None else with_model_in_query(known, task.model)
        if route is None or route.query is None or task.external_id is None:
            gone = f"route {task.route} is not known any more; its provider file may be missing"
            no_model = f"the status call of route {task.route} needs a model, and this task has none"
            reading = Reading(trouble=Trouble.REJECTED, detail=gone if known is None else no_model)
            reply = None
        else:
            provider = self._registry.provider_of(route)
            request = provider.poll_request(route, task.external_id)
            try:
                reading, reply = await self._fetch(task, lambda answer: provider.read_poll(route, answer), request)
            except HeldBack as refusal:
                await self._put_off(task, refusal)
                return refusal
        self._obstacles.note_reading(task, reading)
        applied = await self._reconciler.apply(
            Observation(
                task_id=task.id,
                source=Source.POLL,
                observed_at=self._clock.now(),
                reading=replace(reading, renews=True) if renews else reading,
                payload=payload_text(reply.body, self._redact, reply.decoded) if reply is not None else None,
            )
        )
        if reading.trouble is Trouble.UNKNOWN_STATUS:
            log.warning(
                "upstream.spoke_unknown_status",
                task=task.id,
                provider=task.provider,
                status=reading.upstream_status,
                times=applied.task.unknown_statuses,
            )
        return None

    async def _fetch(
        self, task: Task, read: Callable[[WireReply], Reading], request: WireRequest
    ) -> tuple[Reading, WireReply | None]:
        """Ask the upstream.

        Raises:
            HeldBack: it was not asked.
        """
        try:
            reply = await self._client.fetch(task.account, request, family=task.provider)
        except HeldBack:
            raise
        except (NotSent, Unanswered) as error:
            self._obstacles.note_asked(task)
            return Reading(trouble=Trouble.UNAVAILABLE, error=UpstreamError(message=str(error))), None
        self._obstacles.note_asked(task)
        return read(reply), reply

    async def _put_off(self, task: Task, refusal: HeldBack) -> None:
        """Look at a task again later: nobody was asked, so nothing was learnt about it, and nothing counts.

        Were it taken for a poll in vain, one that never left could be the last before a deadline's verdict. Past its
        deadline a task of an upstream that is left alone is in trouble as one whose polls fail, and ends after the same
        grace: probes are too few to tell each. What is missing here, a key say, tasks wait for, however long.
        """
        now = self._clock.now()
        self._obstacles.note_held_back(task, refusal)
        if (
            refusal.left_alone
            and not task.status.is_terminal
            and now >= deadline_of(task, self._reconciler.policy_of(task.provider))
        ):
            held = Reading(trouble=Trouble.UNAVAILABLE, error=UpstreamError(message=f"not asked: {refusal}"))
            await self._reconciler.apply(Observation(task.id, Source.POLL, now, held))
        else:
            await self._store.put_off(task.id, now + timedelta(seconds=refusal.retry_in_s))

    async def _housekeep(self, now: datetime) -> None:
        if self._clock.monotonic() - self._last_housekeeping < HOUSEKEEPING_S:
            return
        self._last_housekeeping = self._clock.monotonic()
        forgotten = await self._store.forget_parked(now - timedelta(seconds=self._park_s))
        if forgotten:
            log.info("callbacks.parked_forgotten", count=forgotten)
