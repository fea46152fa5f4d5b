"""One action on many tasks: poll, cancel, and retry the deliveries of all that match a filter."""

import asyncio
from pathlib import Path

import pytest

from tests.kits.clock import after
from tests.kits.logs import captured_logs
from tests.kits.server import ServerWorld, locs, problem_of
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.records import Json
from tracker.domain.scopes import ApiToken, Scope
from tracker.domain.task import ExternalId, Reason, Status, TaskId
from tracker.server.actions import AT_ONCE
from tracker.store.sqlite.lists import SearchLimits
from tracker.store.values import Announcement, AttemptResult

OPS = ApiToken("ops", Scope.ADMIN, "token-of-operators-not-real")


async def act(world: ServerWorld, action: str, filters: Json, **more: Json) -> tuple[int, int]:
    """The counts that the action is answered with."""
    body = {"action": action, "filter": filters, **more}
    async with world.client.post("/v1/tasks/actions", json=body) as response:
        answer = await response.json()
        assert response.status == 200, answer
        assert set(answer) == {"matched", "done"}
        return answer["matched"], answer["done"]


async def refused(world: ServerWorld, body: Json, status: int = 422) -> Json:
    """The problem that a body is refused with."""
    async with world.client.post("/v1/tasks/actions", json=body) as response:
        return await problem_of(response, status)


async def fill(world: ServerWorld) -> dict[str, list[TaskId]]:
    """Twelve tasks by status, each third one with the label ``team=a``."""
    made: dict[str, list[TaskId]] = {"PENDING": [], "RUNNING": [], "SUCCEEDED": [], "expired": []}
    for n in range(12):
        status = list(made)[n % 4]
        new = world.new_task(external_id=ExternalId(f"up-{n}"), labels={"team": "a" if n % 3 == 0 else "b"})
        task_id = (await world.store.create_task(new)).record.task.id
        if status == "SUCCEEDED":
            await world.end_task(task_id)
        elif status != "PENDING":
            reason = Reason.EXPIRED if status == "expired" else None
            await world.poll(task_id, Status.FAILED if reason else Status.RUNNING, at=1.0, reason=reason)
        made[status].append(task_id)
    return made


async def test_unfinished_tasks_are_canceled(world: ServerWorld) -> None:
    """A dry run counts and changes nothing; then all that match end, over several pages, and no other task does."""
    world.store.search_limits = SearchLimits(page=2)
    made = await fill(world)
    chosen = [task for task in made["PENDING"] + made["RUNNING"] if (await world.get(task)).labels == {"team": "b"}]
    filters = {"label.team": "b", "route": "suno.generate"}
    assert await act(world, "cancel", filters, dry_run=True) == (len(chosen), 0)
    assert [(await world.get(task)).task.status for task in made["PENDING"]] == [Status.PENDING] * 3
    with captured_logs() as lines:
        assert await act(world, "cancel", filters) == (len(chosen), len(chosen))
    ended = {task for tasks in made.values() for task in tasks if (await world.get(task)).task.is_canceled}
    assert ended == set(chosen)
    assert (await world.store.list_events(chosen[0]))[-1].detail.endswith("(canceled by an operator)")
    (line,) = [line for line in lines if line["event"] == "tasks.acted_on"]
    assert (line["action"], line["filter"], line["done"]) == ("cancel", filters, len(chosen))
    assert await act(world, "cancel", filters) == (0, 0)


@pytest.mark.parametrize(
    ("filters", "polled"),
    [
        ({"provider": "suno"}, ["PENDING", "RUNNING"]),
        ({"status": "RUNNING"}, ["RUNNING"]),
        ({"status": "FAILED"}, ["expired"]),
        ({"reason": "expired"}, ["expired"]),
        ({"reason": "policy_rejected"}, []),
        ({"status": "SUCCEEDED"}, []),
        ({"since": "1970-01-01"}, ["PENDING", "RUNNING"]),
        ({"q": "up-1"}, None),
    ],
    ids=str,
)
async def test_tasks_are_polled(world: ServerWorld, filters: Json, polled: list[str] | None) -> None:
    """Unfinished ones fall due now; those that were given up do so if the filter asks for FAILED ones."""
    made = await fill(world)
    expected = {task for status in polled or () for task in made[status]}
    if polled is None:  # up-1 (RUNNING), not up-10 (SUCCEEDED) and up-11 (given up)
        expected = {made["RUNNING"][0]}
    assert await act(world, "poll", filters) == (len(expected), len(expected))
    assert {task for tasks in made.values() for task in tasks if await world.is_due(task)} == expected


async def test_a_task_without_an_upstream_id_is_counted_and_not_polled(world: ServerWorld) -> None:
    """There is nothing to ask about."""
    await world.make_task(external_id=None)
    assert await act(world, "poll", {"status": "PENDING"}) == (1, 0)


