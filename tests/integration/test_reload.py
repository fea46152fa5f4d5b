"""Reloads: which keys of a new configuration a running daemon applies, and what it reports about the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.kits.sandbox import find_job
from tracker.config import Config, load_config
from tracker.daemon.app import Tracker
from tracker.daemon.reload import list_changes
from tracker.domain.user_messages import use_messages
from tracker.errors import ConfigError
from tracker.hooks.kinds.registry import hook_table
from tracker.logs import MASK
from tracker.sandbox import DEFAULT_KEY, Sandbox

CONFIG = """
[server]
listen = "127.0.0.1:0"
api_token_file = "token"
[store]
path = "tracker.db"
[archive]
enabled = false
[log]
level = "error"
[accounts.default]
base_url = "{gateway}"
api_key_file = "key"
[poll]
tick_s = 0.2
"""
HOOK = '[[hooks]]\nname = "{name}"\non = ["task.finished"]\nrun = ["/bin/true"]\n'
TOKEN, NEXT_TOKEN = "first-token-0123456789", "second-token-0123456789"
SUBMIT = {"route": "kling.omni-video", "request": {"model_name": "kling-v3-omni", "prompt": "a kite"}}


@dataclass
class ReloadedDaemon:
    """A running daemon and the file that it was configured with."""

    directory: Path
    tracker: Tracker
    client: aiohttp.ClientSession
    env: dict[str, str] = field(default_factory=dict)

    def write(self, *edits: tuple[str, str], more: str = "") -> Config:
        """Edit the file and read it."""
        file = self.directory / "tracker.toml"
        text = file.read_text()
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        file.write_text(text + more)
        return load_config(file, self.env, hook_table=hook_table)

    async def submit(self, token: str, **more: str) -> tuple[int, dict[str, object]]:
        """Create a task."""
        headers = {"Authorization": f"Bearer {token}"}
        async with self.client.post("/v1/tasks", json={**SUBMIT, **more}, headers=headers) as answer:
            return answer.status, await answer.json()


@asynccontextmanager
async def running(directory: Path, gateway: str) -> AsyncIterator[ReloadedDaemon]:
    """A daemon with an account at a gateway."""
    file = directory / "tracker.toml"
    file.write_text(CONFIG.format(gateway=gateway))
    (directory / "token").write_text(TOKEN)
    (directory / "key").write_text(DEFAULT_KEY)
    tracker = Tracker(load_config(file, {}, hook_table=hook_table), {})
    await tracker.start()
    try:
        async with aiohttp.ClientSession(tracker.url) as client:
            yield ReloadedDaemon(directory, tracker, client)
    finally:
        await tracker.stop()
        use_messages({}, {})  # they belong to the process


async def test_reloadable_keys_apply_at_once(tmp_path: Path) -> None:
    """Accounts, keys, tokens, hooks, polls and the public address change while the daemon keeps working."""
    async with (
        Sandbox() as first,
        Sandbox(key="sk-another-key-0123456789") as second,
        running(tmp_path, first.base_url) as daemon,
    ):
        status, _ = await daemon.submit(TOKEN)
        assert status == 201
        store, runner = daemon.tracker.store, daemon.tracker._runner
        (tmp_path / "token").write_text(NEXT_TOKEN)
        (tmp_path / "other-key").write_text("sk-another-key-0123456789")
        account = f'[accounts.other]\nbase_url = "{second.base_url}"\napi_key_file = "other-key"\n'
        changed, needs_restart = daemon.tracker.reload(
            daemon.write(
                ("[server]", 'public_url = "http://127.0.0.1:1"\n[server]'),
                ("tick_s = 0.2", "tick_s = 0.1\ndeadline_s = 77"),
                more=account + '[messages]\npending = "Wait for your {asset}."\n' + HOOK.format(name="new"),
            )
        )
        polls = ["poll.tick_s", "poll.deadline_s"]
        assert changed == ["public_url", "accounts.other", *polls, "messages.pending", "hooks"]
        assert needs_restart == []
        assert (daemon.tracker.store, daemon.tracker._runner) == (store, runner)
        assert [spec.name for spec in daemon.tracker.dispatcher.specs] == ["new"]
        assert daemon.tracker.reconciler.policy_of("kling").deadline_s == 77
        assert (await daemon.submit(TOKEN))[0] == 401
        status, task = await daemon.submit(NEXT_TOKEN, account="other")
        assert (status, task["account"], task["reason"]) == (201, "other", None)
        assert task["user_message"] == "Wait for your video."
        upstream = find_job(second, str(task["external_id"]))
        assert str(upstream.callback_url).startswith("http://127.0.0.1:1/callbacks/kling/")
        for secret in (TOKEN, NEXT_TOKEN, DEFAULT_KEY, "sk-another-key-0123456789"):
            assert daemon.tracker.redactor.text(f"x {secret} y") == f"x {MASK} y"
        daemon.tracker.poller.first_tick.clear()
        await daemon.tracker.poller.first_tick.wait()  # the sweep continues with its new interval


async def test_tokens_come_and_go_with_a_reload(tmp_path: Path) -> None:
    """A new token works, a removed one is refused, and both are masked."""
    tokens = '[[server.tokens]]\nname = "{0}"\nscope = "{1}"\ntoken_file = "{0}"\n'
    async with Sandbox() as gateway, running(tmp_path, gateway.base_url) as daemon:
        for name in ("reader", "studio"):
            (tmp_path / name).write_text(f"token-of-{name}-not-real")
        assert (await daemon.submit("token-of-studio-not-real"))[0] == 401
        reader, studio = tokens.format("reader", "read"), tokens.format("studio", "submit")
        assert daemon.tracker.reload(daemon.write(more=reader + studio)) == (["server.tokens"], [])
        assert daemon.tracker.facts()["tokens"][0] == {"name": "reader", "scope": "read", "is_set": True}
        status, refusal = await daemon.submit("token-of-reader-not-real")
        assert (status, refusal["detail"]) == (
            403,
            "The token reader has the scope read; this call needs the scope submit.",
        )
        assert (await daemon.submit("token-of-studio-not-real"))[0] == 201
        assert daemon.tracker.redactor.text("x token-of-studio-not-real y") == f"x {MASK} y"
        daemon.tracker.reload(daemon.write((studio, "")))
        assert (await daemon.submit("token-of-studio-not-real"))[0] == 401


async def test_a_removed_account_affects_its_own_tasks_only(tmp_path: Path) -> None:
    """Removed accounts are no longer polled; other tasks continue."""
    async with Sandbox() as gateway, running(tmp_path, gateway.base_url) as daemon:
        extra = f'[accounts.extra]\nbase_url = "{gateway.base_url}"\napi_key_file = "key"\n'
        daemon.tracker.reload(daemon.write(more=extra))
        assert (await daemon.submit(TOKEN, account="extra"))[0] == 201
        changed, _ = daemon.tracker.reload(daemon.write((extra, "")))
        assert changed == ["accounts.extra"]
        assert (await daemon.submit(TOKEN, account="extra"))[0] == 422
        assert (await daemon.submit(TOKEN))[0] == 201


async def test_keys_that_need_a_restart_are_named(tmp_path: Path) -> None:
    """The address, the file and the callback secret are unchanged and named."""
    async with Sandbox() as gateway, running(tmp_path, gateway.base_url) as daemon:
        url = daemon.tracker.url
        (tmp_path / "secret").write_text("another secret of some length")
        edits = [
            ('listen = "127.0.0.1:0"', 'listen = "127.0.0.1:1"'),
            ('path = "tracker.db"', 'path = "other.db"'),
            ("[log]", '[callbacks]\nsecret_file = "secret"\n[log]'),
        ]
        changed, needs_restart = daemon.tracker.reload(daemon.write(*edits))
        assert changed == []
        assert needs_restart == ["server.listen", "store.path", "callbacks.secret_file", "callbacks.secret"]
        assert daemon.tracker.url == url
        assert (await daemon.submit(TOKEN))[0] == 201
        assert not (tmp_path / "other.db").exists()


async def test_a_refused_reload_changes_nothing(tmp_path: Path) -> None:
    """Every mistake is found before the first part changes."""
    async with Sandbox() as gateway, running(tmp_path, gateway.base_url) as daemon:
        daemon.tracker.reload(daemon.write(more=HOOK.format(name="old")))
        new = daemon.write(('name = "old"', 'name = "new"'), ("tick_s = 0.2", "tick_s = 0.3"))
        (tmp_path / "key").unlink()
        with pytest.raises(ConfigError, match="key"):
            daemon.tracker.reload(new)
        assert [spec.name for spec in daemon.tracker.dispatcher.specs] == ["old"]
        assert daemon.tracker._live.config.poll.tick_s == 0.2


def test_changes_are_named_as_the_file_names_them(tmp_path: Path) -> None:
    """Providers' tables and accounts are named by their path; unknown keys of a later release need a restart."""
    file = tmp_path / "tracker.toml"
    file.write_text("")
    old = load_config(file, {}, hook_table=hook_table)
    file.write_text('[poll.suno]\ndeadline_s = 5\n[callbacks]\ntrust = "confirm"\npark_s = 1\n[log]\nlevel = "debug"\n')
    assert list_changes(old, load_config(file, {}, hook_table=hook_table)) == (
        ["poll.suno", "callbacks.park_s", "log.level"],
        ["callbacks.trust"],
    )
    assert list_changes(old, old) == ([], [])
