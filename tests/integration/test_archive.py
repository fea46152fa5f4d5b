"""The archive against faulty servers, on a real store and a real disk."""

from __future__ import annotations

import asyncio
import base64
import json
import resource
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.kits.archive import (
    BOUNDS,
    PNG,
    RETRIES,
    ArchiveWorld,
    Asked,
    RawServer,
    film,
    head_of,
    refuses,
    serves,
    sha256,
)
from tests.kits.factories import make_output, make_task
from tracker.archive.archiver import MAX_DOWNLOADS
from tracker.archive.download import Downloader
from tracker.archive.partial import Partial, PartialFiles
from tracker.clock import SystemClock
from tracker.domain.archives import ArchiveState
from tracker.domain.hook_events import HookEvent
from tracker.domain.outputs import reference_of
from tracker.domain.task import Output, Stage, Status, TaskId
from tracker.errors import OutputUnavailable
from tracker.store.sqlite.inline_data import PIECE_CHARS
from tracker.store.values import Announcement
from tracker.upstream.client import Account

VIDEO = Output("video", mime="video/mp4", title="Summer Breeze")


def video(url: str, *, authenticated: bool = False) -> Output:
    """A video with this URL."""
    return msgspec.structs.replace(VIDEO, url=url, authenticated=authenticated)


PATIENT = 5
"""More attempts than are counted."""


async def test_outputs_are_archived_and_shown(tmp_path: Path) -> None:
    """A file has its name and the hash of the served bytes; JSON, views, history and hooks show it."""
    data = film()
    async with RawServer(serves(data)) as server, ArchiveWorld(tmp_path) as world:
        task_id = await world.succeed(
            video(server.url("/a.mp4?sig=1")), make_output(1, kind="text", url=None, text="la")
        )
        (record,) = await world.settle(task_id)
        path = f"{task_id}/0-summer-breeze.mp4"
        assert world.files() == {path: data}
        assert record.state is ArchiveState.STORED
        shown = await world.show(task_id)
        first = shown["outputs"][0]
        assert (first["archived"], first["path"], first["bytes"], first["sha256"]) == (
            True,
            path,
            len(data),
            sha256(data),
        )
        assert (shown["status"], shown["outputs"][1]["archived"]) == ("SUCCEEDED", False)
        last = (await world.store.list_events(task_id))[-1]
        assert (last.source, last.outcome, last.from_status, last.to_status) == (
            "clock",
            "applied",
            "SUCCEEDED",
            "SUCCEEDED",
        )
        received: list[Announcement] = []

        def note(announcement: Announcement) -> list[str]:
            received.append(announcement)
            return []

        await world.store.fan_out(note, 100)
        assert received[-1].event == HookEvent.ARCHIVED
        db = sqlite3.connect(tmp_path / "tracker.db")
        row = db.execute("SELECT n, archived, path, bytes, sha256 FROM v_outputs WHERE n = 0").fetchone()
        assert row == (0, 1, path, len(data), sha256(data))
        (outputs,) = db.execute("SELECT outputs FROM v_tasks").fetchone()
        assert json.loads(outputs)[0]["archived"] is True
        db.close()
        assert "Authorization" not in server.asked[0].headers
        assert world.partials() == []


class CountingExecutor(ThreadPoolExecutor):
    """Counts what it runs."""

    count = 0

    def submit(self, fn: Callable[..., Any], /, *args: object, **kwargs: object) -> Future[Any]:
        """Count; see the base class."""
        self.count += 1
        return super().submit(fn, *args, **kwargs)


async def test_a_small_file_takes_one_step_on_a_thread(tmp_path: Path) -> None:
    """It is checked, written, hashed, synced and renamed together: each further step would cost two thread switches."""
    executor = CountingExecutor()
    asyncio.get_running_loop().set_default_executor(executor)
    async with RawServer(serves(film(100_000))) as server, ArchiveWorld(tmp_path) as world:
        await world.settle(await world.succeed(video(server.url())))
        executor.count = 0
        await world.settle(await world.succeed(*(video(server.url(f"/{n}.mp4")) for n in range(5))), 5)
        assert executor.count == 5


