"""``tracker demo``: what it shows on each kind of output, and how it exits when stopped or without a directory."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from tracker.cli.main import cli
from tracker.demo.scenarios import SCENARIOS
from tracker.demo.screen import Screen

DEMO = [sys.executable, "-m", "tracker", "demo"]


def make_tasks(**more: object) -> dict[str, dict[str, Any]]:
    """A finished task for each scenario."""
    task = {"status": "SUCCEEDED", "reason": None, "stage": "complete", "progress": 100, "polls": 12, "callbacks": 34}
    cost = {"amount": 0.26136, "currency": "USD", "kind": "estimate"}
    return {scenario.name: {**task, "cost": cost, "id": f"id-{scenario.name}", **more} for scenario in SCENARIOS}


def shown(width: int, *, is_terminal: bool) -> str:
    """The output after the same tasks were shown twice."""
    written = io.StringIO()
    console = Console(file=written, width=width, height=60, force_terminal=is_terminal, color_system=None)
    tasks = make_tasks()
    with Screen(SCENARIOS, console) as screen:
        for _ in range(2):
            screen.show(tasks, {task["id"]: 1 for task in tasks.values()})
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue())


def test_without_a_terminal_each_description_is_printed_once() -> None:
    """A log shows which task is called back twice, early, or never."""
    lines = shown(80, is_terminal=False).splitlines()
    for scenario in SCENARIOS:
        assert [line for line in lines if line.startswith(f"{scenario.name} ") and line.endswith(scenario.description)]
        assert sum(scenario.description in line for line in lines) == 1
        assert sum(line.startswith(f"{scenario.name} ") and "SUCCEEDED" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("width", "also"),
    [
        (80, "12         34"),
        (106, "12 polls, 34 callbacks  hook ran 1x"),
        (126, "gemini.generate"),
        (146, "hook ran 1x  about 0.26136 USD"),
    ],
)
def test_descriptions_and_endings_fit_every_terminal(width: int, also: str) -> None:
    """A narrow terminal loses other columns; no text is cut."""
    table = shown(width, is_terminal=True)
    assert "…" not in table
    assert max(map(len, table.splitlines())) <= width
    words = " ".join(table.split())
    for scenario in SCENARIOS:
        for word in scenario.description.split():
            assert word in words
        assert scenario.name in table
    assert table.count("SUCCEEDED") >= len(SCENARIOS)
    assert also in table


def test_it_can_be_interrupted(tmp_path: Path) -> None:
    """Ctrl-C while tasks run is reported, and no task counts as wrong."""
    # background processes of a script ignore Ctrl-C, as may these tests and their children
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        command = [*DEMO, "--once", "--dir", str(tmp_path)]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert running.stdout is not None
    with running:
        for line in running.stdout:
            if "PENDING" in line or "RUNNING" in line:
                break
        running.send_signal(signal.SIGINT)
        rest = running.stdout.read()
    assert running.returncode == 130, rest
    assert rest.endswith("\nstopped before all tasks ended; nothing was checked\n")
    assert "must be" not in rest


def test_it_runs_to_the_end() -> None:
    """All tasks end as expected, on a port that is not the default one."""
    ran = subprocess.run([*DEMO, "--once"], capture_output=True, text=True, check=False, timeout=58)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(SCENARIOS)} tasks ended as expected" in ran.stdout
    assert re.search(r"\nThey cost about [0-9.]+ USD and 4 units: ", ran.stdout)
    assert re.search(r"\npicture-next  kling\.image .* usually 0:0\d", ran.stdout), "eight others came before it"
    assert "  kling.image        usually 0:0" in ran.stdout
    assert "the daemon listens on http://127.0.0.1:" in ran.stdout
    assert "in a browser: http://127.0.0.1:" in ran.stdout
    assert "127.0.0.1:8780" not in ran.stdout, "the default port is for the user's own daemon"
    assert "The output files are removed now; --dir DIRECTORY keeps them." in ran.stdout
    found = re.search(r"Its files are in (.*): tracker\.toml", ran.stdout)
    assert found is not None, ran.stdout
    assert not Path(found[1]).exists()
    assert "/0-" not in ran.stdout, "a path of a removed directory"


def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    """One line with the directory and the fix."""
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "tracker.toml").mkdir(parents=True)
    for directory, what in ((tmp_path / "file" / "x", "Not a directory"), (tmp_path / "taken", "Is a directory")):
        result = CliRunner().invoke(cli, ["demo", "--once", "--dir", str(directory)], catch_exceptions=False)
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"--dir: cannot write the files there ({directory}")
        assert line.endswith(f": {what}); choose another directory")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["tracker.toml"]
