"""Everything that the page of a task shows, read from the store at one time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from tracker.domain.attempts import delivery_detail_json
from tracker.domain.records import archive_json, delivery_json, event_json, iso
from tracker.pages.json_view import JsonView, view_json
from tracker.pages.live_rows import asset_of
from tracker.pages.rows import bar_of, media_of, state_of, title_of
from tracker.pages.texts import parse, seconds_between, took
from tracker.pages.waterfall import draw
from tracker.server.tasks import explanation

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.domain.records import TaskRecord
    from tracker.domain.task import TaskId
    from tracker.server.services import Services

Json = Any

MAX_DETAILS: Final = 30
"""Deliveries that are shown with their attempts, the latest ones."""
MAX_EVENTS: Final = 200
"""Entries of the history that are shown, the latest ones."""
_ENDS: Final = frozenset({"SUCCEEDED", "FAILED"})
_OPEN: Final = frozenset({"pending", "running"})


async def read_view(services: Services, task_id: TaskId, now: datetime) -> Json:
    """Read the page of a task.

    Raises:
        TaskNotFound: no task has this id.
    """
    store = services.store
    record = await store.get_task(task_id)
    task = services.task_json(record)
    events = [event_json(event) for event in await store.list_events(task_id)]
    deliveries = [delivery_json(delivery) for delivery in await store.list_deliveries(task_id)]
    for n, delivery in list(enumerate(deliveries))[-MAX_DETAILS:]:
        if delivery["attempts"] or delivery["output"] or delivery["error"]:
            deliveries[n] = delivery_detail_json(await store.get_delivery(delivery["id"]))
    archives = [archive_json(archive) for archive in await store.list_archives(task_id)]
    is_over = task["status"] in _ENDS
    beside, _ = state_of(task, now)
    why = await explanation(services, task_id)
    return {
        "id": task["id"],
        "record": record,
        "task": task,
        "title": title_of(task),
        "beside": _failed_after(task, events) if task["status"] == "FAILED" else beside,
        "bar": bar_of(task, now),
        "asset": asset_of(services, task["route"]),
        "media": media_of(task, asset_of(services, task["route"])),
        "why": why,
        "steps": why["next"],
        "names": _names(task["outputs"]),
        "now_iso": iso(now),
        "waterfall": draw(task, events, deliveries, archives, now),
        "events": _history(task, events),
        "events_hidden": max(0, len(events) - MAX_EVENTS),
        "deliveries": deliveries[::-1],
        "archives": {archive["n"]: archive for archive in archives},
        "is_over": is_over,
        "is_settled": is_over
        and not why["next"]
        and not any(delivery["status"] in _OPEN for delivery in deliveries)
        and not any(archive["state"] in _OPEN for archive in archives),
    }


def _names(outputs: Sequence[Mapping[str, Json]]) -> dict[int, str]:
    """What each output is called: its title, with its number where several have the same."""
    kinds = {"audio": "Track", "video": "Video", "image": "Image", "text": "Text"}
    titles = [output["title"] or kinds.get(output["kind"], "File") for output in outputs]
    return {
        output["n"]: title if titles.count(title) == 1 else f"{title} {titles[: n + 1].count(title)}"
        for n, (output, title) in enumerate(zip(outputs, titles, strict=True))
    }


def _failed_after(task: Mapping[str, Json], events: Sequence[Mapping[str, Json]]) -> str:
    end = task["finished_at"] or (events[-1]["at"] if events else None)
    return "" if end is None else f"after {took(seconds_between(task['created_at'], end))}"


def _history(task: Mapping[str, Json], events: Sequence[Mapping[str, Json]]) -> list[Json]:
    """The history, the latest first, each with how long after the creation it was."""
    begin = parse(task["created_at"])
    shown = [
        {
            "at": event["at"],
            "after": took(seconds_between(begin, event["at"])),
            "source": event["source"],
            "detail": event["detail"],
            "outcome": event["outcome"],
            "change": f"{event['from']} → {event['to']}" if event["from"] != event["to"] else "",
            "decided": event["outcome"] == "applied" and event["to"] in _ENDS and event["from"] != event["to"],
        }
        for event in events[-MAX_EVENTS:]
    ]
    return shown[::-1]


async def read_bodies(record: TaskRecord, services: Services) -> dict[str, JsonView | None]:
    """The request, the result, and the last callback as it came."""
    events = await services.store.list_events(record.task.id)
    callback = next((event.payload for event in reversed(events) if event.source == "callback" and event.payload), None)
    return {
        "request": await view_json(record.request),
        "result": await view_json(record.result),
        "callback": await view_json(callback),
    }


def document_title(view: Mapping[str, Json]) -> str:
    """The title of the browser's tab: how far it is, and what it is."""
    task = view["task"]
    signs = {"PENDING": "◌", "RUNNING": "▶", "SUCCEEDED": "✓", "FAILED": "✕"}
    percent = f" {task['progress']} %" if task["status"] == "RUNNING" and task["progress"] is not None else ""
    return f"{signs[task['status']]}{percent} · {view['title'][:80]}"
