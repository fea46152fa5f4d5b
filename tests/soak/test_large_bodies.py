"""How long others wait while the largest bodies are taken in: prints the slowest ``/healthz`` of each. ``make soak``.

The daemon is a process of its own; this process is the upstream, the sender and the one that asks ``/healthz``. The
figures depend on the machine, so they are printed and only judged by a wide bound; pieces, budgets and threads are
judged by the unit tests.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.daemon_kit import KEY_ENV, Setting
from tests.unit.test_redactor import HOSTILE
from tracker.sandbox import DEFAULT_KEY

MB = 1 << 20
URL = "https://files.example/a.png"
STARTED_WITHIN_S = 60.0
SLOWEST_S = 1.0
"""Far above the 0.1 s that is promised: a loaded machine is slow by itself. The faults this is about took 3 to 25 s."""


def answers() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Answers of the largest size, each made when it is wanted."""

    def image(size: int, count: int = 1) -> bytes:
        data = [{"b64_json": base64.b64encode(b"\x89PNG\r\n\x1a\n" + os.urandom(size)).decode()} for _ in range(count)]
        return json.dumps({"created": 1, "data": data}).encode()

    def noted(**more: object) -> bytes:
        return json.dumps({"data": [{"url": URL}], **more}).encode()

    def repeated(text: str) -> bytes:
        return noted(text=text * (30 * MB // max(len(json.dumps(text)), MB)))

    yield "an image of 30 MB", lambda: image(30 * MB)
    yield "an image of 47 MB", lambda: image(47 * MB)
    yield "ten images of 4 MB", lambda: image(4 * MB, 10)
    yield "10 MB of timed words", lambda: noted(words=[{"word": "la", "start": n / 100} for n in range(300_000)])
    yield "60 MB of text", lambda: noted(text="some words, and a token here: no. " * (60 * MB // 34))
    yield "60 MB of escapes", lambda: noted(text="\n" * (30 * MB))
    yield "60 MB of empty lists", lambda: b'{"data":[' + b"[]," * (20 * MB) + b"[]]}"
    yield "60 MB of small objects", lambda: b'{"data":[' + b'{"a":1},' * (7 * MB) + b"{}]}"
    yield "60 MB that are not JSON", lambda: b"<html>" + b"token=x " * (7 * MB)
    yield "60 MB that are cut off", lambda: b'{"data":[{"b64_json":"' + b"A" * (60 * MB)
    yield "1 GB of zeros in gzip", lambda: gzip.compress(b'{"data":[{"url":"' + b"0" * (1024 * MB) + b'"}]}', 1)
    for name, text in HOSTILE.items():
        yield f"30 MB of {name}", partial(repeated, text)


@asynccontextmanager
async def daemon(directory: Path, upstream: str) -> AsyncIterator[str]:
    """A daemon in a process of its own; its address."""
    setting = Setting(gateway=upstream)
    file = setting.write(directory)
    with (directory / "daemon.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tracker",
            "serve",
            "--config",
            str(file),
            env={"PATH": os.defpath, "HOME": str(directory), KEY_ENV: DEFAULT_KEY},
            stdout=log,
            stderr=log,
        )
    try:
        yield setting.url
    finally:
        process.kill()
        await process.wait()


async def slowest(session: aiohttp.ClientSession, url: str, work: asyncio.Task[int]) -> float:
    """Ask ``/healthz`` until the work is done, and a little longer; the slowest answer, seconds."""
    worst = 0.0
    rest = 20
    while rest:
        started = time.perf_counter()
        async with session.get(f"{url}/healthz") as response:
            assert response.status == 200
        worst = max(worst, time.perf_counter() - started)
        rest -= work.done()
        await asyncio.sleep(0.01)
    return worst


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_others_are_answered_while_large_bodies_are_taken_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers to creates, callbacks of strangers and requests, all of the largest size."""
    body: bytes = b""
    headers: dict[str, str] = {}

    async def create(_: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", create)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    figures: list[tuple[str, float, float, int]] = []
    try:
        async with (
            daemon(tmp_path, f"http://127.0.0.1:{runner.addresses[0][1]}") as url,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as session,
        ):
            await started(session, url)

            async def send(path: str, data: bytes) -> int:
                async with session.post(
                    f"{url}{path}", data=io.BytesIO(data), headers={"Content-Type": "application/json"}
                ) as got:
                    await got.read()
                    return got.status

            async def measure(name: str, path: str, data: bytes) -> None:
                began = time.perf_counter()
                work = asyncio.create_task(send(path, data))
                worst = await slowest(session, url, work)
                figures.append((name, worst, time.perf_counter() - began, await work))

            job = {"route": "openai.images", "request": {"model": "m", "prompt": "x"}}
            for name, make in answers():
                body, headers = make(), {"Content-Encoding": "gzip"} if "gzip" in name else {}
                await measure(f"answer: {name}", "/v1/tasks", json.dumps(job).encode())
            body, headers = b"{}", {}
            dense = b'{"task_id":"x","data":[' + b"[]," * 340_000 + b"[]]}"
            await measure("callback: 1 MB of empty lists", "/callbacks/kling", dense)
            for name, text in HOSTILE.items():
                data = json.dumps({"task_id": "x", "p": text})[:MB].encode()
                await measure(f"callback: {name}", "/callbacks/kling", data)
            large = {**job, "request": {**job["request"], "image": "A" * (31 * MB)}}  # type: ignore[dict-item]
            await measure("request: an image of 31 MB", "/v1/tasks", json.dumps(large).encode())
            many = b'{"route":"openai.images","request":{"x":[' + b"[]," * (10 * MB) + b"1]}}"
            await measure("request: 30 MB of empty lists", "/v1/tasks", many)
    finally:
        await runner.cleanup()
    with capsys.disabled():
        print()  # noqa: T201
        for name, worst, took, status in figures:
            print(f"{name:60} slowest /healthz {worst * 1000:5.0f} ms, all took {took:5.1f} s, HTTP {status}")  # noqa: T201
    assert all(status < 500 for *_, status in figures), figures
    assert max(worst for _, worst, _, _ in figures) < SLOWEST_S, figures


async def started(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until the daemon answers."""
    async with asyncio.timeout(STARTED_WITHIN_S):
        while True:
            try:
                async with session.get(f"{url}/healthz"):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
