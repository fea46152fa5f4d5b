"""What a person does about a task that went wrong: send its request again, name its upstream id."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kits.factories import make_answer, make_new_task
from tests.kits.server import ServerWorld, problem_of
from tests.kits.upstream import KLING, RATE_LIMITED, Answer, UpstreamWorld, kling
from tracker.domain.observation import Submission
from tracker.domain.records import TaskRecord
from tracker.domain.statuses import Origin
from tracker.domain.task import ExternalId, Status, SubmitState, TaskId
from tracker.errors import NotAdoptable, NotRepeatable, TaskNotFound
from tracker.tracking.recovery import adopt, resubmit


def done(task_id: str) -> Answer:
    """Kling's answer about a finished video."""
    videos = [{"id": "v", "url": "https://cdn.example/v.mp4", "duration": "5"}]
    data = {"task_id": task_id, "task_status": "succeed", "task_result": {"videos": videos}}
    return 200, {"code": 0, "data": data}


LABELED = replace(KLING, labels={"user": "42"})


async def test_a_request_is_sent_again(tmp_path: Path) -> None:
    """A new paid task with the request, labels and account of the first, which it names."""
    async with UpstreamWorld(tmp_path) as world:
        first = (await world.submitter.submit(LABELED)).record
        world.gateway.answers["kling"] = kling("submitted", "up-2")
        again = await resubmit(world.store, world.submitter, first.task.id)
        assert again.is_new
        record = await world.get(again.record.task.id)
        assert (record.task.id != first.task.id, record.retry_of, record.origin) == (True, first.task.id, Origin.SUBMIT)
        assert (record.request, record.labels, record.task.account) == (first.request, {"user": "42"}, "default")
        assert world.gateway.asked.count("POST kling") == 2
        assert (await world.get(first.task.id)).retry_of is None


async def test_a_repeated_resubmit_is_not_paid_twice(tmp_path: Path) -> None:
    """A client that repeats the call gets the same new task; a key of its own sends the request once more."""
    async with UpstreamWorld(tmp_path) as world:
        first = (await world.submitter.submit(LABELED)).record.task.id
        second = await resubmit(world.store, world.submitter, first)
        repeated = await resubmit(world.store, world.submitter, first)
        assert (repeated.is_new, repeated.record.task.id) == (False, second.record.task.id)
        third = await resubmit(world.store, world.submitter, first, "another")
        assert third.is_new
        chained = await resubmit(world.store, world.submitter, second.record.task.id)
        assert (chained.is_new, chained.record.retry_of) == (True, second.record.task.id)
        assert world.gateway.asked.count("POST kling") == 4


async def test_there_must_be_a_request(tmp_path: Path) -> None:
    """A job that was created elsewhere, and one whose request retention has deleted, cannot be sent again."""
    async with UpstreamWorld(tmp_path) as world:
        known = (await world.submitter.register("kling.omni-video", "up-9", {}, None)).record
        assert known.origin is Origin.REGISTER
        with pytest.raises(NotRepeatable, match="it was created elsewhere"):
            await resubmit(world.store, world.submitter, known.task.id)
        first = (await world.submitter.submit(LABELED)).record.task.id
        world.edit("DELETE FROM requests")
        with pytest.raises(NotRepeatable, match="its request is no longer stored"):
            await resubmit(world.store, world.submitter, first)
        with pytest.raises(TaskNotFound):
            await resubmit(world.store, world.submitter, TaskId("01JD0000000000000000000000"))


async def make_undecided(world: UpstreamWorld, *, expects_callback: bool, n: int = 1) -> TaskId:
    """A task whose create got no clear answer; without a callback it is given up."""
    new = make_new_task(n, route="kling.omni-video", provider="kling", expects_callback=expects_callback)
    task_id = (await world.store.create_task(new)).record.task.id
    assert await world.store.mark_sending(task_id, 60) is not None
    await world.apply(make_answer(Submission.AMBIGUOUS, task_id=task_id, at=world.elapsed_s))
    return task_id


@pytest.mark.parametrize("expects_callback", [True, False], ids=["undecided", "given up"])
async def test_an_upstream_id_found_elsewhere_is_followed(tmp_path: Path, expects_callback: bool) -> None:
    """The task is polled under its id, keeps its labels, and ends as the upstream says, days later too."""
    async with UpstreamWorld(tmp_path) as world:
        task_id = await make_undecided(world, expects_callback=expects_callback)
        world.clock.advance(0 if expects_callback else 3 * 86400)
        record = await adopt(world.store, world.reconciler, task_id, ExternalId("up-7"), world.clock.now())
        assert (record.task.external_id, record.task.submit_state) == ("up-7", SubmitState.ACCEPTED)
        assert record.task.due_at is not None
        assert (await world.store.list_events(task_id))[-1].detail == "accepted as up-7, by an operator"
        world.gateway.answers["kling"] = kling("processing", "up-7")
        await world.sweep(60.0)
        world.gateway.answers["kling"] = done("up-7")
        await world.sweep(60.0)
        ended = (await world.get(task_id)).task
        assert (ended.status, ended.reason, len(ended.outputs)) == (Status.SUCCEEDED, None, 1)


