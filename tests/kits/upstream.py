"""A poller and a submitter on a real store and a real gateway of the test's making, swept by hand."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from tests.kits.http_server import serving
from tests.kits.waiting import Signal
from tests.kits.world import World
from tracker.domain.schedule import PollPolicy
from tracker.domain.task import TaskId
from tracker.domain.tokens import CallbackTokens
from tracker.logs import Redactor
from tracker.providers.registry import Registry
from tracker.tracking.account_alarms import AccountAlarms
from tracker.tracking.account_slots import AccountSlots
from tracker.tracking.intake import CallbackUrls, Intake, SubmitRequest
from tracker.tracking.lane_limits import LaneSlots
from tracker.tracking.poller import MAX_POLLS, Poller
from tracker.tracking.submitter import Submitter
from tracker.upstream.breaker import Breakers
from tracker.upstream.client import Account, UpstreamClient
from tracker.upstream.limits import RateLimits
from tracker.upstream.payloads import Payloads

Json = Any
Answer = tuple[int, Json]

NO_LIMIT = 1e6
"""Requests per second: so high that no request waits on a stopped clock."""

KLING = SubmitRequest("kling.omni-video", {"model_name": "kling-v3", "prompt": "a kite"})
SUNO = SubmitRequest(
    "suno.generate", {"customMode": False, "instrumental": False, "model": "V5", "prompt": "a summer breeze"}
)
RATE_LIMITED = (429, {"error": {"message": "slow", "type": "rate_limit_error", "code": "rate_limit_exceeded"}})
IN_MAINTENANCE = (503, {"code": 5001, "message": "maintenance", "request_id": "r"})


def kling(status: str = "processing", task_id: str = "up-1") -> Answer:
    """Kling's answer to a create or a poll."""
    return 200, {"code": 0, "data": {"task_id": task_id, "task_status": status}}


def suno(status: str = "PENDING") -> Answer:
    """Suno's answer to a poll."""
    return 200, {"code": 200, "msg": "success", "data": {"taskId": "up-1", "status": status}}


@dataclass
class Gateway:
    """An upstream that answers per provider and records requests.

    Attributes:
        answers: provider -> the answer of its routes.
        held: method and provider of the requests whose answers are held.
        asked: method and provider of each request, in order of arrival.
    """

    answers: dict[str, Answer] = field(default_factory=lambda: {"kling": kling(), "suno": suno()})
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    changed: Signal = field(default_factory=Signal)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer, once it is released."""
        family = next(family for family in self.answers if family in request.path)
        what = f"{request.method} {family}"
        self.asked.append(what)
        self.changed.notify()
        answer = self.answers[family]  # the answer at the time of the request, not of the release
        if what in self.held:
            await self.held[what].wait()
        status, body = answer
        return web.json_response(body, status=status)

    async def wait_for_request(self, what: str, times: int = 1) -> None:
        """Wait until so many such requests have come."""
        await self.changed.until(lambda: self.asked.count(what) >= times)

    def hold(self, what: str) -> asyncio.Event:
        """Have the answers to such requests wait for the event that is returned."""
        self.held[what] = asyncio.Event()
        return self.held[what]


class UpstreamWorld(World):
    """The poller and the submitter, with an account at a gateway; no sweep runs unless a test starts one.

    Args:
        directory: where the database goes.
        base_url: of another gateway than the one of this world.
        max_polls: of the poller.
        rate: requests per second of the account.
        registry: of providers.
        policy: changes of the poll policy, for every provider.
    """

    def __init__(
        self,
        directory: Path,
        base_url: str | None = None,
        *,
        max_polls: int = MAX_POLLS,
        rate: float = NO_LIMIT,
        registry: Registry | None = None,
        **policy: float,
    ) -> None:
        numbers = {"first_delay_s": 1.0, "min_interval_s": 1.0, "max_interval_s": 2.0, **policy}
        super().__init__(directory / "tracker.db", policy=PollPolicy(**numbers), intervals={})
        self.gateway = Gateway()
        self.keys = {"default": "sk-test-key-0123456789"}
        self.max_in_flight: dict[str, int] = {}
        self.breakers = Breakers(self.clock)
        self._base_url = base_url
        self._max_polls = max_polls
        self._rate = rate
        self._registry = registry or Registry()

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        url = await self._stack.enter_async_context(serving(self.gateway.answer))
        accounts = {"default": Account("default", self._base_url or url, lambda: self.keys.get("default"), self._rate)}
        await super().__aenter__()
        store, clock, reconciler, breakers = self.store, self.clock, self.reconciler, self.breakers
        self.limits = limits = RateLimits({"default": self._rate}, clock)
        registry, redactor = self._registry, Redactor()
        self._client = client = UpstreamClient(accounts, clock, limits, breakers)
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
        self.alarms = AccountAlarms(clock, self.keys.get, redactor.json_text)
        self.slots = AccountSlots(store, self.max_in_flight, clock.monotonic)
        self.submitter = Submitter(
            store=store,
            reconciler=reconciler,
            client=client,
            intake=intake,
            clock=clock,
            payloads=payloads,
            alarms=self.alarms,
            slots=self.slots,
        )
        self.poller = Poller(
            store=store,
            reconciler=reconciler,
            client=client,
            limits=limits,
            breakers=breakers,
            registry=registry,
            submitter=self.submitter,
            clock=clock,
            payloads=payloads,
            alarms=self.alarms,
            slots=self.slots,
            tick_s=1.0,
            park_s=60.0,
            max_polls=self._max_polls,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        for held in self.gateway.held.values():
            held.set()
        await self.submitter.drain(20)
        await self.poller.stop(20)
        await self._client.close()
        await super().__aexit__()
        await self._stack.aclose()

    async def register(self, route: str = "kling.omni-video", external_id: str = "up-1") -> TaskId:
        """Follow a task that was created elsewhere; it is due now."""
        return (await self.submitter.register(route, external_id, {}, None)).record.task.id

    async def sweep(self, after_s: float = 0.0) -> None:
        """Let time pass, sweep, and wait for the polls that the sweep began."""
        await self.tick(after_s)
        await self.settle()

    async def tick(self, after_s: float = 0.0) -> None:
        """Let time pass, sweep, and wait for nothing."""
        self.clock.advance(after_s)
        await self.poller.tick()

    async def settle(self) -> None:
        """Wait until no poll is under way."""
        await self._join(self.poller._polls)

    async def _join(self, slots: LaneSlots) -> None:
        async with asyncio.timeout(20):
            while works := list(slots._works.values()):
                await asyncio.wait(works)
                await asyncio.sleep(0)  # what follows from an end is done right after it

    async def sent(self) -> None:
        """Wait until no create that was put off is under way."""
        await self._join(self.poller._sends)

    async def notes(self, task_id: TaskId) -> str:
        """The poller's notes for ``why``."""
        return "\n".join(self.poller.notes((await self.get(task_id)).task))
