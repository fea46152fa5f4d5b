"""A request field that no document names: reported before it is paid for, on the command line and over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.kits.daemon import ApiClient, Setting, run_tracker, running_daemon
from tracker.cli.main import cli
from tracker.providers.registry import Registry
from tracker.providers.route import Route
from tracker.sandbox import Sandbox
from tracker.server.routes import route_detail

ROUTES = {route.name: route for route in Registry().routes()}
WRONG = {"model_name": "kling-v3", "prompt": "a kite", "duratoin": "10"}
MESSAGE = "no document of this route names this field; did you mean duration?"


@dataclass(frozen=True, slots=True)
class World:
    """A daemon in front of the sandbox."""

    api: ApiClient
    sandbox: Sandbox
    directory: Path
    journal: list[Mapping[str, Any]]

    @property
    def creates(self) -> int:
        """How many creates the sandbox got."""
        return len(self.sandbox.state()["creates"])

    async def submit(self, *, key: str | None = None, prefer: str | None = None) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON and headers of a submit with a misspelt field."""
        headers = {"Prefer": prefer} if prefer else {}
        body = {"route": "kling.text2video", "request": WRONG} | ({"idempotency_key": key} if key else {})
        async with self.api.session.post("/v1/tasks", json=body, headers=headers) as response:
            return response.status, await response.json(content_type=None), dict(response.headers)


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[World]:
    """Run both."""
    journal: list[Mapping[str, Any]] = []
    async with Sandbox() as sandbox:
        setting = Setting(gateway=sandbox.base_url, is_called_back=False, log='level = "warning"')
        async with running_daemon(directory, setting, journal=journal.append) as api:
            yield World(api, sandbox, directory, journal)


async def test_it_is_sent_with_a_warning(tmp_path: Path) -> None:
    """The upstream decides: 201, and the header, the log and ``why`` name the field."""
    async with running(tmp_path) as world:
        status, task, headers = await world.submit()
        assert (status, world.creates) == (201, 1)
        assert json.loads(headers["Tracker-Warnings"]) == [{"loc": ["request", "duratoin"], "msg": MESSAGE}]
        (entry,) = [entry for entry in world.journal if entry["event"] == "submit.fields_unknown"]
        assert (entry["task"], entry["route"], entry["fields"]) == (task["id"], "kling.text2video", ["duratoin"])
        why = await world.api.get(f"/v1/tasks/{task['id']}/why")
        assert f"Field duratoin of the request: {MESSAGE}" in why["notes"]
        right = await world.api.submit("kling.text2video", {"model_name": "kling-v3", "prompt": "a kite"})
        why = await world.api.get(f"/v1/tasks/{right['id']}/why")
        assert not [note for note in why["notes"] if "no document" in note]


async def test_a_strict_request_is_refused(tmp_path: Path) -> None:
    """422 of a kind of its own, and nothing is recorded or sent; a known key is answered as ever."""
    async with running(tmp_path) as world:
        for prefer in ("handling=strict", 'respond-async, Handling = "strict"'):
            status, problem, _ = await world.submit(key="k", prefer=prefer)
            assert (status, problem["type"]) == (422, "urn:tracker:problem:unknown-fields")
            assert problem["errors"] == [{"loc": ["request", "duratoin"], "msg": MESSAGE}]
        assert (world.creates, (await world.api.get("/v1/tasks"))["items"]) == (0, [])
        assert (await world.submit(key="k"))[0] == 201
        assert (await world.submit(key="k", prefer="handling=strict"))[0] == 200
        assert world.creates == 1


async def test_a_strict_request_without_unknown_fields_is_sent(tmp_path: Path) -> None:
    """And the response says that it was strict; other mistakes come with the unknown fields."""
    async with running(tmp_path) as world:
        right = {"route": "kling.text2video", "request": {"model_name": "kling-v3", "prompt": "a kite"}}
        strict = {"Prefer": "handling=strict"}
        async with world.api.session.post("/v1/tasks", json=right, headers=strict) as response:
            assert (response.status, response.headers["Preference-Applied"]) == (201, "handling=strict")
        wrong = {"route": "kling.text2video", "request": {"duratoin": "10", "prompt": "a kite"}}
        async with world.api.session.post("/v1/tasks", json=wrong, headers=strict) as response:
            problem = await response.json(content_type=None)
        assert problem["type"] == "urn:tracker:problem:invalid-input"
        assert [error["loc"][1] for error in problem["errors"]] == ["model_name", "duratoin"]


async def test_the_command_warns_first(tmp_path: Path) -> None:
    """Without a terminal it warns and sends once; with --strict it sends nothing, exit 2."""
    async with running(tmp_path) as world:
        command = ["submit", "kling.text2video", "-d", json.dumps(WRONG), "--config", "tracker.toml"]
        refused = await run_tracker(*command, "--strict", directory=tmp_path)
        assert (refused.code, refused.out, world.creates) == (2, "", 0)
        assert refused.err == f"request.duratoin: {MESSAGE}\n"
        sent = await run_tracker(*command, directory=tmp_path)
        assert (sent.code, sent.err, world.creates) == (0, f"warning: duratoin: {MESSAGE}\n", 1)
        assert (await world.api.get(f"/v1/tasks/{sent.out.strip()}"))["request"] == WRONG


