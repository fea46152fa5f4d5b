"""A user-defined provider, made by following the README exactly, against a small server with its API.

Only the provider's server is written here: the file, its account and the commands are copied from the README, with
another address of the account.
"""

from __future__ import annotations

import asyncio
import json
import re
import textwrap
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.kits.daemon import run_tracker
from tests.kits.http_server import serving
from tests.kits.processes import FAST, NEVER, Daemon, find_free_port
from tracker.sandbox import Sandbox, load_providers

Json = Any

README = (Path(__file__).parents[2] / "config" / "README.md").read_text()
SECTION = README.partition("\n## Your own provider\n")[2].partition("\n## ")[0]
LUMEN_KEY = "lumen-key-of-the-test"


def blocks(language: str) -> list[str]:
    """The code of one language in the README's section, oldest first."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", SECTION, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(code) for _, code in found]


PROVIDER, ACCOUNT = blocks("toml")
COMMANDS = [line.removeprefix("$ ") for line in "".join(blocks("console")).splitlines()]
(ANSWER,) = map(json.loads, blocks("json"))
(ORDER,) = [re.search(r"-d '(.*)'", command)[1] for command in COMMANDS if "submit" in command]  # type: ignore[index]  # it has one


@dataclass
class Lumen:
    """The example API: renders are drawn on polls, or called back when they are ``loud``."""

    url: str = ""
    renders: dict[str, Json] = field(default_factory=dict)
    bodies: list[Json] = field(default_factory=list)
    answers: list[Json] = field(default_factory=list)
    callbacks: list[asyncio.Task[None]] = field(default_factory=list)
    polls: int = 0

    async def create(self, request: web.Request) -> web.Response:
        """``POST /v2/renders``."""
        if request.headers.get("Authorization") != f"Bearer {LUMEN_KEY}":
            return web.json_response({"error": {"code": "invalid_api_key", "message": "who are you?"}}, status=401)
        body = await request.json()
        self.bodies.append(body)
        render = ANSWER["render"] | {"id": f"r-{len(self.bodies)}"}
        self.renders[render["id"]] = render
        if "notify_url" in body:
            self.callbacks.append(asyncio.create_task(self.call_back(body, render)))
        return web.json_response({"render": render})

    async def query(self, request: web.Request) -> web.Response:
        """``GET /v2/renders/{id}``: first it is drawing, then it has ended."""
        self.polls += 1
        render = self.renders[request.match_info["id"]]
        ordinal = int(render["id"].removeprefix("r-")) - 1
        if render["state"] == "waiting":
            render |= {"state": "drawing", "percent": 40}
        else:
            self.finish(self.bodies[ordinal], render)
        return web.json_response({"render": render})

    async def call_back(self, body: Json, render: Json) -> None:
        """Post the callback of an ended render."""
        self.finish(body, render)
        async with (
            aiohttp.ClientSession() as session,
            session.post(body["notify_url"], json={"render": render}) as response,
        ):
            self.answers.append((response.status, await response.json()))

    def finish(self, body: Json, render: Json) -> None:
        """How a render ends."""
        if "weapon" in body["scene"]["text"]:
            render |= {"state": "broken", "fault": {"code": "unsafe_scene", "text": "not that"}}
            return
        files = [{"role": role, "href": f"https://cdn.lumen.example/{role}.mp4"} for role in ("preview", "final")]
        render |= {"state": "done", "percent": 100, "files": files}


@asynccontextmanager
async def running_lumen() -> AsyncIterator[Lumen]:
    """The API on loopback."""
    lumen = Lumen()
    app = web.Application()
    app.router.add_post("/v2/renders", lumen.create)
    app.router.add_get("/v2/renders/{id}", lumen.query)
    async with serving(app) as lumen.url:
        try:
            yield lumen
        finally:
            await asyncio.gather(*lumen.callbacks)


def follow_the_readme(directory: Path, lumen: str, port: int, poll: Mapping[str, float], *, called_back: bool) -> Path:
    """Write the README's two files; return the configuration's path."""
    (directory / "providers.d").mkdir()
    (directory / "providers.d" / "lumen.toml").write_text(PROVIDER)
    account = re.sub(r'base_url = ".*"', f'base_url = "{lumen}"', ACCOUNT)
    config = directory / "tracker.toml"
    lines = [f'public_url = "http://127.0.0.1:{port}"' if called_back else ""]
    lines += [f'[server]\nlisten = "127.0.0.1:{port}"', f'[store]\npath = "{directory}/tracker.db"', account, "[poll]"]
    lines += [f"{key} = {value}" for key, value in poll.items()]
    config.write_text("\n".join([*lines, '[log]\nformat = "json"']))
    return config


async def command(directory: Path, line: str, *more: str) -> tuple[int, str, str]:
    """Run one of the README's commands beside the configuration; exit code and both outputs."""
    arguments = [*line.removeprefix("tracker ").split(), *more]
    ran = await run_tracker(*arguments, directory=directory, env={"LUMEN_API_KEY": LUMEN_KEY})
    return ran.code, ran.out, ran.err


