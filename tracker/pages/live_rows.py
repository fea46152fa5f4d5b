"""Rows of tasks that changed, and counts: made once for all pages that show them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import orjson

from tracker.pages.rows import describe_row

if TYPE_CHECKING:
    from tracker.server.services import Services
    from tracker.store.values import TaskCounts, TaskFilter
    from tracker.tracking.feed_chunks import Entry

Json = Any

MAX_ROWS: Final = 500
COUNT_AT_MOST: Final = 1000
COUNTS_FOR_S: Final = 1.0
MAX_COUNTS: Final = 100


class LiveRows:
    """Events of the feed and the rows of their tasks.

    Args:
        services: where they come from.
        macro: (template, name) -> the macro.
    """

    def __init__(self, services: Services, macro: Callable[[str, str], Any]) -> None:
        self._services = services
        self._macro = macro
        self._events: OrderedDict[int, Json] = OrderedDict()
        self._rows: OrderedDict[int, str] = OrderedDict()

    def read(self, entry: Entry) -> Json:
        """The event of an entry of the feed."""
        event = self._events.get(entry.seq)
        if event is None:
            event = self._events[entry.seq] = orjson.loads(entry.data)
            _drop_oldest(self._events, MAX_ROWS)
        return event

    async def html(self, event: Json, root: str) -> str:
        """The row of an event's task, for pages at the top."""
        seq = event["seq"]
        if (known := self._rows.get(seq)) is not None:
            return known
        task = event["task"]
        if event.get("omitted"):
            task = self._services.task_json(await self._services.store.get_task(task["id"]))
        now = self._services.clock.now()
        row = describe_row(task, now, asset_of(self._services, task["route"]))
        html = self._rows[seq] = str(self._macro("parts.html", "task_row")(row, root, now))
        _drop_oldest(self._rows, MAX_ROWS)
        return html


class LiveCounts:
    """Counts of tasks by filter, as of a moment ago.

    Args:
        services: its store is asked.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._counts: OrderedDict[str, tuple[float, TaskCounts]] = OrderedDict()

    async def get(self, wanted: TaskFilter) -> TaskCounts:
        """The counts by status."""
        key, now = repr(wanted), self._services.clock.monotonic()
        known = self._counts.get(key)
        if known is not None and now - known[0] < COUNTS_FOR_S:
            return known[1]
        counts = await self._services.store.count_tasks(wanted, COUNT_AT_MOST)
        self._counts[key] = now, counts
        _drop_oldest(self._counts, MAX_COUNTS)
        return counts


def asset_of(services: Services, route: str) -> str | None:
    """What a route makes; None for one that is no longer known."""
    found = services.registry.find_route(route)
    return None if found is None else found.asset


def _drop_oldest(known: OrderedDict[Any, Any], at_most: int) -> None:
    while len(known) > at_most:
        known.popitem(last=False)
