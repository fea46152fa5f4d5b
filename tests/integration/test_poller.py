"""The sweep on a real store and a gateway of its own: who is asked, whose circuit is open, and what counts."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

import pytest

from tests.kits.clock import START, after
from tests.kits.upstream import IN_MAINTENANCE, RATE_LIMITED, SUNO, UpstreamWorld, kling, suno
from tracker.domain.task import ExternalId, Status, TaskId
from tracker.errors import NotAttempted
from tracker.store.values import Lane
from tracker.tracking.claims import TRICKLE, Claims
from tracker.tracking.lane_limits import LaneSlots
from tracker.tracking.poller import MAX_LANE_SENDS, MAX_POLLS, MAX_SENDS, polls_within


async def test_a_family_in_maintenance_stops_no_other(tmp_path: Path) -> None:
    """Sixty Kling tasks are answered 503: Suno behind the same host is asked, and its task does not expire unasked."""
    async with UpstreamWorld(tmp_path, deadline_s=30.0) as world:
        world.gateway.answers["kling"] = IN_MAINTENANCE
        for n in range(60):
            await world.register(external_id=f"k-{n}")
        await world.sweep()
        song = await world.register("suno.generate")
        await world.sweep(1.0)
        assert world.gateway.asked.count("GET suno") == 1
        for _ in range(20):
            await world.sweep(2.0)
        assert world.gateway.asked.count("GET suno") > 10
        record = await world.get(song)
        assert (record.task.status, record.task.reason) == (Status.FAILED, "expired"), "asked in time, all the time"
        assert record.task.polls == world.gateway.asked.count("GET suno")


async def test_what_was_not_asked_is_no_poll_in_vain(tmp_path: Path) -> None:
    """While the circuit is open, a task's polls only move: nothing counts, and no deadline is fed."""
    async with UpstreamWorld(tmp_path, deadline_s=30.0, not_found_grace_s=10.0) as world:
        world.gateway.answers["kling"] = IN_MAINTENANCE
        for n in range(10):
            await world.register(external_id=f"k-{n}")
        await world.sweep()
        late = await world.register(external_id="late")
        await world.sweep()
        asked = len(world.gateway.asked)
        task = (await world.get(late)).task
        assert (task.polls, task.poll_trouble_since, task.due_at) == (0, None, after(5.0))
        note = await world.notes(late)
        assert f"its circuit is open since {START:%Y-%m-%d %H:%M:%S} UTC, the next try is in 5 s" in note
        assert "failed for kling" in note
        await world.sweep(4.0)
        assert len(world.gateway.asked) == asked, "the wait is not over"


async def test_without_a_key_no_task_expires(tmp_path: Path) -> None:
    """What is missing is ours: tasks wait for it, however long, and ``why`` names it."""
    async with UpstreamWorld(tmp_path, deadline_s=30.0, not_found_grace_s=5.0) as world:
        key = world.keys.pop("default")
        task_id = await world.register()
        for _ in range(8):
            await world.sweep(10.0)
        task = (await world.get(task_id)).task
        assert (task.status, task.polls, task.poll_trouble_since) == (Status.PENDING, 0, None)
        note = await world.notes(task_id)
        since = f"{after(10.0):%Y-%m-%d %H:%M:%S} UTC"
        assert f"has not been asked since {since}: account 'default' has no API key" in note
        world.keys["default"] = key
        world.gateway.answers["kling"] = kling("failed")
        await world.sweep(10.0)
        task = (await world.get(task_id)).task
        assert (task.status, task.reason, task.polls) == (Status.FAILED, "generation_failed", 1)
        assert "API key" not in await world.notes(task_id)


async def test_a_nudge_outlives_a_poll_that_is_put_off(tmp_path: Path) -> None:
    """A claim that is given back leaves alone what has become due since."""
    async with UpstreamWorld(tmp_path) as world:
        task_id = await world.register()
        (lane,) = await world.store.list_lanes()
        await world.store.claim_due(lane, 1, 40)
        await world.store.postpone(task_id, 9)
        assert (await world.get(task_id)).task.due_at == after(9)
        world.clock.advance(3)
        await world.store.poll_now(task_id)
        await world.store.postpone(task_id, 9)
        assert (await world.get(task_id)).task.due_at == after(3)


