"""Hooks with a backlog: deliveries per second of each kind, against the bare thing at the same concurrency.

The backlog is in the outbox before the daemon starts, so that a delivery is complete: fan-out, claim, event, run, and
the result on disk. Rates follow from the times that the store recorded. The baselines are asyncio's
`create_subprocess_exec` and an aiohttp client that posts to the same endpoint.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.bench import datasets
from tests.bench.options import Options
from tests.bench.processes import HOOK_SECRET_ENV, Server, baseline, daemon, workplace
from tests.bench.report import Figure, Result, at_least

CONCURRENCY = 16
STARTS = 2_000
"""Programs started, bare and as hooks."""
BACKLOG = 10_000
PROGRAM = shutil.which("true") or "/bin/true"
BUSY = [shutil.which("sleep") or "/bin/sleep", "5"]
"""Outlasts what is measured; the daemon waits for it when it stops."""
_ACCEPT = """import sys
for _ in sys.stdin.buffer:
    sys.stdout.buffer.write(b'{"ok": true}\\n')
    sys.stdout.buffer.flush()
"""
WORKER = [sys.executable, "-SE", "-c", _ACCEPT]
LIMIT_S = 120.0
BODY = json.dumps({"event": "task.succeeded", "task": {"text": "invented for the bench " * 60}}).encode()


@dataclass(frozen=True, slots=True)
class Delivered:
    """How fast a backlog was delivered, and processor time of the daemon for each."""

    per_second: float
    cpu_us: float


async def run(options: Options) -> Result:
    """Measure all kinds in each round."""
    starts, backlog = options.scaled(STARTS), options.scaled(BACKLOG)
    few, many = datasets.undelivered(starts), datasets.undelivered(backlog)
    found: dict[str, list[Delivered]] = {}
    bare_starts, bare_posts, fanned_out = [], [], []
    async with baseline("bare") as endpoint:
        for _ in range(options.rounds):
            bare_starts.append(await asyncio.to_thread(asyncio.run, _start_bare(starts)))
            bare_posts.append(await _post_bare(endpoint, backlog))
            fanned_out.append(await _fan_out(many))
            script = _hook("bench", run=[PROGRAM])
            hung = _hook("hung", run=BUSY, concurrency=32)
            url = f"http://127.0.0.1:{endpoint.port}/hook"
            http = _hook("bench", url=url, secret_env=HOOK_SECRET_ENV, allow_private_addresses=True)
            for kind, recipe, count, hooks in (
                ("script", few, starts, script),
                ("script beside a hung one", few, starts, script + hung),
                ("http", many, backlog, http),
                ("worker", many, backlog, _hook("bench", run=WORKER, worker=True)),
            ):
                found.setdefault(kind, []).append(await _deliver(recipe, count, hooks))
    rates = {kind: [one.per_second for one in runs] for kind, runs in found.items()}
    figures = [
        Figure("fan-out of events while behind", fanned_out, "/s", at_least(25_000, 50_000)),
        Figure("script hooks / bare starts", _ratios(rates["script"], bare_starts), "", at_least(0.9, 1)),
        Figure("HTTP hooks / bare posts", _ratios(rates["http"], bare_posts), "", at_least(0.35, 0.5)),
        Figure("worker hooks", rates["worker"], "/s", at_least(8_000, 15_000)),
        Figure("script hooks", rates["script"], "/s"),
        Figure("bare starts", bare_starts, "/s"),
        Figure("HTTP hooks", rates["http"], "/s"),
        Figure("bare posts", bare_posts, "/s"),
        Figure("script beside a hung one / alone", _ratios(rates["script beside a hung one"], rates["script"])),
    ]
    figures += [Figure(f"CPU a {kind} hook", [one.cpu_us for one in runs], "us") for kind, runs in found.items()]
    return Result("hooks", figures, [f"{CONCURRENCY} at once; backlogs of {starts:,} programs, {backlog:,} others"])


def _ratios(ours: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ours, others, strict=True)]


def _hook(name: str, **keys: object) -> str:
    """A table of the configuration; a list or a number is the same in JSON and TOML."""
    table = {"on": ["task.finished"], "concurrency": CONCURRENCY, **keys}
    return f'[[hooks]]\nname = "{name}"\n' + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


async def _start_bare(count: int) -> float:
    """Programs started and waited for per second."""
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            process = await asyncio.create_subprocess_exec(PROGRAM)
            await process.wait()

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    return count / (time.perf_counter() - start)


async def _post_bare(endpoint: Server, count: int) -> float:
    """Requests answered per second."""
    left = iter(range(count))
    async with aiohttp.ClientSession() as session:

        async def work() -> None:
            for _ in left:
                async with session.post(f"http://127.0.0.1:{endpoint.port}/hook", data=BODY) as response:
                    await response.read()

        start = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        return count / (time.perf_counter() - start)


async def _deliver(recipe: datasets.Recipe, count: int, hooks: str) -> Delivered:
    """Deliver a backlog to the hook ``bench``."""
    with workplace() as directory:
        path = await datasets.copy_of(recipe, directory)
        async with daemon(directory, more=hooks) as server:
            before_s = server.cpu_s()
            await _wait_for(
                path, count, "SELECT count(*) FROM deliveries WHERE hook = 'bench' AND status = 'succeeded'"
            )
            cpu_us = (server.cpu_s() - before_s) / count * 1e6
            span = "SELECT max(finished_at) - min(finished_at) FROM deliveries WHERE hook = 'bench'"
            return Delivered(count / _read(path, span) * 1000, cpu_us)


async def _fan_out(recipe: datasets.Recipe) -> float:
    """Events per second that become deliveries of a hook which is busy; the last batch shows when the others ended."""
    with workplace() as directory:
        path = await datasets.copy_of(recipe, directory)
        count = _read(path, "SELECT count(*) FROM outbox")
        hook = _hook("bench", on=["task.*"], run=BUSY, concurrency=1)
        async with daemon(directory, more=hook):
            await _wait_for(path, count, f"SELECT {count} - count(*) FROM outbox")
            last = _read(
                path, "SELECT count(*) FROM deliveries WHERE created_at = (SELECT max(created_at) FROM deliveries)"
            )
            span = _read(path, "SELECT max(created_at) - min(created_at) FROM deliveries")
    return (count - last) / max(span, 1) * 1000


async def _wait_for(path: Path, count: int, statement: str) -> None:
    end = time.monotonic() + LIMIT_S
    while (found := _read(path, statement)) < count:
        if time.monotonic() > end:
            raise SystemExit(f"{found} of {count} after {LIMIT_S:g} s: {statement}")
        await asyncio.sleep(0.05)


def _read(path: Path, statement: str) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        ((value,),) = db.execute(statement).fetchall()
    return int(value)