async def test_an_id_is_adopted_once(tmp_path: Path) -> None:
    """The same id again changes nothing; another id, a decided task and an id that is in use are refused."""
    async with UpstreamWorld(tmp_path) as world:
        task_id = await make_undecided(world, expects_callback=True)
        other = (await world.submitter.submit(KLING)).record.task
        assert other.external_id is not None

        async def take(which: TaskId, external_id: str) -> ExternalId | None:
            now = world.clock.now()
            return (await adopt(world.store, world.reconciler, which, ExternalId(external_id), now)).task.external_id

        with pytest.raises(NotAdoptable, match=f"task {other.id} has it already"):
            await take(task_id, other.external_id)
        with pytest.raises(NotAdoptable, match="it has the service's id up-1 already"):
            await take(other.id, "up-9")
        assert await take(task_id, "up-7") == "up-7"
        assert await take(task_id, "up-7") == "up-7"
        assert len(await world.store.list_events(task_id)) == 2
        world.gateway.answers["kling"] = RATE_LIMITED
        waiting = (await world.submitter.submit(KLING)).record.task
        with pytest.raises(NotAdoptable, match="no clear answer"):
            await take(waiting.id, "up-8")


@pytest.mark.parametrize("is_one_task", [True, False])
async def test_adoptions_at_the_same_time(tmp_path: Path, is_one_task: bool) -> None:
    """Of several ids for a task, and of several tasks for an id, one is adopted and all others are refused."""
    async with UpstreamWorld(tmp_path) as world:
        ids = [await make_undecided(world, expects_callback=True, n=n) for n in (1, 2, 3)]
        wanted = [(ids[0], f"up-{n}") for n in range(3)] if is_one_task else [(task_id, "up-7") for task_id in ids]
        now = world.clock.now()
        results = await asyncio.gather(
            *(adopt(world.store, world.reconciler, task_id, ExternalId(name), now) for task_id, name in wanted),
            return_exceptions=True,
        )
        taken = [(r.task.id, r.task.external_id) for r in results if isinstance(r, TaskRecord)]
        assert [isinstance(result, NotAdoptable) for result in results].count(True) == 2
        stored = [(await world.get(task_id)).task for task_id in ids]
        assert [(task.id, task.external_id) for task in stored if task.external_id is not None] == taken
        assert len(taken) == 1


async def test_a_resubmit_must_be_confirmed(world: ServerWorld) -> None:
    """It costs money: 422 without the word, 201 with it, 200 the second time, 409 without a request."""
    async with world.client.post(
        "/v1/tasks", json={"route": "suno.generate", "request": {"prompt": "a kite"}}
    ) as response:
        first = await response.json()
    path = f"/v1/tasks/{first['id']}/resubmit"
    for body in ({}, {"confirm": False}):
        async with world.client.post(path, json=body) as response:
            (problem,) = (await problem_of(response, 422))["errors"]
            assert problem == {"loc": ["confirm"], "msg": "must be true: a resubmit is a new paid job"}
    async with world.client.post(path, json={"confirm": True}) as response:
        again = await response.json()
        assert (response.status, response.headers["Location"]) == (201, f"/v1/tasks/{again['id']}")
        assert (again["retry_of"], again["request"]) == (first["id"], first["request"])
    async with world.client.post(path, json={"confirm": True}) as response:
        assert (response.status, (await response.json())["id"]) == (200, again["id"])
    known = {"route": "suno.generate", "external_id": "x-5"}
    async with world.client.post("/v1/tasks", json=known) as response:
        foreign = (await response.json())["id"]
    async with world.client.post(f"/v1/tasks/{foreign}/resubmit", json={"confirm": True}) as response:
        assert (await problem_of(response, 409))["detail"] == "The task cannot be sent again: it was created elsewhere."


async def test_adopting_over_http(world: ServerWorld) -> None:
    """200 with the task, 409 with the reason."""
    task_id = await world.make_task(external_id="x-1")
    async with world.client.post(f"/v1/tasks/{task_id}/adopt", json={"external_id": "x-2"}) as response:
        detail = "The task cannot take this id: it has the service's id x-1 already."
        assert (await problem_of(response, 409))["detail"] == detail
    async with world.client.post(f"/v1/tasks/{task_id}/adopt", json={"external_id": "x-1"}) as response:
        assert (response.status, (await response.json())["external_id"]) == (200, "x-1")
