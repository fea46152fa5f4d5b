"""What the table of pages says of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from tracker.domain.scopes import Scope
from tracker.pages.site import Visit


@dataclass(frozen=True, slots=True)
class Page:
    """One method of one path.

    Attributes:
        scope: what a visitor must be allowed; None: anyone may see it.
        entry: the path of the entry of the menu that is marked.
        is_html: whether its errors are shown as pages; not for parts of pages.
    """

    method: str
    path: str
    scope: Scope | None
    handler: Callable[[Visit], Awaitable[web.StreamResponse]]
    entry: str | None = None
    is_html: bool = True
