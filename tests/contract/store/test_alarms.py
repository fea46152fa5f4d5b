"""Alarms: each change is recorded once, with its event, and its deliveries run in order beside those of tasks."""

from collections.abc import Sequence

import pytest

from tests.contract.store.conftest import OpenWorld
from tests.kits.clock import START, after
from tests.kits.factories import make_alarm
from tests.kits.world import World
from tracker.domain.alarms import Alarm, AlarmKind, StoredAlarm
from tracker.domain.deliveries import AlarmJob, DeliveryJob, TaskJob
from tracker.domain.hook_events import DeliveryStatus, SystemEvent
from tracker.domain.task import Status
from tracker.store.values import Announcement, AttemptResult, DeliveryFilter

DONE = AttemptResult(DeliveryStatus.SUCCEEDED)
DISK, KEY = make_alarm(), make_alarm(AlarmKind.KEY_REJECTED, "default")


def of_alarms(jobs: Sequence[DeliveryJob]) -> list[tuple[str, str, int]]:
    """Subject, event and seq of each delivery of an alarm."""
    return [(job.alarm.subject, job.event, job.seq) for job in jobs if isinstance(job, AlarmJob)]


async def fan_out(world: World, *hooks: str) -> int:
    """Fan everything out to these hooks."""
    return await world.store.fan_out(lambda _: hooks, 1000)


async def claim(world: World, hook: str = "ring", limit: int = 10) -> list[DeliveryJob]:
    """Claim due deliveries."""
    return await world.store.claim_deliveries(hook, limit, 90)


async def test_a_change_is_recorded_once(engine: OpenWorld) -> None:
    """Repeated after an unknown outcome it adds no event; an alarm that comes again has one row and new events."""
    async with engine() as world:
        for _ in range(2):
            await world.store.record_alarms([DISK, KEY], [])
        for _ in range(2):
            await world.store.record_alarms([], [DISK])
        again = make_alarm(since=after(60), message="The disk is full.")
        await world.at(60).record_alarms([again], [])
        assert await world.store.list_alarms() == [
            StoredAlarm(again, is_raised=True, announced_at=after(60)),
            StoredAlarm(KEY, is_raised=True, announced_at=START),
        ]
        assert await fan_out(world, "ring") == 4
        assert await fan_out(world, "ring") == 0
        page = await world.store.list_all_deliveries(DeliveryFilter())
        assert [(one.alarm_kind, one.event, one.task_id) for one in reversed(page.items)] == [
            ("disk_low", "system.alarm", None),
            ("key_rejected", "system.alarm", None),
            ("disk_low", "system.clear", None),
            ("disk_low", "system.alarm", None),
        ]
        assert len({one.id for one in page.items}) == 4


async def test_a_hook_is_named_by_what_the_alarm_is(engine: OpenWorld) -> None:
    """The announcement has the alarm and no task; without any hook, nothing is left for later ones."""
    announced: list[tuple[Alarm | None, str, object]] = []

    def match(one: Announcement) -> list[str]:
        announced.append((one.alarm, one.event, one.task_id))
        return []

    async with engine() as world:
        await world.store.record_alarms([DISK], [])
        assert await world.store.fan_out(match, 10) == 1
        await world.store.record_alarms([], [DISK])
        assert await world.store.fan_out(None, 10) == 0
        assert await world.store.fan_out(match, 10) == 0
    assert announced == [(DISK, SystemEvent.ALARM, None)]


async def test_deliveries_of_an_alarm_run_in_order(engine: OpenWorld) -> None:
    """One at a time; other alarms and tasks run beside it, and the wait for the next one knows it."""
    async with engine() as world:
        await world.store.record_alarms([DISK, KEY], [])
        await world.store.record_alarms([], [DISK])
        await world.follow()
        await world.poll(1, Status.SUCCEEDED)
        await fan_out(world, "ring")
        first = await claim(world)
        assert of_alarms(first) == [("/srv", "system.alarm", 1), ("default", "system.alarm", 2)]
        assert [job.event for job in first if isinstance(job, TaskJob)] == ["task.succeeded"]
        assert await claim(world) == []
        due_in_s = await world.store.next_delivery_in_s(["ring"])
        assert due_in_s is not None
        assert due_in_s > 0, "the later one of the same alarm is not due yet"
        failed = AttemptResult(DeliveryStatus.PENDING, 30, error="exit 1", started_at=START)
        await world.store.record_attempt(first[0].id, failed, 1)
        assert await claim(world) == []
        (again,) = await world.at(31).claim_deliveries("ring", 10, 90)
        assert (again.id, again.attempt) == (first[0].id, 2)
        await world.store.record_attempt(again.id, DONE, 2)
        (over,) = await claim(world)
        assert of_alarms([over]) == [("/srv", "system.clear", 3)]
        assert isinstance(over, AlarmJob)
        assert over.alarm == DISK, "as it was raised"


async def test_deliveries_of_alarms_are_retried_and_failed_like_others(engine: OpenWorld) -> None:
    """By hand, by filter, and with the attempts; those of a disabled hook fail."""
    async with engine() as world:
        await world.store.record_alarms([DISK, KEY], [])
        await fan_out(world, "ring")
        (dead, _) = await claim(world)
        await world.store.record_attempt(dead.id, AttemptResult(DeliveryStatus.DEAD, error="no", started_at=START), 1)
        shown = await world.store.get_delivery(dead.id)
        assert (shown.status, shown.alarm_subject, [one.error for one in shown.attempt_history]) == (
            "dead",
            "/srv",
            ["no"],
        )
        assert await world.store.retry_deliveries(DeliveryFilter(hook="ring")) == 1
        assert await world.store.fail_deliveries("ring", "gone") == 1
        assert await world.store.count_deliveries() == {"ring": {"failed": 1, "running": 1}}


@pytest.mark.parametrize("status", [DeliveryStatus.SUCCEEDED, DeliveryStatus.DEAD])
async def test_retention_deletes_ended_alarms(engine: OpenWorld, status: DeliveryStatus) -> None:
    """With their events and deliveries; one that is raised stays, and so does what is not delivered yet."""
    async with engine() as world:
        await world.store.record_alarms([DISK, KEY], [])
        await world.store.record_alarms([], [DISK])
        assert await world.store.prune_alarms(after(1000)) == 0, "not fanned out"
        await fan_out(world, "ring")
        assert await world.store.prune_alarms(after(1000)) == 0, "not delivered"
        for _ in range(2):
            for job in await claim(world):
                await world.store.record_attempt(job.id, AttemptResult(status), 1)
        assert await world.store.prune_alarms(START) == 0, "too young"
        assert await world.store.prune_alarms(after(1000)) == 3
        assert [stored.alarm for stored in await world.store.list_alarms()] == [KEY]
        assert (await world.store.list_all_deliveries(DeliveryFilter())).items == []
