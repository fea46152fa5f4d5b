"""What users and the sweep look up, in a database with a million tasks.

Searches and lists are asked for over HTTP, one at a time but for the three searches beside which one task is looked up.
Values without a hit are those that cost most: nothing ends the search early. The claim of archive work and the sweep
are measured in the store, without the commit.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from urllib.parse import quote

from tests.bench import datasets
from tests.bench.load import Measured, get, run_load
from tests.bench.options import Options
from tests.bench.prepared import make_tasks
from tests.bench.processes import daemon, workplace
from tests.bench.report import Figure, Result, Target, at_most
from tracker.clock import SystemClock
from tracker.metrics.scrape import READ_EVERY_S
from tracker.store.sqlite import SqliteStore
from tracker.store.sqlite.archives import claim_archives
from tracker.store.sqlite.transactions import Transaction

SEARCH = "q=zzz-no-such-text"
LIST_TARGET = at_most(10, 2)
LISTS: dict[str, tuple[str, Target | None]] = {
    "provider without a hit": ("provider=dashscope", LIST_TARGET),
    "account without a hit": ("account=unused", LIST_TARGET),
    "reason without a hit": ("reason=policy_rejected", LIST_TARGET),
    "until without a hit": ("until=2020-01-01T00:00:00Z", LIST_TARGET),
    "route without a hit": ("route=kling.image", None),
    "newest 50": ("", None),
    "one label": ("label.user=7", None),
    "reason=generation_failed": ("reason=generation_failed", None),
}
ASKED = 5
"""Times that each is asked for in a round."""
BESIDE_S = 3.0
LOOKUPS = 100
DUE_ARCHIVES = 95_000
CLAIMED = 6
SWEPT = (1_000, 100_000)
"""Tasks that are not due."""
LOOKS = 200

Values = dict[str, list[float]]


async def run(options: Options) -> Result:
    """Measure all."""
    path = await datasets.cached(datasets.large(options.tasks))
    found: Values = {}
    with workplace() as directory:
        async with daemon(directory, database=path) as server:
            for _ in range(options.rounds):
                for name, value in (await _measure_round(server.port, _some_task(path))).items():
                    found.setdefault(name, []).append(value)
    targets = {
        "look-up beside three searches": at_most(20, 5),
        "q without a hit": at_most(300, 50),
        "/v1/stats": at_most(20, 5),
        "/v1/hooks": at_most(20, 5),
        "/metrics": at_most(20, 5),
        **{name: target for name, (_, target) in LISTS.items() if target},
    }
    figures = [Figure(name, values, "ms", targets.get(name)) for name, values in found.items()]
    items = options.scaled(DUE_ARCHIVES)
    claims = _claim_archives(await datasets.cached(datasets.due_archives(items)), options.rounds)
    figures.append(Figure(f"claim of archive work, {items:,} due", claims, "ms", at_most(0.5, 0.05)))
    figures += await _sweep(options)
    asked = f"a look-up beside searches: p95 of {BESIDE_S:g} s; others: the median of {ASKED} in a round"
    size = f"{options.tasks:,} tasks, {path.stat().st_size / 2**20:,.0f} MiB (targets: of 1,000,000)"
    return Result("lookups", figures, [size, asked])


def _some_task(path: Path) -> str:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        ((task_id,),) = db.execute("SELECT id FROM tasks ORDER BY id DESC LIMIT 1").fetchall()
    return str(task_id)


async def _measure_round(port: int, task_id: str) -> dict[str, float]:
    async def ask(path: str, times: int = ASKED) -> Measured:
        return await run_load(port, [get(path)] * times, 1)

    task = f"/v1/tasks/{task_id}"
    figures = {"look-up beside three searches": await _beside_searches(ask, task)}
    figures["look-up alone"] = (await ask(task, LOOKUPS)).p50_ms
    figures["q without a hit"] = (await ask(f"/v1/tasks?{SEARCH}")).p50_ms
    for name, (query, _) in LISTS.items():
        figures[name] = (await ask(f"/v1/tasks?{quote(query, safe='=&')}")).p50_ms
    for path in ("/v1/stats", "/v1/hooks", "/v1/deliveries?status=dead"):
        figures[path] = (await ask(path)).p50_ms
    figures["/metrics"] = await _scrape(ask)
    return figures


async def _scrape(ask: Callable[[str, int], Awaitable[Measured]]) -> float:
    """The median of some scrapes that read the store anew, milliseconds."""
    taken = []
    for _ in range(ASKED):
        await asyncio.sleep(READ_EVERY_S)
        taken.append((await ask("/metrics", 1)).worst_ms)
    return median(taken)


async def _beside_searches(ask: Callable[[str, int], Awaitable[Measured]], task: str) -> float:
    """The 95th percentile of look-ups while three clients search, milliseconds."""
    is_over = False

    async def search() -> None:
        while not is_over:
            await ask(f"/v1/tasks?{SEARCH}", 1)

    searches = [asyncio.create_task(search()) for _ in range(3)]
    await asyncio.sleep(0.2)  # all three are under way
    latencies = []
    end = time.monotonic() + BESIDE_S
    while time.monotonic() < end:
        latencies.append((await ask(task, 1)).worst_ms)
        await asyncio.sleep(0.02)
    is_over = True
    await asyncio.gather(*searches)
    return sorted(latencies)[int(len(latencies) * 0.95)]


def _claim_archives(path: Path, rounds: int) -> list[float]:
    """Milliseconds that one claim takes on the writer's thread; each is undone."""
    found = []
    now = SystemClock().now()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for _ in range(rounds):
            times = []
            for _ in range(20):
                db.execute("BEGIN IMMEDIATE")
                start = time.perf_counter()
                jobs = claim_archives(Transaction(db, now, "bench"), CLAIMED, 60)
                times.append((time.perf_counter() - start) * 1000)
                db.execute("ROLLBACK")
                if len(jobs) != CLAIMED:
                    raise SystemExit(f"{CLAIMED} items were due, {len(jobs)} were claimed")
            found.append(median(times))
    return found


