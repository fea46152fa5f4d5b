"""Shipped provider files: each is played by the sandbox and followed by a daemon, by polls and by callbacks."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.kits.daemon import NEVER_POLLS, POLLS_AT_ONCE, ApiClient, Json, Setting, account, running_daemon
from tests.kits.sandbox import SHORT_S
from tracker.daemon.provider_files import list_shipped, read_registry
from tracker.providers.provider import Provider
from tracker.providers.route import SAMPLE_PROMPT
from tracker.sandbox import Chaos, Sandbox, load_providers

SHIPPED = list_shipped()
FAULTS = ("policy", "error", "canceled")
MODELS = {"fal": "fal-ai/minimax/video-01", "replicate": "black-forest-labs/flux-schnell"}
POLL_ONLY = frozenset({"runway", "veo"})
"""No callback URL is in their requests."""
POLLED_WHEN_CALLED = frozenset({"minimax", "openrouter"})
"""Its callbacks only cause a poll."""
every_file = pytest.mark.parametrize("name", SHIPPED)


def install(directory: Path, name: str) -> Provider:
    """Copy a shipped file as a user does; the provider that it defines."""
    (directory / "providers.d").mkdir()
    with (directory / "providers.d" / f"{name}.toml").open("wb") as file, SHIPPED[name].open("rb") as shipped:
        shutil.copyfileobj(shipped, file)
    provider = read_registry(directory / "providers.d").provider_named(name)
    assert provider is not None
    return provider


def request_of(provider: Provider, route_name: str, text: str) -> dict[str, Json]:
    """A smallest request of a route, with a text for the sandbox."""

    def put(value: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        if isinstance(value, Mapping):
            return {key: put(inner) for key, inner in value.items()}
        return text if value == SAMPLE_PROMPT else value

    route = next(route for route in provider.routes if route.name == route_name)
    request = {"prompt": text, **put(route.sample)}
    return request | ({"model": MODELS[provider.name]} if "model" in request and provider.name in MODELS else {})


async def run(api: ApiClient, provider: Provider, route: str, script: str = "") -> Json:
    """Submit a request with directives for the sandbox and wait for its end."""
    text = f"a kite [sandbox: {script}]" if script else "a kite"
    return await api.end_of(await api.submit(route, request_of(provider, route, text)))


@every_file
@pytest.mark.parametrize("channel", ["poll", "callback"])
async def test_tasks_of_a_shipped_provider_end(tmp_path: Path, name: str, channel: str) -> None:
    """Success with files, failures and refusals with their reasons, by polls alone and by callbacks."""
    provider = install(tmp_path, name)
    is_called_back = channel == "callback"
    if is_called_back and name in POLL_ONLY:
        assert all(route.callback_field is None and route.callback_parameter is None for route in provider.routes)
        return
    (played,) = load_providers(tmp_path / "providers.d")
    async with Sandbox(duration_s=SHORT_S, chaos=Chaos(retry_after_s=0), providers=[played]) as sandbox:
        setting = Setting(
            poll=NEVER_POLLS if is_called_back else POLLS_AT_ONCE,
            is_called_back=is_called_back,
            tables="\n".join(
                [account(name, sandbox.base_url + played.prefix), "[archive]", "allow_private_addresses = true"]
            ),
        )
        first = provider.routes[0].name
        async with running_daemon(tmp_path, setting) as api:
            scripts = [*(f"fail={fault}" for fault in FAULTS), "create=policy"]
            scripts += [] if is_called_back else ["create=throttled"]
            routes = [route.name for route in provider.routes]
            ended = await asyncio.gather(
                *(run(api, provider, route) for route in routes), *(run(api, provider, first, one) for one in scripts)
            )
            quota = await run(api, provider, first, "create=quota")  # others of the account wait after it
    policy, broken, canceled, refused, *throttled = ended[len(routes) :]
    for task in (*ended[: len(routes)], *throttled):
        assert (task["status"], task["reason"]) == ("SUCCEEDED", None), task
        assert task["outputs"], task
        assert is_called_back == (task["callbacks"] > 0), task
        assert (is_called_back and name not in POLLED_WHEN_CALLED) == (task["polls"] == 0), task
    knows_policy = '"policy_rejected"' in SHIPPED[name].read_text(encoding="utf-8")
    assert [task["status"] for task in (policy, broken, canceled, refused, quota)] == ["FAILED"] * 5
    assert policy["reason"] == ("policy_rejected" if knows_policy else "generation_failed"), policy
    assert refused["reason"] == ("policy_rejected" if knows_policy else "invalid_request"), refused
    assert (canceled["reason"], quota["reason"]) == ("generation_failed", "quota_exhausted"), (canceled, quota)
    assert broken["reason"] in {"generation_failed", "upstream_unavailable"}, broken
    assert all(task["error"]["message"] for task in (policy, broken, refused, quota))
