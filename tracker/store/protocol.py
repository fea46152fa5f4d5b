"""The one face of the store: all that the rest of the program knows of it.

A second engine (PostgreSQL, several processes on several machines) satisfies this protocol and nothing else
changes. For that, the protocol speaks in whole transactions, never in statements: a change of a task is an
observation plus a pure function that judges it, run by the engine inside its own transaction; work is handed out
by lease, so that two processes never hold the same poll or delivery; and committed changes are told to listeners,
whichever process made them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from tracker.domain.ai_models import Model, ModelList
    from tracker.domain.archives import ArchiveRecord
    from tracker.domain.observation import Observation
    from tracker.domain.pruning import Cutoffs, PrunablePage, Pruned, StoredFile
    from tracker.domain.records import DeliveryRecord, EventRecord, TaskRecord
    from tracker.domain.task import ExternalId, Task, TaskId
    from tracker.domain.why import TaskHistory
    from tracker.store.values import (
        Applied,
        ArchiveChoice,
        ArchiveJob,
        ArchiveResult,
        AttemptResult,
        Created,
        DeliveryFilter,
        DeliveryJob,
        DeliveryPage,
        FeedEvent,
        Judge,
        Lane,
        Match,
        NewTask,
        Nudged,
        Page,
        TaskFilter,
    )

Json = Any


class Reader(Protocol):
    """Reading the store; never waits for writes. Also served by a file that no daemon has open."""

    @property
    def instance(self) -> str:
        """An id of the store, made with it; it never changes, and a restored backup keeps it."""
        ...

    async def get_task(self, task_id: TaskId) -> TaskRecord:
        """One task.

        Raises:
            TaskNotFound: no task has this id.
        """
        ...

    async def list_tasks(self, wanted: TaskFilter) -> Page:
        """Tasks, newest first."""
        ...

    async def read_inline(self, task_id: TaskId, identity: str, n: int) -> str | None:
        """A piece of the inline data of an output, in base64 that can be decoded by itself; None after the last."""
        ...

    async def list_events(self, task_id: TaskId) -> list[EventRecord]:
        """The history of a task, oldest first.

        Raises:
            TaskNotFound: no task has this id.
        """
        ...

    async def list_events_after(self, seq: int, limit: int, *, payloads: bool = False) -> list[FeedEvent]:
        """The events of all tasks after a position, in commit order: whoever reads on from the last misses none.

        Args:
            seq: the position, 0 for the beginning; see also `last_seq`.
            limit: how many at most.
            payloads: read the payloads too.
        """
        ...

    async def last_seq(self) -> int:
        """The position of the newest event."""
        ...

    async def read_history(self, task_id: TaskId) -> TaskHistory:
        """All that explains where a task is, as of one transaction and without payloads, see `tracker.domain.why`.

        Raises:
            TaskNotFound: no task has this id.
        """
        ...

    async def list_deliveries(self, task_id: TaskId) -> list[DeliveryRecord]:
        """The hook runs of a task, oldest first.

        Raises:
            TaskNotFound: no task has this id.
        """
        ...

    async def list_all_deliveries(self, wanted: DeliveryFilter) -> DeliveryPage:
        """The hook runs of all tasks, newest first."""
        ...

    async def count_deliveries(self) -> dict[str, dict[str, int]]:
        """How many deliveries there are: hook -> status -> count."""
        ...

    async def list_models(self, account: str) -> ModelList:
        """The models of an account as they were last fetched."""
        ...

    async def list_archives(self, task_id: TaskId) -> list[ArchiveRecord]:
        """Where the copies of a task's outputs stand, in the order of the outputs; empty for an unknown task."""
        ...

    async def find_prunable(self, cutoffs: Cutoffs, cursor: str, limit: int) -> PrunablePage:
        """Look at the next ``limit`` tasks after a cursor (the first ones: "") for what retention drops.

        Never among them: unfinished tasks, and tasks of which a hook has yet to hear something.
        """
        ...

    async def find_stored_files(self, before: datetime, after: tuple[str, str], limit: int) -> list[StoredFile]:
        """Archived files of such tasks that finished before a moment, by task and identity after the ones given."""
        ...

    async def stats(self, now: datetime) -> dict[str, Json]:
        """Counts by status, provider and reason; queue depths; the oldest due poll."""
        ...


