"""What a visitor can do about a task: poll it, cancel it, send it again, run a delivery again.

The handlers of the API do it; here are the steps around them. What costs money, or cannot be undone, is asked twice.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tracker.domain.records import cost_json
from tracker.domain.statuses import Reason, Status
from tracker.domain.task import SubmitState
from tracker.errors import BudgetExceeded, NotRepeatable, RequestInvalid
from tracker.pages.json_view import view_json
from tracker.pages.rows import title_of
from tracker.pages.task import task_id_of
from tracker.server import hooks, outputs, tasks
from tracker.server.responses import Problem
from tracker.server.services import QUERY
from tracker.tracking.recovery import repetition_of, resubmit

if TYPE_CHECKING:
    from aiohttp import web

    from tracker.domain.task import Task
    from tracker.pages.site import Visit

_MAY_RUN: Final = frozenset({Reason.SUBMIT_UNKNOWN, Reason.EXPIRED, Reason.CANCELED, Reason.MISSING_OUTPUT})


async def poll(visit: Visit) -> web.StreamResponse:
    """Ask the service now."""
    await tasks.poll_task(visit.services, visit.request)
    return visit.redirect(f"tasks/{task_id_of(visit)}")


async def ask_to_cancel(visit: Visit) -> web.StreamResponse:
    """Say what a cancel means."""
    record = await visit.services.store.get_task(task_id_of(visit))
    task = record.task
    if task.status.is_terminal:
        return visit.redirect(f"tasks/{task.id}")
    was_sent = task.submit_state in {SubmitState.SENDING, SubmitState.AMBIGUOUS, SubmitState.ACCEPTED}
    return await visit.render(
        "cancel.html", id=task.id, title=title_of(visit.services.task_json(record)), was_sent=was_sent
    )


async def cancel(visit: Visit) -> web.StreamResponse:
    """Stop following the task."""
    await tasks.cancel_task(visit.services, visit.request)
    return visit.redirect(f"tasks/{task_id_of(visit)}")


async def ask_to_resubmit(visit: Visit) -> web.StreamResponse:
    """Show what would be sent again, what it costs, and whether the first job may still be running."""
    services = visit.services
    record = await services.store.get_task(task_id_of(visit))
    price, problem, known = None, None, None
    try:
        checked = await services.submitter.check(repetition_of(record))
        price, known = cost_json(checked.price), checked.known
    except (NotRepeatable, BudgetExceeded) as error:
        problem = str(error)
    except RequestInvalid as error:
        problem = "; ".join(f"{'.'.join(map(str, one.loc))}: {one.msg}" for one in error.problems)
    return await visit.render(
        "resubmit.html",
        HTTPStatus.OK,
        id=record.task.id,
        title=title_of(services.task_json(record)),
        record=record,
        body=await view_json(record.request),
        price=price,
        problem=problem,
        known=None if known is None else known.task.id,
        risk=_risk_of(record.task),
    )


def _risk_of(task: Task) -> str | None:
    """Why there may be two jobs afterwards."""
    if not task.status.is_terminal:
        return "This task has not ended: you would pay for a second job beside it."
    if task.status is Status.SUCCEEDED:
        return "This task has succeeded: you would pay for the same once more."
    if task.reason in _MAY_RUN:
        return "The first job may still be running at the service, and may be charged too."
    if task.reason in {Reason.POLICY_REJECTED, Reason.INVALID_REQUEST}:
        return "The same request will very likely be refused again."
    return None


async def send_again(visit: Visit) -> web.StreamResponse:
    """Send the request as a new paid job; a form that is sent twice is paid once.

    Raises:
        Problem: 422, the cost is not confirmed; 409, there is no request to send again.
    """
    form = await visit.request.post()
    if form.get("confirm") != "yes":
        detail = "Confirm that this is a new paid job: go back, and tick the box."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "not-confirmed", detail)
    services = visit.services
    try:
        submitted = await resubmit(services.store, services.submitter, task_id_of(visit))
    except NotRepeatable as error:
        raise Problem(HTTPStatus.CONFLICT, "not-repeatable", f"The task cannot be sent again: {error}.") from None
    return visit.redirect(f"tasks/{submitted.record.task.id}")


async def retry_delivery(visit: Visit) -> web.StreamResponse:
    """Run a delivery again that failed."""
    visit.request[QUERY] = {}
    delivery = await visit.services.store.get_delivery(visit.request.match_info["id"])
    await hooks.retry_delivery(visit.services, visit.request)
    return visit.redirect(
        "deliveries?retried=1" if delivery.task_id is None else f"tasks/{delivery.task_id}#deliveries"
    )


async def archive_again(visit: Visit) -> web.StreamResponse:
    """Fetch the files that are not stored."""
    await outputs.redrive_archive(visit.services, visit.request)
    return visit.redirect(f"tasks/{task_id_of(visit)}")
