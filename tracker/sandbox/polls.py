"""Polls and reads: every request that costs nothing.

Owns the counting of polls, their faults, and the rule that an id is known only at the query path of the route that made
it. Must not know any family's fields.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

from aiohttp import web

from tracker.sandbox import wire
from tracker.sandbox.chaos import PollFault
from tracker.sandbox.gateway import Gateway
from tracker.sandbox.interpreter import DataJobRoute
from tracker.sandbox.jobs import Job, snapshot_at
from tracker.sandbox.routes import ReadRoute, Refusal
from tracker.sandbox.transport import cut, hang, read_call, read_object, send
from tracker.sandbox.wire import Answer, Call, Json


class Polls:
    """Serves the query and read routes of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._counts: Counter[str] = Counter()

    def reset(self) -> None:
        """Reset the counts."""
        self._counts.clear()

    async def read(self, route: ReadRoute, request: web.Request) -> web.StreamResponse:
        """Serve a read: a model list, a file's contents."""
        call = self._call(request, route.path)
        if not route.authorised(call.headers, self._gateway.key):
            return await send(request, route.refuse_key())
        return await send(request, route.read(call, self._gateway.context))

    async def poll(
        self, query_path: str, routes: Mapping[str, DataJobRoute], request: web.Request
    ) -> web.StreamResponse:
        """Serve a query for a job.

        Args:
            query_path: The path template that was asked.
            routes: The job routes that share it, by name.
            request: The request.
        """
        self._gateway.journal.polls[f"{request.method} {query_path}"] += 1
        raw = await request.read()
        call = self._call(request, query_path, read_object(request, raw, takes_forms=False))
        route = next(iter(routes.values()))
        await self._gateway.wait_latency(query_path, self._counts[query_path])
        if not route.authorised(call.headers, self._gateway.key):
            return await send(request, route.refuse_key())
        job = self._gateway.context.jobs.find(route.task_id_of(call))
        if job is None or job.query_path != query_path or job.script.poll == "gone":
            return await send(request, route.unknown(call))
        job.polls += 1
        route = routes[job.route]
        match self._gateway.decider(job.script, job.route, job.nth).decide_poll(job.polls):
            case PollFault.HANG:
                return await hang(request, self._gateway.closing)
            case PollFault.CUT:
                return cut(request)
            case None:
                snapshot = snapshot_at(job, time.monotonic() - job.born_s)
                self._gateway.journal.emit("poll.answered", id=job.id, route=job.route, stage=snapshot.stage.name)
                return await send(request, route.shown(snapshot, call, self._gateway.context))
            case fault:
                self._gateway.journal.emit("poll.fault_injected", id=job.id, route=job.route, fault=fault.value)
                return await send(request, self._inject(fault, route, job, call))

    def _call(self, request: web.Request, path: str, body: Json | None = None) -> Call:
        self._counts[path] += 1
        gateway = self._gateway
        request_id = gateway.context.dice.draw_uuid("request", path, gateway.run, self._counts[path])
        return read_call(request, body or {}, request_id)

    def _inject(self, fault: PollFault, route: DataJobRoute, job: Job, call: Call) -> Answer:
        match fault:
            case PollFault.RATE_LIMITED:
                return wire.rate_limited(self._gateway.retry_after(job.route, job.nth, job.polls))
            case PollFault.THROTTLED:
                return route.refuse(Refusal.THROTTLED, call)
            case PollFault.SERVER_ERROR:
                return wire.unavailable(self._gateway.retry_after(job.route, job.nth, job.polls))
            case PollFault.BAD_GATEWAY:
                return wire.page(wire.BAD_GATEWAY_PAGE, 502)
            case PollFault.HTML:
                return wire.page(wire.LOGIN_PAGE)
            case PollFault.NULL:
                return Answer(body=b"null")
            case _:
                return Answer()
