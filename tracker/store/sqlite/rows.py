"""Rows to records and back: the order of columns, and how values are stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import compress
from operator import attrgetter, is_not, itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args, get_type_hints

import msgspec
import orjson
from msgspec.structs import asdict, astuple, replace

from tracker.domain.archives import ArchivedFile, ArchiveRecord, ArchiveState
from tracker.domain.attempts import AttemptRecord, DeliveryDetail
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.observation import Reading
from tracker.domain.outputs import strip_inline_data
from tracker.domain.records import (
    DeliveryRecord,
    EventRecord,
    Json,
    TaskRecord,
    decode_payload,
)
from tracker.domain.statuses import Origin, Source
from tracker.domain.task import (
    Output,
    Reason,
    Stage,
    Status,
    SubmitState,
    Task,
    TaskId,
    UpstreamError,
)
from tracker.domain.user_messages import user_message

if TYPE_CHECKING:
    from tracker.domain.costs import Cost
    from tracker.store.values import DeliveryFilter

UNIT = 10**9
"""Amounts are stored as integers, in billionths: SQLite adds integers exactly, and texts not at all."""
MAX_ROWS = 64
"""Rows that one statement writes."""

T = TypeVar("T")
Row = tuple[Any, ...]
ReadRows = Callable[[str, Sequence[Any]], Awaitable[list[Row]]]
"""Runs a query on a reading connection."""

_HINTS = get_type_hints(Task)


def _types_of(name: str) -> set[Any]:
    return {_HINTS[name], *get_args(_HINTS[name])}


def _no_amount(name: str) -> str:
    """On a plain column IS NULL is always false in a RETURNING clause here (SQLite 3.40); on an expression it works."""
    return f"coalesce({name}_amount, {name}_currency) IS NULL"


def _column_of(name: str) -> str:
    """How a field of a task is selected, as JSON: times in seconds, JSON as it is."""
    if name == "outputs":
        return "json(outputs)"
    if name == "error":
        fields = "'code', error_code, 'message', error_message, 'http_status', error_http_status"
        return f"iif(coalesce(error_code, error_message, error_http_status) IS NULL, NULL, json_object({fields}))"
    if name == "cost":
        return f"iif({_no_amount('cost')}, NULL, json_array(cost_amount / {UNIT}.0, cost_currency, cost_kind))"
    if name == "price":
        return f"iif({_no_amount('price')}, NULL, json_array(price_amount / {UNIT}.0, price_currency, 'estimate'))"
    return f"{name} / 1000.0" if datetime in _types_of(name) else name


TASK = f"json_array({', '.join(map(_column_of, Task.__struct_fields__))})"
"""Selects a task as one JSON text, for `task_from`: decoding that, types and all, costs a sixth of what it costs to
convert a row's columns one by one."""

_LIGHT_OUTPUTS = """
    iif(length(outputs) < 65536, json(outputs), (
        SELECT json_group_array(json(iif(
            length(value ->> 'inline') > 256 AND value ->> 'known_as' LIKE 'sha256:%',
            json_set(value, '$.inline', value ->> 'known_as'), value)))
        FROM json_each(outputs)))
"""
"""Outputs with a reference instead of large inline data: only the archive needs the data, and to fetch and decode 40 MB
holds the interpreter lock for 40 ms and more."""

LIGHT_TASK = TASK.replace("json(outputs)", _LIGHT_OUTPUTS)

RECORD_COLUMNS = (
    f"{LIGHT_TASK}, (SELECT body FROM requests WHERE task_id = tasks.id)"
    ", (SELECT payload FROM events WHERE seq = tasks.result_seq)"
    ", (SELECT json_group_object(name, value) FROM labels WHERE task_id = tasks.id)"
    ", idempotency_key, (SELECT fallbacks FROM requests WHERE task_id = tasks.id)"
    ", (SELECT json_group_array(json_array(identity, path, bytes, sha256, mime)) FROM archives"
    " WHERE task_id = tasks.id AND state = 'stored'), origin, retry_of"
)
"""Selects a task with everything around it, for `record_from`."""
RECORD_WIDTH = 9

