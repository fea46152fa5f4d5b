"""``tracker demo``: the tracker's main job on one machine, without a key and without a network.

It runs `SCENARIOS` against the embedded sandbox gateway with a real daemon and a real hook script, shows their progress
and checks how each ended. With ``--once`` the check decides the exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from tracker.demo.environment import Environment, start_environment
from tracker.demo.scenarios import FIRST, SCENARIOS, Scenario
from tracker.demo.screen import Screen
from tracker.domain.costs import add_up, cost_from
from tracker.domain.durations import LEAST_SAMPLES
from tracker.systemd import protect_memory

Json = Any
WITHIN_S = 50.0
"""The tasks take about 10 s; a machine that needs longer than this fails the check."""
LOOK_S = 0.2
_QUERY = "select id, route, status, reason from v_tasks"


def run(*, once: bool, directory: Path | None) -> int:
    """Run the demo.

    Args:
        once: exit when every task has ended, instead of staying up.
        directory: the directory for its files; None: a temporary one that is removed.

    Returns:
        The exit code: 0 if every task ended as expected, 130 if the demo was stopped before that.

    Raises:
        ConfigError: the directory cannot hold its files.
        StoreUnusable: the same, or another demo uses it.
        OSError: the same.
    """
    keeps_files = directory is not None
    protect_memory()
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tracker-demo-")))
        directory = directory.absolute()
        directory.mkdir(parents=True, exist_ok=True)
        return asyncio.run(_play(directory, once=once, keeps_files=keeps_files))


async def _play(directory: Path, *, once: bool, keeps_files: bool) -> int:
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked_to_stop.set)
    async with start_environment(directory) as environment, aiohttp.ClientSession(environment.url) as client:
        screen = Screen(SCENARIOS)
        screen.console.print(
            f"The sandbox gateway plays the upstream at {environment.sandbox.base_url}; "
            f"the daemon listens on {environment.url}.\n"
            f"See the tasks in a browser: {environment.url}/\n"
            f"Its files are in {directory}: tracker.toml, tracker.db, outputs/, hooks.d/ and hooks.log.\n",
            soft_wrap=True,
        )
        await _teach(client, environment, screen, asked_to_stop)
        with screen:
            ids = await _submit_all(client)
            tasks = await _watch(client, environment, screen, ids, asked_to_stop)
        if asked_to_stop.is_set():
            screen.console.print("\nstopped before all tasks ended; nothing was checked")
            return 130  # as a program ends that Ctrl-C stopped
        problems = await _check(client, environment, tasks)
        _report(screen, environment, tasks, problems, keeps_files=keeps_files, stays=not once)
        if not once and not asked_to_stop.is_set():
            screen.console.print(_look_around(environment, tasks), soft_wrap=True)
            await asked_to_stop.wait()
    return 1 if problems else 0


async def _teach(
    client: aiohttp.ClientSession, environment: Environment, screen: Screen, asked_to_stop: asyncio.Event
) -> None:
    """Let the daemon learn how long one route takes, unless an earlier demo in this directory has done so."""
    missing = LEAST_SAMPLES - environment.durations().samples(FIRST.route)
    if missing <= 0:
        return
    screen.console.print(f"First {missing} pictures of {FIRST.route}: how long they take is learned from them.\n")
    await asyncio.gather(*(_submit(client, FIRST) for _ in range(missing)))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WITHIN_S):
            while environment.durations().samples(FIRST.route) < LEAST_SAMPLES and not asked_to_stop.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asked_to_stop.wait(), LOOK_S)


async def _submit(client: aiohttp.ClientSession, scenario: Scenario) -> str:
    """Submit a scenario; return the task's id."""
    order = {"route": scenario.route, "request": scenario.request, "labels": {"scenario": scenario.name}}
    async with client.post("/v1/tasks", json=order, headers={"Prefer": "respond-async"}) as answer:
        answer.raise_for_status()
        return str((await answer.json())["id"])


async def _submit_all(client: aiohttp.ClientSession) -> dict[str, str]:
    """Submit every scenario at once; return task ids by name."""
    ids = await asyncio.gather(*(_submit(client, scenario) for scenario in SCENARIOS))
    return {scenario.name: task_id for scenario, task_id in zip(SCENARIOS, ids, strict=True)}


async def _watch(
    client: aiohttp.ClientSession,
    environment: Environment,
    screen: Screen,
    ids: Mapping[str, str],
    asked_to_stop: asyncio.Event,
) -> dict[str, Json]:
    """Show the tasks until all have ended and their hooks have run, or the time limit is reached."""
    tasks: dict[str, Json] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WITHIN_S):
            while not asked_to_stop.is_set():
                tasks = {name: await _get(client, f"/v1/tasks/{task_id}") for name, task_id in ids.items()}
                runs = environment.hook_runs()
                screen.show(tasks, runs)
                if all(task["finished_at"] and runs[task["id"]] and _is_archived(task) for task in tasks.values()):
                    break
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asked_to_stop.wait(), LOOK_S)
    return tasks