@asynccontextmanager
async def daemon_process(config: Path) -> AsyncIterator[Daemon]:
    """The daemon as a process."""
    daemon = Daemon(config, {"LUMEN_API_KEY": LUMEN_KEY})
    try:
        yield await daemon.start()
        await daemon.stop()
    finally:
        await daemon.close()


async def submit(directory: Path, text: str) -> tuple[int, Json]:
    """Submit as the README does, with another scene, and wait for the end."""
    order = json.dumps(json.loads(ORDER) | {"scene": {"text": text}})
    code, out, err = await command(directory, "submit lumen.video --wait --json --config tracker.toml -d", order)
    assert out, err
    return code, json.loads(out)


@pytest.mark.parametrize("channel", ["poll", "callback"])
async def test_the_readme_suffices(tmp_path: Path, channel: str) -> None:
    """Checked, listed, submitted, followed by polls or by callbacks, to either end."""
    async with running_lumen() as lumen:
        config = follow_the_readme(
            tmp_path,
            lumen.url,
            find_free_port(),
            NEVER if channel == "callback" else FAST,
            called_back=channel == "callback",
        )
        checked, listed, _ = COMMANDS
        code, out, err = await command(tmp_path, checked)
        assert (code, err) == (0, ""), out + err
        async with daemon_process(config) as daemon:
            code, out, err = await command(tmp_path, listed)
            assert code == 0, err
            assert re.search(r"lumen\.video +task +yes +POST /v2/renders +GET /v2/renders/\{task_id\}", out), out
            code, made = await submit(tmp_path, "a sea")
            assert (code, made["status"], made["user_message"]) == (0, "SUCCEEDED", "Your video is ready.")
            assert [(output["kind"], output["url"]) for output in made["outputs"]] == [
                ("video", "https://cdn.lumen.example/final.mp4")
            ]
            code, refused = await submit(tmp_path, "a weapon")
            assert (code, refused["status"], refused["reason"]) == (1, "FAILED", "policy_rejected")
            assert (refused["error"]["code"], refused["error"]["message"]) == ("unsafe_scene", "not that")
            daemon.assert_no_traceback()
    for task in (made, refused):
        seen = (task["polls"], task["callbacks"])
        assert seen == (0, 1) if channel == "callback" else (seen[0] >= 2 and seen[1] == 0), task
    if channel == "callback":
        assert lumen.answers == [(200, {"outcome": "applied"})] * 2
        assert lumen.polls == 0
    assert len(lumen.bodies) == 2, "each was created once"


