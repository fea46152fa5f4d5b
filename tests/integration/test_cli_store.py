"""Commands and the store that the daemon on the configured port serves: paid calls never reach another tracker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from click.testing import CliRunner

from tests.kits.daemon import NEVER_POLLS, ApiClient, Ran, Setting, run_tracker, running_daemon
from tests.kits.http_server import serving
from tracker.cli.main import cli
from tracker.sandbox import Sandbox
from tracker.store.sqlite import copy_database, read_instance

TASK = "01JD0000000000000000000000"
SUNO = '{"customMode": false, "instrumental": false, "model": "V5", "prompt": "x"}'
ACTS = (
    ("submit", "suno.generate", "-d", SUNO),
    ("track", "suno.generate", "x-1"),
    ("poll", TASK),
    ("cancel", TASK),
    ("wait", TASK),
    ("download", TASK),
    ("deliveries", "retry", "d-1"),
    ("deliveries", "retry", "--status", "dead"),
    ("models", "sync"),
    ("db", "prune"),
)


@asynccontextmanager
async def two_stores(tmp_path: Path) -> AsyncIterator[tuple[ApiClient, Path, Path]]:
    """A daemon, its directory, and another directory whose configuration names the same port and another store."""
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    theirs.mkdir()
    mine.mkdir()
    async with Sandbox() as sandbox:
        setting = Setting(gateway=sandbox.base_url, poll=NEVER_POLLS, is_called_back=False)
        setting.write(mine)
        async with running_daemon(theirs, setting) as api:
            yield api, theirs, mine


async def ask(directory: Path, *arguments: str, **env: str | None) -> Ran:
    """Run a command on the configuration of a directory, in this process and beside the daemon."""
    environ: dict[str, str | None] = {"TRACKER_URL": None, "HOME": str(directory), **env}
    command = [*arguments, "--config", str(directory / "tracker.toml")]
    result = await asyncio.to_thread(lambda: CliRunner().invoke(cli, command, env=environ))
    return Ran(result.exit_code, result.stdout, result.stderr)


async def test_commands_do_not_act_on_another_store(tmp_path: Path) -> None:
    """Each such command fails with one line that names both stores; the other tracker gets no request."""
    async with two_stores(tmp_path) as (api, theirs, mine):
        for arguments in ACTS:
            ran = await ask(mine, *arguments)
            assert (ran.code, ran.out) == (69, ""), (arguments, ran)
            (line,) = ran.err.splitlines()
            assert f"another tracker (store {theirs}/tracker.db) answers at {api.tracker.url}" in line, line
            assert f"{mine}/tracker.db" in line
            assert "--url" in line
        assert not (mine / "tracker.db").exists()
        assert (await api.get("/v1/tasks"))["items"] == []
        # a named daemon is chosen explicitly; so is a configured store
        assert (await ask(mine, "submit", "suno.generate", "-d", SUNO, "--url", api.tracker.url)).code == 0
        assert (await ask(mine, "submit", "suno.generate", "-d", SUNO, TRACKER_URL=api.tracker.url)).code == 0
        assert (await ask(theirs, "submit", "suno.generate", "-d", SUNO)).code == 0
        assert len((await api.get("/v1/tasks"))["items"]) == 3


async def test_reading_commands_read_the_configured_file(tmp_path: Path) -> None:
    """The note names the other daemon, and the command reads the configured file; without a file it fails."""
    async with two_stores(tmp_path) as (api, theirs, mine):
        await api.submit("suno.generate", orjson.loads(SUNO))
        before = await ask(mine, "list")
        assert (before.code, before.out) == (69, "")
        async with running_daemon(mine, Setting(is_called_back=False)) as own:
            task = await own.submit("suno.generate", orjson.loads(SUNO))
        (mine / "tracker.toml").write_text((theirs / "tracker.toml").read_text().replace(str(theirs), str(mine)))
        found = await ask(mine, "list", "--json")
        assert [item["id"] for item in found.json["items"]] == [task["id"]]
        theirs_answers = f"another tracker (store {theirs}/tracker.db) answers at {api.tracker.url}"
        note = f"{theirs_answers}, which does not serve {mine}/tracker.db; reading {mine}/tracker.db\n"
        assert found.err == note
        # an id is found in any case, by its prefix and by the upstream's id; a misspelt route is named
        for text in (task["id"].lower(), task["id"][:20], task["id"][:-1].lower()):
            shown = await ask(mine, "show", text, "--json")
            assert (shown.code, shown.json["id"]) == (0, task["id"]), shown.err
        misspelt = await ask(mine, "list", "--route", "suno.generat")
        assert misspelt.code == 2
        assert "query.route: no such route: suno.generat; did you mean suno.generate, suno." in misspelt.err
        nobody = await ask(mine, "list", "--account", "nobody")
        assert (nobody.code, "query.account: no such account: nobody; known are default" in nobody.err) == (2, True)
        wrong = await ask(mine, "list", "--cursor", "nope")
        assert (wrong.code, "query.cursor: must be the next_cursor of the previous page" in wrong.err) == (2, True)
        routes = await ask(mine, "routes")
        assert (routes.code, "listing the routes of this installation" in routes.err) == (0, True)


async def test_a_copy_of_the_store_is_another_store(tmp_path: Path) -> None:
    """It has the same instance id, and is not the file that the daemon serves."""
    async with two_stores(tmp_path) as (api, theirs, mine):
        await asyncio.to_thread(copy_database, theirs / "tracker.db", mine / "tracker.db")
        assert read_instance(mine / "tracker.db") == read_instance(theirs / "tracker.db")
        ran = await ask(mine, "submit", "suno.generate", "-d", SUNO)
        assert (ran.code, f"another tracker (store {theirs}/tracker.db)" in ran.err) == (69, True), ran
        assert (await api.get("/v1/tasks"))["items"] == []


async def test_submit_prints_permanent_locations_of_outputs(tmp_path: Path) -> None:
    """Archived files on this machine, the daemon's URLs elsewhere, and no upstream URL that expires."""
    async with Sandbox(duration_s=0.1) as sandbox:
        tables = "[archive]\nallow_private_addresses = true"
        setting = Setting(gateway=sandbox.base_url, is_called_back=False, tables=tables)
        async with running_daemon(tmp_path, setting) as api:
            here = await ask(tmp_path, "submit", "suno.generate", "--wait", "-d", SUNO)
            there = await ask(tmp_path, "submit", "suno.generate", "--wait", "-d", SUNO, "--url", api.tracker.url)
    assert (here.code, there.code) == (0, 0), here.err + there.err
    files = [Path(line) for line in here.out.splitlines()]
    assert files
    assert all(file.is_relative_to(tmp_path / "outputs") and file.stat().st_size for file in files)
    addresses = there.out.splitlines()
    assert len(addresses) == len(files)
    assert all(address.startswith(f"{setting.url}/v1/tasks/") and "/outputs/" in address for address in addresses)


