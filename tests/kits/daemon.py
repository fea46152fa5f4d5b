"""The complete daemon in the test's process, on a real file and a real port."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from tests.kits.processes import find_free_port
from tests.kits.waiting import WITHIN_S
from tracker.clock import Clock
from tracker.config import load_config
from tracker.daemon.app import Tracker
from tracker.daemon.provider_files import read_registry
from tracker.hooks.kinds.registry import hook_table
from tracker.logs import Sink
from tracker.sandbox import DEFAULT_KEY

Json = Any

REPOSITORY = Path(__file__).parents[2]

NEVER_POLLS = {"tick_s": 0.05, "first_delay_s": 600, "min_interval_s": 600, "max_interval_s": 600}
"""No poll comes within a test unless something asks for it."""
POLLS_AT_ONCE = {"tick_s": 0.05, "first_delay_s": 0.05, "min_interval_s": 0.05, "max_interval_s": 0.1}
KEY_ENV = "GATEWAY_KEY"


@dataclass(frozen=True, slots=True)
class Setting:
    """What a daemon is configured with.

    Attributes:
        gateway: base URL of the account ``default``; empty for none.
        poll: the table ``[poll]``.
        is_called_back: whether requests name a callback URL.
        tables: further tables, as TOML.
        top: lines before the first table.
        env: secrets; the account's key is there already.
        log: the table ``[log]``.
        port: where it listens, for who has to know before it starts; 0 for any.
    """

    gateway: str = ""
    poll: Mapping[str, float] = field(default_factory=lambda: POLLS_AT_ONCE)
    is_called_back: bool = True
    tables: str = ""
    top: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    log: str = 'level = "error"'
    port: int = field(default_factory=find_free_port)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def write(self, directory: Path) -> Path:
        """Write the configuration file."""
        lines = [
            self.top,
            f'public_url = "{self.url}"' if self.is_called_back else "",
            f'[server]\nlisten = "127.0.0.1:{self.port}"',
            f'[store]\npath = "{directory / "tracker.db"}"',
            "[poll]",
            *(f"{key} = {value}" for key, value in self.poll.items()),
            f"[log]\n{self.log}",
            self.tables,
        ]
        if self.gateway:
            lines.append(account("default", self.gateway))
        path = directory / "tracker.toml"
        path.write_text("\n".join(lines))
        return path


def account(name: str, base_url: str, key_env: str = KEY_ENV) -> str:
    """The table of an account."""
    return f'[accounts.{name}]\nbase_url = "{base_url}"\napi_key_env = "{key_env}"\nmax_requests_per_s = 2000'


@dataclass(frozen=True, slots=True)
class ApiClient:
    """A client of a running daemon."""

    session: aiohttp.ClientSession
    tracker: Tracker

    async def call(self, method: str, path: str, body: Json = None) -> tuple[int, Json]:
        """Status and JSON of a request."""
        async with self.session.request(method, path, json=body) as response:
            return response.status, await response.json(content_type=None)

    async def get(self, path: str) -> Json:
        """The JSON of a GET that must succeed."""
        status, body = await self.call("GET", path)
        assert status == 200, (path, status, body)
        return body

    async def submit(self, route: str, request: Mapping[str, Json], **more: Json) -> Json:
        """Create a task that must be taken."""
        status, task = await self.call("POST", "/v1/tasks", {"route": route, "request": request, **more})
        assert status == 201, (route, task)
        return task

    async def end_of(self, task: Json, within_s: int = 20) -> Json:
        """Wait for the end of a task; the task at the end or at the time limit."""
        return await self.get(f"/v1/tasks/{task['id']}?wait={within_s}")

    async def events(self, task: Json) -> list[Json]:
        """The history of a task."""
        return list((await self.get(f"/v1/tasks/{task['id']}/events"))["items"])


@asynccontextmanager
async def running_daemon(
    directory: Path, setting: Setting, journal: Sink | None = None, clock: Clock | None = None
) -> AsyncIterator[ApiClient]:
    """Run the daemon as ``serve`` builds it; ``journal`` gets its log entries, ``clock`` replaces the machine's."""
    file = setting.write(directory)
    names = {provider.name for provider in read_registry(directory / "providers.d").providers()}
    config = load_config(file, {KEY_ENV: DEFAULT_KEY, **setting.env}, providers=names, hook_table=hook_table)
    tracker = Tracker(config, {}, clock, journal=journal)
    await tracker.start()
    connector = aiohttp.TCPConnector(limit=0)
    try:
        async with aiohttp.ClientSession(tracker.url, connector=connector) as session:
            yield ApiClient(session, tracker)
    finally:
        await tracker.stop()


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command wrote, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Json:
        """Standard output as JSON."""
        return orjson.loads(self.out)


async def run_tracker(
    *arguments: str, directory: Path, env: Mapping[str, str] | None = None, stdin: bytes | None = None
) -> Ran:
    """Run the command line as a user does: in a process, in a directory, without the environment of the test."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tracker",
        *arguments,
        cwd=directory,
        env={"PATH": os.defpath, "HOME": str(directory), "PYTHONPATH": str(REPOSITORY), **(env or {})},
        stdin=None if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(WITHIN_S):
        out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


def ends_of(events: list[Json]) -> list[Json]:
    """The events that ended a task."""
    ends = {"SUCCEEDED", "FAILED"}
    return [event for event in events if event["to"] in ends and event["from"] not in ends]