@pytest.mark.parametrize(("answer", "code", "sent"), [("y", 0, 1), ("n", 1, 0), ("", 1, 0)])
async def test_the_command_asks_on_a_terminal(tmp_path: Path, answer: str, code: int, sent: int) -> None:
    """After the warning; only a yes sends the request."""
    async with running(tmp_path) as world:
        terminal, tty = os.openpty()
        command = ["submit", "kling.text2video", "-d", json.dumps(WRONG), "--config", "tracker.toml"]
        os.write(terminal, f"{answer}\n".encode())
        asked = await run_on(tty, command, tmp_path)
        os.close(tty)
        os.close(terminal)
        assert (asked[0], world.creates) == (code, sent)
        question = "Send it all the same? It may be charged. [y/N]: "
        assert asked[1].startswith(f"warning: duratoin: {MESSAGE}\n{question}")
        assert ("nothing was sent; the fields: tracker routes kling.text2video" in asked[1]) is (sent == 0)


async def run_on(tty: int, command: list[str], directory: Path) -> tuple[int, str]:
    """Exit code and standard error of a command with a terminal as its input."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tracker",
        *command,
        cwd=directory,
        env={"PATH": os.defpath, "HOME": str(directory), "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=tty,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    _, err = await process.communicate()
    return process.returncode or 0, err.decode()


async def test_every_example_can_be_sent(tmp_path: Path) -> None:
    """The example of each built-in route becomes a task at the sandbox, without a warning."""
    async with running(tmp_path) as world:
        for name in ROUTES:
            detail = await world.api.get(f"/v1/routes/{name}")
            body = {"route": name, "request": detail["example"]}
            async with world.api.session.post("/v1/tasks", json=body) as response:
                task = await response.json(content_type=None)
                assert (response.status, response.headers.get("Tracker-Warnings")) == (201, None), (name, task)
            assert task["reason"] is None, (name, task)


async def test_the_models_of_an_account(tmp_path: Path) -> None:
    """Those of its list that fit the route; without a list, those that the documents name."""
    known = route_detail(ROUTES["kling.text2video"], "default", ["another"])
    assert (known["models_source"], known["account"], known["models"][0]) == ("documents", "default", "kling-v3")
    assert (known["fields_complete"], known["asset"], known["mode"]) == (True, "video", "task")
    async with running(tmp_path) as world:
        await world.api.call("POST", "/v1/models/sync")
        listed = {model["id"] for model in (await world.api.get("/v1/models"))["items"]}
        fitting = sorted(model for model in listed if model.startswith("kling-"))
        assert fitting
        known = await world.api.get("/v1/routes/openai.video?account=default")
        assert known["models_source"] == "account"
        assert set(fitting) <= set(known["models"]) <= listed


async def test_an_unknown_route(tmp_path: Path) -> None:
    """404 with the nearest names, and an unknown account with the configured ones."""
    async with running(tmp_path) as world:
        status, problem = await world.api.call("GET", "/v1/routes/suno.generat")
        assert (status, problem["type"]) == (404, "urn:tracker:problem:unknown-route")
        assert "did you mean suno.generate" in problem["detail"]
        assert "GET /v1/routes" in (await world.api.call("GET", "/v1/routes/zzz"))[1]["detail"]
        status, problem = await world.api.call("GET", "/v1/routes/suno.generate?account=nobody")
        assert (status, problem["errors"][0]["loc"]) == (422, ["query", "account"])
        asked = await run_tracker("routes", "suno.generat", "--config", "tracker.toml", directory=tmp_path)
        assert (asked.code, asked.out) == (1, "")
        assert "did you mean suno.generate" in asked.err
        shown = await run_tracker("routes", "suno.generate", "--json", "--config", "tracker.toml", directory=tmp_path)
        known = await world.api.get("/v1/routes/suno.generate")
        assert shown.json["fields"] == known["fields"]
        assert shown.json.keys() == known.keys()


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_the_screen_of_a_route(tmp_path: Path, route: Route) -> None:
    """Every field, the models, whether the list is complete, and a command that can be pasted."""
    config = tmp_path / "tracker.toml"
    config.write_text('[server]\nlisten = "127.0.0.1:9"\n')
    result = CliRunner().invoke(cli, ["routes", route.name, "--config", str(config)])
    assert result.exit_code == 0, result.output
    assert all(f"\n{field.name} " in result.stdout for field in route.fields.fields)
    assert ", ".join(route.fields.models) in result.stdout
    assert ("not complete" in result.stdout) is route.fields.is_open
    command = shlex.split(result.stdout.splitlines()[-1])
    assert command[:4] == ["tracker", "submit", route.name, "-d"]
    assert json.loads(command[4]) == route.sample
