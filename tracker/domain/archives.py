"""Archived outputs: which of them are files, where each one's copy stands, and fresh URLs for known outputs.

Owns the records of the archive and the words that explain them. Must not download or decide about tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from tracker.domain.outputs import disambiguate, output_identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from tracker.domain.task import Output, TaskId

Json = Any


class ArchiveState(StrEnum):
    """Where the copy of one output stands."""

    PENDING = "pending"
    """Waits for its turn, or for its next attempt."""
    RUNNING = "running"
    """Claimed by the archiver; found after a crash it is claimed again and goes on where the file on disk ends."""
    STORED = "stored"
    """Safe: whole, hashed, synced, under its final name."""
    DEAD = "dead"
    """Given up: its attempts ran out, or no further one can help. Can be redriven by hand."""


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A copy that is safe.

    Attributes:
        path: relative to the archive, ``<task id>/<n>-<slug>.<ext>``.
        bytes: its size.
        sha256: of its content, hexadecimal.
        mime: the media type that its content shows.
    """

    path: str
    bytes: int
    sha256: str
    mime: str


@dataclass(frozen=True, slots=True)
class ArchiveRecord:
    """One output on its way into the archive.

    Attributes:
        identity: which output it is, see `output_identity`.
        n: its position among the task's outputs.
        attempts: how often it was tried; shortages of this machine (a full disk) do not count.
        next_attempt_at: for a pending one.
        expires_at: when its URL is refused, as far as the URL or the contract shows.
        error: what went wrong last.
        file: the copy, for a stored one.
    """

    task_id: TaskId
    identity: str
    n: int
    state: ArchiveState
    attempts: int
    next_attempt_at: datetime | None
    expires_at: datetime | None
    error: str | None
    file: ArchivedFile | None


def is_file(output: Output) -> bool:
    """Whether an output is a file, to be kept as one; a text is safe in the task itself."""
    return output.kind != "text" and (output.url is not None or output.inline is not None)


def file_of(output: Output, files: Mapping[str, ArchivedFile]) -> ArchivedFile | None:
    """The copy of an output, None while there is none."""
    return files.get(output_identity(output)) if files and is_file(output) else None


def all_safe(outputs: Sequence[Output], stored: Iterable[str]) -> bool:
    """Whether there are files among the outputs and each of them is stored.

    Args:
        outputs: of one task.
        stored: the identities that have a copy.
    """
    wanted = {output_identity(output) for output in outputs if is_file(output)}
    return bool(wanted) and wanted <= set(stored)


def renew(known: tuple[Output, ...], told: tuple[Output, ...]) -> tuple[Output, ...]:
    """Known outputs with the URLs of a later answer in the place of theirs.

    An output is told by its identity. Where nothing has it, the one at the same place is taken when the answer
    lists as many outputs and that one is of the same kind: some upstreams sign in the path, not in the query. The
    renewed output goes on under the identity that it had.
    """
    told = disambiguate(told)
    by_identity = {output_identity(output): output for output in told if output.url is not None}
    same_shape = [output.kind for output in known] == [output.kind for output in told]
    renewed = []
    for n, output in enumerate(known):
        if output.url is None:
            renewed.append(output)
            continue
        identity = output_identity(output)
        fresh = by_identity.get(identity) or by_identity.get(output.url.partition("?")[0])
        if fresh is None and same_shape and told[n].url is not None:
            fresh = told[n]
        if fresh is None or fresh.url is None:
            renewed.append(output)
        else:
            moved = fresh.url.partition("?")[0] != identity
            renewed.append(replace(output, url=fresh.url, identity_override=identity if moved else None))
    return tuple(renewed)


def archive_steps(records: Iterable[ArchiveRecord]) -> list[tuple[datetime | None, str]]:
    """What the archive does next for a task: (when, what)."""
    steps: list[tuple[datetime | None, str]] = []
    for record in records:
        what = f"archives output {record.n}"
        if record.state is ArchiveState.RUNNING:
            steps.append((None, f"{what}: under way, attempt {record.attempts}"))
        elif record.state is ArchiveState.PENDING:
            after = f" again, after {record.attempts} failed ({record.error})" if record.error else ""
            steps.append((record.next_attempt_at, f"{what}{after}"))
    return steps


def archive_notes(records: Sequence[ArchiveRecord]) -> list[str]:
    """What else explains the archive of a task, one sentence each."""
    stored = [record for record in records if record.state is ArchiveState.STORED]
    notes = [f"{len(stored)} of {len(records)} files are archived."] if records else []
    for record in records:
        if record.state is ArchiveState.DEAD:
            attempts = f"{record.attempts} attempt{'' if record.attempts == 1 else 's'}"
            notes.append(
                f"Output {record.n} was not archived after {attempts} ({record.error or 'no words given'}); "
                f"the task is not affected; tracker download {record.task_id} tries again."
            )
    return notes
