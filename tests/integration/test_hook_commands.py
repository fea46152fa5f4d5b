"""Hooks over the API and from the command line: health, lists, redrive, and the trial of a hook."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.kits.clock import RunningClock
from tests.kits.factories import make_observation, make_registration, make_task_name
from tests.kits.hook_endpoint import SECRET, Endpoint
from tests.kits.hooks import write_script
from tests.kits.server import ServerWorld, problem_of
from tests.kits.world import World
from tracker.cli.main import cli
from tracker.config import load_config
from tracker.daemon.app import Tracker
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.task import Status
from tracker.hooks.kinds.registry import hook_table
from tracker.store.values import AttemptResult


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ServerWorld]:
    """The surface with six deliveries of two hooks: two dead, one failed, three pending."""
    async with ServerWorld(tmp_path) as made:
        for n in range(3):
            task_id = await made.make_task(external_id=f"x-{n}")
            await made.end_task(task_id)
        await made.store.fan_out(lambda a: ["publish", "other"] if a.event == "task.succeeded" else [], 100)
        jobs = await made.store.claim_deliveries("publish", 3, 9)
        for job, status in zip(jobs, ("dead", "dead", "failed"), strict=True):
            await made.store.record_attempt(job.id, AttemptResult(DeliveryStatus(status), error="no"), job.attempt)
        yield made


async def get(world: ServerWorld, path: str) -> dict[str, object]:
    """The JSON of a GET."""
    async with world.client.get(path) as response:
        assert response.status == 200, await response.text()
        found: dict[str, object] = await response.json()
        return found


def woken(world: ServerWorld) -> int:
    """How often the dispatcher was woken."""
    return world.hooks.woken


async def test_hooks_are_listed_with_their_deliveries(world: ServerWorld) -> None:
    """Configured hooks with their health, and removed hooks that still have deliveries."""
    items = (await get(world, "/v1/hooks"))["items"]
    assert isinstance(items, list)
    assert [(item["name"], item["state"], item["deliveries"]["dead"]) for item in items] == [
        ("publish", "healthy", 2),
        ("other", "absent", 0),
    ]
    assert items[1]["deliveries"] == {"pending": 3, "running": 0, "succeeded": 0, "failed": 0, "dead": 0}


async def test_deliveries_are_listed_across_tasks(world: ServerWorld) -> None:
    """Newest first, filtered, page by page."""
    first = await get(world, "/v1/deliveries?limit=4")
    rest = await get(world, f"/v1/deliveries?limit=4&cursor={first['next_cursor']}")
    items = [*first["items"], *rest["items"]]  # type: ignore[misc]  # lists
    assert (len(items), rest["next_cursor"]) == (6, None)
    assert [item["seq"] for item in items] == sorted((item["seq"] for item in items), reverse=True)
    dead = await get(world, "/v1/deliveries?hook=publish&status=dead&since=2026-01-01")
    assert len(dead["items"]) == 2  # type: ignore[arg-type]  # a list
    assert (await get(world, "/v1/deliveries?since=2030-01-01"))["items"] == []
    async with world.client.get("/v1/deliveries?status=lost&hok=x") as response:
        problem = await problem_of(response, 422)
    assert [error["loc"] for error in problem["errors"]] == [["query", "status"], ["query", "hok"]]


@pytest.mark.parametrize("cursor", ["zzz", "", "-1", "dlv_1_0_publish", "9" * 19])
async def test_an_invalid_cursor_of_deliveries_is_refused(world: ServerWorld, cursor: str) -> None:
    """Otherwise it would return an empty page, like the last one."""
    async with world.client.get(f"/v1/deliveries?cursor={cursor}") as response:
        problem = await problem_of(response, 422)
    assert [error["loc"] for error in problem["errors"]] == [["query", "cursor"]]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("hook=publish", 3),
        ("hook=publish&status=dead", 2),
        ("status=failed", 1),
        ("hook=other", 0),
        ("since=2030-01-01", 0),
    ],
)
async def test_a_retry_selects_matching_deliveries(world: ServerWorld, query: str, count: int) -> None:
    """Failed and dead deliveries become pending with zero attempts, and the dispatcher wakes up."""
    async with world.client.post(f"/v1/deliveries/retry?{query}") as response:
        assert (response.status, await response.json()) == (200, {"retried": count})
    assert woken(world) == 1
    assert (await world.store.count_deliveries())["publish"].get("pending", 0) == count


async def test_a_retry_requires_a_filter(world: ServerWorld) -> None:
    """Without a filter the request is refused."""
    async with world.client.post("/v1/deliveries/retry") as response:
        problem = await problem_of(response, 422)
    assert "name at least one of hook, status, since" in problem["errors"][0]["msg"]
    assert woken(world) == 0


async def test_one_delivery_wakes_the_dispatcher(world: ServerWorld) -> None:
    """A retried delivery runs at once."""
    page = await get(world, "/v1/deliveries?status=dead")
    delivery_id = page["items"][0]["id"]  # type: ignore[index]  # a list of objects
    async with world.client.post(f"/v1/deliveries/{delivery_id}/retry") as response:
        assert (await response.json())["status"] == "pending"
    assert woken(world) == 1


# -- the command line ----------------------------------------------------------------------------------------


def invoke(*arguments: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(cli, arguments, env={"TRACKER_URL": None, "TRACKER_CONFIG": None})


def config_file(tmp_path: Path, hooks: str, listen: str = "127.0.0.1:9") -> Path:
    """A configuration with hooks, whose daemon does not run."""
    path = tmp_path / "tracker.toml"
    path.write_text(f'[server]\nlisten = "{listen}"\n[store]\npath = "tracker.db"\n{hooks}', encoding="utf-8")
    return path


def test_a_trial_runs_twice_and_compares(tmp_path: Path) -> None:
    """The hook gets the same event twice; a different result is reported."""
    same = write_script(tmp_path / "same", 'echo "$TRACKER_EVENT $TRACKER_LABEL_USER $TRACKER_DELIVERY_ID"')
    other = write_script(tmp_path / "other", f"echo x >> '{tmp_path}/runs'; wc -l < '{tmp_path}/runs'")
    path = config_file(
        tmp_path,
        f'[[hooks]]\nname = "same"\non = "task.failed"\nlabels = {{ user = "7" }}\nrun = "{same}"\n'
        f'[[hooks]]\nname = "other"\non = "task.*"\nrun = "{other}"\n',
    )
    first = invoke("hooks", "test", "same", "--config", str(path))
    assert first.exit_code == 0, first.output
    assert first.output.count("  task.failed 7 dlv_0_failed_same\n") == 2
    assert first.output.endswith("The second run gave the same result.\n")
    second = invoke("hooks", "test", "other", "--config", str(path), "--event", "task.running", "--json")
    found = json.loads(second.output)
    assert (found["event"], found["same_answer"], [run["output"] for run in found["runs"]]) == (
        "task.running",
        False,
        ["1\n", "2\n"],
    )


def test_a_trial_that_fails_exits_1(tmp_path: Path) -> None:
    """Either run can fail it; an unknown name or event is a usage error."""
    path = config_file(tmp_path, '[[hooks]]\nname = "bad"\non = "task.*"\nrun = ["/bin/sh", "-c", "exit 100"]\n')
    assert invoke("hooks", "test", "bad", "--config", str(path)).exit_code == 1
    assert invoke("hooks", "test", "bat", "--config", str(path)).exit_code == 2
    assert invoke("hooks", "test", "bad", "--event", "task.lost", "--config", str(path)).exit_code == 2


def test_a_trial_reports_a_retry(tmp_path: Path) -> None:
    """Its duration is not shown as the delay."""
    path = config_file(tmp_path, '[[hooks]]\nname = "bad"\non = "task.*"\nrun = ["/bin/sh", "-c", "exit 1"]\n')
    failed = invoke("hooks", "test", "bad", "--config", str(path))
    assert failed.exit_code == 1
    pattern = r"(?m)^run \d with task\.\w+: would be retried \(took \d+\.\d\d s\): .+"
    runs = re.findall(pattern, failed.output)
    assert len(runs) == 2, failed.output


def test_a_missing_secret_is_an_error(tmp_path: Path) -> None:
    """Exit 78, one line, with the fix."""
    path = config_file(
        tmp_path, '[[hooks]]\nname = "h"\non = "task.*"\nurl = "https://x.example/"\nsecret_env = "NO"\n'
    )
    result = invoke("hooks", "test", "h", "--config", str(path))
    assert result.exit_code == 78
    assert "hooks[h].secret_env: the secret is not set" in result.output
    checked = invoke("config", "check", "--config", str(path))
    assert checked.exit_code == 0, "it may be set for the daemon"
    assert "warning: hooks[h].secret_env: the secret is not set" in checked.output


async def test_lists_are_read_from_the_file(tmp_path: Path) -> None:
    """Without a daemon, deliveries and their counts are read from the file."""
    path = config_file(tmp_path, '[[hooks]]\nname = "publish"\non = "task.*"\nrun = "/bin/true"\n')
    async with World(tmp_path / "tracker.db", RunningClock()) as world:
        await world.finish()
        await world.store.fan_out(lambda _: ["publish"], 10)
    hooks = await asyncio.to_thread(invoke, "hooks", "list", "--config", str(path))
    assert hooks.exit_code == 0, hooks.output
    assert "publish  script  task.*  unknown" in hooks.output
    shown = await asyncio.to_thread(
        invoke, "deliveries", "list", "--config", str(path), "--status", "pending", "--hook", "publish"
    )
    (delivery_id,) = re.findall(r"dlv_[0-9a-f]{24}", shown.output)
    assert delivery_id
    refused = await asyncio.to_thread(invoke, "deliveries", "list", "--config", str(path), "--cursor", "zzz")
    assert refused.exit_code == 2


def test_a_retry_requires_ids_or_filters() -> None:
    """Exactly one of them."""
    assert invoke("deliveries", "retry").exit_code == 2
    assert invoke("deliveries", "retry", "dlv_1", "--hook", "h").exit_code == 2


# -- a real daemon ------------------------------------------------------------------------------------------


async def test_a_daemon_signs_lists_and_retries(tmp_path: Path) -> None:
    """Configured by file: an endpoint gets the end of a task, refuses it, and gets it again after a redrive."""
    endpoint = Endpoint(status=422, body=b"not like this")
    await endpoint.start()
    path = config_file(
        tmp_path,
        f'[[hooks]]\nname = "h"\non = "task.finished"\nurl = "{endpoint.url}"\nsecret_env = "S"\n'
        "allow_private_addresses = true\n[archive]\nenabled = false\n[accounts.default]\n"
        'base_url = "http://127.0.0.1:9"\n',
        "127.0.0.1:0",
    )
    env = {"S": SECRET, "HOME": str(tmp_path), "ANYINT_API_KEY": "sk-not-a-real-key"}
    tracker = Tracker(load_config(path, env, hook_table=hook_table), env)
    await tracker.start()
    try:
        store = tracker.store
        await store.create_task(make_registration())
        await tracker.reconciler.apply(make_observation(Status.SUCCEEDED, task_id=make_task_name(1)))
        tracker.dispatcher.wake()
        await endpoint.called()
        async with asyncio.timeout(10):
            while "failed" not in (await store.count_deliveries()).get("h", {}):  # noqa: ASYNC110 - rows
                await asyncio.sleep(0.005)
        listed = await asyncio.to_thread(invoke, "hooks", "list", "--url", tracker.url)
        assert "answered 422" in listed.output
        endpoint.status = 200
        retried = await asyncio.to_thread(invoke, "deliveries", "retry", "--hook", "h", "--url", tracker.url)
        assert retried.stdout == "1 delivery retried\n"  # the daemon of this process logs to standard error
        first, second = await endpoint.called(2)
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert first.body == second.body
    finally:
        await tracker.stop()
        await endpoint.close()
