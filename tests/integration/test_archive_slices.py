"""Ranges with the status of a complete file, and the reverse: only complete files are archived."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kits.archive import MP4, Answer, ArchiveWorld, Asked, RawServer, film, head_of, sha256
from tracker.domain.archives import ArchiveState
from tracker.domain.task import Output

DATA = film(1_500_000)
CUT_AT = 1_200_000
VIDEO = Output("video", mime="video/mp4", title="Rain")


def encoded(digest: bytes) -> str:
    """In the form of a header."""
    return base64.b64encode(digest).decode()


def start_of(asked: Asked) -> int:
    """The first byte that a request asks for."""
    return int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))


def cut_first(further: Callable[[Asked, asyncio.StreamWriter], None], **headers: str) -> Answer:
    """A server that truncates its first answer only."""
    seen: list[Asked] = []

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        seen.append(asked)
        if len(seen) == 1:
            writer.write(head_of("200 OK", len(DATA), **headers) + DATA[:CUT_AT])
        elif "range" in asked.headers:
            further(asked, writer)
        else:
            writer.write(head_of("200 OK", len(DATA), **headers) + DATA)

    return answer


def rest_with_range(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """The rest as 200, with its range."""
    start = start_of(asked)
    ranged = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
    writer.write(head_of("200 OK", len(DATA) - start, ETag='"v1"', Content_Range=ranged) + DATA[start:])


def rest_alone(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """The rest as 200, without its range."""
    writer.write(head_of("200 OK", len(DATA) - start_of(asked), ETag='"v1"') + DATA[start_of(asked) :])


def rest_in_chunks(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """The rest as 200 in chunks."""
    rest = DATA[start_of(asked) :]
    head = head_of("200 OK", ETag='"v1"', Transfer_Encoding="chunked")
    writer.write(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest))


def rest_without_validators(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """The rest as 200, of an unknown version."""
    writer.write(head_of("200 OK", len(DATA) - start_of(asked)) + DATA[start_of(asked) :])


@pytest.mark.parametrize("further", [rest_with_range, rest_alone, rest_in_chunks, rest_without_validators])
@pytest.mark.parametrize("headers", [{"ETag": '"v1"'}, {"Last_Modified": "Fri, 20 Nov 2026 20:42:00 GMT"}])
async def test_the_rest_of_a_file_is_not_archived_as_the_file(
    tmp_path: Path, further: Callable[[Asked, asyncio.StreamWriter], None], headers: dict[str, str]
) -> None:
    """A server sends a range with 200: the file is downloaded again, or resumed."""
    async with RawServer(cut_first(further, **headers)) as server, ArchiveWorld(tmp_path) as world:
        (record,) = await world.settle(await world.succeed(Output("video", server.url())))
        assert record.state is ArchiveState.STORED
        assert list(world.files().values()) == [DATA]
        goes_on = further is rest_with_range and "ETag" in headers
        assert len(server.asked) == (2 if goes_on else 3)


async def test_the_same_version_has_one_length(tmp_path: Path) -> None:
    """Fewer bytes under a known strong entity tag are a range, whatever the answer declares."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if len(server.asked) == 1:
            writer.write(head_of("200 OK", len(DATA), ETag='"v1"') + DATA[:CUT_AT])
        elif "range" in asked.headers:
            rest_in_chunks(asked, writer)
        else:
            writer.write(head_of("200 OK", 1000, ETag='"v1"') + DATA[:1000])

    async with RawServer(answer) as server, ArchiveWorld(tmp_path) as world:
        (record,) = await world.settle(await world.succeed(Output("video", server.url())))
        assert record.state is ArchiveState.DEAD
        assert f"sent 1000 bytes of a file of {len(DATA)} bytes" in str(record.error)
        assert world.files() == {}


PARTS = [
    ("200 OK", f"bytes 0-999999/{len(DATA)}", slice(0, 1_000_000)),
    ("200 OK", f"bytes 500000-{len(DATA) - 1}/{len(DATA)}", slice(500_000, None)),
    ("200 OK", "bytes 0-999999/*", slice(0, 1_000_000)),
    ("206 Partial Content", f"bytes 0-999999/{len(DATA)}", slice(0, 1_000_000)),
    ("206 Partial Content", None, slice(0, None)),
    ("206 Partial Content", "rubbish", slice(0, None)),
    ("203 Non-Authoritative Information", f"BYTES 0-999999/{len(DATA)}", slice(0, 1_000_000)),
]


