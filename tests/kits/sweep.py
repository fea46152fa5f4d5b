"""A poller and a submitter on a real store and a real gateway of the test's making, swept by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.kits.clock import START
from tests.kits.http_server import serving
from tracker.clock import ManualClock
from tracker.domain.observation import Observation, Submission
from tracker.domain.records import TaskRecord
from tracker.domain.schedule import PollPolicy
from tracker.domain.task import Task, TaskId
from tracker.domain.tokens import CallbackTokens
from tracker.errors import StoreUnavailable
from tracker.logs import Redactor
from tracker.providers.registry import Registry
from tracker.store.sqlite import SqliteStore
from tracker.store.values import Applied, Judge
from tracker.tracking.account_alarms import AccountAlarms
from tracker.tracking.intake import CallbackUrls, Intake, SubmitRequest
from tracker.tracking.lane_limits import LaneSlots
from tracker.tracking.poller import MAX_POLLS, Poller
from tracker.tracking.reconciler import Reconciler
from tracker.tracking.submitter import Submitter
from tracker.upstream.breaker import Breakers
from tracker.upstream.client import Account, UpstreamClient
from tracker.upstream.limits import RateLimits
from tracker.upstream.payloads import Payloads

Json = Any
Answer = tuple[int, Json]

NO_LIMIT = 1e6
"""Requests per second: on a clock that stands still, nobody waits for a slot."""

KLING = SubmitRequest("kling.omni-video", {"model_name": "kling-v3", "prompt": "a kite"})
SUNO = SubmitRequest(
    "suno.generate", {"customMode": False, "instrumental": False, "model": "V5", "prompt": "a summer breeze"}
)
RATE_LIMITED = (429, {"error": {"message": "slow", "type": "rate_limit_error", "code": "rate_limit_exceeded"}})
IN_MAINTENANCE = (503, {"code": 5001, "message": "maintenance", "request_id": "r"})


def kling(status: str = "processing", task_id: str = "up-1") -> Answer:
    """What Kling says of a task, or of a create."""
    return 200, {"code": 0, "data": {"task_id": task_id, "task_status": status}}


def suno(status: str = "PENDING") -> Answer:
    """What Suno says of a song."""
    return 200, {"code": 200, "msg": "success", "data": {"taskId": "up-1", "status": status}}


@dataclass
class Gateway:
    """An upstream that answers by the family that is asked, and notes who asked.

    Attributes:
        answers: family -> what its routes say.
        held: method and family of the requests whose answers wait until they are let go.
        asked: method and family of each request, in the order in which they came.
    """

    answers: dict[str, Answer] = field(default_factory=lambda: {"kling": kling(), "suno": suno()})
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer when it is let go."""
        family = next(family for family in self.answers if family in request.path)
        what = f"{request.method} {family}"
        async with self.changed:
            self.asked.append(what)
            self.changed.notify_all()
        answer = self.answers[family]  # what it says when it is asked, not when it is let go
        if what in self.held:
            await self.held[what].wait()
        status, body = answer
        return web.json_response(body, status=status)

    async def was_asked(self, what: str, times: int = 1) -> None:
        """Wait until so many such requests have come."""
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(lambda: self.asked.count(what) >= times)

    def hold(self, what: str) -> asyncio.Event:
        """Have the answers to such requests wait for the event that is returned."""
        self.held[what] = asyncio.Event()
        return self.held[what]


class FrailStore(SqliteStore):
    """The real store; on demand it reads no task, marks none as sent, or takes no news of these kinds.

    Attributes:
        reads: how many tasks were read.
    """

    unreadable = False
    unmarkable = False
    reads = 0
    deaf_to: frozenset[Submission] = frozenset()

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        super().__init__(path, now)
        self.refused = asyncio.Event()
        """Set once it took some news not."""

    async def apply(self, observation: Observation, judge: Judge) -> Applied:
        """See the store."""
        if observation.reading.submission in self.deaf_to:
            self.refused.set()
            raise StoreUnavailable("the disk is full")
        return await super().apply(observation, judge)

    async def get_task(self, task_id: TaskId) -> TaskRecord:
        """See the store."""
        self.reads += 1
        if self.unreadable:
            raise StoreUnavailable("the disk does not answer")
        return await super().get_task(task_id)

    async def mark_sending(self, task_id: TaskId, lease_s: float) -> Task | None:
        """See the store."""
        if self.unmarkable:
            raise StoreUnavailable("the disk is full")
        return await super().mark_sending(task_id, lease_s)


