"""Helpers for tests of the archive: faulty servers, a store with an archiver, waiting."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.kits.clock import RunningClock
from tests.kits.waiting import WITHIN_S, Signal
from tests.kits.world import World
from tracker.archive.archiver import Archiver
from tracker.archive.attempt import RetryPolicy
from tracker.archive.download import Bounds
from tracker.archive.file_storage import DirectoryStorage
from tracker.domain.archives import ArchiveRecord, ArchiveState
from tracker.domain.outputs import strip_payload_text
from tracker.domain.records import Json, task_json
from tracker.domain.task import Output, Status, TaskId
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
        self._came = Signal()
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

    async def wait_for_requests(self, times: int) -> None:
        """Wait for that many requests."""
        await self._came.until(lambda: len(self.asked) >= times)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.split(": ", 1) for line in head[1:] if line)
            asked = Asked(head[0].split(" ")[1], {name.lower(): value for name, value in pairs})
            self.asked.append(asked)
            self._came.notify()
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


class ArchiveWorld(World):
    """A store with a running archiver, on a running clock.

    Args:
        directory: where the database and the files go.
        home: base URL of the account ``default``.
        archiver: further arguments of `Archiver`.
    """

    def __init__(self, directory: Path, *, home: str = "http://127.0.0.1:1", **archiver: Json) -> None:
        super().__init__(directory / "tracker.db", RunningClock(), intervals={})
        self.renewer = StandInRenewer()
        self.outputs = directory / "outputs"
        defaults = {"enabled": True, "bounds": BOUNDS, "allow_private": True, "retries": RETRIES, "reserve_bytes": 0}
        self.archiver = Archiver(
            self.store,
            self.clock,
            {"default": Account("default", home, lambda: "sk-test-key")},
            self.renewer.renew,
            storage=DirectoryStorage(self.outputs),
            partial_dir=self.outputs / ".partial",
            draw=lambda: 0.5,
            **{**defaults, **archiver},
        )
        self._changed = asyncio.Event()
        self._made = 0

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.store.subscribe_commits(lambda _applied: self._changed.set())
        self.archiver.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.archiver.stop()
        await super().__aexit__()

    async def succeed(
        self, *outputs: Output, payload: str | None = '{"ok": true}', route: str = "suno.generate"
    ) -> TaskId:
        """A task that succeeded with these outputs."""
        self._made += 1
        task_id = await self.follow(self._made, route=route, provider=route.partition(".")[0])
        payload = payload and strip_payload_text(payload, outputs)
        await self.poll(task_id, Status.SUCCEEDED, outputs=outputs, payload=payload)
        return task_id

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
                self._changed.clear()
                records = await self.store.list_archives(task_id)
                if is_so(records):
                    return records
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.5)

        return await asyncio.wait_for(wait(), WITHIN_S)

    async def show(self, task_id: TaskId) -> Json:
        """The task's public form."""
        return task_json(await self.get(task_id))

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
