"""``/v1/hooks`` and ``/v1/deliveries``: list hooks and deliveries, retry deliveries.

Must not run a hook: deliveries become pending, and the dispatcher is woken.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tracker.domain.attempts import delivery_detail_json
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.records import HookView, delivery_json, page_json, to_json
from tracker.errors import FieldProblem, RequestInvalid
from tracker.server import queries
from tracker.server.responses import json_response
from tracker.server.searches import search
from tracker.server.services import QUERY
from tracker.store.values import DeliveryFilter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp import web

    from tracker.domain.records import DeliveryRecord
    from tracker.server.services import Services


async def list_hooks(services: Services, _request: web.Request) -> web.Response:
    """List hooks with their health and deliveries by status."""
    items = merge_counts(services.hooks.describe(), await services.store.count_deliveries())
    return json_response({"items": items, "ignored": services.hooks.ignored()})


async def list_all_deliveries(services: Services, request: web.Request) -> web.Response:
    """List the deliveries of all tasks, newest first."""
    page = await search(request, services.store.list_all_deliveries(DeliveryFilter(**request[QUERY])))
    return json_response(page_json(map(delivery_json, page.items), page.next_cursor, is_cut=page.is_cut))


async def retry_deliveries(services: Services, request: web.Request) -> web.Response:
    """Retry all failed and dead deliveries that match; at least one filter is required.

    Raises:
        Problem: 422, no filter is given.
    """
    if not request[QUERY]:
        names = (parameter.name for parameter in queries.DELIVERY_RETRY)
        raise RequestInvalid([FieldProblem(("query",), f"name at least one of {', '.join(names)}")])
    retried = await services.store.retry_deliveries(DeliveryFilter(**request[QUERY]))
    services.hooks.wake()
    return json_response({"retried": retried})


async def get_delivery(services: Services, request: web.Request) -> web.Response:
    """Get a delivery, with what its hook printed and its latest attempts."""
    return json_response(delivery_detail_json(await services.store.get_delivery(request.match_info["id"])))


async def retry_delivery(services: Services, request: web.Request) -> web.Response:
    """Retry a failed or dead delivery; with ``again`` a succeeded one too."""
    again = request[QUERY].get("again", False)
    delivery = await services.store.retry_delivery(request.match_info["id"], again=again)
    services.hooks.wake()
    return json_response(delivery_json(delivery), HTTPStatus.OK)


def trouble_notes(hooks: Iterable[Mapping[str, Any]], deliveries: Iterable[DeliveryRecord]) -> list[str]:
    """The trouble of the hooks whose deliveries of a task have not succeeded.

    Args:
        hooks: see `tracker.hooks.health`.
        deliveries: the hook runs of the task.
    """
    concerned = {item.hook for item in deliveries if item.status is not DeliveryStatus.SUCCEEDED}
    return [
        f"The hook {hook['name']} has failed since {hook['failing_since']}: {hook['last_error']}."
        for hook in hooks
        if hook["name"] in concerned and hook["failing_since"]
    ]


def merge_counts(hooks: list[dict[str, Any]], counts: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """The described hooks with their deliveries by status, then the hooks that only the store has.

    Args:
        hooks: see `tracker.hooks.health`.
        counts: hook -> status -> count.
    """
    known = {hook["name"] for hook in hooks}
    absent = [
        to_json(HookView, None, name=name, on=[], state="absent", running=0, failures=0)
        for name in sorted(counts.keys() - known)
    ]
    statuses = {status.value: 0 for status in DeliveryStatus}
    return [hook | {"deliveries": {**statuses, **counts.get(hook["name"], {})}} for hook in [*hooks, *absent]]
