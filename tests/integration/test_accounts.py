"""Accounts in requests: each provider's own header, each task with the key and the address of its account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from aiohttp import web

from tests.kits.daemon import KEY_ENV, NEVER_POLLS, Setting, account, running_daemon
from tests.kits.http_server import serving
from tests.kits.route_requests import Json, request_of
from tests.kits.waiting import until
from tracker.providers.registry import Registry
from tracker.sandbox import DEFAULT_KEY, Sandbox

ROUTES = {route.name: route for route in Registry().routes()}
BY_X_API_KEY = {"anthropic.messages", "anthropic.count-tokens"}
NAMES = ("red", "blue")


@dataclass
class RecordingUpstream:
    """Records requests; answers 502 unless a test set another answer.

    Attributes:
        requests: method and path -> headers, of each request but those for lists of models.
        bodies: JSON of the creates.
        answers: path, with or without a placeholder for the id -> HTTP status and JSON.
        lists: number of requests for a list of models.
    """

    url: str = ""
    answers: dict[str, tuple[int, Json]] = field(default_factory=dict)
    requests: dict[str, Mapping[str, str]] = field(default_factory=dict)
    bodies: list[Json] = field(default_factory=list)
    lists: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        """Record and answer a request."""
        if request.path.endswith("/v1/models"):
            self.lists += 1
        else:
            self.requests[f"{request.method} {request.path}"] = request.headers.copy()
        if request.method == "POST":
            self.bodies.append(await request.json())
        for path, (status, body) in self.answers.items():
            if request.path.startswith(path.partition("{")[0]):
                return web.json_response(body, status=status)
        return web.Response(status=502, text="<html>bad gateway</html>")


@asynccontextmanager
async def listening() -> AsyncIterator[RecordingUpstream]:
    """The listener on loopback."""
    upstream = RecordingUpstream()
    async with serving(upstream.handle) as upstream.url:
        yield upstream


@pytest.mark.parametrize("name", ROUTES)
async def test_every_route_sends_the_key_in_its_familys_header(tmp_path: Path, name: str) -> None:
    """Bearer, but ``x-api-key`` and a version for Anthropic; never both, in creates and in polls."""
    route = ROUTES[name]
    async with (
        listening() as upstream,
        running_daemon(tmp_path, Setting(gateway=upstream.url, poll=NEVER_POLLS)) as api,
    ):
        await api.submit(name, request_of(name, "a kite"))
        if route.query is not None:
            status, task = await api.call("POST", "/v1/tasks", {"route": name, "external_id": "up-1"})
            assert status == 201
            assert (await api.call("POST", f"/v1/tasks/{task['id']}/poll"))[0] == 200
    assert len(upstream.requests) == (1 if route.query is None else 2), upstream.requests
    for headers in upstream.requests.values():
        if name in BY_X_API_KEY:
            assert headers["x-api-key"] == DEFAULT_KEY
            assert headers["anthropic-version"]
            assert "Authorization" not in headers
        else:
            assert headers["Authorization"] == f"Bearer {DEFAULT_KEY}"
            assert "x-api-key" not in headers


async def test_a_task_is_polled_with_the_account_that_made_it(tmp_path: Path) -> None:
    """Two gateways with a key each: every task ends, and no request reached the other one or had the other key."""
    async with AsyncExitStack() as stack:
        gateways = {
            name: await stack.enter_async_context(Sandbox(key=f"key-of-{name}", duration_s=0.2, seed=seed))
            for seed, name in enumerate(NAMES)
        }
        tables = [account(name, gateway.base_url, f"{name.upper()}_KEY") for name, gateway in gateways.items()]
        setting = Setting(
            tables="\n".join(tables),
            is_called_back=False,
            env={f"{name.upper()}_KEY": f"key-of-{name}" for name in NAMES},
        )
        api = await stack.enter_async_context(running_daemon(tmp_path, setting))
        status, problem = await api.call(
            "POST", "/v1/tasks", {"route": "kling.image", "request": request_of("kling.image", "a")}
        )
        assert (status, problem["errors"][0]["loc"]) == (422, ["account"]), "the user must name one"
        routes = ["kling.omni-video", "dashscope.video", "suno.generate", "openai.responses", "anthropic.messages"]
        cases = [(name, route) for name in NAMES for route in routes]
        tasks = await asyncio.gather(
            *(api.submit(route, request_of(route, f"for {name}"), account=name) for name, route in cases)
        )
        ended = await asyncio.gather(*(api.end_of(task) for task in tasks))
        assert [(task["account"], task["route"], task["status"]) for task in ended] == [
            (name, route, "SUCCEEDED") for name, route in cases
        ]
        for name, gateway in gateways.items():
            creates = gateway.state()["creates"]
            assert sorted(create["route"] for create in creates) == sorted(routes)
            assert {create["outcome"] for create in creates} == {"accepted"}
            mine = {task["external_id"] for task in ended if task["account"] == name and ROUTES[task["route"]].query}
            jobs = gateway.state()["jobs"]
            assert {job["id"] for job in jobs} == mine
            assert all(job["polls"] >= 1 for job in jobs)
            assert sum(gateway.state()["polls"].values()) == sum(job["polls"] for job in jobs), "another id"


async def test_a_rejected_key_is_reported(tmp_path: Path) -> None:
    """The create fails for the right reason; a poll changes nothing, and ``why`` names the account."""
    async with Sandbox(key="another key") as sandbox:
        setting = Setting(gateway=sandbox.base_url, poll=NEVER_POLLS)
        async with running_daemon(tmp_path, setting) as api:
            task = await api.submit("kling.image", request_of("kling.image", "a kite"))
            assert (task["status"], task["reason"], task["retryable"]) == ("FAILED", "auth_failed", False)
            _, task = await api.call("POST", "/v1/tasks", {"route": "kling.image", "external_id": "up-1"})
            await api.call("POST", f"/v1/tasks/{task['id']}/poll")
            why = await api.get(f"/v1/tasks/{task['id']}/why")
    assert why["status"] == "PENDING"
    assert any("has rejected the key of account default" in note for note in why["notes"]), why["notes"]


async def test_a_key_that_an_upstream_quotes_is_never_stored(tmp_path: Path) -> None:
    """From a create, a poll or a callback: it is in no API response, not in the database, and not in hook events."""
    key = "no-real-key-4711"
    words = f"Incorrect API key provided: {key}"
    heard_by_hook, script = tmp_path / "heard", tmp_path / "hook"
    script.write_text(f'#!/bin/sh\ncat >> "{heard_by_hook}"\nenv >> "{heard_by_hook}"\necho "printed {key}"\n')
    script.chmod(0o755)
    setting = Setting(
        poll=NEVER_POLLS,
        tables=f'[[hooks]]\nname = "told"\non = ["task.finished"]\nrun = ["{script}"]\n',
        env={KEY_ENV: key},
    )
    async with listening() as upstream, running_daemon(tmp_path, replace(setting, gateway=upstream.url)) as api:
        upstream.answers["/"] = (401, {"code": 1004, "message": words})
        refused = await api.submit("kling.image", request_of("kling.image", "a kite"))
        assert refused["error"]["message"] == "Incorrect API key provided: [redacted]"
        _, polled = await api.call("POST", "/v1/tasks", {"route": "kling.omni-video", "external_id": "up-1"})
        await api.call("POST", f"/v1/tasks/{polled['id']}/poll")
        upstream.answers["/"] = (200, {"code": 0, "data": {"task_id": "up-2", "task_status": "submitted"}})
        called = await api.submit("kling.omni-video", request_of("kling.omni-video", "a kite"))
        callback = str(upstream.bodies[-1]["callback_url"])
        for status in (f"waiting for {key}", "failed"):
            update = {"task_id": "up-2", "task_status": status, "task_status_msg": words}
            assert (await api.call("POST", callback.removeprefix(setting.url), update))[0] in {200, 202}
        delivered = f"/v1/tasks/{called['id']}/deliveries"

        async def has_run() -> bool:
            return {item["status"] for item in (await api.get(delivered))["items"]} == {"succeeded"}

        await until(has_run)
        reported = [await api.get(delivered)]
        for task in (refused, polled, called):
            reported += [await api.get(f"/v1/tasks/{task['id']}{what}") for what in ("", "/events", "/why")]
        stored = b"".join(file.read_bytes() for file in tmp_path.glob("tracker.db*"))
    assert called["id"] in heard_by_hook.read_text()
    assert "printed [redacted]" in str(reported)
    for place in (str(reported), stored.decode(errors="replace"), heard_by_hook.read_text()):
        assert "[redacted]" in place
        assert key not in place
