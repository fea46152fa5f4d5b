"""Sign in with an API token, and out again."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tracker.logs import get_logger
from tracker.pages.guard import cookies_of, session_of
from tracker.pages.sessions import LASTS

if TYPE_CHECKING:
    from aiohttp import web

    from tracker.pages.site import Visit

log = get_logger(__name__)

_OWN_PATH: Final = re.compile(r"(?![/\\])[\w.~%?=&+:@,;-][\w./~%?=&+:@,;-]*|")
"""A path below the top; never another host."""


async def show_sign_in(visit: Visit) -> web.StreamResponse:
    """The form, if a token is configured."""
    if visit.services.api_tokens() is None:
        return visit.redirect("")
    return await visit.render("sign-in.html", next=_next_of(visit.request.query.get("next", "")), refused=False)


async def sign_in(visit: Visit) -> web.StreamResponse:
    """Begin a session."""
    form = await visit.request.post()
    next_path = _next_of(str(form.get("next", "")))
    begun = visit.site.sessions.begin(str(form.get("token", "")).strip(), visit.services.api_tokens() or ())
    if begun is None:
        log.warning("page.sign_in_refused", remote=visit.request.remote)
        return await visit.render("sign-in.html", HTTPStatus.UNAUTHORIZED, next=next_path, refused=True)
    session_id, token = begun
    log.info("page.signed_in", by=token.name, scope=token.scope)
    response = visit.redirect(next_path)
    _set_cookie(visit, response, session_id, int(LASTS.total_seconds()))
    return response


async def sign_out(visit: Visit) -> web.StreamResponse:
    """End the session."""
    session = session_of(visit.site, visit.request)
    if session is not None:
        visit.site.sessions.end(session)
    response = visit.redirect("sign-in")
    _set_cookie(visit, response, "", 0)
    return response


def _set_cookie(visit: Visit, response: web.Response, value: str, max_age_s: int) -> None:
    """The browser says as ``Origin`` whether it uses https: behind a proxy the daemon does not see it."""
    secure_name, plain_name = cookies_of(visit.services.store.instance)
    secure = urlsplit(visit.request.headers.get("Origin", "")).scheme == "https"
    response.set_cookie(
        secure_name if secure else plain_name,
        value,
        max_age=max_age_s,
        path="/",
        secure=secure,
        httponly=True,
        samesite="Strict",
    )


def _next_of(path: str) -> str:
    return path if _OWN_PATH.fullmatch(path) else ""
