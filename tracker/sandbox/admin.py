"""The sandbox's own surface: ``/sandbox/…``, outside every gateway prefix and without a key.

Owns three calls for tests, drills and the demo: read the state, set the chaos, reset. The real
gateway has none of them.

    GET  /sandbox/state    what arrived and what was sent
    GET  /sandbox/chaos    the rates in force
    PUT  /sandbox/chaos    JSON of ``Chaos`` fields; replaces all, what is left out is back at its default
    POST /sandbox/reset    clear all state; chaos as it was at the start
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from tracker.sandbox.chaos import Chaos
from tracker.sandbox.gateway import Gateway
from tracker.sandbox.jobs import snapshot_at
from tracker.sandbox.wire import Json


def describe_state(gateway: Gateway) -> Json:
    """Return the complete state, ready for JSON."""
    now = time.monotonic()
    jobs = [
        {
            "id": job.id,
            "route": job.route,
            "nth": job.nth,
            "stage": snapshot_at(job, now - job.born_s).stage.name,
            "polls": job.polls,
        }
        for job in gateway.context.jobs.list_jobs()
    ]
    return {
        "seed": gateway.context.dice.seed,
        "run": gateway.run,
        "chaos": gateway.chaos.to_json(),
        "jobs": jobs,
        **gateway.journal.to_json(),
    }


def add_admin_routes(app: web.Application, gateway: Gateway, reset: Callable[[], Awaitable[None]]) -> None:
    """Add the admin calls to the application.

    Args:
        app: The application.
        gateway: What they show and change.
        reset: Restarts it.
    """

    async def state(_: web.Request) -> web.Response:
        return _json(describe_state(gateway))

    async def show_chaos(_: web.Request) -> web.Response:
        return _json(gateway.chaos.to_json())

    async def put_chaos(request: web.Request) -> web.Response:
        try:
            gateway.chaos = Chaos.from_json(orjson.loads(await request.read()))
        except ValueError as error:  # unreadable JSON is one, too
            return _json({"error": str(error)}, 400)
        gateway.journal.emit("chaos.replaced", **gateway.chaos.to_json())
        return _json(gateway.chaos.to_json())

    async def post_reset(_: web.Request) -> web.Response:
        await reset()
        return _json({"run": gateway.run})

    app.router.add_get("/sandbox/state", state)
    app.router.add_get("/sandbox/chaos", show_chaos)
    app.router.add_put("/sandbox/chaos", put_chaos)
    app.router.add_post("/sandbox/reset", post_reset)


def _json(payload: Json, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(payload), content_type="application/json")
