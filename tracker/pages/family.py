"""The family of a task: the ones whose output it uses, the ones that use its own, and its repetitions.

Found by what requests say: an extended song, a cover, stems or a conversion names the task id of the service. Tasks are
searched from the newest on, for a bounded time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tracker.errors import IdempotencyConflict, NotRepeatable, SearchRefused, SubmitInFlight, TaskNotFound
from tracker.pages.rows import title_of
from tracker.store.values import TaskFilter
from tracker.tracking.recovery import repetition_of
from tracker.tracking.submit_checks import find_known

if TYPE_CHECKING:
    from tracker.domain.records import TaskRecord
    from tracker.server.services import Services

Json = Any

_NAMES: Final = frozenset(
    {"taskId", "task_id", "origin_task_id", "originTaskId", "parent_task_id", "video_id", "videoId"}
)
WITHIN_S: Final = 0.15
"""A page waits so long for the relatives; it shows those that were found by then."""
_MOST_NAMES: Final = 3
_DEPTH: Final = 4
_MOST: Final = 12
_LEAST_ID: Final = 6
"""A shorter id may be anything."""


class Relative(NamedTuple):
    """Another task, and what it is to this one."""

    id: str
    title: str
    status: str
    route: str
    relation: str


async def find_family(services: Services, record: TaskRecord) -> list[Relative]:
    """The relatives of a task, as far as they are found."""
    found: dict[str, Relative] = {}
    with suppress(SearchRefused, TimeoutError):  # many searches are running, or there are very many tasks
        async with asyncio.timeout(WITHIN_S):
            async for other, relation in _find(services, record):
                if other.task.id != record.task.id and len(found) < _MOST:
                    shown = services.task_json(other)
                    relative = Relative(other.task.id, title_of(shown), shown["status"], shown["route"], relation)
                    found.setdefault(other.task.id, relative)
    return list(found.values())


async def _find(services: Services, record: TaskRecord) -> AsyncIterator[tuple[TaskRecord, str]]:
    store = services.store
    if record.retry_of is not None:
        with suppress(TaskNotFound):  # retention has removed it
            yield await store.get_task(record.retry_of), "repeats"
    with suppress(NotRepeatable, IdempotencyConflict, SubmitInFlight):
        again = await find_known(store, repetition_of(record))
        if again is not None:
            yield again, "repeats it"
    for name in list(dict.fromkeys(_names(record.request)))[:_MOST_NAMES]:
        for other in (await store.list_tasks(TaskFilter(q=name, limit=20))).items:
            if other.task.external_id == name:
                yield other, "made from"
    own = record.task.external_id
    if own is not None and len(own) >= _LEAST_ID:
        for other in (await store.list_tasks(TaskFilter(q=own, since=record.task.created_at, limit=20))).items:
            if own in _names(other.request):
                yield other, "uses it"


def _names(value: Json, depth: int = 0) -> Iterator[str]:
    """The ids of jobs that a request names."""
    if depth > _DEPTH:
        return
    if isinstance(value, Mapping):
        for name, member in value.items():
            if name in _NAMES and isinstance(member, str) and len(member) >= _LEAST_ID:
                yield member
            elif isinstance(member, (Mapping, list)):
                yield from _names(member, depth + 1)
    elif isinstance(value, list):
        for item in value[:50]:
            yield from _names(item, depth + 1)
