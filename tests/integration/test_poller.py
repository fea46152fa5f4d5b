"""The sweep on a real store and a test gateway: what is polled, which circuit is open, and what counts."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from tests.kits.clock import START, after
from tests.kits.logs import captured_logs
from tests.kits.upstream import IN_MAINTENANCE, RATE_LIMITED, SUNO, UpstreamWorld, kling, suno
from tracker.domain.observation import Observation, Reading, Source
from tracker.domain.records import iso
from tracker.domain.task import ExternalId, Status, TaskId
from tracker.errors import NotAttempted
from tracker.store.values import Lane
from tracker.tracking.claims import (
    BATCH,
    CHUNK,
    ENOUGH_PER_S,
    MAX_BATCH,
    SHARED_MAX_BATCH,
    SHARED_S,
    TRICKLE,
    Claims,
)
from tracker.tracking.lane_limits import LaneSlots
from tracker.tracking.poller import MAX_LANE_SENDS, MAX_POLLS, MAX_SENDS, polls_within
from tracker.upstream.breaker import POLICY


async def test_a_family_in_maintenance_stops_no_other(tmp_path: Path) -> None:
    """Sixty Kling tasks are answered 503: Suno behind the same host is polled, and its task does not expire."""
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
        assert (record.task.status, record.task.reason) == (Status.FAILED, "expired"), "always polled in time"
        assert record.task.polls == world.gateway.asked.count("GET suno")


async def test_a_skipped_poll_does_not_count(tmp_path: Path) -> None:
    """While the circuit is open, polls are only postponed: no counter and no deadline changes."""
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
        assert f"has failed for kling since {iso(START)}. The next try is in 5 s." in note
        await world.sweep(4.0)
        assert len(world.gateway.asked) == asked, "the wait is not over"


async def test_without_a_key_no_task_expires(tmp_path: Path) -> None:
    """The missing key is a local problem: tasks wait for it without a limit, and ``why`` names it."""
    async with UpstreamWorld(tmp_path, deadline_s=30.0, not_found_grace_s=5.0) as world:
        key = world.keys.pop("default")
        task_id = await world.register()
        for _ in range(8):
            await world.sweep(10.0)
        task = (await world.get(task_id)).task
        assert (task.status, task.polls, task.poll_trouble_since) == (Status.PENDING, 0, None)
        note = await world.notes(task_id)
        assert f"has not asked the service since {iso(after(10.0))}: account default has no API key" in note
        world.keys["default"] = key
        world.gateway.answers["kling"] = kling("failed")
        await world.sweep(10.0)
        task = (await world.get(task_id)).task
        assert (task.status, task.reason, task.polls) == (Status.FAILED, "generation_failed", 1)
        assert "API key" not in await world.notes(task_id)


async def test_a_poll_request_survives_a_postponed_poll(tmp_path: Path) -> None:
    """Releasing a claim does not change a due time that was set since."""
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


async def test_a_store_that_stays_unavailable_is_logged_once_a_minute(tmp_path: Path) -> None:
    """Each sweep fails, as with a full disk; the log has no line per sweep."""
    async with UpstreamWorld(tmp_path) as world:
        world.store.fail()
        with captured_logs() as logged:
            for _ in range(61):
                await world.tick(1.0)
    assert [entry["event"] for entry in logged] == ["sweep.failed", "sweep.failed"]


# -- slots --------------------------------------------------------------------------------------------------


async def test_running_creates_do_not_stop_polls(tmp_path: Path) -> None:
    """More slow creates are resent than there are send slots: tasks of every provider are polled as before."""
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
            await world.settle()
        await world.gateway.wait_for_request("POST suno", len(songs) + MAX_LANE_SENDS)
        assert world.gateway.asked.count("POST suno") == len(songs) + MAX_LANE_SENDS
        assert world.gateway.asked.count("GET kling") == 10
        assert world.gateway.asked.count("GET suno") == 10, "not even those of their own provider"
        assert [(await world.get(task_id)).task.polls for task_id in (video, song)] == [10, 10]
        answered.set()
        for _ in range(12):
            await world.sent()
            await world.sweep(45.0)
        await world.sent()
        assert world.gateway.asked.count("POST suno") == 2 * len(songs), "each was resent once, in order"


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


async def test_slow_polls_of_others_leave_a_lane_its_slot(tmp_path: Path) -> None:
    """Lanes without answers use all slots: another lane is still polled at every sweep."""
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
    """No lane exceeds its own limit, all together do not exceed the total, and each has at least one slot."""
    slots, go_on = LaneSlots(total, of_lane), asyncio.Event()

    async def work() -> None:
        await go_on.wait()

    names = count()
    for lane in ("a", "b", "c", "d"):
        for _ in range(slots.free(Lane("default", lane))):
            slots.start(Lane("default", lane), TaskId(str(next(names))), work())
    assert len(slots) == {3: 5, 1: 4}[total], "two of a, one of b, and one reserved for each of c and d"
    assert [slots.free(Lane("default", lane)) for lane in "abcde"] == [0, 0, 0, 0, 1]
    go_on.set()
    await slots.end(20)
    assert len(slots) == 0
    lanes = [Lane("default", lane) for lane in "abcd"]
    assert slots.free(lanes[0], lanes) == 1, "a lane has its own slot even when its share is none"


async def test_a_lane_shrinks_to_its_share_when_others_come() -> None:
    """It uses free slots; when others need their share, its finished polls release slots to them."""
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
    """At most half of them, if that is enough to poll at all."""
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
        await world.settle()
        assert world.gateway.asked.count("GET kling") == 30


async def test_free_slots_are_reused_without_a_wait(tmp_path: Path) -> None:
    """Once as many polls have ended as are worth a claim, the next tasks are claimed, whatever the timer shows."""
    async with UpstreamWorld(tmp_path) as world:
        for n in range(MAX_BATCH + BATCH):
            await world.register(external_id=f"up-{n}")
        go_on = world.gateway.hold("GET kling")
        await world.tick()
        assert len(world.poller._polls) == MAX_BATCH
        claims = world.poller._claims
        refills = []
        for _ in range(BATCH):
            claims.slot_freed()
            refills.append(claims._refill_task)
        *early, refill = refills
        assert early == [None] * (BATCH - 1)
        assert refill is not None
        await refill
        assert len(world.poller._polls) == MAX_BATCH + BATCH
        go_on.set()


async def test_a_slow_upstream_gets_more_polls(tmp_path: Path) -> None:
    """While the event loop is idle, more polls are begun although none ends."""
    async with UpstreamWorld(tmp_path) as world:
        for n in range(3 * MAX_BATCH):
            await world.register(external_id=f"up-{n}")
        go_on = world.gateway.hold("GET kling")
        await world.tick()
        await world.gateway.wait_for_request("GET kling", 2 * MAX_BATCH)
        assert len(world.poller._polls) >= 2 * MAX_BATCH
        go_on.set()


@pytest.mark.parametrize(("ended", "may_grow"), [(ENOUGH_PER_S // 2, True), (2 * ENOUGH_PER_S, False)])
async def test_a_fast_upstream_gets_no_more_polls(tmp_path: Path, ended: int, may_grow: bool) -> None:
    """If many polls end within a second, more at once would only delay callbacks."""
    async with UpstreamWorld(tmp_path) as world:
        for n in range(MAX_BATCH + BATCH):
            await world.register(external_id=f"up-{n}")
        go_on = world.gateway.hold("GET kling")
        await world.tick()
        claims = world.poller._claims
        claims._ended, claims._ended_since = ended, asyncio.get_running_loop().time() - 1.0
        claims._end_wait()
        assert claims._may_grow == may_grow
        go_on.set()


async def test_a_busy_event_loop_gets_no_more_polls(tmp_path: Path) -> None:
    """More would only delay callbacks; a lane without a poll still gets one at each sweep."""
    async with UpstreamWorld(tmp_path) as world:
        for n in range(MAX_BATCH + BATCH):
            await world.register(external_id=f"up-{n}")
        go_on = world.gateway.hold("GET kling")
        await world.tick()
        claims = world.poller._claims
        claims._is_late, claims._freed = True, BATCH
        assert list(claims._plan(is_sweep=False)) == []
        claims._due_lanes.append(Lane("default", "suno"))
        assert list(claims._plan(is_sweep=True)) == [(Lane("default", "suno"), 1)]
        go_on.set()


async def test_callbacks_leave_fewer_polls_under_way(tmp_path: Path) -> None:
    """Callbacks wait for the polls beside them; a while after the last one, as many polls as before are under way."""
    async with UpstreamWorld(tmp_path) as world:
        ids = [await world.register(external_id=f"up-{n}") for n in range(2 * MAX_BATCH)]
        go_on = world.gateway.hold("GET kling")
        called_back = Observation(ids.pop(), Source.CALLBACK, START, Reading(status=Status.RUNNING))
        await world.reconciler.apply(called_back)
        claims = world.poller._claims
        claims._ended_since = math.inf  # it never grows
        await world.tick()
        assert len(world.poller._polls) == SHARED_MAX_BATCH
        claims._shared_until -= SHARED_S
        await world.tick()
        assert len(world.poller._polls) == SHARED_MAX_BATCH + MAX_BATCH
        go_on.set()


async def test_refills_serve_lanes_in_turn(tmp_path: Path) -> None:
    """Few tasks of each of many lanes would cost a claim each: a refill serves some lanes, the next one the others."""
    async with UpstreamWorld(tmp_path) as world:
        routes = ("kling.omni-video", "suno.generate", "dashscope.video", "seedance.video")
        for route in routes:
            family = route.partition(".")[0]
            world.gateway.answers.setdefault(family, suno())
            world.gateway.hold(f"GET {family}")
            for n in range(3 * CHUNK):
                await world.register(route, f"{family}-{n}")
        claims = world.poller._claims
        claims._ended_since = math.inf  # it never grows
        await world.tick()
        turns = []
        for _ in range(2):
            claims._freed, claims._is_late = 2 * CHUNK, False  # however busy this machine is
            turns.append(list(claims._plan(is_sweep=False)))
            claims._freed = 2 * CHUNK
            await claims._refill()
        assert [[wanted for _, wanted in turn] for turn in turns] == [[CHUNK, CHUNK], [CHUNK, CHUNK]]
        assert {lane.provider for turn in turns for lane, _ in turn} == set(world.gateway.answers)


async def test_a_used_up_rate_causes_no_claims(tmp_path: Path) -> None:
    """Refills neither claim nor look for lanes before the rate allows more."""
    async with UpstreamWorld(tmp_path, rate=5.0) as world:
        for n in range(40):
            await world.register(external_id=f"up-{n}")
        await world.tick()
        await world.gateway.wait_for_request("GET kling")
        claims, calls = world.poller._claims, world.store.calls
        before = calls["claim_due"], calls["list_lanes"]
        for _ in range(10):
            claims.slot_freed()
            await claims._refill()
        assert (calls["claim_due"], calls["list_lanes"]) == before == (1, 1)
        world.limits.pause("default", world.clock.monotonic() + 60.0)  # ends the waits for a slot


async def test_until_when_nothing_is_sent_for_a_task(tmp_path: Path) -> None:
    """The end of its account's pause, or the next probe of a circuit, whichever is later; else nothing is known."""
    async with UpstreamWorld(tmp_path) as world:
        task = (await world.get(await world.register())).task
        assert world.poller.blocked_until(task) is None
        world.gateway.answers["kling"] = IN_MAINTENANCE
        for _ in range(POLICY.opens_after):
            await world.poller.poll(task.id)
        until = world.poller.blocked_until(task)
        assert until is not None
        assert 0 < (until - world.clock.now()).total_seconds() <= POLICY.first_wait_s
        world.limits.pause("default", world.clock.monotonic() + 60.0)
        assert world.poller.blocked_until(task) == world.clock.now() + timedelta(seconds=60)


