"""The daemon itself: counts, health, and pruning. Must not compute or drop anything: the services do."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from tracker.domain.alarms import alarm_json
from tracker.domain.records import to_json
from tracker.server.bodies import read_json
from tracker.server.responses import HEADERS, Problem, json_response
from tracker.server.schemas import PruneBody, ReadyView, parse_body

if TYPE_CHECKING:
    from tracker.server.services import Services


async def get_stats(services: Services, _request: web.Request) -> web.Response:
    """Get counts by status, provider and reason, and queue depths."""
    return json_response(await services.store.stats())


async def list_alarms(services: Services, _request: web.Request) -> web.Response:
    """List the alarms that are raised: what needs a person, and what to do about it."""
    return json_response({"items": [alarm_json(alarm) for alarm in services.list_alarms()]})


async def get_metrics(services: Services, request: web.Request) -> web.Response:
    """Get the metrics for Prometheus, as OpenMetrics where the Accept header asks for it."""
    body, media_type = await services.metrics(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={**HEADERS, "Content-Type": media_type})


async def get_doctor(services: Services, _request: web.Request) -> web.Response:
    """Get the store of the daemon, and which accounts have a key."""
    return json_response({"instance": services.store.instance, **services.facts()})


async def prune(services: Services, request: web.Request) -> web.Response:
    """Delete the data that retention allows to delete, or count it.

    Raises:
        Problem: 400 for a bad body.
        RequestInvalid: for a wrong field.
        StoreUnavailable: the store takes no writes; earlier deletions remain.
    """
    wanted = parse_body(PruneBody, await read_json(request))
    pruned = await services.pruning.run(dry_run=wanted.dry_run)
    return json_response({"dry_run": wanted.dry_run, **asdict(pruned)})


async def get_alive(_services: Services, _request: web.Request) -> web.Response:
    """Check that the process responds."""
    return json_response({"status": "alive"})


async def get_ready(services: Services, _request: web.Request) -> web.Response:
    """Check that the store is writable and the scheduler runs.

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
    return json_response(view)
