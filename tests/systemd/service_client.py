"""A client of the service in its machine: creates jobs, calls back, reads the journal.

Owns talking to the service from outside. Everything opens its sockets in the machine's network.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.kits.sandbox import find_job
from tests.systemd.machine import Machine
from tracker.sandbox import Sandbox

URL = "http://127.0.0.1:8780"
ROUTE = "kling.omni-video"
PATIENCE_S = 30.0
WAITING_MAX = 400
"""How many callbacks may wait for the service at a time: each has a file descriptor here and a slot in its queue."""


@dataclass(frozen=True, slots=True)
class Job:
    """A task that runs upstream, and its callback URL."""

    task_id: str
    external_id: str
    callback_url: str

    def success(self) -> dict[str, Any]:
        """The callback that ends it."""
        videos = [{"id": "v-1", "url": f"https://cdn.example.com/{self.external_id}.mp4", "duration": "5"}]
        return {"task_id": self.external_id, "task_status": "succeed", "task_result": {"videos": videos}}


@dataclass(slots=True)
class Answers:
    """The results of a number of requests.

    Attributes:
        counts: by status and outcome, or by the error instead of an answer.
        times: when each was sent, and when it was answered, in monotonic seconds.
    """

    counts: Counter[str] = field(default_factory=Counter)
    times: list[tuple[float, float]] = field(default_factory=list)

    @property
    def longest_s(self) -> float:
        """How long the slowest took."""
        return max((ended - began for began, ended in self.times), default=0.0)


class ServiceClient:
    """Talks to the service.

    Args:
        machine: where it runs.
        gateway: its upstream; its jobs take longer than any test, so ends come by callbacks alone.
        client: sends requests, each on a connection of its own.
    """

    def __init__(self, machine: Machine, gateway: Sandbox, client: aiohttp.ClientSession) -> None:
        self.machine = machine
        self.gateway = gateway
        self._client = client

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """One request; status and decoded answer."""
        async with self._client.request(method, URL + path, json=body, headers=headers) as answer:
            return answer.status, json.loads(await answer.read() or b"null")

    async def submit(self, count: int, name: str) -> list[Job]:
        """Create paid jobs, and find out where the upstream would call back."""
        return await asyncio.gather(*(self._submit(f"{name}-{n}") for n in range(count)))

    async def _submit(self, name: str) -> Job:
        wanted = {"route": ROUTE, "request": {"model_name": "kling-v3-omni", "prompt": name}, "idempotency_key": name}
        status, task = await self.call("POST", "/v1/tasks", wanted)
        assert status == 201, task
        assert task["external_id"], task
        upstream = find_job(self.gateway, task["external_id"])
        return Job(task["id"], task["external_id"], str(upstream.callback_url))

    async def call_back(self, jobs: Sequence[Job], per_s: float) -> Answers:
        """Send the callback of each job once, at a steady rate, during anything that the service does."""
        answers = Answers()

        async def send(job: Job, after_s: float) -> None:
            await asyncio.sleep(after_s)
            await self._send(job, answers)

        await asyncio.gather(*(send(job, n / per_s) for n, job in enumerate(jobs)))
        return answers

    async def go_on_calling_back(self, jobs: Sequence[Job], per_s: float, enough: asyncio.Event) -> Answers:
        """Send the callbacks of all jobs at a steady rate, repeatedly, until an event is set."""
        answers = Answers()
        waiting: set[asyncio.Task[None]] = set()
        n = 0
        while n < len(jobs) or not enough.is_set():
            if len(waiting) < WAITING_MAX:
                waiting.add(task := asyncio.create_task(self._send(jobs[n % len(jobs)], answers)))
                task.add_done_callback(waiting.discard)
                n += 1
            await asyncio.sleep(1 / per_s)
        await asyncio.gather(*waiting)
        return answers

    async def _send(self, job: Job, answers: Answers) -> None:
        began = time.monotonic()
        try:
            async with self._client.post(job.callback_url, json=job.success()) as answer:
                outcome = json.loads(await answer.read() or b"{}").get("outcome", "")
                answers.counts[f"{answer.status} {outcome}"] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            answers.counts[repr(error)] += 1
        answers.times.append((began, time.monotonic()))

    async def statuses(self, jobs: Sequence[Job]) -> Counter[str]:
        """The statuses of these jobs in the service."""
        tasks = await asyncio.gather(*(self.call("GET", f"/v1/tasks/{job.task_id}") for job in jobs))
        return Counter(str(task.get("status", task)) for _, task in tasks)

    async def run(self, *command: str, check: bool = True) -> tuple[int, str]:
        """Run a command inside beside everything else; its exit code and output."""
        done = await asyncio.to_thread(self.machine.run, *command, check=check)
        return done.returncode, done.stdout + done.stderr

    async def entries(self, *matches: str) -> list[Mapping[str, Any]]:
        """Entries of the journal."""
        _, text = await self.run("journalctl", "-o", "json", "--no-pager", *matches)
        return [json.loads(line) for line in text.splitlines()]

    async def until(self, look: Callable[[], Awaitable[Any]], what: str) -> Any:  # noqa: ANN401 - whatever is looked for
        """The first true answer of ``look``."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if found := await look():
                return found
            await asyncio.sleep(0.1)
        raise AssertionError(f"waited in vain for {what}{self.machine.log()}")
