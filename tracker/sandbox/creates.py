"""Creates: the handling of every POST that costs money, before and after its route.

Owns the entry in the journal, the faults, the making of jobs, and the time of the answer.
Must not know any family's fields.

A create goes through in this order: entered in the journal; delayed; hit by a fault of the connection;
key; JSON; directives; the family's own validation; refused by a fault; paid work done; early callback;
answered, or cut; callbacks begin. So a refusal that is scripted or drawn only ever affects a valid request.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from aiohttp import web

from tracker.sandbox import wire
from tracker.sandbox.callbacks import EARLY_WAIT_S, plan_callbacks
from tracker.sandbox.chaos import CreateFault
from tracker.sandbox.directives import DirectiveInvalid, Script, parse_directives
from tracker.sandbox.fate import Decider
from tracker.sandbox.gateway import Gateway
from tracker.sandbox.interpreter import DataJobRoute
from tracker.sandbox.jobs import Job, Stage, snapshot_at, snapshot_in
from tracker.sandbox.journal import CreateRecord
from tracker.sandbox.routes import CallbackMessage, PaidRoute, Refusal, SyncRoute
from tracker.sandbox.transport import cut, hang, pause, read_call, read_object, send
from tracker.sandbox.wire import Answer, Call

_UNREAD = frozenset({CreateFault.REFUSED, CreateFault.HANG})
_AFTER_THE_WORK = frozenset({CreateFault.CUT, CreateFault.GARBLED})


@dataclass(frozen=True, slots=True)
class _Create:
    """A create request that is being handled.

    Attributes:
        record: Its entry in the journal.
        call: The request as routes see it.
        readable: Whether its body is a JSON object, or a form where the route takes forms.
        script: The directives of its prompt.
        script_error: What is wrong with them, or None.
        decider: What decides about it.
    """

    record: CreateRecord
    call: Call
    readable: bool
    script: Script
    script_error: str | None
    decider: Decider


class Creates:
    """Serves the paid routes of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._attempts: Counter[str] = Counter()

    async def serve(self, route: PaidRoute, request: web.Request) -> web.StreamResponse:
        """Serve one create request."""
        journal = self._gateway.journal
        record = journal.record_create(route.name, request.headers.get("Idempotency-Key"))
        create = await self._read(route, request, record)
        await self._gateway.wait_latency(route.name, record.nth)
        digest = record.digest or ""
        self._attempts[digest] += 1
        fault = create.decider.decide_create(self._attempts[digest])
        if fault in _UNREAD:
            journal.finish_create(record, fault.value)
            if fault is CreateFault.HANG:
                return await hang(request, self._gateway.closing)
            return cut(request)
        wrong = self._check(route, create)
        if wrong is not None:
            outcome, answer = wrong
            journal.finish_create(record, outcome)
            return await send(request, answer)
        if fault is not None and fault not in _AFTER_THE_WORK:
            journal.finish_create(record, fault.value)
            return await send(request, self._refuse(route, fault, create))
        return await self._accept(route, create, fault, request)

    def reset(self) -> None:
        """Clear the counts of refused bodies."""
        self._attempts.clear()

    async def _read(self, route: PaidRoute, request: web.Request, record: CreateRecord) -> _Create:
        raw = await request.read()
        payload = read_object(request, raw, takes_forms=route.takes_forms)
        body = payload or {}
        prompt = route.prompt_of(body)
        self._gateway.journal.record_body(record, raw, prompt)
        script, script_error = Script(), None
        try:
            script = parse_directives(prompt)
        except DirectiveInvalid as error:
            # Still scripted: chaos must not hide the mistake.
            script, script_error = Script(scripted=True), str(error)
        request_id = self._gateway.context.dice.draw_uuid("request", route.name, self._gateway.run, record.nth)
        return _Create(
            record=record,
            call=read_call(request, body, request_id),
            readable=payload is not None,
            script=script,
            script_error=script_error,
            decider=self._gateway.decider(script, route.name, record.nth),
        )

    def _check(self, route: PaidRoute, create: _Create) -> tuple[str, Answer] | None:
        """Return outcome and answer for an invalid request."""
        if not route.authorised(create.call.headers, self._gateway.key):
            return "unauthorized", route.refuse_key()
        if not create.readable:
            return "malformed", wire.bad_request("The request body is not a JSON object")
        if create.script_error is not None:
            return "bad_directive", wire.bad_request(create.script_error, "sandbox_directive")
        rejected = route.reject(create.call, self._gateway.context)
        return None if rejected is None else ("invalid", rejected)

    def _refuse(self, route: PaidRoute, fault: CreateFault, create: _Create) -> Answer:
        match fault:
            case CreateFault.RATE_LIMITED:
                return wire.rate_limited(self._gateway.retry_after(route.name, create.record.nth))
            case CreateFault.UNAVAILABLE:
                return wire.unavailable(self._gateway.retry_after(route.name, create.record.nth))
            case CreateFault.BAD_GATEWAY:
                return wire.page(wire.BAD_GATEWAY_PAGE, 502)
            case _:
                return route.refuse(Refusal(fault.value), create.call)

    async def _accept(
        self, route: PaidRoute, create: _Create, fault: CreateFault | None, request: web.Request
    ) -> web.StreamResponse:
        """Do the paid work, then answer the client, or not."""
        # The next request with this body is a new one, not a second attempt.
        self._attempts.pop(create.record.digest or "", None)
        outcome = "accepted" if fault is None else fault.value
        if isinstance(route, DataJobRoute):
            job = self._make_job(route, create)
            self._gateway.journal.finish_create(create.record, outcome, job.id)
            after_s = 0.0
            if route.answers_when_done(job.request):
                after_s = job.fate.duration_s
                await pause(after_s, self._gateway.closing)
            answer = route.accepted(snapshot_at(job, after_s), create.call, self._gateway.context)
            answer_client = partial(self._answer, request, answer, fault)
            if not job.callback_url:
                return await answer_client()
            return await self._answer_and_call_back(route, job, create.decider, answer_client)
        if isinstance(route, SyncRoute):
            self._gateway.journal.finish_create(create.record, outcome)
            work = create.decider.decide_job(self._gateway.duration_s)
            await pause(create.script.duration_s or 0.0, self._gateway.closing)
            return await self._answer(request, route.result(create.call, work, self._gateway.context), fault)
        raise TypeError(f"{route.name} is neither a DataJobRoute nor a SyncRoute")

    async def _answer(self, request: web.Request, answer: Answer, fault: CreateFault | None) -> web.StreamResponse:
        if fault is CreateFault.CUT:
            return cut(request)
        return await send(request, wire.page(wire.LOGIN_PAGE) if fault is CreateFault.GARBLED else answer)

    async def _answer_and_call_back(
        self,
        route: DataJobRoute,
        job: Job,
        decider: Decider,
        answer_client: Callable[[], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        gateway = self._gateway
        early, reordered = decider.decide_order()
        if early and not any(stage.announced for stage in job.stages):
            # Its end is all that is announced, so an early callback means an instant job.
            job.fate = replace(job.fate, duration_s=0.0)
        plan = plan_callbacks(job, decider.decide_callback, early=early, reordered=reordered)

        def write(stage: Stage) -> CallbackMessage | None:
            elapsed_s = max(time.monotonic() - job.born_s, job.begins_after_s(stage))
            return route.write_callback(snapshot_in(job, stage, elapsed_s), gateway.context)

        if early:
            first_done = gateway.sender.follow(job, plan, write)
            try:
                async with asyncio.timeout(EARLY_WAIT_S):
                    await first_done.wait()
            except TimeoutError:
                pass  # the receiver holds it back until it has this answer
            return await answer_client()
        response = await answer_client()
        gateway.sender.follow(job, plan, write)
        return response

    def _make_job(self, route: DataJobRoute, create: _Create) -> Job:
        body = create.call.body
        # A client that waits for the result gets it at once unless a directive sets a duration.
        usual_s = 0.0 if route.answers_when_done(body) else self._gateway.duration_s
        job = Job(
            id=route.make_id(self._gateway.context, f"{self._gateway.run}/{create.record.nth}"),
            route=route.name,
            query_path=route.query_path,
            nth=create.record.nth,
            request=body,
            prompt=route.prompt_of(body),
            script=create.script,
            fate=create.decider.decide_job(usual_s),
            stages=route.stages,
            born_s=time.monotonic(),
            created_at_s=time.time(),
            callback_url=route.callback_url_of(create.call, self._gateway.context),
        )
        self._gateway.context.jobs.add(job)
        return job