EVENT_COLUMNS = "seq, task_id, at, source, stage, outcome, from_status, to_status, detail, payload"

ARCHIVE_COLUMNS = "task_id, identity, n, state, attempts, due_at, expires_at, error, path, bytes, sha256, mime"

NEW_ARCHIVE = "due_at IS NOT NULL AND attempts = 0 AND error IS NULL"
"""Not tried yet, so due at once; in the index archives_new."""
WAITING_ARCHIVE = "due_at IS NOT NULL AND (attempts > 0 OR error IS NOT NULL)"
"""Leased, or to be tried again; in the index archives_waiting."""

DELIVERY_COLUMNS = (
    "id, task_id, seq, hook, event, status, attempts, due_at, error, output, created_at, finished_at,"
    " (SELECT kind FROM alarms WHERE id = alarm_id), (SELECT subject FROM alarms WHERE id = alarm_id)"
)

DELIVERY_DETAIL_COLUMNS = f"""
    {DELIVERY_COLUMNS}, started_at, took_ms, (
        SELECT json_group_array(json_array(attempt, outcome, started_at, took_ms, error, output))
        FROM (SELECT * FROM delivery_attempts WHERE delivery_id = deliveries.id ORDER BY n))
"""
ATTEMPT_OUTPUT_MAX = 500
"""Characters of an attempt's output that outlive the next attempt."""

_TaskRow: Any = tuple[tuple(_HINTS[name] for name in Task.__struct_fields__)]  # type: ignore[misc]  # made here
# not strict: SQLite's JSON has no booleans, and times come as numbers
_task_row = msgspec.json.Decoder(_TaskRow, strict=False)
_task_rows = msgspec.json.Decoder(list[_TaskRow], strict=False)
_task = msgspec.json.Decoder(Task)
_encode = msgspec.json.Encoder().encode


def to_ms(time: datetime | None) -> int | None:
    """A time as stored: milliseconds since 1970 UTC."""
    return None if time is None else round(time.timestamp() * 1000)


def from_ms(stored: int | None) -> datetime | None:
    """A stored time, None for NULL."""
    return None if stored is None else datetime.fromtimestamp(stored / 1000, UTC)


def time_of(stored: int) -> datetime:
    """A stored time that is never NULL."""
    return datetime.fromtimestamp(stored / 1000, UTC)


def outputs_text(outputs: tuple[Output, ...]) -> str:
    """Outputs as the JSON text of their column, without empty fields."""
    return _encode(outputs).decode()


def stored_text(record: Reading | Task) -> str:
    """A reading or a task as the JSON text of an event's column, without empty fields and inline data."""
    outputs = strip_inline_data(record.outputs)
    if outputs is not record.outputs:
        record = replace(record, outputs=outputs)
    return _encode(record).decode()


def task_from(text: str) -> Task:
    """A task, as `TASK` selects it."""
    return Task(*_task_row.decode(text))


def tasks_from(texts: str) -> list[Task]:
    """Tasks from a JSON list of what `TASK` selects."""
    return [Task(*row) for row in _task_rows.decode(texts)]


def enum_text(value: Status | Stage | Reason | SubmitState | Source | None) -> str | None:
    """An enumeration's value as stored: a plain text."""
    return None if value is None else value._value_  # `value` is a slow property until Python 3.12


def _store_of(name: str) -> Callable[[Any], Any] | None:
    """How a value of a field of a task is stored; None: as it is. For those with several columns see `_SPREAD`."""
    if name == "outputs":
        return outputs_text
    types = _types_of(name)
    if datetime in types:
        return to_ms
    return attrgetter("_value_") if types & {Status, Stage, Reason, SubmitState, Source} else None


def _error_values(error: UpstreamError | None) -> tuple[Any, ...]:
    return (None, None, None) if error is None else (error.code, error.message, error.http_status)


