"""A copy of the repository to which something is added, and whose tests run in a process of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*", "dist", "build", "*.egg-info")
_TIMEOUT_S = 50.0


class CopiedRepository:
    """Everything that is under version control, without the history.

    Args:
        directory: where the copy goes; does not exist yet.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        shutil.copytree(REPOSITORY, directory, ignore=_LEFT_OUT)

    def add_file(self, path: str, text: str) -> None:
        """Write a file that the repository does not have."""
        file = self.directory / path
        assert not file.exists(), path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def add_line(self, path: str, before: str, line: str) -> None:
        """Write a line into a file, before the first line that begins with a text."""
        file = self.directory / path
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        lines.insert(next(n for n, each in enumerate(lines) if each.startswith(before)), f"{line}\n")
        file.write_text("".join(lines), encoding="utf-8")

    def run_tests(self, *arguments: str) -> tuple[int, str]:
        """Run pytest in the copy.

        Returns:
            Its exit code, and what it printed.
        """
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *arguments],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(self.directory)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        return ran.returncode, ran.stdout
