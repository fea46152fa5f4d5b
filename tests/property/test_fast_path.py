"""Whatever is sent on a connection: with the fast path and without it, responses and effects are the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kits.connections import MemoryConnection
from tests.kits.server import ServerWorld

FIELDS = [
    "Host: tracker.example",
    "host:x:8080",
    "Host: two words",
    "Content-Length: LENGTH",
    "content-length:LENGTH",
    "Content-Length: 0LENGTH",
    "Content-Length: +LENGTH",
    "Content-Length: LENGTH, LENGTH",
    "Content-Length: 1",
    "Content-Length: 99999",
    "Content-Length : LENGTH",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Content-Type: application/json",
    "Content-Type: text/plain; charset=utf-16-le",
    "Content-Encoding: gzip",
    "Content-Encoding: identity",
    "Connection: keep-alive",
    "Connection: Keep-Alive",
    "Connection: close",
    "Connection: upgrade\r\nUpgrade: websocket",
    "Proxy-Connection: close",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "Expect: nothing",
    "TE: trailers",
    "X-Empty:",
    "X-Tab:\ta\tb",
    "X-Latin: \xe9",
    "X-Zero: \0",
    "X_Under: score",
    " folded: line",
    "no colon",
    ": no name",
    "Cookie: a=b; c",
    "X-Long: " + "a" * 5000,
]
"""LENGTH is replaced by the length of the body."""
LINES = [
    "POST ADDRESS HTTP/1.1",
    "POST ADDRESS HTTP/1.0",
    "POST ADDRESS?attempt=2 HTTP/1.1",
    "POST ADDRESS0 HTTP/1.1",
    "POST ADDRESS/ HTTP/1.1",
    "POST /callbacks/SUNO/x.y.z HTTP/1.1",
    "POST http://tracker.example/ADDRESS HTTP/1.1",
    "POST  ADDRESS HTTP/1.1",
    "POST ADDRESS HTTP/1.1 ",
    "GET ADDRESS HTTP/1.1",
    "PUT ADDRESS HTTP/1.1",
    "post ADDRESS HTTP/1.1",
    "GET /healthz HTTP/1.1",
]
BODIES = ["first", "complete", "[]", "{", "", " ", "\ufeff{}"]


@dataclass(frozen=True, slots=True)
class Draft:
    """A request, for a task that is made later."""

    line: str
    fields: tuple[str, ...]
    body: str
    newline: str

    def encode(self, address: str, n: int) -> bytes:
        """The bytes of the request."""
        body = self.body.encode()
        if self.body in {"first", "complete"}:
            song = {"id": f"clip-{n}", "audio_url": "https://cdn.example.com/1.mp3", "title": "Summer"}
            body = json.dumps({"callbackType": self.body, "task_id": f"up-{n}", "data": [song]}).encode()
        head = self.newline.join([self.line.replace("ADDRESS", address), *self.fields, "", ""])
        return head.replace("LENGTH", str(len(body))).encode("latin-1") + body


PLAIN = st.builds(
    Draft, st.just(LINES[0]), st.just((FIELDS[0], FIELDS[3], FIELDS[13])), st.sampled_from(BODIES), st.just("\r\n")
)
ODD = st.builds(
    Draft,
    st.sampled_from(LINES[:1] * 12 + LINES),
    st.lists(st.sampled_from(FIELDS), max_size=3).map(lambda more: (FIELDS[0], FIELDS[3], *more))
    | st.lists(st.sampled_from(FIELDS), max_size=5).map(tuple),
    st.sampled_from(BODIES),
    st.sampled_from(["\r\n"] * 6 + ["\n"]),
)
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.sampled_from([b"", b"\0", b" ", b"\r\n", b"A", b"\xff"])), max_size=2)


@asynccontextmanager
async def both(path: Path) -> AsyncIterator[list[ServerWorld]]:
    """A server with the fast path and one without."""
    (path / "fast").mkdir()
    (path / "plain").mkdir()
    async with ServerWorld(path / "fast") as fast, ServerWorld(path / "plain", has_fast_path=False) as plain:
        yield [fast, plain]


async def compare(worlds: list[ServerWorld], say: Callable[[ServerWorld, str, int], Awaitable[Any]]) -> None:
    """Have both servers get the same bytes for a new task each; compare what they send and store."""
    await compare_responses(worlds, say)
    compare_stores(worlds)


async def compare_responses(worlds: list[ServerWorld], say: Callable[[ServerWorld, str, int], Awaitable[Any]]) -> None:
    """Have both servers get the same bytes for a new task each; compare what they send."""
    found = []
    for world in worlds:
        ((count,),) = world.edit("SELECT count(*) FROM tasks")
        address = world.address(await world.make_task(external_id=f"up-{count}"))
        found.append(await say(world, address, count))
    assert found[0] == found[1]


def compare_stores(worlds: list[ServerWorld]) -> None:
    """Compare what both servers have stored so far."""
    for table in ("tasks", "events", "outbox", "rejected", "parked"):
        stored = [world.edit(f"SELECT * FROM {table}") for world in worlds]
        assert stored[0] == stored[1], table


def test_any_bytes_have_the_same_result(tmp_path: Path) -> None:
    """Odd, broken and pipelined requests, in any pieces, at any time."""
    with asyncio.Runner() as runner:
        manager = both(tmp_path)
        worlds = runner.run(manager.__aenter__())

        @settings(max_examples=120, suppress_health_check=list(HealthCheck))
        @given(
            st.lists(PLAIN | ODD, min_size=1, max_size=3),
            CHANGES,
            st.lists(st.floats(0, 1), max_size=4),
            st.booleans(),
            st.booleans(),
        )
        def check(
            drafts: list[Draft],
            changes: list[tuple[float, bytes]],
            cuts: list[float],
            at_requests: bool,
            settles: bool,
        ) -> None:
            async def say(world: ServerWorld, address: str, n: int) -> tuple[bytes, bool]:
                parts = [draft.encode(address, n) for draft in drafts]
                if changes or not at_requests:
                    sent = b"".join(parts)
                    for place, new in changes:
                        at = int(place * (len(sent) - 1))
                        sent = sent[:at] + new + sent[at + 1 :]
                    ends = sorted({0, len(sent), *(int(cut * len(sent)) for cut in cuts)})
                    parts = [sent[start:end] for start, end in pairwise(ends)]
                client = MemoryConnection(world)
                await client.send(parts, settles=settles)
                return await client.end()

            runner.run(compare(worlds, say))

        check()
        runner.run(manager.__aexit__(None, None, None))


@pytest.mark.parametrize("settles", [True, False])
async def test_two_requests_in_two_reads_at_every_byte(tmp_path: Path, *, settles: bool) -> None:
    """Wherever the bytes are divided, the first is applied and the second is a duplicate."""
    draft = Draft(LINES[0], (FIELDS[0], FIELDS[3]), "complete", "\r\n")
    async with both(tmp_path) as worlds:
        length = len(draft.encode(worlds[0].address(await worlds[0].make_task(external_id="up-x")), 0))
        await worlds[1].make_task(external_id="up-x")
        for cut in range(1, 2 * length, 1 if settles else 7):

            async def say(world: ServerWorld, address: str, n: int, cut: int = cut) -> tuple[bytes, bool]:
                sent = draft.encode(address, n) * 2
                client = MemoryConnection(world)
                await client.send([sent[:cut], sent[cut:]], settles=settles)
                return await client.end()

            await compare_responses(worlds, say)
        compare_stores(worlds)
