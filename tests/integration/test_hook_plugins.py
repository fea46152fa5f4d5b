"""Python plug-ins: found, checked at the start, called on separate threads and loops."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import sysconfig
import threading
import zipfile
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.kits.hooks import make_hook, make_job
from tests.kits.waiting import WITHIN_S
from tracker.config.hooks import HookSpec
from tracker.errors import ConfigError
from tracker.hooks import PermanentFailure, hookimpl
from tracker.hooks.kinds.plugins import PluginAction, PluginRunner, load_plugin
from tracker.hooks.runner import RunOutcome, RunResult, encode_event

JOB = make_job()
PAYLOAD = encode_event(JOB)


class Point(EntryPoint):
    """An entry point that loads an object."""

    def load(self) -> Any:  # noqa: ANN401 - as the original
        """The object that its value names."""
        return PLUGINS[self.value]


@hookimpl
def take_all(event: dict[str, Any], delivery_id: str, attempt: int) -> str:
    """A plug-in with every argument."""
    return f"{event['type']} {delivery_id} {attempt}"


@hookimpl
def take_nothing() -> None:
    """A plug-in without arguments."""


@hookimpl
def take_wrong(event: dict[str, Any], evnt: int) -> None:
    """A plug-in with an unknown argument."""


class Plugin:
    """A plug-in that is a class."""

    @hookimpl
    def tracker_task_event(self, event: dict[str, Any]) -> str:
        """Handle an event."""
        return str(event["task"]["status"])


PLUGINS: dict[str, Any] = {
    "all": SimpleNamespace(tracker_task_event=take_all),
    "nothing": SimpleNamespace(tracker_task_event=take_nothing),
    "wrong": SimpleNamespace(tracker_task_event=take_wrong),
    "misspelt": SimpleNamespace(tracker_task_evnt=take_all),
    "unmarked": SimpleNamespace(tracker_task_event=lambda event: None),
    "class": Plugin,
}
INSTALLED = {name: Point(name, name, "tracker.hooks") for name in [*PLUGINS, "absent"]}


def load(name: str) -> PluginAction:
    """A plug-in from the table above."""
    return load_plugin("h", name, INSTALLED)


def spec_of(action: PluginAction, timeout_s: float = 10, concurrency: int = 4) -> HookSpec:
    """A plug-in hook."""
    return make_hook("h", ("task.*",), action, timeout_s=timeout_s, concurrency=concurrency)


def calling(function: Callable[..., Any]) -> PluginAction:
    """A plug-in that is a function of the event."""
    return PluginAction("p", function, ("event",))


@pytest.mark.parametrize(
    ("name", "output"), [("all", "task.succeeded dlv_812_0_publish 1"), ("nothing", None), ("class", "SUCCEEDED")]
)
async def test_a_plugin_gets_the_arguments_it_names(name: str, output: str | None) -> None:
    """Any of the arguments, in any form that a plug-in may have; a text that it returns is recorded."""
    result = await PluginRunner().run(JOB, PAYLOAD, spec_of(load(name)))
    assert result == RunResult(RunOutcome.SUCCEEDED, output=output)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "wrong",
            r"plug-in 'wrong': tracker_task_event must not have the argument 'evnt'; it may have event, ",
        ),
        ("misspelt", r"plug-in 'misspelt' does not match the specification: .*tracker_task_evnt"),
        ("unmarked", r"plug-in 'unmarked' has no implementation"),
        ("absent", r"'absent' cannot be loaded: KeyError"),
        ("other", r"plug-in 'other' is not in .* installed: absent, all, class"),
    ],
)
def test_a_plugin_that_does_not_fit_is_refused_at_the_start(name: str, message: str) -> None:
    """One line names the hook, the plug-in and the argument."""
    with pytest.raises(ConfigError, match=rf"hooks\[h\].plugin: {message}") as caught:
        load(name)
    assert len(caught.value.problems) == 1


async def test_exceptions_of_a_plugin() -> None:
    """An exception is retried and recorded with its traceback; PermanentFailure is not retried."""

    def fail(event: object) -> None:
        raise KeyError("prompt")

    def never(event: object) -> None:
        raise PermanentFailure("not this one")

    def leave(event: object) -> None:
        sys.exit(3)

    runner = PluginRunner()
    result = await runner.run(JOB, PAYLOAD, spec_of(calling(fail)))
    assert (result.outcome, result.error) == (RunOutcome.RETRY, "KeyError: 'prompt'")
    assert 'raise KeyError("prompt")' in (result.output or "")
    result = await runner.run(JOB, PAYLOAD, spec_of(calling(never)))
    assert (result.outcome, result.error) == (RunOutcome.FAILED_FOR_GOOD, "not this one")
    result = await runner.run(JOB, PAYLOAD, spec_of(calling(leave)))
    assert (result.outcome, result.error) == (RunOutcome.RETRY, "RuntimeError: SystemExit: 3")


async def test_a_coroutine_is_awaited_beside_the_daemon() -> None:
    """It runs on a separate loop, is cancelled at its timeout, and may even block that loop."""
    cancelled = threading.Event()
    daemon = threading.get_ident()

    async def handle(event: dict[str, Any]) -> str:
        try:
            await asyncio.sleep(0 if event["task"]["labels"] else 1000)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return str(threading.get_ident() != daemon)

    runner = PluginRunner()
    quick = make_job(labels={"a": "b"})
    assert (await runner.run(quick, encode_event(quick), spec_of(calling(handle)))).output == "True"
    late = await runner.run(JOB, PAYLOAD, spec_of(calling(handle), timeout_s=0.05))
    assert (late.outcome, late.error) == (RunOutcome.RETRY, "timed out after 0.05 s")
    assert await asyncio.to_thread(cancelled.wait, WITHIN_S)
    await runner.close()


async def test_hanging_calls_keep_their_slots() -> None:
    """A thread cannot be killed: hanging calls use slots, and no delivery is called twice at once."""
    over = threading.Event()

    def handle(event: object) -> None:
        over.wait()

    runner, action = PluginRunner(), calling(handle)
    spec = spec_of(action, timeout_s=0.02, concurrency=2)
    jobs = [make_job(delivery_id=f"dlv_{n}") for n in range(3)]
    found = [(await runner.run(job, PAYLOAD, spec)).error for job in (jobs[0], jobs[0], jobs[1], jobs[2])]
    assert found == [
        "timed out after 0.02 s",
        "the call of an earlier attempt still runs",
        "timed out after 0.02 s",
        "2 earlier calls still run",
    ]
    over.set()
    async with asyncio.timeout(WITHIN_S):
        while (await runner.run(jobs[2], PAYLOAD, spec)).outcome is not RunOutcome.SUCCEEDED:  # noqa: ASYNC110 - a thread
            await asyncio.sleep(0.005)


async def test_each_run_has_its_own_event() -> None:
    """The next attempt does not see a plug-in's changes to the event."""
    seen = []

    def spoil(event: dict[str, Any]) -> None:
        seen.append(event.pop("type"))

    runner = PluginRunner()
    for _ in range(2):
        await runner.run(JOB, PAYLOAD, spec_of(calling(spoil)))
    assert seen == ["task.succeeded"] * 2


