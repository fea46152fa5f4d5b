"""The full callback path at 64 connections, against a bare handler and against one transaction per callback.

Full path: token, parse, dedupe, decide, event, fully synced commit, answer. Half of the callbacks are a task's
``first``, half its ``complete``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from tests.bench.load import Measured, post, run_load
from tracker.clock import SystemClock
from tracker.domain.ids import RANDOM_BYTES, make_task_id
from tracker.domain.task import ExternalId, SubmitState, TaskId
from tracker.domain.tokens import CallbackTokens
from tracker.store.protocol import NewTask
from tracker.store.sqlite import SqliteStore

CONNECTIONS = 64
SECRET = "bench-only-callback-secret"
TASKS = 3000
"""Per round; each is called back twice."""
NAIVE_REQUESTS = 1500


def song(task: int, phase: str, tracks: int) -> bytes:
    """A callback body as the gateway documents it."""
    return json.dumps(
        {
            "callbackType": phase,
            "task_id": f"ext-{task}",
            "data": [
                {
                    "id": f"clip-{task}-{n}",
                    "audio_url": f"https://cdn.example.com/song/{task}-{n}.mp3",
                    "stream_audio_url": f"https://cdn.example.com/stream/{task}-{n}",
                    "image_url": f"https://cdn.example.com/img/{task}-{n}.jpeg",
                    "prompt": "[Verse] invented for the bench",
                    "model_name": "chirp-v5",
                    "title": "Summer Breeze",
                    "tags": "pop, R&B",
                    "createTime": 1767607200000,
                    "duration": 91.2,
                }
                for n in range(tracks)
            ],
        }
    ).encode()


async def make_tasks(path: Path, count: int) -> list[TaskId]:
    """Record accepted songs that wait for their callbacks, not due for an hour."""
    clock = SystemClock()
    store = SqliteStore(path, clock.now)
    await store.open()
    now = clock.now()
    ids = [make_task_id(now, secrets.token_bytes(RANDOM_BYTES)) for _ in range(count)]
    await asyncio.gather(
        *(
            store.create_task(
                NewTask(
                    id=task_id,
                    route="suno.generate",
                    provider="suno",
                    account="default",
                    asset="song",
                    created_at=now,
                    due_at=now + timedelta(hours=1),
                    submit_state=SubmitState.ACCEPTED,
                    external_id=ExternalId(f"ext-{n}"),
                    request='{"prompt": "invented for the bench"}',
                    expects_callback=True,
                )
            )
            for n, task_id in enumerate(ids)
        )
    )
    await store.close()
    return ids


def callback_requests(ids: list[TaskId], start: int, count: int) -> list[bytes]:
    """First all ``first`` callbacks of a slice of tasks, then all ``complete`` ones."""
    tokens = CallbackTokens(SECRET.encode())
    paths = {n: f"/callbacks/suno/{tokens.make('suno.generate', ids[n])}" for n in range(start, start + count)}
    return [post(path, song(n, "first", 1)) for n, path in paths.items()] + [
        post(path, song(n, "complete", 2)) for n, path in paths.items()
    ]


@asynccontextmanager
async def baseline(kind: str, path: Path) -> AsyncIterator[int]:
    """A baseline server as a process; its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.servers", kind, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with ended(process):
        assert process.stdout is not None
        yield int(await asyncio.to_thread(process.stdout.readline))


@asynccontextmanager
async def daemon(directory: Path) -> AsyncIterator[tuple[int, subprocess.Popen[bytes]]]:
    """The tracker as a process on the database in ``directory``; its port and process."""
    config = directory / "tracker.toml"
    config.write_text(
        f'[server]\nlisten = "127.0.0.1:0"\n[store]\npath = "{directory / "tracker.db"}"\n[log]\nformat = "json"\n'
    )
    environ = {**os.environ, "TRACKER_CALLBACK_SECRET": SECRET, "ANYINT_API_KEY": "sk-bench-not-a-real-key"}
    journal = directory / "daemon.log"
    with journal.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "tracker", "serve", "--config", str(config)], stderr=stderr, env=environ
        )
    with ended(process):
        yield await _read_port(journal, process), process


async def _read_port(journal: Path, process: subprocess.Popen[bytes]) -> int:
    while process.poll() is None:
        for line in journal.read_bytes().splitlines():
            entry = json.loads(line) if line.startswith(b"{") else {}
            if entry.get("event") == "tracker.started":
                return int(entry["listen"].rsplit(":", 1)[1])
        await asyncio.sleep(0.05)
    raise SystemExit(f"the daemon did not start: {journal.read_text()}")


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process whatever happens."""
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        process.kill()
        process.wait()


async def run(rounds: int) -> None:
    """Print the ratios."""
    with tempfile.TemporaryDirectory(prefix="tracker-bench-", dir=".") as name:
        directory = Path(name).absolute()
        ids = await make_tasks(directory / "tracker.db", TASKS * (rounds + 1))
        async with (
            baseline("bare", directory / "bare.db") as bare_port,
            baseline("naive", directory / "naive.db") as naive_port,
            daemon(directory) as (port, _),
        ):
            results: list[tuple[Measured, Measured, Measured]] = []
            for n in range(rounds + 1):
                requests = callback_requests(ids, n * TASKS, TASKS)
                bare = await run_load(bare_port, requests, CONNECTIONS)
                full = await run_load(port, requests, CONNECTIONS)
                naive = await run_load(naive_port, requests[:NAIVE_REQUESTS], CONNECTIONS)
                if full.statuses != {200: len(requests)}:
                    raise SystemExit(f"not every callback was applied: {full.statuses}")
                if n:  # the first round warms up
                    results.append((bare, full, naive))
    _report(results)


def _report(results: list[tuple[Measured, Measured, Measured]]) -> None:
    def median(values: Iterator[float]) -> float:
        return statistics.median(values)

    bare_rate = median(bare.per_second for bare, _, _ in results)
    print(f"  bare handler                     {bare_rate:9.0f} /s")
    print(f"  full path                        {median(full.per_second for _, full, _ in results):9.0f} /s")
    print(f"  one transaction per callback     {median(naive.per_second for _, _, naive in results):9.0f} /s")
    print(f"  full / bare                      {median(f.per_second / b.per_second for b, f, _ in results):9.2f}   (>= 0.40)")
    print(f"  full / one transaction each      {median(f.per_second / n.per_second for _, f, n in results):9.2f}   (>= 5)")
    print(
        f"  p99 full / p50 bare              "
        f"{median(f.percentile_ms(99) / b.percentile_ms(50) for b, f, _ in results):9.2f}   (<= 8)"
    )