@dataclass(frozen=True, slots=True)
class SweepRig:
    """What is under test and what stands behind it; time stands still unless it is moved."""

    gateway: Gateway
    clock: ManualClock
    store: FrailStore
    breakers: Breakers
    submitter: Submitter
    poller: Poller
    keys: dict[str, str]
    reconciler: Reconciler

    async def follow(self, route: str = "kling.omni-video", external_id: str = "up-1") -> TaskId:
        """Follow a task that was created elsewhere; it is due now."""
        return (await self.submitter.register(route, external_id, {}, None)).record.task.id

    async def sweep(self, after_s: float = 0.0) -> None:
        """Let time pass, sweep, and wait for the polls that the sweep began."""
        await self.tick(after_s)
        await self.settle(self.poller._polls)

    async def tick(self, after_s: float = 0.0) -> None:
        """Let time pass, sweep, and wait for nothing."""
        self.clock.advance(after_s)
        await self.poller.tick()

    async def settle(self, places: LaneSlots) -> None:
        """Wait until nothing is under way in places of the poller."""
        async with asyncio.timeout(20):
            while works := list(places._works.values()):
                await asyncio.wait(works)
                await asyncio.sleep(0)  # what follows from an end is done right after it

    async def get(self, task_id: TaskId) -> TaskRecord:
        """A task as it stands."""
        return await self.store.get_task(task_id)

    async def sent(self) -> None:
        """Wait until no create that was put off is under way."""
        await self.settle(self.poller._sends)

    async def notes(self, task_id: TaskId) -> str:
        """What the poller has to say to ``why``."""
        return "\n".join(self.poller.notes((await self.get(task_id)).task))


@asynccontextmanager
async def sweeping(
    path: Path, base_url: str | None = None, *, max_polls: int = MAX_POLLS, **policy: float
) -> AsyncIterator[SweepRig]:
    """Everything that sends and polls, with a key, and a gateway unless ``base_url`` names another."""
    gateway = Gateway()
    async with serving(gateway.answer) as url:
        clock = ManualClock(START)
        keys = {"default": "sk-test-key-0123456789"}
        accounts = {"default": Account("default", base_url or url, lambda: keys.get("default"), NO_LIMIT)}
        store = FrailStore(path / "tracker.db", clock.now)
        await store.open()
        limits, breakers, registry = RateLimits({"default": NO_LIMIT}, clock), Breakers(clock), Registry()
        client = UpstreamClient(accounts, clock, limits, breakers)
        numbers = {"first_delay_s": 1.0, "min_interval_s": 1.0, "max_interval_s": 2.0, **policy}
        reconciler = Reconciler(
            store, policy_of=lambda _: PollPolicy(**numbers), interval_of={}, draw=lambda: 0.5, redactor=Redactor()
        )
        redactor = Redactor()
        payloads = Payloads(redactor)
        intake = Intake(
            registry=registry,
            clock=clock,
            tokens=CallbackTokens(b"0123456789abcdef"),
            urls=CallbackUrls(None, "https://callback.invalid/"),
            accounts=accounts.keys(),
            default_account="default",
            aliases={},
        )
        alarms = AccountAlarms(clock, keys.get, redactor.json_text)
        submitter = Submitter(
            store=store,
            reconciler=reconciler,
            client=client,
            intake=intake,
            clock=clock,
            payloads=payloads,
            alarms=alarms,
        )
        poller = Poller(
            store=store,
            reconciler=reconciler,
            client=client,
            limits=limits,
            breakers=breakers,
            registry=registry,
            submitter=submitter,
            clock=clock,
            payloads=payloads,
            alarms=alarms,
            tick_s=1.0,
            park_s=60.0,
            max_polls=max_polls,
        )
        try:
            yield SweepRig(gateway, clock, store, breakers, submitter, poller, keys, reconciler)
        finally:
            for held in gateway.held.values():
                held.set()
            await submitter.drain(20)
            await poller.stop(20)
            await client.close()
            await store.close()
