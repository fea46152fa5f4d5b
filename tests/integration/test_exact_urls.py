"""Requested URLs, byte for byte: outputs, redirects, hooks and upstream routes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from yarl import URL

from tests.integration.test_hook_http import JOB, PAYLOAD, spec_of
from tests.integration.test_upstream import client_for
from tests.kits.archive import ArchiveWorld, Asked, RawServer, film, head_of
from tests.kits.hook_endpoint import SECRET
from tracker.clock import SystemClock
from tracker.domain.archives import ArchiveState
from tracker.domain.task import Output
from tracker.domain.upstream_http import WireRequest
from tracker.errors import ConfigError
from tracker.hooks.kinds.http import HttpHook, HttpRunner, make_action
from tracker.upstream.urls import base_url, request_target

SIGNED = "?Policy=a%2Fb%2Bc&sig=%7Ex%2f&t=a+b"
TARGETS = {
    f"/a%28b%29%27.mp4{SIGNED}": f"/a%28b%29%27.mp4{SIGNED}",
    f"/小猫.mp4{SIGNED}": f"/%E5%B0%8F%E7%8C%AB.mp4{SIGNED}",
    f"/a b/café/%28a%29.mp4{SIGNED}": f"/a%20b/caf%C3%A9/%28a%29.mp4{SIGNED}",
    "/a/../b/./c//(d)!*[e];f.mp4?": "/a/../b/./c//(d)!*[e];f.mp4?",
}


@pytest.mark.parametrize("given", TARGETS)
async def test_outgoing_requests_keep_the_urls_bytes(tmp_path: Path, given: str) -> None:
    """An output, a redirect to it in raw UTF-8, a hook, and a base URL with a prefix."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.path == "/go":
            writer.write(head_of("302 Found", 0)[:-2] + f"Location: {given}#t=1\r\n\r\n".encode())
        else:
            data = film(1000)
            writer.write(head_of("200 OK", len(data)) + data)

    runner = HttpRunner(SystemClock())
    async with (
        RawServer(answer) as server,
        ArchiveWorld(tmp_path) as world,
        client_for(server.url(given.partition("?")[0])) as up,
    ):
        task_id = await world.succeed(Output("video", server.url(given)), Output("video", server.url("/go")))
        records = await world.settle(task_id, 2)
        assert {record.state for record in records} == {ArchiveState.STORED}
        await runner.run(JOB, PAYLOAD, spec_of(server.url(given)))
        await up.client.fetch("default", WireRequest("GET", "/v1/tasks/a%2Fb%7E", query=(("id", "a/b"),)))
        wanted = TARGETS[given]
        joined = wanted.partition("?")[0].rstrip("/") + "/v1/tasks/a%2Fb%7E?id=a/b"
        assert sorted(asked.path for asked in server.asked) == sorted(["/go", wanted, wanted, wanted, joined])
    await runner.close()


async def test_a_latin_1_redirect_is_followed_to_its_bytes(tmp_path: Path) -> None:
    """A header that is not UTF-8 keeps its bytes."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.path == "/go":
            writer.write(head_of("302 Found", 0)[:-2] + b"Location: caf\xe9.mp4\r\n\r\n")
        else:
            writer.write(head_of("200 OK", 1000) + film(1000))

    async with RawServer(answer) as server, ArchiveWorld(tmp_path) as world:
        await world.settle(await world.succeed(Output("video", server.url("/go"))))
        assert server.asked[-1].path == "/caf%E9.mp4"


@pytest.mark.parametrize(
    "location", ["http://user@127.0.0.1/", "ftp://127.0.0.1/x", "http:///x", "http:\\\\127.0.0.1/"]
)
async def test_odd_redirects_end_an_attempt_for_good(tmp_path: Path, location: str) -> None:
    """A redirect that programs parse differently is not followed."""

    async def answer(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head_of("302 Found", 0, Location=location))

    async with RawServer(answer) as server, ArchiveWorld(tmp_path) as world:
        (record,) = await world.settle(await world.succeed(Output("video", server.url())))
        assert (record.state, record.attempts) == (ArchiveState.DEAD, 1)


def test_an_unusable_hook_url_is_a_configuration_error() -> None:
    """A host that programs parse differently is reported with its key."""
    hook = HttpHook(name="h", on=("task.*",), url="http://h\\x/hook", secret_env="HS")
    with pytest.raises(ConfigError, match=r"hooks\[h\]\.url: is not an http\(s\) URL; write"):
        make_action(hook, SECRET)


@pytest.mark.parametrize("value", ["up-1", "Az09.-_~", "", "a b", "a+b&c=d", "50%", "ä", "a/b?c"])
def test_plain_queries_are_encoded_like_all_others(value: str) -> None:
    """An id without special characters takes a short cut to the same bytes."""
    query = (("taskId", value), ("other", "x"))
    expected = URL("http://up.test").with_query(list(query)).raw_query_string
    assert request_target(base_url("http://up.test/v1/"), "/query", query) == f"/v1/query?{expected}"
