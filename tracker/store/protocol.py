"""The interface of the store.

Several processes may share one store. So the protocol consists of complete transactions, never statements: a change of
a task is an observation plus a function that judges it, run by the engine in its own transaction. Work is leased to one
process at a time. No time of this process decides anything: durations cross the protocol, and the engine stamps times
by its own clock. A result of a lease is stored only while its process and its attempt still hold the lease.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tracker.domain.pruning import BESIDE_CALLBACKS
from tracker.store.outbox import Outbox

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from decimal import Decimal

    from tracker.domain.ai_models import Model, ModelList
    from tracker.domain.alarms import StoredAlarm
    from tracker.domain.archives import ArchiveRecord
    from tracker.domain.attempts import DeliveryDetail
    from tracker.domain.durations import Durations, Key
    from tracker.domain.ends import Ends, EndsFilter
    from tracker.domain.exports import TaskExport
    from tracker.domain.history import FeedEvent, FeedItem, TaskHistory
    from tracker.domain.observation import Observation
    from tracker.domain.pruning import Cutoffs, PrunablePage, Pruned, StepSize, StoredFile
    from tracker.domain.records import DeliveryRecord, EventRecord, TaskRecord
    from tracker.domain.report import Report, ReportFilter
    from tracker.domain.task import ExternalId, Task, TaskId
    from tracker.domain.unmatched import Unmatched
    from tracker.store.tallies import Backlog, StoreGauges, StoreTallies
    from tracker.store.values import (
        Applied,
        ArchiveChoice,
        ArchiveJob,
        ArchiveResult,
        Claimed,
        Created,
        DeliveryFilter,
        DeliveryPage,
        Judge,
        Lane,
        NewTask,
        OpenCounts,
        Page,
        PollsRequested,
        TaskCounts,
        TaskFilter,
        WaitingClaim,
        WriterProgress,
    )


class Reader(Protocol):
    """Reading the store; never waits for writes. Also works on a store that no daemon has open.

    A method for one task raises `TaskNotFound` when no task has the id, unless it says otherwise.
    """

    @property
    def instance(self) -> str:
        """An id of the store, made with it; it never changes, and a restored backup has the same."""

    async def get_task(self, task_id: TaskId) -> TaskRecord:
        """One task."""

    async def list_tasks(self, wanted: TaskFilter) -> Page:
        """Tasks, newest first. A search delays no other method; a long one is cut, and continues at the cursor.

        Raises `SearchRefused` when too many searches are running.
        """

    def walk_tasks(self, wanted: TaskFilter) -> AsyncIterator[Sequence[TaskId]]:
        """The ids of all tasks that match, newest first, in pages: each is a search like `list_tasks`.

        A page may be empty. Tasks that change meanwhile may be missed or come twice. Limit and cursor are not used.
        """

    def walk_failed_deliveries(self, wanted: TaskFilter) -> AsyncIterator[Sequence[str]]:
        """The ids of the failed and dead deliveries of the tasks that match, in such pages."""

    async def read_inline(self, task_id: TaskId, identity: str, n: int) -> str | None:
        """A piece of the inline data of an output, in base64 that can be decoded separately; None after the last."""

    async def list_events(self, task_id: TaskId) -> list[EventRecord]:
        """The history of a task, oldest first."""

    async def list_events_after(self, seq: int, limit: int, *, search: bool = False) -> list[FeedEvent]:
        """The events of all tasks after a position, in commit order: reading on after the last one misses none.

        Args:
            seq: the position, 0 for the beginning; see also `last_seq`.
            limit: how many at most.
            search: read like a search, which delays no other method; it may raise `SearchRefused`.
        """

    async def read_events(self, seqs: Sequence[int], *, search: bool = False) -> list[FeedItem]:
        """Events with their tasks, in commit order; retention may have removed some. ``search``: as above."""

    async def last_seq(self) -> int:
        """The position of the newest event."""

    async def read_history(self, task_id: TaskId) -> TaskHistory:
        """What explains the state of a task, in one transaction and without payloads, see `tracker.domain.why`."""

    async def read_export(self, task_id: TaskId) -> TaskExport:
        """All that is stored of a task, in one transaction."""

    async def read_durations(self) -> Durations:
        """How long tasks took that succeeded, up to now."""

    async def list_deliveries(self, task_id: TaskId) -> list[DeliveryRecord]:
        """The hook runs of a task, oldest first."""

    async def get_delivery(self, delivery_id: str) -> DeliveryDetail:
        """One hook run, with its attempts.

        Raises:
            DeliveryNotFound: no delivery has this id.
        """

    async def list_all_deliveries(self, wanted: DeliveryFilter) -> DeliveryPage:
        """The hook runs of all tasks, newest first; a search like `list_tasks`."""

    async def count_tasks(self, wanted: TaskFilter, at_most: int) -> TaskCounts:
        """How many tasks match, by status; a search like `list_tasks`.

        Without labels, text, status and times the counts are exact. Otherwise the newest ``at_most`` are counted.
        """

    async def count_deliveries(self) -> dict[str, dict[str, int]]:
        """How many deliveries there are: hook -> status -> count."""

    async def list_alarms(self) -> list[StoredAlarm]:
        """All alarms, with those that were cleared."""

    async def list_models(self, account: str) -> ModelList:
        """The models of an account as they were last fetched."""

    async def list_archives(self, task_id: TaskId) -> list[ArchiveRecord]:
        """The states of the copies of a task's outputs, in the order of the outputs; empty for an unknown task."""

    async def find_prunable(self, cutoffs: Cutoffs, cursor: str, limit: int) -> PrunablePage:
        """Look at the next ``limit`` tasks after a cursor (the first ones: "") for what retention drops.

        Never among them: unfinished tasks, and tasks with deliveries that have not ended.
        """

    async def find_stored_files(self, before: datetime, after: tuple[str, str], limit: int) -> list[StoredFile]:
        """Archived files of such tasks that finished before a time, by task and identity after the ones given."""

    async def list_waiting_accounts(self) -> list[str]:
        """The accounts with creates that wait for a slot."""

    async def count_open(self) -> OpenCounts:
        """What is open now."""

    async def measure(self) -> StoreGauges:
        """The state of the store for monitoring, in a time that does not depend on the number of tasks."""

    async def read_backlog(self, dead_since: datetime, given_up_since: datetime) -> Backlog:
        """What alarms are made of: deliveries that died and files that were given up since, and files that wait."""

    async def read_report(self, wanted: ReportFilter) -> Report:
        """Sums of tasks. A search like `list_tasks`: one that takes very long is cut, see `Report`."""

    async def read_ends(self, wanted: EndsFilter) -> Ends:
        """How tasks ended. A search like `list_tasks`: one that takes very long is cut, see `Ends`."""

    async def list_unmatched(self, limit: int) -> Unmatched:
        """Callbacks that belong to no task: the latest ``limit`` that wait for one, and as many that were rejected."""

    async def read_spent(self, account: str, at: datetime, currency: str) -> Decimal:
        """What the tasks of an account that were created on the UTC day of a time count in its budget."""

    async def stats(self) -> dict[str, Any]:
        """Counts by status, provider and reason; queue depths; the oldest due poll."""


