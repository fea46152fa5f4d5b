"""The history of all tasks over HTTP: as Server-Sent Events, and as pages of JSON."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import textwrap
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from tests.integration.test_server_wire import Sender
from tests.kits.daemon import run_tracker
from tests.kits.logs import captured_logs
from tests.kits.server import ServerWorld, locs, problem_of
from tests.kits.streams import Stream, open_stream, open_unread, seqs
from tests.kits.waiting import WITHIN_S, until
from tracker.cli.client import Client
from tracker.cli.exits import Refused, Unreachable
from tracker.client.following import follow
from tracker.client.sse import Message
from tracker.domain.observation import Source
from tracker.domain.task import Reason, Status, TaskId
from tracker.tracking.feed import TURNS

LAST_CHUNK = b"\r\n0\r\n\r\n"
"""The end of a complete body."""


async def make_history(world: ServerWorld, tasks: int, *, at_once: int = 200) -> list[TaskId]:
    """Two events for each of so many tasks."""
    made = [await world.make_task(external_id=f"x-{n}") for n in range(tasks)]
    for start in range(0, tasks, at_once):
        part = made[start : start + at_once]
        await asyncio.gather(*(world.call(task_id, Status.RUNNING) for task_id in part))
        await asyncio.gather(*(world.end_task(task_id) for task_id in part))
    return made


async def get_page(world: ServerWorld, query: str = "") -> dict[str, Any]:
    """A page of the feed as JSON."""
    async with world.client.get(f"/v1/events{query}") as answer:
        assert answer.status == 200, await answer.text()
        page: dict[str, Any] = await answer.json()
        return page


# -- events ------------------------------------------------------------------------------------------------


async def test_a_stream_has_each_event_with_its_task(world: ServerWorld) -> None:
    """From now on by default; the JSON is that of the history and of the task, and the id is the seq."""
    task_id = await world.make_task()
    await world.poll(task_id, at=1)
    async with open_stream(world.client) as stream:
        headers = stream.response.headers
        assert headers["Content-Type"] == "text/event-stream"
        assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-store", "no")
        assert "Content-Encoding" not in headers
        first = stream.position
        assert first == await world.store.last_seq()
        await world.poll(task_id, Status.RUNNING)
        running = await stream.next()
        task = await (await world.client.get(f"/v1/tasks/{task_id}")).json()
        events = (await (await world.client.get(f"/v1/tasks/{task_id}/events")).json())["items"]
        assert (running.event, running.id) == ("task", first + 1)
        assert running.data == events[-1] | {"task": task}
        await world.end_task(task_id)
        ended = await stream.next()
        assert (ended.data["to"], ended.data["task"]["status"]) == ("SUCCEEDED", "SUCCEEDED")
        assert ended.data["payload"] == ended.data["task"]["result"] == {"ok": True}


async def test_a_stream_resumes_without_a_gap_or_a_repeat(world: ServerWorld) -> None:
    """After the last id, wherever that is; the header wins over the parameter; the task is as it is now."""
    await make_history(world, 5)
    newest = await world.store.last_seq()
    assert newest == 10
    for sent, query, expected in (
        (None, "?after=0", 0),
        (0, "", 0),
        (4, "", 4),
        (7, "?after=2", 7),
        (None, "?after=9", 9),
        ("  ", "?after=3", 3),
    ):
        async with open_stream(world.client, query, last_event_id=sent) as stream:
            assert stream.position == expected
            messages = await stream.until(newest)
            assert seqs(messages) == list(range(expected + 1, newest + 1))
            assert {message.data["task"]["status"] for message in messages} == {"SUCCEEDED"}
    async with open_stream(world.client, last_event_id=newest) as stream:
        task_id = await world.make_task()
        await world.poll(task_id, Status.RUNNING)
        assert (await stream.next()).id == newest + 1


@pytest.mark.parametrize(
    ("query", "headers", "loc", "text"),
    [
        ("?after=3", {}, ["query", "after"], "3 is after the newest event, 2"),
        ("", {"Last-Event-ID": "3"}, ["header", "Last-Event-ID"], "3 is after the newest event, 2"),
        ("", {"Last-Event-ID": "abc"}, ["header", "Last-Event-ID"], "must be the seq of an event"),
        ("", {"Last-Event-ID": "-1"}, ["header", "Last-Event-ID"], "must be the seq of an event"),
        ("", {"Last-Event-ID": "9" * 19}, ["header", "Last-Event-ID"], "must be the seq of an event"),
        ("?after=1.5", {}, ["query", "after"], "must be the seq of an event"),
        ("?after=", {}, ["query", "after"], "must be the seq of an event"),
        ("?after=1&after=2", {}, ["query", "after"], "more than once"),
        ("?rote=suno.generate", {}, ["query", "rote"], "did you mean route?"),
        ("?route=suno.generat", {}, ["query", "route"], "did you mean suno.generate"),
        ("?account=defualt", {}, ["query", "account"], "did you mean default?"),
        ("?status=DONE", {}, ["query", "status"], "must be one of PENDING"),
        ("?task=01M7", {}, ["query", "task"], "must be the id of a task"),
        ("?task=01M7XB3ME0000000000000000Z", {}, ["query", "task"], "no task has this id"),
    ],
)
async def test_what_is_wrong_is_said(
    world: ServerWorld, query: str, headers: dict[str, str], loc: list[str], text: str
) -> None:
    """A malformed or future position, an unknown filter, a name that nothing has: 422 with the field and a fix."""
    await make_history(world, 1)
    for method, path in (("GET", "stream"), ("HEAD", "stream"), ("GET", "events")):
        if path == "events" and headers:
            continue
        async with world.client.request(method, f"/v1/{path}{query}", headers=headers) as answer:
            if method == "HEAD":
                assert answer.status == 422
                continue
            problem = await problem_of(answer, 422)
            assert locs(problem) == [loc]
            assert text in problem["errors"][0]["msg"]


async def test_head_answers_as_get_does_and_ends(world: ServerWorld) -> None:
    """The headers of a stream, no body, and the connection serves the next request."""
    async with world.client.head("/v1/stream") as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert answer.headers["Content-Type"] == "text/event-stream"
    assert world.services.feed.readers == 0


async def test_what_retention_removed_is_told_as_a_gap(world: ServerWorld) -> None:
    """One message for each range, before what follows it; it has an id, so that it is told once."""
    tasks = await make_history(world, 4, at_once=1)  # two events each
    world.edit("DELETE FROM events WHERE task_id IN (?, ?)", tasks[0], tasks[1])
    async with open_stream(world.client, "?after=0") as stream:
        gap = await stream.next()
        assert (gap.event, gap.id, gap.data) == ("gap", 4, {"from": 1, "to": 4})
        assert seqs(await stream.until(8)) == [5, 6, 7, 8]
    async with open_stream(world.client, last_event_id=2) as stream:
        assert (await stream.next()).data == {"from": 3, "to": 4}
    async with open_stream(world.client, last_event_id=4) as stream:
        assert (await stream.next()).event == "task"
    world.edit("DELETE FROM events WHERE task_id IN (?, ?)", tasks[2], tasks[3])
    async with open_stream(world.client, f"?after=5&task={tasks[3]}") as stream:
        assert (await stream.next()).data == {"from": 6, "to": 8}
    page = await get_page(world, "?after=2")
    assert page == {"items": [], "last_seq": 8, "gap": {"from": 3, "to": 8}}


# -- filters -----------------------------------------------------------------------------------------------


async def test_filters_let_the_same_events_pass_whenever_they_are_read(world: ServerWorld) -> None:
    """Live, resumed and as JSON; status and reason are those right after the event, whatever the task is now."""
    song = world.new_task(request='{"prompt": "A Summer breeze"}', labels={"user": "42", "plan": "pro"}, model="V5")
    video = world.new_task(route="kling.omni-video", external_id="up-7")
    created = [(await world.store.create_task(new)).record.task.id for new in (song, video)]
    filters: dict[str, list[int]] = {
        "": [1, 2, 3, 4, 5],
        "status=RUNNING": [1, 2],
        "status=FAILED": [3],
        "status=SUCCEEDED": [4, 5],
        "reason=expired": [3],
        "reason=canceled": [],
        "provider=kling": [2, 5],
        "route=suno.generate": [1, 3, 4],
        "account=default": [1, 2, 3, 4, 5],
        "label.user=42": [1, 3, 4],
        "label.user=42&label.plan=pro&status=RUNNING": [1],
        "label.user=43": [],
        "q=summer": [1, 3, 4],
        "q=UP-7": [2, 5],
        "q=plan%3Dpro": [1, 3, 4],
        "q=winter": [],
        f"task={created[1]}": [2, 5],
        f"task={created[1]}&status=RUNNING": [2],
        "since=2026-11-20": [1, 2, 3, 4, 5],
        "until=2026-11-20": [],
    }
    async with AsyncExitStack() as stack:
        streams: dict[str, Stream] = {}
        for query in filters:
            streams[query] = await stack.enter_async_context(open_stream(world.client, f"?{query}"))
        await world.poll(created[0], Status.RUNNING)
        await world.poll(created[1], Status.RUNNING)
        await world.poll(created[0], Status.FAILED, reason=Reason.EXPIRED, source=Source.CLOCK)
        await world.end_task(created[0])
        await world.end_task(created[1])
        assert await world.store.last_seq() == 5
        live = {"": seqs(await streams[""].until(5))}
        for query, expected in filters.items():
            page = await get_page(world, f"?{query}")
            assert ([item["seq"] for item in page["items"]], page["last_seq"]) == (expected, 5), query
            if expected:
                async with open_stream(world.client, f"?after=0&{query}") as resumed:
                    assert seqs(await resumed.until(expected[-1])) == expected, query
        await world.services.feed.close()
        live |= {query: seqs(await stream.rest()) for query, stream in streams.items() if query}
    assert live == filters


async def test_a_filter_counts_what_it_did_not_let_pass(world: ServerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The id moves on without data, so that a client that resumes does not have it searched again."""
    monkeypatch.setattr("tracker.tracking.feed.WAKE_S", 0.05)
    async with open_stream(world.client, "?status=FAILED") as stream:
        await make_history(world, 2)
        while stream.position != 4:
            assert (await stream.message()).data is None


