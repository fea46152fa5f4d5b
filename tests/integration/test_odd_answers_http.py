"""Odd heads and framing of real servers: no client loses an answer because of them."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import orjson
import pytest

from tests.integration.test_hook_http import JOB, PAYLOAD, spec_of
from tests.integration.test_upstream import client_for, raw_server, saying
from tests.kits.archive import ArchiveWorld, RawServer, film, head_of
from tests.kits.archive import Asked as AskedFor
from tests.kits.upstream import KLING, UpstreamWorld
from tracker.cli.client import Client
from tracker.clock import SystemClock
from tracker.daemon.peers import ask
from tracker.domain.archives import ArchiveState
from tracker.domain.task import Output, SubmitState
from tracker.errors import Unanswered
from tracker.hooks.kinds.http import HttpRunner
from tracker.hooks.runner import RunOutcome

BODY = b'{"code": 0, "data": {"task_id": "k1"}}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
HEADERS = {
    "a long policy": b"Content-Security-Policy: " + b"x" * 65_000,
    "a long cookie": b"Set-Cookie: a=" + b"x" * 9000,
    "many cookies": b"\r\n".join([b"Set-Cookie: a=b; Path=/"] * 500),
    "many fields": b"\r\n".join(b"X-%d: v" % n for n in range(990)),
    "a folded line": b"X: a\r\n b",
    "raw bytes": b"X: \xe9\xff\r\nY: \xe5\xb0\x8f",
    "odd names": b"X(a): 1\r\nX b: 2\r\nno colon",
    "control characters": b"X: a\x01b\0c",
    "the length twice": LENGTH.strip(),
    "length and chunks": b"Transfer-Encoding: identity",
    "an unknown encoding": b"Content-Encoding: aws-chunked",
    "gzip that is none": b"Content-Encoding: gzip",
    "brotli that is none": b"Content-Encoding: br",
    "a date of a year with twenty digits": b"Date: Mon, 30 Nov 99999999999999999999 02:02:08 GMT",
    "a date without a zone": b"Date: Mon, 30 Nov 0001 02:02:08 -0000",
}
ANSWERS = {name: b"HTTP/1.1 200 OK\r\n" + extra + b"\r\n" + LENGTH + b"\r\n" + BODY for name, extra in HEADERS.items()}
ANSWERS |= {
    "a long reason": b"HTTP/1.1 200 " + b"x" * 60_000 + b"\r\n" + LENGTH + b"\r\n" + BODY,
    "no reason": b"HTTP/1.1 200\r\n" + LENGTH + b"\r\n" + BODY,
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    "bare line feeds": b"HTTP/1.1 200 OK\n\n" + BODY,
    "early hints": b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\n" + LENGTH + b"\r\n" + BODY,
    "a length too large": b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + BODY,
    "a length too small": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + BODY,
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(BODY), BODY),
    "chunks that are none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
    "gzip without a header": b"HTTP/1.1 200 OK\r\n\r\n" + gzip.compress(BODY),
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("paid", [True, False])
async def test_an_upstream_answer_is_read(name: str, paid: bool) -> None:
    """A create and a poll: a complete answer counts, and is not a failure of the host."""
    async with raw_server(saying(ANSWERS[name])) as url, client_for(url) as world:
        reply = await world.get(paid=paid)
        assert (reply.status, reply.body) == (200, BODY)
        assert world.breakers.circuit_of(world.client.host_of("default")).failures == 0


async def test_an_answer_that_never_ends_is_read_at_the_time_limit() -> None:
    """The connection stays open after a complete object without a length."""
    release = asyncio.Event()

    async def peer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)
        await release.wait()

    async with raw_server(peer) as url, client_for(url) as world:
        assert (await world.create(answer_within_s=0.5)).body == BODY
        release.set()


@pytest.mark.parametrize("name", ["a long policy", "many cookies", "many fields"])
async def test_the_command_line_and_doctor_read_large_heads(name: str) -> None:
    """They use another client with its own limits."""
    async with raw_server(saying(ANSWERS[name])) as url:
        assert (await asyncio.to_thread(ask, url, "/readyz")).body == BODY
        assert await asyncio.to_thread(Client(url, None).get, "/v1/stats") == orjson.loads(BODY)


async def test_a_truncated_answer_is_unanswered() -> None:
    """The failure has the truncated body, which may prove that a job exists."""
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + BODY[:-1]
    async with raw_server(saying(cut)) as url, client_for(url) as world:
        with pytest.raises(Unanswered, match="the answer is truncated") as caught:
            await world.create()
    assert (caught.value.status, caught.value.body) == (200, BODY[:-1])


@pytest.mark.parametrize(
    ("answer", "ends_as"),
    [
        (b'{"code": 0, "data": {"task_id": "k1", "task_status": "subm', (SubmitState.ACCEPTED, "k1")),
        (b'{"code": 0, "data": {"task_id": "k1', (SubmitState.AMBIGUOUS, None)),
        (b'{"code": 1201, "message": "bad", "request', (SubmitState.AMBIGUOUS, None)),
        (b"", (SubmitState.AMBIGUOUS, None)),
    ],
    ids=["an id", "half an id", "a refusal", "nothing"],
)
async def test_a_truncated_answer_to_a_create_counts_if_it_shows_the_id(
    tmp_path: Path, answer: bytes, ends_as: tuple[SubmitState, str | None]
) -> None:
    """A paid job with a known id is followed; nothing else in a truncated answer counts."""
    cut = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", answer)
    async with raw_server(cut) as url, UpstreamWorld(tmp_path, base_url=url) as world:
        task = (await world.submitter.submit(KLING)).record.task
    assert (task.submit_state, task.external_id) == ends_as


async def test_a_length_in_characters_does_not_truncate_the_body() -> None:
    """Head and body are sent apart, so that aiohttp reads only the declared length."""
    body = '{"data": {"note": "小", "task_id": "k1"}}'

    async def peer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        await writer.drain()
        writer.write(body.encode())

    async with raw_server(peer) as url, client_for(url) as world:
        assert (await world.create()).body == body.encode()


async def test_a_reused_connection_serves_further_answers() -> None:
    """The copied bytes of one answer do not get into the next one of the connection."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + LENGTH + b"\r\n" + BODY)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + BODY[:-1])

    async with raw_server(peer) as url, client_for(url) as world:
        assert (await world.get()).body == BODY
        with pytest.raises(Unanswered):
            await world.get()


