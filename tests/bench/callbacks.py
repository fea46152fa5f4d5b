"""The full callback path at 64 connections, against a bare handler and against one transaction per callback.

Full path: token, parse, dedupe, decide, event, fully synced commit, answer. Half of the callbacks are a task's
``first``, half its ``complete``. The archive, which would put each output on its list in the same transaction, is off
for these figures; the last lines show a daemon with default settings, which has it on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

from tests.bench.load import Measured, post, run_load
from tracker.clock import SystemClock
from tracker.domain.ids import RANDOM_BYTES, make_task_id
from tracker.domain.task import ExternalId, SubmitState, TaskId
from tracker.domain.tokens import CallbackTokens
from tracker.store.sqlite import SqliteStore
from tracker.store.values import NewTask

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
                    "audio_url": f"https://cdn.invalid/song/{task}-{n}.mp3",
                    "stream_audio_url": f"https://cdn.invalid/stream/{task}-{n}",
                    "image_url": f"https://cdn.invalid/img/{task}-{n}.jpeg",
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
        while len(ids) < count:  # in portions: the writer refuses more than its queue holds
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


@dataclass(frozen=True, slots=True)
class Server:
    """A server under load: where it listens, and as which process it runs."""

    port: int
    process: subprocess.Popen[bytes]

    def cpu_s(self) -> float:
        """Seconds of processor time that it took so far, its own and the kernel's for it."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def baseline(kind: str, path: Path) -> AsyncIterator[Server]:
    """A baseline server as a process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.servers", kind, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with ended(process):
        assert process.stdout is not None
        yield Server(int(await asyncio.to_thread(process.stdout.readline)), process)


@asynccontextmanager
async def daemon(directory: Path, *, archive: bool = True, more: str = "") -> AsyncIterator[Server]:
    """The tracker as a process on the database in ``directory``, with default settings.

    Args:
        directory: for its files; the log goes there, too.
        archive: False: outputs stay where they are. The hosts of the example outputs do not exist, but resolving
            them takes time.
        more: further tables of its configuration.
    """
    config = directory / "tracker.toml"
    config.write_text(
        f'[server]\nlisten = "127.0.0.1:0"\n[store]\npath = "{directory / "tracker.db"}"\n[log]\nformat = "json"\n'
        + ("" if archive else "[archive]\nenabled = false\n")
        + more
    )
    environ = {**os.environ, "TRACKER_CALLBACK_SECRET": SECRET, "ANYINT_API_KEY": "sk-bench-not-a-real-key"}
    journal = directory / "daemon.log"
    with journal.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "tracker", "serve", "--config", str(config)], stderr=stderr, env=environ
        )
    with ended(process):
        yield Server(await _read_port(journal, process), process)


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
    """End a process in any case."""
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        process.kill()
        process.wait()


@dataclass(frozen=True, slots=True)
class Run:
    """One server's turn."""

    load: Measured
    cpu_us: float


async def _take_turn(server: Server, requests: list[bytes]) -> Run:
    before_s = server.cpu_s()
    load = await run_load(server.port, requests, CONNECTIONS)
    if set(load.statuses) != {200}:
        raise SystemExit(f"not every callback was applied: {load.statuses}")
    return Run(load, (server.cpu_s() - before_s) / len(requests) * 1e6)


Turn = dict[str, Run]
"""What each server did in one round."""


async def run(rounds: int) -> None:
    """Print the ratios."""
    with tempfile.TemporaryDirectory(prefix="tracker-bench-", dir=".") as name:
        directory = Path(name).absolute()
        plain = directory / "plain"
        plain.mkdir()
        ids = await make_tasks(directory / "tracker.db", TASKS * (rounds + 1))
        plain_ids = await make_tasks(plain / "tracker.db", TASKS * (rounds + 1))
        async with (
            baseline("bare", directory / "bare.db") as bare,
            baseline("naive", directory / "naive.db") as naive,
            daemon(directory) as archiving,
            daemon(plain, archive=False) as full,
        ):
            turns: list[Turn] = []
            for n in range(rounds + 1):
                requests = callback_requests(ids, n * TASKS, TASKS)
                contest = [
                    ("bare", bare, requests),
                    ("full", full, callback_requests(plain_ids, n * TASKS, TASKS)),
                    ("naive", naive, requests[:NAIVE_REQUESTS]),
                    ("archiving", archiving, requests),
                ]
                # the order changes with every round, so an idle disk or a hot processor affects all
                first = n % len(contest)
                turn = {
                    name: await _take_turn(server, sent) for name, server, sent in contest[first:] + contest[:first]
                }
                if n:  # the first round warms up
                    turns.append(turn)
    _report(turns)


def _report(turns: list[Turn]) -> None:
    """Medians over the rounds; a ratio is taken within a round, under the same conditions."""

    def show(what: str, figure: Callable[[Turn], float], unit: str, target: str = "") -> None:
        print(f"  {what:36s} {median(map(figure, turns)):9{unit}}   {target}".rstrip())

    def per_second(name: str, against: str) -> Callable[[Turn], float]:
        return lambda turn: turn[name].load.per_second / turn[against].load.per_second

    def p99(name: str) -> Callable[[Turn], float]:
        return lambda turn: turn[name].load.percentile_ms(99) / turn["bare"].load.percentile_ms(50)

    show("bare handler, /s", lambda turn: turn["bare"].load.per_second, ".0f")
    show("full path, /s", lambda turn: turn["full"].load.per_second, ".0f")
    show("one transaction per callback, /s", lambda turn: turn["naive"].load.per_second, ".0f")
    show("bare handler, CPU us each", lambda turn: turn["bare"].cpu_us, ".0f")
    show("full path, CPU us each", lambda turn: turn["full"].cpu_us, ".0f")
    show("full / bare", per_second("full", "bare"), ".2f", "(>= 0.40)")
    show("full / one transaction each", per_second("full", "naive"), ".2f", "(>= 5)")
    show("p99 full / p50 bare", p99("full"), ".2f", "(<= 8)")
    show("archive on / bare", per_second("archiving", "bare"), ".2f", "(>= 0.40)")
    show("archive on / one transaction each", per_second("archiving", "naive"), ".2f", "(>= 5)")
    show("p99 archive on / p50 bare", p99("archiving"), ".2f", "(<= 8)")
