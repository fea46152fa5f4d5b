"""When the daemon is unhealthy, and when it is wedged: what a restart fixes, and what it does not."""

import asyncio
from dataclasses import replace
from typing import Any, cast

from tests.kits.clock import START, ManualClock
from tests.kits.factories import make_alarm
from tracker.daemon.health import STUCK_AFTER_S, WRITTEN_LATELY_S, HealthChecks
from tracker.domain.alarms import AlarmKind
from tracker.domain.health import Health
from tracker.errors import StoreUnavailable
from tracker.store.values import WriterProgress


class Parts:
    """The parts that are checked, with settable states.

    Attributes:
        refusal: what the store refuses writes with.
        misplaced: what the check of its files finds.
        taking: cleared while writes hang.
        writes: how many writes were asked for.
    """

    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.is_stalled = self.is_wedged = False
        self.writer_progress = WriterProgress(self.clock.monotonic(), 0)
        self.last_progress = self.clock.monotonic()
        self.refusal: StoreUnavailable | None = None
        self.misplaced: StoreUnavailable | None = None
        self.taking = asyncio.Event()
        self.taking.set()
        self.writes = 0

    def check_storage(self) -> None:
        """The store's look at its files."""
        if self.misplaced is not None:
            raise self.misplaced

    async def check_writable(self) -> None:
        """The store's write."""
        self.writes += 1
        await self.taking.wait()
        if self.refusal is not None:
            raise self.refusal

    def checks(self) -> HealthChecks:
        """Health checks of these parts."""
        part = cast("Any", self)
        return HealthChecks(part, part, part, part, self.clock, write_within_s=0.01)


async def test_an_idle_daemon_is_healthy() -> None:
    """A daemon without work is neither unhealthy nor wedged."""
    parts = Parts()
    parts.clock.advance(STUCK_AFTER_S / 2)
    assert ((await parts.checks().health()).ready, parts.checks().wedged()) == (True, [])


def test_an_idle_writer_is_not_stuck() -> None:
    """The time since the last commit counts only while work waits."""
    parts = Parts()
    parts.clock.advance(STUCK_AFTER_S + 1)
    parts.last_progress = parts.clock.monotonic()
    assert parts.checks().wedged() == []
    parts.writer_progress = replace(parts.writer_progress, waiting=1)
    assert "store" in parts.checks().wedged()[0]


async def test_stalled_sweeps_are_unhealthy_and_not_wedged() -> None:
    """A full disk stalls the sweeps; a restart would not fix it, so the watchdog is still pinged."""
    parts = Parts()
    parts.is_stalled = True
    assert not (await parts.checks().health()).ready
    assert parts.checks().wedged() == []


async def test_a_store_that_takes_no_writes_is_unhealthy_at_once() -> None:
    """Whether it refuses or hangs; it is healthy as soon as it takes writes again."""
    parts = Parts()
    checks = parts.checks()
    parts.refusal = StoreUnavailable("database or disk is full")
    assert await checks.health() == Health(
        ready=False, reasons=["The store takes no writes: database or disk is full."]
    )
    assert checks.wedged() == []
    parts.refusal = None
    assert (await checks.health()).ready
    parts.clock.advance(WRITTEN_LATELY_S)
    parts.taking.clear()
    (reason,) = (await checks.health()).reasons
    assert "within 0.01 s" in reason


async def test_frequent_health_checks_cause_few_writes() -> None:
    """At most one write in two seconds, since anyone can request the health."""
    parts = Parts()
    checks = parts.checks()
    for _ in range(10):
        assert (await checks.health()).ready
    assert parts.writes == 1
    parts.clock.advance(WRITTEN_LATELY_S)
    assert (await checks.health()).ready
    assert parts.writes == 2


def test_a_loop_without_progress_is_wedged() -> None:
    """A loop that ended or hangs is named."""
    parts = Parts()
    parts.is_wedged = True
    (reason,) = parts.checks().wedged()
    assert "polling" in reason
    parts.is_wedged = False
    parts.clock.advance(STUCK_AFTER_S + 1)
    assert parts.checks().wedged() == ["The hook dispatcher has stopped.", "The archiver has stopped."]


async def test_a_full_disk_is_unready_and_alarms_are_reported() -> None:
    """A full disk makes the daemon unready although a small write succeeds; alarms are reasons and nothing more."""
    parts = cast("Any", Parts())
    disk: tuple[str | None, bool] = ("The disk is nearly full.", False)
    alarms = [make_alarm(AlarmKind.KEY_MISSING, "a", message="Account a has no API key."), make_alarm()]
    checks = HealthChecks(parts, parts, parts, parts, parts.clock, disk=lambda: disk, alarms=lambda: alarms)
    low = await checks.health()
    assert (low.ready, low.alarms) == (True, 2)
    assert list(low.reasons) == ["Account a has no API key.", "The disk is nearly full."]
    disk, alarms[1] = ("The disk is full.", True), make_alarm(message="The disk is full.")
    full = await checks.health()
    assert (full.ready, full.alarms) == (False, 2)
    assert list(full.reasons) == ["The disk is full.", "Account a has no API key."], "once"


async def test_replaced_files_are_unhealthy_at_once() -> None:
    """Even right after a committed write, which proves nothing after the files were replaced."""
    parts = Parts()
    checks = parts.checks()
    assert (await checks.health()).ready
    parts.misplaced = parts.refusal = StoreUnavailable("t.db: it was removed")
    assert await checks.health() == Health(ready=False, reasons=["The store takes no writes: t.db: it was removed."])
    assert await checks.status_line() == "Not ready: The store takes no writes: t.db: it was removed."
    assert checks.wedged() == []


def test_a_connection_that_is_lost_for_long_is_wedged() -> None:
    """Writes are answered with refusals, so no other check would show it."""
    parts = Parts()
    parts.writer_progress = WriterProgress(parts.clock.monotonic(), 0, lost_since=parts.clock.monotonic())
    assert parts.checks().wedged() == []
    parts.clock.advance(STUCK_AFTER_S + 1)
    parts.last_progress = parts.clock.monotonic()
    (reason,) = parts.checks().wedged()
    assert "no usable connection" in reason
