"""The outbox: exactly one delivery per hook and event, in order, and none lost."""

import asyncio

import orjson
import pytest
from msgspec.structs import replace

from tests.contract.store.conftest import OpenWorld
from tests.kits.clock import after
from tests.kits.factories import make_output, make_task_name
from tests.kits.hooks import of_tasks
from tests.kits.world import World
from tracker.domain.deliveries import TaskJob
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.records import DeliveryRecord, Json
from tracker.domain.task import Reason, Stage, Status
from tracker.errors import DeliveryNotFound
from tracker.hooks.runner import encode_event
from tracker.store.values import Announcement, AttemptResult, DeliveryFilter


async def fan_out(world: World, *hooks: str, at: float = 20.0) -> int:
    """Fan everything out to these hooks."""
    return await world.at(at).fan_out(lambda _: hooks, 1000)


async def claim(
    world: World, hook: str = "publish", *, at: float = 30.0, limit: int = 10, lease_s: float = 90.0
) -> list[TaskJob]:
    """Claim due deliveries."""
    return of_tasks(await world.at(at).claim_deliveries(hook, limit, lease_s))


async def find(world: World, delivery_id: str) -> DeliveryRecord:
    """A delivery of the first task."""
    (delivery,) = [found for found in await world.store.list_deliveries(make_task_name(1)) if found.id == delivery_id]
    return delivery


def result(status: DeliveryStatus, retry_in_s: float | None = None) -> AttemptResult:
    """How an attempt ended."""
    return AttemptResult(status, retry_in_s, error="exit 1", output="…")


async def live(world: World, n: int = 1) -> None:
    """A task that is accepted, runs, progresses and succeeds."""
    await world.follow(n)
    await world.call(n, Status.RUNNING, stage=Stage.TEXT, at=11)
    await world.call(n, Status.RUNNING, stage=Stage.FIRST, outputs=(make_output(),), at=12)
    await world.call(n, Status.SUCCEEDED, payload='{"end":true}', at=13)


async def test_one_delivery_per_hook_and_event(engine: OpenWorld) -> None:
    """After repeated observations, repeated fan-outs, and events that are in the outbox again."""
    async with engine() as world:
        await live(world)
        await world.call(1, Status.SUCCEEDED, at=14)
        await fan_out(world, "publish", "notify", "publish")
        await fan_out(world, "publish")
        before = await world.store.list_deliveries(make_task_name(1))
        events = [(delivery.hook, delivery.event) for delivery in before]
        assert events == [
            ("publish", "task.running"),
            ("notify", "task.running"),
            ("publish", "task.progress"),
            ("notify", "task.progress"),
            ("publish", "task.succeeded"),
            ("notify", "task.succeeded"),
        ]
        world.edit("INSERT OR IGNORE INTO outbox SELECT seq FROM events WHERE announces IS NOT NULL")
        await fan_out(world, "publish", "notify", at=99)
        assert await world.store.list_deliveries(make_task_name(1)) == before


async def test_a_list_continues_where_its_page_ended(engine: OpenWorld) -> None:
    """Also when the deliveries of that page, or of the next, were pruned before the next one is asked for."""
    async with engine() as world:
        for n in (1, 2, 3):
            await live(world, n)
        await fan_out(world, "publish", "notify")
        first = await world.store.list_all_deliveries(DeliveryFilter(limit=7))
        assert {item.task_id for item in first.items[:6]} == {make_task_name(3)}
        world.edit("DELETE FROM deliveries WHERE task_id = ?", make_task_name(3))
        world.edit("DELETE FROM deliveries WHERE id = ?", first.items[-1].id)
        rest = await world.store.list_all_deliveries(DeliveryFilter(limit=500, cursor=first.next_cursor))
        ids = [item.id for n in (2, 1) for item in reversed(await world.store.list_deliveries(make_task_name(n)))]
        assert ([item.id for item in rest.items], rest.next_cursor) == (ids, None)
        assert len(ids) == 11


