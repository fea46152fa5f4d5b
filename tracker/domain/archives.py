"""Records of archived outputs, and fresh URLs for known outputs.

Owns the texts that explain the archive. Must not download or decide about tasks.
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
    """The state of an output in the archive."""

    PENDING = "pending"
    """Waits for its next attempt."""
    RUNNING = "running"
    """Claimed by the archiver; after a crash it is claimed again and resumes at the end of the partial file."""
    STORED = "stored"
    """Complete, hashed and synced under its final name."""
    DEAD = "dead"
    """Given up: no attempts left, or none can help. An operator can redrive it."""


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A stored file.

    Attributes:
        path: relative to the archive, ``<task id>/<n>-<slug>.<ext>``.
        sha256: hexadecimal.
        mime: the media type of its content.
    """

    path: str
    bytes: int
    sha256: str
    mime: str


@dataclass(frozen=True, slots=True)
class ArchiveRecord:
    """One output in the archive.

    Attributes:
        identity: see `output_identity`.
        n: its position among the task's outputs.
        attempts: those that a full disk or a similar shortage prevented do not count.
        next_attempt_at: if pending.
        expires_at: when its URL expires, as far as the URL or the contract shows.
        error: of the last attempt.
        file: if stored.
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
    """Whether an output is archived as a file; texts are stored in the task."""
    return output.kind != "text" and (output.url is not None or output.inline is not None)


def file_of(output: Output, files: Mapping[str, ArchivedFile]) -> ArchivedFile | None:
    """The stored file of an output, if any."""
    return files.get(output_identity(output)) if files and is_file(output) else None


def all_stored(outputs: Sequence[Output], stored: Iterable[str]) -> bool:
    """Whether a task has files and all are stored, given the identities of the stored ones."""
    wanted = {output_identity(output) for output in outputs if is_file(output)}
    return bool(wanted) and wanted <= set(stored)


def renew_urls(known: tuple[Output, ...], reported: tuple[Output, ...]) -> tuple[Output, ...]:
    """Known outputs with the URLs of a later answer.

    Outputs are matched by identity. Without a match, the output at the same position counts if the answer lists the
    same kinds of outputs: some upstreams sign in the path, not in the query. A renewed output keeps its identity.
    """
    reported = disambiguate(reported)
    by_identity = {output_identity(output): output for output in reported if output.url is not None}
    same_shape = [output.kind for output in known] == [output.kind for output in reported]
    renewed = []
    for n, output in enumerate(known):
        if output.url is None:
            renewed.append(output)
            continue
        identity = output_identity(output)
        fresh = by_identity.get(identity) or by_identity.get(output.url.partition("?")[0])
        if fresh is None and same_shape and reported[n].url is not None:
            fresh = reported[n]
        if fresh is None or fresh.url is None:
            renewed.append(output)
        else:
            moved = fresh.url.partition("?")[0] != identity
            renewed.append(replace(output, url=fresh.url, identity_override=identity if moved else None))
    return tuple(renewed)


def archive_steps(records: Iterable[ArchiveRecord]) -> list[tuple[datetime | None, str]]:
    """The next steps of the archive for a task: (when, what)."""
    found: dict[tuple[str, str], tuple[datetime | None, list[int]]] = {}
    for record in records:  # outputs that wait for the same reason are one step
        if record.state is ArchiveState.RUNNING:
            now, end = "is saving", ""
        elif record.state is not ArchiveState.PENDING:
            continue
        elif record.error and not record.attempts:  # not the file's fault
            now, end = "saves", f" as soon as possible: {record.error}"
        else:
            now, end = "saves", f". The last attempt failed: {record.error}" if record.error else ""
        at, numbers = found.setdefault((now, end), (record.next_attempt_at, []))
        numbers.append(record.n)
        if at is not None and record.next_attempt_at is not None:
            found[now, end] = min(at, record.next_attempt_at), numbers
    steps: list[tuple[datetime | None, str]] = []
    for (now, end), (at, numbers) in found.items():
        files = "the file of output" if len(numbers) == 1 else "the files of outputs"
        steps.append((at, f"The tracker {now} {files} {', '.join(map(str, sorted(numbers)))}{end}."))
    return steps


def archive_notes(records: Sequence[ArchiveRecord]) -> list[str]:
    """Sentences about the archive of a task."""
    stored = [record for record in records if record.state is ArchiveState.STORED]
    notes = [_saved(len(stored), len(records))] if stored else []
    for record in records:
        if record.state is ArchiveState.DEAD:
            tried = f" (tried {record.attempts} times)" if record.attempts > 1 else ""
            notes.append(
                f"The tracker could not save the file of output {record.n}{tried}: {record.error or 'unknown error'}."
            )
    return notes


def _saved(stored: int, files: int) -> str:
    if stored < files:
        return f"{stored} of {files} files {'is' if stored == 1 else 'are'} saved."
    return {1: "The file is saved.", 2: "Both files are saved."}.get(files, f"All {files} files are saved.")
