"""How soon polls alone find ends, with and without learned times, and how many polls that takes: tasks of 10-60 s.

First on a simulated clock, with the rules that the daemon uses: every route's contract suggests another interval, and
durations are spread evenly, or around 30 s as those of one model. Then with two daemons that poll a sandbox gateway,
with default settings: one knows nothing (fewer than eight tasks of each route), the other has learned before. The
upstream says when each task ended, to the millisecond.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

import aiohttp
import orjson

from tests.bench.options import Options
from tests.bench.processes import ENVIRONMENT, daemon, workplace
from tests.bench.report import Figure, Result, at_most
from tests.kits.polling import Draw, Found, simulate
from tracker.clock import SystemClock
from tracker.domain.ids import RANDOM_BYTES, make_task_id
from tracker.domain.observation import Observation, Reading, Source, Submission
from tracker.domain.schedule import PollPolicy, PollTiming
from tracker.domain.task import ExternalId, Output, Status, SubmitState
from tracker.logs import Redactor
from tracker.sandbox import Sandbox
from tracker.store.sqlite import SqliteStore
from tracker.store.values import NewTask
from tracker.tracking.reconciler import Reconciler

SHORTEST_S, LONGEST_S = 10.0, 60.0
SIMULATED = 2_000
WARM_UP = 200
"""Simulated tasks that are only learned from."""
ROUTES = ("kling.text2video", "kling.image2video", "kling.omni-video", "kling.image", "kling.omni-image")
MODEL = "kling-v2-1"
UNLEARNED = 7
"""Tasks of each route: one more, and something is known."""
LEARNED = 12
SEEN_BEFORE = 40
LATE_S, MORE_POLLS = 3.0, 1.3
_FILE = (Output("video", "https://files.example/a.mp4"),)


class _Workload(NamedTuple):
    name: str
    lasts: Draw
    suggested_s: float


def _any(draw: random.Random) -> float:
    return draw.uniform(SHORTEST_S, LONGEST_S)


def _around(draw: random.Random) -> float:
    return min(LONGEST_S, max(SHORTEST_S, draw.lognormvariate(3.4, 0.3)))


_WORKLOADS = (
    _Workload("around 30 s, interval 10 s", _around, 10.0),
    _Workload("any, interval 5 s", _any, 5.0),
    _Workload("any, interval 10 s", _any, 10.0),
    _Workload("any, interval 15 s", _any, 15.0),
    _Workload("any, interval 30 s", _any, 30.0),
)


async def run(options: Options) -> Result:
    """Measure all."""
    figures = [figure for workload in _WORKLOADS for figure in _simulated(workload, options.scaled(SIMULATED))]
    longest_s = SHORTEST_S * 2 if options.quick else LONGEST_S
    unlearned, learned = await _poll_sandbox(longest_s)
    real = f"daemon and sandbox, {SHORTEST_S:.0f}-{longest_s:.0f} s"
    figures += _compare(real, unlearned, learned, has_target=True)
    return Result("ends", figures)


def _simulated(workload: _Workload, count: int) -> list[Figure]:
    timing = PollTiming(PollPolicy(), workload.suggested_s)
    unlearned, learned = (simulate(workload.lasts, timing, count, learns=learns) for learns in (False, True))
    # the interval that a contract suggests bounds what as many polls can find
    return _compare(workload.name, unlearned[WARM_UP:], learned[WARM_UP:], has_target=workload.suggested_s <= 10)


def _compare(name: str, unlearned: Sequence[Found], learned: Sequence[Found], *, has_target: bool) -> list[Figure]:
    polls, before = (mean(one.polls for one in found) for found in (learned, unlearned))
    late, late_before = ([one.late_s for one in found] for found in (learned, unlearned))
    return [
        Figure(f"{name}: end to known, learned", [median(late)], "s", at_most(LATE_S) if has_target else None),
        Figure(f"{name}: not learned", [median(late_before)], "s"),
        Figure(f"{name}: nine of ten, learned", [_p90(late)], "s"),
        Figure(f"{name}: nine of ten, not learned", [_p90(late_before)], "s"),
        Figure(f"{name}: polls a task, learned", [polls]),
        Figure(f"{name}: polls a task, not learned", [before]),
        Figure(f"{name}: learned / not learned", [polls / before], "", at_most(MORE_POLLS)),
    ]


def _p90(values: Sequence[float]) -> float:
    return sorted(values)[int(0.9 * len(values))]


# -- the real run ------------------------------------------------------------------------------------------


async def _poll_sandbox(longest_s: float) -> tuple[list[Found], list[Found]]:
    """What two daemons found out about the same sandbox: one that knows nothing, and one that has learned."""
    sandbox = Sandbox(key=ENVIRONMENT["ANYINT_API_KEY"])
    await sandbox.start()
    account = f'base_url = "{sandbox.base_url}"\nmax_requests_per_s = 1000'
    try:
        with workplace() as one, workplace() as other:
            await _make_ended(other / "tracker.db", longest_s)
            async with daemon(one, upstream=account) as unlearned, daemon(other, upstream=account) as learned:
                found = await asyncio.gather(
                    _follow(unlearned.port, UNLEARNED, longest_s), _follow(learned.port, LEARNED, longest_s)
                )
    finally:
        await sandbox.stop()
    return found[0], found[1]


def _durations(count: int, longest_s: float) -> list[float]:
    """Evenly spread."""
    return [SHORTEST_S + (longest_s - SHORTEST_S) * (n + 0.5) / count for n in range(count)]


async def _make_ended(path: Path, longest_s: float) -> None:
    """A database with tasks of each route that have ended."""
    clock = SystemClock()
    store = SqliteStore(path, clock.now)
    await store.open()
    reconciler = Reconciler(store, policy_of=lambda _: PollPolicy(), interval_of={}, redactor=Redactor())
    begun_at = clock.now() - timedelta(hours=1)
    for n, lasts_s in enumerate(_durations(SEEN_BEFORE, longest_s)):
        for route in ROUTES:
            new = NewTask(
                id=make_task_id(begun_at, secrets.token_bytes(RANDOM_BYTES)),
                route=route,
                provider="kling",
                account="default",
                asset="video",
                created_at=begun_at,
                due_at=begun_at,
                submit_state=SubmitState.QUEUED,
                request="{}",
                model=MODEL,
            )
            await store.create_task(new)
            await store.mark_sending(new.id, 60)
            accepted = Reading(submission=Submission.ACCEPTED, external_id=ExternalId(f"{route}-{n}"))
            await reconciler.apply(Observation(new.id, Source.SUBMIT, begun_at, accepted, attempt=1))
            done = Reading(status=Status.SUCCEEDED, outputs=_FILE)
            await reconciler.apply(Observation(new.id, Source.CALLBACK, begun_at + timedelta(seconds=lasts_s), done))
    await store.close()


async def _follow(port: int, count: int, longest_s: float) -> list[Found]:
    """Submit so many tasks of each route at once, and wait for their ends."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:

        async def follow(route: str, lasts_s: float) -> Found:
            prompt = f"a kite [sandbox: duration={lasts_s:.2f}]"
            request = {
                "model_name": MODEL,
                "model": MODEL,
                "prompt": prompt,
                "image": "https://a.example/a",
            }
            order = {"route": route, "account": "default", "request": request}
            async with client.post("/v1/tasks", json=order, headers={"Prefer": "respond-async"}) as answer:
                task = orjson.loads(await answer.read())
            while task["finished_at"] is None:
                async with client.get(f"/v1/tasks/{task['id']}?wait=60") as answer:
                    task = orjson.loads(await answer.read())
            if task["status"] != "SUCCEEDED" or task["upstream_finished_at"] is None:
                raise SystemExit(f"{route}: {task['status']} {task['error']}, ended {task['upstream_finished_at']}")
            return Found(task["polls"], _seconds(task["finished_at"]) - _seconds(task["upstream_finished_at"]), None)

        durations = _durations(count, longest_s)
        return await asyncio.gather(*(follow(route, lasts_s) for lasts_s in durations for route in ROUTES))


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
