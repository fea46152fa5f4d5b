"""When a disk counts as low or full."""

from pathlib import Path

import pytest

from tracker.maintenance.disk_space import ENOUGH, FULL_BYTES, LOW_BYTES, DiskSpace

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


def test_space_stays_low_until_there_is_clearly_more() -> None:
    """So that an alarm about it does not come and go; a missing directory is not low."""
    enough = int(LOW_BYTES * ENOUGH)
    steps = iter((LOW_BYTES, LOW_BYTES - 1, LOW_BYTES, enough - 1, enough, LOW_BYTES))

    def measure(_: Path) -> tuple[int, int]:
        if (free := next(steps, None)) is None:
            raise FileNotFoundError
        return 100 * GIB, free

    disk = DiskSpace(Path("/data"), measure)
    is_low = [disk.measure()[0] is not None for _ in range(7)]
    assert is_low == [False, True, True, True, False, False, False]