def cost_values(cost: Cost | None) -> tuple[int | None, str | None, str | None]:
    """Amount, currency and kind as they are stored."""
    return (None, None, None) if cost is None else (int(cost.amount * UNIT), cost.currency, str(cost.kind))


_SPREAD: Mapping[str, tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]] = {
    "error": (("error_code", "error_message", "error_http_status"), _error_values),
    "cost": (("cost_amount", "cost_currency", "cost_kind"), cost_values),
    "price": (("price_amount", "price_currency"), lambda price: cost_values(price)[:2]),
}
"""Fields of a task with several columns: these, and their values."""

_FIELDS = Task.__struct_fields__
_STATUS = _FIELDS.index("status")
_WITH_STATUS = tuple(
    n for n, name in enumerate(_FIELDS) if name in {
        "status", "stage", "progress", "outputs", "started_at", "finished_at", "due_at", "progress_at", "polls",
        "callbacks", "poll_step", "ended_by", "result_seq", "stage_at", "upstream_finished_at", "version",
    }
)  # fmt: skip
"""What most changes of a status change too. They are written with each of them, so that a batch needs one statement and
not one for each set of columns: between statements the interpreter's lock goes to the event loop and back."""
_beside_status = itemgetter(*(n for n in range(len(_FIELDS)) if n not in _WITH_STATUS))


def task_update(before: Task, after: Task) -> tuple[tuple[str, ...], list[Any]]:
    """What updates only the columns that changed, so that indexes and triggers of the others do not run.

    Args:
        before: the task as the row holds it.
        after: the same task, changed.

    Returns:
        The columns; and the id, the version that the row must have, and the new values in the same order.
    """
    old, new = astuple(before), astuple(after)
    if after.status is not before.status and _beside_status(old) == _beside_status(new):
        changed = _WITH_STATUS  # nearly always
    else:
        changed = tuple(compress(range(len(new)), map(is_not, old, new)))  # in C: most are the same object
    update = _update_of(changed)
    values: list[Any] = [after.id, before.version, *[new[n] for n in update.fields]]
    for n, store in update.stores:
        if (value := values[n]) is not None:
            values[n] = store(value)
    for n, spread in update.spread:
        values += spread(new[n])
    if update.has_message:
        values.append(user_message(after))
    return update.columns, values


class _Update(NamedTuple):
    """What a set of changed fields means for the columns.

    Attributes:
        fields: the positions of those that are one column each.
        stores: where the values of a row need a function to be stored, and which; None is stored as it is.
        spread: the positions of those with several columns, and what makes their values.
    """

    fields: tuple[int, ...]
    stores: tuple[tuple[int, Callable[[Any], Any]], ...]
    spread: tuple[tuple[int, Callable[[Any], tuple[Any, ...]]], ...]
    has_message: bool
    columns: tuple[str, ...]


@cache
def _update_of(positions: tuple[int, ...]) -> _Update:
    if _STATUS in positions:
        positions = tuple(sorted({*positions, *_WITH_STATUS}))
    names = [_FIELDS[n] for n in positions]
    has_message = not {"status", "submit_state"}.isdisjoint(names)
    fields = tuple(n for n, name in zip(positions, names, strict=True) if name not in _SPREAD)
    columns = [_FIELDS[n] for n in fields]
    stores = [(place, _store_of(name)) for place, name in enumerate(columns, 2)]  # after the id and the version
    spread = [(n, *_SPREAD[name]) for n, name in zip(positions, names, strict=True) if name in _SPREAD]
    for _, own, _values in spread:
        columns += own
    columns += ("user_message",) if has_message else ()
    needed = tuple((place, store) for place, store in stores if store is not None)
    return _Update(fields, needed, tuple((n, make) for n, _, make in spread), has_message, tuple(columns))


def task_at_snapshot(snapshot: str) -> Task:
    """The task at the time of the snapshot."""
    return _task.decode(snapshot)


