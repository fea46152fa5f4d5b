"""The due sweep touches only what is due: its cost against the number of tasks that are not."""

from __future__ import annotations

import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from tests.bench.callbacks import make_tasks
from tracker.clock import SystemClock
from tracker.store.sqlite import SqliteStore

SIZES = (1_000, 100_000)
LOOKS = 200


async def run(rounds: int) -> None:
    """Print the cost of one sweep with few and with many tasks, nothing due and 100 due."""
    costs: dict[int, tuple[float, float]] = {}
    for size in SIZES:
        with tempfile.TemporaryDirectory(prefix="tracker-bench-", dir=".") as name:
            path = Path(name) / "tracker.db"
            await make_tasks(path, size)
            costs[size] = await _measure(path, rounds)
    (few_idle, few_due), (many_idle, many_due) = costs[SIZES[0]], costs[SIZES[1]]
    sizes = f"{SIZES[1]:,} / {SIZES[0]:,} tasks"
    print(f"  nothing due, {sizes}        {many_idle / few_idle:6.2f}   ({many_idle * 1e6:.0f} us)")
    print(f"  claim 100,   {sizes}        {many_due / few_due:6.2f}   ({many_due * 1e6:.0f} us)")


async def _measure(path: Path, rounds: int) -> tuple[float, float]:
    clock = SystemClock()
    shift = timedelta()
    store = SqliteStore(path, lambda: clock.now() + shift)
    await store.open()
    idle, due = [], []
    for _ in range(rounds):
        shift = timedelta()
        start = time.perf_counter()
        for _ in range(LOOKS):
            await store.list_lanes()
        idle.append((time.perf_counter() - start) / LOOKS)
        shift = timedelta(hours=2)
        (lane,) = await store.list_lanes()
        start = time.perf_counter()
        claimed = await store.claim_due(lane, 100, 3600)
        due.append(time.perf_counter() - start)
        if len(claimed) != 100:
            raise SystemExit(f"100 tasks were due, {len(claimed)} were claimed")
    await store.close()
    return statistics.median(idle), statistics.median(due)
