"""`make install` into a staging directory, from a wheel and without a network: twice, then uninstalled."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.systemd.wheels import pack_wheels

REPOSITORY = Path(__file__).parents[2]
PREFIX = "/opt/tracking"


def system_python() -> str:
    """A system Python that is compatible with this one's wheels."""
    for directory in ("/usr/bin", "/usr/local/bin"):
        python = f"{directory}/python3.{sys.version_info.minor}"
        probe = [python, "-c", "import ensurepip, venv"]
        if Path(python).exists() and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return python
    pytest.skip(f"NOT TESTED: the system has no Python 3.{sys.version_info.minor} that makes virtual environments")


def make(target: str, variables: Mapping[str, str]) -> str:
    """Run a target of the Makefile as a user would; its output."""
    arguments = [f"{name}={value}" for name, value in variables.items()]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "-s", target, *arguments], cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")
@pytest.mark.timeout(180)
def test_install_twice_and_uninstall(tmp_path: Path) -> None:
    """The program is below PREFIX without traces of the staging directory; the user's changes stay."""
    stage, wheels, dist = tmp_path / "stage", tmp_path / "wheels", tmp_path / "dist"
    wheels.mkdir()
    python = system_python()
    pack_wheels([REPOSITORY / "requirements.txt"], wheels)
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(dist)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = dist.glob("*.whl")
    variables = {
        "DESTDIR": str(stage),
        "PREFIX": PREFIX,
        "PYTHON": python,
        "WHEEL": str(wheel),
        "WHEELS": str(wheels),
    }
    assert "is installed" in make("install", variables)

    lib, units = stage / "opt/tracking/lib/tracker", stage / "etc/systemd/system"
    program = stage / "opt/tracking/bin/tracker"
    first = (lib / "current").readlink()
    script = program.resolve()
    assert script == (lib / first / "bin/tracker").resolve()
    assert f"{PREFIX}/lib/tracker/{first}/bin/python" in script.read_text()
    assert not [path for path in (lib / first / "bin").iterdir() if path.is_file() and str(stage) in _text(path)]
    assert f"ExecStart={PREFIX}/bin/tracker serve" in (units / "tracker.service").read_text()
    shown = subprocess.run(
        [lib / first / "bin/python", "-m", "tracker", "--version"], capture_output=True, text=True, check=True, cwd="/"
    )
    assert shown.stdout.startswith("tracker")
    config = stage / "etc/tracker/tracker.toml"
    assert 'path = "/var/lib/tracker/tracker.db"' in config.read_text().splitlines()

    config.write_text("# mine\n")
    (lib / "20200101000000-1").mkdir()  # older than the previous one: nothing can run it now
    make("install", variables)
    second = (lib / "current").readlink()
    assert {path.name for path in lib.iterdir()} == {"current", str(first), str(second)}
    assert config.read_text() == "# mine\n"

    assert "left as they were" in make("uninstall", variables)
    assert sorted(str(path.relative_to(stage)) for path in stage.rglob("*") if path.is_file()) == [
        "etc/tracker/tracker.toml"
    ]


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")
