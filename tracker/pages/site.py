"""The site: what all pages share, and one visit of a page.

Owns the templates and what every page shows: the menu, and whether the daemon is well.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tracker.domain.scopes import Scope
from tracker.pages import texts
from tracker.pages.answers import AnswerBook
from tracker.pages.ends_book import EndsBook
from tracker.pages.live_rows import LiveCounts, LiveRows
from tracker.pages.sessions import Sessions
from tracker.pages.static_files import StaticFiles
from tracker.server.responses import HEADERS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tracker.domain.health import Health
    from tracker.server.services import Services

CONTENT_SECURITY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS: Final = {
    **HEADERS,
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": CONTENT_SECURITY,
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
TEMPLATES: Final = Path(__file__).parent / "templates"
HEALTH_FOR_S: Final = 5.0
"""So long a state of health is shown before it is asked for again: that may write."""


class Site:
    """What all pages share.

    Args:
        services: what the handlers call.
        navigation: the menu: name and path of each page, and those in its second level.
    """

    def __init__(
        self, services: Services, navigation: tuple[Sequence[tuple[str, str]], Sequence[tuple[str, str]]]
    ) -> None:
        self.services = services
        self.sessions = Sessions(services.clock)
        self.files = StaticFiles()
        self.answers = AnswerBook(services)
        self.ends = EndsBook(services)
        self.live_rows = LiveRows(services, self.macro)
        self.counts = LiveCounts(services)
        self._navigation = navigation
        self._health: tuple[float, asyncio.Task[Health]] | None = None
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters.update(texts.FILTERS)
        self._templates.globals["file"] = self.files.url

    async def health(self) -> Health:
        """Whether the daemon is well, as far as was known within the last seconds."""
        now = self.services.clock.monotonic()
        if self._health is None or now - self._health[0] > HEALTH_FOR_S:
            self._health = now, asyncio.ensure_future(self.services.health())
        return await asyncio.shield(self._health[1])

    def macro(self, template: str, name: str) -> Any:  # noqa: ANN401
        """A macro of a template, to render a part of a page."""
        return getattr(self._templates.get_template(template).module, name)

    async def render_page(self, visit: Visit, template: str, **values: Any) -> str:  # noqa: ANN401
        """A page as HTML; its template also has ``visit``, ``root``, ``now``, ``health``, ``current`` and the menu."""
        main, more = self._navigation
        given = {
            "visit": visit,
            "root": visit.root,
            "current": visit.current,
            "now": visit.now,
            "health": await self.health(),
            "navigation": main,
            "more": more,
        }
        return self._templates.get_template(template).render(given | values)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request for a page.

    Attributes:
        scope: what the visitor may do.
        signed_in: whether there is a session, which can be ended.
        current: the path of the entry of the menu that the page belongs to.
    """

    site: Site
    request: web.Request
    scope: Scope | None
    signed_in: bool = False
    current: str | None = None

    @property
    def services(self) -> Services:
        """What handlers call."""
        return self.site.services

    @property
    def now(self) -> datetime:
        """The current time."""
        return self.services.clock.now()

    @property
    def root(self) -> str:
        """Leads from this page to the top, below whatever prefix a proxy has."""
        return "../" * (self.request.path.count("/") - 1) or "./"

    def can(self, scope: str) -> bool:
        """Whether the visitor has a scope."""
        return self.scope is not None and self.scope.includes(Scope(scope))

    async def render(self, template: str, status: HTTPStatus = HTTPStatus.OK, /, **values: Any) -> web.Response:  # noqa: ANN401
        """A page.

        Args:
            template: its name.
            status: of the response.
            values: the variables of the template, besides those of `Site.render`.
        """
        html = await self.site.render_page(self, template, **values)
        return web.Response(status=status, body=html.encode("utf-8", "replace"), headers=PAGE_HEADERS)

    def redirect(self, path: str) -> web.Response:
        """Have the browser open another page, given by its path below the top."""
        return web.Response(status=HTTPStatus.SEE_OTHER, headers={**HEADERS, "Location": f"{self.root}{path}"})
