"""Accounts of declared providers: which key is sent to which address, also after restarts and reloads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.test_accounts import RecordingUpstream, listening
from tests.kits.daemon import NEVER_POLLS, ApiClient, Setting, account, run_tracker, running_daemon
from tests.kits.route_requests import request_of
from tracker.config import load_config

LUMEN = """
name = "lumen"
source = "https://lumen.example/docs"
[routes.video]
create = "POST /v2/renders"
query = "GET /v2/renders/{task_id}"
[task]
id = "id"
status = "state"
[statuses]
done = "SUCCEEDED"
broken = "FAILED"
[[outputs]]
url = "href"
kind = "video"
"""
ENV = {"GATEWAY_KEY": "key-of-gateway", "LUMEN_KEY": "key-of-lumen"}
KLING = request_of("kling.omni-video", "a kite")


def write_provider(directory: Path, extra: str = "") -> None:
    """The file of Lumen, with a further line at its top."""
    (directory / "providers.d").mkdir(exist_ok=True)
    (directory / "providers.d" / "lumen.toml").write_text(extra + LUMEN)


def keys(upstream: RecordingUpstream) -> set[str]:
    """Every key that an upstream received."""
    return {headers.get("Authorization", "") + headers.get("x-api-key", "") for headers in upstream.requests.values()}


async def refusal(api: ApiClient, **body: object) -> str:
    """The one-line error of a refused submit or registration."""
    status, problem = await api.call("POST", "/v1/tasks", body)
    assert (status, [error["loc"] for error in problem["errors"]]) == (422, [["account"]]), problem
    return str(problem["errors"][0]["msg"])


async def test_each_key_is_sent_to_its_own_address_only(tmp_path: Path) -> None:
    """Without names each route finds its account; the other's is refused, whatever the request names."""
    write_provider(tmp_path)
    async with listening() as gateway, listening() as lumen:
        setting = Setting(
            gateway=gateway.url, poll=NEVER_POLLS, tables=account("lumen", lumen.url, "LUMEN_KEY"), env=ENV
        )
        lumen.answers["/"] = (200, {"id": "r-1", "state": "waiting"})
        gateway.answers["/"] = (200, {"code": 0, "data": {"task_id": "k-1", "task_status": "submitted"}})
        async with running_daemon(tmp_path, setting) as api:
            made = await api.submit("lumen.video", {"scene": "a sea"})
            assert (made["account"], made["external_id"]) == ("lumen", "r-1")
            assert (await api.submit("kling.omni-video", KLING))["account"] == "default"
            followed = (await api.call("POST", "/v1/tasks", {"route": "lumen.video", "external_id": "r-2"}))[1]
            await api.call("POST", f"/v1/tasks/{followed['id']}/poll")
            words = await refusal(api, route="kling.omni-video", request=KLING, account="lumen")
            assert words.startswith("account 'lumen' belongs to provider lumen: its key and address are not for kling.")
            words = await refusal(api, route="kling.omni-video", external_id="k-2", account="lumen")
            assert "name another account, or leave it out" in words
            status, synced = await api.call("POST", "/v1/models/sync?account=lumen")
            assert (status, len(synced["problems"])) == (200, 1)
    assert keys(lumen) == {"Bearer key-of-lumen"}
    assert sorted(lumen.requests) == ["GET /v2/renders/r-2", "POST /v2/renders"]
    assert lumen.lists == 0, "its API has no lists of models"
    assert keys(gateway) == {"Bearer key-of-gateway"}
    assert len(gateway.requests) == 1


