"""What tests of hooks are made with: deliveries, scripts, and pipes that scripts write into."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.kits.clock import START
from tests.kits.waiting import WITHIN_S
from tracker.config.hooks import Action, HookSpec
from tracker.domain.deliveries import DeliveryJob, TaskJob
from tracker.domain.records import Json, TaskRecord
from tracker.domain.task import ExternalId, Output, Status, Task, TaskId
from tracker.hooks.running.process import Process

SHEBANG_MAX = 120
"""Bytes of an interpreter's path in a first line, leaving space for its options (execve(2))."""


def make_job(
    *,
    delivery_id: str = "dlv_812_0_publish",
    event: str = "task.succeeded",
    attempt: int = 1,
    labels: Mapping[str, str] | None = None,
    request: Json = None,
    **changes: Json,
) -> TaskJob:
    """A claimed delivery of a task that succeeded, but for ``changes`` of the task."""
    task = Task(
        id=TaskId("01JDTASK"),
        route="suno.generate",
        provider="suno",
        account="default",
        created_at=START,
        progress_at=START,
        external_id=ExternalId("5c79"),
        status=Status.SUCCEEDED,
        outputs=(Output("audio", "https://cdn.example/a.mp3?sig=1"), Output("audio", "https://cdn.example/b.mp3")),
    )
    record = TaskRecord(replace(task, **changes), request=request, labels=labels or {})
    return TaskJob(delivery_id, "publish", event, 812, attempt, START, "RUNNING", record)


def of_tasks(jobs: Iterable[DeliveryJob]) -> list[TaskJob]:
    """Claimed deliveries that are all of tasks."""
    found = []
    for job in jobs:
        assert isinstance(job, TaskJob)
        found.append(job)
    return found


def make_hook(name: str, on: tuple[str, ...], action: Action, **limits: Json) -> HookSpec:
    """A hook that can run; unchecked, as those dropped into a directory are."""
    return HookSpec.model_construct(name=name, on=on, **limits).with_action(action)


def write_script(path: Path, body: str, interpreter: str = "/bin/sh") -> Path:
    """An executable script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{interpreter}\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def write_python(path: Path, body: str) -> Path:
    """An executable Python script that starts fast, wherever its interpreter lies."""
    if len(sys.executable) < SHEBANG_MAX and " " not in sys.executable:
        return write_script(path, body, f"{sys.executable} -SE")
    # to the shell this is a command, to Python a text
    return write_script(path, f"'''exec' {shlex.quote(sys.executable)} -SE \"$0\" \"$@\"\n' '''\n{body}")


class LinePipe:
    """A named pipe that scripts write lines into, so that tests need not guess when something happened.

    Args:
        path: where to make it.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._rest = b""
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        # opened for both, so that it never ends and opening it never blocks
        self._handle = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self._handle, self._read)

    @property
    def quoted(self) -> str:
        """Its path, quoted for a shell."""
        return shlex.quote(str(self.path))

    def _read(self) -> None:
        *lines, self._rest = (self._rest + os.read(self._handle, 65536)).split(b"\n")
        for line in lines:
            self._lines.put_nowait(line.decode())

    async def next_line(self) -> str:
        """The next line."""
        async with asyncio.timeout(WITHIN_S):
            return await self._lines.get()

    @property
    def unread(self) -> int:
        """How many lines wait to be read."""
        return self._lines.qsize()

    def close(self) -> None:
        """Take it down."""
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)


class Expiry:
    """Lets the time limit of a run pass on demand, so that a slow start of its program does not matter.

    Args:
        patch: notes when the time limit begins, until the end of the test.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._counts = asyncio.Event()
        wait = Process.wait

        async def wait_in_time(process: Process) -> int | None:
            self._counts.set()
            return await wait(process)

        patch.setattr(Process, "wait", wait_in_time)

    async def comes(self, limit_s: float) -> None:
        """The run under way has taken this long."""
        async with asyncio.timeout(WITHIN_S):
            await self._counts.wait()
        pass_time(limit_s)


def pass_time(seconds: float) -> None:
    """Let so much time pass on the loop's clock, by which limits go; the loop ends with the test."""
    loop = asyncio.get_running_loop()
    real = loop.time
    vars(loop)["time"] = lambda: real() + seconds


def open_descriptors() -> list[str]:
    """What this process has open, but for the directory that is read to find out."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:
            continue
    return sorted(found)


@contextlib.contextmanager
def no_descriptors_left() -> Iterator[None]:
    """A process that cannot open one more file."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    first_free = os.dup(0)
    os.close(first_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def is_gone(pid: int) -> bool:
    """Whether a process ends within the time a test waits."""
    deadline = asyncio.get_running_loop().time() + WITHIN_S
    while asyncio.get_running_loop().time() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in {"Z", "X"}:  # dead; its parent has not waited for it yet
            return True
        await asyncio.sleep(0.005)
    return False
