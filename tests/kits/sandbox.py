"""Helpers for tests of the sandbox gateway: a client with the key, a receiver of callbacks, a clock to move."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.kits.clock import RunningClock
from tests.kits.http_server import serving
from tests.kits.waiting import WITHIN_S, Signal
from tracker.providers.registry import Registry
from tracker.providers.route import Route
from tracker.sandbox import DEFAULT_KEY, Sandbox, files
from tracker.sandbox.families.registry import list_routes
from tracker.sandbox.gateway import Gateway
from tracker.sandbox.jobs import Job
from tracker.sandbox.routes import PaidRoute

SHORT_S = 0.2
"""How long jobs take unless their prompts set another duration."""

Body = dict[str, Any]


@dataclass
class Reply:
    """An HTTP answer, read to its end."""

    status: int
    headers: Any
    raw: bytes

    @property
    def body(self) -> Any:  # noqa: ANN401 - JSON of any shape
        """The JSON of it."""
        return json.loads(self.raw)


@dataclass
class Client:
    """Calls one sandbox with the right key."""

    session: aiohttp.ClientSession
    sandbox: Sandbox

    async def call(self, method: str, path: str, **options: Any) -> Reply:  # noqa: ANN401 - aiohttp's own
        """Send a request with the key and read the complete answer."""
        url = path if path.startswith("http") else self.sandbox.base_url + path
        headers = {"Authorization": f"Bearer {DEFAULT_KEY}"} | options.pop("headers", {})
        async with self.session.request(method, url, headers=headers, **options) as response:
            return Reply(response.status, response.headers, await response.read())

    async def post(self, path: str, body: object, **options: Any) -> Reply:  # noqa: ANN401 - aiohttp's own
        """POST JSON."""
        return await self.call("POST", path, json=body, **options)

    async def get(self, path: str, **options: Any) -> Reply:  # noqa: ANN401 - aiohttp's own
        """GET."""
        return await self.call("GET", path, **options)

    async def see(self, path: str, pick: Callable[[Any], object], last: object) -> list[object]:
        """Poll until `pick` gives `last`; return what it gave, repetitions left out."""
        seen: list[object] = []
        async with asyncio.timeout(WITHIN_S):
            while not seen or seen[-1] != last:
                value = pick((await self.get(path)).body)
                if not seen or value != seen[-1]:
                    seen.append(value)
                await asyncio.sleep(0.005)
        return seen

    def creates(self) -> list[Body]:
        """Return the creates that the sandbox recorded."""
        return list(self.sandbox.state()["creates"])


@dataclass
class Receiver:
    """A callback receiver that records requests and answers with the given statuses."""

    url: str = ""
    bodies: list[Body] = field(default_factory=list)
    raws: list[bytes] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    arrived: Signal = field(default_factory=Signal)

    async def take(self, request: web.Request) -> web.Response:
        """Record a callback and answer it."""
        body = await request.json()
        self.bodies.append(body)
        self.raws.append(await request.read())
        self.headers.append(request.headers)
        self.arrived.notify()
        return web.json_response({"outcome": "applied"}, status=self.statuses.pop(0) if self.statuses else 200)

    async def wait(self, count: int) -> list[Body]:
        """Wait until so many callbacks have arrived."""
        return await self.arrived.until(lambda: self.bodies if len(self.bodies) >= count else None)


def list_played_names() -> set[str]:
    """The names of the routes that the sandbox plays."""
    return {route.name for route in list_routes() if isinstance(route, PaidRoute)}


def list_played(registry: Registry) -> list[Route]:
    """The routes of a registry that the sandbox plays."""
    names = list_played_names()
    return [route for route in registry.routes() if route.name in names]


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Client]:  # noqa: ANN401 - the sandbox's own
    """Run a sandbox with short jobs, and a client."""
    options = {"duration_s": SHORT_S, "callback_retry_s": 0.01} | options
    async with Sandbox(**options) as sandbox, aiohttp.ClientSession() as session:
        yield Client(session, sandbox)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run a callback receiver on loopback."""
    target = Receiver()
    app = web.Application()
    app.router.add_post("/callbacks/{tail:.*}", target.take)
    async with serving(app) as url:
        target.url = f"{url}/callbacks/suno/s3cr3t-t0k3n"
        yield target


def lower(headers: Any) -> dict[str, str]:  # noqa: ANN401 - aiohttp's own
    """Headers as a dict, names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def hold_requests(patch: pytest.MonkeyPatch) -> asyncio.Event:
    """Delay every create and poll of sandboxes until the event is set."""
    opened = asyncio.Event()

    async def wait(_gateway: Gateway, _route: str, _count: int) -> None:
        await opened.wait()

    patch.setattr(Gateway, "wait_latency", wait)
    return opened


def pass_time(sandbox: Sandbox, job_id: str, seconds: float) -> None:
    """Make a job older by this time instead of waiting; its callbacks are not moved."""
    find_job(sandbox, job_id).born_s -= seconds


def release(sandbox: Sandbox, job_id: str) -> None:
    """Continue a job that ``stage=hold`` holds; only polls show its end."""
    job = find_job(sandbox, job_id)
    job.fate = replace(job.fate, holds=False)


def find_job(sandbox: Sandbox, job_id: str) -> Job:
    """The sandbox's own record of a job."""
    job = sandbox._gateway.context.jobs.find(job_id)
    assert job is not None
    return job


def url_clock(patch: pytest.MonkeyPatch) -> RunningClock:
    """The clock for the validity of output URLs, which a test moves instead of waiting."""
    clock = RunningClock()
    patch.setattr(files, "time", clock)
    return clock
