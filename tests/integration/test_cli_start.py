"""What commands import: most of their time is the start of the process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kits.daemon import NEVER_POLLS, Setting, running_daemon
from tracker.sandbox import Sandbox

HEAVY = {
    *("aiohttp", "aiosqlite", "apprise", "asyncio", "jmespath", "msgspec", "obstore", "orjson", "pluggy", "pydantic"),
    *("rich", "structlog", "uvloop", "multiprocessing", "subprocess", "zipfile"),
    *("tracker.archive", "tracker.hooks", "tracker.logs", "tracker.providers", "tracker.tracking", "tracker.upstream"),
    *("tracker.config.settings", "tracker.daemon.app", "tracker.domain.task", "tracker.store.sqlite.engine"),
}
"""Libraries and packages that cost more than a command that asks the daemon."""
SUNO = '{"customMode": false, "instrumental": false, "model": "V5", "prompt": "x"}'
PROGRAM = """
import json, sys
from tracker.cli.main import run
code = run(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    json.dump({"code": code, "modules": sorted(sys.modules)}, file)
"""


async def heavy_imports(directory: Path, *arguments: str) -> tuple[int, set[str], str]:
    """Run a command as a process: its exit code, what it imported of `HEAVY`, and its standard error."""
    report = directory / "imported.json"
    env = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
    command = [sys.executable, "-c", PROGRAM, str(report), *arguments]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=env)
    _out, err = await process.communicate()
    found = json.loads(report.read_text())
    return found["code"], HEAVY & set(found["modules"]), err.decode()


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("list", "--help"), ("submit", "--help")])
async def test_help_and_version_import_little(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Neither the configuration, nor the store, nor a library of the daemon."""
    assert await heavy_imports(tmp_path, *arguments) == (0, set(), "")


def test_the_end_of_a_command_looks_for_no_garbage() -> None:
    """All objects are taken from the collector before the interpreter ends."""
    code = (
        "import atexit, gc; atexit.register(lambda: print(len(gc.get_objects()) < gc.get_freeze_count()));"
        "from tracker.cli.main import main; main(['--version'])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "True"


async def test_commands_beside_a_daemon_import_little(tmp_path: Path) -> None:
    """The daemon is identified and asked with the standard library and click alone."""
    async with Sandbox() as sandbox:
        setting = Setting(gateway=sandbox.base_url, poll=NEVER_POLLS, is_called_back=False)
        async with running_daemon(tmp_path, setting) as api:
            task = (await api.submit("suno.generate", json.loads(SUNO)))["id"]
            expected = {
                ("list",): 0,
                ("list", "--json"): 0,
                ("list", "--status", "FAILED"): 0,
                ("show", task): 0,
                ("why", task): 0,
                ("events", task): 0,
                ("wait", task, "--timeout", "0"): 124,
                ("submit", "suno.generate", "-d", SUNO): 0,
                ("routes",): 0,
            }
            for arguments, code in expected.items():
                found = await heavy_imports(tmp_path, *arguments, "--config", str(tmp_path / "tracker.toml"))
                assert found[:2] == (code, set()), (arguments, *found)


async def test_a_mistake_in_another_table_stops_no_command_beside_the_daemon(tmp_path: Path) -> None:
    """The daemon has its configuration already. Without a daemon the same command reports the mistake."""
    file = tmp_path / "tracker.toml"
    async with running_daemon(tmp_path, Setting(is_called_back=False)):
        file.write_text(f"{file.read_text()}\n[retention]\nevents_day = 1\n")
        beside = await heavy_imports(tmp_path, "list", "--config", str(file))
    alone = await heavy_imports(tmp_path, "list", "--config", str(file))
    assert (beside[0], beside[2]) == (0, "no tasks\n")
    assert (alone[0], alone[2].startswith(f"{file}: retention.events_day: unknown key")) == (78, True)