@pytest.mark.parametrize("takes_s", [0.0, 2.0], ids=["quick", "slow"])
async def test_files_are_claimed_ahead_while_downloads_are_quick(tmp_path: Path, takes_s: float) -> None:
    """Else what expires first would wait behind them: URLs that come later may expire earlier."""
    go_on = asyncio.Event()

    async def hold(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.path == "/first.mp4":
            world.clock.advance(takes_s)
        else:
            await go_on.wait()
        await serves(film(1000))(asked, writer)

    async with RawServer(hold) as server, ArchiveWorld(tmp_path) as world:
        await world.settle(await world.succeed(video(server.url("/first.mp4"))))
        calls = len(world.store.done["claim_archives"])
        task_id = await world.succeed(*(video(server.url(f"/{n}.mp4")) for n in range(30)))
        await world.store.wait_for_call("claim_archives", calls + 1)
        await server.wait_for_requests(1 + MAX_DOWNLOADS)
        records = await world.store.list_archives(task_id)
        claimed = [record for record in records if record.state is ArchiveState.RUNNING]
        assert (len(claimed), len(server.asked)) == (MAX_DOWNLOADS * (1 if takes_s else 2), 1 + MAX_DOWNLOADS)
        go_on.set()
        await world.settle(task_id, 30)


async def test_a_truncated_body_is_resumed(tmp_path: Path) -> None:
    """A truncated download is resumed by range; nothing is visible before the end, and the hash is right."""
    data = film()
    async with RawServer(serves(data, cut_after=1_200_000)) as server, ArchiveWorld(tmp_path) as world:
        task_id = await world.succeed(video(server.url()))
        (record,) = await world.settle(task_id)
        assert (record.state, record.file and record.file.sha256) == (ArchiveState.STORED, sha256(data))
        first, *further = [asked.headers.get("range") for asked in server.asked]
        starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in further if asked]
        # the library may keep the last piece before a cut to itself
        assert (first, len(starts), sorted(starts)) == (None, 2, starts)
        assert 1_000_000 < starts[0] <= 1_200_000


async def test_a_file_that_is_never_complete_is_given_up_and_can_be_redriven(tmp_path: Path) -> None:
    """A server always truncates at one byte: the item is given up, the task is not affected, a redrive works later."""
    data = film()

    async def stingy(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head_of("200 OK", len(data)) + data[:1000])

    async with RawServer(stingy) as server, ArchiveWorld(tmp_path) as world:
        task_id = await world.succeed(video(server.url()))
        (record,) = await world.settle(task_id)
        assert (record.state, record.attempts) == (ArchiveState.DEAD, 3)
        assert record.error is not None
        assert "truncated after" in record.error
        shown = await world.show(task_id)
        assert (shown["status"], shown["outputs"][0]["archived"], world.files()) == ("SUCCEEDED", False, {})
        assert [event.to_status for event in await world.store.list_events(task_id)] == ["SUCCEEDED"]
        server.answer = serves(data)
        assert [record.state for record in await world.archiver.redrive(task_id)] == [ArchiveState.PENDING]
        (record,) = await world.settle(task_id)
        assert record.state is ArchiveState.STORED
        assert list(world.files().values()) == [data]
        # a removed file is fetched again
        next(iter(world.outputs.glob("*/0-*.mp4"))).unlink()
        await world.archiver.redrive(task_id)
        await world.settle(task_id)
        assert list(world.files().values()) == [data]


async def test_a_change_of_the_remote_file_is_detected(tmp_path: Path) -> None:
    """If the remote file changes between two attempts, the download restarts: no file is made of two versions."""
    old, new = film(2_000_000), PNG + film(2_500_000)
    async with RawServer(serves(old, cut_after=900_000)) as server, ArchiveWorld(tmp_path) as world:

        async def change(asked: Asked, writer: asyncio.StreamWriter) -> None:
            await serves(old, cut_after=900_000)(asked, writer)
            server.answer = serves(new, tag='"v2"')

        server.answer = change
        task_id = await world.succeed(video(server.url()))
        (record,) = await world.settle(task_id)
        assert record.file is not None
        assert (record.file.bytes, record.file.sha256) == (len(new), sha256(new))


