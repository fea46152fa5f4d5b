"""Signatures end to end: a sandbox that signs its callbacks, and a daemon that checks them.

Polls are years away, so a task ends by what its callbacks are worth: trusted, confirmed by one poll, or refused, which
makes the tracker ask instead.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.kits.clock import RunningClock
from tests.kits.daemon import NEVER_POLLS, ApiClient, Setting, ends_of, run_tracker, running_daemon
from tests.kits.payloads import Payload, list_payloads, routes_of
from tests.kits.processes import EventLog
from tests.kits.route_requests import Json, request_of
from tracker.providers.registry import Registry
from tracker.sandbox import Sandbox

KLING, SUNO = "kling.omni-video", "suno.generate"
OLD, NEW, OTHER = (f"whsec_{base64.b64encode(word * 4).decode()}" for word in (b"the old", b"the new", b"another"))
SUNO_SECRET = "as-kie.ai-shows-it"
SIGNED = """
[callbacks.kling]
scheme = "standard-webhooks"
secret_env = "KLING_WEBHOOK_SECRET"
[callbacks.suno]
scheme = "suno-hmac"
secret_env = "SUNO_WEBHOOK_SECRET"
"""
RECORDED = [payload for payload in list_payloads("openai_video", "signatures") if "signature" in payload.content]
LAST_WORDS = ("succeed", "complete")


@dataclass(frozen=True, slots=True)
class Wire:
    """A daemon and the sandbox that calls it back."""

    api: ApiClient
    sandbox: Sandbox
    event_log: EventLog

    async def bring_to_end(self, route: str, words: str = "a kite") -> Json:
        """Submit, and wait for the end and the last callback."""
        task = await self.api.submit(route, request_of(route, words))
        await self.api.end_of(task)
        await self.event_log.until(lambda: any(self.answers(task, word) for word in LAST_WORDS))
        return await self.api.get(f"/v1/tasks/{task['id']}")

    def answers(self, task: Json, phase: str | None = None) -> list[tuple[int, Json]]:
        """The answers to the callbacks of a task."""
        return [
            (record["http_status"], record["answer"])
            for record in self.sandbox.state()["callbacks"]
            if record["job_id"] == task["external_id"] and phase in {None, record["phase"]}
        ]


@asynccontextmanager
async def wired(
    directory: Path, kling: str | None = NEW, suno: str | None = SUNO_SECRET, known: str = NEW
) -> AsyncIterator[Wire]:
    """A sandbox that signs with these secrets, and a daemon with ``known`` and Suno's."""
    event_log = EventLog()
    async with Sandbox(
        duration_s=0.2, callback_retry_s=60, kling_secret=kling, suno_secret=suno, on_event=event_log
    ) as sandbox:
        setting = Setting(
            gateway=sandbox.base_url,
            poll=NEVER_POLLS,
            tables=SIGNED,
            env={"KLING_WEBHOOK_SECRET": known, "SUNO_WEBHOOK_SECRET": SUNO_SECRET},
        )
        async with running_daemon(directory, setting) as api:
            yield Wire(api, sandbox, event_log)


async def test_a_signature_over_the_body_is_trusted(tmp_path: Path) -> None:
    """Standard Webhooks: the callbacks alone end the task."""
    async with wired(tmp_path) as wire:
        task = await wire.bring_to_end(KLING)
        assert (task["status"], task["polls"], task["callbacks"]) == ("SUCCEEDED", 0, 3)
        assert wire.answers(task) == [(200, {"outcome": "applied"})] * 3
        (end,) = ends_of(await wire.api.events(task))
        assert end["source"] == "callback"


async def test_a_signature_that_does_not_cover_the_body_is_confirmed_by_a_poll(tmp_path: Path) -> None:
    """Suno's only proves that the task changed: stages are applied, the end is polled."""
    async with wired(tmp_path) as wire:
        task = await wire.bring_to_end(SUNO)
        assert task["status"] == "SUCCEEDED"
        assert wire.answers(task, "complete") == [(202, {"outcome": "polling"})]
        (end,) = ends_of(await wire.api.events(task))
        assert (end["source"], task["polls"] >= 1) == ("poll", True)


@pytest.mark.parametrize("route", [KLING, SUNO])
@pytest.mark.parametrize("how", ["forged", "unsigned", "another secret"])
async def test_a_wrong_signature_is_401_and_the_task_ends_by_polling(tmp_path: Path, route: str, how: str) -> None:
    """The callback is refused, but its token is valid, so the task is polled."""
    signs = {"forged": (NEW, SUNO_SECRET), "unsigned": (None, None), "another secret": (OTHER, "a guess")}
    words = "a kite [sandbox: callback=forged]" if how == "forged" else "a kite"
    async with wired(tmp_path, *signs[how]) as wire:
        task = await wire.bring_to_end(route, words)
        answers = wire.answers(task)
        events = await wire.api.events(task)
    assert (task["status"], task["callbacks"]) == ("SUCCEEDED", 0)
    assert len(answers) == 3
    for status, problem in answers:
        assert (status, problem["title"]) == (401, "Unauthorized"), problem
        assert all(secret not in str(problem) for secret in (NEW, OTHER, SUNO_SECRET))
    assert {event["source"] for event in events} == {"submit", "poll"}
    assert len(ends_of(events)) == 1


