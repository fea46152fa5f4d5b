"""Creates above ``max_in_flight`` wait, and go out in their order as slots become free."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from tests.kits.factories import make_cancel
from tests.kits.upstream import IN_MAINTENANCE, KLING, RATE_LIMITED, SUNO, UpstreamWorld, kling
from tracker.domain.task import Status, SubmitState, TaskId
from tracker.tracking.intake import SubmitRequest


async def submit(world: UpstreamWorld, n: int) -> TaskId:
    """Submit the n-th task and answer when it is decided or waits."""
    world.gateway.answers["kling"] = kling("submitted", f"up-{n}")
    return (await world.submitter.submit(replace(KLING, idempotency_key=f"k{n}"))).record.task.id


async def test_a_create_waits_and_is_sent_when_a_slot_is_free(tmp_path: Path) -> None:
    """No sweep is needed: the commit that ends a task has the next one sent."""
    async with UpstreamWorld(tmp_path) as world:
        world.max_in_flight["default"] = 2
        ids = [await submit(world, n) for n in range(4)]
        assert world.gateway.asked.count("POST kling") == 2
        states = [(await world.get(task_id)).task.waits_for_slot for task_id in ids]
        assert states == [False, False, True, True]
        for sent, task_id in enumerate(ids[:2], 3):
            await world.apply(make_cancel(task_id=task_id))
            await world.gateway.wait_for_request("POST kling", sent)
            await world.sent()
            assert (await world.get(ids[sent - 1])).task.submit_state is SubmitState.ACCEPTED


async def test_a_submit_that_waits_is_not_decided(tmp_path: Path) -> None:
    """Its client is answered at once; the same key finds the same task."""
    async with UpstreamWorld(tmp_path) as world:
        world.max_in_flight["default"] = 1
        await submit(world, 1)
        wanted = replace(KLING, idempotency_key="k2")
        first, again = await world.submitter.submit(wanted), await world.submitter.submit(wanted)
        assert (first.is_new, first.is_decided, again.is_new) == (True, False, False)
        assert first.record.task == again.record.task
        assert (first.record.task.status, first.record.task.due_at) == (Status.PENDING, None)


async def test_waiting_is_not_a_refusal(tmp_path: Path) -> None:
    """However long it waits, ``submit_retry_s`` begins when it is sent."""
    async with UpstreamWorld(tmp_path, submit_retry_s=60.0) as world:
        world.max_in_flight["default"] = 1
        first, second = [await submit(world, n) for n in range(2)]
        await world.sweep(5000.0)
        assert (await world.get(second)).task.waits_for_slot
        world.gateway.answers["kling"] = RATE_LIMITED
        await world.apply(make_cancel(task_id=first, at=5000.0))
        await world.gateway.wait_for_request("POST kling", 2)
        await world.sent()
        task = (await world.get(second)).task
        assert (task.status, task.submit_state, task.submit_attempts) == (Status.PENDING, SubmitState.QUEUED, 1)
        await world.sweep(100.0)
        await world.sent()
        assert (await world.get(second)).task.reason == "rate_limited"


async def test_a_create_that_is_put_off_holds_no_slot(tmp_path: Path) -> None:
    """The next one is sent meanwhile; it keeps its place before the later ones."""
    async with UpstreamWorld(tmp_path) as world:
        world.max_in_flight["default"] = 1
        held = world.gateway.hold("POST kling")
        world.gateway.answers["kling"] = IN_MAINTENANCE
        sends = [asyncio.create_task(world.submitter.submit(KLING))]
        await world.gateway.wait_for_request("POST kling")
        second = (await world.submitter.submit(SUNO)).record.task.id
        third = (await world.submitter.submit(KLING)).record.task.id
        world.gateway.answers |= {"kling": kling("submitted", "up-2"), "suno": kling()}
        world.gateway.answers["suno"] = (200, {"code": 200, "msg": "success", "data": {"taskId": "up-1"}})
        held.set()
        (first,) = [submitted.record.task.id for submitted in await asyncio.gather(*sends)]
        await world.gateway.wait_for_request("POST suno")
        await world.sent()
        assert (await world.get(second)).task.submit_state is SubmitState.ACCEPTED
        await world.sweep(100.0)
        await world.sent()
        tasks = [(await world.get(task_id)).task for task_id in (first, third)]
        assert [task.waits_for_slot for task in tasks] == [True, True]
        await world.apply(make_cancel(task_id=second, at=100.0))
        await world.gateway.wait_for_request("POST kling", 2)
        await world.sent()
        tasks = [(await world.get(task_id)).task for task_id in (first, third)]
        assert [task.submit_state for task in tasks] == [SubmitState.ACCEPTED, SubmitState.QUEUED]


async def test_limits_that_change_apply_at_once(tmp_path: Path) -> None:
    """A higher one sends more, a lower one cancels nothing, none sends all."""
    async with UpstreamWorld(tmp_path) as world:
        world.max_in_flight["default"] = 1
        ids = [await submit(world, n) for n in range(6)]
        for limit, sent in ((3, 3), (1, 3), (4, 4)):
            world.max_in_flight["default"] = limit
            world.slots.note_limits()
            await world.gateway.wait_for_request("POST kling", sent)
            await world.sent()
            assert world.gateway.asked.count("POST kling") == sent
        del world.max_in_flight["default"]
        world.slots.note_limits()
        await world.gateway.wait_for_request("POST kling", 6)
        await world.sent()
        assert {(await world.get(task_id)).task.submit_state for task_id in ids} == {SubmitState.ACCEPTED}


async def test_a_task_that_was_created_elsewhere_takes_a_slot(tmp_path: Path) -> None:
    """Its end, which a poll reports, has the next create sent."""
    async with UpstreamWorld(tmp_path) as world:
        world.max_in_flight["default"] = 1
        await world.register(external_id="up-0")
        waiting = await submit(world, 1)
        assert (await world.get(waiting)).task.waits_for_slot
        world.gateway.answers["kling"] = (200, {"code": 0, "data": {"task_id": "up-0", "task_status": "failed"}})
        await world.tick()
        await world.gateway.wait_for_request("POST kling")


async def test_a_synchronous_create_takes_a_slot_while_it_is_sent(tmp_path: Path) -> None:
    """Its answer is its end."""
    chat = SubmitRequest("openai.chat", {"model": "m", "messages": [{"role": "user", "content": "hi"}]})
    async with UpstreamWorld(tmp_path) as world:
        world.max_in_flight["default"] = 1
        choice = {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
        world.gateway.answers["chat"] = (200, {"id": "c", "object": "chat.completion", "choices": [choice]})
        answered = world.gateway.hold("POST chat")
        first = asyncio.create_task(world.submitter.submit(chat))
        await world.gateway.wait_for_request("POST chat")
        second = await world.submitter.submit(chat)
        assert not second.is_decided
        answered.set()
        assert (await first).record.task.status is Status.SUCCEEDED
        await world.gateway.wait_for_request("POST chat", 2)
        await world.sent()
        assert (await world.get(second.record.task.id)).task.status is Status.SUCCEEDED


async def test_the_sweep_finds_what_no_commit_of_this_process_has_freed(tmp_path: Path) -> None:
    """After a start, after a failed claim, and after an end that another process has stored."""
    async with UpstreamWorld(tmp_path) as world:
        world.max_in_flight["default"] = 1
        first, second = [await submit(world, n) for n in range(2)]
        world.slots._waiting.clear()  # as after a start
        await world.apply(make_cancel(task_id=first))
        await world.sweep()
        await world.gateway.wait_for_request("POST kling", 2)
        await world.sent()
        third = await submit(world, 3)
        world.store.fail("claim_waiting", times=1)
        await world.apply(make_cancel(task_id=second))
        await world.store.wait_for_failure("claim_waiting")
        await world.sweep(1.0)
        await world.gateway.wait_for_request("POST kling", 3)
        await world.sent()
        assert (await world.get(third)).task.submit_state is SubmitState.ACCEPTED


async def test_no_store_call_without_a_limit(tmp_path: Path) -> None:
    """A commit and a sweep ask the store for nothing more than before, but for a look at the start."""
    async with UpstreamWorld(tmp_path) as world:
        await submit(world, 1)
        for _ in range(3):
            await world.sweep(1.0)
        assert (world.store.calls["claim_waiting"], world.store.calls["list_waiting_accounts"]) == (0, 1)


async def test_a_rejected_key_holds_what_waited(tmp_path: Path) -> None:
    """Creates whose slot is free while their account is refused are held, and sent in the end."""
    async with UpstreamWorld(tmp_path) as world:
        world.max_in_flight["default"] = 1
        first = await submit(world, 1)
        ids = [await submit(world, n) for n in (2, 3, 4)]
        world.gateway.answers["kling"] = (401, {"code": 1000, "message": "bad key", "request_id": "r"})
        await world.apply(make_cancel(task_id=first))
        await world.gateway.wait_for_request("POST kling", 2)
        await world.sent()
        world.gateway.answers["kling"] = kling("succeed", "up-9")
        for _ in range(8):
            await world.sweep(4.0)
            await world.sent()
            await world.settle()
            for task_id in ids:
                task = (await world.get(task_id)).task
                if task.submit_state is SubmitState.ACCEPTED and not task.status.is_terminal:
                    await world.apply(make_cancel(task_id=task_id, at=world.elapsed_s))
        states = [(await world.get(task_id)).task.submit_state for task_id in ids]
        assert states[1:] == [SubmitState.ACCEPTED] * 2, states
