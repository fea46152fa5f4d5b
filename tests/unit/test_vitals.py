"""When the daemon counts as unwell, and when as wedged: what a restart would mend, and what it would not."""

from typing import Any, cast

import pytest

from tests.factories import START
from tracker.clock import ManualClock
from tracker.vitals import STUCK_AFTER_S, Vitals


class Parts:
    """The parts that are looked at, as they stand."""

    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.is_stalled = self.is_wedged = False
        self.writer_progress = (self.clock.monotonic(), 0)
        self.last_progress = self.clock.monotonic()

    def vitals(self) -> Vitals:
        """The judge of these parts; each looks at its own attributes."""
        part = cast("Any", self)
        return Vitals(part, part, part, self.clock)


def test_all_is_well() -> None:
    """A daemon with nothing to do is neither unwell nor wedged."""
    parts = Parts()
    parts.clock.advance(STUCK_AFTER_S / 2)
    assert (parts.vitals().health().ready, parts.vitals().wedged()) == (True, [])


def test_an_idle_writer_is_no_stuck_writer() -> None:
    """Only work that waits makes the time since the last commit a bad sign."""
    parts = Parts()
    parts.clock.advance(STUCK_AFTER_S + 1)
    parts.last_progress = parts.clock.monotonic()
    assert parts.vitals().wedged() == []
    parts.writer_progress = (parts.writer_progress[0], 1)
    assert "store" in parts.vitals().wedged()[0]


def test_a_store_that_refuses_is_unwell_and_not_wedged() -> None:
    """A full disk stalls the sweeps; killing the daemon would mend nothing, so the watchdog is fed on."""
    parts = Parts()
    parts.is_stalled = True
    assert not parts.vitals().health().ready
    assert parts.vitals().wedged() == []


@pytest.mark.parametrize("part", ["poller", "dispatcher"])
def test_what_does_not_come_round_is_wedged(part: str) -> None:
    """A loop that ended or hangs shows in the watchdog, by name."""
    parts = Parts()
    parts.is_wedged = part == "poller"
    if part == "dispatcher":
        parts.clock.advance(STUCK_AFTER_S + 1)
    (reason,) = parts.vitals().wedged()
    assert {"poller": "polling", "dispatcher": "dispatcher"}[part] in reason
