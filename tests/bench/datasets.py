"""Databases to measure on, made by the store's own methods: every history is judged, so ``db check`` finds it sound.

A large one takes minutes to make, so it is cached: in ``$TRACKER_BENCH_CACHE``, or ``~/.cache/tracker-bench``. The
name of a cached file tells what made it: this module's version and the schema, with a digest of its migrations. For a
newer schema a copy of the file is migrated. Benchmarks that only read use the cached file itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tracker.clock import SystemClock
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.ids import RANDOM_BYTES, make_task_id
from tracker.domain.judge import Step, judge
from tracker.domain.observation import Observation, Reading, Source
from tracker.domain.schedule import PollPolicy, PollTiming
from tracker.domain.task import ExternalId, Output, Reason, Stage, Status, SubmitState, Task, UpstreamError
from tracker.store.sqlite import SqliteStore
from tracker.store.sqlite.schema import migrations
from tracker.store.values import ArchiveWish, AttemptResult, NewTask

VERSION = 1
"""Of what is made here: a change makes all anew."""
PORTION = 2_000
"""Tasks made at once; the writer refuses more than its queue holds."""
FILES = "https://cdn.example.com"
YEARS_S = 10 * 365 * 86_400.0
_TIMING = PollTiming(PollPolicy(min_interval_s=YEARS_S, max_interval_s=YEARS_S, deadline_s=YEARS_S), YEARS_S)
"""Nothing that waits is due while it is measured."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a database holds.

    Attributes:
        finished: tasks with a request, a label, three events and a delivery.
        waiting: tasks that are not due for years; half of them are running.
        age_days: of the newest; the oldest is twice as old, or 14 days older.
        archives: each output of a finished task is due to be archived, from below this URL.
        undelivered: what the events announce waits in the outbox, instead of the deliveries.
    """

    name: str
    finished: int
    waiting: int = 0
    age_days: float = 0.1
    archives: str = ""
    undelivered: bool = False


def large(tasks: int) -> Recipe:
    """Nine of ten tasks finished."""
    return Recipe(f"tasks-{tasks}", finished=tasks * 9 // 10, waiting=tasks - tasks * 9 // 10)


def due_archives(items: int) -> Recipe:
    """So many outputs that are due to be archived, two of a task."""
    return Recipe(f"archives-{items}", finished=items // 2, archives=FILES)


def old(tasks: int) -> Recipe:
    """Tasks that finished so long ago that their bodies, or all of their histories, may be deleted."""
    return Recipe(f"old-{tasks}", finished=tasks, age_days=40)


def undelivered(tasks: int) -> Recipe:
    """Finished tasks whose events wait in the outbox."""
    return Recipe(f"undelivered-{tasks}", finished=tasks, undelivered=True)


async def cached(recipe: Recipe) -> Path:
    """The file of a recipe in the cache, made or migrated if it is missing."""
    directory = Path(os.environ.get("TRACKER_BENCH_CACHE") or Path.home() / ".cache" / "tracker-bench")
    directory.mkdir(parents=True, exist_ok=True)
    scripts = migrations()
    names = [f"{recipe.name}-v{VERSION}-{_schema(scripts[:count])}.db" for count in range(1, len(scripts) + 1)]
    path = directory / names[-1]
    if path.exists():
        return path
    _remove_drafts(directory)
    draft = directory / f"draft-{os.getpid()}.db"
    older = next((directory / name for name in reversed(names) if (directory / name).exists()), None)
    try:
        start = time.monotonic()
        if older is None:
            print(f"  making {path} (once; minutes for a million tasks)", flush=True)
            await make(draft, recipe)
        else:
            print(f"  migrating a copy of {older} to {path} (once)", flush=True)
            shutil.copy(older, draft)
            await _migrate(draft)
        print(f"  done in {time.monotonic() - start:.0f} s: {draft.stat().st_size / 2**20:.0f} MiB", flush=True)
        os.sync()  # now, rather than while something is measured
        draft.rename(path)
    finally:
        for left in directory.glob(f"{draft.name}*"):
            left.unlink()
    return path


def _remove_drafts(directory: Path) -> None:
    """Remove what killed runs left: a draft may have gigabytes."""
    for left in directory.glob("draft-*"):
        try:
            os.kill(int(left.name.split(".")[0].removeprefix("draft-")), 0)
        except ProcessLookupError:
            left.unlink(missing_ok=True)


async def copy_of(recipe: Recipe, directory: Path) -> Path:
    """A copy of a cached file that may be changed, as the database of a daemon in a directory."""
    path = directory / "tracker.db"
    shutil.copy(await cached(recipe), path)
    os.sync()
    return path


def _schema(scripts: Sequence[tuple[int, str]]) -> str:
    digest = hashlib.blake2b("".join(sql for _, sql in scripts).encode(), digest_size=3).hexdigest()
    return f"s{scripts[-1][0]}-{digest}"


async def _migrate(path: Path) -> None:
    store = SqliteStore(path, SystemClock().now)
    await store.open()
    await store.close()


class _Clock:
    """The time of what is being made."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


