"""Sends paid creates: the intent is stored before the first byte is sent, and no create is sent twice.

The life of one submit: the task is recorded as ``queued``; ``sending`` is committed before the first byte is sent;
the answer (or its absence) becomes an observation. After a crash, a ``queued`` task was certainly not sent and is sent;
a ``sending`` one may have been sent and becomes ambiguous. No other module sends creates.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.ai_models import fall_back
from tracker.domain.observation import Observation, Reading, Submission
from tracker.domain.statuses import Source
from tracker.domain.task import SubmitState
from tracker.errors import StoreUnavailable
from tracker.logs import get_logger
from tracker.tracking.create_calls import CreateCalls
from tracker.tracking.intake import SEND_MARGIN_S, not_sendable
from tracker.tracking.submit_checks import Checked, check_submit, find_known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracker.clock import Clock
    from tracker.domain.observation import Payload
    from tracker.domain.records import TaskRecord
    from tracker.domain.task import Task, TaskId
    from tracker.store.protocol import Store
    from tracker.store.values import Applied
    from tracker.tracking.account_alarms import AccountAlarms
    from tracker.tracking.account_slots import AccountSlots
    from tracker.tracking.intake import Intake, SubmitRequest
    from tracker.tracking.reconciler import Reconciler
    from tracker.upstream.client import UpstreamClient
    from tracker.upstream.payloads import Payloads

log = get_logger(__name__)

RECORD_RETRY_S = 1.0
ANSWER_WITHIN_S = 3.0
"""At a stop, clients wait so long for their sends to end; most sends take no longer."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The task of a submit or registration.

    Attributes:
        is_new: whether it was recorded just now, or was known.
        is_decided: whether the record shows the outcome of the first attempt. False: the create waits for a slot of its
            account, the tracker is stopping while the send goes on, or the store refuses the outcome; the client gets
            the same answer as with ``respond_async``.
    """

    record: TaskRecord
    is_new: bool
    is_decided: bool = True


@dataclass(frozen=True, slots=True)
class _Send:
    """A send under way.

    Attributes:
        attempt: ends when the outcome is stored.
        released: its client does not wait for that any longer: the tracker stops, or the store refuses the outcome.
    """

    attempt: asyncio.Task[Task | None]
    released: asyncio.Event


class Submitter:
    """Records and sends new tasks.

    Args:
        store: holds the tasks.
        reconciler: applies the outcomes of sends.
        client: sends the requests.
        intake: makes tasks from requests, and requests from tasks.
        clock: gives the time of an observation.
        payloads: reads answers.
        alarms: knows the accounts that are refused; their creates wait.
        slots: knows how many tasks of an account may be in flight; further creates wait.
    """

    def __init__(
        self,
        *,
        store: Store,
        reconciler: Reconciler,
        client: UpstreamClient,
        intake: Intake,
        clock: Clock,
        payloads: Payloads,
        alarms: AccountAlarms,
        slots: AccountSlots,
    ) -> None:
        self._store = store
        self._reconciler = reconciler
        self._client = client
        self._intake = intake
        self._clock = clock
        self.calls = CreateCalls(client, clock, payloads)
        self._alarms = alarms
        self._slots = slots
        self._sends: dict[TaskId, _Send] = {}
        self._draining = False
        self._unanswered: set[TaskId] = set()
        """Tasks whose create was sent and has no answer yet."""
        self._named: set[TaskId] = set()
        """Unsent creates whose submit named the account."""

    async def submit(self, wanted: SubmitRequest) -> Submitted:
        """Record a new paid job, and send it unless its idempotency key is known.

        Returns:
            The task after the first attempt (before it, for ``respond_async``). Once the task is recorded this never
            fails: a client that gets an error repeats the submit, and pays twice.

        Raises:
            RequestInvalid: unknown route or account, or a body that the upstream would certainly refuse.
            IdempotencyConflict: the key is known with another payload.
            SubmitInFlight: the key is known and its first attempt is not decided yet.
            BudgetExceeded: nothing was recorded or sent.
            StoreUnavailable: nothing was recorded or sent.
            WriteUnknown: nothing was sent; the task may have been recorded, and is then sent after a restart.
        """
        if self._draining:
            raise StoreUnavailable("the tracker is stopping")
        known = await find_known(self._store, wanted)
        if known is not None:
            return Submitted(known, is_new=False)
        new = await asyncio.to_thread(self._intake.draft, wanted)  # it encodes a request of up to 32 MB twice
        created = await self._store.create_task(new)
        if not created.is_new:
            return Submitted(created.record, is_new=False)
        if wanted.account is not None:
            self._named.add(new.id)
        send = self._start(new.id, created.record)
        if wanted.respond_async:
            return Submitted(created.record, is_new=True)
        if not await self._has_ended(send):
            return Submitted(created.record, is_new=True, is_decided=False)
        return await self._after(created.record, send.attempt.result())

    async def check(self, wanted: SubmitRequest) -> Checked:
        """Raise what `submit` would raise because of the request, else return what is known of it."""
        return await check_submit(self._store, self._intake, wanted)

    async def _has_ended(self, send: _Send) -> bool:
        """Wait for a send, which continues if the client disconnects; False if it was released before its end."""
        released = asyncio.create_task(send.released.wait())
        try:
            await asyncio.wait({send.attempt, released}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            released.cancel()
        return send.attempt.done() and not send.attempt.cancelled()

    async def _after(self, created: TaskRecord, task: Task | None) -> Submitted:
        """A new task after its first attempt; it is read only where more than the task itself may have changed."""
        if task is not None and not task.status.is_terminal:
            return Submitted(replace(created, task=task), is_new=True, is_decided=not task.waits_for_slot)
        try:
            record = await self._store.get_task(created.task.id)
            return Submitted(record, is_new=True, is_decided=task is not None)
        except StoreUnavailable as error:
            log.warning("submit.failed", step="read the result", task=created.task.id, error=str(error))
        return Submitted(replace(created, task=task or created.task), is_new=True, is_decided=False)

    async def register(
        self, route_name: str, external_id: str, labels: Mapping[str, str], account: str | None
    ) -> Submitted:
        """Follow a task that was created elsewhere; twice the same finds the same task.

        Raises:
            RequestInvalid: unknown route or account, or a route whose tasks cannot be followed.
            StoreUnavailable: nothing was recorded.
        """
        created = await self._store.create_task(self._intake.draft_of_known(route_name, external_id, labels, account))
        return Submitted(created.record, created.is_new)

    async def send(self, task_id: TaskId) -> None:
        """Make one attempt to send a create that was deferred, or that a restart found queued.

        Returns when the outcome is stored. Like the first attempt it may cost money, so cancelling the caller does not
        cancel it.
        """
        await asyncio.shield((self._sends.get(task_id) or self._start(task_id)).attempt)

    def is_sending(self, task_id: TaskId) -> bool:
        """Whether this process still sends this task, or records the outcome.

        Sends of other processes do not matter: the store leases none whose sender is running.
        """
        return task_id in self._sends

    async def _attempt(self, task_id: TaskId, new: TaskRecord | None = None) -> Task | None:
        """Make one attempt; the outcome becomes an observation.

        Args:
            task_id: whose create to send.
            new: the task as it was just recorded, at the first attempt.

        Returns:
            The task afterwards, None when there was no attempt.
        """
        if self._draining:
            return None  # the task stays queued, and is sent after the restart
        try:
            record = new or await self._store.get_task(task_id)
            found = self._intake.find_route(record.task.route)
            if found is None:
                gone = f"route {record.task.route} is no longer known; its file in providers.d may be missing"
                return await self._record(record.task, not_sendable(gone), None)
            route, provider = found
            objection = self._intake.objection(record, is_named=task_id in self._named)
            if objection is not None:
                return await self._record(record.task, not_sendable(f"not sent: {objection}"), None)
            request = self._intake.wire_request(route, provider, record)
            if not self._alarms.admit(record.task):
                return await self._record(record.task, self._alarms.hold(record.task), None)
            limit = self._slots.limit_of(record.task.account)
            # a create that waits for the rate is certainly not sent; where tasks in flight are limited, few wait so
            has_slot = limit is None and await self._client.take_slot(record.task.account, route.provider)
            task = await self._store.mark_sending(task_id, request.answer_within_s + SEND_MARGIN_S, limit)
        except StoreUnavailable as error:
            # the task is recorded and certainly not sent: the sweep sends it, so the client must not repeat the submit
            log.warning("submit.failed", step="begin", task=task_id, error=str(error))
            return None
        if task is None:
            return None  # canceled, or another attempt sends it
        if task.waits_for_slot:
            self._slots.note_waiting(task)
            return task
        self._unanswered.add(task_id)
        try:
            reply, unread = await self.calls.exchange(task, route, request, has_slot=has_slot)
        finally:
            self._unanswered.discard(task_id)
        reading, payload = await self.calls.read(task, route, provider, reply, unread)
        if unread is None:
            reading = self._alarms.apply_answer(
                task, fall_back(reading, task.model, record.fallbacks), is_new=new is not None
            )
        del reply  # it may be large, and the store may refuse writes for long
        after = await self._record(task, reading, payload)
        if reading.next_model is not None:
            return await self._attempt(task_id, new and replace(new, task=after)) or after
        return after

    async def record_lost(self, task: Task) -> None:
        """Record that the process that sent a create died: whether the request was sent is unknown.

        Never for a task that this process `is_sending`: its lease ran out because the clock was set or the store
        refuses writes, and its answer is still to come.
        """
        reading = Reading(submission=Submission.AMBIGUOUS, detail="the tracker stopped while the request was under way")
        await self._record(task, reading, None)

    async def drain(self, within_s: float, answer_within_s: float = ANSWER_WITHIN_S) -> None:
        """Start no more sends and let those under way end; a send that does not end is ambiguous after a restart.

        Args:
            within_s: the longest that any of them may take.
            answer_within_s: after that, clients that still wait are answered that their create is under way.
        """
        self._draining = True
        sends = {send.attempt for send in self._sends.values()}
        if sends:
            _, slow = await asyncio.wait(sends, timeout=answer_within_s)
            self._release_clients()
            if slow:
                log.info("submit.drain_started", sends=len(slow), at_most_s=within_s - answer_within_s)
                await asyncio.wait(slow, timeout=within_s - answer_within_s)
        for send in sends:
            send.cancel()
        await asyncio.gather(*sends, return_exceptions=True)

    def hurry(self) -> None:
        """Stop waiting for answers, at the second request to stop: creates without an answer become ambiguous.

        An answer that has come is still stored.
        """
        self._release_clients()
        for task_id in self._unanswered:
            self._sends[task_id].attempt.cancel()

    def _release_clients(self) -> None:
        for send in self._sends.values():
            send.released.set()

    # -- parts ---------------------------------------------------------------------------------------------

    async def _record(self, task: Task, reading: Reading, payload: Payload) -> Task:
        """Store the outcome, however long the store refuses writes: a paid job's id must not be lost.

        Returns:
            The task after it.
        """
        now, attempt = self._clock.now(), task.submit_attempts
        observation = Observation(task.id, Source.SUBMIT, now, reading, payload=payload, attempt=attempt)
        applied: Applied | None = None
        while applied is None:
            try:
                applied = await self._reconciler.apply(observation)
            except StoreUnavailable as error:
                log.error(  # noqa: TRY400 - not a bug: the traceback does not help, the id must be logged
                    "submit.failed",
                    step="record",
                    task=task.id,
                    provider=task.provider,
                    external_id=reading.external_id,
                    submission=reading.submission,
                    error=str(error),
                )
                if (send := self._sends.get(task.id)) is not None:
                    send.released.set()  # a client that waits too long submits again, and pays twice
                await asyncio.sleep(RECORD_RETRY_S)
        if reading.held:
            self._alarms.wait(task)
        log.info(
            "submit.held" if reading.held else "submit.answered",
            task=task.id,
            provider=task.provider,
            route=task.route,
            attempt=task.submit_attempts,
            submission=reading.submission,
            external_id=reading.external_id,
            detail=reading.detail,
        )
        return applied.task

    def _start(self, task_id: TaskId, new: TaskRecord | None = None) -> _Send:
        send = self._sends[task_id] = _Send(asyncio.create_task(self._attempt(task_id, new)), asyncio.Event())
        send.attempt.add_done_callback(partial(self._ended, task_id))
        return send

    def _ended(self, task_id: TaskId, send: asyncio.Task[Task | None]) -> None:
        del self._sends[task_id]
        self._alarms.finish(task_id)
        task = None if send.cancelled() or send.exception() else send.result()
        if task is not None and task.submit_state is not SubmitState.QUEUED:
            self._named.discard(task_id)
