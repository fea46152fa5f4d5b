"""``/v1/tasks/actions``: one action on all tasks that match a filter.

The tasks are walked page by page, and a page is acted upon in small groups: callbacks and other calls have their turn
between them. Whatever was done when the action ends early stays done; the same call again does the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.statuses import Status
from tracker.domain.task import GIVEN_UP_REASONS, TaskId
from tracker.domain.transitions import Outcome
from tracker.errors import DeliveryNotFound, FieldProblem, RequestInvalid, TaskNotFound
from tracker.logs import get_logger
from tracker.server.bodies import read_json
from tracker.server.queries import TASK_FILTERS, parse_query, refuse_unknown_names
from tracker.server.responses import RETRY_AFTER_S, Problem, json_response
from tracker.server.schemas import ActionBody, parse_body
from tracker.server.searches import search
from tracker.server.tasks import operator_of
from tracker.store.values import TaskFilter
from tracker.tracking.recovery import cancel

if TYPE_CHECKING:
    from aiohttp import web

    from tracker.server.services import Services

log = get_logger(__name__)

T = TypeVar("T")

AT_ONCE: Final = 50
"""Writes that wait at once: a callback waits for their commit at most."""

_Pages = AsyncIterator[Sequence[str]]
_Act = Callable[[str], Awaitable[bool]]
"""Acts on one task or delivery; whether anything was done."""


async def act_on_tasks(services: Services, request: web.Request) -> web.Response:
    """Poll, cancel, or retry the deliveries of all tasks that match a filter.

    Raises:
        Problem: 400 for a bad body; 503 if the daemon stops before the end.
        RequestInvalid: for a wrong field or filter, an empty filter, and an action that is not possible in bulk.
        SearchRefused, StoreUnavailable: before the end.
    """
    body = parse_body(ActionBody, await read_json(request))
    matched, done = await act_on_all(services, request, body.action, body.filter, dry_run=body.dry_run)
    return json_response({"matched": matched, "done": done})


async def act_on_all(
    services: Services, request: web.Request, action: str, given: Mapping[str, str], *, dry_run: bool
) -> tuple[int, int]:
    """Act on all tasks that match, or only count them; see `act_on_tasks`.

    Returns:
        How many match, and on how many something was done.
    """
    by = operator_of(request)
    with_filters = _parse_filter(given)
    pages, act = _plan(services, action, TaskFilter(**with_filters), by)
    matched, done = await search(request, _run(services, pages, None if dry_run else act))
    if not matched:
        names = {**services.registry.names(), "account": services.accounts}
        _as_filter(partial(refuse_unknown_names, with_filters, names))
    if done:
        if action == "retry-deliveries":
            services.hooks.wake()
        log.info("tasks.acted_on", action=action, filter=dict(given), matched=matched, done=done, by=by)
    return matched, done


def _parse_filter(given: Mapping[str, str]) -> dict[str, Any]:
    if not given:
        everything = '{"since": "1970-01-01"} matches all tasks'
        raise RequestInvalid([FieldProblem(("filter",), f"is empty: name at least one filter; {everything}")])
    return _as_filter(partial(parse_query, given.items(), TASK_FILTERS))


def _as_filter(check: Callable[[], T]) -> T:
    """Check query parameters that are in the body, and report errors as such."""
    try:
        return check()
    except RequestInvalid as error:
        problems = [FieldProblem(("filter", *problem.loc[1:]), problem.msg) for problem in error.problems]
        raise RequestInvalid(problems) from None


def _plan(services: Services, action: str, wanted: TaskFilter, by: str) -> tuple[_Pages, _Act]:
    """What an action walks, and what it does to each."""
    match action:
        case "poll":
            return _walk(services, _unfinished(wanted) + _given_up(wanted)), partial(_poll, services)
        case "cancel":
            return _walk(services, _unfinished(wanted)), partial(_cancel, services, by=by)
        case _:
            return services.store.walk_failed_deliveries(wanted), partial(_retry, services)


async def _walk(services: Services, filters: Iterable[TaskFilter]) -> _Pages:
    for wanted in filters:
        async for page in services.store.walk_tasks(wanted):
            yield page


def _unfinished(wanted: TaskFilter) -> list[TaskFilter]:
    """Filters for the tasks among those wanted that have not ended."""
    statuses = (Status.PENDING, Status.RUNNING) if wanted.reason is None else ()
    return [replace(wanted, status=status) for status in statuses if wanted.status in {None, status}]


def _given_up(wanted: TaskFilter) -> list[TaskFilter]:
    """Filters for those that were given up, which may still bring a result; none unless FAILED ones are asked for."""
    if wanted.status not in {None, Status.FAILED} or (wanted.status is None and wanted.reason is None):
        return []
    return [replace(wanted, reason=reason) for reason in sorted(GIVEN_UP_REASONS) if wanted.reason in {None, reason}]


async def _run(services: Services, pages: _Pages, act: _Act | None) -> tuple[int, int]:
    """Act on every page; without ``act`` only count.

    Returns:
        How many match, and on how many something was done.
    """
    matched = done = 0
    async for page in pages:
        matched += len(page)
        if act is None:
            continue
        for start in range(0, len(page), AT_ONCE):
            if services.stopping.is_set():
                detail = f"The tracker is stopping; {done} are done. Send the same call later: it does the rest."
                headers = {"Retry-After": str(RETRY_AFTER_S)}
                raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "stopping", detail, headers=headers)
            done += sum(await asyncio.gather(*map(act, page[start : start + AT_ONCE])))
    return matched, done


async def _poll(services: Services, task_id: str) -> bool:
    """Have the poller ask about a task, at the rate of its account."""
    try:
        task = await services.store.poll_now(TaskId(task_id))
    except TaskNotFound:
        return False
    return task.external_id is not None and (not task.status.is_terminal or task.is_given_up)


async def _cancel(services: Services, task_id: str, by: str) -> bool:
    try:
        applied = await cancel(services.reconciler, TaskId(task_id), services.clock.now(), by)
    except TaskNotFound:
        return False
    return applied.outcome is Outcome.APPLIED


async def _retry(services: Services, delivery_id: str) -> bool:
    try:
        delivery = await services.store.retry_delivery(delivery_id)
    except DeliveryNotFound:
        return False
    return delivery.status is DeliveryStatus.PENDING
