"""The baselines and an upstream, as processes of their own: ``python -m tests.bench.servers KIND``.

``bare``: an aiohttp handler that reads the body and answers, nothing more: the ceiling.
``naive``: a simple implementation: a transaction of its own for every callback, through aiosqlite.
``files``: answers ``/SIZE/anything`` with an audio or video file of so many bytes.
``upstream``: answers polls and records their times; ``GET /seen`` returns and clears the times.
Each prints its port and runs until its standard input closes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256

import aiosqlite
import uvloop
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_CALLBACKS = "/callbacks/{provider}/{token}"
_NAIVE_SCHEMA = """
    PRAGMA journal_mode = WAL;
    CREATE TABLE tasks (id TEXT PRIMARY KEY, status TEXT, outputs TEXT, version INTEGER);
    CREATE TABLE events (seq INTEGER PRIMARY KEY, task_id TEXT, key TEXT, payload TEXT, UNIQUE (task_id, key));
    CREATE TABLE outbox (id INTEGER PRIMARY KEY, task_id TEXT, event TEXT);
"""


async def bare(request: web.Request) -> web.Response:
    """Read and answer."""
    await request.read()
    return web.json_response({"outcome": "applied"})


def naive(connection: aiosqlite.Connection) -> Handler:
    """Dedupe, update, event and outbox in a transaction per callback, full sync."""
    lock = asyncio.Lock()  # transactions on one connection must not interleave

    async def handle(request: web.Request) -> web.Response:
        body = await request.read()
        task_id = request.path.rsplit("/", 1)[1]
        outputs = json.dumps(json.loads(body).get("data"))
        async with lock:
            await connection.execute("BEGIN IMMEDIATE")
            cursor = await connection.execute(
                "INSERT INTO events (task_id, key, payload) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (task_id, sha256(body).hexdigest(), body.decode()),
            )
            if cursor.rowcount:
                await connection.execute(
                    "INSERT INTO tasks VALUES (?, 'RUNNING', ?, 1) ON CONFLICT (id) DO UPDATE "
                    "SET status = 'SUCCEEDED', outputs = excluded.outputs, version = version + 1",
                    (task_id, outputs),
                )
                await connection.execute("INSERT INTO outbox (task_id, event) VALUES (?, 'changed')", (task_id,))
            await connection.execute("COMMIT")
        return web.json_response({"outcome": "applied" if cursor.rowcount else "duplicate"})

    return handle


_BLOCK = bytes(range(256)) * 4096
_HEADS = {"mp3": b"ID3\x04\0\0\0\0\0\0", "mp4": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2"}
_TYPES = {"mp3": "audio/mpeg", "mp4": "video/mp4"}


async def serve_file(request: web.Request) -> web.StreamResponse:
    """Begin like a file of the kind, and repeat a block."""
    left, suffix = int(request.match_info["size"]), request.path.rpartition(".")[2]
    if left <= len(_BLOCK):
        return web.Response(body=(_HEADS[suffix] + _BLOCK)[:left], content_type=_TYPES[suffix])
    response = web.StreamResponse(headers={"Content-Length": str(left), "Content-Type": _TYPES[suffix]})
    await response.prepare(request)
    await response.write(_HEADS[suffix])
    left -= len(_HEADS[suffix])
    while left:
        await response.write(_BLOCK[:left])
        left -= min(left, len(_BLOCK))
    return response


def upstream(app: web.Application) -> None:
    """Answer polls: each song has finished, each video is still being made."""
    seen: list[float] = []
    tracks = [
        {
            "id": f"clip-{take}",
            "audioUrl": f"https://cdn.invalid/song/EXTERNAL-{take}.mp3",
            "streamAudioUrl": f"https://cdn.invalid/stream/EXTERNAL-{take}",
            "imageUrl": f"https://cdn.invalid/img/EXTERNAL-{take}.jpeg",
            "prompt": "[Verse] invented for the bench",
            "modelName": "chirp-v5",
            "title": "Summer Breeze",
            "tags": "pop, warm",
            "createTime": "2026-01-05 10:00:00",
            "duration": 91.2,
        }
        for take in (1, 2)
    ]
    found = {
        "taskId": "EXTERNAL",
        "parentMusicId": "",
        "response": {"taskId": "EXTERNAL", "sunoData": tracks},
        "status": "SUCCESS",
        "type": "GENERATE",
        "errorCode": None,
        "errorMessage": None,
    }
    song = json.dumps({"code": 200, "msg": "success", "data": found})
    unchanged = {
        "task_id": "EXTERNAL",
        "task_status": "processing",
        "task_status_msg": "",
        "task_info": {"external_task_id": "job-1"},
        "created_at": 1767607200000,
        "updated_at": 1767607260000,
        "task_result": {},
    }
    video = json.dumps({"code": 0, "message": "SUCCEED", "request_id": "req-0001", "data": unchanged})

    async def answer_song(request: web.Request) -> web.Response:
        seen.append(time.monotonic())
        text = song.replace("EXTERNAL", request.query["taskId"])
        return web.Response(body=text.encode(), content_type="application/json")

    async def answer_video(request: web.Request) -> web.Response:
        seen.append(time.monotonic())
        text = video.replace("EXTERNAL", request.match_info["id"])
        return web.Response(body=text.encode(), content_type="application/json")

    async def tell(_: web.Request) -> web.Response:
        reported = web.json_response(seen)
        seen.clear()
        return reported

    app.router.add_get("/seen", tell)
    app.router.add_get("/suno/query/task", answer_song)
    app.router.add_get("/transtreams/kling/v1/videos/omni-video/{id}", answer_video)


@asynccontextmanager
async def _database() -> AsyncIterator[aiosqlite.Connection]:
    with tempfile.TemporaryDirectory(prefix="tracker-bench-") as directory:
        async with aiosqlite.connect(f"{directory}/naive.db", isolation_level=None) as connection:
            await connection.executescript(_NAIVE_SCHEMA)
            await connection.execute("PRAGMA synchronous = FULL")
            yield connection


async def main(kind: str) -> None:
    """Serve until standard input closes."""
    app = web.Application()
    async with AsyncExitStack() as stack:
        match kind:
            case "bare":
                app.router.add_post(_CALLBACKS, bare)
                app.router.add_post("/hook", bare)
            case "naive":
                app.router.add_post(_CALLBACKS, naive(await stack.enter_async_context(_database())))
            case "files":
                app.router.add_get("/{size:[0-9]+}/{path:.*}", serve_file)
            case "upstream":
                upstream(app)
            case _:
                raise SystemExit(f"{kind}: unknown kind of server")
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
