"""Short paths, wherever the tests run: a Unix socket's has 107 bytes at most, and `tmp_path` follows ``TMPDIR``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def short_directory() -> Iterator[Path]:
    """A new directory with a short path and no blanks in it; taken away afterwards."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as name:
        yield Path(name)
