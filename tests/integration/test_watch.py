"""``tracker watch`` against the real server: JSON lines, lines, and the table on a terminal."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.kits.server import ServerWorld
from tests.kits.waiting import WITHIN_S, until
from tracker.domain.task import Status

COMMAND = (sys.executable, "-m", "tracker", "watch")


@asynccontextmanager
async def watching(world: ServerWorld, *arguments: str, stdout: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command in a process of its own, as a user starts it."""
    url = str(world.client.make_url("")).rstrip("/")
    environment = os.environ | {"TRACKER_URL": url, "TRACKER_API_TOKEN": "unused", "TERM": "xterm", "COLUMNS": "100"}
    # background processes of a script ignore Ctrl-C, as may these tests and their children
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *arguments, stdout=stdout, stderr=asyncio.subprocess.PIPE, env=environment | {"LINES": "20"}
        )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        async with asyncio.timeout(WITHIN_S):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_json_lines_until_the_named_tasks_have_ended(world: ServerWorld) -> None:
    """Each as it is now, then with each change of its own; other tasks are left out."""
    wanted, other = await world.make_task(external_id="a"), await world.make_task(external_id="b")
    async with watching(world, wanted, "--json", stdout=asyncio.subprocess.PIPE) as process:
        assert process.stdout is not None
        first = json.loads(await process.stdout.readline())
        assert (first["id"], first["status"], first["expected"]) == (wanted, "PENDING", None)
        await world.poll(other, Status.RUNNING)
        await world.poll(wanted, Status.RUNNING, progress=40)
        assert json.loads(await process.stdout.readline())["progress"] == 40
        await world.end_task(wanted)
        last = json.loads(await process.stdout.readline())
        assert (last["id"], last["status"]) == (wanted, "SUCCEEDED")
        assert await process.wait() == 0
        assert await process.stdout.read() == b""


async def test_an_unknown_id_is_one_line(world: ServerWorld) -> None:
    """It names the id, and no option that the command does not have."""
    unknown = "01JD0000000000000000000001"
    async with watching(world, unknown, stdout=asyncio.subprocess.PIPE) as process:
        assert process.stderr is not None
        (line,) = (await process.stderr.read()).decode().splitlines()
        assert unknown in line
        assert "--task" not in line
        assert await process.wait() == 1


async def test_lines_of_all_active_tasks(world: ServerWorld) -> None:
    """Without a terminal: one line per change, of tasks that begin later too, not of those that ended before."""
    ended, active = await world.make_task(external_id="a"), await world.make_task(external_id="b")
    await world.end_task(ended)
    async with watching(world, stdout=asyncio.subprocess.PIPE) as process:
        assert process.stdout is not None
        assert await process.stdout.readline() == f"{active} PENDING\n".encode()
        later = await world.make_task(external_id="c")
        await world.poll(later, Status.RUNNING, progress=10)
        assert await process.stdout.readline() == f"{later} RUNNING 10 %\n".encode()
        await world.end_task(active)
        assert await process.stdout.readline() == f"{active} SUCCEEDED 100 %\n".encode()
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        assert process.stderr is not None
        assert b"Traceback" not in await process.stderr.read()


async def test_a_table_that_says_whether_it_is_live(world: ServerWorld) -> None:
    """It fills the terminal, follows the tasks, says when the daemon is gone, and leaves the terminal as it was."""
    task_id = await world.make_task()
    master, terminal = os.openpty()
    shown = bytearray()
    loop = asyncio.get_running_loop()
    loop.add_reader(master, lambda: shown.extend(os.read(master, 65536)))

    def text() -> str:
        return re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", bytes(shown)).decode(errors="replace")

    try:
        async with watching(world, stdout=terminal) as process:
            await until(lambda: task_id in text() and "live" in text())
            assert shown.startswith(b"\x1b[?1049h"), "the alternate screen"
            shown.clear()
            await world.poll(task_id, Status.RUNNING, progress=40)
            await until(lambda: "1 running" in text())
            shown.clear()
            await world.client.close()
            await until(lambda: re.search(r"stale since \d\d:\d\d:\d\d \(the daemon at .* closed the stream", text()))
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 128 + signal.SIGTERM
            await until(lambda: b"\x1b[?1049l" in shown and b"\x1b[?25h" in shown)
    finally:
        loop.remove_reader(master)
        os.close(master)
        os.close(terminal)
