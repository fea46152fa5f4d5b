"""What is kept and shown: tasks with everything around them, events, deliveries, and their public JSON form.

The field names of the JSON are the project's public surface (HTTP, hooks, ``--json``, SQLite views).
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct, field

from tracker.domain.archives import file_of
from tracker.domain.user_messages import user_message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracker.domain.archives import ArchivedFile, ArchiveRecord
    from tracker.domain.task import Output, Task, TaskId, UpstreamError

Json = Any
"""A decoded JSON value."""

MAX_DECODED_CHARS = 1 << 20


class DeliveryStatus(StrEnum):
    """Where one run of a hook stands."""

    PENDING = "pending"
    """Waits for its turn, or for its next attempt."""
    RUNNING = "running"
    """Claimed by the dispatcher; found after a crash it is claimed again, with the same id."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Final by the hook's own word (exit 100)."""
    DEAD = "dead"
    """Final because its attempts ran out; can be retried by hand."""


class TaskRecord(Struct, frozen=True):
    """A task with what the rules do not need: its request, result and labels, and the models it may fall back on.

    Attributes:
        files: the archived copies of its outputs, by the identity of the output.
    """

    task: Task
    request: Json = None
    result: Json = None
    labels: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    fallbacks: tuple[str, ...] = ()
    files: Mapping[str, ArchivedFile] = field(default_factory=dict)


class EventRecord(Struct, frozen=True):
    """One entry of a task's append-only history.

    Attributes:
        seq: position in the history of all tasks; grows, never used twice.
        stage: the sub-stage that the observation spoke of.
        from_status, to_status: the task before and after.
        payload: the redacted upstream body, None where there was none or retention dropped it.
    """

    seq: int
    task_id: TaskId
    at: datetime
    source: str
    stage: str | None
    outcome: str
    from_status: str
    to_status: str
    detail: str
    payload: Json = None


class DeliveryRecord(Struct, frozen=True):
    """One run of one hook for one event, with its attempts."""

    id: str
    task_id: TaskId
    seq: int
    hook: str
    event: str
    status: DeliveryStatus
    attempts: int
    next_attempt_at: datetime | None
    error: str | None
    output: str | None
    created_at: datetime
    finished_at: datetime | None


def iso(moment: datetime | None) -> str | None:
    """A moment as ISO 8601 in UTC with milliseconds and ``Z``, None for None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def output_json(n: int, output: Output, file: ArchivedFile | None = None) -> dict[str, Json]:
    """The public form of one output and of its archived copy. A URL that needs the account's key is not handed out."""
    shown: dict[str, Json] = {
        "n": n,
        "kind": output.kind,
        "url": None if output.authenticated else output.url,
        "mime": output.mime if file is None else file.mime,
        "title": output.title,
        "duration_s": output.duration_s,
        "archived": file is not None,
        "path": None if file is None else file.path,
        "bytes": None if file is None else file.bytes,
        "sha256": None if file is None else file.sha256,
    }
    if output.text is not None:
        shown["text"] = output.text
    return shown


def error_json(error: UpstreamError | None) -> dict[str, Json] | None:
    """The upstream's own word, or None."""
    if error is None:
        return None
    return {"code": error.code, "message": error.message, "http_status": error.http_status}


def task_json(record: TaskRecord) -> dict[str, Json]:
    """The public form of a task."""
    task = record.task
    return {
        "id": task.id,
        "route": task.route,
        "provider": task.provider,
        "account": task.account,
        "external_id": task.external_id,
        "status": task.status.value,
        "stage": task.stage,
        "progress": task.progress,
        "reason": task.reason,
        "error": error_json(task.error),
        "retryable": task.retryable,
        "user_message": user_message(task),
        "outputs": [output_json(n, output, file_of(output, record.files)) for n, output in enumerate(task.outputs)],
        "request": record.request,
        "result": record.result,
        "labels": dict(record.labels),
        "model": task.model,
        "created_at": iso(task.created_at),
        "submitted_at": iso(task.submitted_at),
        "started_at": iso(task.started_at),
        "finished_at": iso(task.finished_at),
        "next_poll_at": iso(task.due_at),
        "polls": task.polls,
        "callbacks": task.callbacks,
        "version": task.version,
    }


def event_json(event: EventRecord) -> dict[str, Json]:
    """The public form of an event."""
    return {
        "seq": event.seq,
        "task_id": event.task_id,
        "at": iso(event.at),
        "source": event.source,
        "stage": event.stage,
        "outcome": event.outcome,
        "from": event.from_status,
        "to": event.to_status,
        "detail": event.detail,
        "payload": event.payload,
    }


def delivery_json(delivery: DeliveryRecord) -> dict[str, Json]:
    """The public form of a delivery."""
    return {
        "id": delivery.id,
        "task_id": delivery.task_id,
        "seq": delivery.seq,
        "hook": delivery.hook,
        "event": delivery.event,
        "status": delivery.status.value,
        "attempts": delivery.attempts,
        "next_attempt_at": iso(delivery.next_attempt_at),
        "error": delivery.error,
        "output": delivery.output,
        "created_at": iso(delivery.created_at),
        "finished_at": iso(delivery.finished_at),
    }


def archive_json(record: ArchiveRecord) -> dict[str, Json]:
    """The public form of an output on its way into the archive."""
    file = record.file
    return {
        "n": record.n,
        "state": record.state.value,
        "attempts": record.attempts,
        "next_attempt_at": iso(record.next_attempt_at),
        "expires_at": iso(record.expires_at),
        "error": record.error,
        "path": None if file is None else file.path,
        "bytes": None if file is None else file.bytes,
        "sha256": None if file is None else file.sha256,
    }


def decode_payload(text: str) -> Json:
    """The JSON of a stored upstream body. A large one stays encoded, as an `orjson.Fragment`.

    It is only ever encoded again, and decoding and encoding 60 MB holds the interpreter lock for a quarter of a second.
    """
    return orjson.loads(text) if len(text) <= MAX_DECODED_CHARS else orjson.Fragment(text)


def decode_fragment(value: object) -> Json:
    """The JSON in an `orjson.Fragment`, as large results are held, for encoders other than orjson.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, orjson.Fragment):
        raise TypeError(f"{type(value).__name__} is not JSON")
    return orjson.loads(orjson.dumps(value))
