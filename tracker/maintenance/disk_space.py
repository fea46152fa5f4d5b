"""Free space of the store's file system: measured, and logged when it gets low and when it has recovered.

A test write proves nothing about the next write: on a full disk, a write still succeeds while the write-ahead log has
unused space.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tracker.logs import get_logger

log = get_logger(__name__)

LOW_BYTES: Final = 64 * 2**20
"""What the archive leaves to the database; below it, or below a twentieth of a small file system, space is low."""
FULL_BYTES: Final = 4 * 2**20
"""Below it, or below a hundredth of a small file system, the next growth of the log may fail."""
CHECK_EVERY_S: Final = 10.0
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
        directory: of the store.
        measure: total and free bytes of the file system of a directory; raises `OSError`.
    """

    def __init__(self, directory: Path, measure: Callable[[Path], tuple[int, int]] = measure_disk) -> None:
        self._directory = directory
        self._measure = measure
        self._is_low = False

    async def check(self) -> None:
        """Measure now, and log a change."""
        self.measure()

    def free_bytes(self) -> int | None:
        """Free space, None if it cannot be measured."""
        try:
            return self._measure(self._directory)[1]
        except OSError:
            return None

    def measure(self) -> tuple[str | None, bool]:
        """Measure now, and log a change.

        Returns:
            What is wrong, one sentence, None when space is not low; and whether the disk counts as full.
        """
        try:
            total, free = self._measure(self._directory)
        except OSError:
            return None, False  # the store itself finds out what is wrong with its directory
        is_low = free < min(LOW_BYTES, total // 20)
        if is_low != self._is_low:
            log.warning("disk.low" if is_low else "disk.recovered", path=str(self._directory), free_bytes=free)
        self._is_low = is_low
        if not is_low:
            return None, False
        is_full = free < min(FULL_BYTES, total // 100)
        state = "full" if is_full else "nearly full"
        return f"The disk is {state}: {free / _MIB:.1f} MiB are free in {self._directory}.", is_full
