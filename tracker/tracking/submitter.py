"""Sends the paid create: the intent is on disk before the wire, and what may have been charged is never sent again.

The life of one submit: the task is recorded as ``queued``; ``sending`` is committed before the first byte leaves;
the answer (or its absence) becomes an observation. After a crash, ``queued`` was surely not sent and goes out;
``sending`` may have been sent and is told to the state machine as ambiguous. There is no third case, and no other
place that sends a create.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tracker.domain.ai_models import fall_back
from tracker.domain.observation import Observation, Reading, Source, Submission
from tracker.domain.records import TaskRecord
from tracker.domain.task import Reason, SubmitState, UpstreamError
from tracker.domain.upstream_http import WireReply
from tracker.errors import NotSent, StoreUnavailable, Unanswered
from tracker.logs import get_logger
from tracker.tracking.intake import SEND_MARGIN_S, fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracker.clock import Clock
    from tracker.domain.observation import Payload
    from tracker.domain.task import Task, TaskId
    from tracker.domain.upstream_http import WireRequest
    from tracker.providers.provider import Provider
    from tracker.providers.route import Route
    from tracker.store.protocol import Store
    from tracker.store.values import Applied
    from tracker.tracking.account_alarms import AccountAlarms
    from tracker.tracking.intake import Intake, SubmitRequest
    from tracker.tracking.reconciler import Reconciler
    from tracker.upstream.client import UpstreamClient
    from tracker.upstream.payloads import Payloads

log = get_logger(__name__)

RECORD_RETRY_S = 1.0
ANSWER_WITHIN_S = 3.0
"""At a stop: so long those who wait for a send are kept waiting for its end; most sends take no longer."""
GONE_RETRY_S = 30.0


@dataclass(frozen=True, slots=True)
class Submitted:
    """The task of a submit or registration.

    Attributes:
        is_new: whether it was recorded just now, or was known.
        is_decided: whether the record tells what came of the first attempt. False: the tracker is stopping and the
            send goes on without the one who asked, or the store could not be read again: to be answered like a
            submit that nobody waits for.
    """

    record: TaskRecord
    is_new: bool
    is_decided: bool = True


class Submitter:
    """Records and sends new tasks.

    Args:
        store: where tasks are kept.
        reconciler: the door for what comes of a send.
        client: the way to the upstreams.
        intake: what is recorded and sent.
        clock: what time it is.
        payloads: reads answers, and makes what is stored of them.
        alarms: which accounts are refused: their creates wait.
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
    ) -> None:
        self._store = store
        self._reconciler = reconciler
        self._client = client
        self._intake = intake
        self._clock = clock
        self._payloads = payloads
        self._alarms = alarms
        self._sends: dict[TaskId, asyncio.Task[Task | None]] = {}
        self._draining = False
        self._stopping = asyncio.Event()
        """Set at a stop, once nobody is to wait for a send any more."""
        self._on_the_wire: set[TaskId] = set()
        """Those whose answer is waited for."""
        self._named: set[TaskId] = set()
        """Unsent creates whose submit named the account."""

    async def submit(self, wanted: SubmitRequest) -> Submitted:
        """Record a new paid job, and send it unless its idempotency key is known.

        Returns:
            The task as it stands after the first attempt (before it, for ``respond_async``). Once it is recorded
            this never fails: who is told that it did sends it anew, and pays twice.

        Raises:
            RequestInvalid: unknown route or account, or a body that the upstream would surely refuse.
            IdempotencyConflict: the key is known with another payload.
            SubmitInFlight: the key is known and its first attempt is not decided yet.
            StoreUnavailable: nothing was recorded, nothing was sent.
            WriteUnknown: nothing was sent; a restart may find it recorded, and sends it then.
        """
        if self._draining:
            raise StoreUnavailable("the tracker is stopping")
        known = await self._find_known(wanted)
        if known is not None:
            return Submitted(known, is_new=False)
        new = await asyncio.to_thread(self._intake.draft, wanted)  # it encodes a request of up to 32 MB twice
        created = await self._store.create_task(new)
        if not created.is_new:
            return Submitted(created.record, is_new=False)
        if wanted.account is not None:
            self._named.add(new.id)
        send = self._start(new.id, is_new=True)
        if wanted.respond_async:
            return Submitted(created.record, is_new=True)
        if not await self._has_ended(send):
            return Submitted(created.record, is_new=True, is_decided=False)
        return await self._after(created.record, send.result())

    async def _has_ended(self, send: asyncio.Task[Task | None]) -> bool:
        """Wait for a send, which goes on when the client goes away; False when the tracker stops before its end."""
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({send, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        return send.done() and not send.cancelled()

    async def _after(self, created: TaskRecord, task: Task | None) -> Submitted:
        """What a new task has become; from what the writer told where the store cannot be read."""
        try:
            record = await self._store.get_task(created.task.id)
            return Submitted(record, is_new=True, is_decided=task is not None)
        except StoreUnavailable as error:
            log.warning("submit.not_read_again", task=created.task.id, error=str(error))
        known = TaskRecord(
            created.task if task is None else task,
            request=created.request,
            labels=created.labels,
            idempotency_key=created.idempotency_key,
            fallbacks=created.fallbacks,
        )
        return Submitted(known, is_new=True, is_decided=False)

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
        """Make one attempt to send a create that was put off, or that a restart found queued.

        Returns when what came of it is on disk. Like the first attempt it may cost money, so whoever waits for it
        cannot cut it off.
        """
        await asyncio.shield(self._sends.get(task_id) or self._start(task_id))

    def holds(self, task_id: TaskId) -> bool:
        """Whether this process still sends this task, or records what came of it.

        Sends of other processes are never asked about: the store hands none out whose sender is alive.
        """
        return task_id in self._sends

    async def _attempt(self, task_id: TaskId, *, is_new: bool) -> Task | None:
        """One attempt; what comes of it is an observation. The task after it, None when there was none."""
        if self._draining:
            return None  # it stays queued: surely not sent, and sent after the restart
        try:
            record = await self._store.get_task(task_id)
            found = self._intake.find_route(record.task.route)
            if found is None:
                return await self._record(record.task, _gone(record.task.route), None)
            route, provider = found
            objection = self._intake.objection(record.task, is_named=task_id in self._named)
            if objection is not None:
                return await self._record(record.task, _held(objection), None)
            request = self._intake.wire_request(route, provider, record)
            if not self._alarms.admit(record.task):
                return await self._record(record.task, self._alarms.hold(record.task), None)
            task = await self._store.mark_sending(task_id, request.answer_within_s + SEND_MARGIN_S)
        except StoreUnavailable as error:
            # It is recorded and surely not sent: whoever asked must not be told to send it anew. The sweep sends it.
            log.warning("submit.not_begun", task=task_id, error=str(error))
            return None
        if task is None:
            return None  # canceled, or another attempt has it
        self._on_the_wire.add(task_id)
        try:
            reply, unread = await self._exchange(task, route, request)
        finally:
            self._on_the_wire.discard(task_id)
        reading, payload = await self._read(route, provider, reply, unread)
        if unread is None:
            reading = self._alarms.judge(task, fall_back(reading, task.model, record.fallbacks), is_new=is_new)
        del reply  # it may be large, and the disk may refuse for long
        known = await self._record(task, reading, payload)
        if reading.next_model is not None:
            return await self._attempt(task_id, is_new=is_new) or known
        return known

    async def lost(self, task: Task) -> None:
        """Tell the state machine of a send whose process died: nobody knows whether it left.

        Never of one that this process `holds`: a lease that ran out while it goes on tells of a clock that was set, or
        of a disk that takes nothing, and its answer is still to come.
        """
        reading = Reading(
            submission=Submission.AMBIGUOUS, detail="the tracker stopped while the request was on its way"
        )
        await self._record(task, reading, None)

    async def drain(self, within_s: float, answer_within_s: float = ANSWER_WITHIN_S) -> None:
        """Begin no send any more, and let those under way end; one that does not is ambiguous after a restart.

        Args:
            within_s: the longest that any of them may take.
            answer_within_s: after that, who still waits for one is told that it is on its way.
        """
        self._draining = True
        sends = set(self._sends.values())
        if sends:
            _, slow = await asyncio.wait(sends, timeout=answer_within_s)
            self._stopping.set()
            if slow:
                log.info("submit.stop_waits", sends=len(slow), at_most_s=within_s - answer_within_s)
                await asyncio.wait(slow, timeout=within_s - answer_within_s)
        self._stopping.set()
        for send in sends:
            send.cancel()
        await asyncio.gather(*sends, return_exceptions=True)

    def hurry(self) -> None:
        """Wait for no answer any more: whoever stops the tracker has asked twice. Creates cut off become ambiguous.

        One that has been answered still brings its answer to disk.
        """
        self._stopping.set()
        for task_id in self._on_the_wire:
            self._sends[task_id].cancel()

    # -- parts ---------------------------------------------------------------------------------------------

    async def _find_known(self, wanted: SubmitRequest) -> TaskRecord | None:
        """The task that was submitted with this key before.

        Before anything else is looked at: an alias, an account or a rule that holds no longer makes no other payload
        of it. What names no account leaves the choice to the tracker, so the one that was chosen then stands in,
        whichever is the default one by now.
        """
        if wanted.idempotency_key is None:
            return None
        return await self._store.find_submit(
            wanted.idempotency_key, lambda account: fingerprint(wanted, wanted.account or account)
        )

    async def _exchange(
        self, task: Task, route: Route, request: WireRequest
    ) -> tuple[WireReply | None, Reading | None]:
        """Send a create: its answer, or as much of it as came, and what it means that not all of it came."""
        try:
            return await self._client.fetch(task.account, request, family=route.provider, paid=True), None
        except NotSent as error:
            return None, Reading(
                submission=Submission.DEFERRED,
                reason=Reason.UPSTREAM_UNAVAILABLE,
                error=UpstreamError(message=str(error)),
                detail=f"surely not sent: {error}",
            )
        except Unanswered as error:
            reading = Reading(submission=Submission.AMBIGUOUS, detail=str(error))
            if error.status is None:
                return None, reading
            return WireReply(error.status, body=error.body, received_at=self._clock.now()), reading

    async def _read(
        self, route: Route, provider: Provider, reply: WireReply | None, unread: Reading | None
    ) -> tuple[Reading, Payload]:
        """What an answer says, and the text that is stored of it; see `_exchange` for the arguments."""
        if reply is not None:
            reading, payload = await self._payloads.read(
                reply.body, partial(provider.read_create, route, reply), lambda: reply.decoded
            )
            if unread is None or reading.submission is Submission.ACCEPTED:
                return reading, payload  # of half an answer an id proves that the job was taken; nothing else counts
        assert unread is not None  # noqa: S101 - there is an answer, or a reading of its absence
        return unread, None

    async def _record(self, task: Task, reading: Reading, payload: Payload) -> Task:
        """Bring what was learnt to disk, however long the disk refuses: a paid job's id must not be lost.

        Returns:
            The task after it.
        """
        observation = Observation(
            task_id=task.id,
            source=Source.SUBMIT,
            observed_at=self._clock.now(),
            reading=reading,
            payload=payload,
            attempt=task.submit_attempts,
        )
        applied: Applied | None = None
        while applied is None:
            try:
                applied = await self._reconciler.apply(observation)
            except StoreUnavailable as error:
                log.error(  # noqa: TRY400 - not a bug: the traceback says nothing, the id must be seen
                    "submit.not_recorded_yet",
                    task=task.id,
                    provider=task.provider,
                    external_id=reading.external_id,
                    submission=reading.submission,
                    error=str(error),
                )
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

    def _start(self, task_id: TaskId, *, is_new: bool = False) -> asyncio.Task[Task | None]:
        send: asyncio.Task[Task | None] = asyncio.create_task(self._attempt(task_id, is_new=is_new))
        self._sends[task_id] = send
        send.add_done_callback(partial(self._ended, task_id))
        return send

    def _ended(self, task_id: TaskId, send: asyncio.Task[Task | None]) -> None:
        del self._sends[task_id]
        self._alarms.leave(task_id)
        task = None if send.cancelled() or send.exception() else send.result()
        if task is not None and task.submit_state is not SubmitState.QUEUED:
            self._named.discard(task_id)


def _held(why: str) -> Reading:
    """A recorded create whose account may be another company's: it waits for a reload or restart with other files."""
    return Reading(
        submission=Submission.DEFERRED,
        reason=Reason.INVALID_REQUEST,
        retry_after_s=GONE_RETRY_S,
        detail=f"not sent: {why}",
    )


def _gone(route: str) -> Reading:
    """A task was recorded for a route that this process does not know: it waits, as long as any that is put off."""
    return Reading(
        submission=Submission.DEFERRED,
        reason=Reason.INVALID_REQUEST,
        retry_after_s=GONE_RETRY_S,
        detail=f"route {route} is not known any more; its file in providers.d may be missing",
    )
