"""Looking after the store while the daemon works: ``POST /v1/prune``.

Owns that answer. Must not drop anything itself.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from tracker.server.bodies import read_json
from tracker.server.queries import parse_query
from tracker.server.responses import json_answer
from tracker.server.schemas import parse_prune

if TYPE_CHECKING:
    from aiohttp import web

    from tracker.server.services import Services


async def prune(services: Services, request: web.Request) -> web.Response:
    """Drop what retention no longer keeps, or count it; answers when that is done.

    Raises:
        Problem: 400 or 422 for a bad body.
        StoreUnavailable: the store takes no writes; what was dropped before stays so.
    """
    parse_query(request, {})
    wanted = parse_prune(await read_json(request))
    pruned = await services.retention.run(dry_run=wanted.dry_run)
    return json_answer({"dry_run": wanted.dry_run, **asdict(pruned)})
