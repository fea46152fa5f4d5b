"""Repeated submits with the same key: the same task after a change of configuration, and one create."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kits.daemon import NEVER_POLLS, Setting, account, running_daemon
from tests.kits.route_requests import Json
from tracker.sandbox import Sandbox

ALIAS = '[models]\nvideo = "sora-2"'
ORDER = {"route": "openai.video", "request": {"model": "@video", "prompt": "a kite"}, "idempotency_key": "al1"}


def tables(sandbox: Sandbox, name: str, more: str = "") -> str:
    """A configuration with one account and further tables."""
    return f"{account(name, sandbox.base_url)}\n{more}"


@pytest.mark.parametrize("named", [True, False])
async def test_a_key_finds_its_task_after_a_change_of_configuration(tmp_path: Path, named: bool) -> None:
    """The alias is gone and the only account has another name: 200, the same task, and no second create."""
    order: dict[str, Json] = ORDER | ({"account": "red"} if named else {})
    async with Sandbox() as sandbox:
        before = Setting(poll=NEVER_POLLS, tables=tables(sandbox, "red", ALIAS))
        async with running_daemon(tmp_path, before) as api:
            status, made = await api.call("POST", "/v1/tasks", order)
            assert (status, made["account"], made["model"]) == (201, "red", "sora-2")
        after = Setting(poll=NEVER_POLLS, tables=tables(sandbox, "blue"))
        async with running_daemon(tmp_path, after) as api:
            status, found = await api.call("POST", "/v1/tasks", order)
            assert (status, found["id"], found["account"]) == (200, made["id"], "red")
            status, problem = await api.call("POST", "/v1/tasks", order | {"account": "blue"})
            assert (status, problem["type"]) == (422, "urn:tracker:problem:idempotency-conflict")
            status, problem = await api.call("POST", "/v1/tasks", order | {"labels": {"user": "42"}})
            assert (status, problem["type"]) == (422, "urn:tracker:problem:idempotency-conflict")
            status, problem = await api.call("POST", "/v1/tasks", order | {"idempotency_key": "al2", "account": "blue"})
            assert (status, problem["errors"][0]["loc"]) == (422, ["request", "model"]), "a new key is not looked up"
        assert len(sandbox.state()["creates"]) == 1


async def test_a_submit_without_a_key_is_not_looked_up(tmp_path: Path) -> None:
    """Twice the same without a key: two tasks and two creates."""
    order = {name: value for name, value in ORDER.items() if name != "idempotency_key"}
    async with Sandbox() as sandbox:
        setting = Setting(poll=NEVER_POLLS, tables=tables(sandbox, "red", ALIAS))
        async with running_daemon(tmp_path, setting) as api:
            answers = [await api.call("POST", "/v1/tasks", order) for _ in range(2)]
        assert [status for status, _ in answers] == [201, 201]
        assert len(sandbox.state()["creates"]) == 2
