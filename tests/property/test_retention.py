"""After any events: retention deletes nothing unfinished or undelivered, and histories replay to their tasks."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kits.clock import START
from tests.kits.factories import make_answer, make_cancel, make_observation, make_output, make_task_name
from tests.kits.world import World
from tracker.config.sections import Retention as Days
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.observation import Source, Submission, Trouble
from tracker.domain.task import ExternalId, Stage, Status
from tracker.maintenance.pruning import Pruning
from tracker.store.sqlite.audit import audit
from tracker.store.values import AttemptResult

DAY_S = 86_400.0
TASKS = (1, 2, 3, 4)
WORDS: tuple[dict[str, Any], ...] = (
    {"status": Status.RUNNING, "stage": Stage.FIRST, "outputs": (make_output(),)},
    {"status": Status.RUNNING, "progress": 40, "source": Source.POLL},
    {"status": Status.SUCCEEDED},
    {"status": Status.SUCCEEDED, "source": Source.POLL, "outputs": (make_output(), make_output(1))},
    {"status": Status.SUCCEEDED, "is_trusted": False},
    {"status": Status.SUCCEEDED, "outputs": ()},
    {"status": Status.FAILED},
    {"trouble": Trouble.UNKNOWN_STATUS, "upstream_status": "DREAMING"},
    {"trouble": Trouble.NOT_FOUND, "source": Source.POLL, "expired_after_s": 5.0},
    {"source": Source.CLOCK},
)
ACTS = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(TASKS), st.sampled_from(range(len(WORDS)))),
    st.tuples(st.just("cancel"), st.sampled_from(TASKS), st.just(0)),
    st.tuples(st.just("answer"), st.sampled_from((1, 2)), st.sampled_from(range(len(Submission)))),
    st.tuples(st.just("fan out"), st.just(0), st.just(0)),
    st.tuples(st.just("deliver"), st.just(0), st.sampled_from((0, 1, 2, 3))),
    st.tuples(st.just("wait"), st.just(0), st.sampled_from((1, 100_000))),
)
_ENDS = (DeliveryStatus.SUCCEEDED, DeliveryStatus.FAILED, DeliveryStatus.DEAD, None)


async def live(world: World, acts: list[tuple[str, int, int]]) -> None:
    """Four songs, two of them sent, and what happens to them."""
    for n in (1, 2):
        await world.submit(n, expects_callback=n == 1)
        await world.store.mark_sending(make_task_name(n), 60)
    for n in (3, 4):
        await world.follow(n)
    for act, n, which in acts:
        at = world.clock.now().timestamp() - START.timestamp()
        match act:
            case "say":
                word = {"source": Source.CALLBACK, **WORDS[which]}
                await world.apply(make_observation(at=at, task_id=make_task_name(n), payload='{"x":1}', **word))
            case "cancel":
                await world.apply(make_cancel(at, make_task_name(n)))
            case "answer":
                answer = list(Submission)[which]
                name = ExternalId(f"up-{n}") if answer is Submission.ACCEPTED else None
                await world.apply(make_answer(answer, at=at, task_id=make_task_name(n), external_id=name))
            case "fan out":
                await world.store.fan_out(lambda _: ["publish"], 3)
            case "deliver":
                for job in await world.store.claim_deliveries("publish", 2, 0):
                    if (status := _ENDS[which]) is not None:
                        await world.store.record_attempt(job.id, AttemptResult(status), job.attempt)
            case _:
                assert act == "wait"
        world.clock.advance(1.0 if act != "wait" else which)


async def records_of(world: World) -> dict[int, tuple[Any, ...]]:
    """Everything stored about each task."""
    return {
        n: (
            await world.get(n),
            await world.store.list_events(make_task_name(n)),
            await world.store.list_deliveries(make_task_name(n)),
        )
        for n in TASKS
    }


async def check(acts: list[tuple[str, int, int]], days: Days, aged_days: float) -> None:
    """Run, age, prune, and compare the records before and after."""
    with tempfile.TemporaryDirectory() as name:
        async with World(Path(name) / "t.db") as world:
            await live(world, acts)
            found = audit(world.path)
            assert (found.is_sound, found.judged) == (True, len(TASKS)), found
            unheard = {task for (task,) in world.edit("SELECT task_id FROM events JOIN outbox USING (seq)")}
            world.clock.advance(aged_days * DAY_S)
            before = await records_of(world)
            keeper = Pruning(world.store, world.clock, lambda: days)
            foreseen = await keeper.run(dry_run=True)
            pruned = await keeper.run()
            assert (foreseen.rows, foreseen.tasks) == (pruned.rows, pruned.tasks)
            for n, (record, events, deliveries) in (await records_of(world)).items():
                old, old_events, old_deliveries = before[n]
                waits = any(one.status in {DeliveryStatus.PENDING, DeliveryStatus.RUNNING} for one in old_deliveries)
                if not old.task.status.is_terminal or waits or old.task.id in unheard:
                    assert (record, events, deliveries) == before[n]
                assert (record.task.status, record.task.outputs) == (old.task.status, old.task.outputs)
                assert [event.seq for event in events] in ([event.seq for event in old_events], [])
                dead = [one for one in old_deliveries if one.status is DeliveryStatus.DEAD]
                assert [one for one in deliveries if one.status is DeliveryStatus.DEAD] == dead
                has_result = any(event.seq == record.task.result_seq and event.payload for event in events)
                assert has_result is (record.result is not None) is (record.task.result_seq is not None)
            assert audit(world.path).is_sound
            assert (await keeper.run()).rows == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    acts=st.lists(ACTS, min_size=4, max_size=30),
    events_days=st.sampled_from((0, 1, 90)),
    payload_days=st.sampled_from((0, 1, 30)),
    aged_days=st.sampled_from((0, 2, 60, 200)),
)
def test_only_ended_and_delivered_data_is_deleted(
    acts: list[tuple[str, int, int]], events_days: int, payload_days: int, aged_days: float
) -> None:
    """Unfinished tasks and undelivered events stay complete, dry runs count correctly, and the file stays sound."""
    asyncio.run(check(acts, Days(events_days=events_days, payload_days=payload_days), aged_days))
