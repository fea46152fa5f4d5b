"""The daemon itself: counts, routes, health, and pruning. Must not compute or drop anything: the services do."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING

from tracker.domain.records import to_json
from tracker.server.bodies import read_json
from tracker.server.responses import Problem, json_answer
from tracker.server.schemas import ReadyView, RouteView, parse_prune

if TYPE_CHECKING:
    from aiohttp import web

    from tracker.server.services import Services


async def get_stats(services: Services, _request: web.Request) -> web.Response:
    """Counts and depths."""
    return json_answer(await services.store.stats())


async def get_doctor(services: Services, _request: web.Request) -> web.Response:
    """What only the daemon knows of itself, for ``tracker doctor`` and for who finds it on a port."""
    return json_answer({"instance": services.store.instance, **services.facts()})


async def list_routes(services: Services, _request: web.Request) -> web.Response:
    """Every known route with its create and query paths."""
    items = [to_json(RouteView, route, route=route.name) for route in services.registry.routes()]
    return json_answer({"items": items})


async def prune(services: Services, request: web.Request) -> web.Response:
    """Drop what retention no longer keeps, or count it; answers when that is done.

    Raises:
        Problem: 400 or 422 for a bad body.
        StoreUnavailable: the store takes no writes; what was dropped before stays so.
    """
    wanted = parse_prune(await read_json(request))
    pruned = await services.pruning.run(dry_run=wanted.dry_run)
    return json_answer({"dry_run": wanted.dry_run, **asdict(pruned)})


async def get_alive(_services: Services, _request: web.Request) -> web.Response:
    """The process answers."""
    return json_answer({"status": "alive"})


async def get_ready(services: Services, _request: web.Request) -> web.Response:
    """The store is writable and the scheduler runs.

    Raises:
        Problem: 503 with the reasons.
    """
    health = await services.health()
    view = to_json(ReadyView, health, instance=services.store.instance)
    if not health.ready:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "not-ready",
            " ".join(health.reasons) or "The daemon is not ready.",
            **view,
        )
    return json_answer(view)