async def test_without_an_account_nothing_is_sent(tmp_path: Path) -> None:
    """A submit and a registration are refused with the table to add, everywhere; one that names an account goes out."""
    write_provider(tmp_path)
    async with listening() as gateway:
        setting = Setting(gateway=gateway.url, poll=NEVER_POLLS, env=ENV)
        async with running_daemon(tmp_path, setting) as api:
            line = "provider lumen has no account; add [accounts.lumen] with base_url and api_key_env (or api_key_file)"
            assert (await refusal(api, route="lumen.video", request={"a": 1})).startswith(line)
            assert (await refusal(api, route="lumen.video", external_id="r-1")).startswith(line)
            for words in (["submit", "lumen.video", "-d", "{}"], ["track", "lumen.video", "r-1"]):
                ran = await run_tracker(*words, "--url", api.tracker.url, directory=tmp_path)
                assert ran.code == 2
                assert line in ran.err
            assert gateway.requests == {}
            assert (await api.get("/v1/tasks"))["items"] == []
            gateway.answers["/"] = (200, {"id": "r-1", "state": "waiting"})
            assert (await api.submit("lumen.video", {}, account="default"))["account"] == "default"
        warned = await run_tracker("config", "check", "--config", "tracker.toml", directory=tmp_path, env=ENV)
        assert (warned.code, warned.err.strip()) == (0, f"warning: {line} to the configuration")


async def test_the_file_names_an_account_that_both_use(tmp_path: Path) -> None:
    """``account = "default"``: the gateway offers the routes of the provider too."""
    write_provider(tmp_path, 'account = "default"\n')
    async with listening() as gateway:
        gateway.answers["/v2"] = (200, {"id": "r-1", "state": "waiting"})
        gateway.answers["/"] = (200, {"code": 0, "data": {"task_id": "k-1", "task_status": "submitted"}})
        async with running_daemon(tmp_path, Setting(gateway=gateway.url, poll=NEVER_POLLS, env=ENV)) as api:
            for route, request in (("lumen.video", {}), ("kling.omni-video", KLING)):
                task = await api.submit(route, request)
                assert (task["account"], task["status"]) == ("default", "PENDING")


@pytest.mark.parametrize("more", [{}, {"account": "lumen"}])
async def test_a_repeated_submit_finds_its_task_after_a_change_of_accounts(
    tmp_path: Path, more: Mapping[str, str]
) -> None:
    """The same key with the account chosen by the tracker, named, or removed since: one task, one create."""
    write_provider(tmp_path)
    async with listening() as lumen:
        lumen.answers["/"] = (200, {"id": "r-1", "state": "waiting"})
        setting = Setting(poll=NEVER_POLLS, tables=account("lumen", lumen.url, "LUMEN_KEY"), env=ENV)
        order = {"route": "lumen.video", "request": {"a": 1}, "idempotency_key": "order-1"}
        async with running_daemon(tmp_path, setting) as api:
            first = (await api.call("POST", "/v1/tasks", {**order, **more}))[1]
            assert first["external_id"] == "r-1"
            for again in (order, order | {"account": "lumen"}):
                status, task = await api.call("POST", "/v1/tasks", again)
                assert (status, task["id"]) == (200, first["id"])
        write_provider(tmp_path, 'account = "other"\n')
        async with running_daemon(tmp_path, replace(setting, tables=account("default", lumen.url))) as api:
            for again in (order, order | {"account": "lumen"}):
                status, task = await api.call("POST", "/v1/tasks", again)
                assert (status, task["id"]) == (200, first["id"])
    assert len(lumen.bodies) == 1


async def test_creates_recorded_with_the_default_account(tmp_path: Path) -> None:
    """After a change of files a queued create is not sent with the other key, with a reason; polls continue."""
    write_provider(tmp_path, 'account = "default"\n')
    setting = Setting(gateway="http://127.0.0.1:9", poll=NEVER_POLLS | {"first_delay_s": 0.1}, env=ENV)
    async with running_daemon(tmp_path, setting) as api:
        queued = await api.submit("lumen.video", {})
        followed = (await api.call("POST", "/v1/tasks", {"route": "lumen.video", "external_id": "r-9"}))[1]
    write_provider(tmp_path)
    async with listening() as gateway, listening() as lumen:
        tables = account("lumen", lumen.url, "LUMEN_KEY")
        async with running_daemon(tmp_path, replace(setting, gateway=gateway.url, tables=tables)) as api:
            await api.tracker.submitter.send(queued["id"])
            await api.call("POST", f"/v1/tasks/{followed['id']}/poll")
            held = await api.get(f"/v1/tasks/{queued['id']}")
            why = await api.get(f"/v1/tasks/{queued['id']}/why")
    assert held["status"] == "PENDING"
    assert "not sent: account 'default' is not an account of provider lumen" in why["heard"][-1]["said"]
    assert list(gateway.requests) == ["GET /v2/renders/r-9"], "it was created elsewhere; nothing was created there"
    assert lumen.requests == {}


