"""One lane with 20,000 due tasks: how fast it is polled, how exactly a rate is held, and how callbacks are affected.

The upstream answers at once. A poll of a song finds it finished, one of a video changes nothing. The baseline is a bare
aiohttp client that asks the same upstream with 64 requests under way. Times are those at which the upstream got the
requests. A daemon that takes more than half a minute is stopped, and the rest is extrapolated.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import aiohttp

from tests.bench.load import Measured, run_load
from tests.bench.options import Options
from tests.bench.prepared import SONGS, callback_requests, make_tasks
from tests.bench.processes import Server, baseline, daemon, workplace
from tests.bench.report import Figure, Result, at_least, at_most
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
CALLED_BACK = 2_000
CALLBACK_CONNECTIONS = 4
BARE_CONNECTIONS = 64
RATES = (20, 300, 1000)
"""Limits that are held, requests per second."""
HELD_FOR_S = 4.0
UNLIMITED = 100_000
LIMIT_S = 30.0
FEW_ROUNDS = 3
"""For what is compared with nothing."""
_POLLED_ONCE = "[poll]\nmin_interval_s = 3600\nmax_interval_s = 3600\n"


class _Kind(NamedTuple):
    route: str
    asset: str
    path: str


SONG = _Kind("suno.generate", "song", "/suno/query/task?taskId=")
VIDEO = _Kind("kling.omni-video", "video", "/transtreams/kling/v1/videos/omni-video/")


@dataclass(frozen=True, slots=True)
class Polled:
    """What a daemon did: when the upstream was asked, and processor time per poll."""

    times: Sequence[float]
    cpu_us: float

    @property
    def per_second(self) -> float:
        """Polls per second from the first to the last."""
        return (len(self.times) - 1) / (self.times[-1] - self.times[0])

    @property
    def busiest_second(self) -> int:
        """The most polls in any second."""
        return max(bisect_left(self.times, start + 1.0) - n for n, start in enumerate(self.times))


class Upstream:
    """The upstream process, and a client of it.

    Args:
        server: where it runs.
        session: for asking it.
    """

    def __init__(self, server: Server, session: aiohttp.ClientSession) -> None:
        self.server = server
        self._session = session

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.port}{path}"

    async def seen(self) -> list[float]:
        """Times of the requests since the last call, seconds, in order."""
        async with self._session.get(self._url("/seen")) as answer:
            times: list[float] = await answer.json()
        return times

    async def poll_bare(self, count: int) -> float:
        """Polls per second of a loop that only polls."""
        await self.seen()
        numbers = iter(range(count))

        async def ask() -> None:
            for n in numbers:
                async with self._session.get(self._url(f"{SONG.path}up-{n}")) as answer:
                    await answer.read()

        await asyncio.gather(*(ask() for _ in range(BARE_CONNECTIONS)))
        return Polled(await self.seen(), 0).per_second

    async def watch(self, server: Server, at_least_polls: int) -> Polled:
        """Wait for polls, for half a minute at most."""
        times: list[float] = []
        end = time.monotonic() + LIMIT_S
        before_s = server.cpu_s()
        while len(times) < at_least_polls and time.monotonic() < end:
            await asyncio.sleep(0.2)
            times += await self.seen()
        return Polled(times, (server.cpu_s() - before_s) / len(times) * 1e6)


async def make_due(path: Path, count: int, kind: _Kind = SONG, *, is_running: bool = False) -> None:
    """Record tasks of one account and provider that are due at once.

    Args:
        path: of the database.
        count: how many.
        kind: of all of them.
        is_running: a poll has found each task running before, so that the next poll changes nothing.
    """
    clock = SystemClock()
    store = SqliteStore(path, clock.now)
    await store.open()
    policy = PollPolicy(min_interval_s=30.0, max_interval_s=30.0)
    reconciler = Reconciler(store, policy_of=lambda _: policy, interval_of={}, redactor=Redactor())
    created_at = clock.now() - timedelta(minutes=2)
    for start in range(0, count, 5_000):
        new = [
            NewTask(
                id=make_task_id(created_at, secrets.token_bytes(RANDOM_BYTES)),
                route=kind.route,
                provider=kind.route.partition(".")[0],
                account="default",
                asset=kind.asset,
                created_at=created_at,
                due_at=created_at,
                submit_state=SubmitState.ACCEPTED,
                external_id=ExternalId(f"up-{n}"),
            )
            for n in range(start, min(count, start + 5_000))
        ]
        await asyncio.gather(*map(store.create_task, new))
        if is_running:
            found = Reading(status=Status.RUNNING, upstream_status="processing")
            polled = [Observation(task.id, Source.POLL, created_at, found) for task in new]
            await asyncio.gather(*map(reconciler.apply, polled))
    await store.close()


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    """An upstream that answers polls."""
    async with (
        baseline("upstream") as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        yield Upstream(server, session)


@asynccontextmanager
async def polling(made: Path, to: Upstream, rate: float = UNLIMITED) -> AsyncIterator[Server]:
    """A daemon on a copy of a database, which polls each task once."""
    with workplace() as directory:
        shutil.copy(made, directory / "tracker.db")
        account = f'base_url = "http://127.0.0.1:{to.server.port}"\nmax_requests_per_s = {rate}'
        await to.seen()
        async with daemon(directory, upstream=account, more=_POLLED_ONCE) as server:
            yield server


async def run(options: Options) -> Result:
    """Measure all."""
    due, few = options.scaled(DUE), min(options.rounds, FEW_ROUNDS)
    with workplace() as directory:
        songs, videos = directory / "songs.db", directory / "videos.db"
        calls = callback_requests(await make_tasks(videos, CALLED_BACK, SONGS), SONGS)
        await make_due(songs, due)
        await make_due(videos, due, VIDEO, is_running=True)
        async with upstream() as to:
            bare, fresh = [], []
            for _ in range(options.rounds):
                bare.append(await to.poll_bare(due))
                async with polling(songs, to) as server:
                    fresh.append(await to.watch(server, due))
            unchanged = []
            for _ in range(few):
                async with polling(videos, to) as server:
                    unchanged.append(await to.watch(server, due))
            alone, beside = [], []
            for _ in range(few):
                async with polling(videos, to) as server:
                    beside.append(await run_load(server.port, calls[: len(calls) // 2], CALLBACK_CONNECTIONS))
                    await to.watch(server, due)
                    alone.append(await run_load(server.port, calls[len(calls) // 2 :], CALLBACK_CONNECTIONS))
            limits = []
            for rate in RATES:
                async with polling(songs, to, rate) as server:
                    limits.append((rate, await to.watch(server, min(due, round(rate * HELD_FOR_S)))))
    figures = [
        Figure("polls of one lane", [one.per_second for one in fresh], "/s", at_least(1_500, 3_500)),
        Figure(f"{due:,} due, all polled after", [due / one.per_second for one in fresh], "s", at_most(15, 6)),
        Figure(
            f"polls / bare client at {BARE_CONNECTIONS}",
            [one.per_second / other for one, other in zip(fresh, bare, strict=True)],
            "",
            at_least(0.35, 0.5),
        ),
        Figure(f"bare client at {BARE_CONNECTIONS}", bare, "/s"),
        Figure("CPU a poll that finds the end", [one.cpu_us for one in fresh], "us"),
        Figure("polls that change nothing", [one.per_second for one in unchanged], "/s"),
        Figure("CPU a poll that changes nothing", [one.cpu_us for one in unchanged], "us"),
    ]
    for rate, held in limits:
        figures.append(Figure(f"limit {rate}/s: used", [held.per_second / rate], "", at_least(0.9, 1)))
        figures.append(Figure(f"limit {rate}/s: busiest second", [held.busiest_second / rate], "", at_most(1.1, 1)))
    return Result("polls", [*figures, *_callbacks(alone, beside)])


def _callbacks(alone: Sequence[Measured], beside: Sequence[Measured]) -> list[Figure]:
    return [
        Figure("callbacks without polls, p99", [one.p99_ms for one in alone], "ms"),
        Figure("callbacks beside polls, p99", [one.p99_ms for one in beside], "ms"),
    ]
