"""One task as a document of its own, to show to others and to replay: all that is stored of it, without secrets.

Owns the format. Must not know where the task is stored, nor which secrets there are: their masking is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from tracker.domain.archives import ArchiveRecord
from tracker.domain.attempts import DeliveryDetail, delivery_detail_json
from tracker.domain.observation import Reading
from tracker.domain.outputs import strip_inline_data
from tracker.domain.records import EventRecord, Json, TaskRecord, archive_json, event_json, iso, task_json
from tracker.domain.replay import REPEATED, PastEvent, ReplayEvent, ReplayStep, is_judged, is_trusted, run_again
from tracker.domain.statuses import Origin, Source, Status
from tracker.domain.task import Task
from tracker.domain.url_secrets import UrlSecrets

if TYPE_CHECKING:
    from datetime import datetime

FORMAT: Final = "tracker-task-1"
"""Grows with a change that older programs cannot replay."""


class StoredEvent(Struct, frozen=True):
    """An event as stored: what is shown of it, its identity, and what was learned."""

    record: EventRecord
    key: str
    reading: Reading


class TaskExport(Struct, frozen=True):
    """All that is stored of a task, in one state.

    Attributes:
        schema: the version of the store's schema.
        events, deliveries, archives: oldest first.
    """

    schema: int
    record: TaskRecord
    events: Sequence[StoredEvent]
    deliveries: Sequence[DeliveryDetail]
    archives: Sequence[ArchiveRecord]


class _ExportedTask(Struct, frozen=True):
    origin: Origin


class ExportFile(Struct, frozen=True):
    """The part of a document that a replay needs."""

    task: _ExportedTask
    state: Task
    events: Sequence[ReplayEvent]

    def run_again(self) -> tuple[list[ReplayStep], Task] | None:
        """See `tracker.domain.replay.run_again`."""
        return run_again(self.state, self.events, is_registered=self.task.origin is not Origin.SUBMIT)


def export_json(
    export: TaskExport, *, route: Json, tracker: str, at: datetime, redact: Callable[[Json], Json]
) -> dict[str, Json]:
    """The document.

    Args:
        export: the task.
        route: the public form of its route; None if it is no longer known.
        tracker: the version of this program.
        at: the present time.
        redact: masks the secrets in decoded JSON.
    """
    task = export.record.task
    state = msgspec.to_builtins(msgspec.structs.replace(task, outputs=strip_inline_data(task.outputs)))
    urls = UrlSecrets()

    def masked(form: dict[str, Json]) -> Json:
        # each member by itself: one that is too much to mask costs no other
        return {name: urls.mask(redact(value)) for name, value in form.items()}

    return {
        "format": FORMAT,
        "tracker": tracker,
        "schema": export.schema,
        "exported_at": iso(at),
        "route": route,
        "task": masked(task_json(export.record)),
        "events": [masked(_event_json(task, event)) for event in export.events],
        "deliveries": [masked(delivery_detail_json(delivery)) for delivery in export.deliveries],
        "archives": [masked(archive_json(archive)) for archive in export.archives],
        "state": masked(state),
    }


def _event_json(task: Task, stored: StoredEvent) -> dict[str, Json]:
    """An event with what a replay needs; trust shows in the key alone, which secrets in the reading have a part in."""
    shown = stored.record
    # as stored, both are plain texts
    past = PastEvent(shown.at, Source(shown.source), stored.key, Status(shown.from_status), stored.reading)
    first = msgspec.structs.replace(past, key=past.key.removeprefix(REPEATED))  # what a repetition repeats
    return {
        **event_json(shown),
        "reading": msgspec.to_builtins(stored.reading),
        "is_judged": is_judged(past),
        "is_trusted": is_trusted(task, first),
    }


def read_export(text: bytes) -> ExportFile:
    """Read a document.

    Raises:
        ValueError: it is not one, or of another format; the message is one sentence.
    """
    try:
        head = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise ValueError("is not JSON; write one with: tracker export ID -o FILE") from None
    given = head.get("format") if isinstance(head, dict) else None
    if not isinstance(given, str) or not given.startswith("tracker-task-"):
        raise ValueError("is not the export of a task; write one with: tracker export ID -o FILE")
    if given != FORMAT:
        raise ValueError(f"has the format {given}, and this program reads {FORMAT}; use the version that wrote it")
    try:
        return msgspec.convert(head, ExportFile)
    except msgspec.ValidationError as error:
        raise ValueError(f"is damaged ({error}); export the task again") from None
