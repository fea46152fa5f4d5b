"""The guard around each page: the origin of a request, who makes it, and errors as pages."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from aiohttp import web

from tracker.domain.scopes import Scope, find_token
from tracker.logs import get_logger
from tracker.pages.site import Visit
from tracker.server.access import READS, check_host, check_page
from tracker.server.app import problem_of
from tracker.server.responses import Problem
from tracker.server.searches import is_gone
from tracker.server.services import TOKEN_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.typedefs import Handler

    from tracker.domain.scopes import ApiToken
    from tracker.pages.page import Page
    from tracker.pages.site import Site

log = get_logger(__name__)

COOKIE: Final = "tracker-"
SECURE_COOKIE: Final = "__Host-tracker-"
"""A browser accepts this name only over https, for the whole host, from the host itself."""


def guarded(site: Site, page: Page) -> Handler:
    """A page behind its guard."""

    async def handle(request: web.Request) -> web.StreamResponse:
        visit = Visit(site, request, None, current=page.entry)
        try:
            admitted = _admit(visit, page)
            if admitted is None:
                return await _ask_to_sign_in(visit, page)
            visit = admitted
            response = await page.handler(visit)
        except Exception as error:
            if isinstance(error, ConnectionError) and is_gone(request):
                raise  # the client has disconnected
            problem = error if isinstance(error, Problem) else problem_of(error, request.method, page.path)
            return await show_problem(visit, problem) if page.is_html else problem.response()
        if page.scope is not None and request.method not in READS:
            log.info("page.acted", path=page.path, by=request.get(TOKEN_NAME), about=request.match_info.get("id"))
        return response

    return handle


def _admit(visit: Visit, page: Page) -> Visit | None:
    """The visit of somebody who may see a page; None: a token is needed first.

    Raises:
        Problem: 403, the request comes from another site, or the token has not the scope.
    """
    site, request = visit.site, visit.request
    tokens = site.services.api_tokens()
    if page.scope is None and request.method in READS:
        check_host(request, tokens)
    else:
        check_page(request, tokens, site.services.public_url())
    if page.scope is None:
        return visit
    if tokens is None:
        return replace(visit, scope=Scope.ADMIN)
    token, signed_in = _who(site, request, tokens)
    if token is None:
        return None
    if not token.scope.includes(page.scope):
        detail = f"You signed in with a token of the scope {token.scope}; this needs the scope {page.scope}."
        raise Problem(HTTPStatus.FORBIDDEN, "scope", detail)
    if token.name is not None:
        request[TOKEN_NAME] = token.name
    return replace(visit, scope=token.scope, signed_in=signed_in)


def cookies_of(instance: str) -> tuple[str, str]:
    """The names of the session's cookie over https and over http; daemons on one host have different ones."""
    short = instance[-8:].lower()
    return SECURE_COOKIE + short, COOKIE + short


def session_of(site: Site, request: web.Request) -> str | None:
    """The id of the session that a request names."""
    return next(
        (value for name in cookies_of(site.services.store.instance) if (value := request.cookies.get(name))), None
    )


def _who(site: Site, request: web.Request, tokens: Sequence[ApiToken]) -> tuple[ApiToken | None, bool]:
    """The token of a request, and whether it comes from a session; a proxy with single sign-on may add the header."""
    scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and (token := find_token(presented.strip(), tokens)) is not None:
        return token, False
    session = session_of(site, request)
    return (None if session is None else site.sessions.find(session, tokens)), True


async def _ask_to_sign_in(visit: Visit, page: Page) -> web.StreamResponse:
    request = visit.request
    if not page.is_html or request.method not in READS:
        raise Problem(HTTPStatus.UNAUTHORIZED, "signed-out", "The session is over. Reload the page to sign in again.")
    if request.headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}:
        # a browser that follows a link of another site sends no cookie; it does when the page asks for itself
        return await visit.render("again.html")
    return visit.redirect(f"sign-in?next={quote(request.rel_url.raw_path_qs.lstrip('/'), safe='')}")


async def show_problem(visit: Visit, problem: Problem) -> web.Response:
    """An error as a page."""
    response = await visit.render("problem.html", problem.status, problem=problem.body)
    response.headers.update(problem.headers)
    return response
