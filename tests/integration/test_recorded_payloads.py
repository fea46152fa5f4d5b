"""Every recorded payload reaches the running daemon over HTTP, as in production.

One daemon for all payloads, built as ``serve`` builds it, and one test upstream. Each payload has its own task,
account and port: the upstream replies on that port with exactly the payload's status, headers and body, and pauses and
circuit breakers of one payload do not affect another. The wall clock is frozen, so that each task is polled once and
times can be compared exactly.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from tests.kits.clock import RunningClock
from tests.kits.payloads import DECLARED, PAYLOADS, STAND_INS, Payload, list_payloads, routes_of
from tracker.config import load_config
from tracker.daemon.app import Tracker
from tracker.domain.tokens import CallbackTokens
from tracker.providers.reading.requests import find_field
from tracker.providers.registry import Registry
from tracker.providers.route import Route

Json = Any

REGISTRY = Registry()
PATIENCE_S = 30.0
INTERVAL_S = 2.0
"""Between polls; what an upstream asks for in the payloads is longer."""
STRETCHED_S = {"unauthorized": 10 * INTERVAL_S}
"""A trouble that slows polls down on its own."""
JITTER = 1.1
SENT_TO = "https://tracker.example.com"


@dataclass
class Case:
    """One payload on one route, and its results.

    Attributes:
        asked: method and path of each request that the upstream got.
        callback_url: the callback URL that the upstream got.
        answered: status and body of the answer to the callback.
        task: the task in the end, as the API shows it.
        readings: of each event of the payload's channel, oldest first.
    """

    payload: Payload
    route: Route
    port: int = 0
    asked: list[str] = field(default_factory=list)
    callback_url: str | None = None
    answered: tuple[int, Json] = (0, None)
    task: Json = None
    readings: list[Json] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its unique name."""
        return f"{self.payload.family}/{self.payload.case}-{self.route.name}"


def list_cases() -> list[Case]:
    """Each family's payload on every route that reads it; the gateway's own errors on one route of each provider."""
    cases = [
        Case(payload, route)
        for payload in list_payloads(*STAND_INS)
        if payload.content.get("signature", {}).get("valid") is not False  # forged ones have their own test
        for route in routes_of(payload, REGISTRY)
    ]
    for provider in REGISTRY.providers():
        routes = [route for route in REGISTRY.routes() if route.provider == provider.name]
        for payload in list_payloads("gateway_errors"):
            fitting = [route for route in routes if payload.channel == "create" or route.query is not None]
            cases += [Case(payload, route) for route in fitting[:1]]
    return cases


@asynccontextmanager
async def upstream(cases: list[Case]) -> AsyncIterator[None]:
    """Answer each case on a port of its own."""
    by_port: dict[int, Case] = {}

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        case = by_port[request.transport.get_extra_info("sockname")[1]]
        if request.path.endswith("/v1/models"):
            return web.Response(status=404)  # the daemon also requests a list of models
        case.asked.append(f"{request.method} {request.path}")
        content = case.payload.content
        expected = "GET" if case.payload.channel == "poll" else "POST"
        if case.payload.channel != "callback" and request.method == expected:
            return web.Response(status=content["http_status"], headers=content["headers"], body=case.payload.raw)
        if request.method == "POST" and case.route.callback_field is not None:
            case.callback_url = find_field(await request.json(), tuple(case.route.callback_field.split(".")))
        return web.Response(status=502, text="<html>bad gateway</html>")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        for case in cases:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            case.port = runner.addresses[-1][1]
            by_port[case.port] = case
        yield
    finally:
        await runner.cleanup()


def write_config(directory: Path, cases: list[Case]) -> Path:
    """An account for each case, whose base URL leads to its port."""
    lines = [
        f'public_url = "{SENT_TO}"',
        '[server]\nlisten = "127.0.0.1:0"',
        f'[store]\npath = "{directory / "tracker.db"}"',
        f"[poll]\ntick_s = 0.05\nmin_interval_s = {INTERVAL_S}\nmax_interval_s = {INTERVAL_S}",
        "[archive]\nenabled = false",
        '[log]\nlevel = "error"',
    ]
    for n, case in enumerate(cases):
        lines.append(f'[accounts.c{n}]\nbase_url = "http://127.0.0.1:{case.port}"\napi_key_env = "KEY"')
    path = directory / "tracker.toml"
    path.write_text("\n".join(lines))
    return path


