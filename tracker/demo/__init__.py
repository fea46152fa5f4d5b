"""``tracker demo``: the whole main job on one machine, without a key and without a network.

It plays `STORIES` against the embedded sandbox gateway with a real daemon and a real hook script, shows how they
come along, and checks that each ended as it must. With ``--once`` the check decides the exit code.
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

from tracker.demo.screen import Screen
from tracker.demo.stage import Stage, set_stage
from tracker.demo.stories import STORIES, Story, prompt_of
from tracker.systemd import protect_memory

Json = Any
WITHIN_S = 50.0
"""The stories take about 10 s; a machine that needs longer than this has failed."""
LOOK_S = 0.2
_QUERY = "select id, route, status, reason from v_tasks"


def run(*, once: bool, directory: Path | None) -> int:
    """Play the demo.

    Args:
        once: end when every task has ended, instead of staying up for a look around.
        directory: where its files are kept; None: a temporary one that is removed.

    Returns:
        The exit code: 0 when every task ended as it must, 130 when it was stopped before that.

    Raises:
        ConfigError: the directory is no place for its files.
        StoreUnusable: the same, or another demo is at work there.
        OSError: the same.
    """
    is_kept = directory is not None
    protect_memory()
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tracker-demo-")))
        directory = directory.absolute()
        directory.mkdir(parents=True, exist_ok=True)
        return asyncio.run(_play(directory, once=once, is_kept=is_kept))


async def _play(directory: Path, *, once: bool, is_kept: bool) -> int:
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked_to_stop.set)
    async with set_stage(directory) as stage, aiohttp.ClientSession(stage.url) as client:
        screen = Screen(STORIES)
        screen.console.print(
            f"The sandbox gateway plays the upstream at {stage.sandbox.base_url}; the daemon listens on {stage.url}.\n"
            f"Its files are in {directory}: tracker.toml, tracker.db, outputs/, hooks.d/ and hooks.log.\n",
            soft_wrap=True,
        )
        with screen:
            ids = await _submit_all(client)
            tasks = await _watch(client, stage, screen, ids, asked_to_stop)
        if asked_to_stop.is_set():
            screen.console.print("\nstopped; nothing was checked, for not all tasks had ended")
            return 130  # as a program ends that Ctrl-C stopped
        problems = await _check(client, stage, tasks)
        _report(screen, stage, tasks, problems, is_kept=is_kept, stays=not once)
        if not once and not asked_to_stop.is_set():
            screen.console.print(_look_around(stage, tasks), soft_wrap=True)
            await asked_to_stop.wait()
    return 1 if problems else 0


async def _submit_all(client: aiohttp.ClientSession) -> dict[str, str]:
    """Submit every story at once; task ids by story."""

    async def submit(story: Story) -> tuple[str, str]:
        order = {"route": story.route, "request": story.request, "labels": {"story": story.name}}
        async with client.post("/v1/tasks", json=order, headers={"Prefer": "respond-async"}) as answer:
            answer.raise_for_status()
            return story.name, (await answer.json())["id"]

    return dict(await asyncio.gather(*map(submit, STORIES)))


async def _watch(
    client: aiohttp.ClientSession, stage: Stage, screen: Screen, ids: Mapping[str, str], asked_to_stop: asyncio.Event
) -> dict[str, Json]:
    """Show the tasks until all have ended and their hooks have run, or time is up."""
    tasks: dict[str, Json] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WITHIN_S):
            while not asked_to_stop.is_set():
                tasks = {name: await _get(client, f"/v1/tasks/{task_id}") for name, task_id in ids.items()}
                runs = stage.hook_runs()
                screen.show(tasks, runs)
                if all(task["finished_at"] and runs[task["id"]] and _is_safe(task) for task in tasks.values()):
                    break
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asked_to_stop.wait(), LOOK_S)
    return tasks


def _is_safe(task: Json) -> bool:
    """Whether every file that a task made is archived."""
    return all(output["archived"] for output in _files(task))


def _files(task: Json) -> list[Json]:
    """The outputs that are files; a text needs no archive."""
    return [output for output in task["outputs"] if output["kind"] != "text"]


async def _check(client: aiohttp.ClientSession, stage: Stage, tasks: Mapping[str, Json]) -> list[str]:
    """Compare every ending with what its story says; one line per difference."""
    problems: list[str] = []
    runs = stage.hook_runs()
    creates = Counter(create["prompt"] for create in stage.sandbox.state()["creates"])
    for story in STORIES:
        task = tasks[story.name]
        events = (await _get(client, f"/v1/tasks/{task['id']}/events"))["items"]
        found: dict[str, tuple[object, object]] = {
            "status": (task["status"], story.status),
            "reason": (task["reason"], story.reason),
            "hook runs": (runs[task["id"]], 1),
            "files archived": (sum(output["archived"] for output in _files(task)), len(_files(task))),
            "creates at the gateway": (creates[prompt_of(story)], story.creates),
        }
        ends = [event["source"] for event in events if event["from"] != event["to"] == task["status"]]
        if story.told_by is not None:
            found["told by"] = (ends[-1] if ends else None, story.told_by)
        repeated = sum(event["outcome"] == "duplicate" for event in events)
        if repeated < story.duplicates:
            found["duplicates recognised"] = (repeated, story.duplicates)
        if story.early:
            sources = [event["source"] for event in events]
            found["told first by"] = (sources[0], "callback")
        problems += [
            f"{story.name}: {what} is {seen!r}, must be {wanted!r}"
            for what, (seen, wanted) in found.items()
            if seen != wanted
        ]
    return problems


async def _get(client: aiohttp.ClientSession, path: str) -> Json:
    async with client.get(path) as answer:
        answer.raise_for_status()
        return await answer.json()


def _report(
    screen: Screen, stage: Stage, tasks: Mapping[str, Json], problems: list[str], *, is_kept: bool, stays: bool
) -> None:
    screen.console.print()
    for problem in problems:
        screen.console.print(problem, soft_wrap=True)
    count = len(stage.sandbox.state()["creates"])
    if not problems:
        screen.console.print(
            f"{len(STORIES)} tasks ended as they must: each paid once ({count} creates, one of them refused and sent "
            "again), each hook run once.",
            soft_wrap=True,
        )
    if not (is_kept or stays):
        screen.console.print("Their files are removed now; --dir DIRECTORY keeps them.", soft_wrap=True)
        return
    where = f"{stage.directory}/outputs"
    screen.console.print(
        f"Their files are safe in {where}:"
        if is_kept
        else f"Their files are in {where}. They go with the demo; --dir DIRECTORY keeps them:",
        soft_wrap=True,
    )
    for name, task in tasks.items():
        for output in task["outputs"]:
            if output["archived"]:
                screen.console.print(f"  {name:13} {output['path']} ({output['bytes']} bytes)", soft_wrap=True)


def _look_around(stage: Stage, tasks: Mapping[str, Json]) -> str:
    some_id = tasks["clip-lost"]["id"]
    return (
        "\nIt stays up until Ctrl-C. In another terminal:\n"
        f"  export TRACKER_URL={stage.url}\n"
        "  tracker list\n"
        f"  tracker why {some_id}\n"
        '  tracker submit kling.omni-video -d \'{"model_name": "kling-v3-omni", "prompt": "a kite"}\' --wait\n'
        f"  sqlite3 {stage.directory}/tracker.db '{_QUERY}'\n"
        f"  cat {stage.directory}/hooks.log"
    )
