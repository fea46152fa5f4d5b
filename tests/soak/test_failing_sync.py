"""Syncs of the disk that fail, for once or for good, and then a kill: the reported outcome of each write is true."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kits.world import World
from tracker.errors import TaskNotFound

REPOSITORY = Path(__file__).parents[2]
WRITES = 5
WRITE_AND_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.kits.world import World

async def main():
    world = World(Path(sys.argv[1]))
    try:
        await world.store.open()
    except Exception as error:
        print("never", type(error).__name__, flush=True)
    else:
        for n in range(int(sys.argv[2])):
            try:
                await world.submit(n)
            except Exception as error:
                print(n, type(error).__name__, flush=True)
            else:
                print(n, "written", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace injects the faults")
@pytest.mark.parametrize("times", ["{n}", "{n}..{n2}", "{n}+"], ids=["once", "twice", "for good"])
async def test_outcomes_of_writes_are_true_after_a_kill(tmp_path: Path, times: str) -> None:
    """Written data is there, unavailable is not, and only an unknown write may be either."""
    reported: dict[str, int] = {}
    for n in range(1, 40):
        path = tmp_path / f"{n}" / "t.db"
        fault = f"inject=fdatasync,fsync:error=EIO:when={times.format(n=n, n2=n + 1)}"
        ran = subprocess.run(
            [
                "strace",
                "-f",
                "-o",
                "/dev/null",
                "-e",
                "trace=fdatasync,fsync",
                "-e",
                fault,
                sys.executable,
                "-c",
                WRITE_AND_DIE,
                str(path),
                str(WRITES),
            ],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.stdout, ran.stderr
        async with World(path) as world:
            assert world.edit("PRAGMA integrity_check") == [("ok",)]
            for line in ran.stdout.splitlines():
                name, what = line.split()
                reported[what] = reported.get(what, 0) + 1
                if name == "never":
                    continue
                try:
                    await world.get(int(name))
                except TaskNotFound:
                    assert what in {"StoreUnavailable", "WriteUnknown"}, (n, line)
                else:
                    assert what in {"written", "WriteUnknown"}, (n, line)
    assert reported["written"] > WRITES, reported
    assert ("WriteUnknown" in reported) == (times != "{n}"), reported