async def test_a_silent_stream_is_pinged(world: ServerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a comment, which no client takes for a message."""
    monkeypatch.setattr("tracker.tracking.feed.WAKE_S", 0.05)
    monkeypatch.setattr("tracker.tracking.changes.RECHECK_S", 0.02)
    async with open_stream(world.client) as stream:
        for _ in range(3):
            assert await stream.response.content.readline() == b": ping\n"


# -- many clients, slow clients ----------------------------------------------------------------------------


async def test_clients_share_the_work(world: ServerWorld) -> None:
    """Fifty streams with one filter cost no more reads than one, and get the same bytes."""
    made = [await world.make_task(external_id=f"x-{n}") for n in range(10)]
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(open_stream(world.client)) for _ in range(50)]
        before = world.store.calls.copy()
        for task_id in made:
            await world.call(task_id, Status.RUNNING)
        for stream in streams:
            assert seqs(await stream.until(10)) == list(range(1, 11))
        assert world.store.calls["read_events"] - before["read_events"] <= 10
        assert world.store.calls["list_events_after"] - before["list_events_after"] <= 20
        assert len({stream.raw for stream in streams}) == 1
    await until(lambda: world.services.feed.readers == 0)
    assert world.services.feed._follower is None


async def test_a_slow_client_costs_no_memory_and_misses_nothing(world: ServerWorld) -> None:
    """It reads nothing while 6 MB of events come; another is not delayed, and it gets all of them in the end."""
    request = orjson.dumps({"prompt": "x" * 60_000}).decode()
    task_id = (await world.store.create_task(world.new_task(request=request))).record.task.id
    async with open_unread(world.client.make_url("/")) as unread, open_stream(world.client) as quick:
        await until(lambda: world.services.feed.readers == 2)
        assert world.runner.server is not None
        transports = [one.transport for one in world.runner.server.connections if one.transport is not None]
        reading = asyncio.ensure_future(quick.until(100))
        for n in range(100):
            await world.poll(task_id, Status.RUNNING, progress=n, at=n)
        assert seqs(await reading) == list(range(1, 101))
        held = sorted(transport.get_write_buffer_size() for transport in transports)
        assert held[0] == 0 < held[-1] < 2_000_000, held
        assert sum(chunk.size for window in world.services.feed._windows.values() for chunk in window._chunks) < 2e6
        received = b""
        async with asyncio.timeout(WITHIN_S):
            while b"id: 100\n" not in received[-200_000:]:
                received += await unread.read(100_000)
        assert [int(seq) for seq in re.findall(rb"id: (\d+)\nevent: task", received)] == list(range(1, 101))


async def test_a_client_that_stops_reading_is_disconnected(world: ServerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the end: it has read nothing for the time that is allowed."""
    monkeypatch.setattr("tracker.server.streams.STALL_S", 0.2)
    request = orjson.dumps({"prompt": "x" * 60_000}).decode()
    task_id = (await world.store.create_task(world.new_task(request=request))).record.task.id
    async with open_unread(world.client.make_url("/")) as unread:
        await until(lambda: world.services.feed.readers == 1)
        for n in range(100):
            await world.poll(task_id, Status.RUNNING, progress=n, at=n)
        await until(lambda: world.services.feed.readers == 0)
        assert not (await unread.read()).endswith(LAST_CHUNK)


async def test_the_number_of_streams_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A further one is answered 503 with the reason; one that was closed makes room within a second."""
    monkeypatch.setattr("tracker.tracking.changes.RECHECK_S", 0.02)
    async with ServerWorld(tmp_path, max_streams=2) as world, open_stream(world.client), AsyncExitStack() as stack:
        await stack.enter_async_context(open_stream(world.client, "?status=FAILED"))
        for path in ("/v1/stream", "/v1/events?wait=1"):
            async with world.client.get(path) as answer:
                problem = await problem_of(answer, 503)
                assert problem["type"].endswith("too-many-streams")
                assert "2 are open" in problem["detail"]
                assert answer.headers["Retry-After"]
        await stack.aclose()
        await until(lambda: world.services.feed.readers == 1)
        async with open_stream(world.client):
            pass


async def test_the_limits_of_connections_spare_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the time limits of heads and idle connections nor the need for a connection cuts a silent stream."""
    limits = {"max_connections": 2, "head_s": 0.05, "keepalive_timeout": 0.05}
    async with ServerWorld(tmp_path, limits=limits) as world:
        task_id = await world.make_task()
        async with open_stream(world.client) as stream:
            for _ in range(5):  # each needs a connection
                silent = await Sender.to(world)
                assert (await silent.answer()).raw == b""
            await world.poll(task_id, Status.RUNNING)
            assert (await stream.next()).id == 1


# -- order, failures, the end ------------------------------------------------------------------------------


WRITE_BESIDE = """
    import sqlite3, sys
    path, task = sys.argv[1:]
    db = sqlite3.connect(path, timeout=30, isolation_level=None)
    for n in range(60):
        db.execute("BEGIN IMMEDIATE")
        for half in "ab":
            db.execute(
                "INSERT INTO events (task_id, at, source, outcome, from_status, to_status, detail, dedupe_key, reading)"
                " VALUES (?, 0, 'operator', 'ignored', 'PENDING', 'PENDING', 'x', ?, '{}')", (task, f"{n}{half}"))
        db.execute("COMMIT")
        print(n, flush=True)
        sys.stdin.readline()
"""


async def test_the_order_is_that_of_commits_whoever_commits(world: ServerWorld) -> None:
    """Another process writes between and beside the group commits: every seq comes once, in growing order."""
    made = [await world.make_task(external_id=f"x-{n}") for n in range(4)]
    other = await world.make_task(external_id="other")
    pipe = asyncio.subprocess.PIPE
    async with open_stream(world.client) as stream:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", textwrap.dedent(WRITE_BESIDE), str(world.path), other, stdin=pipe, stdout=pipe
        )
        assert process.stdin is not None
        assert process.stdout is not None
        reading = asyncio.ensure_future(stream.until(120 + 60 * len(made)))
        for n in range(60):
            process.stdin.write(b"\n")  # both at the same time
            await asyncio.gather(*(world.call(task_id, Status.RUNNING, progress=n, at=n) for task_id in made))
            await process.stdout.readline()
        assert await process.wait() == 0
        assert await world.store.last_seq() == 120 + 60 * len(made)
        messages = await reading
    assert seqs(messages) == list(range(1, len(messages) + 1))
    sources = [message.data["source"] for message in messages]
    assert sources.count("operator") == 120
    changes = sum(one != next_one for one, next_one in pairwise(sources))
    assert changes > 60, "they did not take turns"


