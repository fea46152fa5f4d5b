"""The polling loop: sweeps over the due tasks, fair across accounts and providers, with a limit on everything.

A tick claims due tasks by lease, lane by lane (account and provider), and starts their polls without waiting for them:
a slow upstream delays no other, and a tick is always short. Between ticks, polls that end free slots for others, see
`tracker.tracking.claims`. What a poll finds goes through the reconciler like every observation.

A claimed task is one of three: a deferred create to be sent, a create whose process died while it sent it, or a task
to be polled. A create may take minutes, so creates have slots of their own.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.lenient_json.large import LARGE_BYTES
from tracker.domain.observation import NOTHING, Observation, Reading, Source, Trouble
from tracker.domain.schedule import deadline_of
from tracker.domain.task import Status, SubmitState, UpstreamError
from tracker.errors import NotAttempted, NotSent, PayloadInvalid, StoreError, Unanswered
from tracker.logs import Repeats, get_logger
from tracker.store.values import Lane
from tracker.tracking.blockers import Blockers
from tracker.tracking.claims import Claims
from tracker.tracking.lane_limits import LaneSlots
from tracker.tracking.status_calls import StatusCalls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from tracker.clock import Clock
    from tracker.domain.observation import Payload
    from tracker.domain.task import Task, TaskId
    from tracker.providers.registry import Registry
    from tracker.store.protocol import Store
    from tracker.store.values import Claimed
    from tracker.tracking.account_alarms import AccountAlarms
    from tracker.tracking.account_slots import AccountSlots
    from tracker.tracking.reconciler import Reconciler
    from tracker.tracking.submitter import Submitter
    from tracker.upstream.breaker import Breakers
    from tracker.upstream.client import UpstreamClient
    from tracker.upstream.limits import RateLimits
    from tracker.upstream.payloads import Payloads

log = get_logger(__name__)

MAX_POLLS = 512
"""Polls under way at once, over all lanes; fewer where the process may open fewer descriptors."""
LANE_SHARE = 0.75
"""The share of them that one account and provider may take: a slow upstream leaves the rest to others."""
MAX_SENDS = 64
"""Deferred creates under way at once, over all lanes."""
MAX_LANE_SENDS = 24
TICK_WITHIN_S = 10.0
"""A tick that takes longer is cancelled; its claims fall due again on their own."""
STALL_TICKS = 5
"""After so many missed ticks, and at least `STALL_AT_LEAST_S`, the loop counts as stalled."""
STALL_AT_LEAST_S = 15.0
HOUSEKEEPING_S = 600.0


def polls_within(descriptors: int) -> int:
    """How many polls may be under way in a process that may open so many descriptors (-1: any number)."""
    return MAX_POLLS if descriptors < 0 else max(16, min(MAX_POLLS, descriptors // 2))


class Poller:
    """Runs the sweep.

    Args:
        store: holds the tasks.
        reconciler: applies what polls find.
        client: sends the polls.
        limits: the rate of each account.
        breakers: the circuit of each host and provider.
        registry: the known routes.
        submitter: sends deferred creates.
        clock: gives the time of an observation.
        payloads: reads answers.
        alarms: the accounts that are refused.
        slots: starts creates that waited for a slot of their account.
        tick_s: seconds between sweeps.
        park_s: how long callbacks of unknown tasks are stored, seconds.
        max_polls: polls under way at once.
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
        payloads: Payloads,
        alarms: AccountAlarms,
        slots: AccountSlots,
        tick_s: float,
        park_s: float,
        max_polls: int = MAX_POLLS,
    ) -> None:
        self._store = store
        self._reconciler = reconciler
        self.calls = StatusCalls(store, client, payloads)
        self._registry = registry
        self._submitter = submitter
        self._clock = clock
        self._payloads = payloads
        self._tick_s = tick_s
        self._park_s = park_s
        self._polls = LaneSlots(max_polls, max(1, int(max_polls * LANE_SHARE)))
        self._sends = LaneSlots(MAX_SENDS, MAX_LANE_SENDS)
        self._unsent: dict[Lane, dict[TaskId, Task]] = {}
        """Claimed creates that wait for a slot, by lane."""
        self._again: set[TaskId] = set()
        """Tasks that fell due again while their poll was under way: its answer may be older than the request."""
        self._alarms = alarms
        self._slots = slots
        slots.serve(self._start_send)
        self._blockers = Blockers(client, limits, breakers, clock, alarms)
        self._claims = Claims(
            store,
            limits,
            self._polls,
            begin=self._begin,
            is_blocked=self._blockers.is_blocked,
            callbacks=lambda: reconciler.callbacks,
        )
        self._last_housekeeping = float("-inf")
        self._halted = False
        self._repeats = Repeats(clock.monotonic)
        self.last_tick = clock.monotonic()
        """When a sweep last completed, on the monotonic clock."""
        self._last_round = self.last_tick
        self.first_tick = asyncio.Event()
        """Set once a sweep has completed."""

    def configure(self, tick_s: float, park_s: float) -> None:
        """Replace the seconds between sweeps, and how long callbacks of unknown tasks are stored."""
        self._park_s = park_s
        self._tick_s = tick_s

    def halt(self) -> None:
        """Claim nothing more: a tick does nothing. Running and requested polls continue."""
        self._halted = True
        self._claims.halt()
        self._slots.halt()

    async def stop(self, drain_s: float) -> None:
        """Claim nothing more and let polls under way end; those that do not are polled again after their lease."""
        self.halt()
        await self._claims.ended(drain_s)  # it may start the last polls
        await self._slots.ended(drain_s)
        await asyncio.gather(self._polls.end(drain_s), self._sends.end(drain_s))

    @property
    def is_stalled(self) -> bool:
        """Whether no tick has completed for too long."""
        return self._is_overdue(self.last_tick)

    @property
    def is_wedged(self) -> bool:
        """Whether no tick has even ended for too long. A tick that fails because of a full disk has ended."""
        return self._is_overdue(self._last_round)

    def _is_overdue(self, last: float) -> bool:
        return self._clock.monotonic() - last > max(STALL_AT_LEAST_S, STALL_TICKS * self._tick_s)

    async def tick(self) -> None:
        """One sweep; never raises, never takes longer than `TICK_WITHIN_S`."""
        if self._halted:
            return
        try:
            async with asyncio.timeout(TICK_WITHIN_S):
                await self._housekeep()
                await self._release_creates()
                await self._slots.sweep()
                await self._claims.sweep()
        except StoreError as error:
            if self._repeats.admits(str(error)):
                log.warning("sweep.failed", step="store", error=str(error))
            self._last_round = self._clock.monotonic()
        except TimeoutError:
            log.warning("sweep.timed_out", within_s=TICK_WITHIN_S)
        except Exception:
            log.exception("sweep.failed")
        else:
            self.last_tick = self._last_round = self._clock.monotonic()
            self.first_tick.set()

    async def poll(self, task_id: TaskId) -> None:
        """Poll one task now and apply the answer, regardless of its schedule.

        Raises:
            TaskNotFound: no task has this id.
            StoreUnavailable: the answer could not be stored.
            NotAttempted: the poll was not sent; with the reason, and when to try again.
        """
        if not await self._polls.join(task_id) and (error := await self._poll_again(task_id)) is not None:
            raise error

    async def renew(self, task_id: TaskId) -> None:
        """Poll a task once for fresh URLs of its outputs, although it has ended.

        Raises:
            TaskNotFound: no task has this id.
            StoreUnavailable: the answer could not be stored.
        """
        task = (await self._store.get_task(task_id)).task
        if task.status is not Status.SUCCEEDED:
            with suppress(NotAttempted):  # the outputs then have their old URLs
                await self.poll(task_id)
            return
        route = self._registry.find_route(task.route)
        if route is not None and route.query is not None and task.external_id is not None:
            await self._poll(task, renews=True)

    def blocked_until(self, task: Task) -> datetime | None:
        """Until when nothing is sent for a task, as far as is known."""
        return self._blockers.blocked_until(task)

    def notes(self, task: Task) -> list[str]:
        """Further explanations of a task's status, one sentence each."""
        notes = self._blockers.describe(task)
        if task.id in self._polls:
            notes.append("The tracker is asking the service right now.")
        return notes

    async def _release_creates(self) -> None:
        """Make creates that waited for their account due in this sweep."""
        due = self._alarms.take_due()
        if due:
            try:
                await self._store.release_creates(due)
            except BaseException:
                self._alarms.put_back(due)
                raise

    # -- claimed tasks -------------------------------------------------------------------------------------

    def _begin(self, claimed: Claimed) -> None:
        """Start the work for a claimed task: it is one of three, see above."""
        if claimed.task.submit_state is SubmitState.QUEUED:
            self._start_send(claimed.task)
        else:
            self._start_poll(claimed)

    def _start_send(self, task: Task) -> None:
        """Send a deferred create as soon as a slot is free."""
        if not self._submitter.is_sending(task.id) and task.id not in self._sends:
            self._unsent.setdefault(Lane(task.account, task.provider), {})[task.id] = task
            self._fill_sends()

    def _fill_sends(self) -> None:
        """Send creates that wait for a slot, those of each lane in the order in which they were claimed."""
        for lane, waiting in list(self._unsent.items()):
            while waiting and not self._halted and self._sends.free(lane, self._unsent) > 0:
                task = waiting.pop(next(iter(waiting)))
                if not self._submitter.is_sending(task.id):
                    work = self._guard(task, partial(self._submitter.send, task.id))
                    self._sends.start(lane, task.id, work, self._fill_sends)
            if not waiting:
                del self._unsent[lane]

    def _start_poll(self, claimed: Claimed) -> None:
        """Do the other work for a due task, unless it is under way."""
        task = claimed.task
        if task.id not in self._polls:
            self._begin_poll(task, self._work_for(task))
        elif not claimed.was_held:  # a request to poll now ended the lease
            self._again.add(task.id)

    def _begin_poll(self, task: Task, work: Callable[[], Awaitable[object]]) -> None:
        def ended() -> None:
            if task.id in self._again and not self._halted:
                self._again.discard(task.id)
                self._begin_poll(task, partial(self._poll_again, task.id))
            else:
                self._again.discard(task.id)
                self._claims.slot_freed()

        self._polls.start(Lane(task.account, task.provider), task.id, self._guard(task, work), ended)

    async def _guard(self, task: Task, work: Callable[[], Awaitable[object]]) -> None:
        """Work for a claimed task; an error is logged, and the task falls due again at the end of its lease."""
        try:
            await work()
        except StoreError as error:
            log.warning("poll.failed", step="store", task=task.id, provider=task.provider, error=str(error))
        except Exception:
            log.exception("poll.failed", task=task.id, provider=task.provider)

    def _work_for(self, task: Task) -> Callable[[], Awaitable[object]]:
        if task.submit_state is SubmitState.SENDING:
            return partial(self._find_lost, task)
        if task.external_id is None:
            return partial(self._reconciler.apply, Observation(task.id, Source.CLOCK, self._clock.now(), NOTHING))
        return partial(self._poll, task)

    async def _find_lost(self, task: Task) -> None:
        """Record a create as lost, unless this process still sends it: then the claim has renewed the lease."""
        if not self._submitter.is_sending(task.id):
            await self._submitter.record_lost(task)

    async def _poll_again(self, task_id: TaskId) -> NotAttempted | None:
        """Read a task and poll it, unless it cannot be polled; see `_poll`."""
        task = (await self._store.get_task(task_id)).task
        if task.external_id is not None and (not task.status.is_terminal or task.is_given_up):
            return await self._poll(task)
        return None

    async def _poll(self, task: Task, *, renews: bool = False) -> NotAttempted | None:
        """Poll a task and apply the answer; why the poll was not sent, None when it was."""
        route = self._registry.find_route(task.route)
        payload: Payload = None
        if route is None or route.query is None or task.external_id is None:
            gone = f"route {task.route} is no longer known; its provider file may be missing"
            reading = Reading(trouble=Trouble.REJECTED, detail=gone)
        else:
            provider = self._registry.provider_of(route)
            try:
                reply = await self.calls.ask(task, task.external_id, route, provider)
            except NotAttempted as error:
                await self._postpone(task, error)
                return error
            except (NotSent, Unanswered) as error:
                reading = Reading(trouble=Trouble.UNAVAILABLE, error=UpstreamError(message=str(error)))
            except PayloadInvalid as error:
                reading = Reading(trouble=Trouble.REJECTED, detail=str(error))
            else:
                body, read = reply.body, partial(provider.read_poll, route, reply)
                if len(body) <= LARGE_BYTES:
                    reading, payload = self._payloads.of_small(body, read(), reply.decoded)
                else:
                    reading, payload = await self._payloads.read(body, read, lambda: reply.decoded)
            self._blockers.record_attempted(task)
        self._alarms.record_poll(task, reading)
        applied = await self._reconciler.apply(
            Observation(
                task_id=task.id,
                source=Source.POLL,
                observed_at=self._clock.now(),
                reading=replace(reading, renews=True) if renews else reading,
                payload=payload,
            )
        )
        if reading.trouble is Trouble.UNKNOWN_STATUS:
            log.warning(
                "upstream.unknown_status",
                task=task.id,
                provider=task.provider,
                status=reading.upstream_status,
                times=applied.task.unknown_statuses,
            )
        return None

    async def _postpone(self, task: Task, error: NotAttempted) -> None:
        """Try a task again later: no poll was sent, so none is counted.

        If it counted as a failed poll, a poll that was never sent could be the last one before the deadline. Past its
        deadline a task whose circuit is open counts as one whose polls fail, and ends after the same grace: there are
        too few probes to poll each task. For missing configuration, such as a key, tasks wait without a limit.
        """
        now = self._clock.now()
        self._blockers.record_not_attempted(task, error)
        if (
            error.circuit_open
            and not task.status.is_terminal
            and now >= deadline_of(task, self._reconciler.policy_of(task.provider))
        ):
            failed = Reading(trouble=Trouble.UNAVAILABLE, error=UpstreamError(message=f"not polled: {error}"))
            await self._reconciler.apply(Observation(task.id, Source.POLL, now, failed))
        else:
            await self._store.postpone(task.id, error.retry_in_s)

    async def _housekeep(self) -> None:
        if self._clock.monotonic() - self._last_housekeeping < HOUSEKEEPING_S:
            return
        self._last_housekeeping = self._clock.monotonic()
        deleted = await self._store.delete_parked(self._park_s)
        if deleted:
            log.info("callbacks.parked_deleted", count=deleted)
