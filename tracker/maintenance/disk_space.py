"""Free space of a file system: measured, and low until there is clearly more of it.

A test write proves nothing about the next write: on a full disk, a write still succeeds while the write-ahead log has
unused space.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

LOW_BYTES: Final = 64 * 2**20
"""Below it, or below a twentieth of a small file system, space is low for the database."""
ENOUGH: Final = 1.25
"""Space is low until there is so much more."""
FULL_BYTES: Final = 4 * 2**20
"""Below it, or below a hundredth of a small file system, the next growth of the log may fail."""
_MIB: Final = 2**20


def measure_disk(directory: Path) -> tuple[int, int]:
    """Total and free bytes.

    Raises:
        OSError: the directory cannot be examined.
    """
    usage = shutil.disk_usage(directory)
    return usage.total, usage.free


class DiskSpace:
    """The file system of a directory.

    Args:
        directory: of the store, or of the archive.
        measure: total and free bytes of the file system of a directory; raises `OSError`.
        reserve_bytes: space that the archive leaves free; below it, space is low on a small file system too.
    """

    def __init__(
        self,
        directory: Path,
        measure: Callable[[Path], tuple[int, int]] = measure_disk,
        *,
        reserve_bytes: int = 0,
    ) -> None:
        self.directory = directory
        self._measure = measure
        self._reserve_bytes = reserve_bytes
        self._is_low = False

    def free_bytes(self) -> int | None:
        """Free space, None if it cannot be measured."""
        try:
            return self._measure(self.directory)[1]
        except OSError:
            return None

    def space(self) -> tuple[int, int] | None:
        """Total and free bytes, None if they cannot be measured."""
        try:
            return self._measure(self.directory)
        except OSError:
            return None

    def device(self) -> int | None:
        """The device of the file system, None if it cannot be examined."""
        try:
            return self.directory.stat().st_dev
        except OSError:
            return None

    def measure(self) -> tuple[str | None, bool]:
        """Measure now.

        Returns:
            What is wrong, one sentence, None when space is not low; and whether the disk counts as full.
        """
        try:
            total, free = self._measure(self.directory)
        except OSError:
            return None, False  # the store itself finds out what is wrong with its directory
        least = max(min(LOW_BYTES, total // 20), self._reserve_bytes)
        self._is_low = free < least * (ENOUGH if self._is_low else 1.0)
        if not self._is_low:
            return None, False
        is_full = free < min(FULL_BYTES, total // 100)
        state = "full" if is_full else "nearly full"
        return f"The disk is {state}: {free / _MIB:.1f} MiB are free in {self.directory}.", is_full
