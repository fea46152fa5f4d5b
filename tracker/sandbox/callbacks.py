"""Callbacks: when each is due, and the posting of it.

Owns the plan of a job's callbacks and the one outgoing client. Posts to loopback addresses only; any other
host is recorded as undeliverable and never contacted, because a sandbox must not reach the network. Must
not know the content of callbacks: the routes write it when a callback is first sent.

One job's callbacks are sent one after the other: the next waits until the first attempt of the one before
has ended, while retries continue beside it.

Source: a receiver answers 200 within 15 s, and delivery stops after 3 failed retries
(docs.sunoapi.org/suno-api/generate-music-callbacks); Kling documents no retry policy and is treated alike.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import aiohttp
import orjson

from tracker.sandbox.fate import CallbackFate
from tracker.sandbox.jobs import Job, Stage
from tracker.sandbox.journal import CallbackRecord, Journal, readable, redact_path
from tracker.sandbox.routes import CallbackMessage
from tracker.sandbox.signatures import forge

MAX_RETRIES = 3
EARLY_WAIT_S = 2.0
"""How long a create waits for the answer to its early callback; a receiver may delay that answer."""

_OK = range(200, 300)

WriteCallback = Callable[[Stage], CallbackMessage | None]


@dataclass(frozen=True, slots=True)
class PlannedCallback:
    """One callback that is to be sent.

    Attributes:
        stage: What it announces.
        after_s: When, seconds after the create.
        copies: How often; 0 when it is lost.
    """

    stage: Stage
    after_s: float
    copies: int


def plan_callbacks(
    job: Job, decide: Callable[[int], CallbackFate], *, early: bool, reordered: bool
) -> list[PlannedCallback]:
    """Put a job's callbacks in the order in which they are sent.

    Args:
        job: The job.
        decide: How the callback for the n-th stage of its timeline arrives.
        early: Whether the first is sent before the create is answered.
        reordered: Whether all are held back until the last is due, and sent in reverse.
    """
    plan = []
    for index, stage in enumerate(job.timeline()):
        if stage.announced:
            fate = decide(index)
            plan.append(PlannedCallback(stage, job.begins_after_s(stage) + fate.delay_s, fate.copies))
    if not plan:
        return []
    # Only the first may come early: a result cannot be announced before it exists.
    ahead = [replace(plan.pop(0), after_s=0.0)] if early else []
    if reordered:
        last_s = max((item.after_s for item in plan), default=0.0)
        return ahead + [replace(item, after_s=last_s) for item in reversed(plan)]
    return ahead + sorted(plan, key=lambda item: item.after_s)


def is_loopback(url: str) -> bool:
    """Return whether a URL is HTTP on this machine: 127.0.0.0/8, ::1 or localhost."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"}:
            return False
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class CallbackSender:
    """Sends the callbacks of all jobs.

    Args:
        journal: Where every attempt is entered.
        retry_s: Pause before each retry, seconds.
        timeout_s: How long a receiver may take to answer, seconds.
    """

    def __init__(self, journal: Journal, *, retry_s: float, timeout_s: float) -> None:
        self._journal = journal
        self._retry_s = retry_s
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Open the outgoing client. It ignores proxies from the environment: loopback needs none."""
        self._session = aiohttp.ClientSession(timeout=self._timeout, trust_env=False)

    async def close(self) -> None:
        """Give up everything that is still to be sent."""
        await self.drop_all()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def drop_all(self) -> None:
        """Cancel what is still to be sent."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def follow(self, job: Job, plan: list[PlannedCallback], write: WriteCallback) -> asyncio.Event:
        """Start sending a job's callbacks.

        Args:
            job: The job.
            plan: What is sent and when.
            write: Writes a callback when its time has come.

        Returns:
            An event that is set when the first attempt of the first callback has ended.
        """
        first_done = asyncio.Event()
        self._spawn(self._run(job, plan, write, first_done))
        return first_done

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(
        self, job: Job, plan: list[PlannedCallback], write: WriteCallback, first_done: asyncio.Event
    ) -> None:
        try:
            for item in plan:
                await asyncio.sleep(max(0.0, job.born_s + item.after_s - time.monotonic()))
                await self._announce(job, item, write(item.stage))
                first_done.set()
        finally:
            first_done.set()

    async def _announce(self, job: Job, item: PlannedCallback, message: CallbackMessage | None) -> None:
        url = job.callback_url
        if message is None or url is None:
            return
        if item.copies == 0:
            self._record(job, message.phase, 0, None, "lost")
            return
        if not is_loopback(url):
            self._record(job, message.phase, 0, None, "undeliverable")
            return
        body = orjson.dumps(message.payload)
        for _ in range(item.copies):
            if not await self._post(job, message, url, body, 1):
                self._spawn(self._retry(job, message, url, body))

    async def _retry(self, job: Job, message: CallbackMessage, url: str, body: bytes) -> None:
        for attempt in range(2, MAX_RETRIES + 2):
            await asyncio.sleep(self._retry_s)
            if await self._post(job, message, url, body, attempt):
                return

    async def _post(self, job: Job, message: CallbackMessage, url: str, body: bytes, attempt: int) -> bool:
        if self._session is None:
            return False
        headers = {} if message.sign is None else dict(message.sign(body, time.time()))
        if "forged" in job.script.callback:
            headers = forge(headers)
        status: int | None = None
        answer: object
        try:
            # Redirects are not followed: they could lead off this machine.
            async with self._session.post(
                url, data=body, headers={"Content-Type": "application/json", **headers}, allow_redirects=False
            ) as response:
                status = response.status
                answer = readable(await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            answer = type(error).__name__
        self._record(job, message.phase, attempt, status, answer)
        return status in _OK

    def _record(self, job: Job, phase: str, attempt: int, status: int | None, answer: object) -> None:
        path = redact_path(job.callback_url or "")
        self._journal.record_callback(CallbackRecord(job.id, phase, path, attempt, status, answer, time.time()))
