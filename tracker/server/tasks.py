"""What can be asked about a task, and done to one.

Owns the answers below ``/v1/tasks/{id}``, and the list. Must not change a task but through
the reconciler.
"""

from __future__ import annotations

import asyncio
import math
from http import HTTPStatus
from typing import TYPE_CHECKING

from tracker.domain.observation import Observation, Reading, Source
from tracker.domain.records import delivery_json, event_json, task_json
from tracker.domain.task import Reason, Status, TaskId
from tracker.domain.transitions import Outcome
from tracker.domain.why import explain
from tracker.errors import HeldBack
from tracker.server.hooks import trouble_notes
from tracker.server.queries import WAIT_PARSERS, parse_query, parse_task_filter
from tracker.server.responses import Problem, json_answer

if TYPE_CHECKING:
    from aiohttp import web

    from tracker.domain.records import TaskRecord
    from tracker.server.services import Services


async def list_tasks(services: Services, request: web.Request) -> web.Response:
    """Tasks that match, newest first."""
    page = await services.store.list_tasks(parse_task_filter(request))
    return json_answer({"items": [task_json(record) for record in page.items], "next_cursor": page.next_cursor})


async def get_task(services: Services, request: web.Request) -> web.Response:
    """One task; with ``wait`` once it has ended, or when the time is up, or when the daemon stops."""
    wait_s: float | None = parse_query(request, WAIT_PARSERS).get("wait")
    task_id = _task_id(request)
    record = await services.store.get_task(task_id)
    if wait_s and not record.task.status.is_terminal:
        record = await _wait_for_end(services, task_id, wait_s)
    return json_answer(task_json(record))


async def _wait_for_end(services: Services, task_id: TaskId, wait_s: float) -> TaskRecord:
    """Watch before reading: a change between the two is not missed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    stopping = asyncio.ensure_future(services.stopping.wait())
    try:
        async with services.changes.watch(task_id) as changed:
            while True:
                changed.clear()
                record = await services.store.get_task(task_id)
                left_s = deadline - loop.time()
                if record.task.status.is_terminal or left_s <= 0 or stopping.done():
                    return record
                change = asyncio.ensure_future(changed.wait())
                try:
                    await asyncio.wait({change, stopping}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    change.cancel()
    finally:
        stopping.cancel()


async def list_events(services: Services, request: web.Request) -> web.Response:
    """The history of a task."""
    parse_query(request, {})
    events = await services.store.list_events(_task_id(request))
    return json_answer({"items": [event_json(event) for event in events]})


async def list_deliveries(services: Services, request: web.Request) -> web.Response:
    """The hook runs of a task."""
    parse_query(request, {})
    deliveries = await services.store.list_deliveries(_task_id(request))
    return json_answer({"items": [delivery_json(delivery) for delivery in deliveries]})


async def explain_task(services: Services, request: web.Request) -> web.Response:
    """Why a task is where it is."""
    parse_query(request, {})
    history = await services.store.read_history(_task_id(request))
    notes = [*services.poller.notes(history.task), *trouble_notes(services.hooks.describe(), history.deliveries)]
    return json_answer(explain(history, services.policy_of(history.task.provider), services.clock.now(), notes))


async def poll_task(services: Services, request: web.Request) -> web.Response:
    """Ask the upstream now; the task as it stands afterwards.

    Raises:
        Problem: 503, nobody was asked.
    """
    parse_query(request, {})
    task_id = _task_id(request)
    try:
        await services.poller.poll(task_id)
    except HeldBack as refusal:
        headers = {"Retry-After": str(math.ceil(refusal.retry_in_s))}
        detail = f"The upstream was not asked: {refusal}."
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "not-asked", detail, headers=headers) from None
    return json_answer(task_json(await services.store.get_task(task_id)))


async def cancel_task(services: Services, request: web.Request) -> web.Response:
    """Stop following a task.

    Raises:
        Problem: 409, it has ended already.
    """
    parse_query(request, {})
    task_id = _task_id(request)
    applied = await services.reconciler.apply(
        Observation(
            task_id=task_id,
            source=Source.OPERATOR,
            observed_at=services.clock.now(),
            reading=Reading(
                status=Status.FAILED,
                reason=Reason.CANCELED,
                retryable=False,
                detail="canceled by an operator",
            ),
        )
    )
    if applied.outcome is not Outcome.APPLIED:
        raise Problem(
            HTTPStatus.CONFLICT,
            "task-ended",
            f"The task has ended already: it is {applied.task.status}"
            + (f" ({applied.task.reason})." if applied.task.reason else "."),
        )
    return json_answer(task_json(await services.store.get_task(task_id)))


def _task_id(request: web.Request) -> TaskId:
    return TaskId(request.match_info["id"])