async def test_submit_says_that_an_output_is_not_saved(tmp_path: Path) -> None:
    """With the URL of the upstream, which expires, it prints why, and how to save the file; not without an archive."""
    async with Sandbox(duration_s=0.1) as sandbox:
        for tables in ("", "[archive]\nenabled = false"):
            setting = Setting(gateway=sandbox.base_url, is_called_back=False, tables=tables)
            async with running_daemon(tmp_path, setting):
                ran = await ask(tmp_path, "submit", "suno.generate", "--wait", "-d", SUNO)
            assert (ran.code, ran.out.count(f"{sandbox.base_url}/files/")) == (0, 2), ran
            warned = [line for line in ran.err.splitlines() if "is not saved yet (127.0.0.1 is not a public" in line]
            assert len(warned) == (0 if tables else 2)
            assert all("its URL expires; to save it: tracker download" in line for line in warned)


async def test_a_new_database_beside_copies_of_an_old_one_is_logged(tmp_path: Path) -> None:
    """The first start after a deletion logs how to restore the file; the second start does not."""
    logged: list[Mapping[str, Any]] = []
    async with two_stores(tmp_path) as (api, theirs, mine):
        await api.submit("suno.generate", orjson.loads(SUNO))
        (mine / "backups").mkdir()
        copy = mine / "backups" / "tracker-20261120T003000Z.db"
        await asyncio.to_thread(copy_database, theirs / "tracker.db", copy)
        for _ in range(2):
            async with running_daemon(mine, Setting(is_called_back=False, log=""), journal=logged.append):
                pass
    (warned,) = [line for line in logged if line["event"] == "store.created_beside_copies"]
    assert (warned["level"], warned["copy"]) == ("warning", str(copy))
    assert f"tracker db restore {copy}" in warned["fix"]


async def test_serve_names_the_program_that_uses_the_port(tmp_path: Path) -> None:
    """The check comes before any request to a gateway, and its error is the only line."""
    async with two_stores(tmp_path) as (api, theirs, mine):
        ran = await run_tracker("serve", "--config", str(mine / "tracker.toml"), directory=mine)
        has_it = f"another tracker (store {theirs}/tracker.db) has {api.tracker.url.removeprefix('http://')}"
        choose = "choose another address with --listen or server.listen"
        assert (ran.code, ran.err) == (78, f"server.listen: {has_it}; {choose}\n")


async def test_a_program_that_does_not_answer_gets_no_paid_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unidentified program gets a request to /readyz and nothing else."""
    monkeypatch.setattr("tracker.daemon.peers.READY_S", 0.2)
    monkeypatch.setattr("tracker.daemon.peers.look_at.__defaults__", (0.2,))
    received: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readline())
        await reader.read()
        writer.close()

    setting = Setting(is_called_back=False)
    setting.write(tmp_path)
    async with await asyncio.start_server(listen, "127.0.0.1", setting.port):
        for arguments in ACTS:
            ran = await ask(tmp_path, *arguments)
            assert (ran.code, f"{setting.url} gives no answer (timed out)" in ran.err) == (69, True), (arguments, ran)
    assert set(received) == {b"GET /readyz HTTP/1.1\r\n"}


@pytest.mark.parametrize("answer", [{"status": "ready"}, {"ready": True, "instance": None}])
async def test_a_tracker_without_an_instance_id_is_not_trusted(tmp_path: Path, answer: dict[str, object]) -> None:
    """An older daemon has no instance id; another program has a different response."""

    async def answer_all(request: web.Request) -> web.Response:
        assert request.method == "GET"
        assert "Authorization" not in request.headers, "the token is for the configured daemon"
        return web.json_response(answer, headers={"Server": "tracker"})

    setting = Setting(is_called_back=False)
    setting.write(tmp_path)
    async with serving(answer_all, setting.port):
        ran = await ask(tmp_path, "submit", "suno.generate", TRACKER_API_TOKEN="token-of-mine")
    assert (ran.code, "older version; restart it" in ran.err) == (69, True), ran
