"""Copies a task's archived files into a directory: archive what is missing, wait for that, copy.

A copy gets its name when it is complete and its hash matches. Names start with the task's id, so that files of several
tasks fit into one directory. The files come over HTTP, so the daemon may be on another machine.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from tracker.client import calls
from tracker.client.errors import DownloadFailed
from tracker.client.transport import Transport

Json = Any

ENDS: Final = frozenset({"stored", "dead"})
"""Final states of an archive item."""
STEP_S: Final = 0.2
"""How often the archive is asked for its state."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A file to copy.

    Attributes:
        number: of the output.
        target: the path of the copy.
        size: in bytes.
        sha256: hexadecimal.
    """

    number: int
    target: Path
    size: int
    sha256: str

    def exists(self) -> bool:
        """Whether the target has the content already."""
        if not self.target.is_file() or self.target.stat().st_size != self.size:
            return False
        with self.target.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256

    def objection(self, *, force: bool, hint: str) -> str | None:
        """Why the target must not be written; None if it may.

        Args:
            force: overwrite a file with other content.
            hint: how to force it.
        """
        try:
            if not self.target.exists():
                return None
            if not self.target.is_file():
                return f"{self.target}: exists and is not a regular file; choose another directory"
            if force or self.exists():
                return None
        except OSError as error:
            return f"{self.target}: cannot be read ({error.strerror}); choose another directory"
        return f"{self.target}: exists with other content; move it away, or overwrite it with {hint}"

    @contextmanager
    def writing(self) -> Iterator[Callable[[bytes], None]]:
        """Write the target, which appears when all of it is there.

        Raises:
            DownloadFailed: the content is not what was announced, or the file cannot be written.
        """
        try:
            file = self.target.resolve()  # follow a link
            file.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".tracker-", dir=file.parent)
            try:
                digest = hashlib.sha256()
                with os.fdopen(handle, "wb") as partial:

                    def write(piece: bytes) -> None:
                        partial.write(piece)
                        digest.update(piece)

                    yield write
                if digest.hexdigest() != self.sha256:
                    raise DownloadFailed([f"output {self.number}: damaged in transit; download it again"], [])
                Path(name).chmod(0o644)
                Path(name).replace(file)
            finally:
                Path(name).unlink(missing_ok=True)
        except OSError as error:
            why = f"{self.target}: cannot be written ({error.strerror}); choose another directory"
            raise DownloadFailed([why], []) from error


def plan_copies(task: Mapping[str, Json], directory: Path, *, force: bool, hint: str) -> list[Copy]:
    """The archived files of a task (JSON), each named as in the archive, ``<task id>/<n>-<title>.<ext>``, as one name.

    Raises:
        DownloadFailed: files with other content are in the way.
    """
    copies = []
    for output in task["outputs"]:
        if output["archived"]:
            target = directory / "-".join(PurePosixPath(output["path"]).parts[-2:])
            copies.append(Copy(output["n"], target, output["bytes"], output["sha256"]))
    if problems := [line for copy in copies if (line := copy.objection(force=force, hint=hint))]:
        raise DownloadFailed(problems, [])
    return copies


def archive_items(transport: Transport, task_id: str, deadline: float) -> Iterator[list[Json]]:
    """The states of a task's files in the archive (JSON), repeatedly until the deadline (of `time.monotonic`)."""
    while True:
        yield transport.read(calls.about_task(task_id, "archive"))["items"]
        if time.monotonic() >= deadline:
            return
        time.sleep(STEP_S)


def are_final(items: Sequence[Mapping[str, Json]]) -> bool:
    """Whether the archive is done with all of a task's files."""
    return all(item["state"] in ENDS for item in items)


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What came of a download.

    Attributes:
        task: the task, as JSON.
        items: the state of each of its files in the archive, as JSON.
        files: the copies.
    """

    task: Mapping[str, Json]
    items: Sequence[Mapping[str, Json]]
    files: list[Path]

    def check(self) -> None:
        """See that all files of the task were copied.

        Raises:
            DownloadFailed: some are missing, or it has none.
        """
        missing = [item for item in self.items if item["state"] != "stored"]
        if missing:
            problems = [f"output {item['n']} is not archived: {item['error'] or item['state']}" for item in missing]
            raise DownloadFailed(problems, self.files, is_final=all(item["state"] == "dead" for item in missing))
        if not self.items:
            yet = "" if self.task["finished_at"] else " yet"
            raise DownloadFailed([f"{self.task['id']} has no files{yet}"], self.files)


def download(
    transport: Transport,
    task_id: str,
    directory: Path,
    *,
    timeout_s: float | None = None,
    force: bool = False,
    hint: str = "force=True",
    on_items: Callable[[list[Json]], object] = lambda _: None,
) -> Downloaded:
    """Copy a task's files, as far as the archive has them.

    Args:
        transport: to the daemon.
        task_id: the task.
        directory: where the copies go; it is made if it is missing.
        timeout_s: how long to wait for the archive, in seconds; None: until all files are stored or given up.
        force: overwrite files with other content.
        hint: how a person forces it, for an error.
        on_items: gets the states of the files while they are archived.

    Raises:
        ClientError: see `tracker.client.errors`.
    """
    deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    transport.send(calls.archive(task_id))
    items: list[Json] = []
    for items in archive_items(transport, task_id, deadline):
        on_items(items)
        if are_final(items):
            break
    task = transport.read(calls.get_task(task_id))
    copies = plan_copies(task, directory, force=force, hint=hint)
    for copy in copies:
        if not copy.exists():
            with copy.writing() as write:
                transport.save(calls.get_output(task_id, copy.number), write)
    return Downloaded(task, items, [copy.target for copy in copies])
