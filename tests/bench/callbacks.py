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
from datetime import datetime, timedelta
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
PORTION = 5000
"""Tasks recorded at once."""


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
    """Record accepted songs that wait for their callbacks, made one millisecond apart, not due for an hour."""
    store = SqliteStore(path, SystemClock().now)
    await store.open()
    try:
        first_at = SystemClock().now() - timedelta(milliseconds=count)
        ids: list[TaskId] = []
        while len(ids) < count:  # in portions: the writer turns away what it cannot follow
            new = [_song_task(n, first_at) for n in range(len(ids), min(count, len(ids) + PORTION))]
            await asyncio.gather(*map(store.create_task, new))
            ids += [task.id for task in new]
    finally:
        await store.close()
    return ids


def _song_task(n: int, first_at: datetime) -> NewTask:
    created_at = first_at + timedelta(milliseconds=n)
    return NewTask(
        id=make_task_id(created_at, secrets.token_bytes(RANDOM_BYTES)),
        route="suno.generate",
        provider="suno",
        account="default",
        asset="song",
        created_at=created_at,
        due_at=created_at + timedelta(hours=1),
        submit_state=SubmitState.ACCEPTED,
        external_id=ExternalId(f"ext-{n}"),
        request='{"prompt": "invented for the bench"}',
        expects_callback=True,
    )


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
        "[archive]\nenabled = false\n"  # the outputs are invented
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

    def show(what: str, values: Iterator[float], unit: str, target: str = "") -> None:
        print(f"  {what:32s} {median(values):9{unit}}   {target}".rstrip())

    show("bare handler, /s", (bare.per_second for bare, _, _ in results), ".0f")
    show("full path, /s", (full.per_second for _, full, _ in results), ".0f")
    show("one transaction per callback, /s", (naive.per_second for _, _, naive in results), ".0f")
    show("full / bare", (full.per_second / bare.per_second for bare, full, _ in results), ".2f", "(>= 0.40)")
    show(
        "full / one transaction each",
        (full.per_second / naive.per_second for _, full, naive in results),
        ".2f",
        "(>= 5)",
    )
    show("p99 full / p50 bare", (f.percentile_ms(99) / b.percentile_ms(50) for b, f, _ in results), ".2f", "(<= 8)")