def record_from(row: Row, decode: Callable[[str], Json] = decode_payload) -> TaskRecord:
    """A task with everything around it from a row of `RECORD_COLUMNS`; ``decode`` reads its request and result."""
    task, request, result, labels, key, fallbacks, files, origin, retry_of = row[:RECORD_WIDTH]
    return TaskRecord(
        task=task_from(task),
        request=None if request is None else decode(request),
        result=None if result is None else decode(result),
        labels=orjson.loads(labels),
        idempotency_key=key,
        fallbacks=() if fallbacks is None else tuple(orjson.loads(fallbacks)),
        files={} if files == "[]" else {name: ArchivedFile(*file) for name, *file in orjson.loads(files)},
        origin=Origin(origin),
        retry_of=retry_of,
    )


def embed(text: str) -> Json:
    """Stored JSON as a part of other JSON on one line: not decoded, which would be for being encoded again only."""
    return decode_payload(text) if "\n" in text or "\r" in text else orjson.Fragment(text)


def event_from(row: Row, decode: Callable[[str], Json] = decode_payload) -> EventRecord:
    """An event from a row of `EVENT_COLUMNS`; ``decode`` reads its payload."""
    return EventRecord(
        seq=row[0],
        task_id=TaskId(row[1]),
        at=time_of(row[2]),
        source=row[3],
        stage=row[4],
        outcome=row[5],
        from_status=row[6],
        to_status=row[7],
        detail=row[8],
        payload=None if row[9] is None else decode(row[9]),
    )


def delivery_from(row: Row) -> DeliveryRecord:
    """A delivery from a row of `DELIVERY_COLUMNS`."""
    status = DeliveryStatus(row[5])
    return DeliveryRecord(
        id=row[0],
        task_id=None if row[1] is None else TaskId(row[1]),
        seq=row[2],
        hook=row[3],
        event=row[4],
        status=status,
        attempts=row[6],
        next_attempt_at=from_ms(row[7]) if status is DeliveryStatus.PENDING else None,
        error=row[8],
        output=row[9],
        created_at=time_of(row[10]),
        finished_at=from_ms(row[11]),
        alarm_kind=row[12],
        alarm_subject=row[13],
    )


def delivery_detail_from(row: Row) -> DeliveryDetail:
    """A delivery with its attempts from a row of `DELIVERY_DETAIL_COLUMNS`."""
    *columns, started_at, took_ms, failed = row
    delivery = delivery_from(tuple(columns))
    attempts = [
        AttemptRecord(attempt, outcome, from_ms(at), None if took is None else took / 1000, error, output)
        for attempt, outcome, at, took, error, output in orjson.loads(failed)
    ]
    if delivery.status is DeliveryStatus.SUCCEEDED:
        took_s = None if took_ms is None else took_ms / 1000
        output = delivery.output and delivery.output[-ATTEMPT_OUTPUT_MAX:]
        attempts.append(AttemptRecord(delivery.attempts, "succeeded", from_ms(started_at), took_s, None, output))
    return DeliveryDetail(**asdict(delivery), attempt_history=attempts)


def where_clause(*conditions: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """A WHERE clause and its values, from conditions with their values; one whose last value is None is left out."""
    used = [condition for condition in conditions if condition[-1] is not None]
    clause = f"WHERE {' AND '.join(sql for sql, *_ in used)}" if used else ""
    return clause, [value for _, *values in used for value in values]


def delivery_conditions(wanted: DeliveryFilter) -> list[tuple[Any, ...]]:
    """The conditions of a filter of deliveries, without limit and cursor."""
    return [("hook = ?", wanted.hook), ("status = ?", wanted.status), ("created_at >= ?", to_ms(wanted.since))]


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


def batches(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Rows in batches of at most 64, below 8 or a multiple of it: few statements, and few different ones to prepare."""
    start = 0
    while start < len(rows):
        left = min(len(rows) - start, MAX_ROWS)
        size = left - left % 8 if left > 8 else left  # noqa: PLR2004
        yield rows[start : start + size]
        start += size