async def test_an_event_that_becomes_visible_late_is_fanned_out_once(engine: OpenWorld) -> None:
    """An event with a lower seq than those fanned out before it is not skipped, and no other is repeated."""
    async with engine() as world:
        await live(world, 1)
        await live(world, 2)
        ((late,),) = world.edit("SELECT min(seq) FROM outbox")
        world.edit("DELETE FROM outbox WHERE seq = ?", late)  # its transaction is still to be committed
        assert await fan_out(world, "publish") == 5
        world.edit("INSERT INTO outbox (seq) VALUES (?)", late)
        assert await fan_out(world, "publish") == 1
        assert await fan_out(world, "publish") == 0
        found = [await world.store.list_deliveries(make_task_name(n)) for n in (1, 2)]
        assert [len(deliveries) for deliveries in found] == [3, 3]
        assert found[0][0].seq == late


async def test_a_fan_out_that_fails_half_way_leaves_no_gap(engine: OpenWorld) -> None:
    """Deliveries and the outbox are one transaction: after a crash everything is fanned out, once."""

    def crash_at_the_third(announcement: Announcement) -> list[str]:
        if announcement.event == "task.succeeded":
            raise RuntimeError("crash")
        return ["publish"]

    async with engine() as world:
        await live(world)
        with pytest.raises(RuntimeError):
            await world.at(20).fan_out(crash_at_the_third, 1000)
        assert await world.store.list_deliveries(make_task_name(1)) == []
        assert await world.at(20).fan_out(lambda _: ["publish"], 2) == 2
    async with engine() as world:
        assert await world.at(20).fan_out(lambda _: ["publish"], 2) == 1
        assert await world.at(20).fan_out(lambda _: ["publish"], 2) == 0
        events = [delivery.event for delivery in await world.store.list_deliveries(make_task_name(1))]
        assert events == ["task.running", "task.progress", "task.succeeded"]


async def test_announcements_carry_what_filters_need(engine: OpenWorld) -> None:
    """Provider, route, account and labels; events of one change are numbered."""
    received: list[Announcement] = []

    def match(announcement: Announcement) -> list[str]:
        received.append(announcement)
        return []

    async with engine() as world:
        await world.submit(1, labels={"user": "42"}, account="acme")
        await world.store.mark_sending(make_task_name(1), 60)
        await world.call(1, Status.SUCCEEDED, external_id="up-1")
        await world.at(20).fan_out(match, 10)
    assert [(a.index, a.event) for a in received] == [(0, "task.submitted"), (1, "task.succeeded")]
    assert {(a.provider, a.route, a.account, a.labels["user"]) for a in received} == {
        ("suno", "suno.generate", "acme", "42")
    }


async def test_deliveries_of_a_task_to_a_hook_run_in_order(engine: OpenWorld) -> None:
    """One at a time; tasks and hooks run in parallel; a postponed delivery delays the later ones of its task."""
    async with engine() as world:
        await live(world, 1)
        await live(world, 2)
        await fan_out(world, "publish", "notify")
        first = await claim(world)
        assert [(job.record.task.id, job.event) for job in first] == [
            (make_task_name(1), "task.running"),
            (make_task_name(2), "task.running"),
        ]
        assert await claim(world) == []
        assert len(await claim(world, "notify")) == 2
        await world.store.record_attempt(first[0].id, result(DeliveryStatus.PENDING, 470), 1)
        await world.store.record_attempt(first[1].id, result(DeliveryStatus.SUCCEEDED), 1)
        assert [(job.record.task.id, job.event) for job in await claim(world, at=40)] == [
            (make_task_name(2), "task.progress")
        ]
        late = {job.id: job.attempt for job in await claim(world, at=500)}
        assert late[first[0].id] == 2


async def test_two_claims_never_return_the_same_delivery(engine: OpenWorld) -> None:
    """Each once until its lease ends; then again, with the same id and the next attempt."""
    async with engine() as world:
        for n in range(1, 11):
            await live(world, n)
        await fan_out(world, "publish")
        claims = await asyncio.gather(*(claim(world, limit=4) for _ in range(4)))
        ids = [job.id for jobs in claims for job in jobs]
        assert len(ids) == len(set(ids)) == 10
        again = await claim(world, at=120, limit=50)
        assert {job.id for job in again} == set(ids)
        assert {job.attempt for job in again} == {2}


