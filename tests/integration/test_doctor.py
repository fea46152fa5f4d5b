"""``tracker doctor``: a healthy installation passes, and each fault has a line with its fix."""

from __future__ import annotations

import asyncio
import base64
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from tests.kits.daemon import KEY_ENV, Ran, Setting, account, run_tracker, running_daemon
from tests.kits.http_server import serving
from tests.kits.route_requests import Json
from tracker.cli.local_checks import check_disk
from tracker.cli.network_checks import check_gateways
from tracker.cli.session import account_rules
from tracker.config import load_config
from tracker.daemon.provider_files import list_shipped
from tracker.hooks.kinds.registry import hook_table
from tracker.sandbox import DEFAULT_KEY, Sandbox

ENV = {KEY_ENV: DEFAULT_KEY}
UNREACHABLE = "http://127.0.0.1:9"


async def examine(directory: Path, *more: str, **env: str) -> Ran:
    """Run it beside the configuration."""
    return await run_tracker(
        "doctor", "--config", str(directory / "tracker.toml"), *more, directory=directory, env=ENV | env
    )


async def line_of(directory: Path, check: str, **env: str) -> Json:
    """One line of the checklist, as JSON."""
    ran = await examine(directory, "--json", **env)
    found = [line for line in ran.json["checks"] if line["check"] == check]
    assert found, ran.json
    assert ran.json["ok"] is (ran.code == 0)
    assert all((line["state"] == "failed") is bool(line["fix"]) for line in ran.json["checks"])
    return found[0]


@asynccontextmanager
async def answering(
    status: int, body: Json, date: str | None = None, content_type: str = "application/json"
) -> AsyncIterator[str]:
    """An upstream that answers everything alike; its base URL."""

    async def answer(_: web.Request) -> web.Response:
        headers = {"Date": date} if date else {}
        text = b"<html>" if body is None else orjson.dumps(body)
        return web.Response(status=status, body=text, content_type=content_type, headers=headers)

    async with serving(answer) as url:
        yield url


async def test_a_healthy_installation_passes(tmp_path: Path) -> None:
    """With the gateway and the daemon running, nothing fails, and no secret is printed."""
    async with Sandbox() as sandbox:
        known = "kling-3.0"
        script = tmp_path / "hook.sh"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
        tables = f'[models]\nvideo = "{known}"\n[[hooks]]\nname = "note"\non = ["task.*"]\nrun = ["./hook.sh"]'
        setting = Setting(gateway=sandbox.base_url, tables=tables)
        async with running_daemon(tmp_path, setting) as api:
            await api.call("POST", "/v1/models/sync")
            ran = await examine(tmp_path)
            states = {line["check"]: line["state"] for line in (await examine(tmp_path, "--json")).json["checks"]}
    assert (ran.code, ran.err) == (0, ""), ran.out
    assert DEFAULT_KEY not in ran.out
    assert set(states.values()) == {"ok"}
    assert list(states) == [
        *("configuration", "key of default", "service of default", "clock", "models", "public_url", "hook scripts"),
        *("disk", "open files", "store", "daemon"),
    ]


async def test_a_new_installation_skips_checks(tmp_path: Path) -> None:
    """Before the first start without store, daemon and public address, the other checks still run."""
    async with Sandbox() as sandbox:
        Setting(gateway=sandbox.base_url, is_called_back=False).write(tmp_path)
        ran = await examine(tmp_path, "--json")
    states = {line["check"]: line["state"] for line in ran.json["checks"]}
    assert ran.code == 0
    assert {check for check, state in states.items() if state == "skipped"} == {
        *("models", "public_url", "hook scripts", "daemon")
    }
    assert not (tmp_path / "tracker.db").exists(), "it creates nothing"


async def test_a_bad_configuration_has_a_line_per_error(tmp_path: Path) -> None:
    """Each error is a failed line with its fix; the other checks do not run."""
    (tmp_path / "tracker.toml").write_text('[server]\nlissen = "127.0.0.1:1"\n[poll]\ntick_s = -1\n')
    ran = await examine(tmp_path)
    assert ran.code == 1
    assert ran.out.count("failed") == ran.out.count("->") == 2
    assert "server.lissen" in ran.out
    assert "poll.tick_s" in ran.out


