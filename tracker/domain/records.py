"""Tasks with everything around them, events and deliveries: what is stored, and the public JSON form of each.

Each public form is stated once, as a struct: `to_json` encodes by it, and ``/openapi.json`` describes it. The field
names are the project's public surface (HTTP, hooks, ``--json``, SQLite views).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import orjson
from msgspec import UNSET, Meta, Struct, UnsetType, field, to_builtins
from msgspec.structs import asdict, fields

from tracker.domain.archives import ArchiveState, file_of
from tracker.domain.costs import CostKind
from tracker.domain.durations import NO_OUTLOOK, ExpectedView
from tracker.domain.hook_events import DeliveryStatus, HookEvent
from tracker.domain.nesting import decode_stored
from tracker.domain.statuses import Origin, Source
from tracker.domain.task import Reason, Stage, Status, TaskId, UpstreamError
from tracker.domain.transitions import Outcome
from tracker.domain.user_messages import user_message

if TYPE_CHECKING:
    from tracker.domain.archives import ArchivedFile, ArchiveRecord
    from tracker.domain.costs import Cost
    from tracker.domain.durations import Outlook
    from tracker.domain.task import Output, Task

Json = Any
"""A decoded JSON value."""

MAX_DECODED_CHARS = 1 << 20

Text = Annotated[str, Meta(description="Only for kind text.", extra_json_schema={"absent": ""})]
OnlyTrue = Annotated[bool, Meta(extra_json_schema={"const": True})]
Synthetic = Annotated[
    OnlyTrue | None, Meta(description="Synthetic, by hooks test.", extra_json_schema={"absent": None})
]
"""Members that may be absent, and which value that means."""
Reader = Callable[[object], tuple[Json, ...]]


class TaskRecord(Struct, frozen=True):
    """A task with what the rules do not need: its request, result and labels, and the models it may fall back on.

    Attributes:
        files: the archived copies of its outputs, by the identity of the output.
        retry_of: the task whose request it sends again.
    """

    task: Task
    request: Json = None
    result: Json = None
    labels: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    fallbacks: tuple[str, ...] = ()
    files: Mapping[str, ArchivedFile] = field(default_factory=dict)
    origin: Origin = Origin.SUBMIT
    retry_of: TaskId | None = None


class EventRecord(Struct, frozen=True, rename={"from_status": "from", "to_status": "to"}):
    """One entry of a task's append-only history; also its public form.

    Attributes:
        seq: position in the history of all tasks; grows, never used twice.
        stage: the sub-stage that the observation reports.
        from_status, to_status: the task before and after.
        payload: the redacted upstream body, None where there was none or retention dropped it.
    """

    seq: int
    task_id: TaskId
    at: datetime
    source: Source
    stage: Stage | None
    outcome: Outcome
    from_status: Status
    to_status: Status
    detail: str
    payload: Json = None


class DeliveryRecord(Struct, frozen=True):
    """One run of one hook for one event, with its attempts; also its public form."""

    id: str
    task_id: TaskId | None
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
    alarm_kind: str | None = None
    alarm_subject: str | None = None


class OutputView(Struct, frozen=True):
    """A file or a text that a task produced."""

    n: int
    kind: str
    url: str | None
    mime: str | None
    title: str | None
    duration_s: float | None
    archived: bool
    path: str | None
    bytes: int | None
    sha256: str | None
    text: Text | UnsetType = UNSET


class CostView(Struct, frozen=True):
    """An amount of money, or of the upstream's own units."""

    amount: float
    currency: Annotated[str, Meta(description="A currency such as USD, or a unit of the upstream such as credits.")]
    kind: Annotated[CostKind, Meta(description="actual: reported by the upstream; estimate: by the configured prices.")]


def cost_json(cost: Cost | None) -> dict[str, Json] | None:
    """The public form of a cost."""
    return None if cost is None else to_json(CostView, cost, amount=float(cost.amount))


