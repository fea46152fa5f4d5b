"""The list of tasks, and the gallery of what they made."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from tracker.domain.ids import times_of_ids
from tracker.domain.statuses import Status
from tracker.domain.task import TaskId
from tracker.errors import TaskNotFound
from tracker.pages.live import part, stream
from tracker.pages.live_rows import asset_of
from tracker.pages.queries import LIVE_PARAMETERS, PARAMETERS, ListQuery, canonical, is_id, parse
from tracker.pages.rows import describe_row, describe_tile
from tracker.server.queries import refuse_unknown_names
from tracker.server.report import start_of_day
from tracker.server.searches import search
from tracker.store.values import TaskFilter
from tracker.tracking.feed_chunks import Entry
from tracker.tracking.feed_filters import FeedFilter

if TYPE_CHECKING:
    from datetime import datetime

    from aiohttp import web

    from tracker.domain.records import TaskRecord
    from tracker.pages.site import Visit
    from tracker.server.services import Services
    from tracker.store.values import Page, TaskCounts
    from tracker.tracking.feed_chunks import Chunk

Json = Any

PAGE_SIZE: Final = 50
RENEW_S: Final = 2.0
"""Counts are made anew at most so often."""
GALLERY_PAGES: Final = 4
"""Pages of tasks that are looked through for media."""


async def show_tasks(visit: Visit) -> web.StreamResponse:
    """Show the tasks that match, newest first.

    Raises:
        RequestInvalid: for a wrong parameter.
    """
    given = visit.request.query
    if (query := canonical(given)) is not None:
        return visit.redirect(f"?{query}" if query else "")
    wanted = parse(given, PARAMETERS)
    view = wanted.pop("view", "list")
    if (found := await _find_by_id(visit, wanted)) is not None:
        return visit.redirect(f"tasks/{found}")
    task_filter = TaskFilter(**{"limit": PAGE_SIZE, **wanted})
    seq = await visit.services.store.last_seq()
    if view == "gallery":
        return await _show_gallery(visit, task_filter)
    page = await search(visit.request, visit.services.store.list_tasks(task_filter))
    if not page.items:
        refuse_unknown_names(wanted, {**visit.services.registry.names(), "account": visit.services.accounts})
    counts = await search(visit.request, visit.site.counts.get(_all_statuses(task_filter)))
    rows = [_row_of(visit.services, record, visit.now) for record in page.items]
    return await visit.render(
        "tasks.html",
        query=ListQuery(given),
        rows=rows,
        seq=seq,
        newest=max((row["id"] for row in rows), default=""),
        next_cursor=page.next_cursor,
        is_cut=page.is_cut,
        is_first=task_filter.cursor is None,
        counts=_counts_json(counts),
        answers=await visit.site.answers.get(),
        routes=visit.services.registry.names()["route"],
        sinces=_sinces(visit.now),
    )


async def _find_by_id(visit: Visit, wanted: Mapping[str, Json]) -> str | None:
    """The task that a search names by its id, or by that of its service."""
    text = wanted.get("q")
    if not text or " " in text or wanted.get("cursor"):
        return None
    if is_id(text):
        try:
            return (await visit.services.store.get_task(TaskId(text))).task.id
        except TaskNotFound:
            return None
    page = await search(visit.request, visit.services.store.list_tasks(TaskFilter(q=text, limit=2)))
    exact = [record.task.id for record in page.items if record.task.external_id == text]
    return exact[0] if len(exact) == 1 else None


def _all_statuses(wanted: TaskFilter) -> TaskFilter:
    return replace(wanted, status=None, cursor=None)


def _counts_json(counts: TaskCounts) -> dict[str, str]:
    """The counts as texts: those that are not complete are at least so many."""
    more = "" if counts.is_complete else "+"
    shown = {status.value: f"{counts.by_status[status]:,}{more}" for status in Status}
    return {"": f"{sum(counts.by_status.values()):,}{more}", **shown}


def _sinces(now: datetime) -> list[tuple[str, str]]:
    """The times that the form offers: text and value."""
    today = start_of_day(now)
    days = {"Today": 0, "Last 7 days": 7, "Last 30 days": 30}
    return [(text, (today - timedelta(days=back)).date().isoformat()) for text, back in days.items()]


def _row_of(services: Services, record: TaskRecord, now: datetime) -> Json:
    return describe_row(services.task_json(record), now, asset_of(services, record.task.route))


# -- gallery -----------------------------------------------------------------------------------------------


async def _show_gallery(visit: Visit, wanted: TaskFilter) -> web.StreamResponse:
    """Show what the tasks made, as far as it is archived."""
    tiles: list[Json] = []
    wanted, page = replace(wanted, status=Status.SUCCEEDED), None
    for _ in range(GALLERY_PAGES):
        page = await search(visit.request, visit.services.store.list_tasks(wanted))
        for record in page.items:
            asset = asset_of(visit.services, record.task.route)
            tile = describe_tile(visit.services.task_json(record), asset)
            tiles += [] if tile is None else [tile]
        wanted = replace(wanted, cursor=page.next_cursor)
        if page.next_cursor is None or len(tiles) >= PAGE_SIZE:
            break
    return await visit.render(
        "gallery.html",
        current="?view=gallery",
        query=ListQuery(visit.request.query),
        tiles=tiles,
        next_cursor=_cursor_of(page),
        routes=visit.services.registry.names()["route"],
    )


def _cursor_of(page: Page | None) -> str | None:
    return None if page is None else page.next_cursor


# -- live rows ---------------------------------------------------------------------------------------------


async def stream_tasks(visit: Visit) -> web.StreamResponse:
    """Keep a list up to date."""
    wanted = parse(visit.request.query, LIVE_PARAMETERS)
    after, newest = wanted.pop("after", 0), wanted.pop("newest", "")
    updates = _ListUpdates(visit, TaskFilter(**wanted), newest)
    passing = {name: value for name, value in wanted.items() if name not in {"status", "reason", "limit", "cursor"}}
    return await stream(visit, FeedFilter.of(**passing), after, updates.note, updates.render, look_again_s=RENEW_S)


class _ListUpdates:
    """What changed since a page of the list was made.

    Args:
        visit: of the stream.
        wanted: what the page lists.
        newest: the id of its newest task.
    """

    def __init__(self, visit: Visit, wanted: TaskFilter, newest: str) -> None:
        self._visit = visit
        self._wanted = wanted
        self._newest = newest
        self._changed: dict[str, Json] = {}
        self._new: set[str] = set()
        self._counted = 0
        self._shown: dict[str, str] = {}
        self._renewed_at = asyncio.get_running_loop().time()

    def note(self, chunk: Chunk) -> None:
        """Note what happened."""
        for entry in chunk.parts:
            if not isinstance(entry, Entry):
                continue
            event = self._visit.site.live_rows.read(entry)
            task_id = event["task_id"]
            self._changed[task_id] = event
            if self._is_new(event):
                self._new.add(task_id)

    def _is_new(self, event: Json) -> bool:
        """Whether a task is in the list now that was not when the page was made."""
        if self._wanted.cursor is not None or task_of(event, "reason") not in {self._wanted.reason, None}:
            return False
        if self._wanted.status is None and self._wanted.reason is None:
            return bool(event["task_id"] > self._newest)
        status = self._wanted.status or Status.FAILED
        return bool(event["to"] == status and (event["from"] != status or event["task_id"] > self._newest))

    async def render(self) -> str:
        """The changed rows, the number of new ones, and the counts."""
        visit, changed = self._visit, self._changed
        self._changed = {}
        parts = [
            part(f"t-{task_id}", await visit.site.live_rows.html(event, visit.root))
            for task_id, event in changed.items()
            if task_id <= self._newest
        ]
        now = asyncio.get_running_loop().time()
        if now - self._renewed_at >= RENEW_S:
            self._renewed_at = now
            self._counted = await self._count_new()
            parts += await self._render_sums()
        number = max(len(self._new), self._counted)
        new = str(visit.site.macro("parts.html", "new_rows")(number, visit.root))
        parts += self._if_changed("new", new)
        return "".join(parts)

    async def _count_new(self) -> int:
        """How many later tasks there are: one that waits to be sent has no event yet."""
        wanted = self._wanted
        if wanted.cursor is not None or wanted.status is not None or wanted.reason is not None:
            return 0
        times = times_of_ids(self._newest) if self._newest else None
        counts = await self._visit.site.counts.get(wanted if times is None else replace(wanted, since=times[1]))
        return sum(counts.by_status.values())

    async def _render_sums(self) -> Sequence[str]:
        visit, macro = self._visit, self._visit.site.macro
        counts = await visit.site.counts.get(_all_statuses(self._wanted))
        query = ListQuery({name: text for name, text in visit.request.query.items() if name != "newest"})
        tabs = str(macro("parts.html", "status_tabs")(query, _counts_json(counts), visit.root))
        answers = str(macro("parts.html", "day_answers")(await visit.site.answers.get(), visit.root))
        alarm = str(macro("parts.html", "alarm")(await visit.site.health(), visit.root))
        return [
            *self._if_changed("tabs", tabs),
            *self._if_changed("answers", answers),
            *self._if_changed("alarm", alarm),
        ]

    def _if_changed(self, target: str, html: str) -> list[str]:
        if self._shown.get(target) == html:
            return []
        self._shown[target] = html
        return [part(target, html)]


def task_of(event: Json, name: str) -> Json:
    """A member of an event's task."""
    return event["task"][name]