# -- slots --------------------------------------------------------------------------------------------------


async def test_creates_under_way_stop_no_poll(tmp_path: Path) -> None:
    """More slow creates than there are slots for sends go out again: tasks of every family are polled as before."""
    async with UpstreamWorld(tmp_path, submit_retry_s=7200.0) as world:
        world.gateway.answers["suno"] = RATE_LIMITED
        songs = [await world.submitter.submit(SUNO) for _ in range(MAX_SENDS + 8)]
        video, song = await world.register(), await world.register("suno.generate")
        world.gateway.answers["suno"] = suno()
        answered = world.gateway.hold("POST suno")
        for n in range(10):
            await world.sweep(2.0)
            await world.gateway.wait_for_request("GET kling", n + 1)
            await world.gateway.wait_for_request("GET suno", n + 1)
            await world.settle(world.poller._polls)
        await world.gateway.wait_for_request("POST suno", len(songs) + MAX_LANE_SENDS)
        assert world.gateway.asked.count("POST suno") == len(songs) + MAX_LANE_SENDS
        assert world.gateway.asked.count("GET kling") == 10
        assert world.gateway.asked.count("GET suno") == 10, "not even those of their own family"
        assert [(await world.get(task_id)).task.polls for task_id in (video, song)] == [10, 10]
        answered.set()
        for _ in range(12):
            await world.sent()
            await world.sweep(45.0)
        await world.sent()
        assert world.gateway.asked.count("POST suno") == 2 * len(songs), "each went out once again, in its turn"


async def test_creates_beyond_the_slots_go_out_as_others_end(tmp_path: Path) -> None:
    """Three times as many creates are due as may be sent at once: one sweep is enough for all, in their order."""
    async with UpstreamWorld(tmp_path, submit_retry_s=7200.0) as world:
        world.gateway.answers["suno"] = RATE_LIMITED
        songs = [await world.submitter.submit(SUNO) for _ in range(3 * MAX_LANE_SENDS)]
        world.gateway.answers["suno"] = suno()
        await world.sweep(60.0)
        await world.gateway.wait_for_request("POST suno", 2 * len(songs))
        await world.sent()
        assert world.gateway.asked.count("POST suno") == 2 * len(songs)


async def test_slow_polls_of_others_leave_a_lane_its_place(tmp_path: Path) -> None:
    """All slots are taken by lanes whose upstream does not answer: another lane is polled at every sweep."""
    async with UpstreamWorld(tmp_path, max_polls=8) as world:
        slow = ["suno", "dashscope", "seedance"]
        for family, route in zip(slow, ("suno.generate", "dashscope.video", "seedance.video"), strict=True):
            world.gateway.answers.setdefault(family, suno())
            world.gateway.hold(f"GET {family}")
            for n in range(9):
                await world.register(route, f"{family}-{n}")
        for _ in range(4):
            await world.tick(1.0)
        assert len(world.poller._polls) == 8
        video = await world.register()
        for polls in range(1, 4):
            await world.tick(2.0)
            await world.gateway.wait_for_request("GET kling", polls)
            await world.poller._polls.join(video)
        assert world.gateway.asked.count("GET kling") == 3


@pytest.mark.parametrize(("total", "of_lane"), [(3, 2), (1, 1)])
async def test_slots_are_shared_and_bounded(total: int, of_lane: int) -> None:
    """No lane has more than its own bound, all together no more than theirs, and each at least one."""
    slots, go_on = LaneSlots(total, of_lane), asyncio.Event()

    async def work() -> None:
        await go_on.wait()

    names = count()
    for lane in ("a", "b", "c", "d"):
        for _ in range(slots.free(Lane("default", lane))):
            slots.start(Lane("default", lane), TaskId(str(next(names))), work())
    assert len(slots) == {3: 5, 1: 4}[total], "two of a, one of b, and one of its own for each of c and d"
    assert [slots.free(Lane("default", lane)) for lane in "abcde"] == [0, 0, 0, 0, 1]
    go_on.set()
    await slots.end(20)
    assert len(slots) == 0
    lanes = [Lane("default", lane) for lane in "abcd"]
    assert slots.free(lanes[0], lanes) == 1, "a lane has its own slot even when its share is none"