THIRD_PARTY = """
from tracker.hooks import PermanentFailure, hookimpl

@hookimpl
def tracker_task_event(event, attempt):
    return f"third party handled {event['type']} of {event['task']['route']}, attempt {attempt}"
"""
PROGRAM = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from tracker.cli.main import run
sys.exit(run(["hooks", "test", "theirs", "--config", sys.argv[3], "--json"]))
"""


def build_wheel(directory: Path) -> Path:
    """A wheel of a third-party package."""
    info = "their_package-1.0.dist-info"
    files = {
        "their_package.py": THIRD_PARTY,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[tracker.hooks]\npublish = their_package\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    wheel = directory / "their_package-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


def test_a_third_party_wheel_receives_events(tmp_path: Path) -> None:
    """Installed into a separate directory, a package is found through its entry point and gets an event."""
    wheel = build_wheel(tmp_path)
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--no-index", "--target", target, wheel],
        check=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"},
    )
    config = tmp_path / "tracker.toml"
    config.write_text('[[hooks]]\nname = "theirs"\non = "task.failed"\nplugin = "publish"\n', encoding="utf-8")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, root, target, config],
        check=True, capture_output=True, text=True, cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": sysconfig.get_path("purelib")},
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["same_answer"] is True
    assert found["runs"][0]["output"] == "third party handled task.failed of suno.generate, attempt 1"
