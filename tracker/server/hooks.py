"""What can be asked about hooks and their runs, and the redrive of runs that failed.

Owns the answers of ``/v1/hooks`` and ``/v1/deliveries``. Must not run anything: deliveries are made pending, and the
dispatcher is woken.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from tracker.domain.records import DeliveryStatus, delivery_json
from tracker.errors import FieldProblem
from tracker.server.queries import (
    Parser,
    parse_limit,
    parse_moment,
    parse_one_of,
    parse_position,
    parse_query,
    parse_text,
)
from tracker.server.responses import bad_input, json_answer
from tracker.store.values import DeliveryFilter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp import web

    from tracker.domain.records import DeliveryRecord
    from tracker.server.services import Services

RETRIED: Final = (DeliveryStatus.FAILED, DeliveryStatus.DEAD)
LIST_PARSERS: Final[Mapping[str, Parser]] = {
    "hook": parse_text,
    "status": parse_one_of(DeliveryStatus),
    "since": parse_moment,
    "limit": parse_limit,
    "cursor": parse_position,
}
RETRY_PARSERS: Final[Mapping[str, Parser]] = {
    "hook": parse_text,
    "status": parse_one_of(RETRIED),
    "since": parse_moment,
}


async def list_hooks(services: Services, request: web.Request) -> web.Response:
    """Every hook with its health and its deliveries, those of hooks that are configured no more included."""
    parse_query(request, {})
    items = merge_counts(services.hooks.describe(), await services.store.count_deliveries())
    return json_answer({"items": items, "ignored": services.hooks.ignored()})


async def list_all_deliveries(services: Services, request: web.Request) -> web.Response:
    """The hook runs of all tasks, newest first."""
    page = await services.store.list_all_deliveries(DeliveryFilter(**parse_query(request, LIST_PARSERS)))
    return json_answer({"items": [delivery_json(item) for item in page.items], "next_cursor": page.next_cursor})


async def retry_deliveries(services: Services, request: web.Request) -> web.Response:
    """Run all failed and dead deliveries that match again.

    Raises:
        Problem: 422, no filter is given.
    """
    wanted = parse_query(request, RETRY_PARSERS)
    if not wanted:
        raise bad_input([FieldProblem(("query",), f"name at least one of {', '.join(RETRY_PARSERS)}")])
    retried = await services.store.retry_deliveries(DeliveryFilter(**wanted))
    services.hooks.wake()
    return json_answer({"retried": retried})


async def retry_delivery(services: Services, request: web.Request) -> web.Response:
    """Run a failed or dead delivery again."""
    parse_query(request, {})
    delivery = await services.store.retry_delivery(request.match_info["id"])
    services.hooks.wake()
    return json_answer(delivery_json(delivery), HTTPStatus.OK)


def trouble_notes(hooks: Iterable[Mapping[str, Any]], deliveries: Iterable[DeliveryRecord]) -> list[str]:
    """What is wrong with the hooks that a task's deliveries wait for, or failed at.

    Args:
        hooks: see `tracker.hooks.describe`.
        deliveries: the hook runs of the task.
    """
    concerned = {item.hook for item in deliveries if item.status is not DeliveryStatus.SUCCEEDED}
    return [
        f"Hook {hook['name']!r} is {hook['state']} since {hook['failing_since']} ({hook['last_error']})."
        for hook in hooks
        if hook["name"] in concerned and hook["failing_since"]
    ]


def merge_counts(hooks: list[dict[str, Any]], counts: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """Hooks as described, each with its deliveries by status; then hooks that only the store remembers.

    Args:
        hooks: see `tracker.hooks.describe`.
        counts: hook -> status -> count.
    """
    known = {hook["name"] for hook in hooks}
    absent = [
        {"name": name, "kind": None, "on": [], "state": "absent", "running": 0, "failures": 0}
        | dict.fromkeys(("retry_in_s", "failing_since", "last_error", "last_success_at", "last_failure_at"))
        for name in sorted(counts.keys() - known)
    ]
    statuses = {status.value: 0 for status in DeliveryStatus}
    return [hook | {"deliveries": {**statuses, **counts.get(hook["name"], {})}} for hook in [*hooks, *absent]]