async def test_a_missing_key_and_an_unreachable_gateway(tmp_path: Path) -> None:
    """Both are named with the variable and the address."""
    Setting(gateway=UNREACHABLE, is_called_back=False).write(tmp_path)
    key = await line_of(tmp_path, "key of default", GATEWAY_KEY="")
    assert (key["state"], KEY_ENV in key["fix"]) == ("failed", True)
    gateway = await line_of(tmp_path, "service of default")
    assert (gateway["state"], UNREACHABLE in gateway["detail"]) == ("failed", True)
    assert (await line_of(tmp_path, "clock"))["state"] == "skipped"


async def test_a_refused_key_and_a_wrong_clock(tmp_path: Path) -> None:
    """The gateway's error for the key, and the date of its response."""
    refusal = {"error": {"message": "no", "type": "authentication_error", "code": "invalid_api_key"}}
    async with answering(401, refusal, date="Fri, 20 Nov 2020 20:42:00 GMT") as url:
        Setting(gateway=url, is_called_back=False).write(tmp_path)
        gateway = await line_of(tmp_path, "service of default")
        clock = await line_of(tmp_path, "clock")
    assert (gateway["state"], KEY_ENV in gateway["fix"]) == ("failed", True)
    assert (clock["state"], "ahead of" in clock["detail"]) == ("failed", True)
    async with answering(401, {"error": "not here"}) as url:
        Setting(gateway=url, is_called_back=False).write(tmp_path)
        assert (await line_of(tmp_path, "service of default"))["state"] == "ok", "another API's 401 has no meaning"


async def test_an_unknown_model(tmp_path: Path) -> None:
    """The line names the model and its key, once the lists were fetched."""
    async with Sandbox() as sandbox:
        setting = Setting(gateway=sandbox.base_url, tables='[models]\nvideo = "no-such-model"', is_called_back=False)
        async with running_daemon(tmp_path, setting) as api:
            await api.call("POST", "/v1/models/sync")
            line = await line_of(tmp_path, "models")
    assert (line["state"], line["detail"]) == ("failed", "unknown to every account: models.video (no-such-model)")


async def test_a_public_url_of_another_program(tmp_path: Path) -> None:
    """Another program answers there; a proxy that only passes callbacks is fine."""
    async with Sandbox() as sandbox, answering(200, {"hello": "world"}) as elsewhere:
        setting = Setting(gateway=sandbox.base_url, is_called_back=False)
        text = setting.write(tmp_path).read_text()
        (tmp_path / "tracker.toml").write_text(f'public_url = "{elsewhere}"\n{text}')
        line = await line_of(tmp_path, "public_url")
        assert (line["state"], elsewhere in line["fix"]) == ("failed", True)
        async with answering(404, {}, content_type="application/problem+json") as proxy:
            (tmp_path / "tracker.toml").write_text(f'public_url = "{proxy}"\n{text}')
            assert (await line_of(tmp_path, "public_url"))["state"] == "ok"


async def test_a_public_url_of_another_tracker(tmp_path: Path) -> None:
    """The store identifies it, whether or not the configured daemon runs."""
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    theirs.mkdir()
    mine.mkdir()
    async with Sandbox() as sandbox, running_daemon(theirs, Setting(gateway=sandbox.base_url)) as api:
        setting = Setting(gateway=sandbox.base_url, is_called_back=False)
        text = setting.write(mine).read_text()
        (mine / "tracker.toml").write_text(f'public_url = "{api.tracker.url}"\n{text}')
        line = await line_of(mine, "public_url")
        assert (line["state"], line["detail"]) == (
            "failed",
            f"{api.tracker.url} leads to another tracker (store {theirs}/tracker.db)",
        )