async def test_a_range_without_a_request_for_one_is_rejected(tmp_path: Path) -> None:
    """A cache sends a range to everyone: that attempt fails, and the next one succeeds."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if [request.path for request in server.asked].count(asked.path) == 1:
            status, ranged, sent = PARTS[int(asked.path[1:])]
            extra = {"Content_Range": ranged} if ranged else {}
            writer.write(head_of(status, len(DATA[sent]), ETag='"v1"', **extra) + DATA[sent])
        else:
            writer.write(head_of("200 OK", len(DATA), ETag='"v1"') + DATA)

    async with RawServer(answer) as server, ArchiveWorld(tmp_path) as world:
        outputs = [Output("video", server.url(f"/{n}")) for n in range(len(PARTS))]
        records = await world.settle(await world.succeed(*outputs), len(PARTS))
        assert [(record.state, record.attempts) for record in records] == [(ArchiveState.STORED, 2)] * len(PARTS)
        assert list(world.files().values()) == [DATA] * len(PARTS)


NOTHING = b"0" * 32
COMPLETE = [
    ("203 Non-Authoritative Information", {}),
    ("206 Partial Content", {"Content_Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"}),
    ("200 OK", {"Content_Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"}),
    ("200 OK", {"Content_Range": "rubbish"}),
    ("200 OK", {"Content_MD5": encoded(hashlib.md5(DATA).digest())}),  # noqa: S324 - a checksum
    ("200 OK", {"Repr_Digest": f"sha-256=:{encoded(hashlib.sha256(DATA).digest())}:"}),
    ("200 OK", {"ETag": '"0123456789abcdef0123456789abcdef"'}),
    ("200 OK", {"X_Amz_Checksum_Sha256": f"{encoded(NOTHING)}-3"}),
]
OTHERS = [
    ("200 OK", {"Content_MD5": encoded(NOTHING[:16])}),
    ("200 OK", {"X_Goog_Hash": f"crc32c=AAAAAA==,md5={encoded(NOTHING[:16])}"}),
    ("200 OK", {"Digest": f"SHA-256={encoded(NOTHING)}"}),
    ("200 OK", {"Repr_Digest": f"sha-256=:{encoded(NOTHING)}:"}),
    ("200 OK", {"X_Amz_Checksum_Sha256": encoded(NOTHING)}),
]


@pytest.mark.parametrize(("answers", "is_stored"), [(COMPLETE, True), (OTHERS, False)], ids=["fits", "does-not-fit"])
async def test_a_file_is_archived_if_its_headers_agree(
    tmp_path: Path, answers: list[tuple[str, dict[str, str]]], is_stored: bool
) -> None:
    """203, a complete range, digests; entity tags and checksums of parts are not digests of the file."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        status, headers = answers[int(asked.path[1:])]
        writer.write(head_of(status, len(DATA), **headers) + DATA)

    async with RawServer(answer) as server, ArchiveWorld(tmp_path) as world:
        outputs = [Output("video", server.url(f"/{n}")) for n in range(len(answers))]
        records = await world.settle(await world.succeed(*outputs), len(answers))
        assert [record.file and record.file.sha256 for record in records] == [
            sha256(DATA) if is_stored else None for _ in answers
        ]
        assert is_stored or all("does not match" in str(record.error) for record in records)


async def test_a_truncated_video_is_not_archived(tmp_path: Path) -> None:
    """Without length, range and digest, the video's own structure shows that it is truncated."""
    cut = MP4 + (900_000).to_bytes(4, "big") + b"mdat" + DATA[:500_000]

    async def answer(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head_of("200 OK") + cut)

    async with RawServer(answer) as server, ArchiveWorld(tmp_path) as world:
        (record,) = await world.settle(await world.succeed(Output("video", server.url())))
        assert record.state is ArchiveState.DEAD
        assert record.error == f"truncated: {len(cut)} of {len(MP4) + 900_000} bytes"


async def test_inline_text_is_not_media(tmp_path: Path) -> None:
    """Inline data is checked as well, and not retried."""
    inline = base64.b64encode(b"error: content filtered").decode()
    async with ArchiveWorld(tmp_path) as world:
        (record,) = await world.settle(await world.succeed(Output("image", inline=inline, mime="image/png")))
        assert (record.state, record.attempts) == (ArchiveState.DEAD, 1)
        assert record.error == "the file is of type text/plain, expected image"
