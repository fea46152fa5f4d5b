"""One lane with 20,000 due tasks: how fast it is polled, how exactly a rate is held, and how callbacks are affected.

The upstream answers at once that the task is still processing. The baseline is a bare aiohttp client that polls the
same upstream. Callbacks come over few connections, one after the other on each, with and without polls beside them.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median

import aiohttp

from tests.bench.callbacks import Server, baseline, callback_requests, daemon, make_tasks
from tests.bench.load import Measured, run_load
from tracker.clock import SystemClock
from tracker.domain.ids import RANDOM_BYTES, make_task_id
from tracker.domain.observation import Observation, Reading, Source
from tracker.domain.schedule import PollPolicy
from tracker.domain.task import ExternalId, Status, SubmitState
from tracker.logs import Redactor
from tracker.store.sqlite import SqliteStore
from tracker.store.values import NewTask
from tracker.tracking.reconciler import Reconciler

DUE = 20_000
SONGS = 2_000
"""Tasks that are called back, twice each."""
CALLBACK_CONNECTIONS = 4
BARE_CONNECTIONS = 64
WARM_UP = 2_000
"""Polls before the processor time of unchanged polls is measured."""
RATES = (20, 300, 1000)
"""Limits that are held, requests per second."""
HELD_FOR_S = 4.0
UNLIMITED = 100_000


@dataclass(frozen=True, slots=True)
class Turn:
    """One round; polls per second, and the callbacks' latencies."""

    bare: float
    tracker: float
    cpu_us: float
    alone: Measured
    beside: Measured


async def make_due(path: Path, *, is_running: bool = False) -> None:
    """Record tasks of one account and provider that are due at once.

    Args:
        path: of the database.
        is_running: a poll has found each task running before, so that the next poll changes nothing.
    """
    clock = SystemClock()
    store = SqliteStore(path, clock.now)
    await store.open()
    policy = PollPolicy(min_interval_s=30.0, max_interval_s=30.0)
    reconciler = Reconciler(store, policy_of=lambda _: policy, interval_of={}, redactor=Redactor())
    created_at = clock.now() - timedelta(minutes=2)
    for start in range(0, DUE, 5_000):
        new = [
            NewTask(
                id=make_task_id(created_at, secrets.token_bytes(RANDOM_BYTES)),
                route="kling.omni-video",
                provider="kling",
                account="default",
                asset="video",
                created_at=created_at,
                due_at=created_at,
                submit_state=SubmitState.ACCEPTED,
                external_id=ExternalId(f"up-{n}"),
            )
            for n in range(start, start + 5_000)
        ]
        await asyncio.gather(*map(store.create_task, new))
        if is_running:
            found = Reading(status=Status.RUNNING, upstream_status="processing")
            polled = [Observation(task.id, Source.POLL, created_at, found) for task in new]
            await asyncio.gather(*map(reconciler.apply, polled))
    await store.close()


def configured(port: int, rate: float) -> str:
    """An account at the upstream; polled tasks are not due again."""
    return (
        f'[accounts.default]\nbase_url = "http://127.0.0.1:{port}"\napi_key_env = "ANYINT_API_KEY"\n'
        f"max_requests_per_s = {rate}\n[poll]\nmin_interval_s = 3600\nmax_interval_s = 3600\n"
    )


async def seen(session: aiohttp.ClientSession, upstream: Server) -> list[float]:
    """Times of the upstream's requests since the last call, seconds, in order; without requests for lists of models."""
    async with session.get(f"http://127.0.0.1:{upstream.port}/seen") as answer:
        times: list[float] = await answer.json()
    return times


def busiest_second(times: Sequence[float]) -> int:
    """The most requests in any second."""
    return max(bisect_left(times, start + 1.0) - n for n, start in enumerate(times))


def per_second(times: Sequence[float]) -> float:
    """Requests per second from the first to the last."""
    return (len(times) - 1) / (times[-1] - times[0])


async def poll_bare(session: aiohttp.ClientSession, upstream: Server) -> float:
    """Polls per second of a loop that only polls."""
    numbers = iter(range(DUE))

    async def ask() -> None:
        for n in numbers:
            async with session.get(f"http://127.0.0.1:{upstream.port}/kling/v1/videos/omni-video/up-{n}") as answer:
                await answer.read()

    await asyncio.gather(*(ask() for _ in range(BARE_CONNECTIONS)))
    return per_second(await seen(session, upstream))