class TaskView(Struct, frozen=True):
    """The public form of a task."""

    id: TaskId
    route: str
    provider: str
    account: str
    external_id: str | None
    status: Status
    stage: Stage | None
    progress: int | None
    reason: Reason | None
    error: UpstreamError | None
    retryable: bool | None
    user_message: str
    outputs: list[OutputView]
    request: Any
    result: Any
    labels: Mapping[str, str]
    model: str | None
    created_at: datetime
    submitted_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    next_poll_at: datetime | None
    polls: int
    callbacks: int
    version: int
    origin: Origin
    ended_by: Annotated[Source | None, Meta(description="What brought its end; null before it.")]
    stage_at: Annotated[datetime | None, Meta(description="When stage last changed.")]
    upstream_finished_at: Annotated[
        datetime | None, Meta(description="When the job ended, as the upstream reports it; null if it does not.")
    ]
    usage: Annotated[dict[str, Any] | None, Meta(description="Usage as the upstream reports it.")]
    cost: Annotated[CostView | None, Meta(description="What it cost; null until it has ended, or if unknown.")]
    retry_of: Annotated[TaskId | None, Meta(description="The task whose request it sends again.")]
    expected: Annotated[
        ExpectedView | None,
        Meta(description="Learned from tasks of its route, model and size that succeeded; null while too few have."),
    ]
    poll_after_s: Annotated[
        float | None, Meta(description="Seconds until something may have changed, at most 60; null after the end.")
    ]


class FeedEventView(EventRecord, frozen=True, kw_only=True, rename={"from_status": "from", "to_status": "to"}):
    """An event in the history of all tasks, with its task."""

    task: Annotated[TaskView, Meta(description="As it is now, which may be later than the event; see version.")]
    omitted: Annotated[
        list[str] | UnsetType,
        Meta(description="Which of payload, task.request and task.result are null here since they are too large."),
    ] = UNSET


class HookEventView(Struct, frozen=True):
    """The event that every kind of hook gets."""

    type: HookEvent
    seq: Annotated[int, Meta(description="The entry of the task's history that it follows from.")]
    delivery_id: Annotated[str, Meta(description="The same in every attempt, unique to the event; the webhook-id.")]
    at: Annotated[datetime, Meta(description="When the event was recorded, ISO 8601, UTC.")]
    task: Annotated[TaskView, Meta(description="The task right after the event.")]
    previous_status: Status
    test: Synthetic | UnsetType = UNSET


class ArchiveView(Struct, frozen=True):
    """The archive state of an output."""

    n: int
    state: ArchiveState
    attempts: int
    next_attempt_at: datetime | None
    expires_at: datetime | None
    error: str | None
    path: str | None
    bytes: int | None
    sha256: str | None


class DeliveryCounts(Struct, frozen=True):
    """Deliveries by status."""

    pending: int
    running: int
    succeeded: int
    failed: int
    dead: int


class HookView(Struct, frozen=True):
    """A hook, and its health since the daemon started or was reloaded."""

    name: str
    kind: str | None
    on: list[str]
    state: Literal["healthy", "failing", "open", "probing", "disabled", "absent"]
    running: int
    failures: int
    retry_in_s: float | None
    failing_since: Annotated[datetime | None, Meta(description="The first of these failures; null while healthy.")]
    last_error: str | None
    last_success_at: datetime | None
    last_failure_at: datetime | None
    deliveries: DeliveryCounts


class IgnoredFileView(Struct, frozen=True):
    """A file below the directory of hooks that is not run."""

    file: str
    reason: str
    fix: Annotated[str | None, Meta(description="The command that fixes it; null where nothing has to be fixed.")]


@lru_cache(maxsize=1024)  # a task's times are shown with each of its events
def iso(time: datetime | None) -> str | None:
    """A time as ISO 8601 in UTC with milliseconds and ``Z``, None for None."""
    if time is None:
        return None
    return time.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


@cache
def _plan(form: type[Struct], source: Hashable) -> tuple[dict[str, Json], tuple[str, ...], Reader, tuple[str, ...]]:
    """Of a form: all members in order, those that the source has with how to read them, and those that are times."""
    members = [one for one in fields(form) if one.default is not UNSET]
    read = [one for one in members if hasattr(source, one.name)]
    return (
        {one.encode_name: None for one in members},
        tuple(one.encode_name for one in read),
        attrgetter(*(one.name for one in read), "__class__", "__class__"),  # of two or more it makes a tuple
        tuple(one.encode_name for one in members if _is_time(one.type)),
    )


