"""Callbacks while 100,000 old tasks are pruned, against callbacks of the same daemon at rest: the 99th percentile.

Half of the old tasks lose their bodies, half their complete history. The prune is requested over HTTP; callbacks are
measured in rounds until it has ended.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import statistics
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

from tests.bench.callbacks import callback_requests, daemon, make_tasks
from tests.bench.load import Measured, post, run_load
from tracker.clock import SystemClock
from tracker.domain.ids import RANDOM_BYTES, make_task_id
from tracker.domain.judge import Step, judge
from tracker.domain.observation import Observation, Reading, Source
from tracker.domain.schedule import PollPolicy, PollTiming
from tracker.domain.task import ExternalId, Output, Status, SubmitState, Task
from tracker.store.sqlite import SqliteStore
from tracker.store.values import NewTask

OLD_TASKS = 100_000
AT_ONCE = 2_000
TASKS = 500
"""Called back twice in each round."""
MOST_ROUNDS = 30
CONNECTIONS = 16
PAYLOAD = json.dumps({"status": "SUCCEEDED", "text": "invented for the bench " * 60})


async def run(rounds: int) -> None:
    """Print both percentiles and their ratio."""
    with tempfile.TemporaryDirectory(prefix="tracker-bench-", dir=".") as name:
        directory = Path(name).absolute()
        path = directory / "tracker.db"
        await _make_old_tasks(path)
        ids = await make_tasks(path, TASKS * (rounds + 1 + MOST_ROUNDS))
        full = path.stat().st_size
        async with daemon(directory, archive=False) as server:
            port, slices = server.port, iter(range(0, len(ids), TASKS))
            await run_load(port, callback_requests(ids, next(slices), TASKS), CONNECTIONS)  # warms up
            idle = [await _measure(port, callback_requests(ids, next(slices), TASKS)) for _ in range(rounds)]
            start = time.perf_counter()
            pruning = asyncio.create_task(run_load(port, [post("/v1/prune", b"{}")], 1))
            beside: list[Measured] = []
            while not pruning.done() and len(beside) < MOST_ROUNDS:
                beside.append(await _measure(port, callback_requests(ids, next(slices), TASKS)))
            ended = await pruning
            took_s = time.perf_counter() - start
            if ended.statuses != {200: 1}:
                raise SystemExit(f"the prune was not done: {ended.statuses}")
        _report(idle, beside, took_s, full, path.stat().st_size)


async def _measure(port: int, requests: list[bytes]) -> Measured:
    measured = await run_load(port, requests, CONNECTIONS)
    if measured.statuses != {200: len(requests)}:
        raise SystemExit(f"not every callback was applied: {measured.statuses}")
    return measured


async def _make_old_tasks(path: Path) -> None:
    """Songs that succeeded 40 and 100 days ago."""
    clock = SystemClock()
    store = SqliteStore(path, clock.now)
    await store.open()
    for start in range(0, OLD_TASKS, AT_ONCE):
        at = clock.now() - timedelta(days=100 if start < OLD_TASKS // 2 else 40)
        await asyncio.gather(*(_live(store, start + n, at) for n in range(AT_ONCE)))
    while await store.fan_out(lambda _: (), 10_000):
        pass
    await store.close()


async def _live(store: SqliteStore, n: int, at: datetime) -> None:
    created = await store.create_task(
        NewTask(
            id=make_task_id(at, secrets.token_bytes(RANDOM_BYTES)),
            route="suno.generate",
            provider="suno",
            account="default",
            asset="song",
            created_at=at,
            due_at=at,
            submit_state=SubmitState.ACCEPTED,
            external_id=ExternalId(f"old-{n}"),
            request='{"prompt": "invented for the bench"}',
        )
    )
    song = Output("audio", f"https://cdn.example.com/{n}.mp3")
    for reading in (Reading(status=Status.RUNNING), Reading(status=Status.SUCCEEDED, outputs=(song,))):
        received = Observation(created.record.task.id, Source.CALLBACK, at, reading, payload=PAYLOAD)
        await store.apply(received, _judge)


def _judge(task: Task, observation: Observation, seen: object) -> tuple[Step, ...]:
    return judge(task, observation, seen, PollTiming(PollPolicy(), 5.0))  # type: ignore[arg-type]  # a plain callable


def _report(idle: list[Measured], beside: list[Measured], took_s: float, full: int, left: int) -> None:
    at_rest = statistics.median(measured.percentile_ms(99) for measured in idle)
    pruning = statistics.median(measured.percentile_ms(99) for measured in beside)
    worst = max(measured.percentile_ms(100) for measured in beside)
    sizes = f"{full / 2**20:.0f} -> {left / 2**20:.0f} MiB"
    print(f"  prune of {OLD_TASKS:,} tasks                      {took_s:6.1f} s  ({sizes})")
    print(f"  callbacks at rest, p99                      {at_rest:6.1f} ms")
    print(f"  callbacks while pruning, p99                {pruning:6.1f} ms  (worst of all {worst:.0f} ms)")
    print(f"  p99 while pruning / p99 at rest             {pruning / at_rest:6.2f}     (<= 3)")