async def test_deliveries_of_a_dead_process_are_due_at_open(engine: OpenWorld) -> None:
    """A run that a crash cut off is due now, and runs again with the same id."""
    async with engine() as world:
        await live(world)
        await fan_out(world, "publish")
        (job,) = await claim(world)
        world.at(31)
    async with engine(world.clock) as world:
        delivery = (await world.store.list_deliveries(make_task_name(1)))[0]
        assert (delivery.status, delivery.next_attempt_at) == ("pending", after(31))
        (again,) = await claim(world, at=31)
        assert (again.id, again.attempt) == (job.id, 2)


async def test_attempts_and_ends(engine: OpenWorld) -> None:
    """Pending with its next attempt, then failed, dead or succeeded, with the output; then the next delivery runs."""
    async with engine() as world:
        await live(world)
        await fan_out(world, "publish")
        for at, status in ((30, DeliveryStatus.FAILED), (40, DeliveryStatus.DEAD), (50, DeliveryStatus.SUCCEEDED)):
            (job,) = await claim(world, at=at)
            await world.store.record_attempt(job.id, result(DeliveryStatus.PENDING, 2), job.attempt)
            pending = await find(world, job.id)
            assert (pending.status, pending.attempts, pending.next_attempt_at) == ("pending", 1, after(at + 2))
            assert (pending.error, pending.output, pending.finished_at) == ("exit 1", "…", None)
            (job,) = await claim(world, at=at + 2)
            await world.store.record_attempt(job.id, result(status), job.attempt)
            ended = await find(world, job.id)
            assert (ended.status, ended.attempts, ended.next_attempt_at, ended.finished_at) == (
                status,
                2,
                None,
                after(at + 2),
            )
        assert (await world.at(40).stats())["deliveries"] == {
            "pending": 0, "running": 0, "succeeded": 1, "failed": 1, "dead": 1,
        }  # fmt: skip


async def test_a_late_result_of_an_earlier_attempt(engine: OpenWorld) -> None:
    """It does not change the end that a later attempt recorded."""
    async with engine() as world:
        await live(world)
        await fan_out(world, "publish")
        (slow,) = await claim(world, at=30, lease_s=5)
        (again,) = await claim(world, at=40)
        await world.store.record_attempt(again.id, result(DeliveryStatus.SUCCEEDED), again.attempt)
        await world.store.record_attempt(slow.id, result(DeliveryStatus.PENDING, 10), slow.attempt)
        assert (await world.store.list_deliveries(make_task_name(1)))[0].status is DeliveryStatus.SUCCEEDED


async def test_retrying_by_hand(engine: OpenWorld) -> None:
    """A failed or dead delivery restarts; a succeeded one only on request, a running one never."""
    async with engine() as world:
        await live(world)
        await fan_out(world, "publish")
        (job,) = await claim(world)
        assert (await world.at(50).retry_delivery(job.id)).status is DeliveryStatus.RUNNING
        await world.store.record_attempt(job.id, result(DeliveryStatus.DEAD), job.attempt)
        retried = await world.at(50).retry_delivery(job.id)
        assert (retried.status, retried.attempts, retried.next_attempt_at) == ("pending", 0, after(50))
        assert retried.finished_at is None
        (again,) = [found for found in await claim(world, at=50) if found.id == job.id]
        assert again.attempt == 1
        await world.store.record_attempt(job.id, result(DeliveryStatus.SUCCEEDED), job.attempt)
        assert (await world.at(60).retry_delivery(job.id)).status is DeliveryStatus.SUCCEEDED
        assert (await world.store.get_delivery(job.id)).status is DeliveryStatus.SUCCEEDED
        once_more = await world.at(60).retry_delivery(job.id, again=True)
        assert (once_more.status, once_more.attempts, once_more.finished_at) == (DeliveryStatus.PENDING, 0, None)
        assert [found.id for found in await claim(world, at=60)].count(job.id) == 1
        assert (await world.at(60).retry_delivery(job.id, again=True)).status is DeliveryStatus.RUNNING
        for change in (world.at(60).retry_delivery("unknown"), world.store.get_delivery("unknown")):
            with pytest.raises(DeliveryNotFound):
                await change