class Run:
    """Delivers all cases.

    Args:
        client: asks the daemon.
        tokens: makes the callback URL of a route whose request has none.
        database: the daemon's file.
    """

    def __init__(self, client: aiohttp.ClientSession, tokens: CallbackTokens, database: Path) -> None:
        self._client = client
        self._tokens = tokens
        self._database = database

    async def bring_in(self, account: str, case: Case) -> None:
        """Deliver a payload by its channel."""
        match case.payload.channel:
            case "poll":
                await self._poll(account, case)
            case "create":
                case.task = await self._submit(account, case)
            case _:
                await self._call_back(account, case)
        case.readings = self._read(case)

    async def _poll(self, account: str, case: Case) -> None:
        task = await self._register(account, case, case.payload.content["expect"]["task_id"] or "known-before")
        async with asyncio.timeout(PATIENCE_S):
            while not task["polls"]:
                await asyncio.sleep(0.02)  # the sweep polls it; nothing signals a poll that changes no status
                task = await self._get(task["id"])
        case.task = task

    async def _submit(self, account: str, case: Case) -> Json:
        body = {"route": case.route.name, "request": case.route.sample, "account": account}
        return await self._post("/v1/tasks", body)

    async def _register(self, account: str, case: Case, external_id: str) -> Json:
        return await self._post("/v1/tasks", {"route": case.route.name, "external_id": external_id, "account": account})

    async def _call_back(self, account: str, case: Case) -> None:
        """The reply to the create is ambiguous: only the callback shows that there is a job, and its id.

        Where a request takes no callback URL such a create has failed for good: there the task is registered.
        """
        expected_id = case.payload.content["expect"]["task_id"]
        if case.route.callback_field is not None:
            task = await self._submit(account, case)
        else:
            task = await self._register(account, case, expected_id)
        token = self._tokens.make(case.route.name, task["id"])
        path = f"/callbacks/{case.route.provider}/{token}"
        if case.callback_url is not None:
            assert case.callback_url == SENT_TO + path
        headers = {"Content-Type": "application/json", **case.payload.content["headers"]}
        async with self._client.post(path, data=case.payload.raw, headers=headers) as response:
            case.answered = response.status, await response.json(content_type=None)
        case.task = await self._get(task["id"])

    async def _post(self, path: str, body: Json) -> Json:
        async with self._client.post(path, json=body) as response:
            answer = await response.json(content_type=None)
            assert response.status == 201, (body, answer)
            return answer

    async def _get(self, task_id: str) -> Json:
        async with self._client.get(f"/v1/tasks/{task_id}") as response:
            assert response.status == 200
            return await response.json()

    def _read(self, case: Case) -> list[Json]:
        source = {"create": "submit", "poll": "poll", "callback": "callback"}[case.payload.channel]
        connection = sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)
        try:
            sql = "SELECT reading FROM events WHERE task_id = ? AND source = ? ORDER BY seq"
            return [orjson.loads(reading) for (reading,) in connection.execute(sql, (case.task["id"], source))]
        finally:
            connection.close()


async def bring_all_in(directory: Path, cases: list[Case]) -> datetime:
    """Run the daemon until every payload was delivered; returns the time of its clock."""
    clock = RunningClock(datetime.now(UTC))
    async with upstream(cases):
        config = load_config(write_config(directory, cases), {"KEY": "sk-payloads"})
        tracker = Tracker(config, {}, clock)
        await tracker.start()
        try:
            tokens = CallbackTokens(config.callback_secret())
            connector = aiohttp.TCPConnector(limit=16)
            async with aiohttp.ClientSession(base_url=tracker.url, connector=connector) as client:
                run = Run(client, tokens, config.store_path)
                async with asyncio.TaskGroup() as group:
                    for n, case in enumerate(cases):
                        group.create_task(run.bring_in(f"c{n}", case))
        finally:
            await tracker.stop()
    return clock.now()


CASES = list_cases()


@dataclass(frozen=True, slots=True)
class Done:
    """All cases, done, and the time of the clock."""

    cases: dict[str, Case]
    now: datetime


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Every payload, delivered once for all tests."""
    cases = list_cases()
    now = asyncio.run(bring_all_in(tmp_path_factory.mktemp("payloads"), cases))
    return Done({case.name: case for case in cases}, now)


def is_refused(case: Case) -> bool:
    """Whether a callback is not a JSON object."""
    return case.payload.channel == "callback" and not isinstance(case.payload.content.get("body"), dict)


@pytest.mark.parametrize("name", [case.name for case in CASES if not is_refused(case)])
def test_a_payload_has_the_expected_effect(done: Done, name: str) -> None:
    """Status, id, outputs, error and wait of the task are those of the payload's ``expect``."""
    case = done.cases[name]
    payload, task, expect = case.payload, case.task, case.payload.content["expect"]
    assert len(case.asked) >= 1, "the upstream got a request"
    assert payload.allows("status", task["status"]) or (task["status"] == "PENDING" and payload.allows("status", None))
    if payload.channel != "poll":
        assert payload.allows("task_id", task["external_id"])
    if payload.channel == "callback":
        assert case.answered[0] in {200, 202}, case.answered
    check_outputs(payload, task)
    check_error(case)
    reading = case.readings[-1] if case.readings else {}
    if "retryable" in expect:
        found = task["retryable"] if task["status"] == "FAILED" else reading["retryable"]
        assert found is expect["retryable"]
    check_wait(case, reading, done.now)