@dataclass(frozen=True, slots=True)
class _Sweep:
    """Milliseconds of looks with nothing due, and of a claim of 100 tasks, by round."""

    idle: list[float]
    claim: list[float]


async def _sweep(options: Options) -> list[Figure]:
    """The due sweep touches only what is due: its cost against the number of tasks that are not."""
    sizes = [options.scaled(size) for size in SWEPT]
    few, many = [await _measure_sweep(size, options.rounds) for size in sizes]
    of = f"{sizes[1]:,} / {sizes[0]:,} tasks"
    return [
        Figure(f"sweep, nothing due, {of}", [b / a for a, b in zip(few.idle, many.idle, strict=True)]),
        Figure(f"sweep, claim of 100, {of}", [b / a for a, b in zip(few.claim, many.claim, strict=True)]),
        Figure(f"sweep, nothing due, {sizes[1]:,} tasks", many.idle, "ms"),
        Figure(f"sweep, claim of 100, {sizes[1]:,} tasks", many.claim, "ms"),
    ]


async def _measure_sweep(size: int, rounds: int) -> _Sweep:
    clock = SystemClock()
    shift = timedelta()
    sweep = _Sweep([], [])
    with workplace() as directory:
        await make_tasks(directory / "tracker.db", size)
        store = SqliteStore(directory / "tracker.db", lambda: clock.now() + shift)
        await store.open()
        for _ in range(rounds):
            shift = timedelta()
            start = time.perf_counter()
            for _ in range(LOOKS):
                await store.list_lanes()
            sweep.idle.append((time.perf_counter() - start) / LOOKS * 1000)
            shift = timedelta(hours=2)
            lane = (await store.list_lanes())[0]
            start = time.perf_counter()
            claimed = await store.claim_due(lane, 100, 3600)
            sweep.claim.append((time.perf_counter() - start) * 1000)
            if len(claimed) != 100:
                raise SystemExit(f"100 tasks were due, {len(claimed)} were claimed")
        await store.close()
    return sweep