async def test_a_lane_shrinks_to_its_share_when_others_come() -> None:
    """It takes what nobody else wants, and nothing more once others want their share, which its ends leave them."""
    slots, ends = LaneSlots(12, 10), [asyncio.Event() for _ in range(10)]
    big, small, idle = (Lane("default", name) for name in ("big", "small", "idle"))
    assert slots.free(big, [big]) == 10

    async def work(n: int) -> None:
        await ends[n].wait()

    for n in range(10):
        slots.start(big, TaskId(str(n)), work(n))
    assert (slots.free(big, [big, small]), slots.free(small, [big, small])) == (0, 2)
    assert slots.free(small, [big, small], planned=1) == 1
    for event in ends[:6]:
        event.set()
    for n in range(6):
        await slots.join(TaskId(str(n)))
    assert (slots.free(big, [big, small]), slots.free(small, [big, small])) == (2, 6)
    assert slots.free(big, [big, idle, small]) == 0, "a third of twelve is four"
    for event in ends:
        event.set()
    await slots.end(20)


@pytest.mark.parametrize(
    ("descriptors", "polls"), [(20, 16), (256, 128), (1024, 512), (65_536, MAX_POLLS), (-1, MAX_POLLS)]
)
def test_polls_leave_descriptors_to_others(descriptors: int, polls: int) -> None:
    """No more than half of them, wherever that is enough to poll at all."""
    assert polls_within(descriptors) == polls


# -- refills between sweeps ----------------------------------------------------------------------------------


async def test_a_lane_is_refilled_as_its_polls_end(tmp_path: Path) -> None:
    """Far more is due than may be under way: one sweep is enough for all of it."""
    async with UpstreamWorld(tmp_path, max_polls=4) as world:
        for n in range(30):
            await world.register(external_id=f"up-{n}")
        await world.tick()
        assert 0 < len(world.poller._polls) <= 3
        await world.gateway.wait_for_request("GET kling", 30)
        await world.settle(world.poller._polls)
        assert world.gateway.asked.count("GET kling") == 30


async def test_a_lane_with_much_to_do_starves_no_other(tmp_path: Path) -> None:
    """It has all that is free; what falls due of another lane is polled before its backlog is done."""
    async with UpstreamWorld(tmp_path, max_polls=4) as world:
        for n in range(60):
            await world.register(external_id=f"up-{n}")
        await world.tick()
        await world.gateway.wait_for_request("GET kling", 3)
        for n in range(5):
            await world.register("suno.generate", f"song-{n}")
        await world.tick()
        await world.gateway.wait_for_request("GET suno", 5)
        assert world.gateway.asked.count("GET kling") < 60
        await world.gateway.wait_for_request("GET kling", 60)


async def test_what_cannot_be_asked_is_looked_at_slowly(tmp_path: Path) -> None:
    """Without a key a sweep puts off a few tasks, and no refill the thousands behind them; with a key all are asked."""
    async with UpstreamWorld(tmp_path) as world:
        key = world.keys.pop("default")
        tasks = [await world.register(external_id=f"up-{n}") for n in range(TRICKLE + 40)]
        await world.sweep()  # it finds out
        for _ in range(3):
            await world.sweep()
        await world.poller._claims._refill()
        await world.settle(world.poller._polls)
        now = world.clock.now()
        waiting = [task for task_id in tasks if (task := (await world.get(task_id)).task).due_at == now]
        assert len(waiting) >= 40 - 3 * TRICKLE
        world.keys["default"] = key
        await world.sweep(20.0)
        await world.gateway.wait_for_request("GET kling", len(tasks))


