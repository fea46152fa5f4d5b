"""The daemon's resident memory does not grow with the tasks that it tracks."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from tests.bench.callbacks import daemon, make_tasks
from tests.bench.load import run_load

TASKS = 100_000
SETTLE = [b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"] * 2000
TICKS_S = 5.0
"""Some sweeps go by before memory is read."""


async def run(rounds: int) -> None:
    """Print the resident memory of an empty daemon and of one with 100,000 tasks."""
    del rounds  # memory does not vary from round to round
    empty = await _resident_mib(0)
    full = await _resident_mib(TASKS)
    print(f"  empty                            {empty:9.1f} MiB")
    print(f"  {TASKS:,} tracked tasks            {full:9.1f} MiB")
    print(f"  difference                       {full - empty:9.1f} MiB (<= 20)")


async def _resident_mib(tasks: int) -> float:
    with tempfile.TemporaryDirectory(prefix="tracker-bench-", dir=".") as name:
        directory = Path(name).absolute()
        if tasks:
            await make_tasks(directory / "tracker.db", tasks)
        async with daemon(directory) as server:
            await run_load(server.port, SETTLE, 8)
            await asyncio.sleep(TICKS_S)
            pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
