"""An undocumented status never ends a task: it means running, is counted and explained; the deadline applies."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.integration.test_accounts import ROUTES, listening
from tests.kits.clock import RunningClock
from tests.kits.daemon import POLLS_AT_ONCE, ApiClient, Setting, ends_of, running_daemon
from tests.kits.payloads import STAND_INS, list_payloads, routes_of
from tests.kits.route_requests import Json, Song, request_of
from tests.kits.sandbox import find_job, list_played, pass_time
from tests.kits.waiting import until
from tracker.providers.registry import Registry
from tracker.sandbox import Sandbox

FOLLOWED = [name for name, route in ROUTES.items() if route.query is not None]
PLAYED = [route.name for route in list_played(Registry()) if route.query is not None]
DEADLINE_S = 3000.0
BOUNDED = {**POLLS_AT_ONCE, "deadline_s": DEADLINE_S, "not_found_grace_s": 1000.0}
UNKNOWN = "an error outside of the contract"
UNKNOWN_CODES: dict[str, tuple[int, Json]] = {
    route.provider: (payload.content["http_status"], payload.content["body"])
    for payload in list_payloads(*STAND_INS)
    if payload.case == "query_unknown_code"
    for route in routes_of(payload, Registry())
}
"""By provider: a recorded answer to a poll with a code that is in no table."""
USUAL = (400, {"error": {"code": "E9999", "message": UNKNOWN}})
"""The same of a provider without one."""


async def sentence_of(api: ApiClient, task: Json, text: str) -> str:
    """The sentence of ``why`` with this text, once there is one; the task has not ended then."""

    async def look() -> str | None:
        why = await api.get(f"/v1/tasks/{task['id']}/why")
        assert why["status"] in {"PENDING", "RUNNING"}, (task["route"], why)
        return next((line for line in (why["summary"], *why["notes"]) if text in line), None)

    return str(await until(look))


async def expires(api: ApiClient, task: Json) -> None:
    """The deadline has ended the task, with a message for the user."""
    ended = await api.end_of(task)
    assert (ended["status"], ended["reason"], ended["retryable"]) == ("FAILED", "expired", True), ended
    assert "not finished in time" in ended["user_message"]
    (end,) = ends_of(await api.events(ended))
    assert end["source"] in {"clock", "poll"}


async def test_an_unknown_status_is_still_running(tmp_path: Path) -> None:
    """On every route that is followed, and that the sandbox plays: named in ``why``, then expired."""
    clock = RunningClock()
    async with Sandbox() as sandbox:
        setting = Setting(gateway=sandbox.base_url, poll=BOUNDED, is_called_back=False)
        async with running_daemon(tmp_path, setting, clock=clock) as api:

            async def follow(name: str) -> Json:
                text = "a kite [sandbox: stage=strange; duration=10000]"
                task = await api.submit(name, request_of(name, text, Song("song-1", f"clip-{name}")))
                pass_time(sandbox, task["external_id"], 5000)  # half-way, with the strange status
                sentence = await sentence_of(api, task, "which its documents do not name")
                assert "The tracker counts it as running" in sentence
                return task

            tasks = await asyncio.gather(*map(follow, PLAYED))
            clock.advance(DEADLINE_S)
            await asyncio.gather(*(expires(api, task) for task in tasks))


async def test_an_unknown_code_does_not_end_a_task(tmp_path: Path) -> None:
    """A poll answer with an unknown code only changes the output of ``why``; the deadline applies."""
    clock = RunningClock()
    async with listening() as upstream:
        setting = Setting(gateway=upstream.url, poll=BOUNDED, is_called_back=False)
        upstream.answers = {
            f"{ROUTES[name].query}".partition(" ")[2]: UNKNOWN_CODES.get(ROUTES[name].provider, USUAL)
            for name in FOLLOWED
        }
        async with running_daemon(tmp_path, setting, clock=clock) as api:

            async def follow(name: str) -> Json:
                status, task = await api.call("POST", "/v1/tasks", {"route": name, "external_id": f"of-{name}"})
                assert status == 201
                await sentence_of(api, task, UNKNOWN)
                return task

            tasks = await asyncio.gather(*map(follow, FOLLOWED))
            clock.advance(DEADLINE_S)
            await asyncio.gather(*(expires(api, task) for task in tasks))


@pytest.mark.parametrize("name", ["kling.omni-video", "suno.generate"])
async def test_an_unknown_status_in_a_callback_does_not_end_a_task(tmp_path: Path, name: str) -> None:
    """A callback with an undocumented status is recorded, and the task continues to its end."""
    async with Sandbox() as sandbox:
        setting = Setting(gateway=sandbox.base_url)
        async with running_daemon(tmp_path, setting) as api:
            text = "a kite [sandbox: callback=lost; duration=1000]"
            task = await api.submit(name, request_of(name, text))
            path = str(find_job(sandbox, task["external_id"]).callback_url).removeprefix(setting.url)
            known = {"task_id": task["external_id"]}
            kling = {"task_status": "transcoding", **known}
            suno = {"code": 200, "data": {"callbackType": "mastering", "data": [], **known}}
            status, answer = await api.call("POST", path, kling if name.startswith("kling") else suno)
            assert status in {200, 202}, answer
            assert (await api.get(f"/v1/tasks/{task['id']}"))["status"] in {"PENDING", "RUNNING"}
            pass_time(sandbox, task["external_id"], 1000)
            assert (await api.end_of(task))["status"] == "SUCCEEDED"
