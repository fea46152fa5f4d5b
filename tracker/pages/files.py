"""Files for pages: static ones, and outputs of tasks within a session."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from tracker.server import outputs
from tracker.server.responses import HEADERS, Problem

if TYPE_CHECKING:
    from tracker.pages.site import Visit

_FOR_EVER: Final = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}


async def get_static(visit: Visit) -> web.StreamResponse:
    """A static file.

    Raises:
        Problem: 404, there is none of this name in this version.
    """
    file = visit.site.files.find(visit.request.match_info["name"])
    if file is None:
        raise Problem(HTTPStatus.NOT_FOUND, "unknown-file", "No such file in this version. Reload the page.")
    headers = {**_FOR_EVER, "Content-Type": file.media_type}
    if "gzip" in visit.request.headers.get("Accept-Encoding", ""):
        return web.Response(body=file.zipped, headers={**headers, "Content-Encoding": "gzip"})
    return web.Response(body=file.body, headers=headers)


async def get_output(visit: Visit) -> web.StreamResponse:
    """An output of a task, as ``/v1/tasks/{id}/outputs/{n}`` serves it."""
    return await outputs.get_output(visit.services, visit.request)