async def attempt(world: World, status: DeliveryStatus, at: float, **more: Json) -> None:
    """Claim a delivery of the first task, run it for 1.5 s, and store the result."""
    (job,) = await claim(world, at=at)
    made = AttemptResult(status, 1, output=f"said at {at:g}", started_at=after(at), took_s=1.5, **more)
    await world.at(at + 1.5).record_attempt(job.id, made, job.attempt)


async def test_each_attempt_is_stored(engine: OpenWorld) -> None:
    """With its time, result and the end of its output, also when the delivery is retried by hand."""
    async with engine() as world:
        await world.follow(1)
        await world.call(1, Status.SUCCEEDED)
        await fan_out(world, "publish")
        (delivery,) = await world.store.list_deliveries(make_task_name(1))
        assert (await world.store.get_delivery(delivery.id)).attempt_history == []
        await attempt(world, DeliveryStatus.PENDING, 30, error="exit 1")
        await attempt(world, DeliveryStatus.PENDING, 40, error="cut short", counts=False)
        await attempt(world, DeliveryStatus.DEAD, 50, error="exit 3")
        await world.at(60).retry_delivery(delivery.id)
        await attempt(world, DeliveryStatus.SUCCEEDED, 70)
        await world.at(80).retry_delivery(delivery.id, again=True)
        (running,) = await claim(world, at=85)
        await world.store.record_attempt(running.id, AttemptResult(DeliveryStatus.PENDING, counts=False), 1)
        await attempt(world, DeliveryStatus.FAILED, 90, error="exit 100")
        stored = await world.store.get_delivery(delivery.id)
        assert [(one.attempt, one.outcome, one.error) for one in stored.attempt_history] == [
            (1, "retry", "exit 1"),
            (2, "retry", "cut short"),
            (2, "dead", "exit 3"),
            (1, "succeeded", None),
            (1, "failed", "exit 100"),
        ]
        assert [one.started_at for one in stored.attempt_history] == [after(at) for at in (30, 40, 50, 70, 90)]
        assert {one.took_s for one in stored.attempt_history} == {1.5}
        assert [one.output for one in stored.attempt_history] == [f"said at {at}" for at in (30, 40, 50, 70, 90)]
        assert (stored.status, stored.attempts) == (DeliveryStatus.FAILED, 1)


async def test_stored_attempts_are_bounded(engine: OpenWorld) -> None:
    """The latest 50 of a delivery, each with the last 500 characters that its hook printed."""
    async with engine() as world:
        await world.follow(1)
        await world.call(1, Status.SUCCEEDED)
        await fan_out(world, "publish")
        (delivery,) = await world.store.list_deliveries(make_task_name(1))
        for n in range(1, 61):
            (job,) = await claim(world, at=30 + n)
            made = AttemptResult(DeliveryStatus.PENDING, 0.5, f"exit {n}", "x" * 600 + str(n), started_at=after(n))
            await world.at(30 + n).record_attempt(job.id, made, job.attempt)
        history = (await world.store.get_delivery(delivery.id)).attempt_history
        assert [one.attempt for one in history] == list(range(11, 61))
        assert history[-1].output == ("x" * 600 + "60")[-500:]
        assert ((await find(world, delivery.id)).output or "")[:600] == "x" * 600


async def test_an_attempt_without_its_lease_is_not_stored(engine: OpenWorld) -> None:
    """The delivery was claimed again: the result of that claim counts."""
    async with engine() as world:
        await live(world)
        await fan_out(world, "publish")
        (slow,) = await claim(world, at=30, lease_s=5)
        await claim(world, at=40)
        late = AttemptResult(DeliveryStatus.PENDING, 10, "exit 1", started_at=after(30))
        await world.store.record_attempt(slow.id, late, slow.attempt)
        assert (await world.store.get_delivery(slow.id)).attempt_history == []


