"""What the number of stored tasks costs: start, memory, ``db check``, ``db prune``, and callbacks beside a prune.

Each is compared with an empty or a small database. Commands work on the file alone, without a daemon.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench import datasets
from tests.bench.load import Measured, get, post, run_load
from tests.bench.options import Options
from tests.bench.prepared import callback_requests, make_tasks
from tests.bench.processes import Finished, configure, daemon, run_command, workplace
from tests.bench.report import Figure, Result, at_most

SMALL = 10_000
OLD = 100_000
SETTLE = [get("/readyz")] * 2_000
TICKS_S = 3.0
"""Some sweeps go by before memory is read."""
BUDGET_S = 120.0
"""A command that takes long has fewer rounds: none begins after this."""
CALLED_BACK = 500
"""Tasks that are called back between two looks at the prune."""
CONNECTIONS = 16
MOST_ROUNDS = 40
_BODIES = "[retention]\nevents_days = 0\npayload_days = 30\n"
_EVENTS = "[retention]\nevents_days = 30\npayload_days = 30\n"


@dataclass(frozen=True, slots=True)
class Started:
    """A daemon that has started and settled."""

    ready_s: float
    resident_mib: float


async def run(options: Options) -> Result:
    """Measure all."""
    large = await datasets.cached(datasets.large(options.tasks))
    empty_starts, starts = [], []
    for n in range(options.rounds + 1):
        empty, full = await _start(None), await _start(large)
        if n:  # the first start reads the file from the disk
            empty_starts.append(empty)
            starts.append(full)
    both = list(zip(starts, empty_starts, strict=True))
    growth = [a.resident_mib - b.resident_mib for a, b in both]
    of = f"{options.tasks:,} tasks"
    figures = [
        Figure(f"start to ready, {of} / none", [a.ready_s / b.ready_s for a, b in both], "", at_most(1.3, 1.1)),
        Figure(f"resident memory, {of} - none", growth, "MiB", at_most(20, 15)),
        Figure("start to ready, no tasks", [one.ready_s for one in empty_starts], "s"),
        Figure("resident memory, no tasks", [one.resident_mib for one in empty_starts], "MiB"),
    ]
    figures += await _check(options, large)
    figures += await _prune(options)
    figures += await _prune_beside(options)
    return Result("size", figures, [f"{large.stat().st_size / options.tasks:,.0f} bytes a task on disk"])


async def _start(database: Path | None) -> Started:
    with workplace() as directory:
        async with daemon(directory, database=database) as server:
            await run_load(server.port, SETTLE, 8)
            await asyncio.sleep(TICKS_S)
            return Started(server.ready_s, server.resident_mib())


async def _repeat(rounds: int, run_once: Callable[[], Awaitable[Finished]]) -> list[Finished]:
    end = time.monotonic() + BUDGET_S
    found = [await run_once()]
    while len(found) < rounds and time.monotonic() < end:
        found.append(await run_once())
    return found


async def _check(options: Options, large: Path) -> list[Figure]:
    small = await datasets.cached(datasets.large(SMALL))

    async def check(path: Path) -> Finished:
        with workplace() as directory:
            command = ["-m", "tracker", "db", "check", "--config", str(configure(directory, database=path))]
            return run_command(command, directory, watch_memory=True)

    few = await _repeat(options.rounds, lambda: check(small))
    many = await _repeat(options.rounds, lambda: check(large))
    growth = [one.peak_mib - other.peak_mib for one, other in zip(many, few, strict=False)]
    of = f"db check, {options.tasks:,} tasks"
    return [
        Figure(of, [one.seconds for one in many], "s", at_most(60, 30)),
        Figure(f"{of}, CPU", [one.cpu_s for one in many], "s"),
        Figure(f"{of}, peak memory - that of {SMALL:,}", growth, "MiB", at_most(20)),
        Figure(f"{of}, peak memory", [one.peak_mib for one in many], "MiB"),
    ]


async def _prune(options: Options) -> list[Figure]:
    """Bodies first, then histories, each on the file that the step before left."""
    count = options.scaled(OLD)
    recipe = datasets.old(count)
    bodies: list[Finished] = []

    async def prune() -> Finished:
        with workplace() as directory:
            await datasets.copy_of(recipe, directory)
            command = ["-m", "tracker", "db", "prune", "--config"]
            bodies.append(run_command([*command, str(configure(directory, more=_BODIES))], directory))
            os.sync()
            return run_command([*command, str(configure(directory, more=_EVENTS))], directory)

    histories = await _repeat(options.rounds, prune)
    return [
        Figure(f"db prune, bodies of {count:,} tasks", [one.seconds for one in bodies], "s", at_most(15, 8)),
        Figure(f"db prune, histories of {count:,} tasks", [one.seconds for one in histories], "s", at_most(15, 8)),
        Figure("db prune, bodies, CPU", [one.cpu_s for one in bodies], "s"),
        Figure("db prune, histories, CPU", [one.cpu_s for one in histories], "s"),
    ]


async def _prune_beside(options: Options) -> list[Figure]:
    """Callbacks while a daemon prunes old tasks, against callbacks of the same daemon at rest."""
    count = options.scaled(OLD)
    with workplace() as directory:
        path = await datasets.copy_of(datasets.old(count), directory)
        tasks = await make_tasks(path, CALLED_BACK * (options.rounds + 1 + MOST_ROUNDS))
        batches = (callback_requests(tasks[n : n + CALLED_BACK]) for n in range(0, len(tasks), CALLED_BACK))
        async with daemon(directory, more=_EVENTS) as server:

            async def call_back() -> Measured:
                measured = await run_load(server.port, next(batches), CONNECTIONS)
                if measured.failed:
                    raise SystemExit(f"{measured.failed} callbacks were refused")
                return measured

            await call_back()  # warms up
            at_rest = [await call_back() for _ in range(options.rounds)]
            start = time.perf_counter()
            pruning = asyncio.create_task(run_load(server.port, [post("/v1/prune", b"{}")], 1))
            beside: list[Measured] = []
            while not pruning.done() and len(beside) < MOST_ROUNDS:
                beside.append(await call_back())
            if (await pruning).failed:
                raise SystemExit("the prune failed")
            took_s = time.perf_counter() - start
    quiet = sorted(one.p99_ms for one in at_rest)[len(at_rest) // 2]
    return [
        Figure("callbacks beside a prune, p99 / at rest", [one.p99_ms / quiet for one in beside], "", at_most(3)),
        Figure("callbacks beside a prune, worst", [max(one.worst_ms for one in beside)], "ms"),
        Figure(f"prune of {count:,} tasks by a daemon, beside callbacks", [took_s], "s"),
    ]
