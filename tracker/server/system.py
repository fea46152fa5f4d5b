"""What the daemon says about itself: counts, routes, health.

Owns those answers. Must not compute them: they are asked for.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tracker.server.queries import parse_query
from tracker.server.responses import Problem, json_answer

if TYPE_CHECKING:
    from aiohttp import web

    from tracker.server.services import Services


async def get_stats(services: Services, request: web.Request) -> web.Response:
    """Counts and depths."""
    parse_query(request, {})
    return json_answer(await services.store.stats())


async def get_doctor(services: Services, request: web.Request) -> web.Response:
    """What only the daemon knows of itself, for ``tracker doctor`` and for who finds it on a port."""
    parse_query(request, {})
    return json_answer({"instance": services.store.instance, **services.facts()})


async def list_routes(services: Services, request: web.Request) -> web.Response:
    """Every known route with its create and query paths."""
    parse_query(request, {})
    items = [
        {
            "route": route.name,
            "provider": route.provider,
            "create": route.create,
            "query": route.query,
            "mode": route.mode,
            "callback": route.callback,
            "signature": route.signature,
            "source": route.source,
        }
        for route in services.registry.routes()
    ]
    return json_answer({"items": items})


async def get_alive(_services: Services, _request: web.Request) -> web.Response:
    """The process answers."""
    return json_answer({"status": "alive"})


async def get_ready(services: Services, _request: web.Request) -> web.Response:
    """The store is writable and the scheduler runs.

    Raises:
        Problem: 503 with the reasons.
    """
    health = await services.health()
    view: dict[str, Any] = {
        "ready": health.ready,
        "reasons": list(health.reasons),
        "instance": services.store.instance,
        "alarms": health.alarms,
    }
    if not health.ready:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "not-ready",
            " ".join(health.reasons) or "The daemon is not ready.",
            **view,
        )
    return json_answer(view)