async def test_a_wrong_length_is_rejected(tmp_path: Path) -> None:
    """A range that does not match the partial file is discarded; so is an empty file."""
    data = film(1_000_000)

    async def wrong(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if "range" not in asked.headers:
            await serves(data, cut_after=400_000)(asked, writer)
            return
        wrong_total = {"Content_Range": f"bytes 400000-{len(data) - 1}/{len(data) + 5}", "ETag": '"v1"'}
        writer.write(head_of("206 Partial Content", 600_000, **wrong_total) + data[400_000:])

    async def empty(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head_of("200 OK", 0))

    async with RawServer(wrong) as server, RawServer(empty) as nothing, ArchiveWorld(tmp_path) as world:
        task_id = await world.succeed(video(server.url()), video(nothing.url("/b.mp4")))
        records = await world.settle(task_id)
        assert [record.state for record in records] == [ArchiveState.DEAD] * 2
        assert records[1].error == "the file is empty"
        assert world.files() == {}


@pytest.mark.parametrize(("old", "new"), [("/a.mp4?sig=1", "/a.mp4?sig=2"), ("/t1/a.mp4", "/t2/a.mp4")])
async def test_a_rejected_url_is_renewed_by_a_poll(tmp_path: Path, old: str, new: str) -> None:
    """After 403 the task is polled although it has ended; the fresh URL is used, with a new query or a new path."""
    data = film(200_000)
    async with RawServer(refuses("403 Forbidden")) as server, ArchiveWorld(tmp_path) as world:

        async def poll(task_id: TaskId) -> None:
            server.answer = serves(data)
            await world.poll(task_id, Status.SUCCEEDED, outputs=(video(server.url(new)),), renews=True)

        world.renewer.brings = poll
        task_id = await world.succeed(video(server.url(old)))
        (record,) = await world.settle(task_id)
        assert (record.state, len(world.renewer.asked)) == (ArchiveState.STORED, 1)
        task = (await world.store.get_task(task_id)).task
        assert (task.status, task.outputs[0].url) == (Status.SUCCEEDED, server.url(new))
        assert (await world.show(task_id))["outputs"][0]["archived"] is True
        db = sqlite3.connect(tmp_path / "tracker.db")
        assert db.execute("SELECT archived FROM v_outputs").fetchall() == [(1,)]
        db.close()


async def test_an_expired_url_without_a_fresh_one_is_given_up(tmp_path: Path) -> None:
    """A URL that is rejected after each poll is given up; the task is not affected."""
    async with RawServer(refuses("410 Gone")) as server, ArchiveWorld(tmp_path) as world:
        task_id = await world.succeed(video(server.url("/a.mp4?secret=1")))
        (record,) = await world.settle(task_id)
        assert (record.state, record.attempts, len(world.renewer.asked)) == (ArchiveState.DEAD, 2, 2)
        assert record.error == "127.0.0.1 rejected the request: HTTP 410"
        assert (await world.show(task_id))["status"] == "SUCCEEDED"


async def test_private_addresses_are_rejected(tmp_path: Path) -> None:
    """Addresses, names that resolve to them, and other schemes are given up at once, without a request."""
    async with RawServer(serves(film(1000))) as server, ArchiveWorld(tmp_path, allow_private=False) as world:
        urls = [
            server.url(),
            f"http://localhost:{server.port}/b",
            f"http://2130706433:{server.port}/c",
            f"http://[::ffff:127.0.0.1]:{server.port}/d",
            "http://169.254.169.254/latest/meta-data",
            "file:///etc/passwd",
            "http://user:word@example.org/",
        ]
        task_id = await world.succeed(*(video(url) for url in urls))
        records = await world.settle(task_id)
        assert [(record.state, record.attempts) for record in records] == [(ArchiveState.DEAD, 1)] * len(urls)
        assert server.asked == []


async def test_a_redirect_to_a_private_address_is_rejected_and_never_gets_the_key(tmp_path: Path) -> None:
    """The account's own host may be private, like its polls; the target of its redirects may not."""
    async with RawServer(serves(film(1000))) as inner:

        async def lead_astray(asked: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(head_of("302 Found", 0, Location=inner.url("/admin")))

        async with (
            RawServer(lead_astray) as home,
            ArchiveWorld(tmp_path, allow_private=False, home=home.url("")) as world,
        ):
            task_id = await world.succeed(
                video("/openai/v1/videos/v1/content", authenticated=True), route="openai.video"
            )
            (record,) = await world.settle(task_id)
            assert record.state is ArchiveState.DEAD
            assert "not a public address" in str(record.error)
            assert home.asked[0].headers["authorization"] == "Bearer sk-test-key"
            assert inner.asked == []


async def test_the_key_is_sent_to_its_own_host_only(tmp_path: Path) -> None:
    """``/content`` is fetched with the account's key; a redirect elsewhere is followed without it."""
    data = film(100_000)
    async with RawServer(serves(data)) as cdn:

        async def redirect(asked: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(head_of("307 Temporary Redirect", 0, Location=cdn.url("/signed.mp4?x=1")))

        async with RawServer(redirect) as home, ArchiveWorld(tmp_path, home=home.url("/prefix")) as world:
            content = video("/openai/v1/videos/v%3D/content", authenticated=True)
            task_id = await world.succeed(content, video(cdn.url("/open.mp4")), route="openai.video")
            records = await world.settle(task_id)
            assert [record.state for record in records] == [ArchiveState.STORED] * 2
            assert home.asked[0].path == "/prefix/openai/v1/videos/v%3D/content"
            assert home.asked[0].headers["authorization"] == "Bearer sk-test-key"
            assert len(cdn.asked) == 2
            assert all("authorization" not in asked.headers for asked in cdn.asked)
            assert (await world.show(task_id))["outputs"][0]["url"] is None


@pytest.mark.parametrize(("key", "problem"), [(None, "is not set"), ('"sk-never-real"', "has quotes around the key")])
async def test_an_invalid_key_is_not_sent(tmp_path: Path, key: str | None, problem: str) -> None:
    """An output that needs a key fails with the same message as a poll, before a request."""
    async with RawServer(serves(film(1000))) as home:
        downloader = Downloader({"default": Account("default", home.url(""), lambda: key)}, SystemClock(), BOUNDS)
        with pytest.raises(OutputUnavailable, match=f"^the API key of account 'default' {problem}"):
            await downloader.fetch(
                make_task(), video("/content", authenticated=True), Partial(PartialFiles(tmp_path), "k")
            )
        assert home.asked == []


async def test_redirects_are_limited(tmp_path: Path) -> None:
    """A redirect loop ends after a few."""

    async def circle(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head_of("302 Found", 0, Location="/again"))

    async with RawServer(circle) as server, ArchiveWorld(tmp_path) as world:
        (record,) = await world.settle(await world.succeed(video(server.url())))
        assert (record.state, record.error) == (ArchiveState.DEAD, "more than 5 redirects")


async def test_too_large_files_are_rejected(tmp_path: Path) -> None:
    """A declared length of 3 GB is given up at once; an undeclared one at the limit, without a partial file."""

    async def announce(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head_of("200 OK", 3_000_000_000) + film(10_000))

    async def pour(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head_of("200 OK"))
        while True:
            writer.write(film(1 << 20))
            await writer.drain()

    bounds = replace(BOUNDS, max_bytes=2_500_000)
    async with RawServer(announce) as large, RawServer(pour) as endless, ArchiveWorld(tmp_path, bounds=bounds) as world:
        task_id = await world.succeed(video(large.url("/a.mp4")), video(endless.url("/b.mp4")))
        records = await world.settle(task_id)
        assert [(record.state, record.attempts) for record in records] == [(ArchiveState.DEAD, 1)] * 2
        assert records[0].error == "the file has 3000000000 bytes; archive.max_bytes allows 2500000"
        assert (world.files(), world.partials()) == ({}, [])


async def test_the_bytes_show_the_type(tmp_path: Path) -> None:
    """An image served as a video is stored as an image; a page served as a video is rejected."""
    page = b"<!DOCTYPE html><title>expired</title>"
    async with (
        RawServer(serves(PNG, mime="video/mp4")) as picture,
        RawServer(serves(page)) as error_page,
        ArchiveWorld(tmp_path) as world,
    ):
        task_id = await world.succeed(video(picture.url("/a.mp4")), video(error_page.url("/b.mp4")))
        records = await world.settle(task_id)
        assert list(world.files()) == [f"{task_id}/0-summer-breeze.png"]
        assert (await world.show(task_id))["outputs"][0]["mime"] == "image/png"
        assert records[1].state is ArchiveState.DEAD
        assert records[1].error == "the file is of type text/html, expected video"


async def test_a_full_disk_only_delays(tmp_path: Path) -> None:
    """While the disk is full, attempts are not counted and leave no file; then the output is stored."""
    data = film(12_000_000)
    async with RawServer(serves(data)) as server, ArchiveWorld(tmp_path) as world:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, hard))
        try:
            task_id = await world.succeed(video(server.url()))
            await server.wait_for_requests(PATIENT)
            (record,) = await world.store.list_archives(task_id)
            assert (record.state in {ArchiveState.PENDING, ArchiveState.RUNNING}, world.files()) == (True, {})
            assert record.attempts <= 1
            assert record.error == "the archive cannot be written: File too large"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        (record,) = await world.settle(task_id)
        assert (record.state, record.attempts) == (ArchiveState.STORED, 1)
        assert list(world.files().values()) == [data]


async def test_a_file_that_does_not_fit_is_not_downloaded(tmp_path: Path) -> None:
    """The declared size must be free, plus the reserve for the database."""
    async with RawServer(serves(film(1000))) as server, ArchiveWorld(tmp_path, reserve_bytes=1 << 60) as world:
        task_id = await world.succeed(video(server.url()))
        await server.wait_for_requests(PATIENT)
        (record,) = await world.store.list_archives(task_id)
        assert "the disk is full" in str(record.error)
        assert world.partials() == []


@pytest.mark.parametrize("enabled", [True, False])
async def test_inline_data_becomes_a_file_and_leaves_the_database(tmp_path: Path, enabled: bool) -> None:
    """Base64 in an answer is written to a file, even with the archive disabled; the database stores its digest."""
    data = PNG + bytes(range(256)) * 8000
    text = base64.b64encode(data).decode()
    assert len(text) > 2 * PIECE_CHARS
    answer = {"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": text}}]}}]}
    async with ArchiveWorld(tmp_path, enabled=enabled) as world:
        task_id = await world.succeed(
            Output("image", mime="image/png", inline=text), payload=json.dumps(answer), route="gemini.generate"
        )
        await world.settle(task_id)
        assert world.files() == {f"{task_id}/0-image.png": data}
        shown = await world.show(task_id)
        assert (shown["outputs"][0]["url"], shown["outputs"][0]["sha256"]) == (None, sha256(data))
        part = shown["result"]["candidates"][0]["content"]["parts"][0]["inlineData"]
        assert part["data"].startswith("(output 0: ")
        db = sqlite3.connect(tmp_path / "tracker.db")
        stored = db.execute("SELECT outputs FROM tasks").fetchall()
        stored += db.execute("SELECT coalesce(payload, '') || reading || coalesce(snapshot, '') FROM events").fetchall()
        assert all(len(row[0]) < 1000 for row in stored)
        assert db.execute("SELECT count(*) FROM inline_pieces").fetchone() == (0,)
        assert db.execute("SELECT archived FROM v_outputs").fetchone() == (1,)
        db.close()
        assert (await world.store.list_events(task_id))[-1].detail == "archived: 1 file saved"


