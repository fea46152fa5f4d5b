"""The page of a task: what the end user is told, what was made, why it is where it is, and what happened."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from markupsafe import escape

from tracker.domain.task import TaskId
from tracker.pages.family import find_family
from tracker.pages.json_view import write_json
from tracker.pages.live import part, stream
from tracker.pages.task_view import document_title, read_bodies, read_view
from tracker.server import tasks
from tracker.server.queries import parse_seq
from tracker.server.responses import HEADERS
from tracker.tracking.feed_filters import FeedFilter

if TYPE_CHECKING:
    from tracker.pages.site import Visit
    from tracker.tracking.feed_chunks import Chunk

Json = Any

LOOK_AGAIN_S: Final = 2.0
SETTLED_S: Final = 30.0
"""A task that has ended, with all that follows from it, is looked at again after so long."""
PARTS: Final = ("hero", "media", "why", "actions", "facts", "outputs", "deliveries", "history", "timeline", "raw")
"""The macros of ``task_parts.html``, each for the element of the same id: what is sent anew when it changes."""
_SLOW: Final = frozenset({"timeline"})
"""Parts that move with every second."""
_SLOWLY_S: Final = 4.0
_MOVING: Final = re.compile(
    r'(?<=>)[^<]*(?=</time>)|(?<=Z">)[\d:]+(?=</span>)|(?:aria-label|x|width)="[^"]*(?:%|so far)[^"]*"'
)
"""What the script of the page moves on by itself."""


async def show_task(visit: Visit) -> web.StreamResponse:
    """Show a task.

    Raises:
        TaskNotFound: no task has this id.
    """
    services, task_id = visit.services, task_id_of(visit)
    seq = await services.store.last_seq()
    view = await read_view(services, task_id, visit.now)
    return await visit.render(
        "task.html",
        t=view,
        bodies=await read_bodies(view["record"], services),
        family=await find_family(services, view["record"]),
        document_title=document_title(view),
        seq=seq,
    )


def task_id_of(visit: Visit) -> TaskId:
    """The task that a path names."""
    return TaskId(visit.request.match_info["id"])


async def stream_task(visit: Visit) -> web.StreamResponse:
    """Keep the page of a task up to date.

    Raises:
        TaskNotFound: no task has this id.
    """
    task_id = task_id_of(visit)
    await visit.services.store.get_task(task_id)
    try:
        after = parse_seq(visit.request.query.get("after", "0"))
    except ValueError:
        after = 0
    updates = _TaskUpdates(visit, task_id)
    return await stream(
        visit, FeedFilter.of(task=task_id), after, updates.note, updates.render, look_again_s=LOOK_AGAIN_S
    )


class _TaskUpdates:
    """What changed on the page since it was made."""

    def __init__(self, visit: Visit, task_id: TaskId) -> None:
        self._visit = visit
        self._task_id = task_id
        self._shown: dict[str, str] = {}
        self._slow_at = 0.0
        self._look_at = 0.0

    def note(self, chunk: Chunk) -> None:
        """Note that something happened."""
        if chunk.parts:
            self._look_at = 0.0

    async def render(self) -> str:
        """The parts that changed."""
        now = asyncio.get_running_loop().time()
        if now < self._look_at:
            return ""
        visit = self._visit
        view = await read_view(visit.services, self._task_id, visit.now)
        self._look_at = now + SETTLED_S if view["is_settled"] else 0.0
        bodies = await read_bodies(view["record"], visit.services)
        may_move = now - self._slow_at >= _SLOWLY_S
        parts = []
        for name in PARTS:
            if name in _SLOW and not may_move and not view["is_settled"]:
                continue
            macro = visit.site.macro("task_parts.html", name)
            given = (view, bodies, visit.root) if name == "raw" else (view, visit, visit.root, visit.now)
            html = str(macro(*given))
            stable = html if name in _SLOW else _MOVING.sub("", html)
            if self._shown.get(name) != stable:
                self._shown[name] = stable
                self._slow_at = now if name in _SLOW else self._slow_at
                parts.append(part(name, html))
        alarm = str(visit.site.macro("parts.html", "alarm")(await visit.site.health(), visit.root))
        if self._shown.get("alarm") != alarm:
            self._shown["alarm"] = alarm
            parts.append(part("alarm", alarm))
        return f"<title>{escape(document_title(view))}</title>{''.join(parts)}" if parts else ""


# -- files -------------------------------------------------------------------------------------------------


async def get_request(visit: Visit) -> web.StreamResponse:
    """The complete request of a task as a file."""
    record = await visit.services.store.get_task(task_id_of(visit))
    return await _file(f"{record.task.id}-request.json", record.request)


async def get_result(visit: Visit) -> web.StreamResponse:
    """The complete result of a task as a file."""
    record = await visit.services.store.get_task(task_id_of(visit))
    return await _file(f"{record.task.id}-result.json", record.result)


async def get_export(visit: Visit) -> web.StreamResponse:
    """The record of a task without secrets, as ``tracker export`` writes it."""
    response = await tasks.export_task(visit.services, visit.request)
    response.headers["Content-Disposition"] = f'attachment; filename="{task_id_of(visit)}.json"'
    return response


async def _file(name: str, value: Json) -> web.Response:
    body = (await asyncio.to_thread(write_json, value)).encode("utf-8", "replace")
    named = {"Content-Type": "application/json", "Content-Disposition": f'attachment; filename="{name}"'}
    return web.Response(body=body, headers={**HEADERS, **named})
