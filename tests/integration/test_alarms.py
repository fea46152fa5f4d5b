"""The list of alarms on a real store: one event for each raise and each clear, over restarts and while one flaps."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.kits.clock import START
from tests.kits.logs import captured_logs
from tests.kits.world import World
from tracker.domain.alarms import AlarmKind, Finding
from tracker.maintenance.alarms import ANNOUNCED_EVERY_S, RAISED_AFTER_S, RESTORED_S, Alarms

DISK = Finding(AlarmKind.DISK_LOW, "/srv", "The disk is nearly full.", "Free some space.")
HOST = Finding(AlarmKind.UPSTREAM_CIRCUIT_OPEN, "a.example", "It does not answer.", "Check the network.")
CLOCK = Finding(AlarmKind.CLOCK_SKEWED, "a.example", "The clock is wrong.", "Synchronise it.")


class AlarmWorld(World):
    """A store with a list of alarms, which is read anew at each start."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.events = 0
        self.alarms = Alarms(self.store, self.clock, self._note)

    def _note(self) -> None:
        self.events += 1

    async def found(self, *reasons: Finding, after_s: float = 0.0, knows: bool = True) -> list[str]:
        """Let time pass, look once, and record; the subjects in the list."""
        self.clock.advance(after_s)
        self.alarms.update(frozenset(AlarmKind), reasons, lambda _kind, _subject: knows)
        await self.alarms.record()
        return [alarm.subject for alarm in self.alarms.list_raised()]

    def announced(self) -> list[tuple[str, str]]:
        """Kind and event of all events so far."""
        return self.edit("SELECT kind, event FROM alarm_events JOIN alarms ON alarms.id = alarm_id ORDER BY seq")


@asynccontextmanager
async def started(path: Path, at: float = 0.0) -> AsyncIterator[AlarmWorld]:
    """A process that starts."""
    world = AlarmWorld(path)
    world.clock.advance(at)
    async with world:
        await world.alarms.load()
        yield world


async def test_a_raise_and_a_clear_are_announced_once(tmp_path: Path) -> None:
    """However often the reason is found: one event, one line of the log; the message follows the reason."""
    with captured_logs() as logged:
        async with started(tmp_path / "t.db") as world:
            assert await world.found(DISK) == ["/srv"]
            fuller = DISK._replace(message="The disk is full.")
            assert await world.found(fuller, after_s=5) == ["/srv"]
            (alarm,) = world.alarms.list_raised()
            assert (alarm.since, alarm.message) == (START, "The disk is full.")
            assert await world.found(after_s=5) == []
            assert await world.found(after_s=5) == []
            assert world.announced() == [("disk_low", "system.alarm"), ("disk_low", "system.clear")]
            assert world.events == 2
    lines = [(line["event"], line["level"], line["subject"]) for line in logged if line["event"].startswith("alarm.")]
    assert lines == [("alarm.raised", "warning", "/srv"), ("alarm.cleared", "info", "/srv")]


async def test_nothing_is_written_while_nothing_changes(tmp_path: Path) -> None:
    """Looking costs no statement of the writer."""
    async with started(tmp_path / "t.db") as world:
        await world.found(DISK)
        statements = await world.store.trace()
        for _ in range(3):
            await world.found(DISK, after_s=60)
        assert statements == []


async def test_a_restart_repeats_no_event(tmp_path: Path) -> None:
    """The same reason after it is the same alarm; one that is gone is cleared."""
    path = tmp_path / "t.db"
    with captured_logs() as logged:
        async with started(path) as world:
            await world.found(DISK, HOST)
        async with started(path, at=3600) as world:
            assert await world.found(DISK, knows=False) == ["/srv", "a.example"], "nothing shows that the host works"
            assert world.alarms.list_raised()[0].since == START
            assert await world.found(DISK, after_s=5) == ["/srv"], "now it has answered"
        async with started(path, at=7200) as world:
            assert await world.found() == []
            assert [event for _, event in world.announced()] == ["system.alarm"] * 2 + ["system.clear"] * 2
    assert [line["event"] for line in logged if line["event"].startswith("alarm.")] == [
        *["alarm.raised"] * 2,
        *["alarm.cleared"] * 2,
    ]


async def test_what_stays_unknown_after_a_restart_is_cleared(tmp_path: Path) -> None:
    """An upstream that is not asked any more keeps its alarm for ten minutes, and not for good."""
    path = tmp_path / "t.db"
    async with started(path) as world:
        await world.found(HOST)
    async with started(path, at=10) as world:
        assert await world.found(after_s=RESTORED_S - 1, knows=False) == ["a.example"]
        assert await world.found(after_s=1, knows=False) == []


async def test_a_flapping_reason_makes_one_pair_of_events_in_ten_minutes(tmp_path: Path) -> None:
    """It is listed at once each time; it is announced again after the ten minutes if it lasts."""
    async with started(tmp_path / "t.db") as world:
        for _ in range(9):
            assert await world.found(DISK, after_s=30) == ["/srv"]
            assert await world.found(after_s=30) == []
        assert [event for _, event in world.announced()] == ["system.alarm", "system.clear"]
        await world.found(DISK, after_s=30)
        assert len(world.announced()) == 2
        await world.found(DISK, after_s=ANNOUNCED_EVERY_S - 9 * 60)
        assert [event for _, event in world.announced()] == ["system.alarm", "system.clear", "system.alarm"]


async def test_the_guard_holds_over_a_restart(tmp_path: Path) -> None:
    """The time of the last announcement is stored."""
    path = tmp_path / "t.db"
    async with started(path) as world:
        await world.found(DISK)
        await world.found()
    async with started(path, at=60) as world:
        assert await world.found(DISK) == ["/srv"]
        assert len(world.announced()) == 2
        await world.found(DISK, after_s=ANNOUNCED_EVERY_S)
        assert len(world.announced()) == 3


async def test_a_reason_of_some_kinds_must_last(tmp_path: Path) -> None:
    """A single answer with an odd date raises nothing."""
    lasts_s = RAISED_AFTER_S[AlarmKind.CLOCK_SKEWED]
    async with started(tmp_path / "t.db") as world:
        assert await world.found(CLOCK) == []
        assert await world.found(after_s=lasts_s) == []
        assert await world.found(CLOCK) == []
        assert await world.found(CLOCK, after_s=lasts_s) == ["a.example"]
        assert await world.found() == []


async def test_an_alarm_needs_no_store_to_be_seen(tmp_path: Path) -> None:
    """While the store takes no writes it is listed and logged; its event follows."""
    with captured_logs() as logged:
        async with started(tmp_path / "t.db") as world:
            world.store.fail("record_alarms")
            assert await world.found(DISK) == ["/srv"]
            assert await world.found(DISK) == ["/srv"]
            assert world.announced() == []
            world.store.repair()
            assert await world.found(DISK) == ["/srv"]
            assert world.announced() == [("disk_low", "system.alarm")]
    assert [line["event"] for line in logged if line["event"].startswith("alarm.")] == ["alarm.raised"]


def test_the_page_lists_every_kind() -> None:
    """In the table of config/README.md, with what it is about and what to do."""
    page = (Path(__file__).parents[2] / "config" / "README.md").read_text(encoding="utf-8")
    _, *rows = re.findall(r"^\| `(\w+)` \|", page.partition("## Alarms")[2].partition("\n## ")[0], re.MULTILINE)
    assert sorted(rows) == sorted(AlarmKind)