async def make(path: Path, recipe: Recipe) -> None:
    """Make a new database."""
    newest = SystemClock().now() - timedelta(days=recipe.age_days)
    clock = _Clock(newest)
    store = SqliteStore(path, clock.now)
    await store.open()
    try:
        count = recipe.finished + recipe.waiting
        step = timedelta(days=max(recipe.age_days, 14)) / max(count, 1)
        for first in range(0, count, PORTION):
            numbers = range(first, min(first + PORTION, count))
            clock.at = newest - step * (count - numbers.stop)
            tasks = [_new_task(n, clock.at - step * (numbers.stop - n)) for n in numbers]
            await asyncio.gather(*map(store.create_task, tasks))
            finished = [(n, task) for n, task in zip(numbers, tasks, strict=True) if n < recipe.finished]
            waiting = [(n, task) for n, task in zip(numbers, tasks, strict=True) if n >= recipe.finished]
            if recipe.archives:
                _archive_all(store)
            for phase in range(3):
                await _observe(store, clock, finished, phase, recipe.archives or FILES)
            await _observe(store, clock, waiting[::2], 0, FILES)
            if not recipe.undelivered:
                await _deliver(store)
    finally:
        await store.close()


def _archive_all(store: SqliteStore) -> None:
    def choose(task: Task, output: Output) -> ArchiveWish:
        number = zlib.crc32((output.url or "").encode())
        return ArchiveWish(task.created_at + timedelta(days=300, seconds=number % 1_000_000) if number % 3 else None)

    store.choose_archives(choose)


def _new_task(n: int, at: datetime) -> NewTask:
    is_song = n % 5 < 3
    request = {"prompt": f"a summer breeze over the fields, number {n}", "model": "V5", "customMode": False}
    return NewTask(
        id=make_task_id(at, secrets.token_bytes(RANDOM_BYTES)),
        route="suno.generate" if is_song else "kling.omni-video",
        provider="suno" if is_song else "kling",
        account="second" if n % 10 == 0 else "default",
        asset="song" if is_song else "video",
        model="V5" if is_song else "kling-v3-omni",
        created_at=at,
        due_at=at + timedelta(seconds=YEARS_S),
        submit_state=SubmitState.ACCEPTED,
        external_id=ExternalId(f"ext-{n:08}-{secrets.token_hex(8)}"),
        request=json.dumps(request),
        labels={"user": str(n % 1000)},
        expects_callback=True,
    )


async def _observe(
    store: SqliteStore, clock: _Clock, tasks: Sequence[tuple[int, NewTask]], phase: int, files_at: str
) -> None:
    """Apply what happened to some tasks, as their callbacks report it."""
    clock.at += timedelta(milliseconds=1)
    seen = [
        Observation(task.id, Source.CALLBACK, clock.at, _reading(n, phase, files_at), _payload(n, phase, task))
        for n, task in tasks
    ]
    await asyncio.gather(*(store.apply(observation, _judge) for observation in seen))


def _reading(n: int, phase: int, files_at: str) -> Reading:
    if n % 20 == 7 and phase == 2:
        error = UpstreamError("500", "the generation failed; try again")
        return Reading(status=Status.FAILED, reason=Reason.GENERATION_FAILED, error=error)
    if n % 5 >= 3:  # a video
        if phase < 2:
            return Reading(status=Status.RUNNING, upstream_status="processing", progress=(10, 60)[phase])
        films = _files(f"{files_at}/video/{n}", "mp4")
        return Reading(status=Status.SUCCEEDED, upstream_status="succeed", outputs=films)
    takes = _files(f"{files_at}/audio/{n}", "mp3")
    return (
        Reading(status=Status.RUNNING, upstream_status="text", stage=Stage.TEXT),
        Reading(status=Status.RUNNING, upstream_status="first", stage=Stage.FIRST, outputs=takes[:1]),
        Reading(status=Status.SUCCEEDED, upstream_status="complete", stage=Stage.COMPLETE, outputs=takes),
    )[phase]


def _files(url: str, suffix: str) -> tuple[Output, ...]:
    kind = {"mp3": "audio", "mp4": "video"}[suffix]
    return tuple(Output(kind, f"{url}-{take}.{suffix}", duration_s=91.2) for take in "ab")


def _payload(n: int, phase: int, task: NewTask) -> str:
    data = {"task_id": task.external_id, "phase": phase, "createTime": 1767607200000, "tags": "pop, R&B"}
    return json.dumps({"code": 200, "msg": "", "data": {**data, "prompt": f"[Verse] invented for the bench, {n}"}})


def _judge(task: Task, observation: Observation, seen: Callable[[str], bool]) -> tuple[Step, ...]:
    return judge(task, observation, seen, _TIMING)


async def _deliver(store: SqliteStore) -> None:
    """One delivery for the end of each task; one in a hundred is dead."""

    def ends(event: str) -> tuple[str, ...]:
        return ("publish",) if event in {"task.succeeded", "task.failed"} else ()

    while await store.fan_out(lambda announced: ends(announced.event), 10_000):
        pass
    done, dead = AttemptResult(DeliveryStatus.SUCCEEDED), AttemptResult(DeliveryStatus.DEAD, error="exit 1")
    while jobs := await store.claim_deliveries("publish", PORTION, 3600):
        await asyncio.gather(
            *(store.record_attempt(job.id, dead if n % 100 == 99 else done, job.attempt) for n, job in enumerate(jobs))
        )