async def test_a_hook_gets_the_task_as_of_its_event(engine: OpenWorld) -> None:
    """`task.running` shows RUNNING although the task has SUCCEEDED since."""
    async with engine() as world:
        await world.follow(labels={"user": "42"})
        running = await world.call(1, Status.RUNNING, stage=Stage.TEXT, progress=30, at=11)
        first = await world.call(1, Status.RUNNING, stage=Stage.FIRST, outputs=(make_output(),), at=12)
        ended = await world.poll(1, Status.SUCCEEDED, payload='{"end":true}', at=13)
        await world.poll(1, Status.FAILED, at=14)
        await fan_out(world, "publish")
        jobs = []
        for _ in range(3):
            (job,) = await claim(world)
            await world.store.record_attempt(job.id, result(DeliveryStatus.SUCCEEDED), job.attempt)
            jobs.append(job)
        assert [(job.event, job.previous_status, job.at) for job in jobs] == [
            ("task.running", "PENDING", after(11)),
            ("task.progress", "RUNNING", after(12)),
            ("task.succeeded", "RUNNING", after(13)),
        ]
        assert [job.record.task for job in jobs[:2]] == [running.task, first.task]
        shown = jobs[2].record.task
        assert (shown.status, shown.outputs, shown.finished_at) == ("SUCCEEDED", ended.task.outputs, after(13))
        assert [orjson.loads(encode_event(job))["task"]["result"] for job in jobs] == [None, None, {"end": True}]
        assert {job.record.labels["user"] for job in jobs} == {"42"}


async def test_a_hook_gets_the_failure_that_was_revived_since(engine: OpenWorld) -> None:
    """`task.failed` of a given-up task shows FAILED although it SUCCEEDED later; both are delivered."""
    async with engine() as world:
        await world.follow()
        failed = await world.call(1, Status.FAILED, reason=Reason.EXPIRED, at=11)
        await world.call(1, Status.SUCCEEDED, at=12)
        await fan_out(world, "publish")
        (job,) = await claim(world)
        assert (job.event, job.record.task) == (
            "task.failed",
            replace(failed.task, result_seq=job.record.task.result_seq),
        )
        await world.store.record_attempt(job.id, result(DeliveryStatus.SUCCEEDED), job.attempt)
        (job,) = await claim(world)
        assert (job.event, job.previous_status, job.record.task.status) == ("task.succeeded", "FAILED", "SUCCEEDED")


async def test_when_the_next_delivery_falls_due(engine: OpenWorld) -> None:
    """The earliest one that can be claimed: a delivery that waits for an earlier one of its task does not count."""
    async with engine() as world:
        assert await world.store.next_delivery_in_s(["publish"]) is None
        await live(world)
        await fan_out(world, "publish", at=20)
        world.clock.advance(5)
        assert await world.store.next_delivery_in_s([]) is None
        assert await world.store.next_delivery_in_s(["nobody"]) is None
        assert await world.store.next_delivery_in_s(["nobody", "publish"]) == -5
        (job,) = await claim(world)
        await world.store.record_attempt(job.id, result(DeliveryStatus.PENDING, 3570), job.attempt)
        assert await world.store.next_delivery_in_s(["publish"]) == 3570


async def test_a_later_hook_gets_no_earlier_events(engine: OpenWorld) -> None:
    """Without hooks events are skipped; a hook that is added later gets only what follows."""
    async with engine() as world:
        assert await world.at(5).fan_out(None, 1000) == 0  # before the first event
        await live(world)
        assert await world.at(20).fan_out(None, 1000) == 0
        assert await fan_out(world, "publish") == 0
        await live(world, 2)
        assert await fan_out(world, "publish") == 3
        received = await world.store.list_deliveries(make_task_name(2))
        assert [delivery.event for delivery in received] == ["task.running", "task.progress", "task.succeeded"]
        assert await world.store.list_deliveries(make_task_name(1)) == []