async def test_scripts_that_cannot_run(tmp_path: Path) -> None:
    """Missing script, not executable, missing program, directory without an event: a fix for each."""
    hooks = [("gone", "./gone.sh"), ("plain", "./plain.sh"), ("missing", "no-such-program-at-all"), ("good", "true")]
    tables = "\n".join(f'[[hooks]]\nname = "{name}"\non = ["task.*"]\nrun = ["{run}"]' for name, run in hooks)
    (tmp_path / "plain.sh").write_text("#!/bin/sh\n")
    for event, name in (("task.failed", "drop"), ("task.exploded", "odd")):
        (tmp_path / "hooks.d" / event).mkdir(parents=True)
        (tmp_path / "hooks.d" / event / name).write_text("#!/bin/sh\n")
    Setting(tables=tables, is_called_back=False).write(tmp_path)
    ran = await examine(tmp_path, "--json")
    failed = {line["check"]: line for line in ran.json["checks"] if line["state"] == "failed"}
    assert ran.code == 1
    assert {check for check in failed if check.startswith("hook")} == {
        *("hook gone", "hook plain", "hook missing", "hook drop", "hook odd")
    }
    assert failed["hook plain"]["fix"] == f"chmod +x {tmp_path}/plain.sh"
    assert "task.failed" in failed["hook odd"]["fix"]
    (passed,) = [line for line in ran.json["checks"] if line["check"] == "hook scripts"]
    assert (passed["state"], passed["detail"]) == ("ok", "1 checked"), "only what passed is counted"


async def test_paths_that_cannot_be_checked(tmp_path: Path) -> None:
    """A hooks_dir or a store that cannot be read is an error, not a missing one."""
    Setting().write(tmp_path)
    beyond = tmp_path / ("x" * 300)  # too long for any file system: reading it fails for root too
    hooks = await line_of(tmp_path, "hooks_dir", TRACKER_HOOKS_DIR=str(beyond))
    assert hooks["detail"] == f"{beyond} cannot be read (File name too long): its hooks do not run"
    store = await line_of(tmp_path, "store", TRACKER_STORE__PATH=str(beyond / "t.db"))
    assert store["detail"] == f"{beyond / 't.db'}: cannot be read (File name too long)"
    assert store["fix"] == "run as its owner or set store.path"
    script = f"""
        [[hooks]]
        name = "h"
        on = "task.*"
        run = "{beyond}/h"
    """
    Setting(tables=script).write(tmp_path)
    assert "cannot be read" in (await line_of(tmp_path, "hook h"))["detail"]


@pytest.mark.parametrize(("version", "application_id"), [(9999, None), (1, 77)])
async def test_a_foreign_or_newer_store(tmp_path: Path, version: int, application_id: int | None) -> None:
    """The check fails, and the file does not change."""
    async with Sandbox() as sandbox:
        setting = Setting(gateway=sandbox.base_url, is_called_back=False)
        async with running_daemon(tmp_path, setting):
            pass
        store = tmp_path / "tracker.db"
        connection = sqlite3.connect(store)
        connection.execute(f"PRAGMA user_version = {version}")
        if application_id is not None:
            connection.execute(f"PRAGMA application_id = {application_id}")
        connection.close()
        before = store.read_bytes()
        line = await line_of(tmp_path, "store")
    assert line["state"] == "failed"
    assert line["fix"].startswith("install that version again" if application_id is None else "set store.path")
    assert store.read_bytes() == before


async def test_a_daemon_that_does_not_answer(tmp_path: Path) -> None:
    """A process holds the lock of the store, and the configured address does not answer."""
    async with Sandbox() as sandbox:
        setting = Setting(gateway=sandbox.base_url, is_called_back=False)
        async with running_daemon(tmp_path, setting):
            moved = replace(setting, port=1)
            moved.write(tmp_path)
            line = await line_of(tmp_path, "daemon")
    assert (line["state"], "127.0.0.1:1 gives no answer" in line["detail"]) == ("failed", True)


async def test_a_signature_scheme_without_its_secret(tmp_path: Path) -> None:
    """``serve`` would refuse it, so the check fails."""
    tables = '[callbacks.kling]\nscheme = "standard-webhooks"\nsecret_env = "KLING_SECRET"'
    Setting(gateway=UNREACHABLE, tables=tables, is_called_back=False).write(tmp_path)
    line = await line_of(tmp_path, "configuration")
    assert (line["state"], line["fix"]) == ("failed", "set KLING_SECRET")
    secret = base64.b64encode(b"0123456789").decode()
    assert (await line_of(tmp_path, "configuration", KLING_SECRET=secret))["state"] == "ok"