async def polled(session: aiohttp.ClientSession, upstream: Server, at_least: int) -> list[float]:
    """Wait for so many polls; when they came."""
    times: list[float] = []
    while len(times) < at_least:
        await asyncio.sleep(0.5)
        times += await seen(session, upstream)
    return times


async def measure_unchanged(
    directory: Path, made: Path, session: aiohttp.ClientSession, upstream: Server, more: str = ""
) -> float:
    """Processor time of the daemon per poll that changes nothing, microseconds; its start is left out."""
    with tempfile.TemporaryDirectory(dir=directory) as name:
        own = Path(name)
        shutil.copy(made, own / "tracker.db")
        await seen(session, upstream)
        async with daemon(own, archive=False, more=configured(upstream.port, UNLIMITED) + more) as server:
            first = len(await polled(session, upstream, WARM_UP))
            before_s = server.cpu_s()
            times = await polled(session, upstream, DUE - first)
            return (server.cpu_s() - before_s) / len(times) * 1e6


async def run(rounds: int) -> None:
    """Print the ratios."""
    with tempfile.TemporaryDirectory(prefix="tracker-bench-", dir=".") as name:
        directory = Path(name).absolute()
        made = directory / "made.db"
        songs = await make_tasks(made, SONGS)
        await make_due(made)
        running = directory / "running.db"
        await make_due(running, is_running=True)
        calls = callback_requests(songs, 0, SONGS)
        async with (
            baseline("upstream", directory / "upstream.db") as upstream,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):

            async def held(rate: float) -> tuple[float, float]:
                """Polls per second and the busiest second, as shares of the rate."""
                with tempfile.TemporaryDirectory(dir=directory) as own:
                    shutil.copy(made, Path(own) / "tracker.db")
                    await seen(session, upstream)
                    async with daemon(Path(own), archive=False, more=configured(upstream.port, rate)):
                        times = await polled(session, upstream, int(rate * HELD_FOR_S))
                return per_second(times) / rate, busiest_second(times) / rate

            turns = []
            for n in range(rounds):
                bare = await poll_bare(session, upstream)
                own = directory / f"round-{n}"
                own.mkdir()
                shutil.copy(made, own / "tracker.db")
                async with daemon(own, archive=False, more=configured(upstream.port, UNLIMITED)) as server:
                    beside = await run_load(server.port, calls[:SONGS], CALLBACK_CONNECTIONS)
                    times = await polled(session, upstream, DUE)
                    cpu_us = (server.cpu_s()) / DUE * 1e6
                    alone = await run_load(server.port, calls[SONGS:], CALLBACK_CONNECTIONS)
                shutil.rmtree(own)
                turns.append(Turn(bare, per_second(times), cpu_us, alone, beside))
            unchanged = [await measure_unchanged(directory, running, session, upstream) for _ in range(rounds)]
            limits = {rate: await held(rate) for rate in RATES}

    def show(what: str, figure: float, unit: str, target: str = "") -> None:
        print(f"  {what:44s} {figure:9{unit}}   {target}".rstrip())

    show("bare client, polls/s", median(turn.bare for turn in turns), ".0f")
    show("one lane of the tracker, polls/s", median(turn.tracker for turn in turns), ".0f", "(>= 1000)")
    show("tracker / bare", median(turn.tracker / turn.bare for turn in turns), ".2f")
    show("CPU us a poll, start and callbacks included", median(turn.cpu_us for turn in turns), ".0f")
    show("CPU us an unchanged poll", median(unchanged), ".0f")
    show("callback p99 ms, no polls", median(turn.alone.percentile_ms(99) for turn in turns), ".1f")
    show("callback p99 ms, beside polls", median(turn.beside.percentile_ms(99) for turn in turns), ".1f")
    for rate, (reached, busiest) in limits.items():
        show(f"limit {rate}/s: reached / limit", reached, ".2f")
        show(f"limit {rate}/s: busiest second / limit", busiest, ".2f", "(<= 1.10)")
