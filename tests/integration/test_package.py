"""The wheel is complete, and the lock files list exactly what is installed."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
LOCKS = ["requirements.txt", "requirements-build.txt", "requirements-dev.txt"]
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?: ; (?P<marker>[^\\]+?))? \\$")


def read_pins(lock: str) -> dict[str, str]:
    """Return the version of each package that a lock file lists."""
    lines = (REPOSITORY / lock).read_text(encoding="utf-8").splitlines()
    return {pin["name"]: pin["version"] for line in lines if (pin := PIN.match(line))}


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    """SQL, pages, styles and manifests are in the wheel."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("tracker/")}
    files = {path for path in (REPOSITORY / "tracker").rglob("*") if path.is_file()}
    assert packed == {path.relative_to(REPOSITORY).as_posix() for path in files if path.parent.name != "__pycache__"}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_lists_pins_and_hashes_only(lock: str) -> None:
    """Every line is a comment, an exact version or a hash: no index, no address, no path."""
    lines = (REPOSITORY / lock).read_text(encoding="utf-8").splitlines()
    allowed = re.compile(rf"^#|^ {{4}}--hash=sha256:[0-9a-f]{{64}}(?: \\)?$|{PIN.pattern}")
    assert [line for line in lines if not allowed.search(line)] == []


def test_the_locks_agree_and_cover_the_project() -> None:
    """Every declared dependency is locked, in one version wherever it is listed."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    runtime, build, dev = map(read_pins, LOCKS)

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[^a-z0-9-]", requirement)[0] for requirement in requirements}

    assert names(project["dependencies"]) <= runtime.keys()
    assert names(project["optional-dependencies"]["dev"]) <= dev.keys()
    assert runtime.items() <= dev.items()
    assert build.items() <= dev.items()
