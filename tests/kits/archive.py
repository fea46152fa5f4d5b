"""Helpers for tests of the archive: faulty servers, a store with an archiver, waiting."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.kits.factories import make_observation, make_registration
from tests.kits.waiting import WITHIN_S
from tracker.archive.archiver import Archiver
from tracker.archive.attempt import RetryPolicy
from tracker.archive.download import Bounds
from tracker.archive.file_storage import DirectoryStorage
from tracker.clock import SystemClock
from tracker.domain.archives import ArchiveRecord, ArchiveState
from tracker.domain.outputs import strip_payload_text
from tracker.domain.records import Json, task_json
from tracker.domain.schedule import PollPolicy
from tracker.domain.task import Output, Status, TaskId
from tracker.logs import Redactor
from tracker.store.sqlite import SqliteStore
from tracker.tracking.reconciler import Reconciler
from tracker.upstream.client import Account

RETRIES = RetryPolicy(max_attempts=3, max_refusals=2, first_s=0.01, max_s=0.05, shortage_s=0.05)
BOUNDS = Bounds(max_bytes=1 << 30, idle_s=5.0, total_s=30.0)
MP4 = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def film(size: int = 3_000_000) -> bytes:
    """Bytes that start like a video and differ at every position."""
    block = bytes(range(256)) * 4096
    return (MP4 + block * (size // len(block) + 1))[:size]


def sha256(data: bytes) -> str:
    """The expected digest."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Asked:
    """One request to a server."""

    path: str
    headers: dict[str, str]


Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """An HTTP server that sends the raw bytes of a test, one request per connection.

    Args:
        answer: writes the answer; the connection is closed after it.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self._came = asyncio.Event()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    def url(self, path: str = "/file.mp4") -> str:
        """A URL of this server."""
        return f"http://127.0.0.1:{self.port}{path}"

    async def heard(self, times: int) -> None:
        """Wait for that many requests."""
        async with asyncio.timeout(WITHIN_S):
            while len(self.asked) < times:
                self._came.clear()
                await self._came.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.split(": ", 1) for line in head[1:] if line)
            asked = Asked(head[0].split(" ")[1], {name.lower(): value for name, value in pairs})
            self.asked.append(asked)
            self._came.set()
            await self.answer(asked, writer)
            await writer.drain()
        writer.close()


def head_of(status: str, length: int | None = None, mime: str = "video/mp4", **headers: str) -> bytes:
    """The head of an answer; header names with underscores for hyphens."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {mime}", "Connection: close"]
    lines += [f"Content-Length: {length}"] if length is not None else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def serves(data: bytes, *, cut_after: int | None = None, tag: str = '"v1"', mime: str = "video/mp4") -> Answer:
    """A correct server with ranges; with ``cut_after`` it closes every connection after that many bytes."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        start = int(asked.headers["range"].removeprefix("bytes=").rstrip("-")) if "range" in asked.headers else 0
        rest = data[start:]
        extra = {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        status = "206 Partial Content" if start else "200 OK"
        writer.write(head_of(status, len(rest), mime, ETag=tag, **extra))
        writer.write(rest if cut_after is None else rest[:cut_after])

    return answer


def refuses(status: str) -> Answer:
    """A server that rejects requests."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head_of(status, 0))

    return answer


class StandInRenewer:
    """Records calls; on demand a poll reports fresh URLs."""

    def __init__(self) -> None:
        self.asked: list[TaskId] = []
        self.brings: Callable[[TaskId], Awaitable[None]] | None = None

    async def renew(self, task_id: TaskId) -> None:
        """Record the call."""
        self.asked.append(task_id)
        if self.brings is not None:
            await self.brings(task_id)


@dataclass
class ArchiveRig:
    """A store with an archiver."""

    store: SqliteStore
    reconciler: Reconciler
    archiver: Archiver
    renewer: StandInRenewer
    outputs: Path
    changed: asyncio.Event
    made: int = field(default=0)

    async def succeed(
        self, *outputs: Output, payload: str | None = '{"ok": true}', route: str = "suno.generate"
    ) -> TaskId:
        """A task that succeeded with these outputs."""
        self.made += 1
        new = make_registration(self.made, f"up-{self.made}", route=route, provider=route.partition(".")[0])
        await self.store.create_task(new)
        await self.hear(
            new.id, Status.SUCCEEDED, outputs=outputs, payload=payload and strip_payload_text(payload, outputs)
        )
        return new.id

    async def hear(self, task_id: TaskId, status: Status | None, **fields: Json) -> None:
        """Apply a reading of a poll."""
        await self.reconciler.apply(make_observation(status, task_id=task_id, **fields))

    async def settle(self, task_id: TaskId, files: int = 1) -> list[ArchiveRecord]:
        """Wait until that many files of a task, and all it has, are stored or dead."""

        def is_settled(records: list[ArchiveRecord]) -> bool:
            ended = [record.state in {ArchiveState.STORED, ArchiveState.DEAD} for record in records]
            return len(ended) >= files and all(ended)

        return await self.wait_for(task_id, is_settled)

    async def wait_for(self, task_id: TaskId, is_so: Callable[[list[ArchiveRecord]], bool]) -> list[ArchiveRecord]:
        """Wait until the records of a task satisfy a condition."""

        async def wait() -> list[ArchiveRecord]:
            while True:
                self.changed.clear()
                records = await self.store.list_archives(task_id)
                if is_so(records):
                    return records
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), 0.5)

        return await asyncio.wait_for(wait(), WITHIN_S)

    async def show(self, task_id: TaskId) -> Json:
        """The task's public form."""
        return task_json(await self.store.get_task(task_id))

    def files(self) -> dict[str, bytes]:
        """The files with a final name."""
        return {
            str(path.relative_to(self.outputs)): path.read_bytes()
            for path in self.outputs.rglob("*")
            if path.is_file() and ".partial" not in path.parts
        }

    def partials(self) -> list[Path]:
        """The partial files."""
        return list((self.outputs / ".partial").glob("*"))


@asynccontextmanager
async def archiving(
    directory: Path,
    *,
    enabled: bool = True,
    allow_private: bool = True,
    bounds: Bounds = BOUNDS,
    retries: RetryPolicy = RETRIES,
    home: str = "http://127.0.0.1:1",
    reserve_bytes: int = 0,
) -> AsyncIterator[ArchiveRig]:
    """A store with a running archiver."""
    clock = SystemClock()
    store = SqliteStore(directory / "tracker.db", clock.now)
    await store.open()
    reconciler = Reconciler(
        store, policy_of=lambda _provider: PollPolicy(), interval_of={}, draw=lambda: 0.5, redactor=Redactor()
    )
    renewer = StandInRenewer()
    outputs = directory / "outputs"
    archiver = Archiver(
        store,
        clock,
        {"default": Account("default", home, lambda: "sk-test-key")},
        renewer.renew,
        storage=DirectoryStorage(outputs),
        partial_dir=outputs / ".partial",
        enabled=enabled,
        bounds=bounds,
        allow_private=allow_private,
        retries=retries,
        reserve_bytes=reserve_bytes,
        draw=lambda: 0.5,
    )
    changed = asyncio.Event()
    store.subscribe_commits(lambda _applied: changed.set())
    archiver.start()
    try:
        yield ArchiveRig(store, reconciler, archiver, renewer, outputs, changed)
    finally:
        await archiver.stop()
        await store.close()
