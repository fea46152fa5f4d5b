"""The archive: many small files and one large one, against a bare loop that reads, writes, hashes and syncs.

The tasks have finished and their files are due before the daemon starts, so callbacks bound nothing. Rates follow from
the times that the store recorded.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.bench import datasets
from tests.bench.options import Options
from tests.bench.processes import Server, baseline, daemon, workplace
from tests.bench.report import Figure, Result, at_least

AT_ONCE = 6
"""Downloads in parallel, as in the daemon."""
SMALL = 1_000
SMALL_BYTES = 100_000
LARGE_BYTES = 500_000_000
CHUNK = 1 << 20
LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Archived:
    """How long files took to be stored, and the daemon's cost."""

    count: int
    seconds: float
    cpu_s: float
    resident_mib: float


async def run(options: Options) -> Result:
    """Measure small files in each round, the large one in fewer."""
    count = options.scaled(SMALL)
    small, bare_small, large, bare_large = [], [], [], []
    async with baseline("files") as files:
        for n in range(options.rounds):
            bare_small.append(count / await _fetch_bare(files, SMALL_BYTES, count))
            small.append(await _archive(files, SMALL_BYTES, count))
            if n < 3 and not options.quick:
                bare_large.append(LARGE_BYTES / 1e6 / await _fetch_bare(files, LARGE_BYTES, 1))
                large.append(await _archive(files, LARGE_BYTES, 1))
    rates = [one.count / one.seconds for one in small]
    figures = [
        Figure(f"{small[0].count:,} files of 100 kB", rates, "/s", at_least(700, 1_200)),
        Figure("small files / bare", [one / other for one, other in zip(rates, bare_small, strict=True)]),
        Figure("bare, small files", bare_small, "/s"),
        Figure("CPU a small file", [one.cpu_s / one.count * 1e3 for one in small], "ms"),
        Figure("resident memory after small files", [one.resident_mib for one in small], "MiB"),
    ]
    if large:
        speeds = [LARGE_BYTES / 1e6 / one.seconds for one in large]
        figures += [
            Figure("one file of 500 MB", speeds, "MB/s"),
            Figure("large file / bare", [one / other for one, other in zip(speeds, bare_large, strict=True)]),
            Figure("CPU of the large file", [one.cpu_s for one in large], "s"),
            Figure("resident memory after it", [one.resident_mib for one in large], "MiB"),
        ]
    return Result("archive", figures, [f"{AT_ONCE} downloads at once"])


async def _archive(files: Server, size: int, count: int) -> Archived:
    with workplace() as directory:
        path = directory / "tracker.db"
        # one of twenty tasks fails with one output, the others have two
        recipe = datasets.Recipe("", finished=(count * 20 + 38) // 39, archives=f"http://127.0.0.1:{files.port}/{size}")
        await datasets.make(path, recipe)
        with closing(sqlite3.connect(path)) as db, db:
            if count == 1:  # a task has two
                db.execute("DELETE FROM archives WHERE n > 0")
            ((due,),) = db.execute("SELECT count(*) FROM archives").fetchall()
        async with daemon(directory, archive=True) as server:
            before_s, began_at = server.cpu_s(), time.time()
            await _wait_until_stored(path, due)
            cpu_s = server.cpu_s() - before_s
            with closing(sqlite3.connect(path)) as db:
                ((first, last),) = db.execute("SELECT min(finished_at), max(finished_at) FROM archives").fetchall()
            return Archived(
                due, (last - first if count > 1 else last - began_at * 1000) / 1000, cpu_s, server.resident_mib()
            )


async def _wait_until_stored(path: Path, count: int) -> None:
    end = time.monotonic() + LIMIT_S
    while True:
        with closing(sqlite3.connect(path)) as db:
            found = dict(db.execute("SELECT state, count(*) FROM archives GROUP BY state").fetchall())
        if found.get("stored") == count:
            return
        if found.get("dead") or time.monotonic() > end:
            raise SystemExit(f"{count} files should be stored: {found}")
        await asyncio.sleep(0.05)


async def _fetch_bare(files: Server, size: int, count: int) -> float:
    """Seconds that a loop takes which only reads, writes, hashes and syncs."""
    left = iter(range(count))
    with workplace() as directory:
        async with aiohttp.ClientSession() as session:

            async def work() -> None:
                for n in left:
                    async with session.get(f"http://127.0.0.1:{files.port}/{size}/audio/{n}.mp3") as response:
                        with (directory / str(n)).open("wb") as file:
                            digest = hashlib.sha256()
                            async for chunk in response.content.iter_chunked(CHUNK):
                                digest.update(chunk)
                                file.write(chunk)
                            file.flush()
                            await asyncio.to_thread(os.fsync, file.fileno())

            start = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(AT_ONCE)))
            return time.perf_counter() - start
