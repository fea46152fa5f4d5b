"""Many tasks while a client of the stream is killed and begins again, and the daemon too; what the client has seen."""

from __future__ import annotations

import asyncio
import random
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.kits.processes import KLING, SUNO, System, submission
from tests.kits.waiting import WITHIN_S, until


@dataclass
class StreamRun:
    """One run.

    Args:
        system: where it happens.
        count: how many tasks.
        kills: how often the client is killed.
        restarts: how often the daemon is killed; at one of the client's kills.
        seed: decides when.
        at_once: how many submits are under way at once.
        patience_s: how long the rest may take once all tasks are submitted.

    Attributes:
        killed_at: how many events the client had seen at each of its kills.
    """

    system: System
    count: int
    kills: int
    restarts: int
    seed: int
    at_once: int = 16
    patience_s: float = WITHIN_S
    killed_at: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._file = self.system.directory / "seen"
        self._file.touch()

    @property
    def seen(self) -> list[str]:
        """What the client has handled: seqs, and gaps if there are any."""
        return self._file.read_text().split("\n")[:-1]

    async def go(self) -> list[int]:
        """Submit everything while client and daemon are killed; the seqs of all events in the database."""
        client = await self._start_client()
        slots = asyncio.Semaphore(self.at_once)
        try:
            async with asyncio.TaskGroup() as group:
                submits: list[asyncio.Task[str]] = []
                restarts = set(self._rng.sample(range(self.kills), self.restarts))
                for n in range(self.kills):
                    # so many more before each kill: there are events for all of them
                    wanted = range(len(submits), self.count * (n + 1) // self.kills)
                    submits += [group.create_task(self._submit(slots, number)) for number in wanted]
                    await self._reach(self._size() + self._rng.randint(1, len(wanted)))
                    client.kill()
                    await client.wait()
                    self.killed_at.append(self._size())
                    if n in restarts:
                        await self.system.daemon.kill()
                        await self.system.daemon.start()
                    client = await self._start_client()
            ids = [submit.result() for submit in submits]
            for task_id in ids:
                await self.system.end_of(task_id, self.patience_s)
            await self._reach(len(self.system.rows("SELECT seq FROM events")))
        finally:
            with suppress(ProcessLookupError):
                client.kill()
            await client.wait()
        # a late duplicate of a callback may have come meanwhile, seen or not
        return [seq for (seq,) in self.system.rows("SELECT seq FROM events ORDER BY seq")][: self._size()]

    async def _start_client(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.acceptance.stream_client", self.system.url, str(self._file), cwd=_ROOT
        )

    def _size(self) -> int:
        return self._file.read_bytes().count(b"\n")

    async def _reach(self, events: int) -> None:
        """Wait until the client has seen so many events."""
        await until(lambda: self._size() >= events, self.patience_s)

    async def _submit(self, slots: asyncio.Semaphore, n: int) -> str:
        """Submit as a careful client does: the same key again until there is an answer."""
        body = submission((SUNO, KLING)[n % 2], f"n{n} a calm sea")

        async def attempt() -> str | None:
            with suppress(aiohttp.ClientConnectionError):
                answer = await self.system.call("POST", "/v1/tasks", body, {"Idempotency-Key": f"n{n}"})
                if answer.status in {200, 201}:
                    return str(answer.body["id"])
                assert answer.status in {409, 503}, answer
            return None

        async with slots:
            return str(await until(attempt, self.patience_s))


_ROOT = Path(__file__).parents[2]