async def test_a_store_that_cannot_be_read_delays_streams(world: ServerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go on where they were, one at the end of the history and one that is behind it."""
    monkeypatch.setattr("tracker.tracking.changes.RECHECK_S", 0.02)
    monkeypatch.setattr("tracker.tracking.feed.RECHECK_S", 0.02)
    await make_history(world, 1)
    task_id = await world.make_task()
    with captured_logs() as logged:
        async with open_stream(world.client) as live:
            world.store.fail("list_events_after", "read_events", times=3)
            await world.poll(task_id, Status.RUNNING)
            async with open_stream(world.client, "?after=0&status=RUNNING") as behind:
                assert seqs(await behind.until(3)) == [1, 3]
            assert seqs(await live.until(3)) == [3]
    assert {(line["event"], line["step"]) for line in logged} == {("feed.failed", "follow"), ("feed.failed", "read")}
    await until(lambda: world.services.feed.readers == 0)
    world.store.fail("last_seq")
    for path in ("/v1/stream", "/v1/events"):
        async with world.client.get(path) as answer:
            assert (await problem_of(answer, 503))["type"].endswith("store-unavailable")
    assert world.services.feed.readers == 0


async def test_an_error_of_the_program_ends_streams_which_resume(world: ServerWorld) -> None:
    """None is left open without events; the log has the error."""
    task_id = await world.make_task()
    with captured_logs() as logged:
        async with open_stream(world.client) as stream, open_stream(world.client, "?status=FAILED") as other:
            world.store.fail("read_events", error=RuntimeError("a bug"), times=1)
            await world.poll(task_id, Status.RUNNING)
            assert (await stream.rest(), await other.rest()) == ([], [])
    assert [(line["event"], line["level"], line["step"]) for line in logged] == [("feed.failed", "error", "follow")]
    async with open_stream(world.client, last_event_id=stream.position) as stream:
        assert (await stream.next()).id == 1
    await until(lambda: world.services.feed.readers == 0)
    assert (world.services.feed._windows, world.services.feed._follower) == ({}, None)


async def test_a_stop_ends_every_stream(world: ServerWorld) -> None:
    """Two hundred, one of them of a client that does not read, before the server waits for any connection.

    Each ends with a complete body, except for that one, whose connection is cut.
    """
    request = orjson.dumps({"prompt": "x" * 60_000}).decode()
    large = (await world.store.create_task(world.new_task(request=request))).record.task.id
    feed = world.services.feed
    async with AsyncExitStack() as stack:
        unread = await stack.enter_async_context(open_unread(world.client.make_url("/"), f"?task={large}"))
        await until(lambda: feed.readers == 1)
        for n in range(100):
            await world.poll(large, Status.RUNNING, progress=n, at=n)
        session = aiohttp.ClientSession(world.client.make_url("/"), connector=aiohttp.TCPConnector(limit=0))
        await stack.enter_async_context(session)
        streams = [await stack.enter_async_context(open_stream(session, "?status=FAILED")) for _ in range(199)]
        assert feed.readers == 200
        page = asyncio.ensure_future(get_page(world, "?after=100&wait=60&limit=1"))
        await until(lambda: feed.readers == 201)
        await world.app.shutdown()  # what the server does first
        await until(lambda: feed.readers == 0)
        assert await page == {"items": [], "last_seq": 100}
        for stream in streams:
            assert await stream.rest() == []
        assert not (await unread.read()).endswith(LAST_CHUNK)
        assert feed._follower is None
        async with world.client.get("/v1/stream") as late:
            assert await late.content.read() == b"retry: 2000\nid: 100\n\n"


async def test_a_stop_does_not_read_for_streams_that_are_behind(world: ServerWorld) -> None:
    """Those that wait for their turn end without one."""
    await make_history(world, 3)
    feed = world.services.feed
    async with AsyncExitStack() as stack:
        for _ in range(TURNS):
            await stack.enter_async_context(feed._turns)
        streams = [await stack.enter_async_context(open_stream(world.client, "?after=0")) for _ in range(10)]
        before = world.store.calls["list_events_after"]
        assert (await get_page(world, "?limit=1"))["last_seq"] == 1, "pages have turns of their own"
        await world.app.shutdown()
        assert world.store.calls["list_events_after"] == before + 1
        for _ in range(TURNS):
            feed._turns.release()
        for stream in streams:
            assert await stream.rest() == []
        await until(lambda: feed.readers == 0)
        assert world.store.calls["list_events_after"] == before + 1
        for _ in range(TURNS):
            await feed._turns.acquire()


# -- pages of JSON -----------------------------------------------------------------------------------------


async def test_pages_of_the_feed(world: ServerWorld) -> None:
    """Each begins after the last one's position; with a filter that has moved on past what did not match."""
    await make_history(world, 5, at_once=1)
    found: list[int] = []
    page = await get_page(world, "?limit=3")
    while page["items"]:
        assert page["last_seq"] == page["items"][-1]["seq"]
        found += [item["seq"] for item in page["items"]]
        page = await get_page(world, f"?limit=3&after={page['last_seq']}")
    assert (found, page) == (list(range(1, 11)), {"items": [], "last_seq": 10})
    page = await get_page(world, "?status=SUCCEEDED&limit=2")
    assert ([item["seq"] for item in page["items"]], page["last_seq"]) == ([2, 4], 4)
    page = await get_page(world, "?status=RUNNING&after=8")
    assert ([item["seq"] for item in page["items"]], page["last_seq"]) == ([9], 10)
    for query, loc in (("limit=0", "limit"), ("wait=61", "wait"), ("cursor=1", "cursor")):
        async with world.client.get(f"/v1/events?{query}") as answer:
            assert locs(await problem_of(answer, 422)) == [["query", loc]]


async def test_a_page_waits_for_the_next_event(world: ServerWorld) -> None:
    """For one that its filter lets pass, at most as long as it may; those that wait share one reader."""
    tasks = await make_history(world, 1)
    other = await world.make_task(external_id="y")
    assert await get_page(world, "?after=2&wait=0.01") == {"items": [], "last_seq": 2}
    waiting = [asyncio.ensure_future(get_page(world, "?after=2&wait=60&status=SUCCEEDED")) for _ in range(20)]
    await until(lambda: world.services.feed.readers == 20)
    before = world.store.calls["read_events"]
    await world.poll(other, Status.RUNNING)
    await world.end_task(other)
    pages = await asyncio.gather(*waiting)
    assert all([item["seq"] for item in page["items"]] == [4] and page["last_seq"] == 4 for page in pages)
    assert world.store.calls["read_events"] - before <= 2
    assert (await get_page(world, f"?after=0&wait=60&task={tasks[0]}&limit=1"))["last_seq"] == 1
    waiting = [asyncio.ensure_future(get_page(world, "?after=4&wait=60"))]
    await until(lambda: world.services.feed.readers == 1)
    world.services.stopping.set()
    assert await waiting[0] == {"items": [], "last_seq": 4}


# -- the client of the commands ----------------------------------------------------------------------------


async def test_commands_follow_the_stream(world: ServerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events and gaps; after a lost connection from where it was."""
    monkeypatch.setattr("tracker.client.retries.FIRST_PAUSE_S", 0.01)
    tasks = await make_history(world, 3, at_once=1)
    world.edit("DELETE FROM events WHERE task_id = ?", tasks[1])
    messages: asyncio.Queue[Message] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    client = Client(str(world.client.make_url("")), None)

    def follow_on_thread() -> None:
        for message in follow(client.transport, {"route": "suno.generate"}, 0, patience_s=20):
            loop.call_soon_threadsafe(messages.put_nowait, message)
            if message.kind == "task" and message.json["seq"] == 7:
                return

    following = asyncio.ensure_future(asyncio.to_thread(follow_on_thread))

    async def get(kind: str) -> Any:  # noqa: ANN401 - JSON
        async with asyncio.timeout(20):
            while (message := await messages.get()).kind != kind:
                assert message.kind in {"ping", "open"}, message
            return message.json if message.data else message.why

    await get("open")
    assert [(await get("task"))["seq"] for _ in range(2)] == [1, 2]
    assert await get("gap") == {"from": 3, "to": 4}
    assert [(await get("task"))["seq"] for _ in range(2)] == [5, 6]
    assert world.runner.server is not None
    for connection in world.runner.server.connections:
        connection.force_close()
    assert "closed the stream" in await get("lost")
    await world.poll(await world.make_task(external_id="z"), Status.RUNNING)
    assert (await get("task"))["seq"] == 7
    await following
    with pytest.raises(Refused, match="no such route"):
        await asyncio.to_thread(next, client.follow({"route": "suno.generat"}, patience_s=20))
    with pytest.raises(Unreachable, match="no daemon answers"):
        await asyncio.to_thread(next, Client("127.0.0.1:1", None).follow({}, patience_s=20))


async def test_events_are_followed_from_the_command_line(world: ServerWorld, tmp_path: Path) -> None:
    """As lines of text or JSON, each at once; of one task or of all."""
    task_id = await world.make_task()
    url = str(world.client.make_url(""))
    command = (sys.executable, "-m", "tracker", "events", "--url", url)
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(*command, *options, cwd=tmp_path, stdout=pipe, stderr=pipe)
        for options in (("--follow",), ("-f", "--json", task_id))
    ]
    await until(lambda: world.services.feed.readers == 2)
    await world.poll(task_id, Status.RUNNING)
    async with asyncio.timeout(WITHIN_S):
        text, encoded = [await process.stdout.readline() for process in processes if process.stdout is not None]
        for process in processes:
            process.send_signal(signal.SIGINT)
            assert (await process.communicate())[1].endswith(b"interrupted\n")
    assert text.split()[3:] == [task_id.encode(), b"poll", b"applied", b"RUNNING", b"RUNNING"]
    assert orjson.loads(encoded)["task"]["status"] == "RUNNING"
    refused = await run_tracker("events", "--url", url, directory=tmp_path)
    assert (refused.code, "tracker events --follow" in refused.err) == (2, True)
