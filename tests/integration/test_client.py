"""`Client` and `AsyncClient` against a real server: records, errors, lost answers, restarts, the stream, downloads."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from tests.kits.client import KINDS, driving
from tests.kits.daemon import POLLS_AT_ONCE, Setting, running_daemon
from tests.kits.http_server import serving
from tests.kits.server import EXTERNAL_ID, ServerWorld
from tests.kits.waiting import until
from tracker.client import (
    AnswerInvalid,
    Conflict,
    CostView,
    DownloadFailed,
    GapView,
    InvalidRequest,
    NotFound,
    OverBudget,
    Reason,
    Status,
    TaskView,
    Unauthorized,
    Unreachable,
)
from tracker.domain.archives import ArchiveState
from tracker.domain.statuses import Origin, Source
from tracker.domain.task import SubmitState
from tracker.sandbox import Sandbox

SONG = {"customMode": False, "instrumental": False, "model": "V5", "prompt": "a summer breeze"}
TABLES = """
[archive]
allow_private_addresses = true
[prices]
"suno.generate" = { per_call = 0.08 }
[budget]
daily = 0.2
"""

pytestmark = pytest.mark.parametrize("kind", KINDS)


@dataclass
class Link:
    """What is between a client and a server.

    Attributes:
        loses: how many of the next answers do not come back, although the server has sent them.
        requests: the first lines of the requests.
    """

    url: str = ""
    loses: int = 0
    requests: list[str] = field(default_factory=list)


@asynccontextmanager
async def link_to(host: str, port: int) -> AsyncIterator[Link]:
    """Pass connections on to a server."""
    link = Link()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(host, port)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
            body = await reader.readexactly(int(length[1])) if length else b""
            link.requests.append(head.partition(b"\r\n")[0].decode())
            up_writer.write(head + body)
            answer = await up_reader.read(65536)
            if link.loses:
                link.loses -= 1
            else:
                writer.write(answer)
        finally:
            writer.close()
            up_writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with server:
        link.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield link


# -- a task from its submit to its files --------------------------------------------------------------------


async def test_a_task_from_its_submit_to_its_files(tmp_path: Path, kind: str) -> None:
    """Every method, against the daemon and the sandbox; records are those of the daemon."""
    async with Sandbox(duration_s=0.2) as sandbox:
        setting = Setting(sandbox.base_url, poll=POLLS_AT_ONCE, tables=TABLES)
        async with running_daemon(tmp_path, setting) as api, driving(kind, setting.url) as driver:
            price = await driver.call("price", "suno.generate", SONG)
            assert price == CostView(0.08, "USD", price.kind)
            made = await driver.call(
                "submit", "suno.generate", SONG, labels={"user": "42"}, account="default", idempotency_key="order-7"
            )
            assert isinstance(made, TaskView)
            again = await driver.call("submit", "suno.generate", SONG, labels={"user": "42"}, account="default",
                                      idempotency_key="order-7")  # fmt: skip
            assert again.id == made.id
            ended = await driver.call("wait", made.id)
            assert (ended.status, ended.labels) == (Status.SUCCEEDED, {"user": "42"})
            files = await driver.call("download", made.id, tmp_path / "files")
            task = await driver.call("get", made.id)
            assert [file.stat().st_size for file in files] == [output.bytes for output in task.outputs]
            assert await driver.call("download", made.id, str(tmp_path / "files")) == files
            assert await driver.call("read_output", made.id, 0) == files[0].read_bytes()
            with pytest.raises(NotFound):
                await driver.call("read_output", made.id, 9)
            assert {item.state for item in await driver.call("archive", made.id)} == {ArchiveState.STORED}
            files[0].write_text("mine")
            with pytest.raises(DownloadFailed, match=r"exists with other content; .* overwrite it with force=True"):
                await driver.call("download", made.id, tmp_path / "files")
            assert await driver.call("download", made.id, tmp_path / "files", force=True) == files
            assert files[0].stat().st_size == task.outputs[0].bytes
            events = await driver.call("events", made.id)
            assert (events[0].source, events[-1].to_status) == (Source.SUBMIT, Status.SUCCEEDED)
            why = await driver.call("why", made.id)
            assert (why.id, why.status) == (made.id, Status.SUCCEEDED)
            assert await driver.call("deliveries", made.id) == []
            assert (await driver.call("poll", made.id)).status is Status.SUCCEEDED
            second = await driver.call("resubmit", made.id)
            assert (second.retry_of, second.id) == (made.id, (await driver.call("resubmit", made.id)).id)
            with pytest.raises(OverBudget, match="budget") as over:
                await driver.call("submit", "suno.generate", {**SONG, "prompt": "rain"})
            assert over.value.problem["reason"] == "quota_exhausted"
            with pytest.raises(InvalidRequest) as wrong:
                await driver.call("submit", "suno.generate", {"prompt": "x"})
            assert ("request", "model") in [error.loc for error in wrong.value.errors]
            assert len(sandbox.state()["jobs"]) == 2
            assert [item["id"] for item in (await api.get("/v1/tasks"))["items"]] == [second.id, made.id]


async def test_the_rest_of_the_calls(world: ServerWorld, kind: str) -> None:
    """Lists over several pages and with filters, tracking, adopting, canceling, and what does not exist."""
    ids = [await world.make_task(external_id=f"x{n}") for n in range(5)]
    await world.end_task(ids[1])
    async with driving(kind, str(world.client.make_url("/"))) as driver:
        found = [task.id async for task in driver.items("list", limit=2)]
        assert found == sorted(ids, reverse=True)
        assert [task.id async for task in driver.items("list", status=Status.SUCCEEDED)] == [ids[1]]
        since = datetime.now(UTC) + timedelta(days=36500)
        assert [task.id async for task in driver.items("list", since=since)] == []
        assert [task.id async for task in driver.items("list", labels={"user": "0"})] == []
        assert "suno.generate" in [route.route for route in await driver.call("routes")]
        route = await driver.call("route", "suno.generate", account="default")
        assert (route.account, route.mode, "prompt" in route.example) == ("default", "task", True)
        with pytest.raises(NotFound, match="did you mean suno"):
            await driver.call("route", "suno.generat")
        tracked = await driver.call("track", "suno.generate", EXTERNAL_ID, labels={"a": "b"})
        assert (tracked.external_id, tracked.labels, tracked.origin) == (EXTERNAL_ID, {"a": "b"}, Origin.REGISTER)
        canceled = await driver.call("cancel", ids[0])
        assert canceled.reason is Reason.CANCELED
        with pytest.raises(Conflict, match="has ended already"):
            await driver.call("cancel", ids[0])
        new = world.new_task(external_id=None, submit_state=SubmitState.AMBIGUOUS)
        undecided = (await world.store.create_task(new)).record.task.id
        adopted = await driver.call("adopt", undecided, "x9")
        assert adopted.external_id == "x9"
        with pytest.raises(NotFound):
            await driver.call("get", "01HZZZZZZZZZZZZZZZZZZZZZZZ")
        with pytest.raises(InvalidRequest, match="stat"):
            await driver.first(1, "list", stat="FAILED")
        task = await driver.call("get", ids[2])
        assert task == await driver.call("wait", ids[2], 0.01)
        assert task.created_at == (await world.get(ids[2])).task.created_at


# -- what goes wrong ---------------------------------------------------------------------------------------


async def test_a_lost_answer_never_pays_twice(tmp_path: Path, kind: str) -> None:
    """The submit is repeated with the key that it was given, and finds the task of the first attempt."""
    async with Sandbox(duration_s=0.2) as sandbox:
        setting = Setting(sandbox.base_url)
        async with running_daemon(tmp_path, setting) as api, link_to("127.0.0.1", setting.port) as link:
            async with driving(kind, link.url) as driver:
                link.loses = 2
                task = await driver.call("submit", "suno.generate", SONG)
                assert link.requests == ["POST /v1/tasks HTTP/1.1"] * 3
                link.loses = 1
                with pytest.raises(Unreachable) as lost:
                    await driver.call("cancel", task.id)
                assert lost.value.is_sent
                assert link.requests[3:] == [f"POST /v1/tasks/{task.id}/cancel HTTP/1.1"]
            async with driving(kind, link.url, patience_s=0) as driver:
                link.loses = 1
                with pytest.raises(Unreachable):
                    await driver.call("submit", "suno.generate", SONG)
            assert [item["id"] for item in (await api.get("/v1/tasks"))["items"]][1:] == [task.id]
            assert len(sandbox.state()["jobs"]) == 2


async def test_a_busy_or_restarting_daemon_is_asked_again(kind: str) -> None:
    """503 with ``Retry-After`` and a proxy's 502; not the answer that the upstream was not asked."""
    problem = {"title": "Service Unavailable", "status": 503, "type": "urn:tracker:problem:store-unavailable"}
    answers = [
        web.json_response(problem, status=503, headers={"Retry-After": "0"}),
        web.Response(status=502, text="<html>", headers={"Retry-After": "0"}),
        web.json_response({"items": [], "next_cursor": None}),
    ]
    paths: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        paths.append(request.path)
        return answers[len(paths) - 1]

    async with serving(answer) as url, driving(kind, f"{url}/behind/a/proxy/") as driver:
        assert [task async for task in driver.items("list")] == []
    assert paths == ["/behind/a/proxy/v1/tasks"] * 3


