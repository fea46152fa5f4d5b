"""How long others wait while the largest bodies are processed: prints the slowest ``/healthz`` of each. ``make soak``.

The daemon is a process of its own, and so is the client of ``/healthz``; this process is the upstream and the
sender. The figures depend on the machine, so they are printed and not asserted; the unit tests check pieces, budgets
and threads.
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

from tests.kits.daemon import KEY_ENV, Setting
from tests.kits.http_server import serving
from tests.unit.test_redactor import HOSTILE
from tracker.sandbox import DEFAULT_KEY

MB = 1 << 20
URL = "https://files.example/a.png"
STARTED_WITHIN_S = 60.0
TOO_MANY = 429
PROBE = """
import http.client, sys, threading, time
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
asked, slowest = http.client.HTTPConnection(sys.argv[1], timeout=120), 0.0
while not stop.is_set():
    began = time.perf_counter()
    asked.request("GET", "/healthz")
    answer = asked.getresponse()
    answer.read()
    slowest = max(slowest, time.perf_counter() - began)
    assert answer.status == 200
    time.sleep(0.005)
print(slowest)
"""
"""Asks ``/healthz`` until a line comes, then prints the slowest answer in seconds."""


def answers() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Answers of the largest size, each made on demand."""

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
    yield "60 MB of text", lambda: noted(text="some words, but not a secret here. " * (60 * MB // 34))
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


async def slowest(url: str, work: asyncio.Task[int]) -> float:
    """The slowest answer to ``/healthz`` while the work is done, seconds."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROBE,
        url.removeprefix("http://"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    await work
    output, _ = await process.communicate(b"\n")
    return float(output)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_others_are_answered_while_large_bodies_are_processed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers to creates, callbacks without a token and requests, all of the largest size."""
    body: bytes = b""
    headers: dict[str, str] = {}

    async def create(_: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers, content_type="application/json")

    statuses: list[int] = []
    async with (
        serving(create) as upstream,
        daemon(tmp_path, upstream) as url,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as session,
    ):
        await started(session, url)

        async def send(path: str, data: bytes) -> int:
            while True:
                async with session.post(
                    f"{url}{path}", data=io.BytesIO(data), headers={"Content-Type": "application/json"}
                ) as got:
                    await got.read()
                    if got.status != TOO_MANY:
                        return got.status
                await asyncio.sleep(float(got.headers.get("Retry-After", 1)))

        async def measure(name: str, path: str, data: bytes) -> None:
            began = time.perf_counter()
            work = asyncio.create_task(send(path, data))
            worst = await slowest(url, work)
            took, status = time.perf_counter() - began, await work
            statuses.append(status)
            with capsys.disabled():
                slow = f"slowest /healthz {worst * 1000:5.0f} ms, all took {took:5.1f} s"
                print(f"{name:60} {slow}, HTTP {status}", flush=True)  # noqa: T201

        job = {"route": "openai.images", "request": {"model": "m", "prompt": "x"}}
        for name, make in answers():
            body, headers = make(), {"Content-Encoding": "gzip"} if "gzip" in name else {}
            await measure(f"answer: {name}", "/v1/tasks", json.dumps(job).encode())
        body, headers = b"{}", {}
        dense = b'{"task_id":"x","data":[' + b"[]," * 340_000 + b"[]]}"
        await measure("callback: 1 MB of empty lists", "/callbacks/kling", dense)
        for name, text in HOSTILE.items():
            data = json.dumps({"task_id": "x", "p": text[: MB // 4]}).encode()
            await measure(f"callback: {name}", "/callbacks/kling", data)
        large = {**job, "request": {**job["request"], "image": "A" * (31 * MB)}}  # type: ignore[dict-item]
        await measure("request: an image of 31 MB", "/v1/tasks", json.dumps(large).encode())
        many = b'{"route":"openai.images","request":{"x":[' + b"[]," * (10 * MB) + b"1]}}"
        await measure("request: 30 MB of empty lists", "/v1/tasks", many)
    assert all(status < 500 for status in statuses)


async def started(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until the daemon answers."""
    async with asyncio.timeout(STARTED_WITHIN_S):
        while True:
            try:
                async with session.get(f"{url}/healthz"):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