def check_outputs(payload: Payload, task: Json) -> None:
    """What the task has made."""
    expect, outputs = payload.content["expect"], task["outputs"]
    urls = [output["url"] for output in outputs if output["url"] is not None]
    if expect.get("urls_any_order"):
        urls = sorted(urls, key=expect["output_urls"].index)
    hidden = [output for output in outputs if output["url"] is None and "text" not in output]
    if "derived_output_path" in expect:
        assert (len(hidden), urls) == (1, []), "it needs the key: its URL is not shown"
        return
    assert payload.allows("output_urls", urls)
    assert sum("text" in output for output in outputs) == expect.get("output_texts", sum("text" in o for o in outputs))
    stated = [each["mime_type"] for each in expect.get("inline_outputs", [])]
    assert len(hidden) == len(stated)
    for output, mime in zip(hidden, stated, strict=True):
        # once it is saved, its content tells what the answer did not
        assert output["mime"] == mime or (mime is None and output["archived"])


def check_error(case: Case) -> None:
    """The upstream's error: of the task that FAILED, otherwise of the event of the trouble."""
    reading = case.readings[-1] if case.readings else {}
    error = (case.task["error"] if case.task["status"] == "FAILED" else reading.get("error")) or {}
    assert case.payload.allows("error_code", error.get("code"))
    assert case.payload.allows("error_message", error.get("message"))


def check_wait(case: Case, reading: Json, now: datetime) -> None:
    """The time of the next poll: not earlier than the upstream requested, else after the usual interval."""
    asked_for_s = case.payload.content["expect"].get("retry_after_s")
    next_poll_at = case.task["next_poll_at"]
    if case.payload.channel != "poll" or next_poll_at is None:
        assert asked_for_s is None
        return
    wait_s = (datetime.fromisoformat(next_poll_at) - now).total_seconds()
    if asked_for_s is not None:
        assert wait_s == asked_for_s
        return
    usual_s = STRETCHED_S.get(reading.get("trouble", ""), INTERVAL_S)
    assert usual_s / JITTER**2 <= wait_s <= usual_s * JITTER**2


@pytest.mark.parametrize("name", [case.name for case in CASES if is_refused(case)])
def test_an_unreadable_callback_is_refused_and_polled(done: Done, name: str) -> None:
    """A callback that cannot be read is 400 and changes nothing."""
    case = done.cases[name]
    assert case.answered[0] == 400, case.answered
    assert (case.task["status"], case.task["external_id"], case.readings) == ("PENDING", None, [])


def test_each_poll_and_create_was_sent_once(done: Done) -> None:
    """One request per payload, to the path of its route: only the payload was read."""
    for case in done.cases.values():
        if case.payload.channel == "callback":
            continue
        template = case.route.create if case.payload.channel == "create" else str(case.route.query)
        method, path = template.split(" ", 1)
        assert len(case.asked) == 1, (case.name, case.asked)
        (asked,) = case.asked
        assert asked.startswith(f"{method} {path.partition('{')[0]}"), (case.name, asked)


def test_every_callback_route_sends_its_callback_url(done: Done) -> None:
    """The upstream of a route with a callback field gets the task's own URL."""
    found = {case.route.name for case in done.cases.values() if case.callback_url is not None}
    called_back = [case.route for case in done.cases.values() if case.payload.channel == "callback"]
    assert found == {route.name for route in called_back if route.callback_field}


def test_every_route_and_family_has_a_case() -> None:
    """A route of ``tracker routes``, or a family of payloads, without a case here would not be tested."""
    assert {case.route.name for case in CASES} == {route.name for route in REGISTRY.routes()}
    families = {path.name for path in PAYLOADS.iterdir() if path.is_dir()} - {DECLARED.name}
    assert {case.payload.family for case in CASES} == families