class Store(Reader, Outbox, Protocol):
    """Everything the daemon does with the store.

    Every writing method raises `StoreUnavailable` when the write could not be made durable; then nothing of it
    was written, except for `WriteUnknown`: then a restart may find it. When it returns, the change is on disk.
    """

    async def open(self) -> None:
        """Open, migrate forward, register this process under a new id, and make due now what dead processes held.

        A create that a dead process was sending stays marked as such: it is claimed, and becomes ambiguous.

        Raises:
            StoreUnusable: locked by another tracker, newer than this program, foreign, or not writable.
        """

    async def close(self) -> None:
        """Write what waits, then close."""

    async def move_due_times_back(self, by: timedelta) -> None:
        """Move every due time back by as much: the wall clock that the engine stamps by was set back."""

    async def check_writable(self) -> None:
        """Prove that a write can be committed now, by renewing this process's row: its heartbeat.

        Raises:
            StoreUnavailable: it cannot.
        """

    def check_storage(self) -> None:
        """Make sure, without a write, that what is written now is found after a restart.

        Raises:
            StoreUnavailable: it would be lost.
        """

    @property
    def writer_progress(self) -> WriterProgress:
        """Whether writes are committed, for the health of the process."""

    @property
    def tallies(self) -> StoreTallies:
        """What this process wrote since its start."""

    def subscribe_commits(self, listener: Callable[[Sequence[Applied]], None]) -> None:
        """Have ``listener`` called on the event loop after each commit of this process that changed tasks."""

    def subscribe_changes(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called on the event loop when any process may have committed events.

        It says only that there may be more to read. Wake-ups coalesce, and one may be lost: read at intervals too.
        """

    # -- tasks ---------------------------------------------------------------------------------------------

    async def find_submit(self, idempotency_key: str, fingerprint: Callable[[str], str]) -> TaskRecord | None:
        """The task of the submit that a key was used for; None when the key is new.

        Args:
            idempotency_key: the key of the new submit.
            fingerprint: of the new submit, computed for an account: that of the task that has the key.

        Raises:
            IdempotencyConflict: the key is known with another fingerprint.
            SubmitInFlight: the key is known and its first attempt is not decided yet.
        """

    async def create_task(self, new: NewTask) -> Created:
        """Record a task, or find the one that it repeats.

        A known idempotency key with the same fingerprint finds its task. A task created elsewhere is found by its
        (route, account, external id), however it came to be there; a parked callback for it makes it due now.

        Raises:
            IdempotencyConflict, SubmitInFlight: as `find_submit`.
            BudgetExceeded: its price does not fit into the budget of its account; nothing is recorded.
        """

    async def mark_sending(self, task_id: TaskId, lease_s: float, max_in_flight: int | None = None) -> Task | None:
        """Record that this process sends the create now; None when it must not (canceled, or sent already).

        Args:
            task_id: whose create.
            lease_s: how long the send takes at most.
            max_in_flight: how many tasks of its account may be in flight. When so many are, or an earlier create waits
                or is about to be sent in the last free slot, the create waits: the task is returned as it was, queued,
                without a due time and a lease. In flight are tasks whose create is being sent, has no clear answer or
                was accepted, until they end.
        """

    def apply(self, observation: Observation, judge: Judge) -> Awaitable[Applied]:
        """Judge an observation against its task and store what follows: events, the task, the outbox.

        Raises:
            NotAdoptable: an operator names an upstream id that another task of the route and account has.
        """

    async def request_polls(
        self, provider: str, external_ids: Sequence[ExternalId], payload: str | None
    ) -> PollsRequested:
        """Make the tasks with one of these ids due now, or park the callback when no task has one.

        Only tasks that may still bring a result: the unfinished ones, and those that were given up.
        """

    async def poll_now(self, task_id: TaskId) -> Task:
        """Make one task due now, unless it has ended for good or has no id upstream to ask about."""

    async def list_lanes(self) -> list[Lane]:
        """Lanes with something due, oldest first."""

    async def claim_due(self, lane: Lane, limit: int, lease_s: float) -> list[Claimed]:
        """Lease up to ``limit`` due tasks of a lane, longest waiting first; they fall due again at the lease's end.

        A task whose create another living process is sending is never among them, however long ago its lease ended. So
        one that is marked as being sent is sent by this process, or its sender is dead.
        """

    async def claim_waiting(self, account: str, max_in_flight: int | None, lease_s: float) -> WaitingClaim:
        """Lease creates that wait for a slot, as many as are free, the oldest first; their time to be sent begins now.

        Args:
            account: the account.
            max_in_flight: see `mark_sending`; None: no limit holds any more.
            lease_s: they fall due again after so long.
        """

    async def postpone(self, task_id: TaskId, in_s: float) -> None:
        """End a lease of this process; the task falls due in so many seconds, and nothing else about it changes.

        Nothing at all when the task was made due since, by a callback or an observation.
        """

    async def release_creates(self, task_ids: Sequence[TaskId]) -> None:
        """Make those of these tasks due now that still wait to be sent."""

    async def record_durations(self, windows: Mapping[Key, Sequence[float]]) -> None:
        """Store the times of some keys, in place of those before."""

    async def replace_models(self, account: str, family: str, models: Sequence[Model]) -> None:
        """Store a provider's list of an account's models, replacing the one before."""

    # -- callbacks without a task ----------------------------------------------------------------------------

    async def record_rejected(self, *, provider: str, http_status: int, why: str, body: str) -> None:
        """Store a rejected callback for inspection, bounded in number and size."""

    async def delete_parked(self, older_than_s: float) -> int:
        """Delete callbacks that have been parked for longer; the number of them."""

    # -- the archive ---------------------------------------------------------------------------------------

    def choose_archives(self, choose: ArchiveChoice) -> None:
        """From now on, have the outputs that observations bring archived as ``choose`` says.

        The item is stored with the output, in the same transaction.
        """

    async def claim_archives(self, limit: int, lease_s: float) -> list[ArchiveJob]:
        """Lease up to ``limit`` due outputs, those whose URL expires first before the others."""

    async def record_archive(self, job: ArchiveJob, result: ArchiveResult) -> Applied | None:
        """Store how an attempt ended; None when this process and this attempt no longer hold the lease.

        The file that completes a task that SUCCEEDED brings the event ``task.archived`` in the same transaction.
        Inline data is deleted once its file is stored.
        """

    async def redrive_archives(
        self, task_id: TaskId, choose: ArchiveChoice, lost: Collection[str]
    ) -> list[ArchiveRecord]:
        """Have all of a task's files archived that are not safe: dead ones, waiting ones, and those ``lost``.

        Args:
            task_id: the task.
            choose: what is to be archived.
            lost: identities whose stored file no longer exists.
        """

    async def next_archive_in_s(self) -> float | None:
        """Seconds until the next output falls due for archiving, below 0: it is; None when there is none."""

    # -- retention -----------------------------------------------------------------------------------------

    async def prune(
        self, task_ids: Sequence[TaskId], cutoffs: Cutoffs, size: StepSize = BESIDE_CALLBACKS
    ) -> tuple[Pruned, int]:
        """Delete what may go of some tasks, in one step.

        Returns:
            What was deleted, and how many of the tasks, from the first on, were processed.
        """

    async def record_deleted_files(self, files: Sequence[StoredFile]) -> int:
        """Record that archived files are deleted; the number of them."""

    async def shrink(self, size: StepSize = BESIDE_CALLBACKS) -> tuple[int, int]:
        """Return some of the freed space, in one step: bytes, and gaps left to close."""