@pytest.mark.parametrize("name", ANSWERS)
async def test_a_receivers_status_counts(name: str) -> None:
    """The endpoint of a hook answered 200: the hook does not run again."""
    runner = HttpRunner(SystemClock(), read_within_s=0.5)
    async with raw_server(saying(ANSWERS[name])) as url:
        result = await runner.run(JOB, PAYLOAD, spec_of(url))
    await runner.close()
    assert result.outcome is RunOutcome.SUCCEEDED


async def test_retry_after_is_read_from_an_odd_answer() -> None:
    """``Retry-After`` in such an answer applies."""
    runner = HttpRunner(SystemClock())
    odd = b"HTTP/1.1 503 No\r\nretry-after: 7\r\nX b: 2\r\n\r\n"
    async with raw_server(saying(odd)) as url:
        result = await runner.run(JOB, PAYLOAD, spec_of(url))
    await runner.close()
    assert (result.outcome, result.error, result.retry_after_s) == (RunOutcome.RETRY, "answered 503", 7.0)


@pytest.mark.parametrize(
    "name", ["a long policy", "a long cookie", "many fields", "raw bytes", "gzip that is none", "brotli that is none"]
)
async def test_a_file_is_archived(tmp_path: Path, name: str) -> None:
    """The headers of a file's answer do not decide whether it is archived."""
    data = film(5000)

    async def answer(_asked: AskedFor, writer: asyncio.StreamWriter) -> None:
        writer.write(head_of("200 OK", len(data))[:-2] + HEADERS[name] + b"\r\n\r\n" + data)

    async with RawServer(answer) as server, ArchiveWorld(tmp_path) as world:
        (record,) = await world.settle(await world.succeed(Output("video", server.url())))
        assert record.state is ArchiveState.STORED, record.error
        assert list(world.files().values()) == [data]


async def test_a_file_that_is_stored_compressed_is_archived_decompressed(tmp_path: Path) -> None:
    """Object stores send stored bytes; a gzipped video is decompressed, and a truncated one is not archived."""
    data = film(300_000)
    packed = gzip.compress(data)

    async def answer(asked: AskedFor, writer: asyncio.StreamWriter) -> None:
        body = packed[:-9] if asked.path == "/cut.mp4" else packed
        writer.write(head_of("200 OK", len(body), Content_Encoding="gzip") + body)

    async with RawServer(answer) as server, ArchiveWorld(tmp_path) as world:
        outputs = (Output("video", server.url("/a.mp4")), Output("video", server.url("/cut.mp4")))
        first, second = await world.settle(await world.succeed(*outputs), 2)
        assert list(world.files().values()) == [data]
        assert (first.state, second.state) == (ArchiveState.STORED, ArchiveState.DEAD)
        assert second.error == "the gzip data is truncated"
