"""One attempt to archive an output: fetch or decode it, check it, store it.

Owns the result of an attempt: stored, retried later, or given up. Must not claim anything and must not talk HTTP.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from tracker.archive.download import Fetched
from tracker.archive.expiry import expiry_of
from tracker.archive.file_structure import find_truncation
from tracker.archive.media import find_mismatch, mime_of
from tracker.archive.names import directory_of, file_name, partial_key
from tracker.archive.partial import DigestMismatch, Partial
from tracker.domain.archives import ArchivedFile, ArchiveState, is_file
from tracker.domain.media_types import extension_of
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
    from tracker.archive.download import Downloader
    from tracker.archive.file_storage import FileStorage
    from tracker.archive.partial import FinishedFile, PartialFiles
    from tracker.clock import Clock
    from tracker.domain.task import Output, TaskId
    from tracker.store.protocol import Reader
    from tracker.store.values import ArchiveJob

log = get_logger(__name__)

_SLICE: Final = 4 << 20
"""Characters of base64 decoded at a time; a multiple of 4."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How failed attempts are retried.

    Attributes:
        max_attempts: then the output is given up. With the delays below, about a day.
        max_refusals: the same if the server rejects the URL although a fresh one was requested each time.
        first_s: delay after the first failure; it doubles with each further one.
        max_s: the longest delay.
        shortage_s: the longest delay while the archive's storage cannot be written; such attempts do not count.
    """

    max_attempts: int = 32
    max_refusals: int = 6
    first_s: float = 2.0
    max_s: float = 3600.0
    shortage_s: float = 60.0


@dataclass(frozen=True, slots=True)
class ArchiveContext:
    """What attempts share.

    Attributes:
        renew: polls a task once, even if it has ended, for fresh URLs.
        partial_files: the directory of partial files.
        draw: random numbers from 0 to 1 for the jitter.
    """

    tasks: Reader
    downloader: Downloader
    storage: FileStorage
    renew: Callable[[TaskId], Awaitable[None]]
    clock: Clock
    partial_files: PartialFiles
    retries: RetryPolicy
    draw: Callable[[], float]


async def run_attempt(
    job: ArchiveJob, context: ArchiveContext, slot: AbstractAsyncContextManager[None]
) -> ArchiveResult:
    """Archive one output; the download holds ``slot``. Raises nothing but cancellation."""
    output = job.output
    try:
        file, output = await _archive(job, context, slot)
    except ArchiveFailure as error:
        return _failed(job, await _current_output(job, context), error, context)
    except StoreError as error:
        return _failed(job, output, ArchiveStorageUnavailable(str(error)), context)
    except Exception as error:
        log.exception("archive.failed", step="attempt", task=job.task.id, output=job.n)
        return _failed(job, output, OutputUnavailable(f"the archive failed: {type(error).__name__}"), context)
    expires_at = expiry_of(job.task, output, context.clock.now())
    return ArchiveResult(ArchiveState.STORED, file, expires_at=expires_at)


async def _archive(
    job: ArchiveJob, context: ArchiveContext, slot: AbstractAsyncContextManager[None]
) -> tuple[ArchivedFile, Output]:
    """The stored file, and the output as it was fetched."""
    partial = Partial(context.partial_files, partial_key(job.task.id, job.identity))
    try:
        async with slot:
            fetched, output = await _fetch(job, context, partial)
        return await _store(job, context, partial, fetched, output), output
    except OutputPermanentFailure:
        await _discard(partial)
        raise
    finally:
        if partial.is_open:
            await asyncio.to_thread(partial.close)


async def _fetch(job: ArchiveJob, context: ArchiveContext, partial: Partial) -> tuple[Fetched, Output]:
    """Fill the partial file; the output as it was fetched, with another URL if the first was refused."""
    output = job.output
    if output.inline is not None:
        await _write_inline(job, context, partial)
        return Fetched(""), output
    try:
        return await context.downloader.fetch(job.task, output, partial), output
    except OutputRefused:
        fresh = await _renewed(job, context)
        if fresh is None or fresh.url == output.url:
            raise
        return await context.downloader.fetch(job.task, fresh, partial), fresh


async def _store(
    job: ArchiveJob, context: ArchiveContext, partial: Partial, fetched: Fetched, output: Output
) -> ArchivedFile:
    """Check a complete file and store it: all that blocks is one step of the storage."""
    mime = mime_of(partial.head, fetched.mime, output.mime)
    unusable = OutputUnavailable if output.inline is None else OutputPermanentFailure
    problem = find_mismatch(output.kind, mime, partial.head, partial.size, output.mime)
    if problem is not None:
        await _discard(partial)
        raise unusable(problem)
    extension = extension_of(mime)

    def finish() -> FinishedFile:
        problem = find_truncation(partial.read, partial.size, partial.head)
        if problem is not None:
            partial.discard()
            raise unusable(problem)
        try:
            return partial.finish(fetched.digests)
        except DigestMismatch as error:
            raise OutputUnavailable(f"{fetched.host}: the file does not match the {error} sent with it") from error

    def name_of(again: int) -> str:
        return file_name(job.n, output, extension, again=again)

    path, finished = await context.storage.store(finish, directory_of(job.task.id), name_of, mime)
    partial.moved()
    return ArchivedFile(path, finished.size, finished.sha256, mime)


async def _discard(partial: Partial) -> None:
    if partial.is_on_disk:
        await asyncio.to_thread(partial.discard)


async def _write_inline(job: ArchiveJob, context: ArchiveContext, partial: Partial) -> None:
    """Write inline data: from the task, or from its own rows."""
    if has_inline_data(job.output):
        await asyncio.to_thread(_decode, job.output, partial)
        return
    n = 0
    while (piece := await context.tasks.read_inline(job.task.id, job.identity, n)) is not None:
        if n == 0:
            partial.begin(None)
        await asyncio.to_thread(_add_piece, piece, partial)
        n += 1
    if n == 0:
        raise OutputPermanentFailure("the inline data of the output was deleted")


def _decode(output: Output, partial: Partial) -> None:
    assert output.inline is not None  # noqa: S101  the caller checked
    partial.begin(None, len(output.inline) * 3 // 4)
    for start in range(0, len(output.inline), _SLICE):
        _add_piece(output.inline[start : start + _SLICE], partial)


def _add_piece(piece: str, partial: Partial) -> None:
    try:
        partial.add(base64.b64decode(piece, validate=True))
    except binascii.Error as error:
        raise OutputPermanentFailure("the inline data is not valid base64") from error
    if partial.is_full:
        partial.flush()


async def _renewed(job: ArchiveJob, context: ArchiveContext) -> Output | None:
    """The same output after another poll; None if the task no longer has it."""
    await context.renew(job.task.id)
    output = await _find_output(job, context)
    return output if output is not None and is_file(output) else None


async def _current_output(job: ArchiveJob, context: ArchiveContext) -> Output:
    """The output with its current URL."""
    try:
        return await _find_output(job, context) or job.output
    except StoreError:
        return job.output


async def _find_output(job: ArchiveJob, context: ArchiveContext) -> Output | None:
    task = (await context.tasks.get_task(job.task.id)).task
    return next((output for output in task.outputs if output_identity(output) == job.identity), None)


def _failed(job: ArchiveJob, output: Output, error: ArchiveFailure, context: ArchiveContext) -> ArchiveResult:
    """The result of a failed attempt: given up, or retried after a delay."""
    now, retries = context.clock.now(), context.retries
    expires_at = expiry_of(job.task, output, now)
    message = " ".join(str(error).encode("utf-8", "replace").decode().split())[:500]
    is_shortage = isinstance(error, ArchiveStorageUnavailable)
    limit = retries.max_refusals if isinstance(error, OutputRefused) else retries.max_attempts
    if isinstance(error, OutputPermanentFailure) or (job.attempt >= limit and not is_shortage):
        return ArchiveResult(ArchiveState.DEAD, error=message, expires_at=expires_at)
    delay_s = growing_delay_s(job.attempt - 1, retries.first_s, retries.max_s)
    if is_shortage:
        delay_s = min(max(delay_s, retries.first_s * 5), retries.shortage_s)
    delay_s = _before_expiry(jittered(delay_s, context.draw()), expires_at, now, retries)
    if isinstance(error, OutputUnavailable) and error.retry_after_s is not None:
        delay_s = max(delay_s, min(error.retry_after_s, retries.max_s))
    return ArchiveResult(
        ArchiveState.PENDING,
        retry_in_s=delay_s,
        error=message,
        expires_at=expires_at,
        counts=not is_shortage,
    )


def _before_expiry(delay_s: float, expires_at: datetime | None, now: datetime, retries: RetryPolicy) -> float:
    """A delay that allows several further attempts before the URL expires."""
    left_s = (expires_at - now).total_seconds() if expires_at is not None else 0.0
    return delay_s if left_s <= 0 else min(delay_s, max(left_s / 4, retries.first_s))