async def test_errors_name_their_cause(tmp_path: Path, kind: str) -> None:
    """No daemon, another program, a wrong token, and another version, each with its own error."""
    async with driving(kind, "http://127.0.0.1:1", patience_s=0) as driver:
        with pytest.raises(Unreachable, match=r"no daemon at http://127.0.0.1:1 \(.*refused") as refused:
            await driver.call("get", "x")
        assert not refused.value.is_sent
    async with driving(kind, f"unix:{tmp_path / 'none.sock'}", patience_s=0) as driver:
        with pytest.raises(Unreachable, match="no such file"):
            await driver.call("get", "x")

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="<html>")

    async def older(_request: web.Request) -> web.Response:
        return web.json_response({"id": "01"})

    async with serving(page) as url, driving(kind, url) as driver:
        with pytest.raises(AnswerInvalid, match="not an answer of a tracker"):
            await driver.call("get", "x")
        with pytest.raises(AnswerInvalid, match="without a stream"):
            await driver.first(1, "stream")
    async with serving(older) as url, driving(kind, url) as driver:
        with pytest.raises(AnswerInvalid, match=r"missing required field .* same version"):
            await driver.call("get", "x")
    async with ServerWorld(tmp_path, api_token="right") as world:
        task_id = await world.make_task()
        url = str(world.client.make_url(""))
        async with driving(kind, url, "wrong") as driver:
            with pytest.raises(Unauthorized):
                await driver.call("get", task_id)
            with pytest.raises(Unauthorized):
                await driver.first(1, "stream")
        async with driving(kind, url, "right") as driver:
            assert (await driver.call("get", task_id)).id == task_id