async def test_a_named_account_counts_when_a_create_is_sent_again(tmp_path: Path) -> None:
    """A submit that named the default account for the provider, and was deferred, is sent with it."""
    write_provider(tmp_path)
    async with listening() as gateway, listening() as lumen:
        tables = account("lumen", lumen.url, "LUMEN_KEY")
        setting = Setting(gateway=gateway.url, poll=NEVER_POLLS, tables=tables, env=ENV)
        gateway.answers["/"] = (503, {})
        async with running_daemon(tmp_path, setting) as api:
            task = await api.submit("lumen.video", {}, account="default")
            assert (task["status"], task["submitted_at"]) == ("PENDING", None)
            gateway.answers["/"] = (200, {"id": "r-1", "state": "waiting"})
            await api.tracker.submitter.send(task["id"])
            assert (await api.get(f"/v1/tasks/{task['id']}"))["external_id"] == "r-1"
    assert lumen.requests == {}


async def test_a_reload_brings_the_account(tmp_path: Path) -> None:
    """Accounts change under a running daemon: the choice follows, in both directions. Provider files need a restart."""
    write_provider(tmp_path)
    async with listening() as gateway, listening() as lumen:
        lumen.answers["/"] = (200, {"id": "r-1", "state": "waiting"})
        setting = Setting(gateway=gateway.url, poll=NEVER_POLLS, env=ENV)
        async with running_daemon(tmp_path, setting) as api:
            await refusal(api, route="lumen.video", request={})
            more = replace(setting, tables=account("lumen", lumen.url, "LUMEN_KEY"))
            api.tracker.reload(load_config(more.write(tmp_path), ENV))
            assert (await api.submit("lumen.video", {}))["account"] == "lumen"
            api.tracker.reload(load_config(setting.write(tmp_path), ENV))
            await refusal(api, route="lumen.video", request={})
            write_provider(tmp_path, 'account = "default"\n')
            assert api.tracker.reload(load_config(setting.write(tmp_path), ENV)) == ([], ["providers_dir"])
            await refusal(api, route="lumen.video", request={})
    assert gateway.requests == {}


async def test_an_account_of_a_provider_needs_an_address(tmp_path: Path) -> None:
    """Without ``base_url`` its key would go to the default gateway: refused by the check and at the start."""
    write_provider(tmp_path)
    (tmp_path / "tracker.toml").write_text('[accounts.lumen]\napi_key_env = "LUMEN_KEY"\n')
    for words in (["config", "check"], ["serve"]):
        ran = await run_tracker(*words, "--config", "tracker.toml", directory=tmp_path, env=ENV)
        assert (ran.code, ran.out) == (78, "")
        assert ran.err.strip() == (
            "tracker.toml: accounts.lumen.base_url: is missing; write the address of the API of provider lumen"
        )


async def test_doctor_shows_no_key_to_paths_that_the_provider_does_not_have(tmp_path: Path) -> None:
    """Its address is asked for an answer, without the key; a provider without an account is named."""
    write_provider(tmp_path)
    async with listening() as lumen:
        setting = Setting(poll=NEVER_POLLS, tables=account("lumen", lumen.url, "LUMEN_KEY"), env=ENV)
        path = setting.write(tmp_path)
        ran = await run_tracker("doctor", "--config", str(path), "--json", directory=tmp_path, env=ENV)
        lines = {line["check"]: line for line in ran.json["checks"]}
        assert lines["service of lumen"]["state"] == "ok"
        assert keys(lumen) == {""}
        assert lumen.lists == 0
        path.write_text(path.read_text().replace("[accounts.lumen]", "[accounts.default]"))
        ran = await run_tracker("doctor", "--config", str(path), "--json", directory=tmp_path, env=ENV)
        lines = {line["check"]: line for line in ran.json["checks"]}
        assert lines["provider"]["detail"].startswith("provider lumen has no account; add [accounts.lumen]")
