"""Which events of the feed a reader wants. Pure: a filter is matched in memory, once for all readers that have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from tracker.domain.ids import first_id_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tracker.domain.history import FeedEvent, FeedItem
    from tracker.domain.task import TaskId


@dataclass(frozen=True, slots=True)
class FeedFilter:
    """Which events; None and empty mean any. Readers with equal filters share their work.

    What an event matches never changes: ``status`` and ``reason`` are those of the task right after it. So a reader
    that resumes gets what it would have got without the interruption.

    Attributes:
        labels: name and value of each, in any order.
        q: text looked for in ids, model, error, labels and request, as the list of tasks does; in lower case.
        lower, upper: bounds of the task's id, which begins with the time of its creation; upper exclusive.
    """

    task: TaskId | None = None
    status: str | None = None
    provider: str | None = None
    route: str | None = None
    account: str | None = None
    reason: str | None = None
    labels: frozenset[tuple[str, str]] = frozenset()
    q: str | None = None
    lower: str | None = None
    upper: str | None = None

    @classmethod
    def of(
        cls,
        *,
        labels: Mapping[str, str] | None = None,
        q: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        **names: str | None,
    ) -> FeedFilter:
        """The filter of query parameters with the names of ``GET /v1/tasks``, and ``task``."""
        return cls(
            **names,  # type: ignore[arg-type]  # the names of its fields
            labels=frozenset((labels or {}).items()),
            q=None if q is None else lower_ascii(q),
            lower=None if since is None else first_id_at(since),
            upper=None if until is None else first_id_at(until),
        )

    @property
    def is_open(self) -> bool:
        """Whether it lets every event pass."""
        return self == _OPEN

    def matches(self, event: FeedEvent) -> bool:
        """Whether an event passes, except for ``q``."""
        return (
            (self.task is None or event.task_id == self.task)
            and (self.status is None or event.status == self.status)
            and (self.reason is None or event.reason == self.reason)
            and (self.provider is None or event.provider == self.provider)
            and (self.route is None or event.route == self.route)
            and (self.account is None or event.account == self.account)
            and (self.lower is None or event.task_id >= self.lower)
            and (self.upper is None or event.task_id < self.upper)
            and (not self.labels or self.labels <= event.labels.items())
        )


_OPEN = FeedFilter()


def text_of(item: FeedItem) -> str:
    """What ``q`` is looked for in."""
    task, record = item.record.task, item.record
    error = task.error
    parts = [task.id, task.external_id, task.model, error and error.code, error and error.message]
    text = " ".join(str(part) for part in parts if part)
    request = "" if record.request is None else orjson.dumps(record.request).decode()
    labels = "\n".join(f"{name}={value}" for name, value in record.labels.items())
    return lower_ascii(f"{text}\n{request}\n{labels}")


def lower_ascii(text: str) -> str:
    """The text with ASCII letters in lower case, as the list of tasks compares."""
    return text.encode(errors="replace").lower().decode()
