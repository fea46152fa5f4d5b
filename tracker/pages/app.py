"""The pages as a part of the web application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.pages.guard import guarded, show_problem
from tracker.pages.site import Site, Visit
from tracker.pages.table import NAVIGATION, PAGES
from tracker.server.app import counted
from tracker.server.responses import Problem

if TYPE_CHECKING:
    from aiohttp import web

    from tracker.server.services import Services


class WebPages:
    """All pages.

    Args:
        services: what the handlers call.
    """

    def __init__(self, services: Services) -> None:
        self._site = Site(services, NAVIGATION)

    def add_to(self, app: web.Application) -> None:
        """Add their routes."""
        for page in PAGES:
            handler = counted(self._site.services, guarded(self._site, page), page.path)
            if page.method == "GET":
                app.router.add_get(page.path, handler)
            else:
                app.router.add_route(page.method, page.path, handler)

    async def show_problem(self, request: web.Request, problem: Problem) -> web.StreamResponse | None:
        """An error as a page; None for a client that is not a browser."""
        if "text/html" not in request.headers.get("Accept", ""):
            return None
        return await show_problem(Visit(self._site, request, None), problem)