class Store(Reader, Protocol):
    """Everything the daemon does with the store.

    Every writing method raises `StoreUnavailable` when the write could not be made durable; then nothing of it
    was written, except for `WriteUnknown`: then a restart may find it. When it returns, the change is on disk.
    """

    async def open(self) -> None:
        """Open, migrate forward, and give back what a previous process held by lease.

        Raises:
            StoreUnusable: locked by another tracker, newer than this program, foreign, or not writable.
        """
        ...

    async def close(self) -> None:
        """Write what waits, then close."""
        ...

    async def bring_back_due_times(self, by: timedelta) -> None:
        """Have everything that is due some time fall due so much earlier: the wall clock was set back by that."""
        ...

    async def check_writable(self) -> None:
        """Prove that a write can be committed now.

        Raises:
            StoreUnavailable: it cannot.
        """
        ...

    def subscribe_commits(self, listener: Callable[[Sequence[Applied]], None]) -> None:
        """Have ``listener`` called on the event loop after each commit of this process that changed tasks."""
        ...

    def subscribe_changes(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called on the event loop when any process may have committed events.

        It says only that there may be more to read. Wake-ups coalesce, and one may be lost: look again by yourself
        every now and then.
        """
        ...

    # -- tasks ---------------------------------------------------------------------------------------------

    async def find_submit(self, idempotency_key: str, fingerprint: Callable[[str], str]) -> TaskRecord | None:
        """The task of the submit that a key was used for; None when the key is new.

        Args:
            idempotency_key: the key that has come.
            fingerprint: of what came with it, were it for this account: the one of the task that has the key.

        Raises:
            IdempotencyConflict: the key is known with another fingerprint.
            SubmitInFlight: the key is known and its first attempt is not decided yet.
        """
        ...

    async def create_task(self, new: NewTask) -> Created:
        """Record a task, or find the one that it repeats.

        A known idempotency key with the same fingerprint finds its task. A task created elsewhere is found by
        its (route, account, external id), however it came to be there; callbacks parked for it make it due now.

        Raises:
            IdempotencyConflict: the key is known with another fingerprint.
            SubmitInFlight: the key is known and its first attempt is not decided yet.
        """
        ...

    async def mark_sending(self, task_id: TaskId, lease_until: datetime) -> Task | None:
        """Put on disk that the create goes out now; None when it must not (canceled, or already under way)."""
        ...

    def apply(self, observation: Observation, judge: Judge) -> Awaitable[Applied]:
        """Judge an observation against its task and keep what follows: events, the task, the outbox.

        Raises:
            TaskNotFound: no task has this id.
        """
        ...

    async def nudge(
        self, provider: str, external_ids: Sequence[ExternalId], payload: str | None, now: datetime
    ) -> Nudged:
        """Make the tasks with one of these ids due now, or park the callback when no task has one.

        Tasks that may still bring a result are meant: the unfinished ones, and those that were given up.
        """
        ...

    async def poll_now(self, task_id: TaskId, now: datetime) -> Task:
        """Make one task due now, unless it has ended for good or cannot be asked about, having no id upstream.

        Raises:
            TaskNotFound: no task has this id.
        """
        ...

    async def list_lanes(self, now: datetime) -> list[Lane]:
        """Lanes with something due, oldest first."""
        ...

    async def claim_due(self, lane: Lane, limit: int, now: datetime, lease_until: datetime) -> list[Task]:
        """Take up to ``limit`` due tasks of a lane, longest waiting first; they fall due again at the lease's end."""
        ...

    async def put_off(self, task_id: TaskId, until: datetime) -> None:
        """Give a claimed task back, due at ``until``, as if nothing had been done about it: nothing had.

        Whoever made it due since, by a nudge or by news, is right: then nothing changes.
        """
        ...

    async def release_creates(self, task_ids: Sequence[TaskId], now: datetime) -> None:
        """Make those of these tasks due now that still wait to be sent."""
        ...

    async def replace_models(self, account: str, family: str, models: Sequence[Model], now: datetime) -> None:
        """Keep a family's list of an account's models in place of the one before."""
        ...

    # -- callbacks that belong to nobody ---------------------------------------------------------------------

    async def keep_rejected(self, *, provider: str, http_status: int, why: str, body: str, now: datetime) -> None:
        """Keep a rejected callback for inspection, bounded in number and size."""
        ...

    async def forget_parked(self, before: datetime) -> int:
        """Drop callbacks that were parked before a moment; the number dropped."""
        ...

    # -- the outbox ----------------------------------------------------------------------------------------

    async def fan_out(self, match: Match | None, limit: int, now: datetime) -> int:
        """Turn committed changes that were not fanned out yet into deliveries, one per hook that ``match`` names.

        Args:
            match: None: there are no hooks, and what was committed until now concerns none that will come.
            limit: events to look at.
            now: the current time.

        Returns:
            Events looked at; fewer than ``limit`` means that nothing more waits.
        """
        ...

    async def claim_deliveries(self, hook: str, limit: int, now: datetime, lease_until: datetime) -> list[DeliveryJob]:
        """Take up to ``limit`` due deliveries of a hook; of each task only the oldest unfinished one."""
        ...

    async def record_attempt(self, delivery_id: str, result: AttemptResult, attempt: int | None = None) -> None:
        """Keep how an attempt ended.

        Args:
            delivery_id: the delivery.
            result: how it ended.
            attempt: the number that it was claimed with. When the delivery was claimed anew since, nothing is
                kept: that attempt speaks for itself. None: whichever is under way.
        """
        ...

    async def hand_back(self, claims: Sequence[tuple[str, int]], now: datetime) -> None:
        """Make deliveries that were claimed and not begun pending again, as if they had not been claimed.

        Args:
            claims: the id of each, and the number of the attempt that it was claimed for.
            now: when they fall due.
        """
        ...

    async def fail_deliveries(self, hook: str, error: str, now: datetime) -> int:
        """End all pending deliveries of a hook as failed, without an attempt; the number of them."""
        ...

    async def retry_delivery(self, delivery_id: str, now: datetime) -> DeliveryRecord:
        """Make a failed or dead delivery pending again, with its attempts counted anew.

        Raises:
            DeliveryNotFound: no delivery has this id.
        """
        ...

    async def retry_deliveries(self, wanted: DeliveryFilter, now: datetime) -> int:
        """Make all failed and dead deliveries that match pending again, attempts counted anew; the number of them."""
        ...

    async def next_delivery_at(self, hooks: Sequence[str]) -> datetime | None:
        """When the next delivery of one of these hooks falls due; None when none waits."""
        ...

    # -- the archive ---------------------------------------------------------------------------------------

    def choose_archives(self, choose: ArchiveChoice) -> None:
        """From now on, have the outputs that observations bring archived as ``choose`` says.

        What is to be archived is on disk with the output itself, in the same transaction.
        """
        ...

    async def claim_archives(self, limit: int, now: datetime, lease_until: datetime) -> list[ArchiveJob]:
        """Take up to ``limit`` due outputs, those whose URL expires first before the others."""
        ...

    async def record_archive(self, job: ArchiveJob, result: ArchiveResult) -> None:
        """Keep how an attempt ended; nothing when the output was claimed anew since.

        The file that completes a task that SUCCEEDED brings the event ``task.archived`` in the same transaction.
        Inline data leaves the task once its file is stored.
        """
        ...

    async def redrive_archives(
        self, task_id: TaskId, choose: ArchiveChoice, lost: Collection[str], now: datetime
    ) -> list[ArchiveRecord]:
        """Have all of a task's files archived that are not safe: dead ones, waiting ones, and those ``lost``.

        Args:
            task_id: the task.
            choose: what is to be archived.
            lost: identities whose stored file is not there any more.
            now: the current time.

        Raises:
            TaskNotFound: no task has this id.
        """
        ...

    async def next_archive_at(self) -> datetime | None:
        """When the next output falls due for archiving; None when none waits."""
        ...

    # -- retention -----------------------------------------------------------------------------------------

    async def prune(self, task_ids: Sequence[TaskId], cutoffs: Cutoffs) -> tuple[Pruned, int]:
        """Drop what may go of some tasks, in one small step that holds nobody up for long.

        Returns:
            What was dropped, and how many of the tasks, from the first on, were seen to.
        """
        ...

    async def forget_files(self, files: Sequence[StoredFile]) -> int:
        """Take note that archived files are gone; the number of them."""
        ...

    async def shrink(self) -> tuple[int, int]:
        """Give back some of the space that was freed, in one small step: bytes, and gaps left to close."""
        ...
