"""Callbacks as gateways send them: songs, WAV files, lyrics and videos, each with the task that it is for."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.load import post
from tests.bench.processes import SECRET
from tracker.clock import SystemClock
from tracker.domain.ids import RANDOM_BYTES, make_task_id
from tracker.domain.task import ExternalId, SubmitState, TaskId
from tracker.domain.tokens import CallbackTokens
from tracker.store.sqlite import SqliteStore
from tracker.store.values import NewTask

Json = Any
PORTION = 5_000
"""Tasks recorded at once: the writer refuses more than its queue holds."""
REPEATED = 0.2
"""The share of callbacks that repeat an earlier one."""
BESIDE = 256
"""So many tasks are called back in turns."""


class CallbackTask(NamedTuple):
    """A task that waits for its callbacks."""

    id: TaskId
    n: int


class _Kind(NamedTuple):
    route: str
    asset: str
    bodies: tuple[Callable[[int], Json], ...]


def _song(n: int, phase: str, tracks: int) -> Json:
    clips = [
        {
            "id": f"clip-{n}-{take}",
            "audio_url": f"https://cdn.invalid/song/{n}-{take}.mp3",
            "stream_audio_url": f"https://cdn.invalid/stream/{n}-{take}",
            "image_url": f"https://cdn.invalid/img/{n}-{take}.jpeg",
            "prompt": "[Verse] invented for the bench",
            "model_name": "chirp-v5",
            "title": "Summer Breeze",
            "tags": "pop, R&B",
            "createTime": 1767607200000,
            "duration": 91.2,
        }
        for take in range(tracks)
    ]
    data = {"callbackType": phase, "task_id": f"ext-{n}", "data": clips}
    return {"code": 200, "msg": "All generated successfully.", "data": data}


def _wav(n: int) -> Json:
    data = {"audioWavUrl": f"https://cdn.invalid/w/{n}.wav", "task_id": f"ext-{n}"}
    return {"code": 200, "msg": "success", "data": data}


def _lyrics(n: int) -> Json:
    text = {"text": f"[Verse]\nInvented line {n}", "title": "Night", "status": "complete", "errorMessage": ""}
    data = {"callbackType": "complete", "taskId": f"ext-{n}", "data": [text]}
    return {"code": 200, "msg": "All generated successfully.", "data": data}


def _video(n: int, status: str) -> Json:
    videos = [{"id": f"v-{n}", "url": f"https://cdn.invalid/k/{n}.mp4", "duration": "5"}]
    return {
        "task_id": f"ext-{n}",
        "task_status": status,
        "task_status_msg": "",
        "created_at": 1767607200000,
        "updated_at": 1767607260000,
        "final_unit_deduction": "1",
        "task_info": {"parent_video": None, "external_task_id": f"job-{n}"},
        **({"task_result": {"videos": videos}} if status == "succeed" else {}),
    }


_KINDS = (
    _Kind("suno.generate", "song", (lambda n: _song(n, "first", 1), lambda n: _song(n, "complete", 2))),
    _Kind("suno.wav-generate", "audio", (_wav,)),
    _Kind("suno.generate-lyrics", "text", (_lyrics,)),
    _Kind("kling.omni-video", "video", (lambda n: _video(n, "processing"), lambda n: _video(n, "succeed"))),
)
SONGS = _KINDS[:1]


def tasks_for(requests: int) -> int:
    """How many tasks so many requests are about."""
    return round(requests * (1 - REPEATED) * len(_KINDS) / sum(len(kind.bodies) for kind in _KINDS))


async def make_tasks(path: Path, count: int, kinds: Sequence[_Kind] = _KINDS) -> list[CallbackTask]:
    """Record accepted tasks of all kinds in turn, made one millisecond apart, not due for an hour."""
    clock = SystemClock()
    store = SqliteStore(path, clock.now)
    await store.open()
    try:
        first_at = clock.now() - timedelta(milliseconds=count)
        made: list[CallbackTask] = []
        while len(made) < count:
            new = []
            for n in range(len(made), min(count, len(made) + PORTION)):
                kind, created_at = kinds[n % len(kinds)], first_at + timedelta(milliseconds=n)
                new.append(
                    NewTask(
                        id=make_task_id(created_at, secrets.token_bytes(RANDOM_BYTES)),
                        route=kind.route,
                        provider=kind.route.partition(".")[0],
                        account="default",
                        asset=kind.asset,
                        created_at=created_at,
                        due_at=created_at + timedelta(hours=1),
                        submit_state=SubmitState.ACCEPTED,
                        external_id=ExternalId(f"ext-{n}"),
                        request='{"prompt": "invented for the bench"}',
                        expects_callback=True,
                    )
                )
                made.append(CallbackTask(new[-1].id, n))
            await asyncio.gather(*map(store.create_task, new))
    finally:
        await store.close()
    return made


def callback_requests(tasks: Sequence[CallbackTask], kinds: Sequence[_Kind] = _KINDS) -> list[bytes]:
    """All callbacks of tasks of `make_tasks`, and repetitions among them.

    Tasks are called back in turns: first the first callback of each, then the second ones.
    """
    tokens = CallbackTokens(SECRET.encode())
    draw = random.Random(len(tasks))
    requests: list[bytes] = []
    left = iter(tasks)
    while beside := list(islice(left, BESIDE)):
        posts: list[bytes] = []
        for phase in range(max(len(kind.bodies) for kind in kinds)):
            for task_id, n in beside:
                kind = kinds[n % len(kinds)]
                if phase < len(kind.bodies):
                    path = f"/callbacks/{kind.route.partition('.')[0]}/{tokens.make(kind.route, task_id)}"
                    posts.append(post(path, json.dumps(kind.bodies[phase](n)).encode()))
        requests += posts
        requests += draw.sample(posts, round(len(posts) * REPEATED / (1 - REPEATED)))
    return requests