async def test_inline_data_is_stored_in_pieces_beside_its_task(tmp_path: Path) -> None:
    """Reading a task does not read the data; data that arrives again is stored once."""
    text = base64.b64encode(PNG + bytes(range(256)) * 8000).decode()
    async with RawServer(serves(film(1000))), ArchiveWorld(tmp_path, reserve_bytes=1 << 60) as world:
        task_id = await world.succeed(Output("image", mime="image/png", inline=text))
        db = sqlite3.connect(tmp_path / "tracker.db")
        pieces = db.execute("SELECT data FROM inline_pieces WHERE task_id = ? ORDER BY n", (task_id,)).fetchall()
        assert "".join(piece for (piece,) in pieces) == text
        assert max(len(piece) for (piece,) in pieces) == PIECE_CHARS
        assert db.execute("SELECT length(outputs) < 300 FROM tasks").fetchone() == (1,)
        db.close()
        (output,) = (await world.store.get_task(task_id)).task.outputs
        assert output.inline == reference_of(text)


async def test_inline_data_within_a_task_of_an_older_version_becomes_a_file(tmp_path: Path) -> None:
    """Data in a task of an older version is found."""
    text = base64.b64encode(PNG).decode()
    async with ArchiveWorld(tmp_path, reserve_bytes=1 << 60) as world:
        task_id = await world.succeed(Output("image", mime="image/png", inline=text))
        (record,) = await world.store.list_archives(task_id)
        db = sqlite3.connect(tmp_path / "tracker.db")
        db.execute("UPDATE tasks SET outputs = replace(outputs, ?, ?)", (reference_of(text), text))
        db.execute("DELETE FROM inline_pieces")
        db.execute("UPDATE archives SET state = 'pending', due_at = 0, finished_at = NULL")
        db.commit()
        db.close()
        assert record.identity == reference_of(text)
    async with ArchiveWorld(tmp_path) as world:
        await world.settle(task_id)
        assert world.files() == {f"{task_id}/0-image.png": PNG}


