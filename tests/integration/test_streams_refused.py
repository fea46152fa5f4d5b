"""Streaming is out of scope: a request for it is refused with a clear message before anything is sent."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.kits.daemon import KEY_ENV, NEVER_POLLS, Setting, run_tracker, running_daemon
from tests.kits.route_requests import Json, request_of
from tracker.sandbox import DEFAULT_KEY, Sandbox

ASKED = {
    "openai.chat": {"stream": True},
    "openai.responses": {"stream": True},
    "openai.images": {"stream": True},
    "openai.video": {"stream": True},
    "anthropic.messages": {"stream": True},
    "gemini.generate": {"stream": True},
    "dashscope.image": {"stream": True},
}
MESSAGE = "streams are not supported, one final result is stored; remove it"


def request(route: str, **more: Json) -> dict[str, Json]:
    """A request that asks for a stream."""
    return request_of(route, "a kite") | more


@pytest.mark.parametrize("route", ASKED)
async def test_a_stream_is_refused_before_it_is_sent(tmp_path: Path, route: str) -> None:
    """422 with the field and the fix; nothing recorded, nothing sent. ``stream: false`` is accepted."""
    async with Sandbox() as sandbox:
        async with running_daemon(tmp_path, Setting(gateway=sandbox.base_url, poll=NEVER_POLLS)) as api:
            status, problem = await api.call(
                "POST", "/v1/tasks", {"route": route, "request": request(route, **ASKED[route])}
            )
            assert (status, problem["errors"]) == (422, [{"loc": ["request", "stream"], "msg": MESSAGE}])
            assert (await api.get("/v1/tasks"))["items"] == []
            assert sandbox.state()["creates"] == []
            await api.submit(route, request(route, stream=False))
        assert len(sandbox.state()["creates"]) == 1


async def test_the_command_line_reports_it_in_one_line(tmp_path: Path) -> None:
    """Exit 2, one line on standard error."""
    async with Sandbox() as sandbox, running_daemon(tmp_path, Setting(gateway=sandbox.base_url)) as api:
        ran = await run_tracker(
            "submit",
            "openai.chat",
            "--url",
            api.tracker.url,
            "-d",
            orjson.dumps(request("openai.chat", stream=True)).decode(),
            directory=tmp_path,
            env={KEY_ENV: DEFAULT_KEY},
        )
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert line == f"request.stream: {MESSAGE}"
