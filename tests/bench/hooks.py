"""Script hooks against bare `create_subprocess_exec` at the same concurrency: their share of its speed.

A complete delivery is measured: fan-out, claim, event and environment, the program itself, its result on disk. A
backlog exists before the dispatcher starts; each delivery is counted in the store, so that a lost one ends the
benchmark.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.callbacks import make_tasks
from tests.kits.hooks import make_hook
from tracker.clock import SystemClock
from tracker.config.hooks import HookSpec
from tracker.domain.judge import Step, judge
from tracker.domain.observation import Observation, Reading, Source
from tracker.domain.schedule import PollPolicy, PollTiming
from tracker.domain.task import Output, Status, Task
from tracker.hooks.dispatcher import Dispatcher
from tracker.hooks.kinds.script import ScriptAction, ScriptRunner
from tracker.logs import configure_logging
from tracker.store.sqlite import SqliteStore

CONCURRENCY = 16
RUNS = 1_000
"""Programs started per round, bare and as hooks."""
BACKLOG = 10_000
DESCRIPTORS = 256
PROGRAM = "/bin/true"
HUNG = make_hook("hung", ("task.finished",), ScriptAction.of(["/bin/sleep", "1000"]), timeout_s=1000, concurrency=32)
"""A hook that never ends, in each of its slots."""


async def run(rounds: int) -> None:
    """Print the ratio of hook runs to bare starts, then drain a large backlog with few descriptors."""
    configure_logging("info", json=True)
    # as in the daemon, log lines are made; they are only discarded
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
        await _compare(rounds)


async def _compare(rounds: int) -> None:
    bare, hooks, beside = [], [], []
    for _ in range(rounds):
        bare.append(await _bare(RUNS))
        hooks.append(await _hooks(RUNS))
        beside.append(await _hooks(RUNS, HUNG))
    ratio = statistics.median(there / here for there, here in zip(hooks, bare, strict=True))
    print(
        f"  script hooks / bare starts, {CONCURRENCY} at once  {ratio:6.2f}   "
        f"({statistics.median(hooks):.0f} / {statistics.median(bare):.0f} per s)"
    )
    ratio = statistics.median(there / here for there, here in zip(beside, hooks, strict=True))
    print(f"  script hooks beside a hung one / alone  {ratio:6.2f}   ({statistics.median(beside):.0f} per s)")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, limits[1]))
    try:
        rate = await _hooks(BACKLOG)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    print(f"  backlog of {BACKLOG:,} with {DESCRIPTORS} descriptors: none lost  ({rate:.0f} per s)")


async def _bare(count: int) -> float:
    """Programs started and waited for per second."""
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            process = await asyncio.create_subprocess_exec(PROGRAM)
            await process.wait()

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    return count / (time.perf_counter() - start)


async def _hooks(count: int, *others: HookSpec) -> float:
    """Deliveries per second, from the start of the dispatcher to the last result on disk, beside other hooks."""
    with tempfile.TemporaryDirectory(prefix="tracker-bench-", dir=".") as name:
        path = Path(name) / "tracker.db"
        clock = SystemClock()
        ids = await make_tasks(path, count)
        store = SqliteStore(path, clock.now)
        await store.open()
        done = Reading(status=Status.SUCCEEDED, outputs=(Output("audio", "https://cdn.example.com/a.mp3"),))
        await asyncio.gather(
            *(store.apply(Observation(task_id, Source.POLL, clock.now(), done), _judge) for task_id in ids)
        )
        spec = make_hook("bench", ("task.finished",), ScriptAction.of([PROGRAM]), concurrency=CONCURRENCY)
        dispatcher = Dispatcher(store, [spec, *others], {"script": ScriptRunner(os.environ)}, clock)
        start = time.perf_counter()
        dispatcher.start()
        while (delivered := (await store.stats())["deliveries"])["succeeded"] < count:
            if delivered["failed"] or delivered["dead"]:
                raise SystemExit(f"deliveries were lost: {delivered}")
            await asyncio.sleep(0.05)
        elapsed_s = time.perf_counter() - start
        await dispatcher.stop(0)
        await store.close()
    return count / elapsed_s


def _judge(task: Task, observation: Observation, seen: Callable[[str], bool]) -> tuple[Step, ...]:
    return judge(task, observation, seen, PollTiming(PollPolicy(), 5.0))