def _is_time(annotation: object) -> bool:
    return annotation is datetime or any(map(_is_time, get_args(annotation)))


def to_json(form: type[Struct], source: Json, **given: Json) -> dict[str, Json]:
    """The JSON of a public form, its times as text: members are attributes of ``source``, unless they are given."""
    members, names, read, times = _plan(form, source.__class__)
    shown = members.copy()
    shown.update(zip(names, read(source), strict=False))
    shown.update(given)
    for name in times:
        shown[name] = iso(shown[name])
    return shown


def task_json(record: TaskRecord, outlook: Outlook = NO_OUTLOOK) -> dict[str, Json]:
    """The public form of a task.

    Args:
        record: the task.
        outlook: its future, see `tracker.domain.durations`.
    """
    task, expected = record.task, outlook.expected
    return to_json(
        TaskView,
        task,
        error=None if task.error is None else asdict(task.error),
        user_message=user_message(task),
        outputs=[_output_json(n, output, file_of(output, record.files)) for n, output in enumerate(task.outputs)],
        request=record.request,
        result=record.result,
        labels=dict(record.labels),
        next_poll_at=task.due_at,
        usage=None if task.usage is None else decode_stored(task.usage),
        cost=cost_json(task.cost),
        origin=record.origin,
        retry_of=record.retry_of,
        expected=None if expected is None else to_json(ExpectedView, expected),
        poll_after_s=outlook.poll_after_s,
    )


def _output_json(n: int, output: Output, file: ArchivedFile | None) -> Json:
    """An output and its archived copy. A URL that needs the account's key is not shown."""
    return to_builtins(
        OutputView(
            n=n,
            kind=output.kind,
            url=None if output.authenticated else output.url,
            mime=output.mime if file is None else file.mime,
            title=output.title,
            duration_s=output.duration_s,
            archived=file is not None,
            path=None if file is None else file.path,
            bytes=None if file is None else file.bytes,
            sha256=None if file is None else file.sha256,
            text=UNSET if output.text is None else output.text,
        )
    )


def event_json(event: EventRecord) -> dict[str, Json]:
    """The public form of an event."""
    return to_json(EventRecord, event)


def feed_event_json(
    event: EventRecord, record: TaskRecord, omitted: Sequence[str], outlook: Outlook
) -> dict[str, Json]:
    """The public form of an event in the history of all tasks; ``outlook`` is the future of its task."""
    shown = to_json(FeedEventView, event, task=task_json(record, outlook))
    return shown | {"omitted": omitted} if omitted else shown


def delivery_json(delivery: DeliveryRecord) -> dict[str, Json]:
    """The public form of a delivery."""
    return to_json(DeliveryRecord, delivery)


SEARCH_CUT = (
    "The search took too long: what is older was not searched. Continue with next_cursor, or narrow the search by "
    "since, until, a label or another filter."
)
"""The ``notice`` of a page whose search was cut."""


def page_json(items: Iterable[Json], next_cursor: str | None, *, is_cut: bool) -> dict[str, Json]:
    """The public form of a page."""
    page = {"items": list(items), "next_cursor": next_cursor}
    return page | {"notice": SEARCH_CUT} if is_cut else page


def archive_json(record: ArchiveRecord) -> dict[str, Json]:
    """The public form of the archive state of an output."""
    file = {name: getattr(record.file, name, None) for name in ("path", "bytes", "sha256")}
    return to_json(ArchiveView, record, **file)


def decode_payload(text: str) -> Json:
    """The JSON of a stored upstream body, or its digest. A large one stays encoded, as an `orjson.Fragment`.

    It is only ever encoded again, and decoding and encoding 60 MB holds the interpreter lock for a quarter of a second.
    """
    return decode_stored(text) if len(text) <= MAX_DECODED_CHARS else orjson.Fragment(text)


def decode_fragment(value: object) -> Json:
    """The JSON in an `orjson.Fragment`, as large results are held, for encoders other than orjson.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, orjson.Fragment):
        raise TypeError(f"{type(value).__name__} is not JSON")
    return orjson.loads(orjson.dumps(value))
