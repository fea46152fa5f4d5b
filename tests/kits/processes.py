"""The daemon as a process of its own, and a sandbox gateway in the test's process.

Nothing here knows the daemon's insides: it is started by its command line, stopped by signals, called over HTTP,
its log is read, and its file through a plain connection.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
import orjson

from tests.kits.sandbox import find_job
from tests.kits.waiting import WITHIN_S, Signal, until
from tracker.sandbox import DEFAULT_KEY, Sandbox
from tracker.sandbox.jobs import Job

Json = Any

SERVE = (sys.executable, "-m", "tracker", "serve", "--config")
"""How the daemon is started; the configuration's path follows."""
LISTENING = "tracker.started"
KEY = DEFAULT_KEY
"""The key that the sandbox accepts and the daemon has."""
KEY_ENV = "ANYINT_API_KEY"
_PORTS = range(15_000, 30_000)
"""Below the ports that outgoing connections are given: one of them could sit on the daemon's while it is down."""


def find_free_port() -> int:
    """A free port, for a daemon that uses it again after restarts."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


class EventLog(Signal):
    """The events that the sandbox reports.

    Attributes:
        entries: (monotonic seconds, event, facts), oldest first.
        listeners: called with each event as it happens, in the middle of the sandbox's work.
    """

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[tuple[float, str, Mapping[str, Json]]] = []
        self.listeners: list[Callable[[str, Mapping[str, Json]], None]] = []

    def __call__(self, event: str, facts: Mapping[str, Json]) -> None:
        """Record an event."""
        self.entries.append((time.monotonic(), event, facts))
        for listener in self.listeners:
            listener(event, facts)
        self.notify()

    def times_of(self, event: str, **facts: Json) -> list[float]:
        """When an event with these facts was reported."""
        return [
            at for at, name, known in self.entries if name == event and all(known.get(k) == v for k, v in facts.items())
        ]

    async def wait_for(self, event: str, count: int = 1, **facts: Json) -> None:
        """Wait until an event was reported so many times."""
        await self.until(lambda: len(self.times_of(event, **facts)) >= count)


class Daemon:
    """The daemon's process; started, killed and started again.

    Args:
        config: its configuration file.
        env: additions to the test's environment.

    Attributes:
        lines: what all its runs wrote to standard error.
    """

    def __init__(self, config: Path, env: Mapping[str, str]) -> None:
        self._config = config
        self._env = {**os.environ, **env}
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._signal = Signal()
        self.lines: list[str] = []

    @property
    def pid(self) -> int:
        """The process id of the run under way."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> Self:
        """Start it, and wait until it answers requests."""
        starts = len(self.logged(LISTENING))
        process = await self._spawn()
        await self._signal.until(lambda: len(self.logged(LISTENING)) > starts or process.returncode is not None)
        assert process.returncode is None, "\n".join(self.lines)
        return self

    async def run_to_end(self) -> None:
        """Start it and wait for its end, for a start that is to fail."""
        await self._spawn()
        await self.ended()

    @property
    def code(self) -> int | None:
        """The exit code of the last run; None while it runs."""
        assert self._process is not None
        return self._process.returncode

    async def _spawn(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *SERVE,
            str(self._config),
            env=self._env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self._process = process
        self._reader = asyncio.create_task(self._read(process))
        return process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self.lines.append(line.decode(errors="replace").rstrip())
            self._signal.notify()
        await process.wait()
        self._signal.notify()

    async def reload(self, *edits: tuple[str, str]) -> None:
        """Edit the configuration, have it read again, and wait until it holds."""
        text = self._config.read_text()
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        self._config.write_text(text)
        before = len(self.logged("config.reloaded"))
        self.signal(signal.SIGHUP)
        await self.wait_for_log("config.reloaded", before + 1)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal at once."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def ended(self, within_s: float = WITHIN_S) -> int:
        """Wait for the end of the process; its exit code, negative for a signal."""
        assert self._process is not None
        assert self._reader is not None
        async with asyncio.timeout(within_s):
            await asyncio.shield(self._reader)
        code = self._process.returncode
        assert code is not None
        return code

    def kill_now(self) -> None:
        """``kill -9``, without waiting for anything."""
        self.signal(signal.SIGKILL)

    async def kill(self) -> None:
        """``kill -9``, and the end of the process."""
        self.kill_now()
        await self.ended()

    async def stop(self, within_s: float = WITHIN_S) -> None:
        """SIGTERM, and the orderly end that follows."""
        self.signal(signal.SIGTERM)
        code = await self.ended(within_s)
        assert code == 0, "\n".join(self.lines[-30:])

    async def close(self) -> None:
        """Leave no process behind, whether or not the test passed."""
        if self._reader is not None and not self._reader.done():
            await self.kill()

    def logged(self, event: str, **facts: Json) -> list[Mapping[str, Json]]:
        """The log entries of an event with these facts."""
        found = []
        for line in self.lines:
            if event in line and line.startswith("{"):
                entry = orjson.loads(line)
                if entry.get("event") == event and all(entry.get(k) == v for k, v in facts.items()):
                    found.append(entry)
        return found

    async def wait_for_log(self, event: str, count: int = 1, **facts: Json) -> list[Mapping[str, Json]]:
        """Wait until an event was logged so many times."""
        await self._signal.until(lambda: len(self.logged(event, **facts)) >= count)
        return self.logged(event, **facts)

    def assert_no_traceback(self) -> None:
        """Nothing failed unexpectedly."""
        bad = [line for line in self.lines if "Traceback" in line or '"level":"critical"' in line]
        assert not bad, "\n".join(bad)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer.

    Attributes:
        body: decoded JSON; None for an empty one.
    """

    status: int
    headers: Mapping[str, str]
    body: Json


REQUESTS: Mapping[str, Callable[[str], dict[str, Json]]] = {
    "suno.generate": lambda prompt: {"prompt": prompt, "customMode": False, "instrumental": True, "model": "V5"},
    "kling.omni-video": lambda prompt: {"model_name": "kling-v3-omni", "prompt": prompt},
    "dashscope.video": lambda prompt: {"model": "wan2.5-t2v-preview", "input": {"prompt": prompt}},
}
"""By route: a request with a prompt. One route of each of three families; DashScope knows no callbacks."""
SUNO, KLING, DASHSCOPE = REQUESTS


@dataclass
class System:
    """A daemon, the sandbox that it talks to, and a client of both.

    Attributes:
        url: where the daemon listens.
        database: its file.
        ran: what the hook script wrote, one line per run.
    """

    directory: Path
    sandbox: Sandbox
    event_log: EventLog
    daemon: Daemon
    client: aiohttp.ClientSession
    url: str
    database: Path

    # -- asking --------------------------------------------------------------------------------------------

    async def call(self, method: str, path: str, body: Json = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request to the daemon; ``body`` is sent as it is when it is bytes, else as JSON."""
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        async with self.client.request(
            method, self.url + path, data=data, headers={"Content-Type": "application/json", **(headers or {})}
        ) as response:
            raw = await response.read()
            return Answer(response.status, response.headers, orjson.loads(raw) if raw else None)

    async def get(self, path: str) -> Json:
        """The JSON of a GET that must succeed."""
        answer = await self.call("GET", path)
        assert answer.status == 200, answer
        return answer.body

    async def submit(
        self, route: str, prompt: str, *, headers: Mapping[str, str] | None = None, status: int = 201
    ) -> Json:
        """Create a task that must be taken."""
        answer = await self.call("POST", "/v1/tasks", submission(route, prompt), headers)
        assert answer.status == status, answer
        return answer.body

    async def end_of(self, task_id: str, within_s: float = WITHIN_S) -> Json:
        """Wait for the end of a task; it survives the daemon's restarts."""
        async with asyncio.timeout(within_s):
            while True:
                with suppress(aiohttp.ClientConnectionError):
                    task = await self.get(f"/v1/tasks/{task_id}?wait=30")
                    if task["status"] in {"SUCCEEDED", "FAILED"}:
                        return task
                await asyncio.sleep(0.05)

    async def becomes(self, task_id: str, **fields: Json) -> Json:
        """Wait until fields of a task have these values."""

        async def look() -> Json:
            task = await self.get(f"/v1/tasks/{task_id}")
            return task if all(task[name] == value for name, value in fields.items()) else None

        return await until(look)

    async def wait_for_callbacks(self, task_id: str, count: int) -> None:
        """Wait until a task has had so many callbacks."""

        async def look() -> bool:
            return int((await self.get(f"/v1/tasks/{task_id}"))["callbacks"]) >= count

        await until(look)

    async def events(self, task_id: str, **fields: Json) -> list[Json]:
        """The events of a task with these values."""
        items = (await self.get(f"/v1/tasks/{task_id}/events"))["items"]
        return [event for event in items if all(event[name] == value for name, value in fields.items())]

    async def deliveries_settle(self, within_s: float = WITHIN_S) -> None:
        """Wait until every hook run that follows from what has happened is over."""

        async def look() -> bool:
            with suppress(aiohttp.ClientConnectionError):
                return self.rows(
                    "SELECT (SELECT count(*) FROM deliveries WHERE status IN ('pending', 'running')),"
                    " (SELECT count(*) FROM outbox)"
                ) == [(0, 0)]
            return False

        await until(look, within_s)

    async def run_second(self) -> Daemon:
        """Start another daemon on the same file and another port, and wait for its end."""
        config = self.directory / "second.toml"
        first = (self.directory / "tracker.toml").read_text()
        config.write_text(first.replace(f'listen = "{self.url.removeprefix("http://")}"', 'listen = "127.0.0.1:0"'))
        second = Daemon(config, {KEY_ENV: KEY})
        try:
            await second.run_to_end()
        finally:
            await second.close()
        return second

    # -- looking -------------------------------------------------------------------------------------------

    def rows(self, sql: str, *parameters: Json) -> list[tuple[Any, ...]]:
        """Read the database beside the daemon."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()

    @property
    def ran(self) -> list[Ran]:
        """What the hook script wrote, oldest first."""
        path = self.directory / "ran"
        return [Ran(*line.split("|")) for line in path.read_text().splitlines()] if path.exists() else []

    def creates(self, marker: str) -> list[Json]:
        """The create requests that the sandbox has seen with this marker in their prompt."""
        return [record for record in self.sandbox.state()["creates"] if marker in (record["prompt"] or "").split()]

    def job(self, external_id: str) -> Job:
        """The sandbox's job with this id."""
        return find_job(self.sandbox, external_id)

    def callback_path(self, external_id: str) -> str:
        """Where the sandbox sends the callbacks of a job."""
        url = str(self.job(external_id).callback_url)
        assert url.startswith(self.url)
        return url.removeprefix(self.url)


@dataclass(frozen=True, slots=True)
class Ran:
    """One line that the hook script wrote."""

    delivery: str
    event: str
    status: str
    reason: str
    task: str
    attempt: str


HOOK = """#!/bin/sh
{before}
printf '%s|%s|%s|%s|%s|%s\\n' "$TRACKER_DELIVERY_ID" "$TRACKER_EVENT" "$TRACKER_STATUS" "$TRACKER_REASON" \\
    "$TRACKER_TASK_ID" "$TRACKER_ATTEMPT" >> '{file}'
"""
FAST = {
    "tick_s": 0.1,
    "first_delay_s": 0.3,
    "min_interval_s": 0.3,
    "max_interval_s": 0.6,
    "submit_retry_s": 4.0,
}
"""Polls that come soon, for tests that wait for them."""
NEVER = {**FAST, "first_delay_s": 600.0, "min_interval_s": 600.0, "max_interval_s": 600.0}
"""Polls that do not come within a test."""


def submission(route: str, prompt: str) -> dict[str, Json]:
    """The body that creates a task."""
    return {"route": route, "request": REQUESTS[route](prompt)}


@asynccontextmanager
async def running_system(
    directory: Path,
    *,
    poll: Mapping[str, float] | None = None,
    called_back: bool = True,
    hook_before: str | None = "",
    hook_on: str = "task.*",
    top: str = "",
    account: str = "",
    sandbox: Mapping[str, Json] | None = None,
) -> AsyncIterator[System]:
    """A system with its daemon running.

    Args:
        directory: where all files go.
        poll: the ``[poll]`` table; `FAST` by default.
        called_back: whether requests name a callback URL.
        hook_before: what the hook script does before it writes its line; None for no hook.
        hook_on: the events of the hook.
        top: further lines at the top of the configuration.
        account: further lines of the account.
        sandbox: options of the sandbox.
    """
    port = find_free_port()
    url = f"http://127.0.0.1:{port}"
    event_log = EventLog()
    async with Sandbox(**{"duration_s": 1.0, "on_event": event_log, **(sandbox or {})}) as gateway:
        config = directory / "tracker.toml"
        script = directory / "hook"
        lines = [
            top,
            f'public_url = "{url}"' if called_back else "",
            f'[server]\nlisten = "127.0.0.1:{port}"',
            f'[store]\npath = "{directory}/db/tracker.db"',
            f'[accounts.default]\nbase_url = "{gateway.base_url}"\nmax_requests_per_s = 500',
            account,
            "[poll]",
            *(f"{key} = {value}" for key, value in (poll or FAST).items()),
            '[log]\nformat = "json"',
        ]
        if hook_before is not None:
            script.write_text(HOOK.format(before=hook_before, file=directory / "ran"))
            script.chmod(0o755)
            lines.append(
                f'[[hooks]]\nname = "note"\non = ["{hook_on}"]\nrun = ["{script}"]\nretry_first_s = 0.2\n'
                "retry_max_s = 1\nconcurrency = 4"
            )
        config.write_text("\n".join(lines))
        daemon = Daemon(config, {KEY_ENV: KEY})
        timeout = aiohttp.ClientTimeout(total=WITHIN_S + 30)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as client:
                await daemon.start()
                yield System(directory, gateway, event_log, daemon, client, url, directory / "db" / "tracker.db")
        finally:
            await daemon.close()