@pytest.mark.parametrize("signs", [OLD, NEW, f"{OLD} {NEW}"])
async def test_a_secret_is_replaced_without_losing_a_callback(tmp_path: Path, signs: str) -> None:
    """While both are configured, either or both may sign."""
    async with wired(tmp_path, kling=signs, known=f"{NEW} {OLD}") as wire:
        task = await wire.bring_to_end(KLING)
    assert (task["status"], task["polls"], task["callbacks"]) == ("SUCCEEDED", 0, 3)


async def test_a_callback_without_token_needs_a_signature(tmp_path: Path) -> None:
    """Even the poll that it causes is only for signed callbacks."""
    async with wired(tmp_path) as wire:
        update = {"task_id": "k-1", "task_status": "succeed"}
        refused = await wire.api.call("POST", "/callbacks/kling", update)
        assert refused[0] == 401
        other = await wire.api.call("POST", "/callbacks/openai", {"id": "evt_1", "data": {"id": "video_1"}})
        assert other == (202, {"outcome": "parked"}), "no scheme is configured for this family"


@pytest.mark.parametrize("payload", RECORDED, ids=lambda payload: f"{payload.family}/{payload.case}")
async def test_recorded_signatures_over_http(tmp_path: Path, payload: Payload) -> None:
    """Byte for byte as recorded: a valid one causes a poll, a forged one is 401 and changes nothing."""
    (route,) = routes_of(payload, Registry())
    signature = payload.content["signature"]
    tables = f'[callbacks.{route.provider}]\nscheme = "{route.signature}"\nsecret_env = "SECRET"'
    setting = Setting(gateway="http://127.0.0.1:9", poll=NEVER_POLLS, tables=tables)
    setting = replace(setting, env={"SECRET": signature["test_secret"]})
    async with running_daemon(tmp_path, setting, clock=RunningClock(datetime.fromtimestamp(1767607310, UTC))) as api:
        known = payload.content["expect"]["task_id"] or "known-before"
        registered, task = await api.call("POST", "/v1/tasks", {"route": route.name, "external_id": known})
        assert registered == 201
        headers = {"Content-Type": "application/json", **payload.content["headers"]}
        async with api.session.post(f"/callbacks/{route.provider}", data=payload.raw, headers=headers) as response:
            assert response.status == (202 if signature["valid"] else 401), await response.text()
        assert (await api.get(f"/v1/tasks/{task['id']}"))["callbacks"] == 0, (
            "a callback without a token is never trusted"
        )


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ({}, "scheme 'standard-webhooks' needs its secret; set KLING_WEBHOOK_SECRET"),
        ({"KLING_WEBHOOK_SECRET": "  "}, "scheme 'standard-webhooks' needs its secret; set KLING_WEBHOOK_SECRET"),
        ({"KLING_WEBHOOK_SECRET": "not base64!"}, "the secret is not base64; copy all of it"),
    ],
)
async def test_a_scheme_without_its_secret_is_refused_at_start(
    tmp_path: Path, secret: dict[str, str], words: str
) -> None:
    """``serve`` and ``config check`` end 78 with one line that names the key, and not the secret."""
    setting = Setting(gateway="http://127.0.0.1:9", tables=SIGNED)
    file = setting.write(tmp_path)
    env = {"SUNO_WEBHOOK_SECRET": SUNO_SECRET, "GATEWAY_KEY": "k", **secret}
    for command in (("serve",), ("config", "check")):
        ran = await run_tracker(*command, "--config", str(file), directory=tmp_path, env=env)
        assert (ran.code, ran.out) == (78, ""), ran
        lines = ran.err.splitlines()
        assert {line.partition(": callbacks.kling: ")[0] for line in lines} == {str(file)}
        assert all(line.partition(": callbacks.kling: ")[2].startswith(words) for line in lines), ran.err
        assert "base64!" not in ran.err


async def test_signature_schemes_with_secrets_are_valid(tmp_path: Path) -> None:
    """The configuration check passes."""
    file = replace(Setting(gateway="http://127.0.0.1:9"), tables=SIGNED).write(tmp_path)
    env = {"SUNO_WEBHOOK_SECRET": SUNO_SECRET, "KLING_WEBHOOK_SECRET": f"{OLD} {NEW}", "GATEWAY_KEY": "k"}
    ran = await asyncio.wait_for(
        run_tracker("config", "check", "--config", str(file), directory=tmp_path, env=env), timeout=20
    )
    assert (ran.code, ran.err) == (0, ""), ran