async def test_a_unix_socket(world: ServerWorld, short_path: Path, kind: str) -> None:
    """Calls and the stream."""
    task_id = await world.make_task()
    site = web.UnixSite(world.runner, str(short_path / "t.sock"))
    await site.start()
    async with driving(kind, f"unix:{short_path / 't.sock'}") as driver:
        assert (await driver.call("get", task_id)).id == task_id
        await world.poll(task_id, Status.RUNNING)
        assert [event.task.id for event in await driver.first(1, "stream", 0)] == [task_id]


# -- waiting and streams -----------------------------------------------------------------------------------


def cut_connections(world: ServerWorld) -> None:
    """End every connection, as a crash does."""
    assert world.runner.server is not None
    for connection in world.runner.server.connections:
        connection.force_close()


async def test_waiting_survives_a_lost_connection(world: ServerWorld, kind: str) -> None:
    """And ends with the task, or with its own time limit."""
    task_id = await world.make_task()
    async with driving(kind, str(world.client.make_url(""))) as driver:
        assert (await driver.call("wait", task_id, timeout_s=0.05)).status is Status.PENDING
        waiting = asyncio.ensure_future(driver.call("wait", task_id))
        await until(lambda: world.services.feed.changes._watched)
        cut_connections(world)
        await world.end_task(task_id)
        assert (await waiting).status is Status.SUCCEEDED


async def test_the_stream_has_every_event_once(world: ServerWorld, kind: str) -> None:
    """From a position or from now on, with filters; gaps are told, and a cut neither loses nor repeats anything."""
    first, second = await world.make_task(external_id="a"), await world.make_task(external_id="b")
    await world.poll(second, Status.RUNNING)
    await world.end_task(second)
    async with driving(kind, str(world.client.make_url(""))) as driver:
        seen: asyncio.Queue[object] = asyncio.Queue()

        async def follow(*, route: str = "suno.generate") -> None:
            async for event in driver.items("stream", 0, route=route):
                seen.put_nowait(event if isinstance(event, GapView) else event.seq)
                if seen.qsize() == 5:
                    return

        following = asyncio.ensure_future(follow())
        await until(lambda: seen.qsize() == 2)
        cut_connections(world)
        await world.poll(first, Status.RUNNING)
        await until(lambda: seen.qsize() == 3)
        cut_connections(world)
        await world.end_task(first)
        await world.poll(await world.make_task(external_id="c"), Status.RUNNING)
        await following
        assert [seen.get_nowait() for _ in range(5)] == [1, 2, 3, 4, 5]
        world.edit("DELETE FROM events WHERE task_id = ?", second)
        found = await driver.first(2, "stream", 0)
        assert [one if isinstance(one, GapView) else one.seq for one in found] == [GapView(1, 2), 3]
        assert [event.seq for event in await driver.first(1, "stream", 3, task=first)] == [4]
        with pytest.raises(InvalidRequest, match="no such route"):
            await driver.first(1, "stream", route="suno.generat")
        with pytest.raises(InvalidRequest, match="after the newest event"):
            await driver.first(1, "stream", 1000)