async def test_deliveries_of_matching_tasks_are_retried(world: ServerWorld) -> None:
    """Failed and dead ones of all hooks, of the tasks that match alone; the dispatcher is woken once."""
    world.store.search_limits = SearchLimits(page=2)
    hooks = ["first", "second"]

    def every_hook(_announcement: Announcement) -> list[str]:
        return hooks

    made = await fill(world)
    await world.store.fan_out(every_hook, 1000)
    for hook, status in zip(hooks, (DeliveryStatus.FAILED, DeliveryStatus.DEAD), strict=True):
        while jobs := await world.store.claim_deliveries(hook, 100, 60.0):
            for job in jobs:
                await world.store.record_attempt(job.id, AttemptResult(status), job.attempt)
    failed = (await world.store.count_deliveries())["first"]["failed"]
    chosen = [task for task in made["SUCCEEDED"] if (await world.get(task)).labels == {"team": "a"}]
    filters = {"status": "SUCCEEDED", "label.team": "a", "since": after(-1.0).isoformat()}
    expected = 0
    for task in chosen:
        expected += len(await world.store.list_deliveries(task))
    assert expected >= len(hooks)
    assert await act(world, "retry-deliveries", filters, dry_run=True) == (expected, 0)
    assert world.hooks.woken == 0
    assert await act(world, "retry-deliveries", filters) == (expected, expected)
    assert world.hooks.woken == 1
    statuses = {
        task: {item.status for item in await world.store.list_deliveries(task)}
        for tasks in made.values()
        for task in tasks
    }
    assert {task for task, found in statuses.items() if DeliveryStatus.PENDING in found} == set(chosen)
    assert await act(world, "retry-deliveries", {"provider": "suno"}) == (2 * failed - expected,) * 2


@pytest.mark.parametrize(
    ("body", "where", "text"),
    [
        ({"action": "resubmit", "filter": {"route": "x"}}, ["action"], "each task would be paid again"),
        ({"action": "delete", "filter": {"route": "x"}}, ["action"], "'poll', 'cancel' or 'retry-deliveries'"),
        ({"filter": {"route": "x"}}, ["action"], "is required"),
        ({"action": "cancel"}, ["filter"], "is required"),
        ({"action": "cancel", "filter": {}}, ["filter"], 'is empty: name at least one filter; {"since": "1970-01-01"}'),
        ({"action": "cancel", "filter": {"rout": "x"}}, ["filter", "rout"], "did you mean route?"),
        ({"action": "cancel", "filter": {"limit": "1"}}, ["filter", "limit"], "is unknown"),
        ({"action": "cancel", "filter": {"status": "DONE"}}, ["filter", "status"], "must be one of PENDING"),
        ({"action": "cancel", "filter": {"status": 1}}, ["filter", "status"], "string"),
        ({"action": "cancel", "filter": {"route": "suno.genrate"}}, ["filter", "route"], "did you mean suno.generate"),
        (
            {"action": "cancel", "filter": {"account": "x"}},
            ["filter", "account"],
            "no such account: x; known are default",
        ),
        ({"action": "cancel", "filter": {"q": "x"}, "dry_run": 1}, ["dry_run"], "boolean"),
        ({"action": "cancel", "filter": {"q": "x"}, "all": True}, ["all"], "known are action, filter, dry_run"),
    ],
    ids=str,
)
async def test_a_wrong_action_is_refused(world: ServerWorld, body: Json, where: list[str], text: str) -> None:
    """Nothing is done; the message names the field and the fix."""
    task_id = await world.make_task()
    problem = await refused(world, body)
    assert locs(problem) == [where]
    assert text in problem["errors"][0]["msg"]
    assert (await world.get(task_id)).task.status is Status.PENDING


async def test_few_writes_wait_at_once(world: ServerWorld) -> None:
    """However many tasks match, a callback that comes meanwhile waits for few of them."""
    for n in range(3 * AT_ONCE):
        await world.make_task(external_id=f"up-{n}")
    most = 0

    async def look() -> None:
        nonlocal most
        while True:
            most = max(most, world.store.writer_progress.waiting)
            await asyncio.sleep(0)

    looking = asyncio.ensure_future(look())
    assert await act(world, "cancel", {"status": "PENDING"}) == (3 * AT_ONCE, 3 * AT_ONCE)
    looking.cancel()
    assert 1 < most <= AT_ONCE


async def test_an_action_ends_with_the_daemon(world: ServerWorld) -> None:
    """503 with what is done; the same call does the rest later."""
    await fill(world)
    world.services.stopping.set()
    problem = await refused(world, {"action": "cancel", "filter": {"status": "PENDING"}}, 503)
    assert "0 are done. Send the same call later" in problem["detail"]
    world.services.stopping.clear()
    assert await act(world, "cancel", {"status": "PENDING"}) == (3, 3)


async def test_the_history_names_the_token(tmp_path: Path) -> None:
    """Of each task that was canceled."""
    async with ServerWorld(tmp_path, tokens=[OPS]) as world:
        task_id = await world.make_task()
        body = {"action": "cancel", "filter": {"status": "PENDING"}}
        headers = {"Authorization": f"Bearer {OPS.value}"}
        async with world.client.post("/v1/tasks/actions", json=body, headers=headers) as response:
            assert await response.json() == {"matched": 1, "done": 1}
        assert "(token ops)" in (await world.store.list_events(task_id))[-1].detail
