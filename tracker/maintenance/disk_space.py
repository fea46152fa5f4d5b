"""How much room the store has: watched, and logged at warning level when it gets low and when there is room again.

A write that fits into the room that the write-ahead log already has succeeds on a full disk as well, so that a test
write proves nothing about the next one.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tracker.logs import get_logger

log = get_logger(__name__)

LOW_BYTES: Final = 64 * 2**20
"""What the archive leaves to the database; below it, or below a twentieth of a small file system, room is low."""
FULL_BYTES: Final = 4 * 2**20
"""Below it, or below a hundredth of a small file system, the next growth of the log may fail."""
LOOK_EVERY_S: Final = 10.0
_MIB: Final = 2**20


def measure_disk(directory: Path) -> tuple[int, int]:
    """Total and free bytes.

    Raises:
        OSError: the directory cannot be looked at.
    """
    usage = shutil.disk_usage(directory)
    return usage.total, usage.free


class Disk:
    """The file system of a directory.

    Args:
        directory: of the store.
        measure: total and free bytes of the file system of a directory; raises `OSError`.
    """

    def __init__(self, directory: Path, measure: Callable[[Path], tuple[int, int]] = measure_disk) -> None:
        self._directory = directory
        self._measure = measure
        self._is_low = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch. Called once, on the event loop."""
        self._task = asyncio.create_task(self._run(), name="disk")

    async def stop(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def look(self) -> tuple[str | None, bool]:
        """Measure now, and log a change.

        Returns:
            What is wrong, one sentence, None when there is room; and whether the disk counts as full.
        """
        try:
            total, free = self._measure(self._directory)
        except OSError:
            return None, False  # the store itself finds out what is wrong with its directory
        is_low = free < min(LOW_BYTES, total // 20)
        if is_low and not self._is_low:
            log.warning("disk.low", path=str(self._directory), free_bytes=free)
        elif self._is_low and not is_low:
            log.warning("disk.recovered", path=str(self._directory), free_bytes=free)
        self._is_low = is_low
        if not is_low:
            return None, False
        is_full = free < min(FULL_BYTES, total // 100)
        state = "full" if is_full else "nearly full"
        return f"The disk is {state}: {free / _MIB:.1f} MiB are free in {self._directory}.", is_full

    async def _run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_EVERY_S)
