"""What goes into the store and comes out of it, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from tracker.domain.statuses import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tracker.domain.alarms import Alarm
    from tracker.domain.archives import ArchivedFile, ArchiveState
    from tracker.domain.costs import Cost
    from tracker.domain.hook_events import DeliveryStatus
    from tracker.domain.judge import Step
    from tracker.domain.observation import Observation, Source
    from tracker.domain.prices import Budget
    from tracker.domain.records import DeliveryRecord, TaskRecord
    from tracker.domain.task import ExternalId, Output, SubmitState, Task, TaskId
    from tracker.domain.transitions import Outcome

Json = Any

Judge = Callable[["Task", "Observation", Callable[[str], bool]], tuple["Step", ...]]
"""(task, observation, does the history have this key) -> what follows.

Like `Match` and `ArchiveChoice` it is called inside a transaction, perhaps on another thread (SQLite: the writer's) and
more than once: it may use only values that never change.
"""


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task about to be recorded.

    Attributes:
        id: a ULID of ``created_at``: lists find times by it.
        request: the provider body as JSON text; None for a task that was created elsewhere.
        body: the same, decoded: the record that `create_task` returns holds it. None: it is decoded from the text.
        external_id: set for a task that was created elsewhere.
        idempotency_key: chosen by the user; unique among all tasks.
        fingerprint: digest of everything that makes the payload; compared when the key comes again.
        due_at: when it is first acted upon.
        size: see `Task`.
        fallbacks: models to try when the first is certainly not accepted.
        retry_of: the task whose request it sends again.
        price: the estimate of the request; None without a price.
        budget: what its account may spend in a day; None: any amount.
    """

    id: TaskId
    route: str
    provider: str
    account: str
    asset: str
    created_at: datetime
    due_at: datetime
    submit_state: SubmitState
    request: str | None = None
    body: Json = None
    external_id: ExternalId | None = None
    model: str | None = None
    size: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    fingerprint: str | None = None
    expects_callback: bool = False
    fallbacks: tuple[str, ...] = ()
    retry_of: TaskId | None = None
    price: Cost | None = None
    budget: Budget | None = None

    @property
    def origin(self) -> Origin:
        """How the tracker came to know it."""
        return Origin.SUBMIT if self.request is not None else Origin.REGISTER


@dataclass(frozen=True, slots=True)
class Created:
    """The effect of a `NewTask`: the record as stored, and whether it is new or existed before."""

    record: TaskRecord
    is_new: bool


@dataclass(frozen=True, slots=True)
class Process:
    """A process that has the store open.

    Attributes:
        id: a ULID, new at each start: what its leases name as their holder.
    """

    id: str
    host: str
    pid: int
    version: str


MAX_WAITING: Final = 20_000
"""Further writes are refused while more than this are waiting."""


@dataclass(frozen=True, slots=True)
class WriterProgress:
    """Whether writes are committed; times are on the monotonic clock, seconds.

    Attributes:
        answered_at: when a write was last answered, or came to an idle writer.
        waiting: writes that are not answered yet.
        lost_since: since when no connection can be used; None while one can.
    """

    answered_at: float
    waiting: int
    lost_since: float | None = None


@dataclass(frozen=True, slots=True)
class OpenCounts:
    """How much is open now.

    Attributes:
        pending, running: tasks by status.
        due: tasks that are due.
        deliveries: hook runs that are pending or running.
    """

    pending: int
    running: int
    due: int
    deliveries: int


class Claimed(Struct, frozen=True, gc=False):
    """A due task that was leased to this process.

    Attributes:
        task: as it was before: `due_at` is when it fell due.
        was_held: a lease of it has ended, and nothing has made it due since.
    """

    task: Task
    was_held: bool


class WaitingClaim(Struct, frozen=True, gc=False):
    """Creates of an account that waited for a slot and were leased to this process.

    Attributes:
        tasks: as they were before, in the order they were recorded.
        more: whether further ones wait.
    """

    tasks: list[Task]
    more: bool


class Applied(Struct, frozen=True, gc=False):
    """The effect of an observation.

    Attributes:
        task: the task after the commit.
        outcome: of the observation itself, not of what the clock added.
        confirm: whether the task was left waiting for a poll that was asked for now.
        announced: whether it has events for hooks.
        ended_by: the source of the end, if this change ended the task.
        observation: what was applied; None for a change that the archive made.
    """

    task: Task
    outcome: Outcome
    confirm: bool
    announced: bool
    ended_by: Source | None = None
    observation: Observation | None = None


@dataclass(frozen=True, slots=True)
class PollsRequested:
    """The effect of a callback without a token.

    Attributes:
        task_ids: the unfinished tasks that are polled now because of it.
        known: whether any task has the id at all; when not, the callback was parked.
    """

    task_ids: tuple[TaskId, ...]
    known: bool


class Lane(NamedTuple):
    """Tasks that share an account and a provider: they are polled fairly beside other lanes."""

    account: str
    provider: str


@dataclass(frozen=True, slots=True)
class Announcement:
    """One hook event of one committed change, or of an alarm.

    Attributes:
        seq: the event that it follows from.
        index: position among the hook events of that change.
        event: ``task.running`` and so on.
        labels: of the task, for filters.
        alarm: what the event is about instead of a task; then the fields of the task are empty.
    """

    seq: int
    index: int
    event: str
    task_id: TaskId | None = None
    provider: str = ""
    route: str = ""
    account: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    alarm: Alarm | None = None


Match = Callable[[Announcement], "Sequence[str]"]
"""Names the hooks that an announcement is for. Called like `Judge`."""


class AttemptResult(Struct, frozen=True, gc=False):
    """How one attempt of a delivery ended.

    Attributes:
        status: succeeded, failed, dead, or pending to try again.
        retry_in_s: seconds from now to the next attempt, for pending; None: at once.
        error: one line on what went wrong.
        output: the last 8 KiB of what the hook printed.
        counts: whether it counts among the attempts; the number of one that does not is reused.
        started_at: when the run began; None: it did not begin.
        took_s: how long the run took.
    """

    status: DeliveryStatus
    retry_in_s: float | None = None
    error: str | None = None
    output: str | None = None
    counts: bool = True
    started_at: datetime | None = None
    took_s: float = 0.0

    def with_run(self, started_at: datetime | None, took_s: float) -> AttemptResult:
        """The same, with when the run began and how long it took."""
        return replace(self, started_at=started_at, took_s=took_s)


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries; None means any.

    Attributes:
        since: lower bound of ``created_at``, inclusive.
        limit: 1 to 500; only for lists.
        cursor: ``next_cursor`` of the page before; only for lists.
    """

    hook: str | None = None
    status: str | None = None
    since: datetime | None = None
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """One page of deliveries, newest first; see `Page`."""

    items: Sequence[DeliveryRecord]
    next_cursor: str | None
    is_cut: bool = False


class ArchiveWish(Struct, frozen=True, gc=False):
    """An output that is to be archived.

    Attributes:
        expires_at: when its URL is refused, as far as the URL or the contract shows.
    """

    expires_at: datetime | None = None


ArchiveChoice = Callable[["Task", "Output"], ArchiveWish | None]
"""Which outputs are to be archived; None: this one is not. Called like `Judge`."""


@dataclass(frozen=True, slots=True)
class ArchiveJob:
    """An output that was claimed for archiving.

    Attributes:
        task: its present state.
        output: with the URL or the data that it has now.
        identity: which output it is; what the item is known by.
        n: its position among the task's outputs, for the file's name.
        attempt: number of this attempt, 1 or more.
        expires_at: when its URL is refused, as far as is known.
    """

    task: Task
    output: Output
    identity: str
    n: int
    attempt: int
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class ArchiveResult:
    """How one attempt to archive an output ended.

    Attributes:
        state: stored, dead, or pending to try again.
        file: the copy, for stored.
        retry_in_s: seconds from now to the next attempt, for pending; None: at once.
        error: one line on what went wrong.
        expires_at: of the URL that the output has now.
        counts: whether it counts among the attempts.
    """

    state: ArchiveState
    file: ArchivedFile | None = None
    retry_in_s: float | None = None
    error: str | None = None
    expires_at: datetime | None = None
    counts: bool = True


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks to list; None and empty mean any.

    Attributes:
        q: text looked for in ids, model, error and request.
        since, until: bounds of ``created_at``; since inclusive, until exclusive.
        limit: 1 to 500.
        cursor: ``next_cursor`` of the page before.
    """

    status: str | None = None
    provider: str | None = None
    route: str | None = None
    account: str | None = None
    reason: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    q: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of tasks, newest first.

    Attributes:
        is_cut: the search took too long: older tasks than those before ``next_cursor`` were not searched.
    """

    items: Sequence[TaskRecord]
    next_cursor: str | None
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """How many tasks match a filter.

    Attributes:
        by_status: every status -> how many have it.
        is_complete: all were counted; otherwise there are at least so many, and these are the newest.
    """

    by_status: Mapping[str, int]
    is_complete: bool
