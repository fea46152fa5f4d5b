"""One action on all tasks that match a filter: first how many they are, then, confirmed, the action."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tracker.pages.queries import ListQuery
from tracker.server.actions import act_on_all
from tracker.server.responses import Problem

if TYPE_CHECKING:
    from aiohttp import web

    from tracker.pages.site import Visit

ACTIONS: Final = {
    "poll": ("Poll now", "The tracker asks the service about each of them, at the rate of its account."),
    "cancel": (
        "Stop following",
        "They become failed with the reason canceled. Jobs that were sent go on at the service, and may be charged.",
    ),
    "retry-deliveries": ("Run again", "Their failed deliveries are run again."),
}
"""Action -> its button, and what it means. Nothing is sent again in bulk: that costs money."""


async def ask(visit: Visit) -> web.StreamResponse:
    """Say how many tasks match, and what would be done.

    Raises:
        RequestInvalid: for a wrong filter, or none.
        Problem: 404, there is no such action.
    """
    action, query = _read(visit)
    matched, _ = await act_on_all(visit.services, visit.request, action, query.filters(), dry_run=True)
    return await visit.render(
        "act.html", action=action, button=ACTIONS[action][0], meaning=ACTIONS[action][1], query=query, matched=matched
    )


async def act(visit: Visit) -> web.StreamResponse:
    """Do it, and show the list.

    Raises:
        RequestInvalid: for a wrong filter, or none.
        Problem: 404, there is no such action.
    """
    action, query = _read(visit)
    await act_on_all(visit.services, visit.request, action, query.filters(), dry_run=False)
    return visit.redirect(query.link())


def _read(visit: Visit) -> tuple[str, ListQuery]:
    action = visit.request.match_info["action"]
    if action not in ACTIONS:
        raise Problem(HTTPStatus.NOT_FOUND, "unknown-action", f"No such action; there are {', '.join(ACTIONS)}.")
    return action, ListQuery(visit.request.query)
