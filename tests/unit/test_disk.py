"""When the store's disk counts as low or full, and that a change is logged once."""

from pathlib import Path

import pytest

from tests.kits.logs import captured_logs
from tracker.maintenance.disk_space import FULL_BYTES, LOW_BYTES, DiskSpace

GIB = 2**30


@pytest.mark.parametrize(
    ("total", "free", "level", "is_full"),
    [
        (100 * GIB, LOW_BYTES, None, False),
        (100 * GIB, LOW_BYTES - 1, "nearly full", False),
        (100 * GIB, FULL_BYTES, "nearly full", False),
        (100 * GIB, FULL_BYTES - 1, "full", True),
        (100 * GIB, 0, "full", True),
        (16 * 2**20, 15 * 2**20, None, False),
        (16 * 2**20, 0, "full", True),
    ],
)
def test_levels(total: int, free: int, level: str | None, is_full: bool) -> None:
    """The limits are absolute on large disks and relative on small ones."""
    trouble, full = DiskSpace(Path("/data"), lambda _: (total, free)).measure()
    assert full is is_full
    assert trouble is None if level is None else f"is {level}: " in str(trouble)


def test_a_change_is_logged_once() -> None:
    """Low once, back once, however often it is measured; a missing directory logs nothing."""
    free = GIB

    def measure(_: Path) -> tuple[int, int]:
        if free < 0:
            raise FileNotFoundError
        return 100 * GIB, free

    disk = DiskSpace(Path("/data"), measure)
    with captured_logs() as logs:
        for free in (GIB, 5, 5, 0, -1, GIB, GIB):  # noqa: B007 - `measure` reads it
            disk.measure()
    assert [(entry["event"], entry["level"]) for entry in logs] == [
        ("disk.low", "warning"),
        ("disk.recovered", "warning"),
    ]