async def test_an_open_circuit_causes_no_claims_between_sweeps(tmp_path: Path) -> None:
    """Only sweeps claim, a few tasks each."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = IN_MAINTENANCE
        for n in range(2 * MAX_BATCH + BATCH):  # more than are claimed before the circuit opens
            await world.register(external_id=f"up-{n}")
        await world.sweep()
        claims, calls = world.poller._claims, world.store.calls
        before = calls["claim_due"]
        for _ in range(10):
            claims.slot_freed()
            await claims._refill()
        assert calls["claim_due"] == before
        await world.sweep()
        assert calls["claim_due"] == before + 1


async def test_a_busy_lane_does_not_starve_others(tmp_path: Path) -> None:
    """It uses all free slots; due tasks of another lane are polled before its backlog is done."""
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


async def test_tasks_that_cannot_be_polled_are_claimed_slowly(tmp_path: Path) -> None:
    """Without a key a sweep postpones a few tasks, without refills; with a key all are polled."""
    async with UpstreamWorld(tmp_path) as world:
        key = world.keys.pop("default")
        tasks = [await world.register(external_id=f"up-{n}") for n in range(TRICKLE + 40)]
        await world.sweep()  # it finds out
        for _ in range(3):
            await world.sweep()
        await world.poller._claims._refill()
        await world.settle()
        now = world.clock.now()
        waiting = [task for task_id in tasks if (task := (await world.get(task_id)).task).due_at == now]
        assert len(waiting) >= 40 - 3 * TRICKLE
        world.keys["default"] = key
        await world.sweep(20.0)
        await world.gateway.wait_for_request("GET kling", len(tasks))


async def test_a_lane_recovers_its_speed_after_an_outage(tmp_path: Path) -> None:
    """While the circuit is open few tasks are claimed; after a successful probe all are."""
    async with UpstreamWorld(tmp_path) as world:
        world.gateway.answers["kling"] = IN_MAINTENANCE
        for n in range(MAX_BATCH + 36):
            await world.register(external_id=f"up-{n}")
        await world.sweep()
        asked = len(world.gateway.asked)
        assert 5 <= asked < MAX_BATCH + 36
        world.gateway.answers["kling"] = kling("failed")
        for _ in range(4):
            await world.sweep(5.0)
        await world.gateway.wait_for_request("GET kling", asked + MAX_BATCH + 36)


async def halt_once(claims: Claims) -> None:
    """Halt as soon as a claim is being executed."""
    async with asyncio.timeout(20):
        while not claims._turn.locked():  # noqa: ASYNC110 - there is no signal for it
            await asyncio.sleep(0)
    claims.halt()


async def test_a_stop_releases_claims(tmp_path: Path) -> None:
    """Tasks claimed when the stop began are due as before, not at the end of a lease."""
    async with UpstreamWorld(tmp_path) as world:
        task_id = await world.register()
        claims = world.poller._claims
        await asyncio.gather(claims.sweep(), halt_once(claims))
        assert (await world.get(task_id)).task.due_at == world.clock.now()
        assert world.gateway.asked == []


# -- poll requests -------------------------------------------------------------------------------------------


async def test_a_poll_request_during_a_poll_causes_another_poll(tmp_path: Path) -> None:
    """The answer under way may be older than the request: the task is polled again right after it."""
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
        await world.settle()
        assert (await world.get(task_id)).task.status is Status.FAILED
        assert world.gateway.asked.count("GET kling") == 2


async def test_a_poll_that_outlasts_its_lease_is_not_repeated(tmp_path: Path) -> None:
    """The lease expired on its own, without a poll request."""
    async with UpstreamWorld(tmp_path) as world:
        await world.register()
        answered = world.gateway.hold("GET kling")
        await world.tick()
        await world.gateway.wait_for_request("GET kling")
        await world.tick(60.0)
        await world.tick(60.0)
        answered.set()
        await world.settle()
        assert world.gateway.asked.count("GET kling") == 1


async def test_an_open_circuit_does_not_keep_a_task_for_ever(tmp_path: Path) -> None:
    """Probes do not reach every task: after its deadline a task ends with the grace for failing polls."""
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


async def test_fresh_urls_without_a_poll(tmp_path: Path) -> None:
    """A manual poll reports that it was not sent; a request for fresh URLs returns the stored ones."""
    async with UpstreamWorld(tmp_path) as world:
        world.keys.pop("default")
        task_id = await world.register()
        with pytest.raises(NotAttempted, match="has no API key"):
            await world.poller.poll(task_id)
        await world.poller.renew(task_id)
        assert world.gateway.asked == []