def _is_archived(task: Json) -> bool:
    """Tell whether every output file of a task is archived."""
    return all(output["archived"] for output in _files(task))


def _files(task: Json) -> list[Json]:
    """Return the outputs that are files; a text needs no archive."""
    return [output for output in task["outputs"] if output["kind"] != "text"]


async def _check(client: aiohttp.ClientSession, environment: Environment, tasks: Mapping[str, Json]) -> list[str]:
    """Compare the end of every task with its scenario; return one line per difference."""
    problems: list[str] = []
    runs = environment.hook_runs()
    creates = Counter(create["prompt"] for create in environment.sandbox.state()["creates"])
    for scenario in SCENARIOS:
        task = tasks[scenario.name]
        events = (await _get(client, f"/v1/tasks/{task['id']}/events"))["items"]
        found: dict[str, tuple[object, object]] = {
            "status": (task["status"], scenario.status),
            "reason": (task["reason"], scenario.reason),
            "hook runs": (runs[task["id"]], 1),
            "files archived": (sum(output["archived"] for output in _files(task)), len(_files(task))),
            "creates at the gateway": (creates[scenario.prompt], scenario.creates),
        }
        ends = [event["source"] for event in events if event["from"] != event["to"] == task["status"]]
        if scenario.ended_by is not None:
            found["ended by"] = (ends[-1] if ends else None, scenario.ended_by)
        repeated = sum(event["outcome"] == "duplicate" for event in events)
        if repeated < scenario.duplicates:
            found["duplicates recognised"] = (repeated, scenario.duplicates)
        if scenario.early:
            sources = [event["source"] for event in events]
            found["first reported by"] = (sources[0], "callback")
        problems += [
            f"{scenario.name}: {what} is {seen!r}, must be {wanted!r}"
            for what, (seen, wanted) in found.items()
            if seen != wanted
        ]
    return problems


async def _get(client: aiohttp.ClientSession, path: str) -> Json:
    async with client.get(path) as answer:
        answer.raise_for_status()
        return await answer.json()


def _report(
    screen: Screen,
    environment: Environment,
    tasks: Mapping[str, Json],
    problems: list[str],
    *,
    keeps_files: bool,
    stays: bool,
) -> None:
    screen.console.print()
    for problem in problems:
        screen.console.print(problem, soft_wrap=True)
    prompts = {scenario.prompt for scenario in SCENARIOS}
    count = sum(create["prompt"] in prompts for create in environment.sandbox.state()["creates"])
    if not problems:
        screen.console.print(
            f"{len(SCENARIOS)} tasks ended as expected: each paid once ({count} creates, one of them refused and sent "
            "again), each hook run once.",
            soft_wrap=True,
        )
    if costs := add_up(cost_from(task["cost"]) for task in tasks.values()):
        spent = " and ".join(cost.described() for cost in costs)
        screen.console.print(f"They cost {spent}: as the upstream reports it, else by the price list.", soft_wrap=True)
    durations = environment.durations()
    screen.console.print("How long tasks take is learned from those that succeed:")
    for route in dict.fromkeys(scenario.route for scenario in SCENARIOS):
        if durations.samples(route):
            screen.console.print(f"  {route:18} {durations.describe(route)}", soft_wrap=True)
    if not (keeps_files or stays):
        screen.console.print("The output files are removed now; --dir DIRECTORY keeps them.", soft_wrap=True)
        return
    where = f"{environment.directory}/outputs"
    screen.console.print(
        f"The output files are in {where}:"
        if keeps_files
        else f"The output files are in {where} until the demo stops; --dir DIRECTORY keeps them:",
        soft_wrap=True,
    )
    for name, task in tasks.items():
        for output in task["outputs"]:
            if output["archived"]:
                screen.console.print(f"  {name:13} {output['path']} ({output['bytes']} bytes)", soft_wrap=True)


def _look_around(environment: Environment, tasks: Mapping[str, Json]) -> str:
    some_id = tasks["clip-lost"]["id"]
    return (
        "\nThe demo stays up until Ctrl-C. In another terminal:\n"
        f"  export TRACKER_URL={environment.url}\n"
        "  tracker list\n"
        "  tracker report --by route,reason\n"
        f"  tracker why {some_id}\n"
        '  tracker submit kling.omni-video -d \'{"model_name": "kling-v3-omni", "prompt": "a kite"}\' --wait\n'
        f"  sqlite3 {environment.directory}/tracker.db '{_QUERY}'\n"
        f"  cat {environment.directory}/hooks.log"
    )