@pytest.mark.parametrize("channel", ["poll", "callback"])
async def test_the_sandbox_plays_the_provider(tmp_path: Path, channel: str) -> None:
    """The sandbox plays the same file: success, failure and faults, without the provider."""
    (tmp_path / "played").mkdir()
    (tmp_path / "played" / "lumen.toml").write_text(PROVIDER)
    (played,) = load_providers(tmp_path / "played")
    async with Sandbox(key=LUMEN_KEY, duration_s=0.5, providers=[played]) as sandbox:
        config = follow_the_readme(
            tmp_path,
            sandbox.base_url + played.prefix,
            find_free_port(),
            NEVER if channel == "callback" else FAST,
            called_back=channel == "callback",
        )
        async with daemon_process(config) as daemon:
            code, made = await submit(
                tmp_path, f"a sea [sandbox: {'callback=early' if channel == 'callback' else 'poll=flaky'}]"
            )
            assert (code, made["status"]) == (0, "SUCCEEDED")
            assert [output["kind"] for output in made["outputs"]] == ["video"]
            assert made["outputs"][0]["url"].startswith(f"{sandbox.base_url}/files/")
            code, failed = await submit(tmp_path, "a weapon [sandbox: fail=policy]")
            assert (code, failed["status"], failed["reason"]) == (1, "FAILED", "policy_rejected")
            assert failed["error"]["code"].startswith("unsafe_")
            code, refused = await submit(tmp_path, "too much [sandbox: create=quota]")
            assert (code, refused["status"], refused["reason"]) == (1, "FAILED", "quota_exhausted")
            daemon.assert_no_traceback()
        creates = [entry["outcome"] for entry in sandbox.state()["creates"]]
    assert creates == ["accepted", "accepted", "quota"]
    for task in (made, failed):
        assert (task["callbacks"] > 0, task["polls"] == 0) == (channel == "callback", channel == "callback"), task


async def test_a_request_without_a_required_field_is_not_sent(tmp_path: Path) -> None:
    """A missing field of ``required`` is reported before anything is sent."""
    async with running_lumen() as lumen:
        config = follow_the_readme(tmp_path, lumen.url, find_free_port(), NEVER, called_back=False)
        async with daemon_process(config):
            code, _, err = await command(
                tmp_path, "submit lumen.video --account lumen --config tracker.toml -d", '{"engine": "quick"}'
            )
    assert code == 2
    assert "request.scene.text: required" in err
    assert lumen.bodies == []


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ('id = "render.id"', 'id = "render..id"', "task.id: this is not JMESPath"),
        ("poll_interval_s = 5\n", "poll_intervall_s = 5\n", "routes.video.poll_intervall_s: unknown key; did you mean"),
        ('broken = "FAILED"\n', "", "statuses: no status means FAILED"),
        ('broken = "FAILED"', 'broken = "BROKEN"', "statuses.broken: should be"),
        ("/{task_id}", "/", "routes.video.query: the query has no task id"),
        ('name = "lumen"', 'name = "kling"', "name: the name is taken by a built-in provider; choose another"),
    ],
)
async def test_the_check_names_a_mistake_in_the_file(tmp_path: Path, old: str, new: str, mistake: str) -> None:
    """``config check`` and a start of the daemon exit 78 with the file, the line and the key."""
    follow_the_readme(tmp_path, "http://127.0.0.1:9", find_free_port(), NEVER, called_back=False)
    file = tmp_path / "providers.d" / "lumen.toml"
    assert old in PROVIDER
    file.write_text(PROVIDER.replace(old, new, 1))
    for arguments in (COMMANDS[0], "serve --config tracker.toml"):
        code, out, err = await command(tmp_path, arguments)
        assert (code, out) == (78, ""), err
        (line,) = err.splitlines()
        where, _, what = line.partition(": ")
        assert mistake in what, line
        assert re.fullmatch(rf"{re.escape(str(file))}:\d+", where), line
        near = file.read_text().splitlines()[int(where.rpartition(":")[2]) - 1]
        key = what.partition(":")[0].rpartition(".")[2]
        assert key in near, (line, near)
