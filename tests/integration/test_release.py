"""``make release``: what it checks, builds and tags, in a copy of the repository."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kits.daemon import REPOSITORY
from tracker import __version__

COPIED = ("Makefile", "pyproject.toml", "requirements.txt", "requirements-build.txt", "requirements-dev.txt", "LICENSE")
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", ".gitignore")
GIT = ("git", "-c", "user.name=Tester", "-c", "user.email=tester@example.com", "-c", "commit.gpgsign=false")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A committed copy of the repository, set up like a used checkout."""
    directory = tmp_path / "checkout"
    directory.mkdir()
    for name in (*COPIED, *PAGES):
        shutil.copy(REPOSITORY / name, directory)
    shutil.copytree(REPOSITORY / "tracker", directory / "tracker", ignore=shutil.ignore_patterns("__pycache__"))
    environment = Path(sys.prefix)
    own = directory / ".venv"
    own.mkdir()
    for part in environment.iterdir():
        if not part.name.endswith("-stamp"):
            (own / part.name).symlink_to(part)
    for stamp in (".runtime-stamp", ".dev-stamp"):
        (own / stamp).write_text(f"{directory}\n")
    changelog = directory / "CHANGELOG.md"
    rest = re.sub(r"(?m)^## \[Unreleased\]\n(?s:.*?)(?=^## \[\d|\Z)", "## [Unreleased]\n\n", changelog.read_text())
    changelog.write_text(rest if f"## [{__version__}] - " in rest else f"{rest}\n## [{__version__}] - 2026-11-29\n")
    run("git", "init", "-q", directory=directory)
    commit(directory)
    return directory


def run(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in the checkout."""
    return subprocess.run(arguments, cwd=directory, capture_output=True, text=True, check=False, timeout=60)


def commit(directory: Path) -> None:
    """Commit everything."""
    run(*GIT, "add", "-A", directory=directory)
    committed = run(*GIT, "commit", "-qm", "Change", directory=directory)
    assert committed.returncode == 0, committed.stderr


def release(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run ``make release``."""
    run("git", "config", "user.name", "Tester", directory=directory)
    run("git", "config", "user.email", "tester@example.com", directory=directory)
    return run("make", "release", directory=directory)


def test_a_release_builds_and_tags(checkout: Path) -> None:
    """Wheel and sdist are there, the tag names the version, and the same version is refused a second time."""
    done = release(checkout)
    assert done.returncode == 0, done.stderr
    built = sorted(path.name for path in (checkout / "dist").iterdir())
    assert built == [f"task_tracker-{__version__}-py3-none-any.whl", f"task_tracker-{__version__}.tar.gz"]
    assert run("git", "tag", directory=checkout).stdout.split() == [f"v{__version__}"]
    again = release(checkout)
    assert again.returncode != 0
    assert f"the tag v{__version__} exists" in again.stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "is_committed", "complaint"),
    [
        ("README.md", "# tracker", "# other", False, "uncommitted changes"),
        ("CHANGELOG.md", "## [Unreleased]\n", "## [Unreleased]\n\n- Something new.\n", True, "under [Unreleased]"),
        ("CHANGELOG.md", f"## [{__version__}] - ", "## [9.9.9] - ", True, f"no heading '## [{__version__}] - DATE'"),
    ],
)
def test_a_release_is_refused(
    checkout: Path, file: str, old: str, new: str, complaint: str, *, is_committed: bool
) -> None:
    """One line with the reason; no tag is created."""
    path = checkout / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    if is_committed:
        commit(checkout)
    done = release(checkout)
    assert done.returncode != 0
    assert complaint in done.stderr
    assert run("git", "tag", directory=checkout).stdout == ""