async def test_a_lane_is_back_at_its_pace_after_an_outage(tmp_path: Path) -> None:
    """While the circuit is open few are looked at; the answer to the probe opens the way to all."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = IN_MAINTENANCE
        for n in range(100):
            await world.register(external_id=f"up-{n}")
        await world.sweep()
        asked = len(world.gateway.asked)
        assert 5 <= asked < 100
        world.gateway.answers["kling"] = kling("failed")
        for _ in range(4):
            await world.sweep(5.0)
        await world.gateway.wait_for_request("GET kling", asked + 100)


async def halt_once(claims: Claims) -> None:
    """Halt as soon as a claim is on its way to the store."""
    async with asyncio.timeout(20):
        while not claims._turn.locked():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
    claims.halt()


async def test_a_stop_gives_back_what_was_claimed(tmp_path: Path) -> None:
    """What was claimed while the stop began is due as before, not at the end of a lease."""
    async with UpstreamWorld(tmp_path) as world:
        task_id = await world.register()
        claims = world.poller._claims
        await asyncio.gather(claims.sweep(), halt_once(claims))
        assert (await world.get(task_id)).task.due_at == world.clock.now()
        assert world.gateway.asked == []


# -- nudges --------------------------------------------------------------------------------------------------


async def test_a_nudge_during_a_poll_is_followed_by_another(tmp_path: Path) -> None:
    """The answer under way may be older than the nudge: the task is asked about again as soon as it has come."""
    async with UpstreamWorld(tmp_path, min_interval_s=600.0, max_interval_s=600.0) as world:
        task_id = await world.register()
        answered = world.gateway.hold("GET kling")
        await world.tick()
        await world.gateway.wait_for_request("GET kling")
        world.clock.advance(2.0)
        world.gateway.answers["kling"] = kling("failed")
        assert (await world.store.request_polls("kling", [ExternalId("up-1")], None)).known
        await world.tick(0.5)
        assert (await world.get(task_id)).task.due_at != world.clock.now(), "the sweep has claimed it"
        answered.set()
        await world.settle(world.poller._polls)
        assert (await world.get(task_id)).task.status is Status.FAILED
        assert world.gateway.asked.count("GET kling") == 2


async def test_a_poll_that_outlasts_its_lease_is_not_repeated(tmp_path: Path) -> None:
    """The claim fell due by itself: nobody has asked for more."""
    async with UpstreamWorld(tmp_path) as world:
        await world.register()
        answered = world.gateway.hold("GET kling")
        await world.tick()
        await world.gateway.wait_for_request("GET kling")
        await world.tick(60.0)
        await world.tick(60.0)
        answered.set()
        await world.settle(world.poller._polls)
        assert world.gateway.asked.count("GET kling") == 1


async def test_an_open_circuit_keeps_no_task_for_ever(tmp_path: Path) -> None:
    """Probes are too few to ask about each: past its deadline a task ends after the grace of one whose polls fail."""
    async with UpstreamWorld(tmp_path, deadline_s=100.0, not_found_grace_s=50.0) as world:
        world.gateway.answers["kling"] = (503, {"code": 5001, "message": "busy"})
        tasks = [await world.register(external_id=f"up-{n}") for n in range(20)]
        for _ in range(8):
            await world.sweep(10.0)
        assert {(await world.get(task_id)).task.status for task_id in tasks} == {Status.PENDING}
        for _ in range(30):
            await world.sweep(10.0)
        ended = [(await world.get(task_id)).task for task_id in tasks]
        assert {(task.status, task.reason) for task in ended} == {(Status.FAILED, "expired")}


async def test_fresh_urls_that_cannot_be_asked_for_are_none(tmp_path: Path) -> None:
    """A poll by hand says that nobody was asked; who only wants a fresh URL finds the one that it has."""
    async with UpstreamWorld(tmp_path) as world:
        world.keys.pop("default")
        task_id = await world.register()
        with pytest.raises(NotAttempted, match="has no API key"):
            await world.poller.poll(task_id)
        await world.poller.renew(task_id)
        assert world.gateway.asked == []