def test_a_full_disk(tmp_path: Path) -> None:
    """Too little free space fails; the fix names the required space."""
    path = Setting(gateway=UNREACHABLE).write(tmp_path)
    config = load_config(path, ENV, hook_table=hook_table)
    assert check_disk(config).state == "ok"
    line = check_disk(config, least_free_bytes=2**62)
    assert (line.state, line.fix is not None) == ("failed", True)


async def test_what_uses_the_address(tmp_path: Path) -> None:
    """Free port, configured daemon, another tracker, another program: each has its own line."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    setting = Setting(is_called_back=False)
    setting.write(tmp_path)
    free = await line_of(tmp_path, "daemon")
    assert (free["state"], free["detail"]) == (
        "skipped",
        f"the daemon is not running; its address 127.0.0.1:{setting.port} is free",
    )
    async with running_daemon(tmp_path, setting):
        own = await line_of(tmp_path, "daemon")
        assert (own["state"], "serves this store" in own["detail"]) == ("ok", True)
    async with running_daemon(theirs, setting):
        setting.write(tmp_path)
        other = await line_of(tmp_path, "daemon")
    assert other["state"] == "failed"
    assert other["detail"] == f"another tracker (store {theirs}/tracker.db) answers at {setting.url}"
    async with answering(200, {"ready": True}) as url:
        Setting(port=int(url.rpartition(":")[2]), is_called_back=False).write(tmp_path)
        program = await line_of(tmp_path, "daemon")
    assert (program["state"], program["detail"]) == ("failed", f"another program answers at {url} (HTTP 200)")


async def test_before_the_first_start_the_public_url_is_skipped(tmp_path: Path) -> None:
    """No answer is expected yet; an address that providers cannot reach fails at once."""
    async with Sandbox() as sandbox:
        Setting(gateway=sandbox.base_url).write(tmp_path)
        line = await line_of(tmp_path, "public_url")
        assert (line["state"], "is not running" in line["detail"]) == ("skipped", True)
        for host in ("tracker.example.com", "callback.invalid"):
            line = await line_of(tmp_path, "public_url", TRACKER_PUBLIC_URL=f"https://{host}")
            assert (line["state"], host in line["detail"]) == ("failed", True)


async def test_a_key_that_only_the_daemon_has(tmp_path: Path) -> None:
    """A key in the environment of the daemon is enough; one that the daemon lacks fails."""
    async with Sandbox() as sandbox:
        setting = Setting(gateway=sandbox.base_url, is_called_back=False)
        async with running_daemon(tmp_path, setting):
            key = await line_of(tmp_path, "key of default", GATEWAY_KEY="")
            assert (key["state"], key["detail"]) == ("ok", f"the daemon has it; {KEY_ENV} is not set here")
        async with running_daemon(tmp_path, replace(setting, env={KEY_ENV: ""})):
            assert (await line_of(tmp_path, "key of default", GATEWAY_KEY=""))["state"] == "failed"


async def test_a_hook_without_its_secret(tmp_path: Path) -> None:
    """A daemon would not start; one that runs has it."""
    hook = '[[hooks]]\nname = "app"\non = ["task.*"]\nurl = "https://192.0.2.1/hook"\nsecret_env = "APP_SECRET"\n'
    (tmp_path / "tracker.toml").write_text(f"{account('default', UNREACHABLE)}\n{hook}")
    line = await line_of(tmp_path, "secret of hook app")
    assert (line["state"], line["detail"]) == ("failed", "APP_SECRET is not set, so the daemon does not start")
    assert line["fix"] == "set APP_SECRET to the secret where the daemon starts; then restart the daemon"
    secret = "whsec_" + base64.b64encode(bytes(32)).decode()
    checks = (await examine(tmp_path, "--json", APP_SECRET=secret)).json["checks"]
    assert "secret of hook app" not in {each["check"] for each in checks}


async def test_tokens_that_are_missing_or_short(tmp_path: Path) -> None:
    """A token is set here or in the running daemon; a missing and a short one fail."""
    async with Sandbox() as sandbox:
        setting = Setting(gateway=sandbox.base_url, is_called_back=False)
        async with running_daemon(tmp_path, setting):
            file = tmp_path / "tracker.toml"
            token = '[[server.tokens]]\nname = "grafana"\nscope = "read"\ntoken_env = "GRAFANA_TOKEN"\n'
            file.write_text(f"{file.read_text()}\n{token}")
            unset = await line_of(tmp_path, "token grafana")
            short = await line_of(tmp_path, "token grafana", GRAFANA_TOKEN="short")
            right = await line_of(tmp_path, "token grafana", GRAFANA_TOKEN="long-enough-and-not-real")
    assert (unset["state"], unset["detail"]) == ("failed", "GRAFANA_TOKEN is not set, so this token is disabled")
    assert (short["state"], short["detail"]) == ("failed", "GRAFANA_TOKEN has fewer than 16 characters")
    assert (right["state"], right["detail"]) == ("ok", "GRAFANA_TOKEN is set; its scope is read")


async def test_what_the_running_daemon_reports(tmp_path: Path) -> None:
    """A key that the upstream refuses fails, though the key here is right; so do another address and another token."""
    request = {"customMode": False, "instrumental": False, "model": "V5", "prompt": "a song"}
    async with Sandbox() as sandbox, Sandbox() as elsewhere:
        setting = Setting(gateway=sandbox.base_url, is_called_back=False)
        async with running_daemon(tmp_path, replace(setting, env={KEY_ENV: "sk-wrong-not-a-real-key"})) as api:
            await api.call("POST", "/v1/tasks", {"route": "suno.generate", "request": request})
            assert (await line_of(tmp_path, "key of default"))["state"] == "ok"
            trouble = await line_of(tmp_path, "trouble")
            replace(setting, gateway=elsewhere.base_url).write(tmp_path)
            moved = await line_of(tmp_path, "account default")
        async with running_daemon(
            tmp_path, replace(setting, env={"TRACKER_API_TOKEN": "the-token-of-the-start-not-real"})
        ):
            refused = await line_of(tmp_path, "API token", TRACKER_API_TOKEN="another-token-that-is-not-real")
    assert "key of account default" in trouble["detail"]
    assert trouble["fix"].startswith("Check the key of the account")
    assert moved["detail"] == f"the daemon sends to {sandbox.base_url}, this configuration says {elsewhere.base_url}"
    assert moved["fix"].startswith("reload the daemon; ")
    assert "restart the daemon" in refused["fix"]


@pytest.mark.parametrize(
    ("status", "content_type", "state", "text"),
    [
        (404, "application/json", "failed", "is not the service (404 for /openai/v1/models)"),
        (200, "text/html", "failed", "200 with text/html instead of JSON"),
        (302, "text/html", "failed", "302, a redirect"),
        (503, "application/json", "failed", "is not available (HTTP 503)"),
        (403, "application/json", "ok", "answers (HTTP 403)"),
    ],
)
async def test_a_base_url_of_another_program(
    tmp_path: Path, status: int, content_type: str, state: str, text: str
) -> None:
    """A website, or a base_url with an extra path, fails."""
    body: Json = {"error": {"message": "no"}} if content_type == "application/json" else None
    async with answering(status, body, content_type=content_type) as url:
        config = load_config(Setting(gateway=url, is_called_back=False).write(tmp_path), ENV, hook_table=hook_table)
        line, _clock = await asyncio.to_thread(lambda: list(check_gateways(config)))
    assert (line.state, text in line.detail) == (state, True), line
    assert line.state == "ok" or status == 503 or "base_url" in str(line.fix)


async def test_a_gateway_of_a_declared_provider_has_no_list_of_models(tmp_path: Path) -> None:
    """The expected response is unknown: a 404 is not a failure."""
    example = list_shipped()["replicate"]
    (tmp_path / "providers.d").mkdir()
    (tmp_path / "providers.d" / "replicate.toml").write_bytes(example.read_bytes())
    async with answering(404, {}) as url:
        path = Setting(tables=account("replicate", url), is_called_back=False).write(tmp_path)
        config = load_config(path, ENV, hook_table=hook_table)
        rules = account_rules(config)
        line, _clock = await asyncio.to_thread(lambda: list(check_gateways(config, rules.serves_builtin)))
    assert (line.check, line.state) == ("service of replicate", "ok")
    assert "the key was not tested" in line.detail
