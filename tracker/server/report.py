"""``/v1/report``: sums of tasks. Must not add anything up: the store does."""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import TYPE_CHECKING

from tracker.domain.report import ReportFilter
from tracker.server.responses import json_response
from tracker.server.searches import search
from tracker.server.services import QUERY

if TYPE_CHECKING:
    from datetime import datetime

    from aiohttp import web

    from tracker.server.services import Services

DEFAULT_BY = ("route",)


async def get_report(services: Services, request: web.Request) -> web.Response:
    """Get how many tasks succeeded and failed, how long they took and what they cost."""
    wanted = request[QUERY]
    since = wanted.get("since") or start_of_day(services.clock.now())
    report_filter = ReportFilter(wanted.get("by", DEFAULT_BY), since, wanted.get("until"))
    report = await search(request, services.store.read_report(report_filter))
    return json_response(await asyncio.to_thread(report.json))  # it may sort many durations


def start_of_day(now: datetime) -> datetime:
    """Midnight in UTC."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