async def test_a_disabled_archive_downloads_on_request_only(tmp_path: Path) -> None:
    """Nothing is downloaded unless an operator requests it."""
    data = film(1000)
    async with RawServer(serves(data)) as server, ArchiveWorld(tmp_path, enabled=False) as world:
        task_id = await world.succeed(video(server.url()))
        marker = await world.succeed(Output("image", inline=base64.b64encode(PNG).decode()))
        await world.settle(marker)  # by now the other one was checked as well
        assert await world.store.list_archives(task_id) == []
        await world.archiver.redrive(task_id)
        await world.settle(task_id)
        assert server.asked
        assert data in world.files().values()


async def test_partial_outputs_are_archived_at_once_and_not_fetched_twice(tmp_path: Path) -> None:
    """The first song is stored while the second is made; at the end only the second is downloaded."""
    one, two = film(5000), film(6000)
    async with RawServer(serves(one)) as first, RawServer(serves(two)) as second, ArchiveWorld(tmp_path) as world:
        task_id = await world.follow()
        song = video(first.url("/one.mp3?sig=1"))
        await world.poll(task_id, Status.RUNNING, stage=Stage.FIRST, outputs=(song,))
        await world.settle(task_id)
        shown = await world.show(task_id)
        assert (shown["status"], shown["outputs"][0]["archived"]) == ("RUNNING", True)
        signed_anew = video(first.url("/one.mp3?sig=2"))
        await world.poll(
            task_id, Status.SUCCEEDED, stage=Stage.COMPLETE, outputs=(video(second.url("/two.mp3")), signed_anew)
        )
        await world.settle(task_id, 2)
        assert (len(first.asked), len(second.asked)) == (1, 1)
        shown = await world.show(task_id)
        assert [output["sha256"] for output in shown["outputs"]] == [sha256(two), sha256(one)]
        assert sorted(world.files().values(), key=len) == [one, two]


async def test_retry_after_applies_and_the_url_shows_its_expiry(tmp_path: Path) -> None:
    """An item waits as long as the server asks; the expiry of its URL is stored and shown."""

    async def busy(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head_of("503 Service Unavailable", 0, Retry_After="3000"))

    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    retries = replace(RETRIES, max_attempts=5, max_s=3600.0)
    async with RawServer(busy) as server, ArchiveWorld(tmp_path, retries=retries) as world:
        task_id = await world.succeed(video(server.url(f"/a.mp4?Expires={int(expires.timestamp())}")))
        (record,) = await world.wait_for(task_id, lambda records: any(record.error for record in records))
        assert record.expires_at == expires
        assert record.next_attempt_at is not None
        assert (record.next_attempt_at - datetime.now(UTC)).total_seconds() > 2900
