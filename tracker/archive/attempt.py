"""One claimed output, carried out: fetched (or decoded), finished, put on the shelf; and what follows from its end.

Owns the verdict on an attempt: stored, again and when, or dead. Must not claim anything and must not talk HTTP.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from tracker.archive.expiry import expiry_of
from tracker.archive.file_structure import find_shortfall
from tracker.archive.media import extension_of, find_objection, mime_of
from tracker.archive.names import directory_of, file_name, partial_key
from tracker.archive.partial import Partial
from tracker.domain.archives import ArchivedFile, ArchiveState, is_file
from tracker.domain.outputs import has_inline_data, output_identity
from tracker.domain.retry import growing_delay_s, jittered
from tracker.errors import (
    ArchiveFailure,
    ArchiveStorageUnavailable,
    OutputPermanentFailure,
    OutputRefused,
    OutputUnavailable,
    StoreError,
)
from tracker.logs import get_logger
from tracker.store.values import ArchiveResult

if TYPE_CHECKING:
    from tracker.archive.file_storage import Shelf
    from tracker.clock import Clock
    from tracker.domain.records import TaskRecord
    from tracker.domain.task import Output, Task, TaskId
    from tracker.store.values import ArchiveJob

log = get_logger(__name__)

_SLICE: Final = 4 << 20
"""Characters of base64 decoded at a time; a multiple of 4."""


class Fetches(Protocol):
    """Brings outputs into unfinished files; see `tracker.archive.download.Downloader`."""

    async def fetch(self, task: Task, output: Output, partial: Partial) -> str | None:
        """All bytes of an output; the media type that was declared."""
        ...


class Renews(Protocol):
    """Asks for fresh URLs; see `tracker.tracking.poller.Poller`."""

    async def renew(self, task_id: TaskId) -> None:
        """Ask the upstream about a task once, although it has ended."""
        ...


class Tasks(Protocol):
    """Reads tasks; see `tracker.store.protocol.Reader`."""

    async def get_task(self, task_id: TaskId) -> TaskRecord:
        """One task."""
        ...

    async def read_inline(self, task_id: TaskId, identity: str, n: int) -> str | None:
        """A piece of the inline data of an output; None after the last."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How failed attempts are repeated.

    Attributes:
        max_attempts: then an output is dead. With the delays below, about a day.
        max_refusals: the same for one whose URL is refused although a fresh one was asked for each time.
        first_s: wait after the first failure; it doubles with each further one.
        max_s: the longest wait.
        shortage_s: the longest wait while the archive's own place takes nothing; such attempts do not count.
    """

    max_attempts: int = 32
    max_refusals: int = 6
    first_s: float = 2.0
    max_s: float = 3600.0
    shortage_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Workshop:
    """What an attempt is made with.

    Attributes:
        spool: the directory of unfinished files.
        reserve_bytes: so much of the disk is left to others, the database first of all.
        draw: numbers from 0 to 1 for the jitter.
    """

    tasks: Tasks
    fetcher: Fetches
    shelf: Shelf
    renewer: Renews
    clock: Clock
    spool: Path
    patience: Patience
    reserve_bytes: int
    draw: Callable[[], float]


async def carry_out(job: ArchiveJob, shop: Workshop) -> ArchiveResult:
    """Archive one output; how that ended. Raises nothing but cancellation."""
    output = job.output
    try:
        file, output = await _archive(job, shop)
    except ArchiveFailure as error:
        return _verdict(job, await _output_now(job, shop), error, shop)
    except StoreError as error:
        return _verdict(job, output, ArchiveStorageUnavailable(str(error)), shop)
    except Exception as error:
        log.exception("archive.attempt_failed", task=job.task.id, output=job.n)
        return _verdict(job, output, OutputUnavailable(f"the archive failed: {type(error).__name__}"), shop)
    expires_at = expiry_of(job.task, output, shop.clock.now())
    return ArchiveResult(ArchiveState.STORED, shop.clock.now(), file, expires_at=expires_at)


async def _archive(job: ArchiveJob, shop: Workshop) -> tuple[ArchivedFile, Output]:
    """The safe copy, and the output as it was fetched."""
    output = job.output
    partial = Partial(shop.spool, partial_key(job.task.id, job.identity), reserve_bytes=shop.reserve_bytes)
    try:
        if output.inline is not None:
            declared = None
            await _write_inline(job, shop, partial)
        else:
            try:
                declared = await shop.fetcher.fetch(job.task, output, partial)
            except OutputRefused:
                fresh = await _renewed(job, shop)
                if fresh is None or fresh.url == output.url:
                    raise
                output = fresh
                declared = await shop.fetcher.fetch(job.task, output, partial)
        whole = await asyncio.to_thread(partial.finish)
    except OutputPermanentFailure:
        await asyncio.to_thread(partial.discard)
        raise
    finally:
        await asyncio.to_thread(partial.close)
    mime = mime_of(whole.head, declared, output.mime)
    problem = find_objection(output.kind, mime, whole.head, whole.size, output.mime)
    if problem is None:
        problem = await asyncio.to_thread(find_shortfall, whole.path, whole.size, whole.head)
    if problem is not None:
        await asyncio.to_thread(partial.discard)
        raise (OutputUnavailable if output.inline is None else OutputPermanentFailure)(problem)
    extension = extension_of(mime)

    def name_of(again: int) -> str:
        return file_name(job.n, output, extension, again=again)

    path = await shop.shelf.keep(whole, directory_of(job.task.id), name_of, mime)
    return ArchivedFile(path, whole.size, whole.sha256, mime), output


async def _write_inline(job: ArchiveJob, shop: Workshop, partial: Partial) -> None:
    """Write inline data, wherever it is stored."""
    if has_inline_data(job.output):
        await asyncio.to_thread(_decode, job.output, partial)
        return
    n = 0
    while (piece := await shop.tasks.read_inline(job.task.id, job.identity, n)) is not None:
        await asyncio.to_thread(partial.check_space, len(piece))
        if n == 0:
            await asyncio.to_thread(partial.begin, None)
        await asyncio.to_thread(_write_piece, piece, partial)
        n += 1
    if n == 0:
        raise OutputPermanentFailure("its data came inline and is not kept any more")


def _decode(output: Output, partial: Partial) -> None:
    """Write inline data that is stored with its task, piece by piece."""
    assert output.inline is not None  # noqa: S101  the caller looked
    partial.check_space(len(output.inline) * 3 // 4)
    partial.begin(None)
    for start in range(0, len(output.inline), _SLICE):
        _write_piece(output.inline[start : start + _SLICE], partial)


def _write_piece(piece: str, partial: Partial) -> None:
    try:
        data = base64.b64decode(piece, validate=True)
    except binascii.Error as error:
        raise OutputPermanentFailure("its inline data is not base64") from error
    partial.write(data)


async def _renewed(job: ArchiveJob, shop: Workshop) -> Output | None:
    """The same output after the upstream was asked once more; None when the task names it no longer."""
    await shop.renewer.renew(job.task.id)
    task = (await shop.tasks.get_task(job.task.id)).task
    return next((output for output in task.outputs if is_file(output) and _is_same(output, job.identity)), None)


def _is_same(output: Output, identity: str) -> bool:
    return output_identity(output) == identity


async def _output_now(job: ArchiveJob, shop: Workshop) -> Output:
    """The output with the URL that it has now."""
    try:
        task = (await shop.tasks.get_task(job.task.id)).task
    except StoreError:
        return job.output
    return next((output for output in task.outputs if _is_same(output, job.identity)), job.output)


def _verdict(job: ArchiveJob, output: Output, error: ArchiveFailure, shop: Workshop) -> ArchiveResult:
    now, patience = shop.clock.now(), shop.patience
    expires_at = expiry_of(job.task, output, now)
    words = " ".join(str(error).encode("utf-8", "replace").decode().split())[:500]
    limit = patience.max_refusals if isinstance(error, OutputRefused) else patience.max_attempts
    if isinstance(error, OutputPermanentFailure) or (
        job.attempt >= limit and not isinstance(error, ArchiveStorageUnavailable)
    ):
        return ArchiveResult(ArchiveState.DEAD, now, error=words, expires_at=expires_at)
    delay_s = growing_delay_s(job.attempt - 1, patience.first_s, patience.max_s)
    if isinstance(error, ArchiveStorageUnavailable):
        delay_s = min(max(delay_s, patience.first_s * 5), patience.shortage_s)
    delay_s = _before_expiry(jittered(delay_s, shop.draw()), expires_at, now, patience)
    if isinstance(error, OutputUnavailable) and error.retry_after_s is not None:
        delay_s = max(delay_s, min(error.retry_after_s, patience.max_s))
    return ArchiveResult(
        ArchiveState.PENDING,
        now,
        next_attempt_at=now + timedelta(seconds=delay_s),
        error=words,
        expires_at=expires_at,
        counts=not isinstance(error, ArchiveStorageUnavailable),
    )


def _before_expiry(delay_s: float, expires_at: datetime | None, now: datetime, patience: Patience) -> float:
    """A delay that leaves room for several further attempts before the URL expires."""
    left_s = (expires_at - now).total_seconds() if expires_at is not None else 0.0
    return delay_s if left_s <= 0 else min(delay_s, max(left_s / 4, patience.first_s))
