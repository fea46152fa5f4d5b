"""Rows to records and back: the one place that knows the order of columns and how values are stored."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from itertools import compress
from operator import attrgetter, is_not
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from tracker.domain.archives import ArchivedFile, ArchiveRecord, ArchiveState
from tracker.domain.frozen import replace
from tracker.domain.inline import without_data
from tracker.domain.messages import user_message
from tracker.domain.observation import Reading
from tracker.domain.records import DeliveryRecord, DeliveryStatus, EventRecord, TaskRecord
from tracker.domain.task import (
    ExternalId,
    Output,
    Reason,
    Stage,
    Status,
    SubmitState,
    Task,
    TaskId,
    UpstreamError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracker.store.protocol import DeliveryFilter

T = TypeVar("T")
Row = tuple[Any, ...]

TASK_COLUMNS = (
    "id, route, provider, account, asset, external_id, model, status, stage, progress, reason, error_code, "
    "error_message, error_http_status, retryable, outputs, created_at, submitted_at, started_at, finished_at, "
    "due_at, progress_at, submit_state, submit_attempts, expects_callback, polls, callbacks, poll_step, "
    "poll_trouble, poll_trouble_since, not_found_since, missing_output_since, unknown_status, unknown_statuses, "
    "result_seq, version"
)
TASK_WIDTH = TASK_COLUMNS.count(",") + 1

RECORD_COLUMNS = (
    ", ".join(f"tasks.{column.strip()}" for column in TASK_COLUMNS.split(","))
    + ", (SELECT body FROM requests WHERE task_id = tasks.id)"
    + ", (SELECT payload FROM events WHERE seq = tasks.result_seq)"
    + ", (SELECT json_group_object(name, value) FROM labels WHERE task_id = tasks.id)"
    + ", idempotency_key, (SELECT fallbacks FROM requests WHERE task_id = tasks.id)"
    + ", (SELECT json_group_array(json_array(identity, path, bytes, sha256, mime)) FROM archives"
    " WHERE task_id = tasks.id AND state = 'stored')"
)

EVENT_COLUMNS = "seq, task_id, at, source, stage, outcome, from_status, to_status, detail, payload"

ARCHIVE_COLUMNS = "task_id, identity, n, state, attempts, due_at, expires_at, error, path, bytes, sha256, mime"

DELIVERY_COLUMNS = "id, task_id, seq, hook, event, status, attempts, due_at, error, output, created_at, finished_at"

_STATUSES = {status.value: status for status in Status}
_STAGES = {stage.value: stage for stage in Stage}
_SUBMIT_STATES = {state.value: state for state in SubmitState}


def to_ms(moment: datetime | None) -> int | None:
    """A moment as stored: whole milliseconds since 1970 UTC."""
    return None if moment is None else round(moment.timestamp() * 1000)


def from_ms(stored: int | None) -> datetime | None:
    """A stored moment, None for NULL."""
    return None if stored is None else datetime.fromtimestamp(stored / 1000, UTC)


def moment_of(stored: int) -> datetime:
    """A stored moment that is never NULL."""
    return datetime.fromtimestamp(stored / 1000, UTC)


def outputs_text(outputs: tuple[Output, ...]) -> str:
    """Outputs as the JSON text of their column, without empty fields."""
    return orjson.dumps([_lean(output) for output in outputs]).decode() if outputs else "[]"


def _lean(output: Output) -> dict[str, Any]:
    fields = {
        "kind": output.kind,
        "url": output.url,
        "mime": output.mime,
        "title": output.title,
        "duration_s": output.duration_s,
        "text": output.text,
        "inline": output.inline,
        "authenticated": output.authenticated or None,
        "known_as": output.known_as,
    }
    return {name: value for name, value in fields.items() if value is not None}


def outputs_from(text: str) -> tuple[Output, ...]:
    """Outputs from the JSON text of their column."""
    return () if text == "[]" else tuple(Output(**fields) for fields in orjson.loads(text))


def reading_text(reading: Reading) -> str:
    """A reading as the JSON text kept with its event, without empty fields and without inline data."""
    fields: dict[str, Any] = {
        "status": reading.status,
        "external_id": reading.external_id,
        "upstream_status": reading.upstream_status,
        "stage": reading.stage,
        "progress": reading.progress,
        "outputs": [_lean(output) for output in without_data(reading.outputs)] or None,
        "reason": reading.reason,
        "retryable": reading.retryable,
        "trouble": reading.trouble,
        "retry_after_s": reading.retry_after_s,
        "expired_after_s": reading.expired_after_s,
        "submission": reading.submission,
        "next_model": reading.next_model,
        "detail": reading.detail,
        "renews": reading.renews or None,
    }
    if reading.error is not None:
        fields["error"] = {
            "code": reading.error.code,
            "message": reading.error.message,
            "http_status": reading.error.http_status,
        }
    return orjson.dumps({name: value for name, value in fields.items() if value is not None}).decode()


def task_from(row: Row) -> Task:
    """A task from a row that begins with `TASK_COLUMNS`."""
    error = None
    if row[11] is not None or row[12] is not None or row[13] is not None:
        error = UpstreamError(row[11], row[12], row[13])
    return Task(
        id=TaskId(row[0]),
        route=row[1],
        provider=row[2],
        account=row[3],
        asset=row[4],
        external_id=None if row[5] is None else ExternalId(row[5]),
        model=row[6],
        status=_STATUSES[row[7]],
        stage=None if row[8] is None else _STAGES[row[8]],
        progress=row[9],
        reason=None if row[10] is None else Reason(row[10]),
        error=error,
        retryable=None if row[14] is None else bool(row[14]),
        outputs=outputs_from(row[15]),
        created_at=moment_of(row[16]),
        submitted_at=from_ms(row[17]),
        started_at=from_ms(row[18]),
        finished_at=from_ms(row[19]),
        due_at=from_ms(row[20]),
        progress_at=moment_of(row[21]),
        submit_state=_SUBMIT_STATES[row[22]],
        submit_attempts=row[23],
        expects_callback=bool(row[24]),
        polls=row[25],
        callbacks=row[26],
        poll_step=row[27],
        poll_trouble=row[28],
        poll_trouble_since=from_ms(row[29]),
        not_found_since=from_ms(row[30]),
        missing_output_since=from_ms(row[31]),
        unknown_status=row[32],
        unknown_statuses=row[33],
        result_seq=row[34],
        version=row[35],
    )


def _word(value: Status | Stage | Reason | SubmitState | None) -> str | None:
    return None if value is None else value._value_  # `value` is a slow property until Python 3.12


def _as_it_is(value: T) -> T:
    return value


# How each changing attribute of a task is stored; an error takes three columns, see `_encoded`.
_STORED: dict[str, Callable[[Any], Any]] = {
    "external_id": _as_it_is,
    "model": _as_it_is,
    "status": _word,
    "stage": _word,
    "progress": _as_it_is,
    "reason": _word,
    "retryable": _as_it_is,
    "outputs": outputs_text,
    "submitted_at": to_ms,
    "started_at": to_ms,
    "finished_at": to_ms,
    "due_at": to_ms,
    "progress_at": to_ms,
    "submit_state": _word,
    "submit_attempts": _as_it_is,
    "polls": _as_it_is,
    "callbacks": _as_it_is,
    "poll_step": _as_it_is,
    "poll_trouble": _as_it_is,
    "poll_trouble_since": to_ms,
    "not_found_since": to_ms,
    "missing_output_since": to_ms,
    "unknown_status": _as_it_is,
    "unknown_statuses": _as_it_is,
    "result_seq": _as_it_is,
    "version": _as_it_is,
    "error": _as_it_is,
}
_CHANGING = tuple(_STORED)
_POSITIONS = range(len(_CHANGING))
_changing_values = attrgetter(*_CHANGING)


def task_update(before: Task, after: Task) -> tuple[tuple[str, ...], list[Any]]:
    """What it takes to update just the columns that changed: indexes and triggers of the others rest.

    Args:
        before: the task as the row holds it.
        after: the same task, changed.

    Returns:
        The columns; and the id, the version that the row must have, and the new values in the same order.
    """
    olds, news = _changing_values(before), _changing_values(after)
    names: list[str] = []
    values: list[Any] = [after.id, before.version]
    for position in compress(_POSITIONS, map(is_not, olds, news)):  # in C: most attributes are the same object
        new = news[position]
        if olds[position] == new:
            continue
        name = _CHANGING[position]
        names.append(name)
        if name == "error":
            values += (new.code, new.message, new.http_status) if new else (None, None, None)
        else:
            store = _STORED[name]
            values.append(new if store is _as_it_is else store(new))
    if "status" in names:
        values.append(user_message(after))
    return _columns_of(tuple(names)), values


@cache
def _columns_of(names: tuple[str, ...]) -> tuple[str, ...]:
    columns: list[str] = []
    for name in names:
        columns += ("error_code", "error_message", "error_http_status") if name == "error" else (name,)
    return (*columns, "user_message") if "status" in names else tuple(columns)


def snapshot_text(task: Task) -> str:
    """The changing part of a task as JSON text, kept with an event that hooks hear of; without inline data."""
    outputs = without_data(task.outputs)
    if outputs is not task.outputs:
        task = replace(task, outputs=outputs)
    kept = {
        name: _STORED[name](value)
        for name, value in zip(_CHANGING, _changing_values(task), strict=True)
        if value is not None and name != "error"
    }
    error = task.error
    if error is not None:
        kept["error"] = (error.code, error.message, error.http_status)
    return orjson.dumps(kept).decode()


def task_at_snapshot(task: Task, snapshot: str) -> Task:
    """The task as it stood when the snapshot was taken; ``task`` gives what never changes."""
    kept = orjson.loads(snapshot).get
    row: Row = (
        task.id,
        task.route,
        task.provider,
        task.account,
        task.asset,
        kept("external_id"),
        kept("model"),
        kept("status"),
        kept("stage"),
        kept("progress"),
        kept("reason"),
        *kept("error", (None, None, None)),
        kept("retryable"),
        kept("outputs"),
        to_ms(task.created_at),
        *map(kept, ("submitted_at", "started_at", "finished_at", "due_at", "progress_at")),
        *map(kept, ("submit_state", "submit_attempts")),
        task.expects_callback,
        *map(kept, ("polls", "callbacks", "poll_step", "poll_trouble", "poll_trouble_since", "not_found_since")),
        *map(kept, ("missing_output_since", "unknown_status", "unknown_statuses", "result_seq", "version")),
    )
    return task_from(row)


def record_from(row: Row) -> TaskRecord:
    """A task with everything around it from a row of `RECORD_COLUMNS`."""
    request, result, labels, key, fallbacks, files = row[TASK_WIDTH : TASK_WIDTH + 6]
    return TaskRecord(
        task=task_from(row),
        request=None if request is None else orjson.loads(request),
        result=None if result is None else orjson.loads(result),
        labels=orjson.loads(labels),
        idempotency_key=key,
        fallbacks=() if fallbacks is None else tuple(orjson.loads(fallbacks)),
        files={} if files == "[]" else {name: ArchivedFile(*file) for name, *file in orjson.loads(files)},
    )


def event_from(row: Row) -> EventRecord:
    """An event from a row of `EVENT_COLUMNS`."""
    return EventRecord(
        seq=row[0],
        task_id=TaskId(row[1]),
        at=moment_of(row[2]),
        source=row[3],
        stage=row[4],
        outcome=row[5],
        from_status=row[6],
        to_status=row[7],
        detail=row[8],
        payload=None if row[9] is None else orjson.loads(row[9]),
    )


def delivery_from(row: Row) -> DeliveryRecord:
    """A delivery from a row of `DELIVERY_COLUMNS`."""
    status = DeliveryStatus(row[5])
    return DeliveryRecord(
        id=row[0],
        task_id=TaskId(row[1]),
        seq=row[2],
        hook=row[3],
        event=row[4],
        status=status,
        attempts=row[6],
        next_attempt_at=from_ms(row[7]) if status is DeliveryStatus.PENDING else None,
        error=row[8],
        output=row[9],
        created_at=moment_of(row[10]),
        finished_at=from_ms(row[11]),
    )


def delivery_conditions(wanted: DeliveryFilter) -> tuple[list[str], list[Any]]:
    """What a filter of deliveries asks for, as SQL conditions and their values; limit and cursor stay out."""
    where: list[str] = []
    parameters: list[Any] = []
    for column, value in (("hook", wanted.hook), ("status", wanted.status)):
        if value is not None:
            where.append(f"{column} = ?")
            parameters.append(value)
    if wanted.since is not None:
        where.append("created_at >= ?")
        parameters.append(to_ms(wanted.since))
    return where, parameters


def archive_from(row: Row) -> ArchiveRecord:
    """An item of the archive from a row of `ARCHIVE_COLUMNS`."""
    state = ArchiveState(row[3])
    return ArchiveRecord(
        task_id=TaskId(row[0]),
        identity=row[1],
        n=row[2],
        state=state,
        attempts=row[4],
        next_attempt_at=from_ms(row[5]) if state is ArchiveState.PENDING else None,
        expires_at=from_ms(row[6]),
        error=row[7],
        file=None if row[8] is None else ArchivedFile(row[8], row[9], row[10], row[11]),
    )


def placeholders(values: Sequence[object]) -> str:
    """As many question marks as there are values, for an IN list."""
    return ", ".join("?" * len(values))
